package rbac_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/internal/migrated"
	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// The roles that every tenant starts with.
const (
	roleUser       = 1
	roleAdmin      = 2
	roleSuperAdmin = 3
)

// testBundle is a database with two tenants and a store that reaches it in one
// of the ways.
type testBundle struct {
	t     *testing.T
	owner *pgxpool.Pool // to arrange and to look, past every policy
	url   string        // the service's login, through the pooler
	db    *poolproof.DB
	store *rbac.Store

	tenant, other uuid.UUID
	boss          tenancy.Caller // SUPER_ADMIN of tenant
	otherBoss     tenancy.Caller // SUPER_ADMIN of other
}

// eachKind runs a test once per way to the database.
func eachKind(t *testing.T, f func(b *testBundle)) {
	for _, kind := range pgtest.Kinds {
		t.Run(kind.String(), func(t *testing.T) { f(setup(t, kind)) })
	}
}

func setup(t *testing.T, kind pgtest.Kind) *testBundle {
	t.Helper()
	url, login := migrated.Database(t)
	b := &testBundle{t: t, url: pgtest.Pooled(t, login, kind), tenant: uuid.New(), other: uuid.New()}
	var err error
	if b.owner, err = pgxpool.New(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.owner.Close)
	b.db = b.open(b.url)
	b.store = rbac.NewStore(b.db)
	b.boss, b.otherBoss = tenancy.Caller{Tenant: b.tenant, User: uuid.New()}, tenancy.Caller{Tenant: b.other, User: uuid.New()}
	for i, c := range []tenancy.Caller{b.boss, b.otherBoss} {
		b.exec(`select poolproof.create_tenant($1, $2, $3, $4, $5, 'Boss')`, c.Tenant, fmt.Sprintf("Tenant %d", i), fmt.Sprintf("tenant-%d", i), c.User, fmt.Sprintf("boss@%d.example", i))
	}
	return b
}

func (b *testBundle) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.owner.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](b *testBundle, sql string, args ...any) T {
	b.t.Helper()
	var v T
	if err := b.owner.QueryRow(b.t.Context(), sql, args...).Scan(&v); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// member adds a member of the tenant with these roles, past every rule.
func (b *testBundle) member(roles ...int32) tenancy.Caller {
	b.t.Helper()
	c := tenancy.Caller{Tenant: b.tenant, User: uuid.New()}
	b.exec(`insert into poolproof.profiles (tenant_id, user_id) values ($1, $2)`, c.Tenant, c.User)
	for _, r := range roles {
		b.exec(`insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, $3)`, c.Tenant, c.User, r)
	}
	return c
}

// role adds a role with these permissions and parents, past every rule.
func (b *testBundle) role(name string, permissions []string, parents ...int32) int32 {
	b.t.Helper()
	id := ask[int32](b, `update poolproof.tenants set next_role_id = next_role_id + 1 where id = $1 returning next_role_id - 1`, b.tenant)
	b.exec(`insert into poolproof.roles (tenant_id, id, name) values ($1, $2, $3)`, b.tenant, id, name)
	b.exec(`insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
		select $1, $2, id, scope from poolproof.permissions where name = any ($3)`, b.tenant, id, permissions)
	for _, p := range parents {
		b.exec(`insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ($1, $2, $3)`, b.tenant, id, p)
	}
	return id
}

// expire ends a member's assignment, past every rule.
func (b *testBundle) expire(c tenancy.Caller, role int32, at time.Time) {
	b.t.Helper()
	b.exec(`update poolproof.user_roles set expires_at = $4 where tenant_id = $1 and user_id = $2 and role_id = $3`, c.Tenant, c.User, role, at)
}

func (b *testBundle) permission(name string) uuid.UUID {
	b.t.Helper()
	return uuid.MustParse(ask[string](b, `select id::text from poolproof.permissions where name = $1`, name))
}

// only, valued, assigned and items drop what a test does not look at.
func only(_ tenancy.Epoch, err error) error { return err }

func valued[T any](v T, _ tenancy.Epoch, err error) (T, error) { return v, err }

func assigned(_ rbac.Assignment, _ bool, _ tenancy.Epoch, err error) error { return err }

func items[T any](l tenancy.Listed[T], err error) ([]T, error) { return l.Items, err }

// fingerprint is everything that a refused write must leave as it was.
func (b *testBundle) fingerprint() string {
	b.t.Helper()
	return ask[string](b, `select jsonb_build_array(
		(select jsonb_agg(to_jsonb(x) order by x.tenant_id) from poolproof.epochs x),
		(select jsonb_agg(to_jsonb(x) order by x.id) from poolproof.audit_log x),
		(select jsonb_agg(to_jsonb(x) order by x.tenant_id, x.id) from poolproof.roles x),
		(select jsonb_agg(to_jsonb(x) order by x.tenant_id, x.user_id, x.role_id) from poolproof.user_roles x),
		(select jsonb_agg(to_jsonb(x) order by x.tenant_id, x.role_id, x.permission_id) from poolproof.role_permissions x),
		(select jsonb_agg(to_jsonb(x) order by x.tenant_id, x.role_id, x.parent_id) from poolproof.role_parents x),
		(select jsonb_agg(to_jsonb(x) order by x.id) from poolproof.tenants x))::text`)
}

// refused asserts that a call is refused with a code and changes nothing.
func (b *testBundle) refused(what string, want tenancy.Code, call func() error) {
	b.t.Helper()
	before := b.fingerprint()
	err := call()
	if got := tenancy.CodeOf(err); got != want {
		b.t.Errorf("%s: %v, want %s", what, err, want)
	}
	if b.fingerprint() != before {
		b.t.Errorf("%s: was refused (%v) and left a trace", what, err)
	}
}

// done asserts that a call succeeds and says how many audit rows it left.
func (b *testBundle) done(what string, audited int, call func() error) {
	b.t.Helper()
	const count = `select count(*)::int from poolproof.audit_log`
	before := ask[int](b, count)
	if err := call(); err != nil {
		b.t.Errorf("%s: %v", what, err)
	}
	if got := ask[int](b, count) - before; got != audited {
		b.t.Errorf("%s: left %d audit rows, want %d", what, got, audited)
	}
}

// every are all calls of the store for one caller, about role 5, the member
// given and the permission view_dashboard; writes tells which change things.
func (b *testBundle) every(ctx context.Context, c tenancy.Caller, role int32, user uuid.UUID) (reads, writes map[string]func() error) {
	p := b.permission("view_dashboard")
	name := "New name"
	reads = map[string]func() error{
		"Roles":           func() error { _, err := items(b.store.Roles(ctx, c, tenancy.Page{})); return err },
		"Role":            func() error { _, err := b.store.Role(ctx, c, role); return err },
		"Permissions":     func() error { _, err := items(b.store.Permissions(ctx, c, tenancy.Page{})); return err },
		"RolePermissions": func() error { _, err := items(b.store.RolePermissions(ctx, c, role, tenancy.Page{})); return err },
	}
	writes = map[string]func() error{
		"CreateRole": func() error { _, err := valued(b.store.CreateRole(ctx, c, rbac.NewRole{Name: "Another"})); return err },
		"UpdateRole": func() error {
			_, err := valued(b.store.UpdateRole(ctx, c, role, rbac.RolePatch{Name: &name}, tenancy.Any))
			return err
		},
		"DeleteRole":       func() error { return only(b.store.DeleteRole(ctx, c, role, true, tenancy.Any)) },
		"GrantPermission":  func() error { return only(b.store.GrantPermission(ctx, c, role, p)) },
		"RevokePermission": func() error { return only(b.store.RevokePermission(ctx, c, role, p)) },
		"AssignRole":       func() error { return assigned(b.store.AssignRole(ctx, c, user, role, nil)) },
		"UnassignRole":     func() error { return only(b.store.UnassignRole(ctx, c, user, role)) },
	}
	return reads, writes
}

func TestOnlyMembersAndOnlyHolders(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		role := b.role("Editor", []string{"view_dashboard"})
		b.role("Secret plans", nil)
		inactive := b.member(roleSuperAdmin)
		b.exec(`update poolproof.profiles set active = false where user_id = $1`, inactive.User)
		target := b.member(role)
		for who, c := range map[string]tenancy.Caller{
			"a stranger":                {Tenant: b.tenant, User: uuid.New()},
			"another tenant's boss":     {Tenant: b.tenant, User: b.otherBoss.User},
			"a tenant that is not":      {Tenant: uuid.New(), User: b.boss.User},
			"an inactive member":        inactive,
			"the zero caller":           {},
			"the boss of no tenant":     {User: b.boss.User},
			"nobody in a tenant at all": {Tenant: b.tenant},
		} {
			reads, writes := b.every(ctx, c, role, target.User)
			for name, call := range reads {
				b.refused(name+" by "+who, tenancy.NotAMember, call)
			}
			for name, call := range writes {
				b.refused(name+" by "+who, tenancy.NotAMember, call)
			}
		}
		expired := b.member(roleSuperAdmin)
		b.expire(expired, roleSuperAdmin, time.Now().Add(-time.Second))
		for who, c := range map[string]tenancy.Caller{
			"a member without roles":              b.member(),
			"a member whose assignment has ended": expired,
			"a USER":                              b.member(roleUser),
		} {
			reads, writes := b.every(ctx, c, role, target.User)
			for name, call := range reads {
				if err := call(); err != nil {
					b.t.Errorf("%s by %s: %v", name, who, err)
				}
			}
			for name, call := range writes {
				b.refused(name+" by "+who, tenancy.Forbidden, call)
			}
		}
		// Each write needs its own permission and no other.
		for permission, names := range map[string][]string{
			"manage_roles":       {"CreateRole", "UpdateRole", "DeleteRole"},
			"manage_permissions": {"GrantPermission", "RevokePermission"},
			"manage_users":       {"AssignRole", "UnassignRole"},
		} {
			c := b.member(b.role("Only "+permission, []string{permission}))
			_, writes := b.every(ctx, c, 999, target.User)
			for name, call := range writes {
				err := call()
				if forbidden := tenancy.CodeOf(err) == tenancy.Forbidden; forbidden == slices.Contains(names, name) {
					b.t.Errorf("%s with %s only: %v", name, permission, err)
				}
			}
		}
	})
}

// Another tenant's object answers byte for byte like one that is not there.
func TestForeignIDsAreMissingIDs(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		// The other tenant's role 5 and its boss exist; 999 and a random user do not, nor do ours.
		b.exec(`insert into poolproof.roles (tenant_id, id, name) values ($1, 5, 'Foreign secret')`, b.other)
		b.exec(`insert into poolproof.role_permissions (tenant_id, role_id, permission_id) values ($1, 5, $2)`, b.other, b.permission("view_dashboard"))
		b.exec(`insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, 5)`, b.other, b.otherBoss.User)
		mine := b.member()
		reads, writes := b.every(ctx, b.boss, 5, mine.User)
		missingReads, missingWrites := b.every(ctx, b.boss, 999, mine.User)
		for name := range reads {
			if name == "Roles" || name == "Permissions" {
				continue
			}
			foreign, missing := reads[name](), missingReads[name]()
			if tenancy.CodeOf(foreign) != tenancy.NotFound || foreign.Error() != missing.Error() {
				b.t.Errorf("%s: foreign %v, missing %v", name, foreign, missing)
			}
		}
		for name := range writes {
			if name == "CreateRole" {
				continue
			}
			b.refused(name+" of a foreign role", tenancy.NotFound, writes[name])
			if foreign, missing := writes[name](), missingWrites[name](); foreign.Error() != missing.Error() {
				b.t.Errorf("%s: foreign %v, missing %v", name, foreign, missing)
			}
		}
		for _, user := range []uuid.UUID{b.otherBoss.User, uuid.New()} {
			b.refused("assign to somebody who is no member", tenancy.NotFound, func() error { return assigned(b.store.AssignRole(ctx, b.boss, user, roleUser, nil)) })
		}
		b.refused("a foreign parent", tenancy.NotFound, func() error {
			_, err := valued(b.store.CreateRole(ctx, b.boss, rbac.NewRole{Name: "Heir", ParentIDs: []int32{roleUser, 5}}))
			return err
		})
		roles, err := items(b.store.Roles(ctx, b.boss, tenancy.Page{}))
		if err != nil {
			b.t.Fatal(err)
		}
		if text := fmt.Sprint(roles); len(roles) != 4 || strings.Contains(text, b.other.String()) || strings.Contains(text, "Foreign") {
			b.t.Errorf("the list of roles: %v", text)
		}
		// Names are a tenant's own: the other tenant's is free here.
		if _, err := valued(b.store.CreateRole(ctx, b.boss, rbac.NewRole{Name: "Foreign secret"})); err != nil {
			b.t.Errorf("a name that another tenant has: %v", err)
		}
	})
}

// The database away is no refusal.
func TestUnavailablePassesThrough(t *testing.T) {
	b := setup(t, pgtest.Direct)
	b.db.Close()
	_, err := items(b.store.Roles(t.Context(), b.boss, tenancy.Page{}))
	if err == nil || tenancy.CodeOf(err) != tenancy.Internal {
		t.Errorf("after Close: %v", err)
	}
	if refusal, ok := errors.AsType[*tenancy.Error](err); ok {
		t.Errorf("a closed database is told as the refusal %v", refusal)
	}
}

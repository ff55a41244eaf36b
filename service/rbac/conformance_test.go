package rbac_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/feature"
	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

// TestStoresConform is the library's conformance suite one floor up: the
// stores' calls from administrators of 16 tenants at once, through every way to
// the database in every mode that is allowed there, beside a client that keeps
// leaving another tenant's id on the server connections. Every name says whose
// it is, so that a foreign one is seen wherever it appears.
func TestStoresConform(t *testing.T) {
	rounds := pgtest.Pick(1, 100)
	for _, kind := range pgtest.Kinds {
		modes := []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe}
		if kind == pgtest.Direct || kind == pgtest.PgBouncer124Transaction { // elsewhere Open refuses it, see the library's suite
			modes = append(modes, poolproof.ModeCacheStatement)
		}
		b := setup(t, kind)
		victim := b.otherBoss.Tenant
		b.exec(`insert into poolproof.roles (tenant_id, id, name) values ($1, 5, $2)`, victim, "of "+victim.String())
		callers := b.sixteen()
		before := ask[string](b, `select jsonb_agg(to_jsonb(r))::text from poolproof.roles r where tenant_id = $1`, victim)
		for _, mode := range modes {
			t.Run(kind.String()+"/"+string(mode), func(t *testing.T) {
				stop := pgtest.Hostile(t, b.url, victim.String())
				defer stop()
				conform(t, b.url, mode, callers, rounds)
			})
		}
		if after := ask[string](b, `select jsonb_agg(to_jsonb(r))::text from poolproof.roles r where tenant_id = $1`, victim); after != before {
			t.Errorf("%v: the victim's roles changed: %s", kind, after)
		}
		if n := ask[int](b, `select count(*)::int from poolproof.audit_log a join poolproof.profiles p on p.user_id = a.actor where p.tenant_id <> a.tenant_id`); n != 0 {
			t.Errorf("%v: %d audit rows stand in another tenant than their actor's", kind, n)
		}
	}
}

// The same on our own hostile pooler, which must find nothing.
func TestStoresConformOnTheHostilePooler(t *testing.T) {
	b := setup(t, pgtest.Direct)
	callers := b.sixteen()
	for _, mode := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe} {
		t.Run(string(mode), func(t *testing.T) {
			conform(t, hostile.Start(t, b.url), mode, callers, pgtest.Pick(1, 2))
		})
	}
}

// sixteen returns the bundle's first administrator and those of 15 tenants more.
func (b *testBundle) sixteen() []tenancy.Caller {
	callers := []tenancy.Caller{b.boss}
	for i := range 15 {
		c := tenancy.Caller{Tenant: uuid.New(), User: uuid.New()}
		b.exec(`select poolproof.create_tenant($1, $2, $3, $4, '', 'Boss')`, c.Tenant, "Conforming", fmt.Sprintf("conforming-%d", i), c.User)
		callers = append(callers, c)
	}
	return callers
}

// conform lets all callers make their rounds at once.
func conform(t *testing.T, url string, mode poolproof.Mode, callers []tenancy.Caller, rounds int) {
	t.Helper()
	db, err := poolproof.Open(t.Context(), poolproof.Config{URL: url, Mode: mode, MaxConns: 16, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var wg sync.WaitGroup
	for _, c := range callers {
		wg.Go(func() {
			tenant := conforming{rbac.NewStore(db), feature.NewStore(db), c, callers}
			for round := range rounds {
				if err := tenant.round(t.Context(), fmt.Sprintf("%s %d", mode, round)); err != nil {
					t.Errorf("tenant %s: %v", c.Tenant, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if db.Mode() != mode {
		t.Errorf("a prepared statement was lost: mode %s", db.Mode())
	}
}

// conforming is one tenant's administrator.
type conforming struct {
	roles    *rbac.Store
	features *feature.Store
	caller   tenancy.Caller
	all      []tenancy.Caller
}

// round makes every call once and looks for anything of another tenant.
func (c conforming) round(ctx context.Context, label string) error {
	own := "of " + c.caller.Tenant.String() + " " + label
	role, err := valued(c.roles.CreateRole(ctx, c.caller, rbac.NewRole{Name: own, Description: own, ParentIDs: []int32{roleUser}}))
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	changed := own + " changed"
	if role, err = valued(c.roles.UpdateRole(ctx, c.caller, role.ID, rbac.RolePatch{Description: &changed}, tenancy.Any)); err != nil || role.Description != changed {
		return fmt.Errorf("update: %v, %w", role, err)
	}
	permissions, err := items(c.roles.Permissions(ctx, c.caller, tenancy.Page{}))
	if err != nil || len(permissions) == 0 {
		return fmt.Errorf("permissions: %d, %w", len(permissions), err)
	}
	for _, p := range permissions {
		if p.Name != "view_dashboard" {
			continue
		}
		if err := only(c.roles.GrantPermission(ctx, c.caller, role.ID, p.ID)); err != nil {
			return fmt.Errorf("grant: %w", err)
		}
		if held, err := items(c.roles.RolePermissions(ctx, c.caller, role.ID, tenancy.Page{})); err != nil || len(held) == 0 {
			return fmt.Errorf("permissions of the role: %v, %w", held, err)
		}
		if err := only(c.roles.RevokePermission(ctx, c.caller, role.ID, p.ID)); err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
	}
	if err := assigned(c.roles.AssignRole(ctx, c.caller, c.caller.User, role.ID, nil)); err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	if err := only(c.features.Set(ctx, c.caller, "contentmap", true)); err != nil {
		return fmt.Errorf("set a feature: %w", err)
	}
	if on, err := c.features.Tenant(ctx, c.caller); err != nil || !on["contentmap"] {
		return fmt.Errorf("features: %v, %w", on, err)
	}
	if items, err := c.features.Sidebar(ctx, c.caller); err != nil || len(items) == 0 {
		return fmt.Errorf("sidebar: %v, %w", items, err)
	}
	if me, err := c.roles.Me(ctx, c.caller); err != nil || len(me.Tenants) != 1 {
		return fmt.Errorf("me: %v, %w", me, err)
	}
	roles, err := items(c.roles.Roles(ctx, c.caller, tenancy.Page{}))
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	seen := false
	for _, r := range roles {
		if r.TenantID != c.caller.Tenant || strings.HasPrefix(r.Name, "of ") && !strings.HasPrefix(r.Name, "of "+c.caller.Tenant.String()) {
			return fmt.Errorf("FOREIGN ROLE: %+v", r)
		}
		seen = seen || r.ID == role.ID
	}
	if !seen {
		return fmt.Errorf("role %d is missing in the list", role.ID)
	}
	for _, other := range c.all { // in nobody else's name
		if other.Tenant == c.caller.Tenant {
			continue
		}
		intruder := tenancy.Caller{Tenant: other.Tenant, User: c.caller.User}
		if rows, err := items(c.roles.Roles(ctx, intruder, tenancy.Page{})); tenancy.CodeOf(err) != tenancy.NotAMember || len(rows) != 0 {
			return fmt.Errorf("FOREIGN TENANT: %d roles, %w", len(rows), err)
		}
		break
	}
	if err := only(c.roles.UnassignRole(ctx, c.caller, c.caller.User, role.ID)); err != nil {
		return fmt.Errorf("unassign: %w", err)
	}
	if err := only(c.roles.DeleteRole(ctx, c.caller, role.ID, false, tenancy.Any)); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

package migrations

import (
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// ownedDatabase is a database whose owner is no superuser, so that forced
// row-level security holds for it.
func ownedDatabase(t *testing.T) (owner, admin string) {
	t.Helper()
	admin = pgtest.Database(t)
	return pgtest.Owned(t, admin), admin
}

func TestAnOwnerWithoutPrivileges(t *testing.T) {
	for _, kind := range pgtest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			owner, admin := ownedDatabase(t)
			url, user, boss := pgtest.Pooled(t, owner, kind), uuid.New(), uuid.New()
			if _, err := Up(t.Context(), url, Options{}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := Bootstrap(t.Context(), url, boss, "boss@example.org"); err != nil {
					t.Fatal(err)
				}
				if err := Demo(t.Context(), url, user); err != nil {
					t.Fatal(err)
				}
			}
			if err := Bootstrap(t.Context(), url, user, "user@example.org"); err == nil {
				t.Error("a second user bootstrapped the installation")
			}
			all := open(t, admin)
			if got := one[string](t, all, `select string_agg(t.name || ' ' || (select count(*) from poolproof.profiles p where p.tenant_id = t.id)
				|| ' ' || (select count(*) from poolproof.roles r where r.tenant_id = t.id)
				|| ' ' || (select count(*) from poolproof.tenant_features f where f.tenant_id = t.id), ', ' order by t.name) from poolproof.tenants t`); got != "Last Apple 6 7 4, Platform 1 4 0, Voice Automated 3 5 4" {
				t.Errorf("tenants with members, roles and features: %s", got)
			}
			if got := one[string](t, all, `select string_agg(p.email || ' ' || r.name, ', ') from poolproof.platform x
				join poolproof.user_roles u on u.tenant_id = x.id
				join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id
				join poolproof.profiles p on p.tenant_id = u.tenant_id and p.user_id = u.user_id
				join poolproof.role_permissions rp on rp.tenant_id = u.tenant_id and rp.role_id = r.id
				join poolproof.permissions g on g.id = rp.permission_id and g.name = 'manage_tenants'`); got != "boss@example.org GLOBAL_ADMIN" {
				t.Errorf("the platform's administrators: %s", got)
			}
			// The owner obeys, too.
			if n := one[int](t, open(t, owner), `select count(*)::int from poolproof.profiles`); n != 0 {
				t.Errorf("the owner sees %d members without being a tenant", n)
			}
		})
	}
}

// The rights that docs/production.md asks for, each taken away: what does not
// work then says which it was. With all of them the first run works.
func TestEachRightOfTheOwnerIsNeeded(t *testing.T) {
	server := privateServer(t) // where no role exists yet
	admin := open(t, server.AdminURL())
	for i, c := range []struct {
		name, role, grant, refused string
	}{
		{"without making roles", "nocreaterole", "alter database %[1]s owner to %[2]s", "42501"},
		{"without the database", "createrole", "select 1", "42501"},
		{"as documented", "createrole", "alter database %[1]s owner to %[2]s", ""},
		{"with CREATE on a database that is another's", "createrole", "grant create on database %[1]s to %[2]s", ""},
		{"without making roles, once the role is there", "nocreaterole", "alter database %[1]s owner to %[2]s", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			database, owner := fmt.Sprintf("rights_%d", i), fmt.Sprintf("owner_%d", i)
			exec(t, admin, "create database "+database)
			exec(t, admin, "create role "+owner+" login password 'x' nosuperuser nobypassrls "+c.role)
			exec(t, admin, fmt.Sprintf(c.grant+" /* %[1]s %[2]s */", database, owner))
			u, err := url.Parse(server.URL(owner, database))
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword(owner, "x")
			_, err = Up(t.Context(), u.String(), Options{})
			if state(err) != c.refused {
				t.Fatalf("%v, want SQLSTATE %q", err, c.refused)
			}
			if err == nil {
				if err := Bootstrap(t.Context(), u.String(), uuid.New(), "boss@example.org"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestTenBootstrapsMakeOnePlatform(t *testing.T) {
	owner, admin := ownedDatabase(t)
	url := pgtest.Pooled(t, owner, pgtest.PgBouncer118Statement)
	if err := Bootstrap(t.Context(), url, uuid.New(), ""); !errors.Is(err, ErrSchemaOlder) {
		t.Errorf("without a schema: %v", err)
	}
	if err := Demo(t.Context(), url, uuid.New()); !errors.Is(err, ErrSchemaOlder) {
		t.Errorf("demo without a schema: %v", err)
	}
	if _, err := Up(t.Context(), url, Options{}); err != nil {
		t.Fatal(err)
	}
	user := uuid.New()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := Bootstrap(t.Context(), url, user, "boss@example.org"); err != nil {
				t.Error(err)
			}
			if err := Demo(t.Context(), url, user); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := one[int](t, open(t, admin), `select count(*)::int from poolproof.tenants`); n != 3 {
		t.Errorf("%d tenants, want 3", n)
	}
}

func TestDemoLeavesChangesAlone(t *testing.T) {
	owner, first := demoDatabase(t)
	conn := open(t, owner)
	exec(t, conn, `delete from poolproof.roles where tenant_id = $1 and name = 'Auditor'`, DemoTenant)
	exec(t, conn, `update poolproof.tenant_features set enabled = false where tenant_id = $1`, DemoTenant)
	second := uuid.New()
	if err := Demo(t.Context(), pgtest.Owned(t, owner), second); err != nil {
		t.Fatal(err)
	}
	if n := one[int](t, conn, `select count(*)::int from poolproof.roles where tenant_id = $1 and name = 'Auditor'`, DemoTenant); n != 0 {
		t.Error("a role that was deleted came back")
	}
	if n := one[int](t, conn, `select count(*)::int from poolproof.tenant_features where tenant_id = $1 and enabled`, DemoTenant); n != 0 {
		t.Error("a feature that was switched off came back")
	}
	if n := one[int](t, conn, `select count(*)::int from poolproof.user_roles where tenant_id = $1 and role_id = 3 and user_id in ($2, $3)`, DemoTenant, first, second); n != 2 {
		t.Errorf("%d of the two users are SUPER_ADMIN", n)
	}
}

func TestTheServiceRunsOnItsLogin(t *testing.T) {
	owner, _ := demoDatabase(t)
	res, err := Up(t.Context(), owner, Options{Login: "service_login"})
	if err != nil {
		t.Fatal(err)
	}
	db, err := poolproof.Open(t.Context(), poolproof.Config{URL: pgtest.Pooled(t, res.LoginURL, pgtest.PgBouncer118Statement)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := Verify(t.Context(), db); err != nil {
		t.Error(err)
	}
	isolation, err := db.Check(t.Context())
	if err != nil || isolation.Err() != nil || len(isolation.Tables) < 12 {
		t.Errorf("the library's own check: %v, %+v", err, isolation)
	}
}

func TestSeedsAreWhatFrontEndsExpect(t *testing.T) {
	owner, _ := demoDatabase(t)
	conn := open(t, owner)
	if n := one[int](t, conn, `select count(*)::int from poolproof.permissions where scope = 'tenant'`); n != 22 {
		t.Errorf("%d tenant permissions, want 22", n)
	}
	if s := one[string](t, conn, `select string_agg(name, ',') from poolproof.permissions where scope = 'platform'`); s != "manage_tenants" {
		t.Errorf("platform permissions: %s", s)
	}
	if s := one[string](t, conn, `select string_agg(g, ', ' order by g) from (select group_name || ' ' || count(*) g from poolproof.sidebar_items group by group_name) x`); s != "Administration 6, Other 3, Services 8" {
		t.Errorf("sidebar: %s", s)
	}
	if n := one[int](t, conn, `select count(*)::int from poolproof.sidebar_items s join poolproof.features f on f.id = s.feature_id where s.permission = 'view_' || f.name and s.url_path = '/' || f.name`); n != 8 {
		t.Errorf("%d sidebar items are gated by their feature and its permission, want 8", n)
	}
	if s := one[string](t, conn, `select id::text from poolproof.features where name = 'siteharvest'`); s != "62dd4c91-315f-43dc-ba91-68011f824fa9" {
		t.Errorf("siteharvest is %s", s)
	}
	want := "1 USER 9 f, 2 ADMIN 18 f, 3 SUPER_ADMIN 0 t, 4 GLOBAL_ADMIN 0 t"
	if s := one[string](t, conn, `select string_agg(r.id || ' ' || r.name || ' ' || (select count(*) from poolproof.role_permissions p where p.tenant_id = r.tenant_id and p.role_id = r.id)
		|| ' ' || left(r.holds_all::text, 1), ', ' order by r.id) from poolproof.roles r where r.tenant_id = $1 and r.system`, DemoTenant); s != want {
		t.Errorf("the four roles: %s, want %s", s, want)
	}
}

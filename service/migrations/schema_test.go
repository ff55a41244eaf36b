package migrations

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// demoDatabase is a database with schema and demo data. admin is the
// superuser, bound by no policy, to arrange and to look.
func demoDatabase(t testing.TB) (admin string, user uuid.UUID) {
	t.Helper()
	admin, user = pgtest.Database(t), uuid.New()
	owner := pgtest.Owned(t, admin)
	if _, err := Up(t.Context(), owner, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := Demo(t.Context(), owner, user); err != nil {
		t.Fatal(err)
	}
	return admin, user
}

// runtime is a connection with the service's rights.
func runtime(t *testing.T, admin string) *pgx.Conn {
	t.Helper()
	name := "app_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	res, err := Up(t.Context(), pgtest.Owned(t, admin), Options{Login: name})
	if err != nil {
		t.Fatal(err)
	}
	return open(t, res.LoginURL)
}

// as runs f in a transaction of a tenant ("" for none) that is rolled back.
func as(t *testing.T, conn *pgx.Conn, tenant string, f func(tx pgx.Tx)) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `select set_config('app.current_tenant_id', $1, true)`, tenant); err != nil {
		t.Fatal(err)
	}
	f(tx)
}

var tenantTables = []string{"profiles", "roles", "role_permissions", "role_parents", "user_roles", "tenant_features", "epochs", "audit_log"}

func TestEveryTableForcesRowLevelSecurity(t *testing.T) {
	owner, _ := demoDatabase(t)
	conn := open(t, owner)
	rows, err := conn.Query(t.Context(), `select relname::text, relrowsecurity, relforcerowsecurity,
		(select count(*) from pg_policy p where p.polrelid = c.oid)
		from pg_class c where relnamespace = 'poolproof'::regnamespace and relkind in ('r', 'p')`)
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for rows.Next() {
		var name string
		var enabled, forced bool
		var policies int
		if err := rows.Scan(&name, &enabled, &forced, &policies); err != nil {
			t.Fatal(err)
		}
		tables++
		if !enabled || !forced || policies == 0 {
			t.Errorf("%s: row-level security %v, forced %v, %d policies", name, enabled, forced, policies)
		}
	}
	if rows.Err() != nil || tables != 15 {
		t.Errorf("%d tables, %v; want 15", tables, rows.Err())
	}
	if odd := one[string](t, conn, `select coalesce(string_agg(i.indexrelid::regclass::text, ', '), '')
		from pg_index i
		join pg_class c on c.oid = i.indrelid and c.relnamespace = 'poolproof'::regnamespace
		join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
		where i.indisprimary and i.indkey[0] <> a.attnum`); odd != "" {
		t.Errorf("keys that do not start with tenant_id: %s", odd)
	}
}

// No function of the schema looks anything up in its caller's search_path.
func TestEveryFunctionHasItsOwnSearchPath(t *testing.T) {
	owner, _ := demoDatabase(t)
	odd := one[string](t, open(t, owner), `select coalesce(string_agg(p.oid::regprocedure::text, ', '), '') from pg_proc p
		where p.pronamespace = 'poolproof'::regnamespace and p.proname <> 'make_scope'
		and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false)`)
	if odd != "" {
		t.Errorf("functions that run in the caller's search_path: %s", odd)
	}
}

// PostgreSQL lets everybody execute a new function. Of ours only make_scope is
// everybody's: the library's logins need it.
func TestNoFunctionIsEverybodys(t *testing.T) {
	owner, _ := demoDatabase(t)
	public := one[string](t, open(t, owner), `select coalesce(string_agg(p.oid::regprocedure::text, ', '), '') from pg_proc p
		where p.pronamespace = 'poolproof'::regnamespace and has_function_privilege('public', p.oid, 'execute')`)
	if public != "poolproof.make_scope(text[])" {
		t.Errorf("everybody may execute %s", public)
	}
}

func TestTenantsSeeTheirOwnRowsOnly(t *testing.T) {
	owner, _ := demoDatabase(t)
	conn := runtime(t, owner)
	for _, table := range tenantTables {
		for _, tenant := range []string{DemoTenant.String(), DemoOtherTenant.String(), uuid.NewString(), ""} {
			as(t, conn, tenant, func(tx pgx.Tx) {
				var mine, foreign int
				err := tx.QueryRow(t.Context(), fmt.Sprintf(`select count(*) filter (where tenant_id::text = $1),
					count(*) filter (where tenant_id::text <> $1 and tenant_id <> '00000000-0000-0000-0000-000000000000') from poolproof.%s`, table), tenant).Scan(&mine, &foreign)
				if err != nil {
					t.Fatal(err)
				}
				known := tenant == DemoTenant.String() || tenant == DemoOtherTenant.String()
				if foreign != 0 || (mine > 0) != known && table != "role_parents" {
					t.Errorf("%s as %q: %d own rows, %d foreign", table, tenant, mine, foreign)
				}
			})
		}
	}
	for tenant, want := range map[string]int{DemoTenant.String(): 1, DemoPlatform.String(): 3, uuid.NewString(): 0, "": 0} {
		as(t, conn, tenant, func(tx pgx.Tx) {
			var n int
			if err := tx.QueryRow(t.Context(), `select count(*) from poolproof.tenants`).Scan(&n); err != nil || n != want {
				t.Errorf("as %q: %d tenants, %v; want %d", tenant, n, err, want)
			}
		})
	}
	// A tenant that is no UUID is an error, not an empty answer.
	as(t, conn, "nonsense", func(tx pgx.Tx) {
		if _, err := tx.Exec(t.Context(), `select from poolproof.roles`); state(err) != "22P02" {
			t.Errorf("a malformed tenant: %v, want 22P02", err)
		}
	})
}

func TestUsersSeeTheirOwnMemberships(t *testing.T) {
	owner, user := demoDatabase(t)
	conn := runtime(t, owner)
	as(t, conn, "", func(tx pgx.Tx) {
		for who, want := range map[uuid.UUID]string{user: "Last Apple", DemoOtherAdmin: "Voice Automated", uuid.New(): ""} {
			if _, err := tx.Exec(t.Context(), `select set_config('app.current_user_id', $1, true)`, who.String()); err != nil {
				t.Fatal(err)
			}
			var tenants, profiles string
			err := tx.QueryRow(t.Context(), `select coalesce((select string_agg(name, ',') from poolproof.tenants), ''),
				(select count(*) || ' ' || count(*) filter (where user_id::text = $1) from poolproof.profiles)`, who.String()).Scan(&tenants, &profiles)
			if err != nil || tenants != want || want != "" && profiles != "1 1" || want == "" && profiles != "0 0" {
				t.Errorf("%s sees the tenants %q and profiles (all, own) %s, %v; want %q", who, tenants, profiles, err, want)
			}
		}
	})
}

func TestEpochsOfWatchedTenantsAreReadable(t *testing.T) {
	owner, _ := demoDatabase(t)
	conn := runtime(t, owner)
	as(t, conn, "", func(tx pgx.Tx) {
		for watch, want := range map[string]int{"": 1, "{}": 1, "{" + DemoTenant.String() + "," + DemoOtherTenant.String() + "}": 3} {
			var n int
			if _, err := tx.Exec(t.Context(), `select set_config('app.watch_tenants', $1, true)`, watch); err != nil {
				t.Fatal(err)
			}
			if err := tx.QueryRow(t.Context(), `select count(*) from poolproof.epochs`).Scan(&n); err != nil || n != want {
				t.Errorf("watching %q: %d epochs, %v; want %d", watch, n, err, want)
			}
		}
	})
}

// What the service's login must not be able to do, whatever SQL it is made to
// run.
func TestRuntimeRights(t *testing.T) {
	owner, user := demoDatabase(t)
	conn := runtime(t, owner)
	const denied = "42501" // also for a row that a policy does not let in
	for _, c := range []struct{ what, tenant, sql, state string }{
		{"change the audit log", DemoTenant.String(), `update poolproof.audit_log set action = 'x'`, denied},
		{"delete from the audit log", DemoTenant.String(), `delete from poolproof.audit_log`, denied},
		{"empty the audit log", DemoTenant.String(), `truncate poolproof.audit_log`, denied},
		{"forge the time of an audit row", DemoTenant.String(), `insert into poolproof.audit_log (tenant_id, actor, action, object, at) values ('` + DemoTenant.String() + `', gen_random_uuid(), 'x', 'x', 'yesterday')`, denied},
		{"write another tenant's audit row", DemoTenant.String(), `insert into poolproof.audit_log (tenant_id, actor, action, object) values ('` + DemoOtherTenant.String() + `', gen_random_uuid(), 'x', 'x')`, denied},
		{"append to the audit log", DemoTenant.String(), `insert into poolproof.audit_log (tenant_id, actor, action, object) values ('` + DemoTenant.String() + `', gen_random_uuid(), 'x', 'x')`, ""},
		{"switch row-level security off", DemoTenant.String(), `alter table poolproof.roles disable row level security`, denied},
		{"ignore row-level security", DemoTenant.String(), `set local row_security = off; select from poolproof.roles`, denied},
		{"drop a policy", DemoTenant.String(), `drop policy tenant on poolproof.roles`, denied},
		{"add a policy", DemoTenant.String(), `create policy open on poolproof.roles using (true)`, denied},
		{"disable a trigger", DemoTenant.String(), `alter table poolproof.roles disable trigger all`, denied},
		{"add a trigger", DemoTenant.String(), `create trigger t before insert on poolproof.roles for each row execute function poolproof.keep_seeded()`, denied},
		{"make a table in the schema", DemoTenant.String(), `create table poolproof.mine (id int)`, denied},
		{"act as the owner", DemoTenant.String(), `set local role ` + devdb.Superuser, denied},
		{"write an epoch", DemoTenant.String(), `update poolproof.epochs set epoch = 1`, denied},
		{"write the migrations", DemoTenant.String(), `delete from poolproof.schema_migrations`, denied},
		{"become the platform", DemoTenant.String(), `update poolproof.platform set id = '` + DemoTenant.String() + `'`, denied},
		{"insert a second platform", DemoTenant.String(), `insert into poolproof.platform (id) values ('` + DemoTenant.String() + `')`, denied},
		{"make a tenant", DemoTenant.String(), `insert into poolproof.tenants (id, name, slug) values (gen_random_uuid(), 'x', 'x')`, denied},
		{"make a tenant by function", DemoTenant.String(), `select poolproof.create_tenant(gen_random_uuid(), 'x', 'x', gen_random_uuid(), '', '')`, denied},
		{"make a role that holds all", DemoTenant.String(), `insert into poolproof.roles (tenant_id, id, name, holds_all) values ('` + DemoTenant.String() + `', 99, 'x', true)`, denied},
		{"turn a role into one that holds all", DemoTenant.String(), `update poolproof.roles set holds_all = true where id = 1`, denied},
		{"move a role to another tenant", DemoTenant.String(), `update poolproof.roles set tenant_id = '` + DemoOtherTenant.String() + `' where id = 5`, denied},
		{"make a role in another tenant", DemoTenant.String(), `insert into poolproof.roles (tenant_id, id, name) values ('` + DemoOtherTenant.String() + `', 99, 'x')`, denied},
		{"write a catalogue as a tenant", DemoTenant.String(), `insert into poolproof.features (id, name) values (gen_random_uuid(), 'mine')`, denied},
		{"write a catalogue as nobody", "", `insert into poolproof.permissions (id, name, resource_type, action) values (gen_random_uuid(), 'mine', 'x', 'x')`, denied},
		{"write a catalogue as the platform", DemoPlatform.String(), `insert into poolproof.features (id, name) values (gen_random_uuid(), 'mine')`, ""},
		{"forge a seeded entry", DemoPlatform.String(), `insert into poolproof.features (id, name, seeded) values (gen_random_uuid(), 'mine', true)`, denied},
		{"rename a seeded permission", DemoPlatform.String(), `update poolproof.permissions set name = 'other' where name = 'manage_roles'`, "PR003"},
		{"delete a seeded feature", DemoPlatform.String(), `delete from poolproof.features where name = 'contentmap'`, "PR003"},
		{"give a platform permission in a tenant", DemoTenant.String(), `insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
			select '` + DemoTenant.String() + `', 3, id, scope from poolproof.permissions where scope = 'platform'`, "23503"},
		{"give it under a false scope", DemoTenant.String(), `insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
			select '` + DemoTenant.String() + `', 3, id, 'tenant' from poolproof.permissions where scope = 'platform'`, "23503"},
		{"give it on the platform", DemoPlatform.String(), `insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
			select '` + DemoPlatform.String() + `', 3, id, scope from poolproof.permissions where scope = 'platform'`, ""},
		{"inherit in a circle", DemoTenant.String(), `insert into poolproof.role_parents (tenant_id, role_id, parent_id) values
			('` + DemoTenant.String() + `', 1, 2), ('` + DemoTenant.String() + `', 2, 1)`, "PR002"},
		{"inherit from itself", DemoTenant.String(), `insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ('` + DemoTenant.String() + `', 1, 1)`, "23514"},
		{"a blank name", DemoTenant.String(), `update poolproof.roles set name = E' \t' where id = 5`, "23514"},
		{"take the last manager's role", DemoTenant.String(), `delete from poolproof.user_roles where user_id = '` + user.String() + `'`, "PR001"},
		{"let it expire", DemoTenant.String(), `update poolproof.user_roles set expires_at = now() + interval '1 year' where role_id = 3`, "PR001"},
		{"deactivate the last manager", DemoTenant.String(), `update poolproof.profiles set active = false where user_id = '` + user.String() + `'`, "PR001"},
		{"remove the last manager", DemoTenant.String(), `delete from poolproof.profiles where user_id = '` + user.String() + `'`, "PR001"},
		{"delete the last manager's role", DemoTenant.String(), `delete from poolproof.roles where id = 3`, "PR001"},
		{"deactivate another", DemoTenant.String(), `update poolproof.profiles set active = false where user_id <> '` + user.String() + `'`, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			as(t, conn, c.tenant, func(tx pgx.Tx) {
				if _, err := tx.Exec(t.Context(), c.sql, pgx.QueryExecModeSimpleProtocol); state(err) != c.state {
					t.Errorf("%v, want SQLSTATE %q", err, c.state)
				}
			})
		})
	}
	if s := one[string](t, conn, `select coalesce(string_agg(relname, ', '), '') from pg_class
		where relnamespace = 'poolproof'::regnamespace and relkind = 'r' and has_table_privilege(oid, 'truncate, references, trigger')`); s != "" {
		t.Errorf("may empty, refer to or put triggers on %s", s)
	}
	// An update that a policy filters changes no row and says so.
	as(t, conn, DemoTenant.String(), func(tx pgx.Tx) {
		for _, sql := range []string{
			`update poolproof.features set description = 'x'`,
			`delete from poolproof.sidebar_items`,
			`update poolproof.profiles set name = 'x' where tenant_id = '` + DemoOtherTenant.String() + `'`,
			`delete from poolproof.roles where tenant_id = '` + DemoOtherTenant.String() + `'`,
		} {
			if tag, err := tx.Exec(t.Context(), sql); err != nil || tag.RowsAffected() != 0 {
				t.Errorf("%s: %v, %v; want no row", sql, tag, err)
			}
		}
	})
}

func TestEveryChangeRaisesTheEpoch(t *testing.T) {
	owner, user := demoDatabase(t)
	conn := open(t, owner)
	id := DemoTenant.String()
	read := func() (tenant, other, catalogue int64) {
		const sql = `select epoch from poolproof.epochs where tenant_id = $1`
		return one[int64](t, conn, sql, id), one[int64](t, conn, sql, DemoOtherTenant.String()), one[int64](t, conn, sql, uuid.Nil.String())
	}
	for _, sql := range []string{
		`update poolproof.tenants set name = 'Last Pear' where id = '` + id + `'`,
		`insert into poolproof.profiles (tenant_id, user_id) values ('` + id + `', gen_random_uuid())`,
		`update poolproof.profiles set name = 'x' where tenant_id = '` + id + `'`,
		`insert into poolproof.roles (tenant_id, id, name) values ('` + id + `', 50, 'x')`,
		`update poolproof.roles set description = 'x' where tenant_id = '` + id + `'`,
		`insert into poolproof.role_permissions (tenant_id, role_id, permission_id) select '` + id + `', 50, id from poolproof.permissions where name = 'manage_users'`,
		`insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ('` + id + `', 50, 1)`,
		`insert into poolproof.user_roles (tenant_id, user_id, role_id) values ('` + id + `', '` + user.String() + `', 50)`,
		`delete from poolproof.role_permissions where tenant_id = '` + id + `' and role_id = 50`,
		`delete from poolproof.role_parents where tenant_id = '` + id + `' and role_id = 50`,
		`delete from poolproof.user_roles where tenant_id = '` + id + `' and role_id = 50`,
		`update poolproof.tenant_features set enabled = false where tenant_id = '` + id + `'`,
		`delete from poolproof.tenant_features where tenant_id = '` + id + `'`,
		`delete from poolproof.roles where tenant_id = '` + id + `' and id = 50`,
	} {
		tenant, other, catalogue := read()
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now, _, _ := read(); now != tenant {
			t.Errorf("%s, rolled back, moved the epoch", sql)
		}
		exec(t, conn, sql)
		tenant2, other2, catalogue2 := read()
		if tenant2 <= tenant || other2 != other || catalogue2 != catalogue {
			t.Errorf("%s: epochs %d→%d, other tenant %d→%d, catalogue %d→%d", sql, tenant, tenant2, other, other2, catalogue, catalogue2)
		}
	}
	for _, sql := range []string{
		`insert into poolproof.features (id, name) values (gen_random_uuid(), 'new')`,
		`update poolproof.sidebar_items set title = title || '.'`,
		`delete from poolproof.features where name = 'new'`,
		`insert into poolproof.permissions (id, name, resource_type, action) values (gen_random_uuid(), 'new', 'x', 'x')`,
	} {
		tenant, _, catalogue := read()
		exec(t, conn, sql)
		if tenant2, _, catalogue2 := read(); tenant2 != tenant || catalogue2 <= catalogue {
			t.Errorf("%s: tenant %d→%d, catalogue %d→%d", sql, tenant, tenant2, catalogue, catalogue2)
		}
	}
	// No news: the counter of role ids, and a statement that touches no row.
	tenant, _, catalogue := read()
	exec(t, conn, `update poolproof.tenants set next_role_id = next_role_id + 1`)
	exec(t, conn, `update poolproof.roles set name = 'x' where false`)
	exec(t, conn, `update poolproof.features set name = 'x' where false`)
	if tenant2, _, catalogue2 := read(); tenant2 != tenant || catalogue2 != catalogue {
		t.Errorf("nothing changed, and the epochs moved %d→%d, %d→%d", tenant, tenant2, catalogue, catalogue2)
	}
	// A tenant can be deleted as a whole, managers and all, and its end is news.
	exec(t, conn, `delete from poolproof.tenants where id = $1`, id)
	if tenant2, _, _ := read(); tenant2 <= tenant {
		t.Errorf("the tenant's end did not raise its epoch")
	}
}

// Two writers that take no lock of ours, each removing one of two managers: the
// epoch's row makes the second wait and then see what the first did.
func TestTheLastManagerStaysWhoeverWrites(t *testing.T) {
	owner, user := demoDatabase(t)
	a, b := open(t, owner), open(t, owner)
	second := uuid.NewString()
	id := DemoTenant.String()
	exec(t, a, `insert into poolproof.profiles (tenant_id, user_id) values ($1, $2)`, id, second)
	for range 20 {
		exec(t, a, `insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, 3), ($1, $3, 3) on conflict do nothing`, id, second, user.String())
		var wg sync.WaitGroup
		var errs [2]error
		for i, who := range []string{user.String(), second} {
			wg.Go(func() {
				_, errs[i] = []*pgx.Conn{a, b}[i].Exec(t.Context(), `delete from poolproof.user_roles where tenant_id = $1 and user_id = $2`, id, who)
			})
		}
		wg.Wait()
		if got := state(errs[0]) + state(errs[1]); got != "PR001" {
			t.Fatalf("the two removals ended with %v and %v, want exactly one PR001", errs[0], errs[1])
		}
	}
}

func TestReferencesStayInTheTenant(t *testing.T) {
	owner, user := demoDatabase(t)
	conn := open(t, owner) // a superuser: no policy stands in the way, the keys do
	for _, sql := range []string{
		`insert into poolproof.user_roles (tenant_id, user_id, role_id) values ('` + DemoOtherTenant.String() + `', '` + user.String() + `', 1)`,
		`insert into poolproof.user_roles (tenant_id, user_id, role_id) values ('` + DemoOtherTenant.String() + `', '` + DemoOtherAdmin.String() + `', 7)`,
		`insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ('` + DemoOtherTenant.String() + `', 5, 7)`,
		`insert into poolproof.role_permissions (tenant_id, role_id, permission_id) select '` + DemoOtherTenant.String() + `', 7, id from poolproof.permissions where name = 'manage_users'`,
	} {
		if _, err := conn.Exec(t.Context(), sql); state(err) != "23503" {
			t.Errorf("%s: %v, want 23503", sql, err)
		}
	}
}

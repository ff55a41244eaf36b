package legacy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/internal/migrated"
	"github.com/poolproof/poolproof/service/migrations"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	lastApple = "550e8400-e29b-41d4-a716-446655440000"
	voice     = "2ebffd7a-c423-42f3-bf85-ed1397c9e218"
	nobodys   = "33333333-0000-4000-8000-000000000003"
)

// person is a user of the fixture.
func person(n int) string { return fmt.Sprintf("a0000000-0000-4000-8000-0000000000%02d", n) }

func open(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func one[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// exec runs statements that may be many.
func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%.100s: %v", sql, err)
	}
}

// destination is a bootstrapped database whose owner is no superuser, so that
// forced row-level security holds for it. admin sees everything.
func destination(t *testing.T) (owner string, admin *pgx.Conn) {
	t.Helper()
	super, _ := migrated.Database(t)
	admin = open(t, super)
	owner = pgtest.Owned(t, super)
	if err := migrations.Bootstrap(t.Context(), owner, uuid.New(), "boss@example.org"); err != nil {
		t.Fatal(err)
	}
	return owner, admin
}

// source is a database with the original's tables, and with what sql does to
// them.
func source(t *testing.T, sql string) string {
	t.Helper()
	url := pgtest.Database(t)
	beside(t, url, sql)
	return url
}

// beside puts the original's tables into a database that has poolproof's.
func beside(t *testing.T, url, sql string) {
	t.Helper()
	fixture, err := os.ReadFile("testdata/original.sql")
	if err != nil {
		t.Fatal(err)
	}
	exec(t, open(t, url), string(fixture)+sql)
}

// planOf reads both sides and plans.
func planOf(t *testing.T, from, to string, opt Options) Plan {
	t.Helper()
	src, err := Read(t.Context(), from, "public")
	if err != nil {
		t.Fatal(err)
	}
	dst, err := ReadDestination(t.Context(), to, src)
	if err != nil {
		t.Fatal(err)
	}
	return NewPlan(src, dst, opt)
}

// imported plans and applies.
func imported(t *testing.T, from, to string, opt Options) Plan {
	t.Helper()
	p := planOf(t, from, to, opt)
	if err := Apply(t.Context(), to, p, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// everything is all that poolproof has, epochs and audit log included.
func everything(t *testing.T, admin *pgx.Conn) string {
	t.Helper()
	var s strings.Builder
	for _, table := range []string{"tenants", "profiles", "roles", "permissions", "role_permissions", "role_parents", "user_roles", "features",
		"tenant_features", "sidebar_items", "epochs", "audit_log"} {
		fmt.Fprintln(&s, table, one[string](t, admin, `select coalesce(jsonb_pretty(jsonb_agg(to_jsonb(x) order by x::text)), '') from poolproof.`+table+` x`))
	}
	return s.String()
}

// who returns "user role, user role" of a tenant, by the last two digits of the
// fixture's users.
func who(t *testing.T, admin *pgx.Conn, tenant string) string {
	t.Helper()
	return one[string](t, admin, `select coalesce(string_agg(right(u.user_id::text, 2) || ' ' || r.name, ', ' order by right(u.user_id::text, 2), r.name), '')
		from poolproof.user_roles u join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id where u.tenant_id = $1::text::uuid`, tenant)
}

// holds returns what a role of a tenant holds.
func holds(t *testing.T, admin *pgx.Conn, tenant, role string) string {
	t.Helper()
	return one[string](t, admin, `select coalesce(string_agg(p.name, ' ' order by p.name), '') from poolproof.roles r
		join poolproof.role_permissions x on x.tenant_id = r.tenant_id and x.role_id = r.id
		join poolproof.permissions p on p.id = x.permission_id where r.tenant_id = $1::text::uuid and r.name = $2`, tenant, role)
}

func (p Plan) reasons() string {
	var s []string
	for _, f := range p.Unmapped {
		s = append(s, f.Table+" | "+f.Row+" | "+f.Reason)
	}
	return strings.Join(s, "\n")
}

func (p Plan) wantUnmapped(t *testing.T, parts ...string) {
	t.Helper()
	for line := range strings.SplitSeq(p.reasons(), "\n") {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return
		}
	}
	t.Errorf("not listed as not mapped: %q in\n%s", parts, p.reasons())
}

func TestImport(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement} {
		t.Run(kind.String(), func(t *testing.T) {
			from := pgtest.Pooled(t, source(t, ""), kind)
			owner, admin := destination(t)
			to := pgtest.Pooled(t, owner, kind)
			p := planOf(t, from, to, Options{})
			before := everything(t, admin)
			if again := planOf(t, from, to, Options{}); cmp.Diff(p, again, cmp.AllowUnexported(Plan{}, TenantPlan{})) != "" {
				t.Error("two plans of the same state differ")
			}
			if before != everything(t, admin) {
				t.Fatal("a plan changed something")
			}
			if err := Apply(t.Context(), to, p, nil); err != nil {
				t.Fatal(err)
			}

			if got, want := who(t, admin, lastApple), "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER"; got != want {
				t.Errorf("Last Apple: %s, want %s", got, want)
			}
			if got, want := who(t, admin, voice), "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN"; got != want {
				t.Errorf("Voice Automated: %s, want %s", got, want)
			}
			if got := one[string](t, admin, `select string_agg(name || ' ' || slug, ', ' order by name) from poolproof.tenants`); got != "Last Apple last-apple, Platform platform, Voice Automated voice-automated" {
				t.Errorf("tenants: %s", got)
			}
			if got := one[string](t, admin, `select string_agg(right(user_id::text, 2), ' ' order by user_id) from poolproof.profiles where not active`); got != "05 06" {
				t.Errorf("not active: %s", got)
			}
			// What the four roles hold is what they held, in every tenant.
			views := "view_actionqueue view_contactlaunchpad view_contentmap view_dashboard view_emailhunter view_frontendscout view_localminer view_siteharvest view_socialradar"
			starts := "start_actionqueue start_contactlaunchpad start_contentmap start_emailhunter start_frontendscout start_localminer start_siteharvest start_socialradar"
			for _, tenant := range []string{lastApple, voice} {
				if got := holds(t, admin, tenant, "USER"); got != views {
					t.Errorf("USER of %s holds %s", tenant, got)
				}
				if got := holds(t, admin, tenant, "ADMIN"); got != starts+" "+views {
					t.Errorf("ADMIN of %s holds %s", tenant, got)
				}
			}
			if got := holds(t, admin, lastApple, "Editor"); got != "access_page_scraper start_contentmap view_contentmap" {
				t.Errorf("Editor holds %s", got)
			}
			if got := holds(t, admin, voice, "Researcher"); got != "view_localminer" {
				t.Errorf("Researcher holds %s", got)
			}
			if got := one[string](t, admin, `select string_agg(r.id || ' ' || r.name, ', ' order by r.name) from poolproof.roles r where not r.system`); got != "5 Editor, 5 Researcher" {
				t.Errorf("roles of their own: %s", got)
			}
			features := func(tenant string) string {
				return one[string](t, admin, `select string_agg(f.name || ' ' || left(coalesce(t.enabled, f.default_enabled)::text, 1), ', ' order by f.name)
					from poolproof.features f left join poolproof.tenant_features t on t.feature_id = f.id and t.tenant_id = $1::text::uuid`, tenant)
			}
			if got, want := features(lastApple), "actionqueue f, contactlaunchpad t, contentmap t, deep-analysis f, discovery-scan t, emailhunter f, frontendscout t, localminer t, siteharvest t, socialradar f"; got != want {
				t.Errorf("Last Apple's features: %s, want %s", got, want)
			}
			if got, want := features(voice), "actionqueue t, contactlaunchpad f, contentmap f, deep-analysis f, discovery-scan t, emailhunter t, frontendscout f, localminer f, siteharvest f, socialradar t"; got != want {
				t.Errorf("Voice Automated's features: %s, want %s", got, want)
			}
			if got := one[string](t, admin, `select string_agg(url_path || ' ' || group_name || ' ' || display_order, ', ' order by url_path) from poolproof.sidebar_items where url_path ~ '^/(contentmap/|reports|gone|two|smart|for|analyze)'`); got != "/contentmap/deep Other 3, /reports Other 1000" {
				t.Errorf("sidebar: %s", got)
			}
			if got := one[string](t, admin, `select name || ' ' || resource_type || ' ' || action from poolproof.permissions where name = 'rbac:read'`); got != "rbac:read rbac read" {
				t.Errorf("rbac:read: %s", got)
			}

			p.wantUnmapped(t, "tenants", nobodys, "--admin")
			p.wantUnmapped(t, "tenants", "Closed", "not active")
			p.wantUnmapped(t, "1 profile of tenant 44444444")
			p.wantUnmapped(t, "profiles", person(4), "only the text")
			p.wantUnmapped(t, "profiles", person(9), "role 5 Editor", otherRoleReason)
			p.wantUnmapped(t, "user_roles", person(10), lastApple, noMemberReason)
			p.wantUnmapped(t, "user_tenants", "99999999", noTenantReason)
			p.wantUnmapped(t, "user_tenants", person(13), noProfileReason)
			p.wantUnmapped(t, "permissions", "permission *")
			p.wantUnmapped(t, "role_permissions", "GLOBAL_ADMIN", "manage_tenants", platformReason)
			p.wantUnmapped(t, "role_permissions", "Researcher", "manage_tenants", platformReason)
			p.wantUnmapped(t, "feature_flags", "Control Center")
			for _, path := range []string{"/gone", "/two", "/smart-alerts", "/for-one", "/analyze", "reports No path", "/reports Reports again"} {
				p.wantUnmapped(t, "sidebar_features", path)
			}
			decided := Plan{Unmapped: p.Decided}
			decided.wantUnmapped(t, "role and role_id disagree", person(2))
			decided.wantUnmapped(t, "role_id and user_roles disagree", person(3), "GLOBAL_ADMIN", "Editor")
			decided.wantUnmapped(t, "tenant_id is null", person(8), voice)
			decided.wantUnmapped(t, "user_roles | 1 row |", "another tenant's of a system role's name")
			decided.wantUnmapped(t, "1 row with bio")
			decided.wantUnmapped(t, "1 row with avatar_url")
			decided.wantUnmapped(t, "is_enabled is null")
			decided.wantUnmapped(t, "active is null", person(6))

			// Whose doing it was, and of whom only.
			if got := one[string](t, admin, `select string_agg(action || ' ' || n, ', ' order by action) from (
				select action, count(*) n from poolproof.audit_log where tenant_id = $1::text::uuid and actor = $2 group by action) x`, voice, Actor); got !=
				"feature.set 4, profile.create 5, role.create 1, role.permission.grant 1, role.permission.revoke 1, tenant.import 1, user.role.assign 4" {
				t.Errorf("Voice Automated's audit log: %s", got)
			}
			if n := one[int](t, admin, `select count(*)::int from poolproof.audit_log a where a.object like 'user/%' and not exists (
				select from poolproof.profiles p where p.tenant_id = a.tenant_id and 'user/' || p.user_id = a.object)`); n != 0 {
				t.Errorf("%d audit rows are about another tenant's users", n)
			}
			if n := one[int](t, admin, `select count(*)::int from poolproof.role_permissions x join poolproof.permissions p on p.id = x.permission_id
				where p.name = 'manage_tenants' and x.tenant_id <> (select id from poolproof.platform)`); n != 0 {
				t.Error("a tenant's role holds manage_tenants")
			}
			if n := one[int](t, admin, `select count(*)::int from poolproof.tenants t where not poolproof.has_keeper(t.id, 'manage_roles')`); n != 0 {
				t.Errorf("%d tenants have nobody who manages roles", n)
			}

			// Again: nothing.
			before = everything(t, admin)
			second := imported(t, from, to, Options{})
			if !second.Empty() {
				t.Errorf("a second run has something to do: %+v", second.Tenants)
			}
			if diff := cmp.Diff(before, everything(t, admin)); diff != "" {
				t.Errorf("a second run changed something: %s", diff)
			}
			second.wantUnmapped(t, "tenants", nobodys, "--admin")

			// With somebody for the tenant that nobody manages.
			boss := uuid.New()
			third := imported(t, from, to, Options{Admin: boss})
			if got := one[string](t, admin, `select string_agg(case when u.user_id = $2 then 'boss' else right(u.user_id::text, 2) end || ' ' || r.name, ', ')
				from poolproof.user_roles u join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id where u.tenant_id = $1::text::uuid`, nobodys, boss); got != "boss SUPER_ADMIN" {
				t.Errorf("with --admin: %s", got)
			}
			if n := one[int](t, admin, `select count(*)::int from poolproof.user_roles where user_id = $1`, boss); n != 1 {
				t.Errorf("the administrator got %d roles", n)
			}
			third.wantUnmapped(t, person(11), "only the text")
			if p := planOf(t, from, to, Options{Admin: boss}); !p.Empty() {
				t.Errorf("a run after that has something to do: %+v", p.Tenants)
			}
		})
	}
}

// One database for both, as where poolproof stands beside the original.
func TestSameDatabase(t *testing.T) {
	owner, admin := destination(t)
	beside(t, owner, "")
	url := pgtest.Pooled(t, owner, pgtest.PgBouncer118Statement)
	const digest = `select md5(string_agg(x, '' order by x)) from (select p::text x from public.profiles p union all select u::text from public.user_roles u union all select r::text from public.roles r) y`
	before := one[string](t, admin, digest)
	imported(t, url, url, Options{})
	if got := who(t, admin, voice); !strings.Contains(got, "07 GLOBAL_ADMIN") {
		t.Errorf("Voice Automated: %s", got)
	}
	if before != one[string](t, admin, digest) {
		t.Error("the source was changed")
	}
}

func TestReadRefuses(t *testing.T) {
	if _, err := Read(t.Context(), pgtest.Database(t), "public"); !errors.Is(err, ErrNoSource) {
		t.Errorf("an empty database: %v", err)
	}
	url := source(t, `create role reader_of_legacy login; grant usage on schema public to reader_of_legacy; grant select on all tables in schema public to reader_of_legacy;
		alter table public.profiles enable row level security`)
	admin := open(t, url)
	defer exec(t, admin, `drop owned by reader_of_legacy; drop role reader_of_legacy`)
	reader := pgtest.Server(t).URL("reader_of_legacy", one[string](t, admin, `select current_database()`))
	if _, err := Read(t.Context(), reader, "public"); !errors.Is(err, ErrHidden) || !strings.Contains(err.Error(), "profiles") {
		t.Errorf("rows that are hidden: %v", err)
	}
	exec(t, admin, `alter table public.profiles disable row level security`)
	if _, err := Read(t.Context(), reader, "public"); err != nil {
		t.Errorf("a reader who may: %v", err)
	}
	if _, err := Read(t.Context(), pgtest.Pooled(t, url, pgtest.Pgpool43), "public"); !errors.Is(err, ErrSplit) {
		t.Errorf("a pooler that ends the transaction after each statement: %v", err)
	}
	owner, _ := destination(t)
	if _, err := ReadDestination(t.Context(), pgtest.Pooled(t, owner, pgtest.Pgpool43), Source{}); !errors.Is(err, ErrSplit) {
		t.Errorf("the destination through such a pooler: %v", err)
	}
	if _, err := Read(t.Context(), "postgres://me:pa55word@127.0.0.1:1/x", "public"); err == nil || strings.Contains(err.Error(), "pa55word") {
		t.Errorf("nobody there: %v", err)
	}
}

//go:build unix

package doctor_test

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	login = "doctor_login"
	table = `create table docs (tenant_id uuid, id int, primary key (tenant_id, id));
		alter table docs enable row level security; alter table docs force row level security;
		insert into docs select gen_random_uuid(), 1;
		grant select, insert, update, delete on docs to doctor_login;`
	is    = `tenant_id = (select nullif(current_setting('app.t', true), '')::uuid)`
	sound = table + `create policy tenant on docs using (` + is + `);`
)

// app is the URL of a new database with this schema, as a role that is no superuser and owns nothing.
func app(t testing.TB, schema string) string {
	t.Helper()
	owner := pgtest.Database(t)
	conn, err := pgx.Connect(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // only a fixture
	const role = `do $$ begin if not exists (select from pg_roles where rolname = 'doctor_login') then create role doctor_login login; end if; end $$;
		alter role doctor_login set idle_in_transaction_session_timeout = '60s';`
	if _, err := conn.Exec(t.Context(), role+schema); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(login)
	return u.String()
}

// findings are the codes of what is wrong.
func findings(r *doctor.Report) string {
	var all []string
	for _, c := range r.Checks {
		if c.Status == doctor.Fail || c.Status == doctor.Warn {
			all = append(all, string(c.ID))
		}
	}
	return strings.Join(all, " ")
}

// schemas makes one database with a schema for each case, "case_7", and returns its URL.
func schemas(t *testing.T, cases []schema) string {
	t.Helper()
	var all strings.Builder
	for i, c := range cases {
		sql := strings.NewReplacer("{SOUND}", sound, "{TABLE}", table, "{MANY}", "insert into docs select gen_random_uuid(), g from generate_series(1, 2000) g;", "{IS}", is).Replace(c.sql)
		fmt.Fprintf(&all, "create schema case_%d; grant usage on schema case_%d to public; set search_path = case_%d;\n%s;\n", i, i, i, sql)
	}
	return app(t, all.String()+"reset search_path;")
}

// schema is a case, and the codes of what is wrong with it.
type schema struct{ name, sql, want string }

var ofCase = regexp.MustCompile(`\bcase_(\d+)\b`)

// lookAt examines the database of all cases once and holds what was found to what each has.
func lookAt(t *testing.T, url string, cases []schema) {
	t.Helper()
	r := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: url, Fast: true})
	if !r.Reached {
		t.Fatal(r.Verdict)
	}
	found := make([][]string, len(cases))
	for _, c := range r.Checks {
		if c.Status != doctor.Fail && c.Status != doctor.Warn {
			continue
		}
		if c.ID == doctor.ServerVersion { // it is this machine's PostgreSQL
			continue
		}
		m := ofCase.FindStringSubmatch(c.Object)
		if m == nil {
			t.Errorf("%s of no case: %s: %s", c.ID, c.Object, c.Detail)
			continue
		}
		i, err := strconv.Atoi(m[1])
		if err != nil || i >= len(found) {
			t.Fatalf("%s", c.Object)
		}
		if c.Hint == "" || c.Consequence == "" || c.Basis == "" {
			t.Errorf("%s: %+v has no hint, consequence or basis", cases[i].name, c)
		}
		if !slices.Contains(found[i], string(c.ID)) {
			found[i] = append(found[i], string(c.ID))
		}
	}
	for i, c := range cases {
		slices.Sort(found[i])
		if got := strings.Join(found[i], " "); got != c.want {
			t.Errorf("%s: found %q, want %q: %s", c.name, got, c.want, c.sql)
		}
	}
	trial := check(r, doctor.Trial)
	if m := regexp.MustCompile(`(\d+) of (\d+) tenant tables tried`).FindStringSubmatch(trial.Detail); m == nil || m[1] != m[2] {
		t.Errorf("not all tables were tried: %s", trial.Detail)
	}
}

// faulty are schemas with one fault each. What a fault shows in the live trial is PD019's.
var faulty = []schema{
	{"nothing wrong", "{SOUND}", ""},
	{"no RLS", "{SOUND} alter table docs disable row level security", "PD004 PD019"},
	{"no RLS and no policy", "create table docs (tenant_id uuid primary key); insert into docs values (gen_random_uuid()); grant select on docs to doctor_login", "PD004 PD019"},
	{"a partition without RLS", "{SOUND} create table p (tenant_id uuid, id int, primary key (tenant_id, id)) partition by hash (tenant_id); alter table p enable row level security; alter table p force row level security; create policy tenant on p using ({IS}); create table p0 partition of p for values with (modulus 1, remainder 0); grant select on p0 to doctor_login; insert into p values (gen_random_uuid(), 1)", "PD004 PD019"},
	{"not forced", "{SOUND} alter table docs no force row level security", "PD005"},
	{"open for writing", "{SOUND} alter policy tenant on docs with check (true)", "PD006"},
	{"insert that checks nothing", "{SOUND} create policy i on docs for insert with check (true)", "PD006"},
	{"insert that checks another column", "{SOUND} create policy i on docs for insert with check (id > 0)", "PD006"},
	{"update that checks nothing", "{SOUND} create policy u on docs for update using ({IS}) with check (true)", "PD006"},
	{"open for reading", "{SOUND} create policy o on docs for select using (true)", "PD007 PD019"},
	{"open by a tautology", "{SOUND} create policy o on docs for select using (tenant_id is not null)", "PD007 PD019"},
	{"another setting", "{TABLE} create policy tenant on docs using (tenant_id = (select nullif(current_setting('app.other', true), '')::uuid))", "PD008"},
	{"column cast to text", "{TABLE} create policy tenant on docs using (tenant_id::text = (select current_setting('app.t', true)))", "PD009"},
	{"volatile function", "{TABLE} create function now_tenant() returns uuid language plpgsql volatile as $f$ begin return nullif(current_setting('app.t', true), '')::uuid; end $f$; create policy tenant on docs using (tenant_id = (select now_tenant()))", "PD010"},
	{"no nullif", "{TABLE} create policy tenant on docs using (tenant_id = (select current_setting('app.t', true)::uuid))", "PD011"},
	{"no nullif in a function", "{TABLE} create function tenant_now() returns uuid language sql stable as 'select current_setting(''app.t'', true)::uuid'; create policy tenant on docs using (tenant_id = (select tenant_now()))", "PD011"},
	{"no nullif, by cast()", "{TABLE} create policy tenant on docs using (tenant_id = (select cast(current_setting('app.t', true) as uuid)))", "PD011"},
	{"no sub-select", "{TABLE} create policy tenant on docs using (tenant_id = nullif(current_setting('app.t', true), '')::uuid)", "PD012"},
	{"a function outside a sub-select", "{TABLE} create function tenant_now() returns uuid language plpgsql stable as $f$ begin return nullif(current_setting('app.t', true), '')::uuid; end $f$; create policy tenant on docs using (tenant_id = tenant_now())", "PD012"},
	{"definer view", "{SOUND} create view v as select * from docs; grant select on v to doctor_login", "PD013"},
	{"definer view of an invoker view", "{SOUND} create view i with (security_invoker) as select * from docs; create view v as select * from i; grant select on v to doctor_login", "PD013"},
	{"definer function", "{SOUND} create function f() returns bigint language sql security definer as 'select count(*) from docs'", "PD014"},
	{"definer function of a name that wants quotes", `create table "Docs" (tenant_id uuid primary key); alter table "Docs" enable row level security; alter table "Docs" force row level security; create policy tenant on "Docs" using ({IS}); create function f() returns bigint language sql security definer as 'select count(*) from "Docs"'; grant select on "Docs" to doctor_login`, "PD014"},
	{"materialised view", "{SOUND} create materialized view m as select * from docs; grant select on m to doctor_login", "PD015"},
	{"view of a materialised view", "{SOUND} create materialized view m as select * from docs; create view v with (security_invoker) as select * from m; grant select on v to doctor_login; grant select on m to doctor_login", "PD015"},
	{"no index", "{SOUND} alter table docs drop constraint docs_pkey", "PD016"},
	{"an index that begins with another column", "{SOUND} alter table docs drop constraint docs_pkey; {MANY} create index on docs (id, tenant_id)", "PD016"},
	{"a partial index only", "{SOUND} alter table docs drop constraint docs_pkey; {MANY} create index on docs (tenant_id) where id > 0", "PD016"},
	{"a bypass by another setting", "{TABLE} create policy tenant on docs using ({IS} or (select current_setting('app.bypass', true)) = 'on')", "PD036"},
	{"a bypass by another setting, first", "{TABLE} create policy tenant on docs using (current_setting('app.bypass', true) = 'on' or {IS})", "PD012 PD036"},
	{"an index behind a column that no policy fixes", "{SOUND} alter table docs drop constraint docs_pkey; {MANY} create index on docs (id, tenant_id)", "PD016"},
	{"default grants", "do $$ begin execute format('alter default privileges in schema %I grant select on tables to doctor_login', current_schema()); end $$; {SOUND}", "PD018"},
	{"default grants to everybody", "do $$ begin execute format('alter default privileges in schema %I grant insert on tables to public', current_schema()); end $$; {SOUND}", "PD018"},
}

// TestFindings looks at schemas with one fault each, directly and through PgBouncer, as a role that is no superuser.
func TestFindings(t *testing.T) {
	url := schemas(t, faulty)
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Statement} {
		lookAt(t, pgtest.Pooled(t, url, kind), faulty)
	}
	// Each code that a schema can have is among them, and the SQL that the report offers mends it.
	seen := map[doctor.Code]bool{}
	for _, c := range faulty {
		for code := range strings.FieldsSeq(c.want) {
			seen[doctor.Code(code)] = true
		}
	}
	for _, code := range doctor.Codes() {
		if !seen[code] && (code < doctor.LeftTenant || code == doctor.OtherDoor) && !slices.Contains([]doctor.Code{doctor.NoConnection, doctor.Superuser, doctor.BypassRLS, doctor.OwnsTable, doctor.RowSecurityOff, doctor.ServerVersion, doctor.NoTimeout, doctor.Fleet, doctor.ReadOnly, doctor.BadOption}, code) {
			t.Errorf("no schema has %s", code)
		}
	}
}

// TestFixesMend runs the SQL that the report offers, and looks again.
func TestFixesMend(t *testing.T) {
	var cases []schema
	for _, c := range faulty {
		if !strings.Contains(c.want, "PD014") && !strings.Contains(c.want, "PD036") && c.name != "no nullif in a function" && c.name != "a function outside a sub-select" { // not by SQL alone
			cases = append(cases, c)
		}
	}
	url := schemas(t, cases)
	r := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: url, Fast: true})
	var fix strings.Builder
	if err := r.FixSQL(&fix); err != nil {
		t.Fatal(err)
	}
	// As a person would: line by line, as the owner; an index is made where no transaction is.
	owner, err := pgx.Connect(t.Context(), strings.Replace(url, login+"@", "postgres@", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close(t.Context()) //nolint:errcheck // only a fixture
	if _, err := owner.PgConn().Exec(t.Context(), strings.ReplaceAll(fix.String(), "index concurrently", "index")).ReadAll(); err != nil {
		t.Fatalf("%v:\n%s", err, fix.String())
	}
	again := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: url, Fast: true})
	if got := findings(again); got != "" {
		var text strings.Builder
		_ = again.Text(&text, false)
		t.Errorf("after the SQL: %s\n%s\n%s", got, text.String(), fix.String())
	}
}

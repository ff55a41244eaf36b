//go:build unix

package doctor_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	login = "doctor_login"
	sound = `create table docs (tenant_id uuid, id int, primary key (tenant_id, id));
		alter table docs enable row level security; alter table docs force row level security;
		create policy tenant on docs using (tenant_id = (select nullif(current_setting('app.t', true), '')::uuid));
		insert into docs select gen_random_uuid(), 1;
		grant select, insert, update, delete on docs to doctor_login;`
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

// TestFindings looks at schemas with one fault each, and at those that only look
// faulty, directly and through PgBouncer, as a role that is no superuser.
func TestFindings(t *testing.T) {
	const was = `using (tenant_id = (select nullif(current_setting('app.t', true), '')::uuid))`
	for _, tt := range []struct{ name, more, want string }{
		{"sound", "", ""},
		{"no RLS", "alter table docs disable row level security", "PD004 PD019"},
		{"not forced", "alter table docs no force row level security", "PD005"},
		{"open for writing", "alter policy tenant on docs with check (true)", "PD006"},
		{"open for reading", "create policy o on docs for select using (true)", "PD007 PD019"},
		{"cast column", "drop policy tenant on docs; create policy tenant on docs using (tenant_id::text = (select current_setting('app.t', true)))", "PD009"},
		{"no nullif", "drop policy tenant on docs; create policy tenant on docs using (tenant_id = (select current_setting('app.t', true)::uuid))", "PD011"},
		{"no sub-select", "drop policy tenant on docs; create policy tenant on docs using (tenant_id = nullif(current_setting('app.t', true), '')::uuid)", "PD012"},
		{"definer view", "create view v as select * from docs; grant select on v to doctor_login", "PD013"},
		{"definer function", "create function f() returns bigint language sql security definer as 'select count(*) from public.docs'", "PD014"},
		{"materialised view", "create materialized view m as select * from docs; grant select on m to doctor_login", "PD015"},
		{"no index", "alter table docs drop constraint docs_pkey", "PD016"},
		{"default grants", "alter default privileges grant select on tables to doctor_login", "PD018"},
		// These only look faulty.
		{"invoker view", "create view v with (security_invoker) as select * from docs; grant select on v to doctor_login", ""},
		{"view nobody may read", "create view v as select * from docs", ""},
		{"trigger function", "create function f() returns trigger language plpgsql security definer as 'begin delete from docs; return null; end'", ""},
		{"function for nobody", "create function f() returns bigint language sql security definer as 'select count(*) from public.docs'; revoke execute on function f from public", ""},
		{"table of no tenant", "create table countries (code text); grant select on countries to doctor_login", ""},
		{"open beside restrictive", "create policy r on docs as restrictive " + was + "; create policy o on docs using (true)", ""},
		{"policy of another role", "create policy o on docs to postgres using (true)", ""},
		{"default grants to others", "alter default privileges grant select on tables to pg_monitor", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := app(t, sound+tt.more)
			for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction} {
				r := doctor.Examine(t.Context(), doctor.Config{URL: pgtest.Pooled(t, url, kind)})
				if got := findings(r); got != tt.want {
					t.Errorf("%v: found %q, want %q: %s %+v", kind, got, tt.want, r.Verdict, r.Checks)
				}
				var text strings.Builder
				if err := r.Text(&text, false); err != nil || (strings.Count(text.String(), "\n") == 1) != (tt.want == "") {
					t.Errorf("%v: %v: %s", kind, err, text.String())
				}
			}
		})
	}
}

//go:build unix

package doctor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestTenantSeesNothing builds the fault that was seen as {} for a tenant that has features: there are rows, and the policy reads a
// setting that the application does not make. A tenant that sees its rows, or some of its tables', is no finding.
func TestTenantSeesNothing(t *testing.T) {
	const tenant = "550e8400-e29b-41d4-a716-446655440000"
	features := func(setting string) string {
		return `create table tenant_features (tenant_id uuid, feature text, enabled bool, primary key (tenant_id, feature)); grant select on tenant_features to doctor_login;
			alter table tenant_features enable row level security; alter table tenant_features force row level security;
			create policy tenant on tenant_features using (tenant_id = (select nullif(current_setting('` + setting + `', true), '')::uuid));
			insert into tenant_features values ('` + tenant + `', 'contentmap', true), (gen_random_uuid(), 'emailhunter', true);`
	}
	for _, tt := range []struct{ name, schema, tenant, want, says string }{
		{"its policy reads another setting", features("app.tenant"), tenant, "PD008 PD034", "no row of 1 tenant table: public.tenant_features"},
		{"it sees them", features("app.t"), tenant, "", "rows of it in 1 of 1 tenant table"},
		{"one table of two has rows of it", sound + features("app.t"), tenant, "", "1 of 2 tenant tables; none in public.docs"},
		{"nobody has such a tenant", features("app.t"), "550e8400-e29b-41d4-a716-446655440001", "PD034", "public.tenant_features"},
		{"no tenant's name", features("app.t"), "apple", "PD034", "invalid input syntax for type uuid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := doctor.Examine(t.Context(), doctor.Config{URL: app(t, tt.schema), Within: inTests, Fast: true, TenantSetting: "app.t", Tenant: tt.tenant})
			got := strings.Fields(findings(r))
			if got = slices.DeleteFunc(got, func(c string) bool { return c == string(doctor.ServerVersion) }); strings.Join(got, " ") != tt.want || !strings.Contains(detail(r, doctor.NothingSeen), tt.says) {
				t.Errorf("found %q, want %q: %s", got, tt.want, detail(r, doctor.NothingSeen))
			}
		})
	}
}

// TestStatementsThatDoNotFit builds the fault that was seen as UndefinedColumn: the program is of another version than the
// database. Each statement is parsed, through a pooler in statement mode too, and none is run.
func TestStatementsThatDoNotFit(t *testing.T) {
	url := app(t, sound+"create table roles (id int primary key, name text); grant select on roles to doctor_login")
	const fit = "select id, name from roles where id = $1; insert into docs (tenant_id, id) values ($1, $2);\n-- no right to: it is asked when it runs\nupdate roles set name = ';'; delete from docs; create table made (id int)"
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Statement} {
		look := func(statements string) *doctor.Report {
			return doctor.Examine(t.Context(), doctor.Config{URL: pgtest.Pooled(t, url, kind), Within: inTests, Only: []doctor.Code{doctor.DoesNotFit}, Statements: statements})
		}
		r := look(fit)
		if c := check(r, doctor.DoesNotFit); c.Status != doctor.OK || !strings.Contains(c.Detail, "5 of 5 statements parsed") {
			t.Errorf("%+v", c)
		}
		r = look(fit + "; select id, updated_at from roles; select r.tenant_id from roles r; select * from sidebar_features; select slug(name) from roles; selec 1")
		want := []string{"PD035 column r.tenant_id", "PD035 column updated_at", "PD035 function slug(text)", "PD035 relation sidebar_features", `PD035 syntax error at or near "selec"`}
		got := objects(r)
		if !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
		if c := check(r, doctor.DoesNotFit); !strings.Contains(c.Detail, "10 of 10 statements parsed by PostgreSQL, none of them run") || strings.Contains(r.Verdict, "not isolated") {
			t.Errorf("%s: %+v", r.Verdict, c)
		}
	}
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // only a fixture
	if rows, err := conn.Exec(t.Context(), "select to_regclass('made') is null, (select count(*) from roles)").ReadAll(); err != nil || string(rows[0].Rows[0][0]) != "t" {
		t.Errorf("something was run: %v", err)
	}
}

//go:build unix

package doctor_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// published are multi-tenant schemas of packages with a licence. Their faults were listed by hand, from reading the SQL, before the doctor
// looked. Nothing of them is in this tree: they are fetched.
//
// @usebetterdev/tenant-cli 0.5.4 (MIT), for an application's table projects:
//   - the policy casts the column: (tenant_id)::text = …, so that no index on tenant_id serves it: PD009
//   - it asks for the settings outside a scalar sub-select: PD012
//   - OR current_setting('app.bypass_rls', true) = 'true': whoever can make a setting, or gets a server connection on which one was
//     left, is bound by no policy: PD036
//   - set_tenant_id() casts the setting without nullif, so that an INSERT without a tenant fails with 22P02 instead of the policy's error. It
//     fails closed, in a trigger: not judged
//   - everybody reads tenants, which has no tenant's rows: meant
//
// adk-memshield 0.1.1 (Apache-2.0), its table memories:
//   - the policies ask for the settings outside a scalar sub-select: PD012
//   - no fault: the index begins with app_name, which each policy compares with a setting as well, so that it serves tenant_id behind it
//   - no fault: texts are compared without nullif, and ” is no tenant's name (a CHECK)
//   - a password stands in the schema: not judged
var published = []struct {
	name, fetch, glob string
	adapt             *strings.Replacer
	before, after     string
	role, setting     string
	want              []string
}{
	{
		name: "@usebetterdev/tenant-cli", fetch: "npm pack -s @usebetterdev/tenant-cli@0.5.4 && tar xzf *.tgz", glob: "package/dist/sql/*.sql",
		adapt:  strings.NewReplacer("{{TABLE_QUOTED}}", `"projects"`, "{{TABLE}}", "projects", "{{POLICY_NAME}}", "rls_tenant_projects"),
		before: "create table tenants (id uuid primary key, name text); create table projects (id uuid primary key default gen_random_uuid(), tenant_id uuid not null references tenants, name text); create index on projects (tenant_id); create function set_tenant_id() returns trigger language plpgsql as 'begin return new; end';",
		after:  "set app.bypass_rls = 'true'; insert into tenants values (gen_random_uuid(), 'a'); insert into projects (tenant_id) select id from tenants; grant select, insert, update, delete on projects, tenants to doctor_login;",
		role:   login, want: []string{"PD009", "PD012", "PD036"},
	},
	{
		name: "adk-memshield", fetch: "pip download -q --no-deps -d . adk-memshield==0.1.1 && unzip -qo *.whl", glob: "adk_memshield/sql/01_schema.sql",
		adapt:  strings.NewReplacer("CREATE EXTENSION IF NOT EXISTS vector;", "", "vector(384)", "float4[]"), // pgvector is not everywhere
		before: "do $$ begin if not exists (select from pg_roles where rolname = 'memshield_app') then create role memshield_app login; end if; end $$; alter role memshield_app set idle_in_transaction_session_timeout = '60s';",
		after:  "insert into memories (app_name, tenant_id, user_id, content, embedding) values ('a', 't', 'u', 'c', '{}'); insert into memories (app_name, tenant_id, user_id, content, embedding) select 'a', 't' || g, 'u', 'c', '{}' from generate_series(1, 2000) g;",
		role:   "memshield_app", setting: "app.current_tenant_id", want: []string{"PD012"},
	},
}

// TestPublishedSchemas compares what the doctor finds in schemas that others have published with what was listed by hand. The soak fetches them.
func TestPublishedSchemas(t *testing.T) {
	if !pgtest.Soak() {
		return // they come over the network
	}
	for _, p := range published {
		t.Run(p.name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), "sh", "-c", p.fetch) //nolint:gosec // ours
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			files, err := filepath.Glob(filepath.Join(dir, p.glob))
			if err != nil || len(files) == 0 {
				t.Fatalf("no file of SQL: %v", err)
			}
			schema := p.before
			for _, f := range files {
				raw, err := os.ReadFile(f) //nolint:gosec // fetched
				if err != nil {
					t.Fatal(err)
				}
				schema += p.adapt.Replace(string(raw)) + "\n"
			}
			owner := app(t, schema+p.after)
			u, err := url.Parse(owner)
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.User(p.role)
			r := doctor.Examine(t.Context(), doctor.Config{URL: pgtest.Pooled(t, u.String(), pgtest.PgBouncer124Transaction), Within: inTests, Fast: true, TenantSetting: p.setting})
			var got []string
			for c := range strings.FieldsSeq(findings(r)) {
				if c != string(doctor.ServerVersion) && !slices.Contains(got, c) {
					got = append(got, c)
				}
			}
			if !slices.Equal(got, p.want) {
				t.Errorf("found %q, by hand %q: %s", got, p.want, text(t, r))
			}
		})
	}
}

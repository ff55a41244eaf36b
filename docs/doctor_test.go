//go:build unix

package docs

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestDoctorGuide runs docs/doctor.md on a database with the guide's faults, behind PgBouncer 1.18, and holds what it shows to
// what is printed.
func TestDoctorGuide(t *testing.T) {
	t.Parallel()
	owner := pgtest.Database(t)
	sql(t, owner, `do $$ begin if not exists (select from pg_roles where rolname = 'shop') then create role shop login; end if; end $$`)
	sql(t, owner, `alter role shop set idle_in_transaction_session_timeout = '60s';
		create table invoices (tenant_id uuid, id int, primary key (tenant_id, id)); alter table invoices enable row level security; alter table invoices force row level security;
		create policy tenant on invoices using (tenant_id = (select current_setting('app.tenant', true)::uuid));
		create table notes (tenant_id uuid, id int, primary key (tenant_id, id)); insert into invoices values (gen_random_uuid(), 1); insert into notes values (gen_random_uuid(), 1);
		grant select, insert, update, delete on invoices, notes to shop`)
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("shop")
	printed := runDoc(t, "doctor.md", map[string]string{"DATABASE_URL": pgtest.Pooled(t, u.String(), pgtest.PgBouncer118Transaction), "DIRECT_URL": owner})
	version := regexp.MustCompile(`PostgreSQL [0-9.]+`)
	printed = version.ReplaceAllString(printed, "PostgreSQL N")
	shown := regexp.MustCompile("(?ms)^```text\n(.*?)^```$").FindAllStringSubmatch(readFile(t, "doctor.md"), -1)
	if len(shown) < 4 {
		t.Errorf("the guide shows %d outputs", len(shown))
	}
	for _, s := range shown {
		for line := range strings.Lines(version.ReplaceAllString(s[1], "PostgreSQL N")) {
			if !strings.Contains(printed, line) {
				t.Errorf("the guide shows what is not printed: %q", line)
			}
		}
	}
	if t.Failed() {
		t.Log(printed)
	}
}

//go:build unix

package doctor

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// TestPages: each code has a page that says what the catalogue says, and its SQL runs: what shows the fault as the
// application's role, what mends it as the owner.
func TestPages(t *testing.T) {
	owner := pgtest.Database(t)
	conn, err := pgx.Connect(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // only a fixture
	run := func(c *pgx.Conn, sql string) error {
		_, err := c.PgConn().Exec(t.Context(), sql).ReadAll()
		return err
	}
	if err := run(conn, `drop role if exists page_login; drop role if exists app_runtime; drop role if exists app; drop role if exists app_owner;
		create role page_login login; create role app; create role app_owner;
		create table docs (tenant_id uuid, id int, primary key (tenant_id, id)); grant select on docs to page_login;
		create policy tenant on docs using (tenant_id = gen_random_uuid()); create policy everybody on docs using (true);
		create view docs_view as select * from docs; create materialized view docs_summary as select tenant_id, count(*) from docs group by 1;
		create function docs_count() returns bigint language sql security definer as 'select count(*) from docs';
		create function current_tenant() returns uuid language sql as 'select null::uuid'`); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := run(conn, "drop owned by page_login, app, app_owner; drop role page_login; drop role app; drop role app_owner"); err != nil {
			t.Error(err)
		}
	}()
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("page_login")
	app, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close(t.Context()) //nolint:errcheck // only read

	guide := read(t, "../docs/doctor.md")
	ran := 0
	for _, c := range Codes() {
		k := catalogue[c]
		raw := read(t, "../docs/doctor/"+string(c)+".md")
		page := strings.Join(strings.Fields(raw), " ")
		for what, want := range map[string]string{
			"its title": "# " + string(c) + ": " + k.title + " ", "the consequence": strings.TrimSpace(k.consequence[1:]), "what it rests on": ", " + string(k.basis) + ". ",
			"production": "## In production ", "the cause": "## Cause ", "how to see it": "## How to see it ", "the fix": "## Fix ",
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %s: %q", c, what, want)
			}
		}
		if row := "| [" + string(c) + "](doctor/" + string(c) + ".md) | " + k.title + " |"; !strings.Contains(guide, row) {
			t.Errorf("the guide lacks %q", row)
		}
		see, fix, _ := strings.Cut(raw, "\n## Fix\n")
		for _, m := range sqlBlock.FindAllStringSubmatch(see, -1) {
			ran++
			if err := run(app, m[1]); err != nil {
				t.Errorf("%s, how to see it: %v: %s", c, err, m[1])
			}
		}
		for _, m := range sqlBlock.FindAllStringSubmatch(fix, -1) {
			ran++
			sql := strings.NewReplacer("concurrently ", "", "begin;", "", "commit;", "").Replace(m[1])
			if err := run(conn, "begin; "+sql+"; rollback"); err != nil {
				t.Errorf("%s, the fix: %v: %s", c, err, m[1])
				_ = run(conn, "rollback") // for the next page
			}
		}
	}
	if ran < 40 {
		t.Errorf("only %d blocks of SQL were run", ran)
	}
	pages, err := filepath.Glob("../docs/doctor/PD*.md")
	if err != nil || len(pages) != len(Codes()) {
		t.Errorf("%d pages for %d codes, %v", len(pages), len(Codes()), err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name) //nolint:gosec // a page of ours
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

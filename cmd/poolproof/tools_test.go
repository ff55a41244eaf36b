//go:build unix

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// tool runs a program of PostgreSQL's to its end and returns all that it wrote.
func tool(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// throughProxy runs f with a URL that leads through poolproof proxy, and returns the codes
// of what was found. Then no server connection is left.
func throughProxy(t *testing.T, direct string, flags []string, f func(pooled string)) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	proxy := startProxy(t, append([]string{"--upstream", direct, "--json", file}, flags...)...)
	f(proxy.pooled(t, direct))
	watcher, err := pgx.Connect(t.Context(), direct)
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close(t.Context()) //nolint:errcheck // it is over
	none := func() bool {
		var n int
		if err := watcher.QueryRow(t.Context(), "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	}
	if slices.Contains(flags, "--observe") { // each ends with its client
		eventually(t, 10*time.Second, "no server connection is left while the proxy runs", none)
	}
	proxy.stop()
	eventually(t, 10*time.Second, "no server connection is left", none)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct{ Findings []struct{ Code string } }
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	codes := []string{}
	for _, f := range report.Findings {
		codes = append(codes, f.Code)
	}
	return codes
}

var proxyForms = map[string][]string{"strict": nil, "observe": {"--observe"}}

// psqlScript is a session at psql's prompt: what it describes, copies, gets wrong
// and is told besides.
const psqlScript = `
\set VERBOSITY verbose
create table goods (id int primary key, name text not null, price numeric(8,2) default 1.5);
comment on table goods is 'what is sold';
\copy goods (id, name) from pstdin
1	apple
2	a pear, \N or \\
3	größe
\.
copy goods from stdin with (format csv);
4,"quoted, with ""these""",2.50
5,,3
\.
\d goods
\dt+ goods
\df pg_catalog.int4pl
\l postgres
select * from goods order by id;
\x
select * from goods order by id limit 1;
\x
\copy (select * from goods order by id) to pstdout with csv header
copy goods (name) to stdout;
begin; update goods set price = price * 2 returning id, price; savepoint s; select 1/0; rollback to s; select sum(price) from goods; rollback;
select 1 as one \; select 2 as two;
do $$begin raise notice 'a notice'; raise warning using message = 'a warning', hint = 'a hint', errcode = '01ABC'; end$$;
select * from nowhere;
insert into goods values (1, 'again');
select id, name from goods order by id \crosstabview
\set FETCH_COUNT 2
select * from goods order by id;
\unset FETCH_COUNT
select count(*) from generate_series(1, 100000);
select repeat('x', 100000);
\encoding
drop table goods;
`

// psql writes the same through both forms as before the server itself.
func TestPsql(t *testing.T) {
	for form, flags := range proxyForms {
		t.Run(form, func(t *testing.T) {
			direct := pgtest.Database(t)
			psql := func(to, script string) string {
				out, err := tool(t, script, "psql", "-X", "-a", to)
				if err != nil {
					t.Errorf("psql: %v", err)
				}
				return out
			}
			script := psqlScript
			if len(flags) > 0 { // asks for a description in a trip of its own, and keeps settings
				script += "select 1 as a, 'x'::text as b \\gdesc\nset timezone = 'UTC'; set search_path = pg_catalog;\nshow timezone; show search_path;\nlisten news; notify news, 'for me';\nprepare p as select 42; \nexecute p;\n"
			}
			strip := func(out string) string { // of notifications it names the server's process
				lines := strings.Split(out, "\n")
				return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Asynchronous notification") }), "\n")
			}
			want := psql(direct, script)
			codes := throughProxy(t, direct, flags, func(pooled string) {
				if got := psql(pooled, script); strip(got) != strip(want) || strings.Count(got, "Asynchronous") != strings.Count(want, "Asynchronous") {
					t.Errorf("psql writes\n%s\nand before the server\n%s", got, want)
				}
			})
			if strings.Count(want, "ERROR:  ") < 4 || !strings.Contains(want, "a hint") || !strings.Contains(want, "größe") {
				t.Errorf("the script does not do what it should:\n%s", want)
			}
			if len(flags) == 0 && len(codes) > 0 {
				t.Errorf("found %q", codes)
			}
			if len(flags) > 0 && !slices.Equal(codes, []string{"PP001", "PP004", "PP008", "PP010", "PP010"}) {
				t.Errorf("found %q", codes)
			}
		})
	}
}

// pgbench runs in its simple and extended modes through both forms, and nothing
// is found. Its mode that prepares ends as on a real PgBouncer 1.18, and is told
// of; to one that is observed nothing happens.
func TestPgbench(t *testing.T) {
	run := func(to, mode string) (string, error) {
		return tool(t, "", "pgbench", "-n", "-c", "4", "-j", "2", "-t", "40", "-M", mode, to)
	}
	database := func() string {
		return pgtest.Copy(t, "pgbench", func(url string) {
			if out, err := tool(t, "", "pgbench", "-i", "-q", "-s", "1", url); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		})
	}
	const missing = `prepared statement "P_`
	if out, err := run(pgtest.Pooled(t, database(), pgtest.PgBouncer118Transaction), "prepared"); err == nil || !strings.Contains(out, missing) {
		t.Errorf("PgBouncer 1.18: %v: %s", err, out)
	}
	direct := database()
	for form, flags := range proxyForms {
		for _, mode := range []string{"simple", "extended", "prepared"} {
			t.Run(form+", "+mode, func(t *testing.T) {
				codes := throughProxy(t, direct, flags, func(pooled string) {
					out, err := run(pooled, mode)
					if aborts := mode == "prepared" && form == "strict"; aborts {
						if err == nil || !strings.Contains(out, missing) || !strings.Contains(out, "aborted") {
							t.Errorf("%v: %s", err, out)
						}
					} else if err != nil || !strings.Contains(out, "actually processed: 160/160") {
						t.Errorf("%v: %s", err, out)
					}
				})
				want := []string{}
				if mode == "prepared" {
					want = []string{"PP002", "PP003"}
				}
				if !slices.Equal(codes, want) {
					t.Errorf("found %q, want %q", codes, want)
				}
			})
		}
	}
}

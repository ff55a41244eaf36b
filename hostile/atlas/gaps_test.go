package atlas

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// wanted are the extensions that the differential test looks into, if the
// server has them.
var wanted = []string{"dblink", "postgres_fdw", "pg_trgm", "pg_stat_statements", "hypopg", "plperl", "plpython3u", "pltcl", "postgis"}

// check fails the test for gaps, for what stays although a row denies it, and
// if gaps would not be found: without any one of the rows that explain something
// there must be one.
func check(t *testing.T, r Result) {
	t.Helper()
	for _, d := range r.Gaps(Rows()) {
		t.Errorf("a gap: %s %s (%d, after DISCARD ALL %d) since %s: %s", d.Kind, d.Subject, d.Count, d.AfterDiscard, d.Where, d.SQL)
	}
	for _, d := range r.Contradictions(Rows()) {
		t.Errorf("%s stays after DISCARD ALL, which the row %q denies: %s %s", d.Kind, explaining(Rows(), d.Kind).Name, d.Where, d.Subject)
	}
	removed := 0
	for i, row := range Rows() {
		explains := slices.ContainsFunc(r.Differences, func(d Difference) bool { return slices.Contains(row.Differences, d.Kind) })
		if !explains {
			continue
		}
		removed++
		if len(r.Gaps(slices.Delete(Rows(), i, i+1))) == 0 {
			t.Errorf("without the row %q there is no gap", row.Name)
		}
	}
	if removed < 3 {
		t.Errorf("only %d rows explain something", removed)
	}
	for _, d := range r.Differences {
		t.Logf("%s %s (%d, after DISCARD ALL %d) %s: %s", d.Kind, d.Subject, d.Count, d.AfterDiscard, d.Where, d.SQL)
	}
	t.Logf("%d scripts, %d statements, %d failed, %d skipped, %d lost, %d comparisons, %d questions, %d kinds, %d rows removed one by one",
		r.Scripts, r.Statements, r.Failed, r.Skipped, r.Lost, r.Comparisons, r.Questions, len(r.Differences), removed)
}

// The differential test on a sample of PostgreSQL's own scripts: no gap, and
// each row that is taken away is one.
func TestSample(t *testing.T) {
	dir, _ := regressFolder(t)
	url := pgtest.Database(t)
	dial(t, url).must(t, noJIT)
	m, err := newMachine(t.Context(), url, "", nil)
	must(t, err)
	for _, name := range []string{"advisory_lock", "async", "guc", "prepare", "sequence", "temp"} {
		must(t, m.run(t.Context(), filepath.Join(dir, "src/test/regress/sql", name+".sql")))
	}
	r := m.done()
	check(t, r)
	for _, kind := range []string{"setting", "custom setting", "lock:advisory", "channel", "cursor", "prepared", "lastval", "temp:pg_class", "temp:pg_proc", "open transaction", "failed transaction"} {
		if !slices.ContainsFunc(r.Differences, func(d Difference) bool { return d.Kind == kind }) {
			t.Errorf("the machine has not seen %s", kind)
		}
	}
}

// The machine sees what the table knows: each row that SQL makes, and that
// explains a kind of difference, is one of these kinds when it is made before the
// machine's eyes.
func TestMachineSeesRows(t *testing.T) {
	url, twin := pgtest.Database(t), pgtest.Database(t)
	m, err := newMachine(t.Context(), url, twin, nil)
	must(t, err)
	for _, r := range Rows() {
		if r.Documented != "" || len(r.Make) == 0 || len(r.Differences) == 0 {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			r.prepare(t, url)
			r.prepare(t, twin)
			defer resetDatabase(t, url)
			m.example, m.twin = map[string]*Difference{}, ""
			if r.Twin { // else it might be the twin that gets what only one can have
				m.twin = twin
			}
			u, err := m.start(t.Context())
			must(t, err)
			defer u.stop()
			for _, sql := range r.Make {
				a, err := m.statement(u, sql, step{sql: sql}, r.Name)
				must(t, err)
				if a.failure != nil {
					t.Fatalf("%s: %s", sql, a.failure.Message)
				}
			}
			seen := func() bool {
				return slices.ContainsFunc(r.Differences, func(kind string) bool { return m.example[kind] != nil })
			}
			if !seen() { // what only who connects later has
				u.fresh.close()
				u.fresh, err = connect(t.Context(), url)
				must(t, err)
				u.last = nil
				must(t, m.compare(u, "", r.Name))
			}
			if !seen() { // what is asked at the end only
				must(t, m.finish(t.Context(), u, r.Name))
			}
			if !seen() {
				t.Errorf("none of %q is seen, only %q", r.Differences, slices.Sorted(maps.Keys(m.example)))
			}
		})
	}
}

// The differential test on all of PostgreSQL's own scripts: core, procedural
// languages and contrib.
func TestEveryStatement(t *testing.T) {
	if !pgtest.Soak() {
		return // TestSample runs some
	}
	dir, source := regressFolder(t)
	settings := map[string]string{
		"autovacuum": "off", "wal_level": "logical", "max_prepared_transactions": "20", "shared_preload_libraries": "pg_stat_statements",
		"max_wal_size": "512MB", "log_min_messages": "fatal", "allow_in_place_tablespaces": "on", "pg_stat_statements.track": "all",
	}
	one, two := pgtest.PrivateServer(t, "", settings), pgtest.PrivateServer(t, "", settings)
	bin := devdb.FindPostgres(t.Context())
	env := map[string]string{
		"PG_ABS_SRCDIR": filepath.Join(dir, "src/test/regress"), "PG_ABS_BUILDDIR": os.TempDir(),
		"PG_LIBDIR": filepath.Join(filepath.Dir(bin), "lib"), "PG_DLSUFFIX": ".so",
	}
	var m *machine
	only := *onlySuite
	extensions := map[string]bool{}
	for _, s := range suites(t) {
		if only != "" && s.name != only {
			continue
		}
		began := time.Now()
		for _, server := range []*devdb.Postgres{one, two} {
			admin := dial(t, server.AdminURL())
			admin.must(t, `create database "`+s.name+`" template template0`)
			for _, setting := range []string{"timezone to 'PST8PDT'", "datestyle to 'Postgres, MDY'", "intervalstyle to 'postgres_verbose'", "lc_messages to 'C'", "statement_timeout to '20s'", "jit to off"} {
				admin.must(t, `alter database "`+s.name+`" set `+setting)
			}
			if server == one {
				for _, e := range wanted {
					extensions[e] = admin.must(t, "select 1 from pg_available_extensions where name = '"+e+"'").text() == "1"
				}
			}
			admin.close()
			prepareSuite(t, server.URL(devdb.Superuser, s.name), s.name)
		}
		url, twin := one.URL(devdb.Superuser, s.name), two.URL(devdb.Superuser, s.name)
		if m == nil {
			var err error
			m, err = newMachine(t.Context(), url, twin, env)
			must(t, err)
			m.loopback = strings.NewReplacer("$$dbname='", fmt.Sprintf("$$host=127.0.0.1 port=%d user=postgres dbname='", one.Port()), "OPTIONS (dbname '$$", "OPTIONS (host '127.0.0.1', dbname '$$")
		}
		m.url, m.twin = url, twin
		for _, f := range s.files {
			if err := m.run(t.Context(), f); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
		for _, u := range []string{url, twin} { // a prepared transaction that a script forgot would keep others waiting
			c := dial(t, u)
			for _, row := range c.must(t, "select gid from pg_prepared_xacts where database = current_database()").rows {
				c.must(t, "rollback prepared '"+strings.ReplaceAll(row[0], "'", "''")+"'")
			}
			c.close()
		}
		t.Logf("%s: %d scripts, %s", s.name, len(s.files), time.Since(began).Round(time.Second))
	}
	r := m.done()
	r.Date, r.Source = time.Now().UTC().Format(time.DateOnly), source
	r.Server, _, _ = strings.Cut(dial(t, one.AdminURL()).reported["server_version"], " ")
	for _, e := range wanted {
		if extensions[e] {
			r.Extensions = append(r.Extensions, e)
		} else {
			r.Absent = append(r.Absent, e)
		}
	}
	raw, err := json.MarshalIndent(r, "", "\t")
	must(t, err)
	check(t, r)
	if *update && only == "" {
		must(t, os.WriteFile("last.json", append(raw, '\n'), 0o644))                     //nolint:gosec // a document
		must(t, os.WriteFile("../../docs/atlas.md", []byte(Markdown(Rows(), r)), 0o644)) //nolint:gosec // a document
	}
}

// prepareSuite makes, in the database of a procedural language's scripts, the
// function that tells of the language's globals.
func prepareSuite(t *testing.T, url, name string) {
	t.Helper()
	for _, r := range Rows() {
		language := map[string]string{"plperl": "plperl", "plpython": "plpython3u", "tcl": "pltcl"}[name]
		if language != "" && slices.Equal(r.Needs, []string{language}) {
			r.prepare(t, url)
		}
	}
}

// noJIT keeps the server from compiling our questions, each of which it would
// take for a dear one. It is not asked of the session, which would show.
const noJIT = "do $$begin execute format('alter database %I set jit to off', current_database()); end$$"

func itoa(n uint32) string { return fmt.Sprint(n) }

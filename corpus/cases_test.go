package corpus

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// cases is the folder of the programs that TestCases asks about, and of their
// schema.sql. They are not ours, so they do not lie here.
var cases = flag.String("cases", "", "compare what prove says of the programs in this folder with what copies of them suffer")

// caseTable names the programs of the folder. Those that need their library's own
// tables have a form that makes them.
var caseTable = []struct {
	program, setup string
	forms          []string
	more           map[string][]string // of a form: see subject
}{
	{program: "R2dbc1.java", forms: []string{"default", "correct", "fetch", "schema", "timeout", "tx", "iso"}},
	{program: "dyn_setconfig.mjs", forms: []string{"faulty", "correct"}},
	{program: "graphile_worker.mjs", setup: "setup", forms: []string{"default", "noprep", "direct"}},
	{program: "hashed.cjs", forms: []string{""}},
	{program: "named_failed.mjs", forms: []string{"faulty", "correct"}},
	{program: "named_once.cjs", forms: []string{""}},
	{program: "pgqueuer_app.py", setup: "setup", forms: []string{"default", "cache0", "direct"}},
	{program: "postgraphile_like.mjs", forms: []string{"default", "correct"}},
	{program: "psycopg_dealloc.py", forms: []string{"default", "correct"}},
	{
		program: "raw.py", forms: []string{"pipe", "interval", "guc statement_timeout 5s", "guc TimeZone Asia/Tokyo", "prepclosed", "flush", "portal", "cancel"},
		more: map[string][]string{"pipe": {"strict", "observe"}}, // Supavisor mixes them up: TestSyncsInFlightAsSupavisor
	},
	{program: "set_and_back.py", forms: []string{"faulty", "back", "default", "reset"}},
	{program: "supabase_claims.mjs", forms: []string{"faulty", "correct"}},
	{program: "temp_function.py", forms: []string{"faulty", "correct"}},
}

// TestCopies for the programs of -cases, as much of it as the soak does.
func TestCases(t *testing.T) {
	if *cases == "" {
		return // their folder was not named
	}
	admin := pgtest.Server(t).AdminURL()
	execAt(t, admin, "create role "+app+" login")
	c := newComparison(t, as(t, app, admin), true)
	dir := unpacked(t)
	for _, k := range caseTable {
		for _, form := range k.forms {
			t.Run(strings.TrimSpace(k.program+" "+form), func(t *testing.T) {
				t.Parallel()
				c.compare(t, subject{
					faulty: form == "faulty" || form == "portal", // which outlives no transaction on any connection
					more:   k.more[form],
					database: func(t *testing.T) string {
						t.Helper()
						return as(t, app, pgtest.Copy(t, "cases"+k.setup+k.program, func(direct string) { fillCase(t, dir, k.program, k.setup, direct) }))
					},
					run: func(t *testing.T, pooled, direct string) run { //nolint:thelper // it is what is tested
						return runCase(t, dir, k.program, form, pooled, direct)
					},
				})
			})
		}
	}
}

// unpacked copies the folder to where its programs find what they use.
func unpacked(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "cases")
	if err := os.CopyFS(dir, os.DirFS(*cases)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(installed(t, "node"), "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob(filepath.Join(dir, "*.java"))
	if err != nil {
		t.Fatal(err)
	}
	compile := exec.CommandContext(t.Context(), "javac", append(sources, "testdata/U.java", "-proc:none", "-cp", installed(t, "java")+"/*", "-d", dir)...) //nolint:gosec // the tester's own folder
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// fillCase makes the folder's schema in a database, and what a program needs beside it.
func fillCase(t *testing.T, dir, program, setup, direct string) {
	t.Helper()
	schema, err := os.ReadFile(filepath.Join(dir, "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	execAt(t, direct, string(schema))
	if program == "R2dbc1.java" { // its names of them
		execAt(t, direct, `
			create table items as table item; grant all on items to app;
			create schema tenant_a; grant usage on schema tenant_a to app`)
	}
	execAt(t, direct, `do $$ begin execute format('grant create on database %I to app', current_database()); end $$`)
	if setup != "" {
		if ran := runCase(t, dir, program, setup, as(t, app, direct), as(t, app, direct)); ran.exit != 0 {
			t.Fatalf("exited with %d\n%s", ran.exit, ran.output)
		}
	}
}

// complaint is how the folder's programs say that something is wrong; some go on
// after it and exit with 0.
var complaint = regexp.MustCompile(`(?m)^(WRONG|FAIL|ERR)\b`)

func runCase(t *testing.T, dir, program, form, pooled, direct string) run {
	t.Helper()
	var argv []string
	switch file := filepath.Join(dir, program); filepath.Ext(program) {
	case ".py":
		argv = []string{filepath.Join(installed(t, "python"), "bin", "python"), file}
	case ".java":
		argv = append(javaAt(dir+":"+filepath.Join(installed(t, "java"), "*")), strings.TrimSuffix(program, ".java"))
	default:
		argv = []string{"node", file}
	}
	ran := start(t, append(argv, strings.Fields(form)...), nil, pooled, direct)
	if ran.exit == 0 && complaint.MatchString(ran.output) {
		ran.exit = 1
	}
	return ran
}

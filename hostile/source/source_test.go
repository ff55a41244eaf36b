package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/corpus"
	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// installed is where the drivers of a language are.
func installed(t *testing.T, language string) string {
	t.Helper()
	dir, err := corpus.Installed(language)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func python(t *testing.T) string {
	t.Helper()
	return filepath.Join(installed(t, "python"), "bin", "python")
}

// nodeProgram copies a program to where it finds its packages.
func nodeProgram(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(installed(t, "node"), "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lineOf is where a program says something that its comment marks.
func lineOf(t *testing.T, file, mark string) int {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(raw)) {
		n++
		if strings.HasSuffix(strings.TrimSpace(line), mark) {
			return n
		}
	}
	t.Fatalf("%s has no %q", file, mark)
	return 0
}

// Programs as people write them, with each driver: the finding points at the
// line, and the program does and says what it does without the scripts.
func TestLocate(t *testing.T) {
	for _, tc := range []struct {
		program string
		driver  string
		want    map[string]string // setting that is left: the mark of the line that did it
	}{
		{"psycopg3.py", "psycopg", map[string]string{"app.where": "# here"}},
		{"psycopg2_.py", "psycopg2", map[string]string{"app.where": "# here", "app.dict": "# there"}},
		{"asyncpg_.py", "asyncpg", map[string]string{"app.where": "# here"}},
		{"sqlalchemy_.py", "", map[string]string{"app.where": "# here", "app.later": "# there"}},
		{"django_.py", "django", map[string]string{"app.where": "# here", "app.orm": "# there"}},
		{"pg.cjs", "node-postgres", map[string]string{"app.where": "// here", "app.pool": "// there"}},
		{"pg.mjs", "node-postgres", map[string]string{"app.where": "// here", "app.pool": "// there"}},
		{"postgres.cjs", "postgres.js", map[string]string{"app.where": "// here", "app.nested": "// there"}},
		{"postgres.mjs", "postgres.js", map[string]string{"app.where": "// here", "app.nested": "// there"}},
	} {
		t.Run(tc.program, func(t *testing.T) {
			dir, command := "testdata", []string{"node", tc.program}
			if strings.HasSuffix(tc.program, ".py") {
				command[0] = python(t)
			} else {
				dir = nodeProgram(t, tc.program)
			}
			p, pooled := hostile.StartWith(t, hostile.Config{Upstream: pgtest.Database(t)})
			rec, err := New()
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := rec.Close(); err != nil {
					t.Error(err)
				}
			}()
			u, err := url.Parse(pooled)
			if err != nil {
				t.Fatal(err)
			}
			password, _ := u.User.Password()
			env := append(os.Environ(), "DATABASE_URL="+pooled, "PGPASSWORD="+password, "PORT="+u.Port(), "DATABASE="+strings.TrimPrefix(u.Path, "/"), "PYTHONDONTWRITEBYTECODE=1")
			without := output(t, dir, env, command)
			with := output(t, dir, rec.Environ(env), command)
			if with != without || !strings.Contains(with, "a") {
				t.Errorf("the program says\n%s\nand without the scripts\n%s", with, without)
			}
			abs, err := filepath.Abs(dir)
			if err != nil {
				t.Fatal(err)
			}
			r := p.Report()
			if err := rec.Locate(&r, abs); err != nil {
				t.Fatal(err)
			}
			for setting, mark := range tc.want {
				i := slices.IndexFunc(r.Findings, func(f hostile.Finding) bool { return f.Code == hostile.SessionSetting && f.Subject == setting })
				if i < 0 {
					t.Fatalf("%s was not found: %+v", setting, r.Findings)
				}
				got, want := r.Findings[i].First, lineOf(t, filepath.Join(dir, tc.program), mark)
				if tc.driver != "" && got.Client.Driver != tc.driver { // SQLAlchemy's program uses two
					t.Errorf("%s is said to be %q's", setting, got.Client.Driver)
				}
				if got.File != tc.program || got.Line != want {
					t.Errorf("%s is said to come from %q, line %d, want line %d; calls: %s", setting, got.File, got.Line, want, calls(t, rec))
				}
			}
		})
	}
}

func output(t *testing.T, dir string, env, command []string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%q: %v\n%s%s", command, err, out, &stderr)
	}
	return string(out)
}

func calls(t *testing.T, r *Recorder) string {
	t.Helper()
	raw, err := os.ReadFile(r.calls())
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// What the environment held before is kept, and a sitecustomize of the
// program's own still runs.
func TestEnvironKeepsWhatIsThere(t *testing.T) {
	rec, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rec.Close() }()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"sitecustomize.py": "print('theirs')\n", "theirs.cjs": "console.log('theirs')\n", "helper.py": "answer = 42\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := rec.Environ(append(os.Environ(), "PYTHONPATH="+dir, "NODE_OPTIONS=--require "+filepath.Join(dir, "theirs.cjs"), "PYTHONDONTWRITEBYTECODE=1"))
	if got := output(t, dir, env, []string{"python3", "-c", "import helper, sitecustomize; print(helper.answer, sitecustomize.__file__.endswith('sitecustomize.py'))"}); got != "theirs\n42 True\n" {
		t.Errorf("Python: %q", got)
	}
	if got := output(t, dir, env, []string{"node", "-e", "console.log(42)"}); got != "theirs\n42\n" {
		t.Errorf("Node: %q", got)
	}
	if got := output(t, dir, env, []string{"sh", "-c", `test -w "$POOLPROOF_CALLS" && echo yes`}); got != "yes\n" {
		t.Errorf("the file: %q", got)
	}
}

// What a library sends in the background, with nothing of the program's on the
// stack, is the affair of the library that the program calls.
func TestBackground(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	const calls = `{"sql":"set search_path to \"tenant_b\"","via":["pg","knex"]}
{"sql":"select 1","file":"/app/main.js","line":7,"via":["pg","knex","objection"]}
`
	if err := os.WriteFile(r.calls(), []byte(calls), 0o600); err != nil {
		t.Fatal(err)
	}
	report := hostile.Report{Findings: []hostile.Finding{{Code: hostile.SessionSetting, Subject: "search_path", First: hostile.Occurrence{SQL: `set search_path to "tenant_b"`}}}}
	if err := r.Locate(&report, "/app"); err != nil {
		t.Fatal(err)
	}
	if f := report.Findings[0]; f.First.Client.Driver != "objection" || f.First.File != "" {
		t.Errorf("%+v, %s", f.First, f.Fix)
	}
}

func TestKey(t *testing.T) {
	long := "select '" + strings.Repeat("é", 2000) + "'"
	cut := strings.ToValidUTF8(long[:2000], "") + " …" // as the pooler keeps it
	if key(long) != key(cut) {
		t.Error("a long text is not known again")
	}
	if key(" select\n 1 ; ") != key("select 1") || key("select 1") == key("select 2") {
		t.Error("texts are not told apart, or not known again")
	}
}

func TestTags(t *testing.T) {
	for _, tc := range []struct {
		tags map[string]string
		want string
	}{
		{map[string]string{"file": "app/db.go", "line": "12"}, "app/db.go 12"},
		{map[string]string{"line": "/app/models/user.rb:7:in `find'"}, "/app/models/user.rb 7"},
		{map[string]string{"source_location": "app/models/user.rb:9"}, "app/models/user.rb 9"},
		{map[string]string{"route": "/orders", "file": "app/db.go"}, " 0"},
		{nil, " 0"},
	} {
		file, line := tagged(tc.tags)
		if got := fmt.Sprint(file, " ", line); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.tags, got, tc.want)
		}
	}
}

// Many processes write at once: no line is broken or lost.
func TestManyProcesses(t *testing.T) {
	rec, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rec.Close() }()
	file := filepath.Join(t.TempDir(), "many.py")
	program := `import os
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
for fork in range(3):
    os.fork()
for n in [*range(300), *range(300)]:
    PostgresQuery(Transformer()).convert(f"select {os.getpid()}, {n}, '{'é' * 900}'", None)
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
`
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, filepath.Dir(file), rec.Environ(os.Environ()), []string{python(t), file})
	seen := map[string]bool{}
	for line := range strings.Lines(calls(t, rec)) {
		var c call
		if err := json.Unmarshal([]byte(line), &c); err != nil || c.File != file {
			t.Fatalf("%v: %q", err, line)
		}
		if seen[c.SQL] {
			t.Errorf("twice: %.40q", c.SQL)
		}
		seen[c.SQL] = true
	}
	if len(seen) != 8*300 {
		t.Errorf("%d different texts, want %d", len(seen), 8*300)
	}
}

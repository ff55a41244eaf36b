//go:build unix

package recipes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/corpus"
	"github.com/poolproof/poolproof/doctor/recipes"
	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

var (
	every      = flag.Bool("every", pgtest.Soak(), "run every recipe, as the soak does")
	operations = flag.Int("operations", 10_000, "of each recipe, with -every; otherwise 500")
	// write makes TestRecipes write what it measured.
	write = flag.Bool("write", false, "write measured.json; with -every")
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds one program's run.
const patience = 20 * time.Minute

// Poolers that the recipes are run through: one that does not track statements, and one that does.
var through = []struct {
	kind    pgtest.Kind
	name    string
	tracked bool
}{
	{pgtest.PgBouncer118Transaction, "PgBouncer 1.18", false},
	{pgtest.PgBouncer124Transaction, "PgBouncer 1.24", true},
}

// What each recipe replaces, and where it goes wrong: through every pooler, or only one that does not track statements.
// Those of quick are run by every run of the tests.
var (
	quick    = []string{"sqlalchemy", "drizzle"}
	replaced = map[string][]string{
		"sqlalchemy": {"session", "defaults"}, "django": {"session", "defaults"}, "prisma": {"session"}, "drizzle": {"session", "defaults"}, "typeorm": {"session"},
		"rails": {"session", "defaults"}, "hibernate": {"session", "defaults"}, "gorm": {"session", "defaults"}, "ent": {"session", "defaults"}, "sqlx-postgres": {"session", "defaults"},
	}
	// The driver's defaults are at fault behind a pooler that tracks statements, too.
	faultyTracked = []string{"django"}
)

const schema = `
	create table item (tenant_id uuid, id int, tenant text, name text, primary key (tenant_id, id));
	create table note (tenant_id uuid not null default nullif(current_setting('app.tenant', true), '')::uuid, told uuid not null);
	insert into item select t, n, t, 'item ' || n || ' of ' || t from generate_series(1, 50) n, (select ('00000000-0000-4000-8000-00000000000' || i)::uuid t from generate_series(1, 4) i) tenants;
	alter table item enable row level security; alter table item force row level security;
	create policy tenant on item using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
	alter table note enable row level security; alter table note force row level security;
	create policy tenant on note using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
	grant select, insert, update, delete on item, note to recipes_app`

// database makes one with the policies, and returns the owner's URL and the application's.
func database(t *testing.T) (owner, app string) {
	t.Helper()
	owner = pgtest.Database(t)
	execAt(t, owner, "do $$ begin if not exists (select from pg_roles where rolname = 'recipes_app') then create role recipes_app login; end if; end $$;"+schema)
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("recipes_app")
	return owner, u.String()
}

func execAt(t *testing.T, url, sql string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is lost
	if _, err := c.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// TestRecipes runs each recipe as it is printed: clients of four tenants at once, before a pool of two server connections. With it
// nobody sees or stores another's rows, and nothing fails; what it replaces does go wrong.
func TestRecipes(t *testing.T) {
	operations := *operations
	if !*every {
		operations = 500
	}
	for _, r := range recipes.All() {
		if !*every && !slices.Contains(quick, r.Framework) {
			continue
		}
		m := recipes.Measured{Code: r.Checksum(), Date: time.Now().Format(time.DateOnly)}
		for _, p := range through {
			t.Run(r.Framework+"/"+p.name, func(t *testing.T) {
				program := newProgram(t, r, p.tracked)
				run := program.run(t, p.kind, "recipe", operations)
				run.Through = p.name
				m.Runs = append(m.Runs, run)
				if run.Operations != operations || run.Wrong != 0 || run.Failed != 0 {
					t.Errorf("with the recipe: %+v", run)
				}
				for _, form := range replaced[r.Framework] {
					if !*every && p.tracked {
						continue
					}
					run := program.run(t, p.kind, form, min(operations, 500))
					run.Through = p.name
					m.Runs = append(m.Runs, run)
					atFault := form == "session" && run.Wrong > 0 || form == "defaults" && run.Wrong+run.Failed > 0
					if want := form == "session" || !p.tracked || slices.Contains(faultyTracked, r.Framework); atFault != want {
						t.Errorf("%s: at fault %v, want %v: %+v", form, atFault, want, run)
					}
				}
			})
		}
		if *every && *write && len(m.Runs) > len(through) && !t.Failed() { // no runs if -run named another
			keep(t, r.Framework, m)
		}
	}
}

// keep writes what was measured of a framework.
func keep(t *testing.T, framework string, m recipes.Measured) {
	t.Helper()
	all := map[string]recipes.Measured{}
	raw, err := os.ReadFile("measured.json") // not the embedded one: it may have changed
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	all[framework] = m
	if raw, err = json.MarshalIndent(all, "", "  "); err == nil {
		err = os.WriteFile("measured.json", append(raw, '\n'), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// program is a recipe as it is printed, beside what asks with it.
type program struct {
	argv []string
	env  []string
}

// newProgram puts it together, and builds it.
func newProgram(t *testing.T, r recipes.Recipe, tracked bool) program {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	take := func(name, as string) {
		raw, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		put(as, string(raw))
	}
	code, main := r.Code(tracked, ""), "main"+filepath.Ext(r.File)
	switch filepath.Ext(r.File) {
	case ".py":
		put("recipe.py", code)
		take(r.File, main)
		return program{argv: []string{filepath.Join(installed(t, "python"), "bin", "python"), filepath.Join(dir, main)}}
	case ".cjs":
		put("recipe.cjs", code)
		take(r.File, main)
		take("ask.cjs", "ask.cjs")
		return program{argv: []string{"node", filepath.Join(dir, main)}, env: []string{"NODE_PATH=" + filepath.Join(installed(t, "node"), "node_modules")}}
	case ".rb":
		put("recipe.rb", code)
		take(r.File, main)
		return program{argv: []string{"ruby", filepath.Join(dir, main)}}
	case ".java":
		put(r.File, code)
		take("Ask.java", "Ask.java")
		jars := filepath.Join(installed(t, "java"), "*")
		build(t, dir, nil, "javac", "-proc:none", "-cp", jars, "-d", dir, filepath.Join(dir, r.File), filepath.Join(dir, "Ask.java"))
		return program{argv: []string{"java", "-XX:+UseSerialGC", "-cp", dir + ":" + jars, "Ask"}}
	case ".go":
		put("recipe.go", code)
		take(r.File, main)
		take("ask.go", "ask.go")
		binary := filepath.Join(dir, "program")
		build(t, "../../corpus/go", nil, "go", "build", "-o", binary, filepath.Join(dir, "recipe.go"), filepath.Join(dir, main), filepath.Join(dir, "ask.go"))
		return program{argv: []string{binary}}
	case ".rs":
		if err := os.Mkdir(filepath.Join(dir, "src"), 0o700); err != nil {
			t.Fatal(err)
		}
		put("src/recipe.rs", code)
		take("sqlx/Cargo.toml", "Cargo.toml")
		take("sqlx/src/main.rs", "src/main.rs")
		cache, err := devdb.CacheDir()
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(cache, "recipes-rust")
		build(t, dir, []string{"CARGO_TARGET_DIR=" + target}, "cargo", "build", "--quiet")
		binary := filepath.Join(dir, "program") // its own: the next variant is built to the same place
		build(t, dir, nil, "cp", filepath.Join(target, "debug", "recipe"), binary)
		p := program{argv: []string{binary}}
		if tracked {
			p.env = []string{"TRACKED=1"}
		}
		return p
	}
	t.Fatalf("nothing runs %s", r.File)
	return program{}
}

func installed(t *testing.T, language string) string {
	t.Helper()
	dir, err := corpus.Installed(language)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func build(t *testing.T, dir string, env []string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf(`%s ("make setup" installs what is missing): %v`+"\n%s", strings.Join(argv, " "), err, out)
	}
}

// run runs two copies of the program at once, of half the operations each, before a database of their own.
func (p program) run(t *testing.T, kind pgtest.Kind, form string, operations int) recipes.Run {
	t.Helper()
	owner, app := database(t)
	pooled, _ := pgtest.PrivatePooler(t, app, kind, map[string]string{"query_wait_timeout": "60"})
	outputs := make([]string, 2)
	var both sync.WaitGroup
	for i := range outputs {
		both.Go(func() { outputs[i] = p.ask(t, pooled, form, operations/2) })
	}
	both.Wait()
	total := recipes.Run{Form: form}
	for _, output := range outputs {
		lines := strings.Split(strings.TrimSpace(output), "\n")
		var one recipes.Run
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &one); err != nil {
			t.Fatalf("%s: %v:\n%s", form, err, output)
		}
		total.Operations += one.Operations
		total.Wrong += one.Wrong
		total.Failed += one.Failed
		if total.First == "" {
			total.First, _, _ = strings.Cut(one.First, "\n")
		}
	}
	// What was stored: each note with the tenant that it was meant for, and none lost.
	c, err := pgx.Connect(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is lost
	var notes, foreign int
	if err := c.QueryRow(t.Context(), "select count(*), count(*) filter (where tenant_id <> told) from note").Scan(&notes, &foreign); err != nil {
		t.Fatal(err)
	}
	total.Wrong += foreign
	if want := 2 * ((operations/2 + 3) / 4); form == "recipe" && notes != want {
		t.Errorf("%d notes are stored, want %d", notes, want)
	}
	t.Logf("%s: %+v, %d notes, %d of them another tenant's", form, total, notes, foreign)
	return total
}

func (p program) ask(t *testing.T, pooled, form string, operations int) string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.argv[0], append(p.argv[1:len(p.argv):len(p.argv)], form, fmt.Sprint(operations))...)
	u, err := url.Parse(pooled)
	if err != nil {
		t.Error(err)
		return ""
	}
	cmd.Env = slices.Concat([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(p.argv[len(p.argv)-1]), "LANG=C.UTF-8", "DATABASE_URL=" + pooled, "PGSSLMODE=disable",
		"JDBC_URL=jdbc:postgresql://" + u.Host + u.Path + "?user=" + u.User.Username() + "&sslmode=disable",
	}, p.env)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out.String())
	}
	return out.String()
}

// TestMeasured holds what is printed as measured to the code that is printed.
func TestMeasured(t *testing.T) {
	for _, r := range recipes.All() {
		said := r.Measured().String()
		if said == "not measured" {
			t.Errorf("%s was not measured, or with other code than now: go test ./doctor/recipes -run TestRecipes -every -write", r.Framework)
			continue
		}
		for _, p := range through {
			if !strings.Contains(said, "through "+p.name+" 0 wrong, 0 failed") {
				t.Errorf("%s: %s", r.Framework, said)
			}
		}
		if !regexp.MustCompile(`of 10*000 concurrent operations`).MatchString(said) || !regexp.MustCompile(`; without it, with .*: of \d+ `).MatchString(said) {
			t.Errorf("%s: %s", r.Framework, said)
		}
	}
}

// TestCode: the setting is the policies', a name that is none changes nothing, and no mark is printed.
func TestCode(t *testing.T) {
	for _, r := range recipes.All() {
		for _, tracked := range []bool{false, true} {
			code := r.Code(tracked, "")
			if strings.Contains(code, "[untracked]") || strings.Contains(code, "go:build") || strings.Count(code, "'app.tenant'") == 0 || strings.Contains(code, ", false)") {
				t.Errorf("%s, tracked %v:\n%s", r.Framework, tracked, code)
			}
			other := r.Code(tracked, "acme.org_id")
			if strings.Contains(other, "app.tenant") || strings.Count(other, "'acme.org_id'") != strings.Count(code, "'app.tenant'") {
				t.Errorf("%s for another setting:\n%s", r.Framework, other)
			}
			for _, name := range []string{"x'); drop table y; --", "tenant", "a.b\n", "a.b`", "a.$b"} {
				if r.Code(tracked, name) != code {
					t.Errorf("%s: the setting %q is in the code", r.Framework, name)
				}
			}
		}
		if len(r.Conflicts) == 0 {
			t.Errorf("%s: nothing to watch", r.Framework)
		}
		if !slices.ContainsFunc(hostile.Libraries(), func(l hostile.Library) bool { return l.Name == r.Library }) {
			t.Errorf("%s: prove knows no %s", r.Framework, r.Library)
		}
	}
	if _, ok := recipes.For("no such"); ok {
		t.Error("there is a recipe for what does not exist")
	}
}

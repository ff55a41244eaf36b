package corpus

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/hostile"
)

// docs/corpus.md has a line for each faulty form with its codes, names each
// correct one on a line of its program, and no others; its table of libraries is
// made from the code's, with the versions that the programs are run with, and so is
// docs/knobs.md, which has the libraries' programs.
func TestGuide(t *testing.T) {
	raw, err := os.ReadFile("../docs/corpus.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(raw)
	line := regexp.MustCompile(`(?m)^\| \[[^\]]+\]\(\.\./corpus/(\S+)\)( \S+)? \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`)
	backticks := regexp.MustCompile("`([^`]+)`")
	documented, right := map[string]string{}, map[string]bool{}
	for _, m := range line.FindAllStringSubmatch(guide, -1) {
		program := program(m[1])
		if m[2] != "" {
			documented[program+m[2]] = m[3]
		}
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
		for _, form := range backticks.FindAllStringSubmatch(m[5], -1) {
			right[program+" "+form[1]] = true
		}
	}
	all := slices.Concat(table, fieldTable)
	for _, r := range badDays {
		all = append(all, r.row)
	}
	for _, r := range all {
		name := r.program + " " + r.form
		if len(r.want) == 0 {
			if !right[name] {
				t.Errorf("the guide does not name %s", name)
			}
			delete(right, name)
			continue
		}
		var codes []string
		for _, want := range r.want {
			codes = append(codes, want[:5])
		}
		if want := strings.Join(slices.Compact(codes), " "); documented[name] != want {
			t.Errorf("the guide says of %s %q, want %q", name, documented[name], want)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("the guide has %s, which is not run", name)
	}
	for name := range right {
		t.Errorf("the guide calls %s right, which is not run", name)
	}

	start, end := strings.Index(guide, "| library | set |"), strings.Index(guide, "\nWith every driver:")
	if start < 0 || end < start {
		t.Fatal("the guide has no table of libraries")
	}
	isWritten(t, "../docs/corpus.md", guide, guide[:start]+guideTable(t)+guide[end:])
	knobs, err := os.ReadFile("../docs/knobs.md")
	if err != nil {
		t.Fatal(err)
	}
	start = strings.Index(string(knobs), "| library |")
	if start < 0 {
		t.Fatal("docs/knobs.md has no table")
	}
	isWritten(t, "../docs/knobs.md", string(knobs), string(knobs[:start])+knobTable(t))
}

// isWritten wants a page to be as the code has it, or writes it so.
func isWritten(t *testing.T, name, have, want string) {
	t.Helper()
	if have == want {
		return
	}
	if !*write {
		t.Errorf("%s is not what the code's table has: go test ./corpus -run TestGuide -write writes it", name)
	} else if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// write makes TestGuide write the table of libraries into docs/corpus.md.
var write = flag.Bool("write", false, "write what comes from tables in the code into the docs")

// versions says where the version of a library is.
var versions = map[string]struct{ file, pattern string }{
	"asyncpg": {"python/requirements.txt", `asyncpg==(.+)`}, "sqlalchemy": {"python/requirements.txt", `SQLAlchemy==(.+)`},
	"psycopg": {"python/requirements.txt", `psycopg==(.+)`}, "psycopg2": {"python/requirements.txt", `psycopg2-binary==(.+)`},
	"django": {"python/requirements.txt", `Django==(.+)`}, "langgraph": {"python/requirements.txt", `langgraph-checkpoint-postgres==(.+)`},
	"procrastinate": {"python/requirements.txt", `procrastinate==(.+)`}, "tortoise": {"python/requirements.txt", `tortoise-orm==(.+)`},
	"celery": {"python/requirements.txt", `celery==(.+)`}, "django-tenants": {"python/requirements.txt", `django-tenants==(.+)`},
	"pgqueuer": {"python/requirements.txt", `pgqueuer==(.+)`}, "postgraphile": {"node/package.json", `"postgraphile": "(.+)"`},
	"atlas": {"go/go.mod", `ariga.io/atlas v(\S+)`}, "diesel": {"rust/Cargo.toml", `diesel = \{ version = "=([^"]+)"`},
	"peewee": {"python/requirements.txt", `peewee==(.+)`}, "aiopg": {"python/requirements.txt", `aiopg==(.+)`},
	"node-postgres": {"node/package.json", `"pg": "(.+)"`}, "postgres.js": {"node/package.json", `"postgres": "(.+)"`},
	"prisma": {"node/package.json", `"@prisma/client": "(.+)"`}, "drizzle": {"node/package.json", `"drizzle-orm": "(.+)"`},
	"knex": {"node/package.json", `"knex": "(.+)"`}, "sequelize": {"node/package.json", `"sequelize": "(.+)"`},
	"typeorm": {"node/package.json", `"typeorm": "(.+)"`}, "kysely": {"node/package.json", `"kysely": "(.+)"`},
	"objection": {"node/package.json", `"objection": "(.+)"`}, "mikro-orm": {"node/package.json", `"@mikro-orm/core": "(.+)"`},
	"slonik": {"node/package.json", `"slonik": "(.+)"`}, "graphile-worker": {"node/package.json", `"graphile-worker": "(.+)"`},
	"pg-boss": {"node/package.json", `"pg-boss": "(.+)"`},
	"lib/pq":  {"go/go.mod", `lib/pq v(.+)`}, "pgx": {"go/go.mod", `jackc/pgx/v5 v(.+)`}, "gorm": {"go/go.mod", `gorm.io/gorm v(.+)`},
	"go-pg": {"go/go.mod", `go-pg/pg/v10 v(.+)`}, "bun": {"go/go.mod", `uptrace/bun v(.+)`}, "ent": {"go/go.mod", `entgo.io/ent v(.+)`},
	"river": {"go/go.mod", `riverqueue/river v(.+)`}, "goose": {"go/go.mod", `pressly/goose/v3 v(.+)`}, "golang-migrate": {"go/go.mod", `golang-migrate/migrate/v4 v(.+)`},
	"tokio-postgres": {"rust/Cargo.toml", `tokio-postgres = "=(.+)"`}, "sqlx": {"rust/Cargo.toml", `sqlx = \{ version = "=([^"]+)"`},
	"diesel-async": {"rust/Cargo.toml", `diesel-async = \{ version = "=([^"]+)"`}, "sea-orm": {"rust/Cargo.toml", `sea-orm = \{ version = "=([^"]+)"`},
	"deadpool": {"rust/Cargo.toml", `deadpool-postgres = "=(.+)"`},
	"pgjdbc":   {"java/pom.xml", `<artifactId>postgresql</artifactId><version>([^<]+)`}, "hibernate": {"java/pom.xml", `hibernate-core</artifactId><version>([^<]+)`},
	"flyway": {"java/pom.xml", `flyway-core</artifactId><version>([^<]+)`}, "liquibase": {"java/pom.xml", `liquibase-core</artifactId><version>([^<]+)`},
	"jooq": {"java/pom.xml", `jooq</artifactId><version>([^<]+)`}, "r2dbc-postgresql": {"java/pom.xml", `r2dbc-postgresql</artifactId><version>([^<]+)`},
	"vertx-pg-client": {"java/pom.xml", `vertx-pg-client</artifactId><version>([^<]+)`},
	// Debian 12's.
	"ruby-pg": {}, "pdo": {}, "DBD::Pg": {},
}

// named returns a library's name with the version that is installed.
func named(t *testing.T, l hostile.Library) string {
	t.Helper()
	v := versions[l.Name]
	if v.file == "" {
		return l.Name
	}
	manifest, err := os.ReadFile(v.file)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(v.pattern).FindSubmatch(manifest)
	if m == nil {
		t.Fatalf("%s has no %s", v.file, v.pattern)
	}
	return l.Name + " " + string(m[1])
}

// cell is a text as a table takes it.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// guideTable is the guide's table: of each library the first of its advice that
// was run.
func guideTable(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("| library | set | |\n|---|---|---|\n")
	language := ""
	for _, l := range hostile.Libraries() {
		name := named(t, l)
		if l.Language != language {
			language, name = l.Language, "**"+l.Language+"** "+name
		}
		first := l.Fixes[max(0, slices.IndexFunc(l.Fixes, hostile.Advice.Run))]
		how, text := "documented", first.Knob
		if first.Run() {
			how = "run"
		}
		if first.Warning != "" {
			text += "; careful: " + first.Warning
		}
		out.WriteString("| " + name + " | " + cell(text) + " | " + how + " |\n")
	}
	return out.String()
}

// knobTable is all advice of all libraries, and how we know it.
func knobTable(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("| library | for | set, or do | how we know |\n|---|---|---|---|\n")
	for _, l := range hostile.Libraries() {
		for _, a := range l.Fixes {
			codes := ""
			for _, c := range a.Codes {
				codes += "[" + string(c) + "](prove/" + string(c) + ".md) "
			}
			how := a.Source
			if a.Run() {
				how = ""
				for _, tried := range trialsOf(a) {
					correct := "`" + tried.correct + "`"
					if tried.correct == trackedForm {
						correct = "right behind a pooler that tracks statements"
					}
					how += "run: [" + tried.program + "](../corpus/" + sourceOf(tried.program) + ") `" + tried.faulty + "`, " + correct
					if !tried.recognized {
						how += " (prove does not recognize the library by it)"
					}
					how += "; "
				}
				how = strings.TrimSuffix(how, "; ")
			}
			out.WriteString("| " + named(t, l) + " | " + strings.TrimSpace(codes+a.Setting) + " | " + cell(strings.Replace(a.Text(), " (documented, not run here)", "", 1)) + " | " + cell(how) + " |\n")
		}
	}
	return out.String()
}

// sourceOf is the file of a row's program.
func sourceOf(program string) string {
	language, name, _ := strings.Cut(program, "/")
	switch language {
	case "go":
		return program + "/main.go"
	case "java":
		return program + ".java"
	case "rust":
		return "rust/src/" + name + "_program.rs"
	}
	return program
}

// docs/prove.md says how many forms that are right prove accuses of nothing, and
// lists them. TestProve runs them.
func TestPrecision(t *testing.T) {
	raw, err := os.ReadFile("../docs/prove.md")
	if err != nil {
		t.Fatal(err)
	}
	forms, last, list := 0, "", ""
	for _, r := range table {
		if len(r.want) > 0 {
			continue
		}
		forms++
		switch language, name, _ := strings.Cut(r.program, "/"); {
		case r.program == last:
			list += ", " + r.form
		case strings.HasPrefix(last, language+"/"):
			list += "; " + name + " " + r.form
		default:
			list += "\n- " + language + ": " + name + " " + r.form
		}
		last = r.program
	}
	list = strings.ReplaceAll(list, " correct;", ";") + "\n"
	list = strings.ReplaceAll(list, " correct\n", "\n")
	if forms < 60 {
		t.Errorf("%d forms are right, want 60 at least", forms)
	}
	if guide := string(raw); !strings.Contains(guide, fmt.Sprintf("%d forms of the corpus are right", forms)) || !strings.Contains(guide, list) {
		t.Errorf("docs/prove.md must say that %d forms of the corpus are right, and list them:%s", forms, list)
	}
}

// program is a row's name for a file's path.
func program(path string) string {
	for _, suffix := range []string{"/main.go", ".java", "_program.rs"} {
		path = strings.TrimSuffix(path, suffix)
	}
	return strings.Replace(path, "rust/src/", "rust/", 1)
}

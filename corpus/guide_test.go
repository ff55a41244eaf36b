package corpus

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/corpus.md has a line for each faulty form with its codes, names each
// correct one on a line of its program, and no others; and it tells the versions
// that the programs are run with.
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
	all := slices.Clone(table)
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

	pinned := map[string]bool{}
	for _, v := range []struct{ driver, file, version string }{
		{"asyncpg", "python/requirements.txt", `asyncpg==(.+)`},
		{"SQLAlchemy", "python/requirements.txt", `SQLAlchemy==(.+)`},
		{"psycopg", "python/requirements.txt", `psycopg==(.+)`},
		{"psycopg2", "python/requirements.txt", `psycopg2-binary==(.+)`},
		{"Django", "python/requirements.txt", `Django==(.+)`},
		{"node-postgres", "node/package.json", `"pg": "(.+)"`},
		{"postgres.js", "node/package.json", `"postgres": "(.+)"`},
		{"Prisma", "node/package.json", `"@prisma/client": "(.+)"`},
		{"Drizzle", "node/package.json", `"drizzle-orm": "(.+)"`},
		{"Knex", "node/package.json", `"knex": "(.+)"`},
		{"Sequelize", "node/package.json", `"sequelize": "(.+)"`},
		{"lib/pq", "go/go.mod", `lib/pq v(.+)`},
		{"pgx", "go/go.mod", `jackc/pgx/v5 v(.+)`},
		{"GORM", "go/go.mod", `gorm.io/gorm v(.+)`},
		{"tokio-postgres", "rust/Cargo.toml", `tokio-postgres = "=(.+)"`},
		{"sqlx", "rust/Cargo.toml", `sqlx = \{ version = "=([^"]+)"`},
	} {
		manifest, err := os.ReadFile(v.file)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(v.version).FindSubmatch(manifest)
		if m == nil || !regexp.MustCompile(`(?m)^\| (\*\*\w+\*\* )?`+regexp.QuoteMeta(v.driver+" "+string(m[1]))+`\b`).MatchString(guide) {
			t.Errorf("the guide does not say what %s of %s says of %s: %q", v.version, v.file, v.driver, m)
		}
		pinned[v.driver] = true
	}
	_, drivers, _ := strings.Cut(guide, "| driver | set |\n|---|---|\n")
	drivers, _, _ = strings.Cut(drivers, "\n\n")
	language := ""
	for _, m := range regexp.MustCompile(`(?m)^\| (?:\*\*(\w+)\*\* )?(\S+) \d`).FindAllStringSubmatch(drivers, -1) {
		if m[1] != "" {
			language = m[1]
		}
		debian := slices.Contains([]string{"Java", "Ruby", "PHP", "Perl"}, language) // their versions are Debian's
		if !debian && !pinned[m[2]] {
			t.Errorf("nothing compares the version of %s with the one that is installed: add it to the list above", m[2])
		}
	}
	if language != "Perl" {
		t.Errorf("the guide's last driver is one of %q", language)
	}
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

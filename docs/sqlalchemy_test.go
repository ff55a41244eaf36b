//go:build unix

package docs

import (
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/corpus"
	"github.com/poolproof/poolproof/doctor/recipes"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestSQLAlchemyGuide runs docs/sqlalchemy-asyncpg.md through each pooler that it names, and holds its table to what
// its programs print. The code that it shows is the recipe's.
func TestSQLAlchemyGuide(t *testing.T) {
	t.Parallel()
	const guide = "sqlalchemy-asyncpg.md"
	text := readFile(t, guide)
	recipe, ok := recipes.For("sqlalchemy")
	if !ok || !strings.Contains(text, "cat > tenancy.py <<'END'\n"+recipe.Code(false, "")+"END\n") {
		t.Errorf("the guide's tenancy.py is not the recipe's code:\n%s", recipe.Code(false, ""))
	}
	venv, err := corpus.Installed("python")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range regexp.MustCompile(`(?m)^(asyncpg|SQLAlchemy)==(.*)$`).FindAllStringSubmatch(readFile(t, "../corpus/python/requirements.txt"), -1) {
		if !regexp.MustCompile(version[1] + `\s` + regexp.QuoteMeta(version[2])).MatchString(text) {
			t.Errorf("the guide does not name %s %s, which is installed", version[1], version[2])
		}
	}
	rows := regexp.MustCompile("(?m)^\\| `([\\w-]+)`: [^|]*\\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\|$").FindAllStringSubmatch(text, -1)
	if len(rows) != 5 {
		t.Fatalf("the guide's table has %d rows", len(rows))
	}
	for i, tt := range []struct {
		name      string
		kind      pgtest.Kind
		supavisor bool
	}{
		{"PgBouncer 1.18", pgtest.PgBouncer118Transaction, false},
		{"Supavisor (stand-in)", pgtest.PgBouncer118Transaction, true},
		{"PgBouncer 1.24", pgtest.PgBouncer124Transaction, false},
		{"PgBouncer 1.26", pgtest.PgBouncer126Transaction, false},
	} {
		if tt.kind == pgtest.PgBouncer124Transaction && !pgtest.Soak() {
			continue // it is between the others
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			owner := pgtest.Database(t)
			sql(t, owner, `do $$ begin if not exists (select from pg_roles where rolname = 'app') then create role app login; end if; end $$`)
			u, err := url.Parse(owner)
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.User("app")
			pooled := pgtest.Pooled(t, u.String(), tt.kind)
			if tt.supavisor {
				pooled, _ = pgtest.LikeSupavisor(t, pooled)
			}
			printed := runDoc(t, guide, map[string]string{"DATABASE_URL": pooled, "DIRECT_URL": owner, "VENV": venv, "TMPDIR": os.TempDir()})
			for _, row := range rows {
				said, want := regexp.MustCompile(`(?m)^`+row[1]+` is (right|WRONG)$`).FindAllString(printed, -1), row[2+i]
				if len(said) != 2 {
					t.Errorf("%s: printed %q", row[1], said)
				}
				switch wrong := strings.Contains(strings.Join(said, ""), "WRONG"); want {
				case "right", "wrong":
					if wrong != (want == "wrong") {
						t.Errorf("%s: the guide says %s, printed was %q", row[1], want, said)
					}
				case "may be wrong":
				default:
					t.Errorf("%s: the guide says %q", row[1], want)
				}
			}
			_, shown, _ := strings.Cut(text, "```text\n")
			shown, _, _ = strings.Cut(shown, "```")
			for line := range strings.Lines(shown) {
				if tt.supavisor && strings.HasPrefix(line, "server_settings: ") {
					line = "server_settings: 20 rows\n" // the setting is dropped
				}
				if !strings.Contains(printed, line) {
					t.Errorf("the guide shows what is not printed: %q", line)
				}
			}
			if t.Failed() {
				t.Log(printed)
			}
		})
	}
}

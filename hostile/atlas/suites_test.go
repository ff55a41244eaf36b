package atlas

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/devdb"
)

// suite is scripts that run one after the other in one database.
type suite struct {
	name  string
	files []string
}

// regressFolder is where make setup keeps PostgreSQL's own scripts.
func regressFolder(t *testing.T) (dir, version string) {
	t.Helper()
	cache, err := devdb.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(cache, "postgresql-15-regress")
	v, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil {
		t.Fatalf(`PostgreSQL's regression scripts are missing ("make setup" fetches them): %v`, err)
	}
	return dir, strings.TrimSpace(string(v))
}

// suites lists PostgreSQL's own tests, then the procedural languages' and those
// of contrib, each in the order in which PostgreSQL runs them.
func suites(t *testing.T) []suite {
	t.Helper()
	dir, _ := regressFolder(t)
	all := []suite{{"regress", ordered(t, filepath.Join(dir, "src/test/regress"), "parallel_schedule", schedule)}}
	for _, pattern := range []string{"src/pl/*/sql", "src/pl/*/src/sql", "contrib/*/sql"} {
		folders, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range folders {
			f = filepath.Dir(f)
			name := strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(f, dir+"/"), "/", "_"), "_src")
			all = append(all, suite{strings.TrimPrefix(strings.TrimPrefix(name, "src_pl_"), "contrib_"), ordered(t, f, "*akefile", makefile)})
		}
	}
	return all
}

// Where files say in which order scripts run.
var (
	schedule = regexp.MustCompile(`(?m)^test:(.*)$`)
	makefile = regexp.MustCompile(`(?m)^REGRESS\s*\+?=((?:.*\\\n)*.*)$`)
)

// ordered lists a folder's scripts: those that a file names in its order, then
// the others.
func ordered(t *testing.T, folder, by string, names *regexp.Regexp) []string {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join(folder, "sql/*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	lists, _ := filepath.Glob(filepath.Join(folder, by)) // the pattern is well-formed: no error
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range names.FindAllStringSubmatch(string(text), -1) {
			for name := range strings.FieldsSeq(strings.ReplaceAll(m[1], "\\\n", " ")) {
				if f := filepath.Join(folder, "sql", name+".sql"); slices.Contains(scripts, f) && !slices.Contains(files, f) {
					files = append(files, f)
				}
			}
		}
	}
	for _, f := range scripts {
		if !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	return files
}

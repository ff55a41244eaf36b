package matrix

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/corpus"
	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/devdb"
)

// Driver is a driver, or a library above one, and the program that uses it.
type Driver struct {
	Name     string
	Language string
	// Library is the name by which package hostile knows it, whose advice the recipe is.
	Library string
	// Program is its file, below programs/.
	Program string
	Args    []string // after work and form
	// Knob is what the program's text has of the advice on statements, and Advised are
	// the advice's own words for it; "" where the advice needs nothing of a program
	// like this one.
	Knob, Advised string
	// Older are versions besides the corpus's own, as the package manager takes them.
	Older []string
	// Single: a process is one client, as the language has no threads here.
	Single bool
}

// Drivers are all drivers that are measured.
var Drivers = []Driver{
	{Name: "poolproof", Language: "Go", Program: "poolproof"},
	{Name: "pgx", Language: "Go", Library: "pgx", Program: "go/pgx", Knob: "default_query_exec_mode=exec", Advised: "default_query_exec_mode=exec", Older: []string{"github.com/jackc/pgx/v5@v5.0.0"}},
	{Name: "lib/pq", Language: "Go", Library: "lib/pq", Program: "go/libpq", Knob: "binary_parameters=yes", Advised: "binary_parameters=yes", Older: []string{"github.com/lib/pq@v1.10.0"}},
	{Name: "pgjdbc", Language: "Java", Library: "pgjdbc", Program: "java/Pgjdbc", Knob: "prepareThreshold=0", Advised: "prepareThreshold=0", Older: []string{"org.postgresql:postgresql:42.5.4", "org.postgresql:postgresql:42.2.29"}},
	{Name: "asyncpg", Language: "Python", Library: "asyncpg", Program: "python/asyncpg_matrix.py", Knob: `"statement_cache_size": 0`, Advised: "statement_cache_size=0", Older: []string{"asyncpg==0.27.0"}},
	{Name: "psycopg", Language: "Python", Library: "psycopg", Program: "python/psycopg_matrix.py", Knob: `"prepare_threshold": None`, Advised: "prepare_threshold=None", Older: []string{"psycopg[binary]==3.1.9"}},
	{Name: "psycopg2", Language: "Python", Library: "psycopg2", Program: "python/psycopg2_matrix.py", Older: []string{"psycopg2-binary==2.9.5"}},
	{Name: "SQLAlchemy on asyncpg", Language: "Python", Library: "asyncpg", Program: "python/sqlalchemy_matrix.py", Knob: `"prepared_statement_cache_size": 0`, Advised: "prepared_statement_cache_size=0", Older: []string{"SQLAlchemy==2.0.9 asyncpg==0.27.0"}},
	{Name: "node-postgres", Language: "Node", Library: "node-postgres", Program: "node/pg_matrix.cjs", Older: []string{"pg@8.7.1"}},
	{Name: "node-postgres, named", Language: "Node", Library: "node-postgres", Program: "node/pg_matrix.cjs", Args: []string{"named"}, Knob: "named ? { name,", Advised: "leave name: out", Older: []string{"pg@8.7.1"}},
	{Name: "postgres.js", Language: "Node", Library: "postgres.js", Program: "node/postgresjs_matrix.cjs", Knob: "prepare: false", Advised: "prepare: false", Older: []string{"postgres@3.2.4"}},
	{Name: "tokio-postgres", Language: "Rust", Library: "tokio-postgres", Program: "rust/tokio_matrix", Knob: "query_typed", Advised: "query_typed", Older: []string{"tokio-postgres@0.7.12"}},
	{Name: "ruby-pg, named", Language: "Ruby", Library: "ruby-pg", Program: "ruby/pg_matrix.rb", Knob: "exec_params", Advised: "exec_params"},
	{Name: "PDO", Language: "PHP", Library: "pdo", Program: "php/pdo_matrix.php", Knob: "PDO::ATTR_EMULATE_PREPARES => true", Advised: "ATTR_EMULATE_PREPARES", Single: true},
	{Name: "DBD::Pg", Language: "Perl", Library: "DBD::Pg", Program: "perl/dbd_matrix.pl", Knob: "pg_server_prepare => 0", Advised: "pg_server_prepare => 0", Single: true},
}

// Advice is what prove and doctor say about a work's fault with this driver: the recipe.
func (d Driver) Advice(work Work) string {
	if d.Library == "" {
		return ""
	}
	code := hostile.MissingNamed
	if work == Settings {
		code = hostile.SessionSetting
	}
	fix, _ := hostile.FixFor(code, d.Library)
	return fix
}

// Source is the text of the driver's program.
func (d Driver) Source(root string) (string, error) {
	name := d.Program
	switch language, _, _ := strings.Cut(name, "/"); language {
	case "go", "poolproof":
		name += "/main.go"
	case "java":
		name += ".java"
	case "rust":
		name = "rust/src/main.rs"
	}
	raw, err := os.ReadFile(filepath.Join(root, "matrix", "programs", name))
	return string(raw), err
}

// program is a driver's program in one version, ready to be run.
type program struct {
	driver Driver
	argv   []string // work and form follow, then the driver's Args
	env    []string
	dir    string
}

// prepare builds the program, and fetches the older version if it is one; older is
// "" for the version that the corpus has. What it makes is in the cache folder and
// is found there the next time.
func prepare(ctx context.Context, root string, d Driver, older string) (*program, error) {
	p := &program{driver: d}
	language, name, _ := strings.Cut(d.Program, "/")
	p.dir = filepath.Join(root, "matrix", "programs", language)
	cache, err := devdb.CacheDir()
	if err != nil {
		return nil, err
	}
	cache = filepath.Join(cache, "matrix")
	into := filepath.Join(cache, language+"-"+strings.NewReplacer("/", "_", ":", "_").Replace(older))
	var installed string
	if language == "python" || language == "node" || language == "java" {
		if installed, err = corpus.Installed(language); err != nil {
			return nil, err
		}
	}
	switch language {
	case "python":
		python := filepath.Join(installed, "bin", "python")
		p.argv = []string{python, filepath.Join(p.dir, name)}
		if older != "" {
			p.env = []string{"PYTHONPATH=" + into}
			err = once(ctx, into, "", append([]string{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", "{}"}, strings.Fields(older)...)...)
		}
	case "node":
		modules := installed
		if older != "" {
			modules = into
			err = once(ctx, into, "", append([]string{"npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", "{}"}, strings.Fields(older)...)...)
		}
		p.argv = []string{"node", filepath.Join(p.dir, name)}
		p.env = []string{"NODE_PATH=" + filepath.Join(modules, "node_modules")}
	case "go":
		p.argv = []string{filepath.Join(cache, "bin", name+"-"+filepath.Base(older))}
		err = buildGo(ctx, filepath.Dir(p.dir), filepath.Join(p.dir, name), older, p.argv[0])
	case "poolproof":
		p.argv = []string{filepath.Join(cache, "bin", "poolproof")}
		err = command(ctx, root, "go", "build", "-o", p.argv[0], "./matrix/programs/poolproof")
	case "java":
		jars := filepath.Join(installed, "*")
		if older != "" {
			jars = filepath.Join(into, "*")
			err = once(ctx, into, "", "mvn", "-q", "-B", "dependency:copy", "-Dartifact="+older, "-DoutputDirectory={}")
		}
		classes := filepath.Join(cache, "bin", name+"-"+filepath.Base(into))
		if err == nil {
			err = command(ctx, p.dir, "javac", "-proc:none", "-cp", jars, "-d", classes, name+".java")
		}
		p.argv = []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes + ":" + jars, name}
	case "rust":
		var sources string
		if sources, err = rustSources(p.dir, older); err == nil {
			p.argv = []string{filepath.Join(cache, "bin", name+"-"+sources)}
			err = buildRust(ctx, p.dir, older, filepath.Join(cache, "rust-target"), p.argv[0])
		}
	case "ruby", "php", "perl":
		p.argv = []string{language, filepath.Join(p.dir, name)}
	default:
		err = fmt.Errorf("%s: there is no such language", d.Program)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", d.Name, older, err)
	}
	return p, nil
}

// copied is a copy of a program's folder, and what removes it.
func copied(dir string) (scratch string, remove func(), err error) {
	if scratch, err = os.MkdirTemp("", "poolproof-matrix-"); err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(scratch) } // a leftover does no harm
	if err := os.CopyFS(scratch, os.DirFS(dir)); err != nil {
		remove()
		return "", nil, err
	}
	return scratch, remove, nil
}

// buildGo builds a program's module in a copy that has what the Go programs share
// beside it, in an older version of its driver if it is one.
func buildGo(ctx context.Context, programs, dir, older, target string) error {
	scratch, remove, err := copied(dir)
	if err != nil {
		return err
	}
	defer remove()
	if err := command(ctx, scratch, "cp", filepath.Join(programs, "poolproof", "client.go"), "."); err != nil {
		return err
	}
	if older != "" {
		if err := command(ctx, scratch, "go", "get", older); err != nil {
			return err
		}
	}
	return command(ctx, scratch, "go", "build", "-mod=mod", "-o", target, ".")
}

// rustSources is a hash of what the program is built from.
func rustSources(dir, older string) (string, error) {
	h := sha256.New()
	for _, name := range []string{"Cargo.toml", "src/main.rs"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		h.Write(content)
	}
	h.Write([]byte(older))
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// buildRust builds the crate in a copy, in an older version of its driver if it is
// one, unless the program is there.
func buildRust(ctx context.Context, dir, older, target, program string) error {
	if _, err := os.Stat(program); err == nil {
		return nil
	}
	scratch, remove, err := copied(dir)
	if err != nil {
		return err
	}
	defer remove()
	if crate, version, ok := strings.Cut(older, "@"); ok {
		manifest, err := os.ReadFile(filepath.Join(scratch, "Cargo.toml"))
		if err != nil {
			return err
		}
		pinned := regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(crate)+` = .*$`).ReplaceAll(manifest, []byte(crate+` = "=`+version+`"`))
		if err := os.WriteFile(filepath.Join(scratch, "Cargo.toml"), pinned, 0o600); err != nil { //nolint:gosec // a folder of our own
			return err
		}
	}
	if err := command(ctx, scratch, "cargo", "build", "--quiet", "--target-dir", target); err != nil {
		return err
	}
	return command(ctx, scratch, "cp", filepath.Join(target, "debug", "tokio_matrix"), program)
}

// once runs a command that fills a folder, "{}" among its arguments, unless the
// folder is there: whole or not at all.
func once(ctx context.Context, into, dir string, argv ...string) error {
	if _, err := os.Stat(into); err == nil {
		return nil
	}
	fresh := into + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil { //nolint:gosec // programs, as the corpus's
		return err
	}
	argv = slices.Clone(argv)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "{}", fresh)
	}
	if err := command(ctx, dir, argv...); err != nil {
		return err
	}
	return os.Rename(fresh, into)
}

// command runs a command; its output is the error's.
func command(ctx context.Context, dir string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return err
}

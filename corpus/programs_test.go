package corpus

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// setUp is what installs whatever a program misses.
const setUp = "make setup"

// debianJDBC is where Debian's libpostgresql-jdbc-java puts pgjdbc.
const debianJDBC = "/usr/share/java/postgresql.jar"

// patience bounds one program's run.
const patience = 3 * time.Minute

// installed is what scripts/setup has put there for a language.
func installed(t testing.TB, language string) string {
	t.Helper()
	dir, err := Installed(language)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// command is the command line of a program, "python/asyncpg_cache.py", in a form.
func command(t testing.TB, program, form string) (argv, env []string) {
	t.Helper()
	language, name, _ := strings.Cut(program, "/")
	switch language {
	case "python":
		return []string{filepath.Join(installed(t, language), "bin", "python"), program, form}, nil
	case "node":
		modules := filepath.Join(installed(t, language), "node_modules")
		return []string{"node", program, form}, []string{"NODE_PATH=" + modules}
	case "rust":
		return []string{filepath.Join(installed(t, language), "corpus"), name, form}, nil
	case "java":
		jars := filepath.Join(installed(t, language), "*")
		if name == "Threshold" || name == "Schema" {
			jars = debianJDBC // an older one
		}
		return append(javaAt(built(t).java+":"+jars), name, form), nil
	case "go":
		return []string{filepath.Join(built(t).golang, name), form}, nil
	case "shell":
		return []string{"sh", program, form}, nil
	case "ruby", "php", "perl":
		return []string{language, program, form}, nil
	}
	t.Fatalf("%s: there is no such language", program)
	return nil, nil
}

// javaAt is Java with a class path, for programs that end soon.
func javaAt(classes string) []string {
	return []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes}
}

// builds are the programs that are compiled for a run of the tests.
type builds struct{ java, golang string }

var (
	toBuild   []string // the programs of this run's rows: TestMain sets it
	buildOnce sync.Once
	ready     builds
	errBuild  error
)

// built compiles the Java and Go programs once.
func built(t testing.TB) builds {
	t.Helper()
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "poolproof-corpus-") //nolint:usetesting // it lives as long as the process
		if err != nil {
			errBuild = err
			return
		}
		ready = builds{filepath.Join(dir, "java"), filepath.Join(dir, "go")}
		jars, err := Installed("java")
		if err != nil {
			errBuild = err
			return
		}
		sources, packages := []string{}, []string{"./reader", "./cleaner"}
		for _, program := range toBuild {
			if strings.HasPrefix(program, "java/") {
				sources = append(sources, program+".java")
			} else if name, ok := strings.CutPrefix(program, "go/"); ok {
				packages = append(packages, "./"+name)
			}
		}
		for _, step := range []struct {
			dir  string
			argv []string
		}{
			{"", append([]string{"javac", "-proc:none", "-cp", jars + "/*", "-d", ready.java}, sources...)},
			{"go", append([]string{"go", "build", "-o", ready.golang + "/"}, packages...)},
		} {
			cmd := exec.Command(step.argv[0], step.argv[1:]...)
			cmd.Dir = step.dir
			if out, err := cmd.CombinedOutput(); err != nil {
				errBuild = &buildError{strings.Join(step.argv, " "), string(out), err}
				return
			}
		}
	})
	if errBuild != nil {
		t.Fatalf("build the programs (%q installs what is missing): %v", setUp, errBuild)
	}
	return ready
}

type buildError struct {
	command, output string
	err             error
}

func (e *buildError) Error() string { return e.command + ": " + e.err.Error() + "\n" + e.output }

func removeBuilds() {
	if ready.java != "" {
		_ = os.RemoveAll(filepath.Dir(ready.java))
	}
}

// run is one run of a program.
type run struct {
	output string
	exit   int
	hung   bool // it was ended after its patience
}

func parsed(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// jdbcURL is a database's URL as pgjdbc takes it.
func jdbcURL(u *url.URL) string {
	password, _ := u.User.Password()
	return "jdbc:postgresql://" + u.Host + u.Path + "?user=" + u.User.Username() + "&password=" + password + "&sslmode=disable"
}

// execute runs a program with the database at pooled, in its form.
func execute(t testing.TB, program, form, pooled, directly string, more ...string) run {
	t.Helper()
	argv, env := command(t, program, form)
	return start(t, argv, append(env, more...), pooled, directly)
}

// start runs a command line with the database at pooled, and these variables beside
// it.
func start(t testing.TB, argv, env []string, pooled, directly string) run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	u := parsed(t, pooled)
	database := strings.TrimPrefix(u.Path, "/")
	password, _ := u.User.Password()
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8",
		"DATABASE_URL=" + pooled, "DIRECT_URL=" + directly,
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=" + u.User.Username(), "PGPASSWORD=" + password, "PGDATABASE=" + database, "PGSSLMODE=disable",
		"JDBC_URL=" + jdbcURL(u), "DIRECT_JDBC_URL=" + jdbcURL(parsed(t, directly)),
	}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	r := run{output: out.String(), hung: ctx.Err() != nil}
	if cmd.ProcessState == nil {
		t.Fatalf("run %s (%q installs what is missing): %v", strings.Join(argv, " "), setUp, err)
	}
	r.exit = cmd.ProcessState.ExitCode()
	return r
}

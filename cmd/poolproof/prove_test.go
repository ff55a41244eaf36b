//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// testProgram is this binary as the program under prove: see TestMain.
func testProgram(what string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	on := func(url string, statements ...string) {
		c, err := pgx.Connect(ctx, url)
		for _, sql := range statements {
			if err == nil {
				_, err = c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
			}
		}
		if err != nil {
			panic(err)
		}
		_ = c.Close(ctx)
	}
	sayf := func(format string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, format+"\n", args...) }
	pooled, direct := os.Getenv("DATABASE_URL"), os.Getenv("DIRECT_URL")
	switch what {
	case "fine":
		on(pooled, "select 1")
	case "leak":
		on(pooled, "set app.tenant = 'x'")
	case "leak and fail":
		on(pooled, "set app.tenant = 'x'")
		return 3
	case "everywhere": // every way that a program finds its database, and migrations
		on(direct, "create table migrated (n int)", "set app.migration = 'x'", "select pg_advisory_lock(1)")
		on(pooled, "insert into migrated values (1)")
		on("", "insert into migrated values (2)")
		env, err := json.Marshal(os.Environ())
		if err == nil {
			err = os.WriteFile(os.Getenv("TEST_OUT"), env, 0o600)
		}
		if err != nil {
			panic(err)
		}
	case "wait": // for a signal, and say which came
		signals := make(chan os.Signal, 10)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		on(pooled, "set app.tenant = 'x'")
		sayf("waiting")
		sayf("got %v", <-signals)
		select {
		case s := <-signals:
			sayf("and %v", s)
		case <-time.After(300 * time.Millisecond):
		}
		return 4
	case "deaf": // to signals, until a file is there
		signal.Ignore(os.Interrupt, syscall.SIGTERM)
		sayf("waiting")
		for ctx.Err() == nil {
			if _, err := os.Stat(os.Getenv("TEST_OUT")); err == nil {
				return 5
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "service": // with a child that only SIGKILL ends
		child := exec.Command("sh", "-c", `trap "" TERM; echo child $$; while :; do sleep 1; done`) //nolint:noctx // the test's end
		child.Stdout = os.Stdout
		signals := make(chan os.Signal, 10)
		signal.Notify(signals, syscall.SIGTERM)
		if err := child.Start(); err != nil {
			panic(err)
		}
		on(pooled, os.Getenv("TEST_SQL"))
		sayf("got %v", <-signals)
		return 4
	case "steady": // reads again and again, whatever happens
		for range 30 {
			if c, err := pgx.Connect(ctx, pooled); err == nil {
				_, _ = c.Exec(ctx, "select 1", pgx.QueryExecModeExec)
				_ = c.Close(ctx)
			}
		}
	case "besieged":
		if err := besieged(ctx); err != nil {
			sayf("%v", err)
			return 7
		}
	case "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return 0
}

// prove runs this binary under poolproof prove.
func prove(t *testing.T, what string, args ...string) result {
	t.Helper()
	t.Setenv("POOLPROOF_TEST_PROGRAM", what)
	return command(t, append(append([]string{"prove"}, args...), "--", self(t))...)
}

func TestProveExitStatus(t *testing.T) {
	up := pgtest.Database(t)
	baseline := filepath.Join(t.TempDir(), "baseline.json")
	for _, tc := range []struct {
		name, what string
		args       []string
		want       int
		says       string
	}{
		{"nothing found", "fine", nil, 0, "nothing found"},
		{"something found", "leak", nil, 66, "PP004"},
		{"found and failed", "leak and fail", nil, 66, "The program ended with exit status 3. What a failure kept it from"},
		{"another status", "leak", []string{"--exit-code", "1"}, 1, "PP004"},
		{"killed", "die", nil, 128 + 9, "nobody connected, so nothing was judged"},
		{"a baseline that is not there", "leak", []string{"--baseline", baseline}, 66, "the baseline is not there yet"},
		{"write it", "leak", []string{"--write-baseline", baseline}, 66, "PP004"},
		{"a baseline", "leak", []string{"--baseline", baseline}, 0, "nothing found, 1 known"},
		{"a baseline, and the program fails", "leak and fail", []string{"--baseline", baseline}, 3, "Known from the baseline"},
		{"observing", "leak", []string{"--observe"}, 66, "strict, observing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := prove(t, tc.what, append([]string{"--upstream", up}, tc.args...)...)
			if r.code != tc.want || !strings.Contains(r.stderr, tc.says) {
				t.Errorf("exit status %d, want %d and %q: %s", r.code, tc.want, tc.says, r.stderr)
			}
			if r.stdout != "" {
				t.Errorf("standard output is the program's: %s", r.stdout)
			}
		})
	}
}

// Command lines that are refused before anything is run.
func TestProveUsage(t *testing.T) {
	up := pgtest.Database(t)
	notExecutable := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(notExecutable, []byte("#!/bin/true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "baseline.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no program":        {[]string{"--upstream", up}, "nothing to run"},
		"unknown flag":      {[]string{"--jsno=r.json", "--", "true"}, "unknown flag --jsno\n"},
		"unknown {part}":    {[]string{"--upstream", up, "--env", "DSN={username}", "--", "true"}, "there is no {username}"},
		"no folder":         {[]string{"--sarif", filepath.Join(broken, "r.sarif"), "--", "true"}, "--sarif"},
		"a folder":          {[]string{"--write-baseline", filepath.Dir(broken), "--", "true"}, "is a directory"},
		"scripts in a file": {[]string{"--repro", broken, "--", "true"}, "--repro"},
		"no such database":  {[]string{"--upstream", strings.Replace(up, "?", "_none?", 1), "--", "true"}, "createdb"},
		"no such program":   {[]string{"--upstream", up, "--", "no-such-program"}, "no-such-program"},
		"not executable":    {[]string{"--upstream", up, "--", notExecutable}, "permission"},
		"no such profile":   {[]string{"--upstream", up, "--as", "nonsense", "--", "true"}, "pgbouncer-1.18"},
		"no URL":            {[]string{"--upstream", "host=/tmp dbname=x", "--", "true"}, "cannot be read"},
		"several servers":   {[]string{"--upstream", "postgres://app:pa55word@127.0.0.1:1,127.0.0.2:2/app", "--", "true"}, "127.0.0.1, 127.0.0.2"},
		"nobody there":      {[]string{"--upstream", "postgres://app:pa55word@127.0.0.1:1/app", "--", "true"}, "reaching the server of --upstream (127.0.0.1:1): connection refused\nhint: start"},
		"malformed":         {[]string{"--upstream", "postgres://app:pa55word@host:port/app", "--", "true"}, "postgres://user"},
		"nameless --env":    {[]string{"--upstream", up, "--env", "{url}", "--", "true"}, "--env"},
		"broken baseline":   {[]string{"--upstream", up, "--baseline", broken, "--", "true"}, "--write-baseline"},
		"no exit status":    {[]string{"--upstream", up, "--exit-code", "256", "--", "true"}, "256"},
		"proxy, no port":    {nil, ""},
		"proxy, half a TLS": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			switch name {
			case "proxy, no port":
				command(t, "proxy", "--listen", "localhost", "--upstream", up).wantError(t, exitUsage, "--listen")
			case "proxy, half a TLS":
				command(t, "proxy", "--listen", "127.0.0.1:0", "--upstream", up, "--tls-cert", broken).wantError(t, exitUsage, "tls-key")
			default:
				r := command(t, append([]string{"prove"}, tc.args...)...)
				r.wantError(t, exitUsage, tc.want)
				if strings.Contains(r.stderr, "time=") {
					t.Errorf("something was started before it was refused: %s", r.stderr)
				}
				if strings.Contains(r.stderr, "pa55word") {
					t.Errorf("the password is shown: %s", r.stderr)
				}
			}
		})
	}
}

// A server's password needs every kind of quoting. The program reaches the server
// in all ways, what it does directly is not judged, and poolproof never prints or
// writes the password.
func TestProveWithPassword(t *testing.T) {
	const password = `p@ss:w/r%d? "x" 'y' ü&=+#`
	dir := t.TempDir()
	pg, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{Dir: filepath.Join(dir, "pg"), Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(pg.Stop(context.Background()), os.RemoveAll(pg.Dir())); err != nil {
			t.Error(err)
		}
	})
	u := &url.URL{Scheme: "postgres", User: url.UserPassword(devdb.Superuser, password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(pg.Port())), Path: "/postgres"}
	out := filepath.Join(dir, "env.json")
	t.Setenv("TEST_OUT", out)
	services := filepath.Join(dir, "services")
	if err := os.WriteFile(services, []byte("[elsewhere]\nhost=203.0.113.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGSERVICEFILE", services)
	t.Setenv("PGSERVICE", "elsewhere")
	t.Setenv("PGOPTIONS", "-c work_mem=1MB")
	files := map[string]string{}
	var args []string
	for _, f := range []string{"json", "sarif", "junit", "html", "repro", "write-baseline"} {
		files[f] = filepath.Join(dir, f)
		args = append(args, "--"+f, files[f])
	}
	args = append(args, "--upstream", u.String(), "--env", "JDBC=jdbc:postgresql://{host}:{port}/{database}?user={user}&password={password}",
		"--env", "RAW={user} {password} {database}", "--env", "ALSO={url}")
	strict := prove(t, "everywhere", args...)
	if strict.code != 0 || !strings.Contains(strict.stderr, "nothing found") {
		t.Fatalf("exit status %d: %s", strict.code, strict.stderr)
	}
	env := programEnv(t, out)
	lent := env["PGPASSWORD"]
	if env["RAW"] != "postgres "+lent+" postgres" || !strings.Contains(env["DATABASE_URL"], "postgres:"+lent+"@") || len(lent) < 26 || lent == password {
		t.Errorf("the program is given %q", env)
	}
	sql(t, u.String(), "drop table migrated")
	// Observed, the program is asked by the server itself.
	r := prove(t, "everywhere", append([]string{"--observe"}, args...)...)
	if r.code != 0 || !strings.Contains(r.stderr, "nothing found") {
		t.Fatalf("exit status %d: %s", r.code, r.stderr)
	}
	env = programEnv(t, out)
	pooled, err := url.Parse(env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	given, _ := pooled.User.Password()
	jdbc, err := url.Parse(strings.TrimPrefix(env["JDBC"], "jdbc:"))
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"DATABASE_URL's password": {given, password}, "PGPASSWORD": {env["PGPASSWORD"], password}, "PGUSER": {env["PGUSER"], "postgres"},
		"PGDATABASE": {env["PGDATABASE"], "postgres"}, "PGHOST": {env["PGHOST"], "127.0.0.1"}, "PGPORT": {env["PGPORT"], pooled.Port()},
		"PGSSLMODE": {env["PGSSLMODE"], "disable"}, "JDBC's password": {jdbc.Query().Get("password"), password}, "JDBC's host": {jdbc.Host, pooled.Host},
		"RAW": {env["RAW"], "postgres " + password + " postgres"}, "ALSO": {env["ALSO"], env["DATABASE_URL"]},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
	for _, name := range []string{"PGSERVICE", "PGOPTIONS"} {
		if v, there := env[name]; there {
			t.Errorf("%s=%s reaches the program", name, v)
		}
	}
	said := strict.stdout + strict.stderr + r.stdout + r.stderr
	if strings.Contains(said, lent) {
		t.Errorf("the run's password is shown: %s", said)
	}
	for name, file := range files {
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			said += string(text)
		} else if name != "repro" { // nothing was found: there is nothing to show
			t.Errorf("%s was not written", name)
		}
	}
	wrong := *u
	wrong.User = url.UserPassword(devdb.Superuser, password+"!")
	refused := command(t, "prove", "--upstream", wrong.String(), "--", "true")
	refused.wantError(t, exitUsage, "reaching the server of --upstream", "password authentication failed", "user and password")
	said += refused.stderr
	for _, secret := range []string{password, url.QueryEscape(password), u.User.String(), "p@ss", "p%40ss"} {
		if strings.Contains(said, secret) {
			t.Errorf("the password is shown as %q in %s", secret, said)
		}
	}
}

// programEnv is the part of its environment that the program wrote down.
func programEnv(t *testing.T, file string) map[string]string {
	t.Helper()
	var list []string
	if err := json.Unmarshal([]byte(readFile(t, file)), &list); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, e := range list {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	return env
}

// probesName is what the probe calls its statement: another name each time.
var probesName = regexp.MustCompile(`poolproof_probe_[0-9a-f]+`)

// The whole process: without an upstream it starts a PostgreSQL of its own. Ctrl-C
// reaches the program once, the report is still written, and nothing is left.
func TestProveInterrupted(t *testing.T) {
	tmp := t.TempDir()
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // PostgreSQL's account passes through
		t.Fatal(err)
	}
	binary := self(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			out := &logBuffer{}
			cmd := exec.CommandContext(t.Context(), binary, "prove", "--", binary)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + tmp, "POOLPROOF_TEST_PROGRAM=wait", asPoolproof + "=1"}
			cmd.Stdout, cmd.Stderr = out, out
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, as in a CI
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, time.Minute, "waiting", func() bool { return strings.Contains(out.String(), "waiting") })
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			eventually(t, time.Minute, "the signal", func() bool { return strings.Contains(out.String(), "got") })
			if err := cmd.Process.Signal(sig); err != nil { // as timeout(1) does
				t.Fatal(err)
			}
			err := cmd.Wait()
			said := out.String()
			if cmd.ProcessState.ExitCode() != 66 || !strings.Contains(said, "got "+sig.String()) || strings.Contains(said, "\nand "+sig.String()) || !strings.Contains(said, "PP004") {
				t.Errorf("%v: %s", err, said)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// If prove is stopped before there is a server, it says so, and not that
// PostgreSQL is missing.
func TestProveStoppedEarly(t *testing.T) {
	for _, args := range [][]string{{}, {"--upstream", pgtest.Database(t)}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stoppedBy{os.Interrupt})
		var out bytes.Buffer
		code := run(ctx, append(append([]string{"prove"}, args...), "--", "true"), strings.NewReader(""), &out, &out)
		if code != exitUsage || !strings.Contains(out.String(), "poolproof: stopped by signal: interrupt, before there was a server\nhint: run it again\n") {
			t.Errorf("%v: exit status %d: %s", args, code, &out)
		}
	}
}

// If a program does not end when it is asked to, prove says what it waits for.
func TestProveWaits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "end")
	t.Setenv("TEST_OUT", file)
	t.Setenv("POOLPROOF_TEST_PROGRAM", "deaf")
	up := pgtest.Database(t)
	out := &logBuffer{}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"prove", "--upstream", up, "--", self(t)}, strings.NewReader(""), out, out)
	}()
	eventually(t, time.Minute, "waiting", func() bool { return strings.Contains(out.String(), "waiting\n") })
	if strings.Contains(out.String(), "waiting for the program") {
		t.Errorf("it was not asked to end yet: %s", out)
	}
	cancel(stoppedBy{syscall.SIGTERM})
	eventually(t, time.Minute, "a word", func() bool {
		return strings.Contains(out.String(), "waiting for the program to end; it will be killed")
	})
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != 5 {
		t.Errorf("exit status %d: %s", code, out)
	}
}

// At a terminal, Ctrl-C reaches the program by itself, once. Progress is shown in
// the title, and only there.
func TestProveAtATerminal(t *testing.T) {
	binary := self(t)
	cmd := exec.CommandContext(t.Context(), "python3", "testdata/ctrlc.py", `\x1b]0;poolproof: 1 transactions, 1 findings`, binary, "prove", "--upstream", pgtest.Database(t), "--", binary)
	cmd.Env = append(os.Environ(), "POOLPROOF_TEST_PROGRAM=wait", asPoolproof+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said := string(out)
	for _, want := range []string{"waiting\r\n", "got interrupt\r\n", "\x1b[31;1m✗ PP004\x1b[0m", "\x1b[23;0t", "exit status 66"} {
		if !strings.Contains(said, want) {
			t.Errorf("there is no %q in %q", want, said)
		}
	}
	if strings.Contains(said, "\nand interrupt") {
		t.Errorf("it reached the program twice: %q", said)
	}
}

// One run writes all reports, and the finding is in each.
func TestProveReports(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GITHUB_STEP_SUMMARY", filepath.Join(dir, "summary.md"))
	path := func(name string) string { return filepath.Join(dir, name) }
	r := prove(t, "leak and fail", "--upstream", pgtest.Database(t), "--json", path("r.json"), "--sarif", path("r.sarif"), "--junit", path("r.xml"), "--html", path("r.html"),
		"--repro", path("repro"))
	if r.code != 66 {
		t.Fatalf("exit status %d: %s", r.code, r.stderr)
	}
	for name, want := range map[string]string{
		"r.json": `"exit": 3`, "r.sarif": `"ruleId": "PP004"`, "r.xml": `classname="poolproof.PP004"`, "r.html": "server connection", "summary.md": "| [PP004](",
		"repro/PP004-app.tenant.py": "set app.tenant = 'x'", "repro/README.md": "PP004-app.tenant.py", "repro/pgbouncer.ini": "pool_mode = transaction",
	} {
		if text, err := os.ReadFile(path(name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q: %v\n%s", name, want, err, text)
		}
	}
}

// A Python program's finding points at its line, unless --no-source is given.
func TestProveNoSource(t *testing.T) {
	up := pgtest.Database(t)
	for _, tc := range []struct {
		args []string
		want bool
	}{{nil, true}, {[]string{"--no-source"}, false}} {
		r := command(t, slices.Concat([]string{"prove", "--upstream", up}, tc.args, []string{"--", "sh", "-c", `test -n "$POOLPROOF_CALLS"`})...)
		if (r.code == 0) != tc.want {
			t.Errorf("%v: exit status %d: %s", tc.args, r.code, r.stderr)
		}
	}
}

// The title of a terminal's window shows the progress, and is put back.
func TestTitle(t *testing.T) {
	out := &logBuffer{}
	stop := title(out, time.Millisecond, func() string { return "12 transactions" })
	eventually(t, 10*time.Second, "a title", func() bool { return strings.Contains(out.String(), "\x1b]0;12 transactions\x07") })
	stop()
	if s := out.String(); !strings.HasPrefix(s, "\x1b[22;0t") || !strings.HasSuffix(s, "\x1b[23;0t") || strings.Contains(s, "\n") {
		t.Errorf("%q", s)
	}
	quick := &logBuffer{}
	title(quick, time.Hour, func() string { return "" })()
	if quick.String() != "" {
		t.Errorf("a quick program's terminal gets %q", quick)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil || isTerminal(null) || isTerminal(out) {
		t.Errorf("%s is taken for a terminal, %v", os.DevNull, err)
	}
}

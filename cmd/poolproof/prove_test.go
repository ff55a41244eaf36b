//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/protocol"
	"github.com/poolproof/poolproof/pooler"
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

// The URLs that programs get if the server is reached in another way than by its
// host and port.
func TestCompleteURL(t *testing.T) {
	t.Setenv("PGUSER", "from env")
	t.Setenv("PGPASSWORD", "s@cret")
	for raw, want := range map[string]string{
		"postgres://u:p@[::1]:5433/db?sslmode=disable":                "postgres://u:p@[::1]:5433/db?sslmode=disable",
		"postgres:///db?host=/run/my%20pg&sslmode=disable":            "postgres://from%20env:s%40cret@/db?host=%2Frun%2Fmy%20pg&port=5432&sslmode=disable",
		"postgresql://localhost?user=x&dbname=y&application_name=app": "postgresql://x:s%40cret@localhost:5432/y?application_name=app",
		"postgres://u@127.0.0.1/?application_name=a+b%20c":            "postgres://u:s%40cret@127.0.0.1:5432/u?application_name=a%2Bb%20c",
		"postgres://u@127.0.0.1":                                      "postgres://u:s%40cret@127.0.0.1:5432/u",
	} {
		cfg, err := pgx.ParseConfig(raw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := completeURL(raw, cfg)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", raw, got, err, want)
		}
		if again, err := pgx.ParseConfig(got); err != nil || again.Host != cfg.Host || again.Port != cfg.Port || again.User != cfg.User || again.Password != cfg.Password {
			t.Errorf("%s is read as another server: %v, %+v, %+v", got, err, again.Config, cfg.Config)
		}
	}
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.1.2.3": true, "::1": true, "/var/run/postgresql": true, "": true,
		"db.example.com": false, "10.0.0.1": false, "::2": false, "localhost.example.com": false, "0.0.0.0": false,
	} {
		if got := onThisMachine(host); got != want {
			t.Errorf("%q on this machine: %v", host, got)
		}
	}
}

// recorder is a relay that keeps what clients send.
type recorder struct {
	addr  string
	mu    sync.Mutex
	conns []*bytes.Buffer
}

func record(t *testing.T, to string) *recorder {
	t.Helper()
	return recordAt(t, to, "tcp", "127.0.0.1:0")
}

func recordAt(t *testing.T, to, network, addr string) *recorder {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{addr: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			said := &bytes.Buffer{}
			r.mu.Lock()
			r.conns = append(r.conns, said)
			r.mu.Unlock()
			go func() {
				defer in.Close() //nolint:errcheck // it is over
				out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
				if err != nil {
					return
				}
				defer out.Close() //nolint:errcheck // it is over
				go func() {
					_, _ = io.Copy(in, out) // either side may hang up
					_ = in.Close()
				}()
				_, _ = io.Copy(io.MultiWriter(out, writer(func(b []byte) (int, error) {
					r.mu.Lock()
					defer r.mu.Unlock()
					return said.Write(b)
				})), in)
			}()
		}
	}()
	return r
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// statements are the texts of all Query and Parse messages.
func (r *recorder) statements() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		b := c.Bytes()
		if len(b) < 8 {
			continue
		}
		if b = b[binary.BigEndian.Uint32(b):]; len(b) == 0 { // the startup packet
			continue
		}
		for len(b) >= 5 {
			n := int(binary.BigEndian.Uint32(b[1:])) + 1
			body := b[5:min(n, len(b))]
			switch b[0] {
			case protocol.Parse:
				_, body, _ = bytes.Cut(body, []byte{0})
				fallthrough
			case protocol.Query:
				sql, _, _ := bytes.Cut(body, []byte{0})
				all = append(all, string(sql))
			}
			b = b[min(n, len(b)):]
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Servers at an IPv6 address and at a socket: a program reaches them, too.
func TestProveOtherAddresses(t *testing.T) {
	u, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "pp") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	v6 := recordAt(t, u.Host, "tcp6", "[::1]:0")
	socket := recordAt(t, u.Host, "unix", filepath.Join(folder, ".s.PGSQL.5432"))
	for _, tc := range []struct {
		upstream string
		by       *recorder
	}{
		{"postgres://postgres@" + v6.addr + u.Path, v6},
		{"postgres://postgres@" + u.Path + "?host=" + url.QueryEscape(folder), socket},
	} {
		out := filepath.Join(t.TempDir(), "env.json")
		t.Setenv("TEST_OUT", out)
		t.Setenv("DATABASE_URL", tc.upstream) // both are this machine
		if r := prove(t, "everywhere"); r.code != 0 || !strings.Contains(r.stderr, "nothing found") {
			t.Errorf("%s: exit status %d: %s", tc.upstream, r.code, r.stderr)
		}
		if !slices.Contains(tc.by.statements(), "insert into migrated values (2)") {
			t.Errorf("%s: it went elsewhere", tc.upstream)
		}
		sql(t, u.String(), "drop table migrated")
	}
}

// probesName is what the probe calls its statement: another name each time.
var probesName = regexp.MustCompile(`poolproof_probe_[0-9a-f]+`)

// unnamed returns statements, sorted and each once, without the probe's names.
func unnamed(statements []string) []string {
	var all []string
	for _, s := range statements {
		all = append(all, probesName.ReplaceAllString(s, "poolproof_probe"))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// An upstream that is itself a pooler gets the probe and nothing else.
func TestProveRefusesAPooler(t *testing.T) {
	direct := pgtest.Database(t)
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Session, pgtest.PgBouncer124Transaction} {
		t.Run(kind.String(), func(t *testing.T) {
			u, err := url.Parse(pgtest.Pooled(t, direct, kind))
			if err != nil {
				t.Fatal(err)
			}
			probe, all := record(t, u.Host), record(t, u.Host)
			at := func(r *recorder) string {
				v := *u
				v.Host = r.addr
				return v.String()
			}
			cfg, err := pgx.ParseConfig(at(probe))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pooler.Probe(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			ran := filepath.Join(t.TempDir(), "ran")
			t.Setenv("DATABASE_URL", at(all)) // on this machine: allowed, if it were no pooler
			command(t, "prove", "--", "touch", ran).wantError(t, exitUsage, "is itself a pooler", "behind the pooler")
			command(t, "proxy", "--listen", "127.0.0.1:0").wantError(t, exitUsage, "is itself a pooler")
			if got, want := unnamed(all.statements()), unnamed(probe.statements()); len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("it was sent %q, and the probe is %q", got, want)
			}
			if _, err := os.Stat(ran); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the program was run: %v", err)
			}
		})
	}
}

// prove does not even connect to a server on another machine that only a variable
// names.
func TestProveRefusesARemoteServerOfAVariable(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{}, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case called <- struct{}{}:
			default:
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// This machine under a name that does not say so.
	t.Setenv("DATABASE_URL", "postgres://app:pa55word@0.0.0.0:"+port+"/app")
	r := command(t, "prove", "--", "true")
	r.wantError(t, exitUsage, "another machine (0.0.0.0)", "--upstream")
	if strings.Contains(r.stderr, "pa55word") {
		t.Errorf("the password is shown: %s", r.stderr)
	}
	select {
	case <-called:
		t.Error("it was connected to")
	default:
	}
	// Named, it is.
	command(t, "prove", "--upstream", os.Getenv("DATABASE_URL"), "--", "true").wantError(t, exitUsage, "reaching the server of --upstream")
	select {
	case <-called:
	default:
		t.Error("named by --upstream, it was not connected to")
	}
}

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

// The URLs that programs get have the form that they expect.
func TestProveScheme(t *testing.T) {
	up := pgtest.Database(t)
	_, address, _ := strings.Cut(up, "://")
	for ours, want := range map[string]string{
		"":                                "postgresql://",
		"postgres://" + address:           "postgres://",
		"postgresql+asyncpg://" + address: "postgresql+asyncpg://",
		"mysql+pymysql://127.0.0.1/app":   "postgresql://",
	} {
		args := []string{"prove", "--", "sh", "-c", "echo $DATABASE_URL; echo $DIRECT_URL; echo $PGSSLMODE"}
		if ours == "" || strings.HasPrefix(ours, "mysql") {
			args = slices.Insert(args, 1, "--upstream", up)
		}
		t.Setenv("DATABASE_URL", ours)
		r := command(t, args...)
		lines := strings.Split(r.stdout, "\n")
		if r.code != 0 || len(lines) != 4 || !strings.HasPrefix(lines[0], want) || !strings.HasPrefix(lines[1], want) || lines[2] != "disable" {
			t.Errorf("%q: exit status %d, the program is given %q; %s", ours, r.code, lines, r.stderr)
		}
		if strings.Contains(want, "+") == strings.Contains(lines[0], "sslmode") {
			t.Errorf("%q: the program is given %q", ours, lines)
		}
	}
	for _, tc := range []struct{ raw, form, want string }{
		{"postgres://u@h/d?a=b&sslmode=require&sslmode=disable", "postgresql+psycopg://", "postgresql+psycopg://u@h/d?a=b&sslmode=require"},
		{"postgres://u@h/d", "postgresql://x:y@z/w?schema=public&connection_limit=1&sslmode=require&password=p&host=z", "postgresql://u@h/d?schema=public&connection_limit=1"},
		{"postgres://u@h/d?application_name=a&sslmode=disable", "postgres://z?application_name=b&x=1+2%20", "postgres://u@h/d?application_name=a&sslmode=disable&x=1+2%20"},
		{"postgres://u@h/d", "postgres://z", "postgres://u@h/d"},
	} {
		if got := inForm(tc.raw, tc.form); got != tc.want {
			t.Errorf("%s in the form of %s: %s, want %s", tc.raw, tc.form, got, tc.want)
		}
	}
	command(t, "prove", "--upstream", "mysql://127.0.0.1/app", "--", "true").wantError(t, exitUsage, "--upstream cannot be read", "postgres://")
	t.Setenv("DATABASE_URL", "app")
	command(t, "prove", "--", "true").wantError(t, exitUsage, "DATABASE_URL cannot be read", "unset DATABASE_URL")
}

// A URL may have parameters that only a driver understands. The program gets them,
// and prove connects without them.
func TestProveDriversParameters(t *testing.T) {
	up := strings.Replace(pgtest.Database(t), "sslmode=disable", "sslmode=prefer", 1)
	const own = "schema=public&connection_limit=1&pgbouncer=true&ssl=false&pool_max_conns=3&search_path=a%2Cb"
	t.Setenv("DATABASE_URL", up+"&"+own)
	r := command(t, "prove", "--", "sh", "-c", `psql -Atc "show search_path"; echo $DATABASE_URL; echo $DIRECT_URL`)
	lines := strings.Split(r.stdout, "\n")
	if r.code != 0 || len(lines) != 4 {
		t.Fatalf("exit status %d: %s%s", r.code, r.stdout, r.stderr)
	}
	for _, line := range lines[1:3] {
		for p := range strings.SplitSeq(own, "&") {
			if strings.Contains(line, p) == (p == "ssl=false") {
				t.Errorf("%s: the program is given %s", p, line)
			}
		}
	}
	command(t, "proxy", "--listen", "127.0.0.1", "--upstream", up+"&nonsense=1").wantError(t, exitUsage, "--listen")
	t.Setenv("DATABASE_URL", up+"&work_mem=nonsense")
	command(t, "prove", "--", "true").wantError(t, exitUsage, "work_mem", "unset DATABASE_URL")
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

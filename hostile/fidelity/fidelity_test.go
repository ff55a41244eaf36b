//go:build unix

package fidelity

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// differences are the tests of pgx's own suite whose result through poolproof
// proxy --observe is not the one against PostgreSQL, and why.
var differences = map[string]string{}

// suite is pgx's own tests, in a copy of the module, and a server for them as
// its continuous integration sets one up: md5, SCRAM, passwords, TLS, client
// certificates and a socket.
type suite struct {
	dir, socket string
	port        int
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	tmp, err := os.MkdirTemp("", "pgx-") //nolint:usetesting // a socket's path must be short, and the server's account must enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(tmp); err != nil {
			t.Error(err)
		}
	})
	s := &suite{dir: filepath.Join(tmp, "pgx"), socket: filepath.Join(tmp, "socket")}
	module := strings.TrimSpace(s.run(t, ".", nil, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/jackc/pgx/v5"))
	if err := errors.Join(os.Chmod(tmp, 0o711), os.Mkdir(s.socket, 0o777), os.Chmod(s.socket, 0o777), os.CopyFS(s.dir, os.DirFS(module))); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	s.decodeCertificates(t)
	pg, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{
		Dir: filepath.Join(tmp, "postgres"), Settings: map[string]string{"unix_socket_directories": s.socket, "max_connections": "200"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
		defer cancel()
		if err := errors.Join(pg.Stop(ctx), os.RemoveAll(pg.Dir())); err != nil {
			t.Error(err)
		}
	})
	s.port = pg.Port()
	s.configure(t, filepath.Join(pg.Dir(), "pgdata"))
	return s
}

// decodeCertificates writes the certificates that the suite brings along.
func (s *suite) decodeCertificates(t *testing.T) {
	t.Helper()
	encoded, err := filepath.Glob(filepath.Join(s.dir, "testsetup/certs/*.b64"))
	if err != nil || len(encoded) == 0 {
		t.Fatalf("no certificates, %v", err)
	}
	for _, name := range encoded {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text)))
		if err == nil {
			err = os.WriteFile(strings.TrimSuffix(name, ".b64"), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (s *suite) cert(name string) string { return filepath.Join(s.dir, "testsetup/certs", name) }

// configure does what pgx's ci/setup_test.bash does.
func (s *suite) configure(t *testing.T, data string) {
	t.Helper()
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	for to, from := range map[string]string{
		"root.crt": s.cert("ca.pem"), "server.crt": s.cert("localhost.crt"), "server.key": s.cert("localhost.key"),
		"pg_hba.conf": filepath.Join(s.dir, "testsetup/pg_hba.conf"),
	} {
		text, err := os.ReadFile(from)
		if err == nil {
			to = filepath.Join(data, to)
			err = errors.Join(os.WriteFile(to, text, 0o600), os.Chown(to, int(owner.Uid), int(owner.Gid)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	psql := func(database string, args ...string) {
		t.Helper()
		s.run(t, s.dir, nil, "psql", append([]string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", s.socket, "-p", strconv.Itoa(s.port), "-U", "postgres", "-d", database}, args...)...)
	}
	psql("postgres", "-c", "alter system set ssl = on", "-c", "alter system set ssl_ca_file = 'root.crt'", "-c", "select pg_reload_conf()", "-c", "create database pgx_test")
	psql("pgx_test", "-f", "testsetup/postgresql_setup.sql")
}

// upstream is the server's URL for a proxy: over TLS, with the client
// certificate, which a proxy has to show in its clients' place.
func (s *suite) upstream() string {
	q := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.cert("ca.pem")}, "sslcert": {s.cert("pgx_sslcert.crt")}, "sslkey": {s.cert("pgx_sslcert.key")}, "sslpassword": {"certpw"}}
	return fmt.Sprintf("postgres://pgx_md5:secret@127.0.0.1:%d/pgx_test?%s", s.port, q.Encode())
}

// environ is that of the tests: every way to a server at a TCP port and in a
// socket's folder.
//
// A client that the server asks for nothing, because of its socket or its
// certificate, sends the password of the proxy in front of it.
func (s *suite) environ(port, socketPort int, socket, unasked, unaskedBySocket string) []string {
	at := func(rest string) string { return fmt.Sprintf("port=%d dbname=pgx_test %s", port, rest) }
	md5 := at("host=127.0.0.1 user=pgx_md5 password=secret")
	tls := "host=localhost sslmode=verify-full sslrootcert=" + s.cert("ca.pem")
	return []string{
		"PGX_TEST_DATABASE=" + md5, "PGX_TEST_TCP_CONN_STRING=" + md5, "PGX_TEST_MD5_PASSWORD_CONN_STRING=" + md5,
		fmt.Sprintf("PGX_TEST_UNIX_SOCKET_CONN_STRING=host=%s port=%d dbname=pgx_test%s", socket, socketPort, unaskedBySocket),
		"PGX_TEST_SCRAM_PASSWORD_CONN_STRING=" + at("host=127.0.0.1 user=pgx_scram password=secret channel_binding=disable"),
		"PGX_TEST_SCRAM_PLUS_CONN_STRING=" + at("user=pgx_ssl password=secret channel_binding=require "+tls),
		"PGX_TEST_PLAIN_PASSWORD_CONN_STRING=" + at("host=127.0.0.1 user=pgx_pw password=secret"),
		"PGX_TEST_TLS_CONN_STRING=" + at("user=pgx_ssl password=secret channel_binding=disable "+tls),
		"PGX_TEST_TLS_CLIENT_CONN_STRING=" + at("user=pgx_sslcert sslcert="+s.cert("pgx_sslcert.crt")+" sslkey="+s.cert("pgx_sslcert.key")+" "+tls+unasked),
		"PGX_SSL_PASSWORD=certpw",
	}
}

// direct is the environment for the server itself.
func (s *suite) direct() []string { return s.environ(s.port, s.port, s.socket, "", "") }

// observed starts poolproof proxy --observe, with the server's own certificate,
// and returns the environment for it. It listens on TCP only. What comes through
// a socket goes to a second one, which reaches the server through its socket.
func (s *suite) observed(t *testing.T) []string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	bySocket := url.URL{Scheme: "postgres", User: url.User(me.Username), Path: "/pgx_test", RawQuery: url.Values{"host": {s.socket}, "port": {strconv.Itoa(s.port)}}.Encode()}
	binary := program(t)
	tcp := startProxy(t, binary, "--observe", "--upstream", s.upstream(), "--tls-cert", s.cert("localhost.crt"), "--tls-key", s.cert("localhost.key"))
	socket := startProxy(t, binary, "--observe", "--upstream", bySocket.String())
	return s.environ(tcp.port, socket.port, "127.0.0.1", " password="+tcp.password, " password="+socket.password)
}

// run runs a command to its end and returns what it wrote. It must succeed.
func (s *suite) run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

// results are "pass", "fail" or "skip" by package and test.
type results map[string]string

// test runs tests of the suite and returns their results, and what failed ones
// wrote.
func (s *suite) test(t *testing.T, env []string, args ...string) (results, map[string]string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-json", "-trimpath", "-count=1", "-vet=off"}, args...)...) //nolint:gosec // our own
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	all, said := results{}, map[string]string{}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e struct{ Action, Package, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		name := strings.TrimPrefix(e.Package, "github.com/jackc/pgx/") + " " + e.Test
		switch e.Action {
		case "pass", "fail", "skip":
			all[name] = e.Action
		case "output":
			said[name] += e.Output
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil && len(all) == 0 {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return all, said
}

// again runs one test once more.
func (s *suite) again(t *testing.T, env []string, name string) string {
	t.Helper()
	pkg, test, _ := strings.Cut(name, " ")
	var pattern []string
	for part := range strings.SplitSeq(test, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	all, _ := s.test(t, env, "-run", strings.Join(pattern, "/"), "./"+strings.TrimPrefix(strings.TrimPrefix(pkg, "v5"), "/"))
	return all[name]
}

// lengthy are tests of the suite that wait or calculate more than they say to a
// server: make test leaves them to the soak.
const lengthy = "^(TestConnExecBatchWriteError|TestListenNotifyWhileBusyIsSafe|TestPoolAcquirePingTimeout|TestFatalTxError|" +
	"TestNumericCodec.*|TestNumericBinaryEncodeLargeDigitCount|TestConnConcurrency|TestPoolAfterRelease|TestConcurrentUsage)$"

// pgx's own test suite has the same results through poolproof proxy --observe as
// against PostgreSQL directly. make test runs the tests of pgx itself through the
// proxy, without lengthy ones, and runs directly only what did not pass there. The
// soak runs all packages both ways. Afterwards no connection is left.
func TestPgxSuite(t *testing.T) {
	s := newSuite(t)
	observed := s.observed(t)
	var want, got results
	var said map[string]string
	begun := time.Now()
	if !pgtest.Soak() {
		got, said = s.test(t, observed, "-skip", lengthy, ".")
		want = results{}
		other := []string{"^$"}
		for name, result := range got {
			want[name] = "pass"
			if result != "pass" {
				_, test, _ := strings.Cut(name, " ")
				test, _, _ = strings.Cut(test, "/")
				other = append(other, "^"+test+"$")
			}
		}
		directly, _ := s.test(t, s.direct(), "-run", strings.Join(other, "|"), ".")
		maps.Copy(want, directly)
		t.Logf("%d tests, observed in %v", len(got), time.Since(begun).Round(time.Second))
	} else {
		want, _ = s.test(t, s.direct(), "./...")
		took := time.Since(begun)
		begun = time.Now()
		got, said = s.test(t, observed, "./...")
		t.Logf("%d tests, directly in %v, observed in %v", len(want), took.Round(time.Second), time.Since(begun).Round(time.Second))
	}
	s.left(t)
	passed := 0
	found := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(union(want, got))) {
		if got[name] == "pass" {
			passed++
		}
		if want[name] == got[name] || strings.HasSuffix(name, " ") { // a package's result is its tests'
			continue
		}
		if _, known := differences[name]; known {
			found[name] = true
			continue
		}
		// A test that fails now and then, on a machine that has other things to do, is none.
		if a, b := s.again(t, s.direct(), name), s.again(t, observed, name); a != b {
			t.Errorf("%s: directly %s, observed %s\n%s", name, a, b, said[name])
		}
	}
	for name, why := range differences {
		if _, ran := got[name]; ran && !found[name] {
			t.Errorf("%s is listed (%s) and does not differ", name, why)
		}
	}
	least := pgtest.Pick(760, 2000)
	if passed < least {
		t.Errorf("%d tests have passed", passed)
	}
}

// turns is how often TestPace runs all of the suite either way.
var turns = flag.Int("turns", 0, "measure how long all of pgx's tests take, directly and observed, so many times in turn")

// How long the suite takes, in turns, so that what else the machine does meets both.
// It asserts nothing: docs/speed.md has what it told.
func TestPace(t *testing.T) {
	if *turns == 0 {
		return // nobody asked
	}
	s := newSuite(t)
	ways := [][]string{s.direct(), s.observed(t)}
	s.test(t, ways[0], "-run", "^$", "./...") // builds
	for turn := range *turns {
		var took [2]time.Duration
		for i, way := range ways {
			begun := time.Now()
			s.test(t, way, "./...")
			took[i] = time.Since(begun)
		}
		t.Logf("turn %d: directly %.1f s, observed %.1f s: %.2f times", turn+1, took[0].Seconds(), took[1].Seconds(), took[1].Seconds()/took[0].Seconds())
	}
}

// union has the names of both.
func union(a, b results) results {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// left asserts that the server has no connection but the one that asks.
func (s *suite) left(t *testing.T) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for {
		out := s.run(t, s.dir, nil, "psql", "-X", "-A", "-t", "-h", s.socket, "-p", strconv.Itoa(s.port), "-U", "postgres", "-d", "pgx_test",
			"-c", "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()")
		if strings.TrimSpace(out) == "0" {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s server connections are left", strings.TrimSpace(out))
		}
	}
}

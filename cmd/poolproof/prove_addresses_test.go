//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/protocol"
	"github.com/poolproof/poolproof/pooler"
)

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

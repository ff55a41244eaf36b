//go:build unix

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/visible"
)

// anotherUser is a user id that nobody on this machine has: that of a neighbour.
const anotherUser = 61234

// neighbour is what another user of this machine gets at a port without a
// password, an empty one and a guessed one, as each of these users; "" if every
// try is refused for its password. Where this process may not become somebody
// else (it is no root), it comes without anything that its user has.
func neighbour(ctx context.Context, port string, users ...string) (string, error) {
	for _, name := range users {
		for _, password := range []string{"none", "PGPASSWORD=", "PGPASSWORD=postgres"} {
			cmd := exec.CommandContext(ctx, "psql", "-X", "-w", "-h", "127.0.0.1", "-p", port, "-U", name, "-d", "postgres", "-Atc", "copy (select 1) to program 'id'; select 'I am '||current_user") //nolint:gosec // our own
			cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LC_ALL=C", password}
			if os.Geteuid() == 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: anotherUser, Gid: anotherUser}}
			}
			out, err := cmd.CombinedOutput()
			if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
				return "", err
			}
			refused := strings.Contains(string(out), "no password supplied") || strings.Contains(string(out), "password authentication failed") ||
				strings.Contains(string(out), "Peer authentication failed") // the server's own word, for an account that is not ours
			if err == nil || !refused {
				return fmt.Sprintf("%s, %s, at %s: %s", name, password, port, out), nil
			}
		}
	}
	return "", nil
}

// besieged is the program under prove while a neighbour tries the pooler, and the
// server if that is private.
func besieged(ctx context.Context) error {
	for name := range strings.FieldsSeq(os.Getenv("TEST_BESIEGED")) {
		u, err := url.Parse(os.Getenv(name))
		if err != nil {
			return err
		}
		c, err := pgx.Connect(ctx, u.String()) // we get in
		if err != nil {
			return err
		}
		var me string
		if err := errors.Join(c.QueryRow(ctx, "select current_user", pgx.QueryExecModeSimpleProtocol).Scan(&me), c.Close(ctx)); err != nil {
			return err
		}
		if got, err := neighbour(ctx, u.Port(), me, "postgres", "nobody-knows"); err != nil || got != "" {
			return fmt.Errorf("%s: a neighbour got in: %s, %w", name, got, err)
		}
	}
	return nil
}

// peerServer is a server that lets the account of this process in by its socket,
// and nobody else; it returns the URL by the socket.
func peerServer(t *testing.T) string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "peer-") //nolint:usetesting // a socket's path is short, and the server's account must enter
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	if err := errors.Join(os.Chmod(dir, 0o711), os.Mkdir(socket, 0o777), os.Chmod(socket, 0o777)); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	pg, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{Dir: filepath.Join(dir, "postgres"), Password: "p", Settings: map[string]string{"unix_socket_directories": socket}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(pg.Stop(context.WithoutCancel(t.Context())), os.RemoveAll(pg.Dir()), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	hba := filepath.Join(pg.Dir(), "pgdata", "pg_hba.conf")
	if err := os.WriteFile(hba, []byte("local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n"), 0o600); err != nil { //nolint:dupword // databases and users
		t.Fatal(err)
	}
	sql(t, pg.AdminURL(), "select pg_reload_conf()")
	sql(t, pg.AdminURL(), "create role "+pgx.Identifier{me.Username}.Sanitize()+" login superuser")
	// A password that is in the environment for something else must not count as one that the server has checked.
	bySocket := url.URL{Scheme: "postgres", User: url.UserPassword(me.Username, "guess"), Path: "/postgres", RawQuery: url.Values{"host": {socket}, "port": {strconv.Itoa(pg.Port())}}.Encode()}
	eventually(t, 10*time.Second, "the server goes by its socket", func() bool {
		c, err := pgconn.Connect(t.Context(), bySocket.String())
		return err == nil && c.Close(t.Context()) == nil
	})
	return bySocket.String()
}

// While prove or proxy runs, another user of this machine who does not know the
// password gets into neither the pooler nor the private server, whatever way the
// server lets the proxy in; the program gets in by what it is given.
func TestNeighbours(t *testing.T) {
	upstreams := map[string]string{"private": "", "trust": pgtest.Database(t), "peer": peerServer(t)}
	for _, form := range [][]string{nil, {"--observe"}, {"--as", "plain"}} {
		for name, up := range upstreams {
			t.Run(strings.Join(append(form, name), " "), func(t *testing.T) {
				t.Setenv("TEST_BESIEGED", "DATABASE_URL")
				args := append([]string{"--upstream", up}, form...)
				if up == "" {
					if len(form) == 2 { // as the strict form, and a server costs seconds
						return
					}
					t.Setenv("TEST_BESIEGED", "DATABASE_URL DIRECT_URL")
					args = form
				}
				if r := prove(t, "besieged", args...); r.code != 0 || up == "" && !strings.Contains(r.stderr, "private, empty PostgreSQL") || up != "" && strings.Contains(r.stderr, "private") {
					t.Errorf("exit status %d: %s", r.code, r.stderr)
				}
				if up == "" {
					return
				}
				proxy := startProxy(t, args...)
				t.Setenv("TEST_BESIEGED", "THROUGH_PROXY")
				t.Setenv("THROUGH_PROXY", proxy.pooled(t, up))
				if err := besieged(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A server that lets the proxy in unasked: the proxy needs a password of its own
// for its clients, and shows a made-up one to nobody but a person at a terminal.
func TestProxyPassword(t *testing.T) {
	up := pgtest.Database(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := []string{"proxy", "--listen", "127.0.0.1:0", "--upstream", up}
	command(t, listen...).wantError(t, exitUsage, "clients need one of the pooler's own", "--password-file", proxyPasswordVariable)
	command(t, append(listen, "--observe")...).wantError(t, exitUsage, "clients need one of the pooler's own")
	command(t, append(listen, "--password-file", empty)...).wantError(t, exitUsage, "there is no password in")
	command(t, append(listen, "--password-file", filepath.Join(empty, "x"))...).wantError(t, exitUsage, "--password-file")
}

// siege is what strangers say who never give the right password. Each call is
// one connection; held ones are closed by the caller.
type siege struct{ addr, user, database string }

const nasty = "\x1b]52;c;bmFzdHk=\a\x1b[2J\u009b31m\u202e\x7f"

func (x siege) say(i int) (held net.Conn, err error) {
	conn, err := net.DialTimeout("tcp", x.addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	packet := func(code uint32, params ...string) []byte {
		b := binary.BigEndian.AppendUint32(make([]byte, 4), code)
		for _, p := range params {
			b = append(append(b, p...), 0)
		}
		if len(params) > 0 {
			b = append(b, 0)
		}
		binary.BigEndian.PutUint32(b, uint32(len(b)))
		return b
	}
	unique := fmt.Sprintf("%s%d", nasty, i)
	startup := packet(3<<16, "user", x.user, "database", x.database, "application_name", unique+strings.Repeat("x", 4000), "options", "-c a.b="+unique, "search_path", strings.Repeat("y", 4000))
	var say [][]byte
	switch {
	case i%20 == 0: // the wrong password, for which the server must be asked
		say = [][]byte{packet(3<<16, "user", x.user, "database", x.database, "application_name", unique), append([]byte{'p', 0, 0, 0, 10}, "wrong\x00"...)}
	case i%10 == 1: // one who keeps the connection, and comes to nothing
		_, err := conn.Write(startup[:5])
		return conn, err
	case i%10 == 2:
		say = [][]byte{packet(80877103)} // TLS
	case i%10 == 3:
		say = [][]byte{packet(80877102, "12345678")} // cancel somebody
	case i%10 == 4:
		say = [][]byte{[]byte("GET /" + unique + " HTTP/1.1\r\n\r\n")}
	case i%10 == 5: // a query before anything
		q := "select '" + unique + "'\x00"
		say = [][]byte{startup, append(binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(4+len(q))), q...)}
	default:
		say = [][]byte{startup}
	}
	for _, b := range say {
		if _, err := conn.Write(b); err != nil {
			break // it hung up
		}
	}
	if i%3 == 0 { // one who waits for the answer
		_, _ = conn.Read(make([]byte, 100))
	}
	return nil, conn.Close()
}

// files counts this process's open files.
func files(t *testing.T) int {
	t.Helper()
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		if all, err := os.ReadDir(dir); err == nil {
			return len(all)
		}
	}
	t.Fatal("this system does not list a process's files")
	return 0
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers held
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Ten thousand connections of strangers, who say all that a terminal obeys:
// nothing of it is kept, nothing is reported, and a client that knows the
// password is served meanwhile. What that one says is shown so that it can be
// seen.
func TestStrangers(t *testing.T) {
	forms := map[string]int{"strict": pgtest.Pick(600, 10_000), "observe": pgtest.Pick(60, 1_000)} // there each is a process of the server's
	for form, n := range forms {
		t.Run(form, func(t *testing.T) {
			up := pgtest.Database(t)
			dir := t.TempDir()
			args := []string{"--upstream", up}
			if form == "observe" {
				args = append(args, "--observe")
			}
			reports := map[string]string{}
			for _, kind := range []string{"json", "sarif", "junit", "html"} {
				reports[kind] = filepath.Join(dir, kind)
				args = append(args, "--"+kind, reports[kind])
			}
			proxy := startProxy(t, args...)
			u, err := url.Parse(up)
			if err != nil {
				t.Fatal(err)
			}
			x := siege{proxy.addr, u.User.Username(), strings.TrimPrefix(u.Path, "/")}
			honest := func(i int) {
				t.Helper()
				cfg, err := pgx.ParseConfig(proxy.pooled(t, up))
				if err != nil {
					t.Fatal(err)
				}
				cfg.RuntimeParams["application_name"] = "honest" + nasty
				c, err := pgx.ConnectConfig(t.Context(), cfg)
				if err != nil {
					t.Fatalf("who knows the password is not served: %v", err)
				}
				if _, err := c.Exec(t.Context(), fmt.Sprintf("set app.x%d = '%s'", i, nasty)); err != nil {
					t.Error(err)
				}
				if err := c.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			honest(0)
			heapBefore, routines, open := heap(), runtime.NumGoroutine(), files(t)
			var mu sync.Mutex
			var held []net.Conn
			var all sync.WaitGroup
			next := make(chan int)
			for range 32 {
				all.Go(func() {
					for i := range next {
						conn, err := x.say(i)
						if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
							t.Error(err)
						}
						if conn != nil {
							mu.Lock()
							held = append(held, conn)
							mu.Unlock()
						}
					}
				})
			}
			for i := range n {
				next <- i
				if i == n/2 || i == n-1 {
					honest(1 + i)
				}
			}
			close(next)
			all.Wait()
			honest(1)
			if len(held) < n/20 {
				t.Errorf("%d connections were kept", len(held))
			}
			for _, c := range held {
				_ = c.Close() // most were ended by the other side
			}
			held = nil
			var grown int
			eventually(t, 60*time.Second, "goroutines, files and memory are what they were", func() bool {
				grown = heap() - heapBefore
				return runtime.NumGoroutine() <= routines+20 && files(t) <= open+10 && grown < 20<<20
			})
			t.Logf("%d connections: the heap has grown by %d kB", n, grown>>10)
			proxy.stop()
			said := proxy.stderr.String()
			reports["terminal"] = filepath.Join(dir, "terminal")
			if err := os.WriteFile(reports["terminal"], []byte(said), 0o600); err != nil {
				t.Fatal(err)
			}
			for kind, file := range reports {
				text := readFile(t, file)
				if len(text) > 1<<20 || visible.Text(text) != text || !strings.Contains(text, "app.x1") {
					t.Errorf("the report as %s: %d bytes, obeyed by a terminal: %v\n%.2000q", kind, len(text), visible.Text(text) != text, text)
				}
			}
			var r struct {
				Clients, Refused int
				Findings         []struct{ Code, Subject string }
			}
			if err := json.Unmarshal([]byte(readFile(t, reports["json"])), &r); err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				if f.Code != "PP004" || !strings.HasPrefix(f.Subject, "app.x") {
					t.Errorf("found %+v", f)
				}
			}
			if r.Clients != 4 || len(r.Findings) != 4 || r.Refused < n/10 {
				t.Errorf("%d clients, %d refused, %d findings", r.Clients, r.Refused, len(r.Findings))
			}
			if !strings.Contains(said, `\x1b]52;c;bmFzdHk=\x07`) || !strings.Contains(strings.Join(strings.Fields(said), " "), "ended before the password was right") {
				t.Errorf("it said %s", said)
			}
			if log := strings.Count(said, "level="); log > 20 {
				t.Errorf("%d lines of log", log)
			}
		})
	}
}

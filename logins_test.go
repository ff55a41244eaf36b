package poolproof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// passworded is a server that wants a password of the login app, "right" at first.
func passworded(t *testing.T) (*devdb.Postgres, string) {
	server := pgtest.PrivateServer(t, "", nil)
	asAdmin(t, server, "create role app login password 'right'")
	return server, withPassword(server.URL("app", "postgres"), "right")
}

func withPassword(url, password string) string {
	return strings.Replace(url, "@", ":"+password+"@", 1)
}

func asAdmin(t *testing.T, server *devdb.Postgres, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// wrongPasswords is how many the server has counted.
func wrongPasswords(t *testing.T, server *devdb.Postgres) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(server.Dir(), "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), "FATAL:  password authentication failed")
}

// The password changes under a pool without connections, and fifty want one at
// once. The server's log counts the tries.
func TestABurstIsNoBurstOfLogins(t *testing.T) {
	server, url := passworded(t)
	for name, c := range map[string]struct {
		later time.Duration // since a login was let in
		most  int
	}{"after a while": {vouching, 1}, "in the middle of logins": {0, together}} {
		t.Run(name, func(t *testing.T) {
			asAdmin(t, server, "alter role app password 'right'")
			db := opened(t, Config{URL: url, MaxConns: 10})
			now := time.Now()
			db.brake.now = func() time.Time { return now }
			ask(t, db)
			db.pool.Reset()
			ask(t, db) // the login that speaks for the next ones
			db.pool.Reset()
			asAdmin(t, server, "alter role app password 'another'")
			now = now.Add(c.later)
			before := wrongPasswords(t, server)
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					_, err := db.Shared().Exec(t.Context(), "select 1")
					known, ok := errors.AsType[*Error](err)
					if !ok || !LoginRefused(err) || !strings.Contains(known.Hint, "password") {
						t.Errorf("%v", err)
					}
				})
			}
			wg.Wait()
			if n := wrongPasswords(t, server) - before; n < 1 || n > c.most {
				t.Errorf("50 callers made %d tries", n)
			}
			noneUnderWay(t, db)
			// Once it is right again, they all get in.
			asAdmin(t, server, "alter role app password 'right'")
			now = now.Add(2 * lastBrake)
			ask(t, db)
			holdAll(t, db, 10)
			noneUnderWay(t, db)
		})
	}
}

func opened(t *testing.T, cfg Config) *DB {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	db, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func ask(t *testing.T, db *DB) {
	t.Helper()
	if _, err := db.Shared().Exec(t.Context(), "select 1"); err != nil {
		t.Fatal(err)
	}
}

// holdAll wants n connections at once, and gets them.
func holdAll(t *testing.T, db *DB, n int) {
	t.Helper()
	var have, wg sync.WaitGroup
	have.Add(n)
	for range n {
		wg.Go(func() {
			pc, c, err := db.acquire(t.Context())
			have.Done()
			if err != nil {
				t.Error(err)
				return
			}
			have.Wait()
			db.release(pc, c)
		})
	}
	wg.Wait()
}

// noneUnderWay waits until each login that was let through has ended: a pool goes
// on with one that nobody waits for any more.
func noneUnderWay(t *testing.T, db *DB) {
	t.Helper()
	underWay := func() int { db.brake.mu.Lock(); defer db.brake.mu.Unlock(); return db.brake.underWay }
	for end := time.Now().Add(30 * time.Second); underWay() != 0; time.Sleep(time.Millisecond) {
		if n := underWay(); n < 0 || time.Now().After(end) {
			t.Fatalf("%d logins are under way", n)
		}
	}
}

// hole is a server that can be had to take connections and say nothing.
type hole struct {
	silent atomic.Bool
	dials  atomic.Int64
	addr   string
}

func newHole(t *testing.T) *hole {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return &hole{addr: listener.Addr().String()} // the kernel takes connections, nobody answers
}

func (h *hole) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if h.silent.Load() {
		addr = h.addr
		h.dials.Add(1)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// Ten want a connection while the server says nothing: nobody is left waiting,
// whichever way it ends, and afterwards all get one.
func TestNobodyWaitsForALoginThatHangs(t *testing.T) {
	url := pgtest.Database(t)
	want := func(ctx context.Context, db *DB, h *hole) (done <-chan error) {
		errs := make(chan error, 10)
		for range 10 {
			go func() { _, err := db.Shared().Exec(ctx, "select 1"); errs <- err }()
		}
		for h.dials.Load() == 0 || db.pool.Stat().ConstructingConns() < 10 {
			time.Sleep(time.Millisecond)
		}
		return errs
	}
	hanging := func(t *testing.T, timeout string) (*DB, *hole) {
		h := newHole(t)
		db := opened(t, Config{URL: url + "&connect_timeout=" + timeout, MaxConns: 10, DialFunc: h.dial})
		now := time.Now()
		db.brake.now = func() time.Time { return now }
		db.pool.Reset()
		now = now.Add(2 * vouching)
		h.silent.Store(true)
		return db, h
	}
	t.Run("time-out", func(t *testing.T) {
		t.Parallel()
		db, h := hanging(t, "2")
		errs := want(t.Context(), db, h)
		for range 10 {
			if err := <-errs; !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v", err)
			}
		}
		if n := h.dials.Load(); n != 1 {
			t.Errorf("%d tries: nine waited as long as the first, and had no answer either", n)
		}
		h.silent.Store(false)
		noneUnderWay(t, db)
		holdAll(t, db, 10)
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		db, h := hanging(t, "3")
		ctx, cancel := context.WithCancel(t.Context())
		errs := want(ctx, db, h)
		cancel()
		for range 10 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		h.silent.Store(false)
		noneUnderWay(t, db)
		holdAll(t, db, 10)
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		db, h := hanging(t, "600")
		errs := want(t.Context(), db, h)
		db.Close()
		for range 10 {
			if err := <-errs; !errors.Is(err, ErrClosed) {
				t.Errorf("%v", err)
			}
		}
		noneUnderWay(t, db)
	})
	t.Run("reset", func(t *testing.T) {
		t.Parallel()
		db, h := hanging(t, "3")
		errs := want(t.Context(), db, h)
		db.pool.Reset()
		h.silent.Store(false)
		for range 10 {
			if err := <-errs; err != nil && !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v", err)
			}
		}
		noneUnderWay(t, db)
		holdAll(t, db, 10)
	})
}

// A hook of the caller that fails, and one that takes long, keep nobody from
// logging in: it runs after the login.
func TestAHookIsNoLogin(t *testing.T) {
	var failing atomic.Bool
	var inHook sync.WaitGroup
	db := opened(t, Config{URL: pgtest.Database(t), MaxConns: 10, AfterConnect: func(context.Context, *pgx.Conn) error {
		if failing.Load() {
			inHook.Done()
			inHook.Wait() // all ten are in it at once
			return fmt.Errorf("not today")
		}
		return nil
	}})
	db.pool.Reset()
	inHook.Add(10)
	failing.Store(true)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := db.Shared().Exec(t.Context(), "select 1"); !errors.Is(err, ErrConfig) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	failing.Store(false)
	noneUnderWay(t, db)
	holdAll(t, db, 10)
}

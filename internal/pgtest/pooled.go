package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/devdb"
)

// Kind is a way to the database: directly, or through a pooler in one of its
// modes.
type Kind int

// The ways to the database. PgBouncer 1.18 knows nothing of prepared statements,
// 1.24 tracks them; statement mode refuses transactions that span statements.
const (
	Direct Kind = iota
	PgBouncer118Transaction
	PgBouncer118Statement
	PgBouncer118Session
	PgBouncer124Transaction
	Pgpool43          // in its raw mode, through which the one-Sync scope does not hold
	Pgpool43Streaming // in its default mode, through which it does
)

// Kinds are the ways that a conformance test goes. Session pooling is not among
// them: to a client it is PostgreSQL. Nor is pgpool-II, through which (in
// raw mode) several statements before one Sync are no transaction.
var Kinds = []Kind{Direct, PgBouncer118Transaction, PgBouncer118Statement, PgBouncer124Transaction}

type kindFacts struct{ name, version, mode string }

var facts = map[Kind]kindFacts{
	Direct:                  {name: "direct"},
	PgBouncer118Transaction: {name: "pgbouncer-1.18-transaction", version: "1.18", mode: "transaction"},
	PgBouncer118Statement:   {name: "pgbouncer-1.18-statement", version: "1.18", mode: "statement"},
	PgBouncer118Session:     {name: "pgbouncer-1.18-session", version: "1.18", mode: "session"},
	PgBouncer124Transaction: {name: "pgbouncer-1.24-transaction", version: "1.24", mode: "transaction"},
	Pgpool43:                {name: "pgpool-4.3-raw", mode: "raw"},
	Pgpool43Streaming:       {name: "pgpool-4.3-streaming", mode: "streaming_replication"},
}

// String is the kind's name, fit for t.Run: "pgbouncer-1.18-transaction".
func (k Kind) String() string {
	if f, ok := facts[k]; ok {
		return f.name
	}
	return "kind-" + strconv.Itoa(int(k))
}

// pooler is a running pooler, and the users that it was told of if it is a
// PgBouncer.
type pooler struct {
	bouncer *devdb.PgBouncer
	pgpool  *devdb.Pgpool
	users   map[string]bool
}

func (p *pooler) stop() error {
	if p.pgpool != nil {
		return errors.Join(p.pgpool.Stop(), os.RemoveAll(p.pgpool.Dir()))
	}
	return errors.Join(p.bouncer.Stop(), os.RemoveAll(p.bouncer.Dir()))
}

// Pooled returns the URL of the same database and user through a pooler of the
// given kind, which this process's tests share: any user and any password
// accepted; of a PgBouncer, 2 server connections per database and user, and a
// dead server tried again after 1 s. For Direct that is url itself.
func Pooled(t testing.TB, url string, kind Kind) string {
	t.Helper()
	if kind == Direct {
		return url
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	p := shared.poolers[kind]
	if p == nil {
		p = shared.startPooler(t, kind)
		if shared.poolers == nil {
			shared.poolers = map[Kind]*pooler{}
		}
		shared.poolers[kind] = p
	}
	if p.pgpool != nil {
		return through(t, url, p.pgpool.Port())
	}
	if err := p.bouncer.Failure(); err != nil {
		t.Fatalf("%v: %v", kind, err)
	}
	p.know(t, userOf(t, url))
	return through(t, url, p.bouncer.Port())
}

func (f *fixtures) startPooler(t testing.TB, kind Kind) *pooler {
	t.Helper()
	if kind != Pgpool43 && kind != Pgpool43Streaming {
		return &pooler{bouncer: start(t, kind, f.folder(t), kind.String(), nil), users: map[string]bool{}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pgpool, err := devdb.StartPgpool(ctx, filepath.Join(f.folder(t), kind.String()), facts[kind].mode, f.startServer(t))
	if err != nil {
		t.Fatalf("%v: %v", kind, err)
	}
	return &pooler{pgpool: pgpool}
}

// PrivatePooler is Pooled with a PgBouncer of the test's own, stopped at its end,
// and with further settings for PgBouncer's configuration ("query_timeout": "1").
// The second result is for tests that stop it or ask its console.
func PrivatePooler(t testing.TB, url string, kind Kind, settings map[string]string) (string, *devdb.PgBouncer) {
	t.Helper()
	if facts[kind].version == "" {
		t.Fatalf("PrivatePooler: %v is no PgBouncer", kind)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.private++
	b := start(t, kind, shared.folder(t), fmt.Sprintf("private-%d", shared.private), settings)
	t.Cleanup(func() {
		if err := errors.Join(b.Stop(), os.RemoveAll(b.Dir())); err != nil {
			t.Errorf("stop the test's pooler: %v", err)
		}
	})
	p := &pooler{bouncer: b, users: map[string]bool{}}
	p.know(t, userOf(t, url))
	return through(t, url, b.Port()), b
}

// start starts a PgBouncer in a folder of its own; shared.mu is held.
func start(t testing.TB, kind Kind, dir, name string, settings map[string]string) *devdb.PgBouncer {
	t.Helper()
	f, ok := facts[kind]
	if !ok {
		t.Fatalf("no such pooler: %v", kind)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	binary, err := devdb.FindPgBouncerVersion(ctx, f.version)
	if err != nil {
		t.Fatalf("%v: %v", kind, err)
	}
	b, err := devdb.StartPgBouncer(ctx, devdb.PgBouncerConfig{
		Binary: binary, Dir: filepath.Join(dir, name), Mode: f.mode, PoolSize: 2,
		Upstream: shared.startServer(t), Settings: settings,
	})
	if err != nil {
		t.Fatalf("%v: %v", kind, err)
	}
	return b
}

// know tells PgBouncer of a user. It would ask the server for one it does not
// know, over a further connection of its own, which tests that count connections
// should not see.
func (p *pooler) know(t testing.TB, user string) {
	t.Helper()
	if p.users[user] {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.bouncer.AddUsers(ctx, map[string]string{user: ""}); err != nil {
		t.Fatalf("tell the pooler of user %q: %v", user, err)
	}
	p.users[user] = true
}

func parse(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatalf("the test's database URL is malformed: %v", err)
	}
	return u
}

func userOf(t testing.TB, raw string) string {
	t.Helper()
	return parse(t, raw).User.Username()
}

// through is the same URL with another port on this machine.
func through(t testing.TB, raw string, port int) string {
	t.Helper()
	u := parse(t, raw)
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return u.String()
}

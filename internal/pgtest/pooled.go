package pgtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
// 1.24 and 1.26 track them, as Odyssey does; statement mode refuses transactions
// that span statements.
const (
	Direct Kind = iota
	PgBouncer118Transaction
	PgBouncer118Statement
	PgBouncer118Session
	PgBouncer118ResetAlways // server_reset_query after every transaction
	PgBouncer118RoundRobin  // server connections take turns
	PgBouncer124Transaction
	PgBouncer126Transaction
	PgBouncer126Statement
	Odyssey15          // in its default settings
	Odyssey15NoDiscard // pool_discard no: what clients leave stays
	Odyssey15Session
	Pgpool43          // in its raw mode, through which the one-Sync scope does not hold
	Pgpool43Streaming // in its default mode, through which it does
	Pgpool46          // in its raw mode
)

// Kinds are the ways that a conformance test goes. Session pooling is not among
// them: to a client it is PostgreSQL. Nor is pgpool-II, through which (in
// raw mode) several statements before one Sync are no transaction.
var Kinds = []Kind{Direct, PgBouncer118Transaction, PgBouncer118Statement, PgBouncer124Transaction}

// Poolers are all ways but Direct.
var Poolers = []Kind{
	PgBouncer118Transaction, PgBouncer118Statement, PgBouncer118Session, PgBouncer118ResetAlways, PgBouncer118RoundRobin,
	PgBouncer124Transaction, PgBouncer126Transaction, PgBouncer126Statement, Odyssey15, Odyssey15NoDiscard, Odyssey15Session,
	Pgpool43, Pgpool43Streaming, Pgpool46,
}

type kindFacts struct {
	name, program, version, mode string
	settings                     map[string]string
}

var facts = map[Kind]kindFacts{
	Direct:                  {name: "direct"},
	PgBouncer118Transaction: {"pgbouncer-1.18-transaction", devdb.PgBouncerProgram, "1.18", "transaction", nil},
	PgBouncer118Statement:   {"pgbouncer-1.18-statement", devdb.PgBouncerProgram, "1.18", "statement", nil},
	PgBouncer118Session:     {"pgbouncer-1.18-session", devdb.PgBouncerProgram, "1.18", "session", nil},
	PgBouncer118ResetAlways: {"pgbouncer-1.18-reset-always", devdb.PgBouncerProgram, "1.18", "transaction", map[string]string{"server_reset_query_always": "1"}},
	PgBouncer118RoundRobin:  {"pgbouncer-1.18-round-robin", devdb.PgBouncerProgram, "1.18", "transaction", map[string]string{"server_round_robin": "1"}},
	PgBouncer124Transaction: {"pgbouncer-1.24-transaction", devdb.PgBouncerProgram, "1.24", "transaction", nil},
	PgBouncer126Transaction: {"pgbouncer-1.26-transaction", devdb.PgBouncerProgram, "1.26", "transaction", nil},
	PgBouncer126Statement:   {"pgbouncer-1.26-statement", devdb.PgBouncerProgram, "1.26", "statement", nil},
	Odyssey15:               {"odyssey-1.5", devdb.OdysseyProgram, "1.5", "transaction", nil},
	Odyssey15NoDiscard:      {"odyssey-1.5-no-discard", devdb.OdysseyProgram, "1.5", "transaction", map[string]string{"pool_discard": "no"}},
	Odyssey15Session:        {"odyssey-1.5-session", devdb.OdysseyProgram, "1.5", "session", nil},
	Pgpool43:                {"pgpool-4.3-raw", devdb.PgpoolProgram, "4.3", "raw", nil},
	Pgpool43Streaming:       {"pgpool-4.3-streaming", devdb.PgpoolProgram, "4.3", "streaming_replication", nil},
	Pgpool46:                {"pgpool-4.6-raw", devdb.PgpoolProgram, "4.6", "raw", nil},
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
	*devdb.Pooler
	bouncer *devdb.PgBouncer
	users   map[string]bool
}

func (p *pooler) stop() error { return errors.Join(p.Stop(), os.RemoveAll(p.Dir())) }

// Pooled returns the URL of the same database and user through a pooler of the
// given kind, which this process's tests share: any user and any password
// accepted; 2 server connections per database and user (pgpool-II has one for
// each client); of a PgBouncer, a dead server tried again after 1 s. For Direct
// that is url itself.
func Pooled(t testing.TB, url string, kind Kind) string {
	t.Helper()
	if kind == Direct {
		return url
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	p := shared.poolers[kind]
	if p == nil {
		p = start(t, kind, kind.String(), 0, nil)
		if shared.poolers == nil {
			shared.poolers = map[Kind]*pooler{}
		}
		shared.poolers[kind] = p
	}
	if err := p.Failure(); err != nil {
		t.Fatalf("%v: %v", kind, err)
	}
	p.know(t, userOf(t, url))
	return through(t, url, p.Port())
}

// PrivatePooler is Pooled with a PgBouncer of the test's own, stopped at its end,
// and with further settings for PgBouncer's configuration ("query_timeout": "1").
// The second result is for tests that stop it or ask its console.
func PrivatePooler(t testing.TB, url string, kind Kind, settings map[string]string) (string, *devdb.PgBouncer) {
	t.Helper()
	return PoolerBefore(t, url, kind, 0, settings)
}

// PoolerBefore is PrivatePooler of a PgBouncer that reaches the server by this port
// of 127.0.0.1, where the test stands between the two; 0: directly.
func PoolerBefore(t testing.TB, url string, kind Kind, port int, settings map[string]string) (string, *devdb.PgBouncer) {
	t.Helper()
	if facts[kind].program != devdb.PgBouncerProgram {
		t.Fatalf("%v is no PgBouncer", kind)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.private++
	p := start(t, kind, fmt.Sprintf("private-%d", shared.private), port, settings)
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("stop the test's pooler: %v", err)
		}
	})
	p.know(t, userOf(t, url))
	return through(t, url, p.Port()), p.bouncer
}

// start starts a pooler in a folder of that name, a PgBouncer before this port if
// there is one; shared.mu is held.
func start(t testing.TB, kind Kind, folder string, port int, settings map[string]string) *pooler {
	t.Helper()
	f, ok := facts[kind]
	if !ok {
		t.Fatalf("no such pooler: %v", kind)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	binary, err := devdb.FindProgram(ctx, f.program, f.version)
	if err != nil {
		t.Fatalf("%v: %v", kind, err)
	}
	all := maps.Clone(f.settings)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, settings)
	dir, upstream := filepath.Join(shared.folder(t), folder), shared.startServer(t)
	p := &pooler{}
	switch f.program {
	case devdb.PgBouncerProgram:
		p.users = map[string]bool{}
		p.bouncer, err = devdb.StartPgBouncer(ctx, devdb.PgBouncerConfig{Binary: binary, Dir: dir, Mode: f.mode, Upstream: upstream, Through: port, Settings: all})
		if err == nil {
			p.Pooler = p.bouncer.Pooler
		}
	case devdb.OdysseyProgram:
		p.Pooler, err = devdb.StartOdyssey(ctx, devdb.OdysseyConfig{Binary: binary, Dir: dir, Mode: f.mode, Upstream: upstream, Settings: all})
	case devdb.PgpoolProgram:
		p.Pooler, err = devdb.StartPgpool(ctx, devdb.PgpoolConfig{Binary: binary, Dir: dir, Mode: f.mode, Upstream: upstream, Settings: all})
	}
	if err != nil {
		t.Fatalf("%v: %v", kind, err)
	}
	return p
}

// know tells PgBouncer of a user. It would ask the server for one it does not
// know, over a further connection of its own, which tests that count connections
// should not see.
func (p *pooler) know(t testing.TB, user string) {
	t.Helper()
	if p.bouncer == nil || p.users[user] {
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

package pooler_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/pooler"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// way is a way to the database, and what is to be found on it.
type way struct {
	name           string
	kind           pgtest.Kind
	through        func(testing.TB, string) string // what stands before the pooler, nil: nothing
	mode           pooler.Mode
	named, oneSync bool
	chosen         poolproof.Mode
	notes          bool // what could not be told may be noted
}

var ways = []way{
	{kind: pgtest.Direct, mode: pooler.None, named: true, oneSync: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.PgBouncer118Transaction, mode: pooler.Transaction, oneSync: true, chosen: poolproof.ModeExec},
	{kind: pgtest.PgBouncer118Statement, mode: pooler.Statement, oneSync: true, chosen: poolproof.ModeExec},
	{kind: pgtest.PgBouncer118Session, mode: pooler.Session, named: true, oneSync: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.PgBouncer118ResetAlways, mode: pooler.Transaction, oneSync: true, chosen: poolproof.ModeExec},
	{kind: pgtest.PgBouncer118RoundRobin, mode: pooler.Transaction, oneSync: true, chosen: poolproof.ModeExec},
	{kind: pgtest.PgBouncer124Transaction, mode: pooler.Transaction, named: true, oneSync: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.PgBouncer126Transaction, mode: pooler.Transaction, named: true, oneSync: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.PgBouncer126Statement, mode: pooler.Statement, named: true, oneSync: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.Odyssey15, mode: pooler.Transaction, named: true, oneSync: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.Odyssey15NoDiscard, mode: pooler.Transaction, named: true, oneSync: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.Odyssey15Session, mode: pooler.Session, oneSync: true, chosen: poolproof.ModeExec}, // session mode, but not for certain
	{kind: pgtest.Pgpool43, mode: pooler.Session, named: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.Pgpool46, mode: pooler.Session, named: true, chosen: poolproof.ModeCacheStatement},
	{kind: pgtest.Pgpool43Streaming, mode: pooler.None, named: true, oneSync: true, chosen: poolproof.ModeCacheStatement}, // passes on pids, sessions and pipelines: to a client it is PostgreSQL
	{name: "like pgcat-1.3", kind: pgtest.PgBouncer118Transaction, through: pgtest.LikePgCat, mode: pooler.Transaction, oneSync: true, chosen: poolproof.ModeExec},
	// Nobody's: no server connection can be held there, neither by BEGIN nor by a Flush.
	{name: "like pgcat-1.3 in statement mode", kind: pgtest.PgBouncer118Statement, through: pgtest.LikePgCat, mode: pooler.Statement, oneSync: true, chosen: poolproof.ModeExec, notes: true},
}

func (w way) String() string {
	if w.name != "" {
		return w.name
	}
	return w.kind.String()
}

func (w way) url(t testing.TB, owner string) string {
	url := pgtest.Pooled(t, owner, w.kind)
	if w.through != nil {
		url = w.through(t, url)
	}
	return url
}

// opens is how often each way is opened.
func opens() int {
	if os.Getenv("POOLPROOF_SOAK") != "" {
		return 30
	}
	return 3
}

// TestOpenFindsOutThePooler opens the library on every way, when nobody else is
// there and beside 16 clients that keep the pooler busy.
func TestOpenFindsOutThePooler(t *testing.T) {
	owner := pgtest.Database(t)
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) {
			url := w.url(t, owner)
			w.open(t, url)
			if w.mode == pooler.Session && w.oneSync {
				return // its two server connections cannot serve 16 clients
			}
			t.Run("busy", func(t *testing.T) {
				defer busy(t, url)()
				w.open(t, url)
			})
		})
	}
}

// open opens the library and compares what it found.
func (w way) open(t *testing.T, url string) {
	t.Helper()
	n, slowest := opens(), time.Duration(0)
	for i := range n {
		var log bytes.Buffer
		db, err := poolproof.Open(t.Context(), poolproof.Config{URL: url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		r := db.Report()
		db.Close()
		slowest = max(slowest, r.Elapsed)
		if r.Mode != w.mode || r.NamedStatements != w.named || r.ImplicitScope != w.oneSync || r.Present == (w.mode == pooler.None) || db.Mode() != w.chosen {
			t.Errorf("open %d of %d: chose %s, found %+v", i+1, n, db.Mode(), r)
		}
		for what, why := range map[string]pooler.Reason{"mode": r.Why.Mode, "named statements": r.Why.NamedStatements, "scope": r.Why.ImplicitScope} {
			if why.Text == "" || why.Basis == "" {
				t.Errorf("open %d of %d: no reason for the %s", i+1, n, what)
			}
		}
		if len(r.Notes) != 0 && !w.notes {
			t.Errorf("open %d of %d: notes: %q", i+1, n, r.Notes)
		}
	}
	t.Logf("%d opens, the slowest probe took %v", n, slowest)
}

// busy runs 16 clients that ask without a pause until the function that it
// returns.
func busy(t *testing.T, url string) (stop func()) {
	t.Helper()
	stopped, cancel := context.WithCancel(context.Background())
	var clients, asked sync.WaitGroup
	for range 16 {
		asked.Add(1)
		clients.Go(func() {
			first := sync.OnceFunc(asked.Done)
			defer first()
			conn, err := pgx.Connect(context.Background(), url)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			for stopped.Err() == nil {
				if _, err := conn.Exec(context.Background(), "select 1", pgx.QueryExecModeExec); err != nil {
					t.Error(err)
					return
				}
				first()
			}
		})
	}
	asked.Wait()
	return func() {
		cancel()
		clients.Wait()
	}
}

// TestProbeLeavesNothingBehind looks at the server connections of a pooler that
// does not track statements after many probes, and at the number of sessions.
func TestProbeLeavesNothingBehind(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement} {
		t.Run(kind.String(), func(t *testing.T) {
			owner := pgtest.Database(t)
			url := pgtest.Pooled(t, owner, kind)
			for range 10 {
				probe(t, url)
			}
			seen := map[uint32]bool{}
			for range 20 { // each client connection may land on either server connection
				a, b := connect(t, url), connect(t, url)
				for _, conn := range []*pgx.Conn{a, b, a} {
					var pid uint32
					var left int
					err := conn.QueryRow(t.Context(), `select pg_backend_pid(), (select count(*) from pg_prepared_statements where name like 'poolproof%')
						+ (select count(*) from pg_settings where name = 'cursor_tuple_fraction' and source = 'session')`, pgx.QueryExecModeExec).Scan(&pid, &left)
					if err != nil {
						t.Fatal(err)
					}
					if left != 0 {
						t.Errorf("server connection %d keeps %d statements or settings of the probe", pid, left)
					}
					seen[pid] = true
				}
			}
			if len(seen) == 0 {
				t.Error("no server connection was looked at")
			}
		})
	}
}

// TestProbeOfAPoolOfOne has no second server connection to move to: the probe
// must give up in time and claim nothing.
func TestProbeOfAPoolOfOne(t *testing.T) {
	url, _ := pgtest.PrivatePooler(t, pgtest.Database(t), pgtest.PgBouncer118Transaction, map[string]string{"default_pool_size": "1"})
	start := time.Now()
	report := probe(t, url)
	if report.NamedStatements || !report.Present || len(report.Notes) == 0 {
		t.Errorf("got %+v", report)
	}
	if d := time.Since(start); d > 2*pooler.Budget {
		t.Errorf("took %v", d)
	}
}

func TestProbeOfNobody(t *testing.T) {
	config, err := pgx.ParseConfig("postgres://app@127.0.0.1:1/none?connect_timeout=2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pooler.Probe(t.Context(), config); err == nil {
		t.Fatal("no error where nobody listens")
	}
}

func probe(t *testing.T, url string) pooler.Report {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	report, err := pooler.Probe(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

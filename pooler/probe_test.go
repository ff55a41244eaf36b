package pooler_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
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

// login is the URL for a login that owns nothing and may do nothing special.
func login(t *testing.T, owner string) string {
	t.Helper()
	conn := connect(t, owner)
	name := "probe_" + conn.Config().Database
	if _, err := conn.Exec(t.Context(), "create role "+name+" login"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "drop role "+name); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(name)
	return u.String()
}

// opens is how often each way is opened.
var opens = pgtest.Pick(2, 30)

// TestOpenFindsOutThePooler opens the library on every way, when nobody else is
// there and beside 16 clients that keep the pooler busy.
func TestOpenFindsOutThePooler(t *testing.T) {
	login := login(t, pgtest.Database(t))
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) {
			url := w.url(t, login)
			w.open(t, url)
			if w.mode == pooler.Session && w.oneSync {
				return // its two server connections cannot serve 16 clients
			}
			t.Run("busy", func(t *testing.T) {
				defer pgtest.Busy(t, url, 16)()
				w.open(t, url)
			})
		})
	}
}

// open opens the library and compares what it found.
func (w way) open(t *testing.T, url string) {
	t.Helper()
	n, slowest, late := opens, time.Duration(0), 0
	for i := 0; i < n; i++ {
		var log bytes.Buffer
		db, err := poolproof.Open(t.Context(), poolproof.Config{URL: url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		r := db.Report()
		db.Close()
		slowest = max(slowest, r.Elapsed)
		if r.Elapsed >= pooler.Budget && late < n { // a machine that is busy: the probe says that its time was up
			late, i = late+1, i-1
			continue
		}
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
	t.Logf("%d opens and %d without time, the slowest probe took %v", n, late, slowest)
}

// TestProbeLeavesNothingBehind looks at the server connections of a pooler that
// does not track statements after many probes, and at the number of sessions.
func TestProbeLeavesNothingBehind(t *testing.T) {
	for _, kind := range []pgtest.Kind{
		pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement, pgtest.PgBouncer118RoundRobin, pgtest.PgBouncer124Transaction, pgtest.PgBouncer126Statement, pgtest.Odyssey15,
		pgtest.Odyssey15NoDiscard,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			owner := pgtest.Database(t)
			url := pgtest.Pooled(t, owner, kind)
			backends := func() (pids []uint32) {
				rows, err := connect(t, owner).Query(t.Context(), `select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
				if err == nil {
					pids, err = pgx.CollectRows(rows, pgx.RowTo[uint32])
				}
				if err != nil {
					t.Fatal(err)
				}
				return pids
			}
			mode := probe(t, url).Mode
			before := backends()
			for range 10 {
				probe(t, url)
			}
			after := backends()
			for _, pid := range before {
				if mode != pooler.Statement && !slices.Contains(after, pid) { // in statement mode BEGIN costs one
					t.Errorf("server connection %d of %d was lost: %d", pid, before, after)
				}
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

// A pool of one has no second server connection to move to. Named statements are
// told all the same, as they need none, and no time is waited out.
func TestProbeOfAPoolOfOne(t *testing.T) {
	t.Parallel() // it waits
	for _, tt := range []struct {
		kind  pgtest.Kind
		mode  pooler.Mode
		named bool
	}{
		{pgtest.PgBouncer118Transaction, pooler.Transaction, false},
		{pgtest.PgBouncer118RoundRobin, pooler.Transaction, false},
		{pgtest.PgBouncer118ResetAlways, pooler.Transaction, false},
		{pgtest.PgBouncer126Transaction, pooler.Transaction, true},
		{pgtest.PgBouncer118Statement, pooler.Statement, false},
		{pgtest.PgBouncer126Statement, pooler.Statement, true},
	} {
		t.Run(tt.kind.String(), func(t *testing.T) {
			url, _ := pgtest.PrivatePooler(t, pgtest.Database(t), tt.kind, map[string]string{"default_pool_size": "1"})
			r := probe(t, url)
			if r.Mode != tt.mode || r.Why.Mode.Basis != pooler.Measured || r.NamedStatements != tt.named || r.Why.NamedStatements.Basis != pooler.Measured ||
				!r.ImplicitScope || !r.Present || r.TimedOut || len(r.Notes) != 0 {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// Two poolers behind one address serve each client by one of them. That one
// client is alone on its pooler does not make it session mode.
func TestProbeOfTwoPoolersBehindOneAddress(t *testing.T) {
	owner := pgtest.Database(t)
	first, _ := pgtest.PrivatePooler(t, owner, pgtest.PgBouncer118Transaction, nil)
	second, _ := pgtest.PrivatePooler(t, owner, pgtest.PgBouncer118Transaction, nil)
	for _, turns := range [][]string{{first, second}, {first, second, first}, {first, first, second}} {
		config, err := pgx.ParseConfig(first)
		if err != nil {
			t.Fatal(err)
		}
		dialled := 0
		config.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
			u, err := url.Parse(turns[min(dialled, len(turns)-1)])
			if err != nil {
				return nil, err
			}
			dialled++
			return (&net.Dialer{}).DialContext(ctx, network, u.Host)
		}
		if r, err := pooler.Probe(t.Context(), config); err != nil || r.Mode != pooler.Transaction || r.NamedStatements || !r.ImplicitScope {
			t.Errorf("got %+v, %v", r, err)
		}
	}
}

// A pooler that takes its time to authenticate is asked as much as another.
func TestProbeOfASlowAuthentication(t *testing.T) {
	t.Parallel() // it waits
	url := pgtest.Pooled(t, pgtest.Database(t), pgtest.PgBouncer124Transaction)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		time.Sleep(pooler.Budget * 2 / 3) // three of them are more than the probe may ask
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	r, err := pooler.Probe(t.Context(), config)
	if err != nil || r.Mode != pooler.Transaction || !r.NamedStatements || !r.ImplicitScope || r.TimedOut || len(r.Notes) != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// Where all server connections are taken, the reason is the time; and what was
// asked for is not to be had now.
func TestOpenOnACloggedPool(t *testing.T) {
	t.Parallel() // it waits
	url, _ := pgtest.PrivatePooler(t, pgtest.Database(t), pgtest.PgBouncer118Transaction, map[string]string{"default_pool_size": "1"})
	if _, err := connect(t, url).Begin(t.Context()); err != nil { // ends with its connection
		t.Fatal(err)
	}
	const inTime = "did not answer in time"
	for name, cfg := range map[string]poolproof.Config{"auto": {}, "cache_statement": {Mode: poolproof.ModeCacheStatement}, "parameter": {Scope: poolproof.ScopeParameter}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			cfg.URL, cfg.Logger = url, slog.New(slog.NewTextHandler(&log, nil))
			db, err := poolproof.Open(t.Context(), cfg)
			if name != "auto" {
				if !errors.Is(err, poolproof.ErrUnavailable) || !strings.Contains(err.Error(), inTime) {
					t.Error(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			r := db.Report()
			if !r.Undecided || !r.TimedOut || !r.Present || r.Mode != pooler.Unknown || r.ImplicitScope || r.NamedStatements {
				t.Errorf("found %+v", r)
			}
			for _, why := range []pooler.Reason{r.Why.Mode, r.Why.NamedStatements, r.Why.ImplicitScope} {
				if why.Basis != pooler.Untold || !strings.Contains(why.Text, inTime) {
					t.Errorf("a reason is %q", why)
				}
			}
			if line := log.String(); strings.Contains(line, "breaks") || strings.Count(line, inTime) < 3 {
				t.Errorf("the log says %s", line)
			}
		})
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

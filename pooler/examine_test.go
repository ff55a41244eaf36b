package pooler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/pooler"
)

// state are the capabilities that an intrusive examination measures.
var state = []pooler.Name{
	pooler.SettingSet, pooler.SettingSetConfig, pooler.SettingInFunction, pooler.SettingInTransaction, pooler.SettingTimeZone,
	pooler.SettingApplication, pooler.SettingSearchPath, pooler.Listen, pooler.AdvisoryLocks, pooler.TempTables,
}

// expected is what is to be found, of all Names.
type expected map[pooler.Name]pooler.Value

// expect is base with the state's values all the same, and with changes.
func expect(base expected, all pooler.Value, changes expected) expected {
	e := maps.Clone(base)
	for _, name := range state {
		e[name] = all
	}
	return e.with(changes)
}

var (
	asPostgres = expected{
		pooler.NamedStatements: pooler.Works, pooler.UnnamedStatement: pooler.Works, pooler.ImplicitScope: pooler.Works, pooler.Transactions: pooler.Works,
		pooler.StartupParameter: pooler.Works, pooler.StartupOptions: pooler.Works, pooler.ApplicationName: pooler.Works,
		pooler.CopyOut: pooler.Works, pooler.CopyIn: pooler.Works, pooler.LateCopy: pooler.Works,
		pooler.Cancel: pooler.Works, pooler.PipelineError: pooler.Works, pooler.SeveralSyncs: pooler.Works, pooler.HalfPipeline: pooler.Works,
		pooler.Protocol32: pooler.Works, pooler.TLS: pooler.Refused, pooler.ChannelBinding: pooler.Refused, pooler.Wait: pooler.Works,
	}
	bouncer = expect(asPostgres, "", expected{pooler.StartupParameter: pooler.Refused, pooler.StartupOptions: pooler.Refused})
	// The version is known to be 1.19 at most: what only 1.18 has is not certain.
	bouncer118   = expect(bouncer, "", expected{pooler.NamedStatements: pooler.Leaks, pooler.UnnamedStatement: pooler.Wrong, pooler.LateCopy: pooler.Wrong, pooler.SeveralSyncs: pooler.Unclear, pooler.Protocol32: pooler.Refused})
	bouncer124   = expect(bouncer, "", expected{pooler.NamedStatements: pooler.Tracked, pooler.UnnamedStatement: pooler.Wrong, pooler.LateCopy: pooler.Wrong})
	unmeasured   = expect(asPostgres, "", expected{pooler.LateCopy: pooler.Unclear, pooler.SeveralSyncs: pooler.Unclear})
	odyssey      = expect(unmeasured, "", expected{pooler.NamedStatements: pooler.Tracked, pooler.UnnamedStatement: pooler.Tracked, pooler.StartupParameter: pooler.Ignored, pooler.StartupOptions: pooler.Ignored, pooler.PipelineError: pooler.Wrong, pooler.Protocol32: pooler.Refused})
	pgpool       = expect(unmeasured, "", expected{pooler.Protocol32: pooler.Refused})
	noBegin      = expected{pooler.Transactions: pooler.Refused}
	tracked118   = expected{pooler.SettingTimeZone: pooler.Tracked} // application_name, too, for clients that have one
	trackedBoth  = expected{pooler.SettingTimeZone: pooler.Tracked, pooler.SettingApplication: pooler.Tracked}
	resetsUnname = expected{pooler.UnnamedStatement: pooler.Refused}
)

func (e expected) with(changes expected) expected {
	all := maps.Clone(e)
	maps.Copy(all, changes)
	return all
}

// examined is a way, and what an intrusive examination of it is to find.
type examined struct {
	name    string
	kind    pgtest.Kind
	start   func(testing.TB, string) string // nil: kind's pooler
	pooler  pooler.Kind
	mode    pooler.Mode
	version string // the fingerprint's, as String has it
	found   expected
	calm    bool // not beside busy clients
	gentle  bool // nothing intrusive
	alone   bool // nothing intrusive beside busy clients: an error in a pipeline may cost a server connection
}

var examineds = []examined{
	{kind: pgtest.Direct, pooler: pooler.NoPooler, mode: pooler.None, version: "no pooler", found: expect(asPostgres, pooler.Works, nil)},
	{kind: pgtest.PgBouncer118Transaction, pooler: pooler.PgBouncer, mode: pooler.Transaction, version: "pgbouncer 1.19.1 or earlier in transaction mode", found: expect(bouncer118, pooler.Leaks, tracked118)},
	{kind: pgtest.PgBouncer118Statement, pooler: pooler.PgBouncer, mode: pooler.Statement, version: "pgbouncer 1.19.1 or earlier in statement mode", found: expect(bouncer118, pooler.Leaks, tracked118).with(noBegin)},
	{
		kind: pgtest.PgBouncer118Session, pooler: pooler.PgBouncer, mode: pooler.Session, version: "pgbouncer 1.19.1 or earlier in session mode", calm: true,
		found: expect(bouncer, pooler.Works, expected{pooler.Protocol32: pooler.Refused}),
	},
	{
		kind: pgtest.PgBouncer118ResetAlways, pooler: pooler.PgBouncer, mode: pooler.Transaction, version: "pgbouncer 1.19.1 or earlier in transaction mode",
		found: expect(bouncer118, pooler.Lost, trackedBoth).with(resetsUnname),
	},
	{kind: pgtest.PgBouncer118RoundRobin, pooler: pooler.PgBouncer, mode: pooler.Transaction, version: "pgbouncer 1.19.1 or earlier in transaction mode", found: expect(bouncer118, pooler.Leaks, tracked118)},
	{kind: pgtest.PgBouncer124Transaction, pooler: pooler.PgBouncer, mode: pooler.Transaction, version: "pgbouncer 1.21.0 or later in transaction mode", found: expect(bouncer124, pooler.Leaks, trackedBoth)},
	{kind: pgtest.PgBouncer126Transaction, pooler: pooler.PgBouncer, mode: pooler.Transaction, version: "pgbouncer 1.21.0 or later in transaction mode", found: expect(bouncer124, pooler.Leaks, trackedBoth)},
	{kind: pgtest.PgBouncer126Statement, pooler: pooler.PgBouncer, mode: pooler.Statement, version: "pgbouncer 1.21.0 or later in statement mode", found: expect(bouncer124, pooler.Leaks, trackedBoth).with(noBegin)},
	{kind: pgtest.Odyssey15, pooler: pooler.Odyssey, mode: pooler.Transaction, version: "odyssey in transaction mode", alone: true, found: expect(odyssey, pooler.Lost, trackedBoth)},
	{kind: pgtest.Odyssey15NoDiscard, pooler: pooler.Odyssey, mode: pooler.Transaction, version: "odyssey in transaction mode", alone: true, found: expect(odyssey, pooler.Leaks, nil)},
	{
		kind: pgtest.Odyssey15Session, pooler: pooler.Odyssey, mode: pooler.Session, version: "odyssey in session mode", calm: true,
		found: expect(odyssey, pooler.Works, expected{pooler.NamedStatements: pooler.Works, pooler.UnnamedStatement: pooler.Works, pooler.PipelineError: pooler.Works}),
	},
	{kind: pgtest.Pgpool43, pooler: pooler.Pgpool, mode: pooler.Session, version: "pgpool 4.3.5 in session mode", calm: true, found: expect(pgpool, pooler.Works, expected{pooler.ImplicitScope: pooler.Wrong})},
	{kind: pgtest.Pgpool43Streaming, pooler: pooler.Pgpool, mode: pooler.Session, version: "pgpool 4.3.5 in session mode", calm: true, found: expect(pgpool, pooler.Works, nil)},
	{
		name: "like Supavisor", pooler: pooler.Supavisor, mode: pooler.Session, version: "supavisor in session mode", calm: true,
		start: func(t testing.TB, url string) string { url, _ = pgtest.LikeSupavisor(t, url); return url },
		// The stand-in drops cancel requests and startup parameters.
		found: expect(asPostgres, pooler.Works, expected{pooler.Cancel: pooler.Ignored, pooler.StartupParameter: pooler.Ignored, pooler.StartupOptions: pooler.Ignored, pooler.ApplicationName: pooler.Ignored, pooler.LateCopy: pooler.Unclear, pooler.SeveralSyncs: pooler.Unclear}),
	},
	{
		name: "hostile", pooler: pooler.UnknownKind, mode: pooler.Transaction, version: "an unknown pooler in transaction mode",
		start: func(t testing.TB, url string) string {
			_, url = hostile.StartWith(t, hostile.Config{Upstream: url})
			return url
		},
		found: expect(unmeasured, pooler.Unclear, expected{pooler.NamedStatements: pooler.Leaks, pooler.UnnamedStatement: pooler.Wrong}), gentle: true, calm: true,
	},
}

func (e examined) String() string {
	if e.name != "" {
		return e.name
	}
	return e.kind.String()
}

// TestExamine holds the fingerprint and every capability to what each pooler and
// mode is known to be: once beside nobody with intrusive trials and once beside
// 50 busy clients without; in the soak ten times each, all four.
func TestExamine(t *testing.T) {
	login := login(t, pgtest.Database(t))
	times := pgtest.Pick(1, 10)
	for _, e := range examineds {
		t.Run(e.String(), func(t *testing.T) {
			way := e.start
			if way == nil {
				way = func(t testing.TB, url string) string { return pgtest.Pooled(t, url, e.kind) }
			}
			url := way(t, login)
			for range times {
				e.examine(t, url, !e.gentle)
				if e.calm || times > 1 {
					e.examine(t, url, false)
				}
			}
			if e.calm {
				return // as many server connections as clients
			}
			defer pgtest.Busy(t, url, 50)()
			for range times {
				e.examine(t, url, false)
				if times > 1 && !e.alone {
					e.examine(t, url, !e.gentle)
				}
			}
		})
	}
}

// inTests is how long an examination may ask here: the tests' machine is busy.
const inTests = 30 * time.Second

func (e examined) examine(t *testing.T, url string, intrusive bool) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = "poolproof-test"
	f, err := pooler.Examine(t.Context(), config, pooler.Options{Intrusive: intrusive, Within: inTests})
	if err != nil {
		t.Fatal(err)
	}
	what := fmt.Sprintf("intrusive: %v", intrusive)
	if f.Pooler.Kind != e.pooler || f.Pooler.Mode != e.mode || f.Pooler.String() != e.version {
		t.Errorf("%s: found %s (%+v), want %s", what, f.Pooler, f.Pooler, e.version)
	}
	for _, why := range []pooler.Reason{f.Pooler.Why.Kind, f.Pooler.Why.Mode, f.Pooler.Why.Version} {
		if why.Basis == "" || why.Text == "" {
			t.Errorf("%s: a conclusion has no reason: %+v", what, f.Pooler.Why)
		}
	}
	for _, name := range pooler.Names {
		want := e.found[name]
		if name == pooler.CopyIn && !intrusive {
			want = pooler.Unclear
		}
		if name == pooler.SettingApplication && !intrusive && strings.Contains(e.version, "1.19.1 or earlier") && e.found[pooler.UnnamedStatement] == pooler.Wrong {
			want = pooler.Leaks
		}
		if name == pooler.PipelineError && !intrusive && e.pooler == pooler.UnknownKind {
			want = pooler.Unclear
		}
		got := f.Capabilities[name]
		if got.Value != want || got.Basis == "" || got.Text == "" {
			t.Errorf("%s: %s is %q (%s: %s), want %q", what, name, got.Value, got.Basis, got.Text, want)
		}
		if intrusive && slices.Contains(state, name) && got.Basis != pooler.Measured {
			t.Errorf("%s: %s was not measured: %s", what, name, got.Basis)
		}
		if !intrusive && slices.Contains(state, name) && got.Basis == pooler.Measured {
			t.Errorf("%s: %s was measured", what, name)
		}
	}
	if len(f.Notes) != 0 {
		t.Errorf("%s: notes: %q", what, f.Notes)
	}
	if _, err := json.Marshal(f); err != nil {
		t.Error(err)
	}
	t.Logf("%s: %v, %d server connections", what, f.Elapsed, f.ServerConnections)
}

// TestExamineCutAtAnyMoment closes all connections of an examination at once, as a
// kill does, each time before another one of its messages, and then looks at what
// the server connections hold.
func TestExamineCutAtAnyMoment(t *testing.T) {
	kinds := []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.Odyssey15NoDiscard}
	if pgtest.Soak() {
		kinds = append(kinds, pgtest.PgBouncer124Transaction, pgtest.PgBouncer126Transaction)
	}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			url := pgtest.Pooled(t, pgtest.Database(t), kind)
			examineUntil := func(limit int) (sent int) {
				config, err := pgx.ParseConfig(url)
				if err != nil {
					t.Fatal(err)
				}
				cut := &cutter{limit: limit}
				config.DialFunc = cut.dial
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				_, err = pooler.Examine(ctx, config, pooler.Options{})
				if limit == 0 && err != nil {
					t.Fatal(err)
				}
				cut.mu.Lock()
				defer cut.mu.Unlock()
				return cut.sent
			}
			whole, cuts := examineUntil(0), 0
			const each, step = 30, 9 // the probe's messages one by one; of the others, which are alike, every ninth
			for limit := 1; limit <= whole; limit += map[bool]int{true: 1, false: step}[limit < each] {
				examineUntil(limit)
				cuts++
				if limit < each {
					if left := pgtest.LeftoversInAMoment(t, url); left != "" {
						t.Fatalf("cut before message %d of %d, this is left: %s", limit, whole, left)
					}
				}
			}
			if left := pgtest.Leftovers(t, url, 10); left != "" {
				t.Errorf("left behind: %s", left)
			}
			t.Logf("%d cuts in %d messages", cuts, whole)
		})
	}
}

// cutter ends all connections before message number limit is sent; 0 never.
type cutter struct {
	limit int
	mu    sync.Mutex
	sent  int
	conns []net.Conn
}

type cutConn struct {
	net.Conn
	cutter *cutter
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit > 0 && c.sent >= c.limit {
		return nil, errors.New("cut")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.conns = append(c.conns, conn)
	return &cutConn{conn, c}, nil
}

func (c *cutConn) Write(b []byte) (int, error) {
	c.cutter.mu.Lock()
	defer c.cutter.mu.Unlock()
	c.cutter.sent++
	if c.cutter.limit > 0 && c.cutter.sent >= c.cutter.limit {
		for _, conn := range c.cutter.conns {
			_ = conn.Close()
		}
		return 0, errors.New("cut")
	}
	return c.Conn.Write(b)
}

// A login that may read PgBouncer's console learns the version and the limit.
func TestExamineReadsTheConsole(t *testing.T) {
	owner := pgtest.Database(t)
	for _, tt := range []struct {
		kind           pgtest.Kind
		version, fault string
		limit          int
	}{
		{pgtest.PgBouncer118Transaction, "1.18.0", "several-syncs", 0},
		{pgtest.PgBouncer124Transaction, "1.24.1", "late-copy-stays", 7},
	} {
		settings := map[string]string{"stats_users": "postgres"}
		if tt.limit > 0 {
			settings["max_prepared_statements"] = "7"
		}
		config, err := pgx.ParseConfig(owner)
		if err != nil {
			t.Fatal(err)
		}
		settings["stats_users"] = config.User
		url, _ := pgtest.PrivatePooler(t, owner, tt.kind, settings)
		f := examine(t, url)
		if f.Pooler.Version != tt.version || f.Pooler.Why.Version.Basis != pooler.Measured || f.Capabilities[pooler.NamedStatements].Limit != tt.limit {
			t.Errorf("%v: found %+v, %+v", tt.kind, f.Pooler, f.Capabilities[pooler.NamedStatements])
		}
		known := map[string]bool{}
		for _, fault := range f.KnownFaults {
			known[fault.ID] = fault.Certain
			if fault.Title == "" || fault.Fix == "" || fault.Source == "" || fault.Date == "" {
				t.Errorf("%s says too little: %+v", fault.ID, fault)
			}
		}
		if !known[tt.fault] || !known["CVE-2026-107350"] {
			t.Errorf("%v: faults %v", tt.kind, known)
		}
	}
}

// TLS, channel binding and a log-in by password.
func TestExamineTLS(t *testing.T) {
	cert, key := pgtest.Certificate(t)
	server := pgtest.PrivateServer(t, "", nil)
	url := server.URL("postgres", "postgres")
	admin := connect(t, url)
	var dir string
	if err := admin.QueryRow(t.Context(), "show data_directory").Scan(&dir); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"server.crt": cert, "server.key": key} {
		// By the server, so that its key is its own account's.
		if _, err := admin.Exec(t.Context(), fmt.Sprintf("copy (select unnest(string_to_array('%s', E'\\n'))) to program 'umask 077; cat > %s/%s'", strings.TrimSpace(string(text)), dir, name), pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{"create role bound login password 'x'", "alter system set ssl = on", "select pg_reload_conf()"} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	config, err := pgx.ParseConfig(strings.Replace(url, "postgres@", "bound:x@", 1))
	if err != nil {
		t.Fatal(err)
	}
	var f pooler.Findings
	for range 100 { // the reload takes its time
		if f, err = pooler.Examine(t.Context(), config, pooler.Options{Cancels: -1}); err != nil {
			t.Fatal(err)
		}
		if f.Capabilities[pooler.TLS].Value == pooler.Works {
			break
		}
	}
	if f.Capabilities[pooler.TLS].Value != pooler.Works || f.Capabilities[pooler.ChannelBinding].Value != pooler.Works || f.Capabilities[pooler.Cancel].Value != pooler.Unclear {
		t.Errorf("got %+v, %+v, %+v", f.Capabilities[pooler.TLS], f.Capabilities[pooler.ChannelBinding], f.Capabilities[pooler.Cancel])
	}
}

// A pool of one, and one that somebody holds: what cannot be told is unknown, in
// time, and nothing is left.
func TestExamineAPoolOfOne(t *testing.T) {
	url, _ := pgtest.PrivatePooler(t, pgtest.Database(t), pgtest.PgBouncer118Transaction, map[string]string{"default_pool_size": "1"})
	f := examine(t, url)
	if f.Pooler.Kind != pooler.PgBouncer || f.Pooler.Mode != pooler.Transaction || f.Capabilities[pooler.SettingSet].Value != pooler.Leaks || len(f.Notes) != 0 {
		t.Errorf("got %+v", f)
	}
	held, err := connect(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	f, err = pooler.Examine(t.Context(), config, pooler.Options{Within: 2 * time.Second})
	if err != nil || f.Pooler.Mode != pooler.Unknown || f.Capabilities[pooler.Wait].Value.OK() || len(f.Notes) == 0 || len(f.Capabilities) != len(pooler.Names) {
		t.Errorf("got %+v, %v", f, err)
	}
	t.Logf("beside a transaction that holds the only server connection: %v", time.Since(start))
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func examine(t *testing.T, url string) pooler.Findings {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pooler.Examine(t.Context(), config, pooler.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

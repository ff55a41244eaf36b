package pooler_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/pooler"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestProbe(t *testing.T) {
	tests := []struct {
		kind           pgtest.Kind
		mode           pooler.Mode
		named, oneSync bool
	}{
		{pgtest.Direct, pooler.None, true, true},
		{pgtest.PgBouncer118Transaction, pooler.Transaction, false, true},
		{pgtest.PgBouncer118Statement, pooler.Statement, false, true},
		{pgtest.PgBouncer118Session, pooler.Session, false, true},
		{pgtest.PgBouncer124Transaction, pooler.Transaction, true, true},
		{pgtest.Pgpool43, pooler.Session, false, false},
		{pgtest.Pgpool43Streaming, pooler.None, true, true}, // passes on pids, sessions and pipelines: to a client it is PostgreSQL
	}
	for _, tt := range tests {
		t.Run(tt.kind.String(), func(t *testing.T) {
			owner := pgtest.Database(t)
			report := probe(t, pgtest.Pooled(t, owner, tt.kind))
			t.Log(report, report.Elapsed)
			if report.Mode != tt.mode || report.NamedStatements != tt.named || report.ImplicitScope != tt.oneSync || report.Present == (tt.mode == pooler.None) {
				t.Errorf("got %+v", report)
			}
			if report.Elapsed > pooler.Budget {
				t.Errorf("took %v", report.Elapsed)
			}
			if len(report.Notes) != 0 {
				t.Errorf("notes: %q", report.Notes)
			}
		})
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

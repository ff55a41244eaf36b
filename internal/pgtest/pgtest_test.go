package pgtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func serverPID(t *testing.T, conn *pgx.Conn) (pid int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestEveryKindReachesTheSameDatabase(t *testing.T) {
	owner := pgtest.Database(t)
	direct := connect(t, owner)
	if _, err := direct.Exec(t.Context(), "CREATE TABLE mark (kind text)"); err != nil {
		t.Fatal(err)
	}
	for _, kind := range slices.Concat(pgtest.Kinds, []pgtest.Kind{pgtest.PgBouncer118Session, pgtest.Pgpool43Streaming}) {
		t.Run(kind.String(), func(t *testing.T) {
			conn := connect(t, pgtest.Pooled(t, owner, kind))
			if _, err := conn.Exec(t.Context(), "INSERT INTO mark VALUES ($1)", kind.String()); err != nil {
				t.Fatal(err)
			}
			var n int
			if err := direct.QueryRow(t.Context(), "SELECT count(*) FROM mark WHERE kind = $1", kind.String()).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n != 1 {
				t.Fatalf("the row inserted through %v was found %d times in the database", kind, n)
			}
		})
	}
}

// In transaction mode a connection's next transaction meets whichever server
// connection is free: while another client holds one, it must move.
func TestTransactionModeSwitchesServers(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer124Transaction} {
		t.Run(kind.String(), func(t *testing.T) {
			url := pgtest.Pooled(t, pgtest.Database(t), kind)
			mover, holder := connect(t, url), connect(t, url)
			first := serverPID(t, mover)
			tx, err := holder.Begin(t.Context()) // takes the one server connection there is
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
			if held := serverPID(t, holder); held != first {
				t.Fatalf("the pool has opened server connection %d although %d was free", held, first)
			}
			second := serverPID(t, mover)
			if second == first {
				t.Fatalf("still on server connection %d, which another transaction holds", first)
			}
			// Both taken: pool of 2, so a third client waits.
			tx2, err := mover.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx2.Rollback(context.WithoutCancel(t.Context())) }()
			third := connect(t, url)
			short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, err := third.Exec(short, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("a third transaction at once got %v, want it to wait: the pool is larger than 2", err)
			}
		})
	}
}

func TestSessionModeStays(t *testing.T) {
	url := pgtest.Pooled(t, pgtest.Database(t), pgtest.PgBouncer118Session)
	a, b := connect(t, url), connect(t, url)
	pa, pb := serverPID(t, a), serverPID(t, b)
	for range 5 {
		if got := serverPID(t, a); got != pa {
			t.Fatalf("client a moved from server connection %d to %d", pa, got)
		}
		if got := serverPID(t, b); got != pb {
			t.Fatalf("client b moved from server connection %d to %d", pb, got)
		}
	}
	if pa == pb {
		t.Fatalf("two sessions share server connection %d", pa)
	}
}

func TestStatementModeRefusesTransactions(t *testing.T) {
	url := pgtest.Pooled(t, pgtest.Database(t), pgtest.PgBouncer118Statement)
	conn := connect(t, url)
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Fatalf("a single statement: %v", err)
	}
	_, err := conn.Exec(t.Context(), "BEGIN")
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "transaction blocks not allowed") {
		t.Fatalf("BEGIN answered %v, want PgBouncer's refusal", err)
	}
}

// The reason for having it: what is one implicit transaction everywhere else,
// two statements before one Sync, is two through pgpool-II in raw mode.
func TestPgpoolRawBreaksImplicitTransactions(t *testing.T) {
	owner := pgtest.Database(t)
	sees := func(kind pgtest.Kind) (value string) {
		t.Helper()
		conn := connect(t, pgtest.Pooled(t, owner, kind))
		var b pgx.Batch
		b.Queue("SELECT set_config('app.mark', $1, true)", "set")
		b.Queue("SELECT coalesce(current_setting('app.mark', true), '')").QueryRow(func(row pgx.Row) error { return row.Scan(&value) })
		if err := conn.SendBatch(t.Context(), &b).Close(); err != nil {
			t.Fatalf("%v: %v", kind, err)
		}
		return value
	}
	for _, kind := range slices.Concat(pgtest.Kinds, []pgtest.Kind{pgtest.PgBouncer118Session, pgtest.Pgpool43Streaming}) {
		if got := sees(kind); got != "set" {
			t.Errorf("%v: the second statement sees %q, want \"set\"", kind, got)
		}
	}
	if got := sees(pgtest.Pgpool43); got != "" {
		t.Errorf("%v: the second statement sees %q: this fixture no longer shows what it is for", pgtest.Pgpool43, got)
	}
	var version string
	if err := connect(t, pgtest.Pooled(t, owner, pgtest.Pgpool43)).QueryRow(t.Context(), "SHOW pool_version", pgx.QueryExecModeSimpleProtocol).Scan(&version); err != nil || !strings.HasPrefix(version, "4.3.") {
		t.Errorf("pool_version is %q, %v; want 4.3", version, err)
	}
}

func TestVersionsAndSettings(t *testing.T) {
	owner := pgtest.Database(t)
	for kind, want := range map[pgtest.Kind]string{
		pgtest.PgBouncer118Transaction: "PgBouncer 1.18.",
		pgtest.PgBouncer124Transaction: "PgBouncer 1.24.",
	} {
		t.Run(kind.String(), func(t *testing.T) {
			url, bouncer := pgtest.PrivatePooler(t, owner, kind, map[string]string{"query_timeout": "7"})
			rows, err := bouncer.Admin(t.Context(), "SHOW VERSION")
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(rows); !strings.Contains(got, want) {
				t.Errorf("SHOW VERSION answers %s, want %s", got, want)
			}
			rows, err = bouncer.Admin(t.Context(), "SHOW CONFIG")
			if err != nil {
				t.Fatal(err)
			}
			config := map[string]string{}
			for _, r := range rows {
				config[r[0]] = r[1]
			}
			for key, want := range map[string]string{"server_login_retry": "1", "query_timeout": "7", "default_pool_size": "2"} {
				if config[key] != want {
					t.Errorf("%s = %q, want %q", key, config[key], want)
				}
			}
			serverPID(t, connect(t, url))
		})
	}
}

// A user that the server knows may use a pooler that was never told of it, and
// one that it does not know may not.
func TestPoolersTakeAnyUserOfTheServer(t *testing.T) {
	owner := pgtest.Database(t)
	role := fmt.Sprintf("pgtest_%d", os.Getpid())
	direct := connect(t, owner)
	if _, err := direct.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD 'x'"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := direct.Exec(context.WithoutCancel(t.Context()), "DROP ROLE "+role); err != nil {
			t.Errorf("drop the role: %v", err)
		}
	})
	pooled := pgtest.Pooled(t, owner, pgtest.PgBouncer118Transaction)
	as := func(user string) string { return strings.Replace(pooled, "postgres@", user+":any@", 1) }
	var got string
	if err := connect(t, as(role)).QueryRow(t.Context(), "SELECT current_user").Scan(&got); err != nil || got != role {
		t.Fatalf("current_user is %q, %v; want %q", got, err, role)
	}
	if conn, err := pgx.Connect(t.Context(), as("nobody_at_all")); err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("a user that does not exist was let in")
	}
}

func TestCountSyncs(t *testing.T) {
	url, count := pgtest.CountSyncs(t, pgtest.Database(t))
	conn := connect(t, url)
	if got := count(); got != 0 {
		t.Fatalf("opening a connection counts as %d", got)
	}
	step := func(what string, want int, do func() error) {
		t.Helper()
		before := count()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := count() - before; got != want {
			t.Errorf("%s took %d round trips, want %d", what, got, want)
		}
	}
	step("a query", 1, func() error { var n int; return conn.QueryRow(t.Context(), "SELECT $1::int", 1).Scan(&n) })
	step("a large query", 1, func() error {
		var n int // long enough to come in several reads
		return conn.QueryRow(t.Context(), "SELECT length($1::text)", strings.Repeat("S", 300_000)).Scan(&n)
	})
	step("a simple query", 1, func() error { _, err := conn.PgConn().Exec(t.Context(), "SELECT 1; SELECT 2").ReadAll(); return err })
	step("a batch of three", 1, func() error {
		var b pgx.Batch
		for range 3 {
			b.Queue("SELECT $1::int", 1)
		}
		return conn.SendBatch(t.Context(), &b).Close()
	})
	step("a transaction with one query", 3, func() error {
		return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SELECT $1::int", 1)
			return err
		})
	})
}

func TestWithLatency(t *testing.T) {
	const added = 40 * time.Millisecond
	conn := connect(t, pgtest.WithLatency(t, pgtest.Database(t), added))
	begin := time.Now()
	serverPID(t, conn)
	if took := time.Since(begin); took < added {
		t.Errorf("a round trip took %v, want at least %v", took, added)
	}
	// A large answer comes in many pieces, which must wait side by side: one
	// after the other they would take 20 ms for each 32 kB.
	begin = time.Now()
	var text string
	if err := conn.QueryRow(t.Context(), "SELECT repeat('x', 20000000)").Scan(&text); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("20 MB took %v: latency limits throughput", took)
	}
	if len(text) != 20_000_000 {
		t.Errorf("%d bytes came", len(text))
	}
}

func TestDatabasesAreFreshAndDropped(t *testing.T) {
	exists := func(name string) (ok bool) {
		t.Helper()
		row := connect(t, pgtest.Server(t).AdminURL()).QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name)
		if err := row.Scan(&ok); err != nil {
			t.Fatal(err)
		}
		return ok
	}
	var name string
	t.Run("use", func(t *testing.T) {
		url := pgtest.Database(t)
		conn := connect(t, pgtest.Pooled(t, url, pgtest.PgBouncer118Transaction)) // still connected when it is dropped
		if err := conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		var tables int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables); err != nil || tables != 0 {
			t.Fatalf("%d tables, %v", tables, err)
		}
		if !exists(name) {
			t.Fatalf("database %s is not there", name)
		}
	})
	if exists(name) {
		t.Errorf("database %s was not dropped", name)
	}
}

func TestKilledServerKeepsCommits(t *testing.T) {
	url := pgtest.Database(t)
	pooled := pgtest.Pooled(t, url, pgtest.PgBouncer118Transaction)
	conn := connect(t, pooled)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "INSERT INTO kept SELECT generate_series(1, 1000)"); err != nil {
		t.Fatal(err)
	}
	server := pgtest.Server(t)
	port := server.Port()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if c, err := pgx.Connect(t.Context(), url); err == nil {
		_ = c.Close(t.Context())
		t.Fatal("a killed server still answers")
	}
	begin := time.Now()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if server.Port() != port {
		t.Fatalf("the port was %d and is %d", port, server.Port())
	}
	// Through the pooler it is back as soon as that tries again (server_login_retry=1).
	deadline := time.Now().Add(5 * time.Second)
	for {
		n, err := countRows(t, pooled)
		if err == nil {
			if n != 1000 {
				t.Fatalf("%d of 1000 committed rows are left", n)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not back after 5 s: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("back through the pooler after %v", time.Since(begin))
}

func countRows(t *testing.T, url string) (n int, err error) {
	conn, err := pgx.Connect(t.Context(), url+"&default_query_exec_mode=exec")
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(t.Context()) }()
	err = conn.QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n)
	return n, err
}

func TestServerLogTellsOfDeadlocks(t *testing.T) {
	url := pgtest.Database(t)
	before := len(pgtest.ServerLog(t))
	first, second := connect(t, url), connect(t, url)
	lock := func(conn *pgx.Conn, sql string) error {
		_, err := conn.Exec(t.Context(), sql)
		return err
	}
	if err := errors.Join(lock(first, "BEGIN; SELECT pg_advisory_xact_lock(1)"), lock(second, "BEGIN; SELECT pg_advisory_xact_lock(2)")); err != nil {
		t.Fatal(err)
	}
	crossed := make(chan error, 1)
	go func() { crossed <- lock(first, "SELECT pg_advisory_xact_lock(2)") }()
	err := lock(second, "SELECT pg_advisory_xact_lock(1)")
	if err != nil {
		_ = lock(second, "ROLLBACK") // which lets the first one go on
	}
	if err = errors.Join(err, <-crossed); err == nil {
		t.Fatal("no deadlock")
	}
	if log := pgtest.ServerLog(t)[before:]; !strings.Contains(log, "deadlock detected") {
		t.Errorf("after %v the log says: %s", err, log)
	}
}

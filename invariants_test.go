package poolproof_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// Invariant 1: one Sync, and thus one round trip, per scope.
func TestOneSyncPerScope(t *testing.T) { forForms(t, testOneSyncPerScope) }

func testOneSyncPerScope(t *testing.T, form option) {
	f := newFixture(t, 1)
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
		t.Run(string(m), func(t *testing.T) {
			url, syncs := pgtest.CountSyncs(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction))
			db := open(t, url, form, mode(m), func(c *poolproof.Config) { c.MaxConns = 1 })
			s, ctx := db.Tenant(tenant(0)), t.Context()
			batch := func() *pgx.Batch {
				b := &pgx.Batch{}
				b.Queue("select 1")
				b.Queue("select 2")
				return b
			}
			inTx := func(statements int) func() error {
				return func() error {
					return s.InTx(ctx, func(tx pgx.Tx) error {
						for range statements {
							if _, err := tx.Exec(ctx, "select 1"); err != nil {
								return err
							}
						}
						return nil
					})
				}
			}
			operations := []struct {
				name string
				want int
				do   func() error
			}{
				{"Query", 1, func() error {
					rows, err := s.Query(ctx, "select id from documents")
					if err != nil {
						return err
					}
					_, err = pgx.CollectRows(rows, pgx.RowTo[int64])
					return err
				}},
				{"QueryRow", 1, func() error { var n int; return s.QueryRow(ctx, "select count(*) from documents").Scan(&n) }},
				{"Exec", 1, func() error { _, err := s.Exec(ctx, "delete from documents where id < 0"); return err }},
				{"Shared", 1, func() error { _, err := db.Shared().Exec(ctx, "select 1"); return err }},
				{"SendBatch", 1, func() error { return s.SendBatch(ctx, batch()).Close() }},
				{"CopyFrom", 1, func() error {
					_, err := s.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"}, pgx.CopyFromRows([][]any{{tenant(0), "a"}, {tenant(0), "b"}}))
					return err
				}},
				{"a failing Exec", 1, func() error {
					if _, err := s.Exec(ctx, "select 1/(select 0)"); err == nil {
						return errors.New("no error")
					}
					return nil
				}},
				{"InTx without a statement", 0, inTx(0)},
				{"InTx of one statement", 2, inTx(1)},
				{"InTx of three statements", 4, inTx(3)},
			}
			for _, op := range operations {
				for range 2 { // the first time, statements' types may have to be learnt
					if err := op.do(); err != nil {
						t.Fatalf("%s: %v", op.name, err)
					}
				}
				before := syncs()
				if err := op.do(); err != nil {
					t.Fatalf("%s: %v", op.name, err)
				}
				if got := syncs() - before; got != op.want {
					t.Errorf("%s: %d Syncs instead of %d", op.name, got, op.want)
				}
			}
			if m == poolproof.ModeExec {
				before := syncs()
				if _, err := s.Exec(ctx, "select 'never seen before'"); err != nil {
					t.Fatal(err)
				}
				if got := syncs() - before; got != 1 {
					t.Errorf("a new statement in exec mode: %d Syncs", got)
				}
			}
		})
	}
}

// Invariant 1: success is told only after ReadyForQuery, so that what fails
// at the transaction's end fails for the caller.
func TestDeferredConstraintFailsTheCaller(t *testing.T) {
	forForms(t, testDeferredConstraintFailsTheCaller)
}

func testDeferredConstraintFailsTheCaller(t *testing.T, form option) {
	f := newFixture(t, 1)
	login := loginOf(t, f.url)
	f.exec(t, `create table parents (id int primary key);
		create table children (parent int references parents deferrable initially deferred);
		grant select, insert on children, parents to `+login)
	const orphan = "insert into children values (1) returning parent"
	for _, kind := range pgtest.Kinds {
		for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe} {
			t.Run(kind.String()+"/"+string(m), func(t *testing.T) {
				db := open(t, pgtest.Pooled(t, f.url, kind), form, mode(m))
				s, ctx := db.Tenant(tenant(0)), t.Context()
				ways := map[string]func() error{
					"Exec":     func() error { _, err := s.Exec(ctx, orphan); return err },
					"QueryRow": func() error { var n int; return s.QueryRow(ctx, orphan).Scan(&n) },
					"Query": func() error {
						rows, err := s.Query(ctx, orphan)
						if err != nil {
							return err
						}
						for rows.Next() {
						}
						return rows.Err()
					},
					"Query closed early": func() error {
						rows, err := s.Query(ctx, orphan)
						if err != nil {
							return err
						}
						rows.Close()
						return rows.Err()
					},
					"SendBatch": func() error {
						b := &pgx.Batch{}
						b.Queue(orphan)
						return s.SendBatch(ctx, b).Close()
					},
					"CopyFrom": func() error {
						_, err := s.CopyFrom(ctx, pgx.Identifier{"children"}, []string{"parent"}, pgx.CopyFromRows([][]any{{1}}))
						return err
					},
				}
				if kind != pgtest.PgBouncer118Statement {
					ways["InTx"] = func() error {
						return s.InTx(ctx, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, orphan); return err })
					}
				}
				for name, do := range ways {
					err := do()
					if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "23503" {
						t.Errorf("%s: %v, want a foreign key violation", name, err)
					}
				}
				if n := f.count(t, "select count(*) from children"); n != 0 {
					t.Errorf("%d rows were inserted", n)
				}
			})
		}
	}
}

// Invariant 1: nothing that ends the scope's transaction, or that outlives it
// (invariant 3), is sent.
func TestRefusedStatements(t *testing.T) { forForms(t, testRefusedStatements) }

func testRefusedStatements(t *testing.T, form option) {
	f := newFixture(t, 1)
	f.exec(t, "create table log (line text); grant insert on log to "+loginOf(t, f.url)+`;
		create procedure committing() language plpgsql as $$ begin insert into log values ('before'); commit; insert into log values ('after'); end $$`)
	url, messages := pgtest.CountMessages(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction))
	db := open(t, url, form)
	s, ctx := db.Tenant(tenant(0)), t.Context()
	refused := []string{
		"begin", "BEGIN", "start transaction", "commit", "end", "rollback", "abort", "savepoint a", "release a",
		"prepare transaction 'x'", "call committing()", "do $$ begin commit; end $$",
		"  commit", "\n\t\v\fcommit", "; commit", "-- a comment\ncommit", "-- a\rcommit", "/* a /* nested */ comment */commit", "/**/;--\n;/* ; */ Commit And Chain",
		"set app.current_tenant_id = 'x'", "SET SESSION app.x = 'y'", "set role postgres", "reset all", "discard all", "listen x", "unlisten x",
		"load 'x'", "prepare x as select 1", "deallocate all", "copy documents from stdin", "copy documents to stdout",
	}
	before := messages('P')
	for _, sql := range refused {
		if _, err := s.Exec(ctx, sql); !errors.Is(err, poolproof.ErrStatementRefused) {
			t.Errorf("%q: %v", sql, err)
		} else if typed, ok := errors.AsType[*poolproof.Error](err); !ok || typed.Hint == "" {
			t.Errorf("%q: no hint in %v", sql, err)
		}
		b := &pgx.Batch{}
		b.Queue("insert into log values ('batched')")
		b.Queue(sql)
		if err := s.SendBatch(ctx, b).Close(); !errors.Is(err, poolproof.ErrStatementRefused) {
			t.Errorf("batched %q: %v", sql, err)
		}
	}
	if n := messages('P') - before; n != 0 {
		t.Errorf("%d statements were sent", n)
	}
	for _, sql := range []string{"begin", "commit", "rollback", "rollback and chain", "rollback work", "abort", "end", "set app.x = 'y'", "discard all", "commit and chain"} {
		err := s.InTx(ctx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into log values ('tx')"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, sql)
			return err
		})
		if !errors.Is(err, poolproof.ErrStatementRefused) {
			t.Errorf("%q in a transaction: %v", sql, err)
		}
	}
	if n := f.count(t, "select count(*) from log"); n != 0 {
		t.Errorf("%d rows were written beside refused statements", n)
	}
	for _, sql := range []string{"select 1", "(select 1)", "with x as (select 1) select * from x", "set local app.x = 'y'", "values (1)", "committed", "/* begin */ select 1", ""} {
		if _, err := s.Exec(ctx, sql); errors.Is(err, poolproof.ErrStatementRefused) {
			t.Errorf("%q was refused", sql)
		}
	}
	err := s.InTx(ctx, func(tx pgx.Tx) error {
		for _, sql := range []string{"savepoint a", "insert into log values ('kept')", "savepoint b", "insert into log values ('undone')", "rollback to savepoint b", "release a"} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || f.count(t, "select count(*) from log where line = 'kept'") != 1 || f.count(t, "select count(*) from log") != 1 {
		t.Errorf("savepoints in a transaction: %v", err)
	}
}

// Invariant 2: if the tenant cannot be set, the statement does not run, the
// error is typed, it is logged once and counted once, and the process goes on.
func TestFailingScopeRunsNothing(t *testing.T) { forForms(t, testFailingScopeRunsNothing) }

func testFailingScopeRunsNothing(t *testing.T, form option) {
	for _, kind := range pgtest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			f := newFixture(t, 1)
			login := loginOf(t, f.url)
			role := strings.Replace(login, "app_", "late_", 1)
			logs, registry := &logged{}, prometheus.NewRegistry()
			db := open(t, pgtest.Pooled(t, f.url, kind), form, func(c *poolproof.Config) {
				c.Role, c.Logger, c.Registerer = role, logs.logger(), registry
			})
			s := db.Tenant(tenant(0))
			const insert = "insert into documents (tenant_id, body) values ($1, 'must not be')"
			for n, do := range []func() error{
				func() error { _, err := s.Exec(t.Context(), insert, tenant(0)); return err },
				func() error {
					b := &pgx.Batch{}
					b.Queue(insert, tenant(0))
					return s.SendBatch(t.Context(), b).Close()
				},
			} {
				err := do()
				if !errors.Is(err, poolproof.ErrTenantNotSet) {
					t.Fatalf("got %v", err)
				}
				if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code == "" {
					t.Errorf("the cause is missing in %v", err)
				}
				if got := logs.count("the tenant could not be set"); got != n+1 {
					t.Errorf("%d log lines after %d failures", got, n+1)
				}
				if got := poolproof.Counter(t, registry, "poolproof_scope_failures_total"); got != float64(n+1) {
					t.Errorf("%v counted after %d failures", got, n+1)
				}
			}
			if n := f.count(t, "select count(*) from documents where body = 'must not be'"); n != 0 {
				t.Errorf("%d rows were written without a tenant", n)
			}
			f.exec(t, "create role "+role+" nologin; grant "+role+" to "+login+"; grant select on documents to "+role)
			t.Cleanup(func() { f.exec(t, "drop owned by "+role+"; drop role "+role) })
			var as string
			var n int
			if err := s.QueryRow(t.Context(), "select current_user, count(*) from documents").Scan(&as, &n); err != nil || n != 10 || as != role {
				t.Errorf("the next request: %d rows as %q, %v", n, as, err)
			}
			// The role is the transaction's only: it lets nobody else in.
			plain := open(t, pgtest.Pooled(t, f.url, kind), form)
			if err := plain.Shared().QueryRow(t.Context(), "select current_user").Scan(&as); err != nil || as != login {
				t.Errorf("afterwards the role is %q, %v", as, err)
			}
		})
	}
}

// A session without a tenant is refused before anything is sent.
func TestNoTenant(t *testing.T) { forForms(t, testNoTenant) }

func testNoTenant(t *testing.T, form option) {
	f := newFixture(t, 1)
	url, messages := pgtest.CountMessages(t, f.url)
	db := open(t, url, form)
	before := messages('P')
	s := db.Tenant("")
	for name, err := range map[string]error{
		"Exec":     func() error { _, err := s.Exec(t.Context(), "select 1"); return err }(),
		"Query":    func() error { _, err := s.Query(t.Context(), "select 1"); return err }(),
		"QueryRow": s.QueryRow(t.Context(), "select 1").Scan(),
		"InTx":     s.InTx(t.Context(), func(pgx.Tx) error { return nil }),
		"CopyFrom": func() error {
			_, err := s.CopyFrom(t.Context(), pgx.Identifier{"x"}, []string{"y"}, pgx.CopyFromRows(nil))
			return err
		}(),
		"SendBatch": s.SendBatch(t.Context(), &pgx.Batch{QueuedQueries: []*pgx.QueuedQuery{{SQL: "select 1"}}}).Close(),
	} {
		if !errors.Is(err, poolproof.ErrNoTenant) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := messages('P') - before; n != 0 {
		t.Errorf("%d statements were sent", n)
	}
	if _, err := db.Tenant(tenant(0)).With("app.unknown", "x").Exec(t.Context(), "select 1"); !errors.Is(err, poolproof.ErrConfig) {
		t.Errorf("an unknown setting: %v", err)
	}
}

// Invariant 4: PgBouncer's query timeout comes as 08P01 too, when the INSERT
// may already be committed. It must not be retried.
func TestQueryTimeoutIsNotRetried(t *testing.T) {
	f := newFixture(t, 1)
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer124Transaction} {
		t.Run(kind.String(), func(t *testing.T) {
			url, _ := pgtest.PrivatePooler(t, f.url, kind, map[string]string{"query_timeout": "1"})
			logs := &logged{}
			db := open(t, url, func(c *poolproof.Config) { c.Logger = logs.logger() })
			// Not one transaction with the wait: the row is there for everybody before the timeout strikes.
			_, err := db.Tenant(tenant(0)).Exec(t.Context(), "insert into documents (tenant_id, body) select $1, 'timed out '||pg_sleep(1.5)::text||$2", tenant(0), kind.String())
			if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "08P01" || !strings.Contains(pgErr.Message, "query timeout") {
				t.Fatalf("got %v, want PgBouncer's query timeout", err)
			}
			waitFor(t, "the INSERT is committed behind the pooler's back", func() bool {
				return f.count(t, "select count(*) from documents where body = 'timed out '||$1", kind.String()) > 0
			})
			waitFor(t, "no INSERT runs any more", func() bool {
				return f.count(t, "select count(*) from pg_stat_activity where query like 'insert into documents%' and state = 'active' and datname = current_database()") == 0
			})
			if n := f.count(t, "select count(*) from documents where body = 'timed out '||$1", kind.String()); n != 1 {
				t.Errorf("the row is there %d times", n)
			}
			if logs.count("no statement is prepared (exec mode)") != 0 {
				t.Error("it was taken for a lost statement")
			}
		})
	}
}

// A cancelled context gives up its connection, and neither the pool nor the
// server keeps anything of it.
func TestCancelledInMidPipeline(t *testing.T) { forForms(t, testCancelledInMidPipeline) }

func testCancelledInMidPipeline(t *testing.T, form option) {
	f := newFixture(t, 1)
	for _, kind := range pgtest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			db := open(t, pgtest.Pooled(t, f.url, kind), form, func(c *poolproof.Config) { c.MaxConns = 2 })
			s := db.Tenant(tenant(0))
			for range 4 {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				start := time.Now()
				_, err := s.Exec(ctx, "select pg_sleep(60)")
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("got %v", err)
				}
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("gave up after %v", d)
				}
				ctx, cancel = context.WithCancel(t.Context())
				rows, err := s.Query(ctx, "select n, repeat('x', 1000) from generate_series(1, 1000000) n")
				if err != nil {
					t.Fatal(err)
				}
				rows.Next()
				cancel()
				rows.Close()
				if !errors.Is(rows.Err(), context.Canceled) {
					t.Errorf("rows: %v", rows.Err())
				}
				var n int
				if err := s.QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err != nil || n != 10 {
					t.Fatalf("after a cancelled statement: %d rows, %v", n, err)
				}
			}
			waitFor(t, "the server has stopped the statements", func() bool {
				return f.count(t, "select count(*) from pg_stat_activity where state <> 'idle' and pid <> pg_backend_pid() and datname = current_database()") == 0
			})
			waitFor(t, "the pool is whole", func() bool { return db.Stat().AcquiredConns() == 0 })
		})
	}
}

// A context that is done before anything is sent costs no connection.
func TestDoneContextSendsNothing(t *testing.T) { forForms(t, testDoneContextSendsNothing) }

func testDoneContextSendsNothing(t *testing.T, form option) {
	f := newFixture(t, 1)
	url, messages := pgtest.CountMessages(t, f.url)
	db := open(t, url, form)
	if err := db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before, conns := messages('P'), db.Stat().TotalConns()
	if _, err := db.Tenant(tenant(0)).Exec(ctx, "select 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if messages('P') != before || db.Stat().TotalConns() != conns {
		t.Error("something was sent, or a connection was lost")
	}
}

// Modes that are unsafe through a pooler are refused wherever they are asked for.
func TestUnsafeModesAreRefused(t *testing.T) {
	f := newFixture(t, 1)
	for _, m := range []string{"describe_exec", "simple_protocol"} {
		if _, err := poolproof.Open(t.Context(), poolproof.Config{URL: f.url, Mode: poolproof.Mode(m)}); !errors.Is(err, poolproof.ErrConfig) {
			t.Errorf("Config.Mode %s: %v", m, err)
		}
		if _, err := poolproof.Open(t.Context(), poolproof.Config{URL: f.url + "&default_query_exec_mode=" + m}); !errors.Is(err, poolproof.ErrConfig) {
			t.Errorf("%s in the URL: %v", m, err)
		}
	}
	db := open(t, f.url)
	var n int
	if err := db.Shared().QueryRow(t.Context(), "select 1", pgx.QueryExecModeDescribeExec).Scan(&n); !errors.Is(err, poolproof.ErrConfig) {
		t.Errorf("as an argument: %v", err)
	}
	for _, name := range []string{"role", "app.x'); drop table documents; --", "", "app.", ".x", "app.current_user_id"} {
		cfg := poolproof.Config{URL: f.url, Settings: []string{name}}
		if _, err := poolproof.Open(t.Context(), cfg); !errors.Is(err, poolproof.ErrConfig) {
			t.Errorf("setting %q: %v", name, err)
		}
	}
}

func TestOpenOfNobody(t *testing.T) {
	_, err := poolproof.Open(t.Context(), poolproof.Config{URL: "postgres://app@127.0.0.1:1/none"})
	if !errors.Is(err, poolproof.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func loginOf(t testing.TB, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}

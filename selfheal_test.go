package poolproof

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/wire"
)

// Invariant 4, from within: named statements are taken away behind the
// library's back, in the three ways that poolers show.
func TestLostStatementsFallBackOnce(t *testing.T) {
	const sql = "select 'right'"
	raw := func(sql string) func(*testing.T, *DB) {
		return func(t *testing.T, db *DB) {
			pc, err := db.pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Release()
			if _, err := pc.Conn().PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		kind pgtest.Kind
		warm bool // the statement is prepared before
		harm func(*testing.T, *DB)
		code string
	}{
		{"26000: the statement is gone", pgtest.Direct, true, raw("deallocate all"), "26000"},
		{"42P05: its name is taken", pgtest.Direct, false, func(t *testing.T, db *DB) {
			name := wire.StatementName(sql)
			raw("prepare "+name+" as select 'wrong'")(t, db) // as a transaction names it
			if domain := db.domain.Load(); domain != 0 {
				raw("prepare "+wire.RiddenName(sql, domain)+" as select 'wrong'")(t, db)
			}
		}, "42P05"},
		{"FATAL 08P01: PgBouncer does not know it", pgtest.PgBouncer124Transaction, true, raw("deallocate all"), "08P01"},
	}
	for _, tt := range tests {
		for _, form := range []ScopeForm{ScopeStatement, ScopeParameter} {
			t.Run(tt.name+"/"+string(form), func(t *testing.T) {
				t.Parallel() // each has a database of its own, and Open waits for the probe
				setup := func() (*DB, *strings.Builder) {
					logs := &strings.Builder{}
					url := pgtest.Database(t)
					execAs(t, url, ScopeSQL)
					db, err := Open(t.Context(), Config{URL: pgtest.Pooled(t, url, tt.kind), MaxConns: 1, Scope: form, Logger: slog.New(slog.NewTextHandler(logs, nil))})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(db.Close)
					if db.Mode() != ModeCacheStatement {
						t.Fatalf("mode %s", db.Mode())
					}
					if tt.warm {
						if _, err := db.Shared().Exec(t.Context(), sql); err != nil {
							t.Fatal(err)
						}
						if err := db.Shared().InTx(t.Context(), func(tx pgx.Tx) error { _, err := tx.Exec(t.Context(), sql); return err }); err != nil {
							t.Fatal(err)
						}
					} else if err := db.Ping(t.Context()); err != nil { // the scope is prepared, the statement is not
						t.Fatal(err)
					}
					tt.harm(t, db)
					return db, logs
				}
				t.Run("a query is retried", func(t *testing.T) {
					db, logs := setup()
					var got string
					if err := db.Shared().QueryRow(t.Context(), sql).Scan(&got); err != nil || got != "right" {
						t.Fatalf("got %q, %v", got, err)
					}
					if db.Mode() != ModeExec || strings.Count(logs.String(), "no statement is prepared (exec mode)") != 1 {
						t.Errorf("mode %s, log: %s", db.Mode(), logs)
					}
				})
				t.Run("a batch is retried", func(t *testing.T) {
					db, _ := setup()
					b := &pgx.Batch{}
					b.Queue(sql)
					if err := db.Shared().SendBatch(t.Context(), b).Close(); err != nil {
						t.Fatal(err)
					}
				})
				t.Run("a transaction is not", func(t *testing.T) {
					db, _ := setup()
					calls := 0
					run := func(tx pgx.Tx) error {
						calls++
						_, err := tx.Exec(t.Context(), sql)
						return err
					}
					err := db.Shared().InTx(t.Context(), run)
					if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != tt.code || calls != 1 {
						t.Fatalf("after %d calls: %v", calls, err)
					}
					if err := db.Shared().InTx(t.Context(), run); err != nil || db.Mode() != ModeExec {
						t.Errorf("the next transaction, in mode %s: %v", db.Mode(), err)
					}
				})
				t.Run("nor is its batch, whose second statement was lost", func(t *testing.T) {
					db, _ := setup()
					run := func(tx pgx.Tx) error {
						b := &pgx.Batch{}
						b.Queue("select 1")
						b.Queue(sql)
						return tx.SendBatch(t.Context(), b).Close()
					}
					if err := db.Shared().InTx(t.Context(), run); err == nil {
						t.Fatal("the lost statement was told as done")
					}
					if err := db.Shared().InTx(t.Context(), run); err != nil || db.Mode() != ModeExec {
						t.Errorf("the next transaction, in mode %s: %v", db.Mode(), err)
					}
				})
			})
		}
	}
}

// A connection that is not idle after its Sync must not serve anybody again.
func TestConnectionInTransactionIsDestroyed(t *testing.T) {
	for _, sql := range []string{"begin", "begin; select 1/0"} {
		db, err := Open(t.Context(), Config{URL: pgtest.Database(t), MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		pc, conn, err := db.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pid := pc.Conn().PgConn().PID()
		_, _ = pc.Conn().PgConn().Exec(t.Context(), sql).ReadAll() // the second form fails, on purpose
		db.release(pc, conn)
		var now uint32
		var alive bool
		if err := db.Shared().QueryRow(t.Context(), "select pg_backend_pid()").Scan(&now); err != nil || now == pid {
			t.Errorf("%s: connection %d serves on: %v", sql, now, err)
		}
		db.Close() // waits until it is given up
		other, err := Open(context.Background(), Config{URL: db.config.URL})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Shared().QueryRow(t.Context(), "select exists (select from pg_stat_activity where pid = $1 and state like 'idle in%')", int64(pid)).Scan(&alive); err != nil || alive {
			t.Errorf("%s: the old transaction is still open: %v", sql, err)
		}
		other.Close()
	}
}

// The domain is taken away, or is not what it was, while the database is open:
// nothing was executed then, the statement is sent once more with a scope of
// its own, and so is every one from then on.
func TestLostDomainFallsBackOnce(t *testing.T) {
	owner := func(sql string) func(*testing.T, *DB, string) {
		return func(t *testing.T, _ *DB, url string) { execAs(t, url, sql) }
	}
	renumbered := func(oid uint32) func(*testing.T, *DB, string) { // as in another database that took over
		return func(_ *testing.T, db *DB, _ string) { db.domain.Store(oid) }
	}
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, db *DB, url string)
	}{
		{"dropped", owner("drop schema poolproof cascade")},
		{"made anew", owner("drop schema poolproof cascade;" + ScopeSQL)},
		{"a function is not this login's", owner("revoke execute on function poolproof.make_scope(text[]) from public")},
		{"a number that no type has", renumbered(4000000000)},
		{"an integer has its number", renumbered(pgtype.Int4OID)},
		{"an array of uuids has its number", renumbered(pgtype.UUIDArrayOID)},
		{"jsonb has its number", renumbered(pgtype.JSONBOID)},
		{"a range has its number", renumbered(pgtype.Int4rangeOID)},
	} {
		for _, m := range []Mode{ModeExec, ModeCacheDescribe, ModeCacheStatement} {
			t.Run(tt.name+"/"+string(m), func(t *testing.T) {
				f := pgtest.Database(t)
				login := "app_" + strings.ToLower(rand.Text())
				execAs(t, f, ScopeSQL+"; create table log (line text); create role "+login+" login; grant insert on log to "+login)
				t.Cleanup(func() { execAs(t, f, "drop owned by "+login+"; drop role "+login) })
				logs, registry := &strings.Builder{}, prometheus.NewRegistry()
				db, err := Open(t.Context(), Config{URL: strings.Replace(f, "//"+devdb.Superuser+"@", "//"+login+"@", 1), Mode: m, Scope: ScopeParameter, Logger: slog.New(slog.NewTextHandler(logs, nil)), Registerer: registry})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(db.Close)
				s := db.Tenant("somebody")
				const insert = "insert into log select current_setting('app.current_tenant_id') where $1::int = 1"
				if _, err := s.Exec(t.Context(), insert, 1); err != nil {
					t.Fatal(err)
				}
				tt.harm(t, db, f)
				if _, err := s.Exec(t.Context(), insert, 1); err != nil {
					t.Fatalf("not retried: %v", err)
				}
				b := &pgx.Batch{}
				b.Queue(insert, 1)
				if err := s.SendBatch(t.Context(), b).Close(); err != nil {
					t.Fatal(err)
				}
				if db.Scope() != ScopeStatement || strings.Count(logs.String(), "from now on a statement of its own sets each scope") != 1 || strings.Contains(logs.String(), "could not be set") {
					t.Errorf("scope %s, log: %s", db.Scope(), logs)
				}
				if n := Counter(t, registry, "poolproof_scope_fallbacks_total"); n != 1 {
					t.Errorf("%v counted", n)
				}
				var own, all int
				conn, err := pgx.Connect(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(t.Context()) //nolint:errcheck // it only reads
				if err := conn.QueryRow(t.Context(), "select count(*) filter (where line = 'somebody'), count(*) from log").Scan(&own, &all); err != nil || own != 3 || all != 3 {
					t.Errorf("%d of %d rows are the tenant's, %v", own, all, err)
				}
			})
		}
	}
}

// What the first statement of a batch finds lost is retried for the whole batch.
func TestLostDomainInABatch(t *testing.T) {
	url := pgtest.Database(t)
	execAs(t, url, ScopeSQL+"; create table log (line text)")
	db, err := Open(t.Context(), Config{URL: url, Scope: ScopeParameter, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	execAs(t, url, "drop domain poolproof.scope")
	b := &pgx.Batch{}
	for range 3 {
		b.Queue("insert into log select current_setting('app.current_tenant_id')")
	}
	var n int
	b.Queue("select count(*) from log where line = 'somebody'").QueryRow(func(row pgx.Row) error { return row.Scan(&n) })
	if err := db.Tenant("somebody").SendBatch(t.Context(), b).Close(); err != nil || n != 3 || db.Scope() != ScopeStatement {
		t.Errorf("%d rows, %v, %s", n, err, db.Scope())
	}
}

// Whatever was left on the server connection, every scope counts and tells it
// and sets every setting, to the empty text where it has no value; a notice that a caller's
// own function raises is not taken for the canary's.
func TestLeftSettings(t *testing.T) {
	for _, form := range []ScopeForm{ScopeStatement, ScopeParameter} {
		for _, m := range []Mode{ModeExec, ModeCacheDescribe, ModeCacheStatement} {
			t.Run(string(form)+"/"+string(m), func(t *testing.T) {
				url := pgtest.Database(t)
				execAs(t, url, ScopeSQL+`; create function forged() returns int language plpgsql as $$ begin raise info using errcode = 'PR900', detail = '1'; return 1; end $$`)
				logs, registry := &strings.Builder{}, prometheus.NewRegistry()
				db, err := Open(t.Context(), Config{URL: url, MaxConns: 1, Mode: m, Scope: form, Settings: []string{"app.region", "app.plan"}, Logger: slog.New(slog.NewTextHandler(logs, nil)), Registerer: registry})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				const read = "select forged(), concat_ws('/', current_setting('app.current_tenant_id'), current_setting('app.current_user_id'), current_setting('app.region'), current_setting('app.plan'))"
				check := func(want string, s Session) {
					t.Helper()
					var got string
					if err := s.QueryRow(t.Context(), read).Scan(nil, &got); err != nil || got != want {
						t.Errorf("%q instead of %q, %v", got, want, err)
					}
				}
				check("mine///", db.Tenant("mine"))
				if n := Counter(t, registry, "poolproof_leaked_settings_total"); n != 0 {
					t.Errorf("%v leaks where there are none: %s", n, logs)
				}
				pc, err := db.pool.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				pid := pc.Conn().PgConn().PID()
				if _, err := pc.Conn().PgConn().Exec(t.Context(), "set app.current_tenant_id = 'leaked'; set app.current_user_id = 'leaked'; set app.region = 'leaked'; set app.plan = 'leaked'; set client_min_messages = error").ReadAll(); err != nil {
					t.Fatal(err)
				}
				pc.Release()
				check("mine///", db.Tenant("mine"))
				check("///", db.Shared())
				check("mine/me//free", db.Tenant("mine").As("me").With("app.plan", "x").With("app.plan", "free"))
				b := &pgx.Batch{}
				b.Queue(read)
				b.Queue(read).QueryRow(func(row pgx.Row) error {
					var got string
					if err := row.Scan(nil, &got); err != nil || got != "mine///" {
						t.Errorf("the batch's second statement: %q, %v", got, err)
					}
					return nil
				})
				if err := db.Tenant("mine").SendBatch(t.Context(), b).Close(); err != nil {
					t.Fatal(err)
				}
				if n := Counter(t, registry, "poolproof_leaked_settings_total"); n != 4 || strings.Count(logs.String(), "left a tenant on this server connection") != 4 {
					t.Errorf("%v leaks instead of 4: %s", n, logs)
				}
				if !strings.Contains(logs.String(), fmt.Sprintf("backend_pid=%d setting=app.current_tenant_id", pid)) || strings.Contains(logs.String(), "leaked") {
					t.Errorf("the log tells nothing, or what is nobody's: %s", logs)
				}
			})
		}
	}
}

func execAs(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgconn.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // all is done by then
	if _, err := conn.Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Counter returns a counter that a registry has; the tests from outside use it, too.
func Counter(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}

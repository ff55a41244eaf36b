package poolproof

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
			raw("prepare "+wire.StatementName(sql)+" as select 'wrong'")(t, db)
		}, "42P05"},
		{"FATAL 08P01: PgBouncer does not know it", pgtest.PgBouncer124Transaction, true, raw("deallocate all"), "08P01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			setup := func() (*DB, *strings.Builder) {
				logs := &strings.Builder{}
				db, err := Open(t.Context(), Config{URL: pgtest.Pooled(t, pgtest.Database(t), tt.kind), MaxConns: 1, Logger: slog.New(slog.NewTextHandler(logs, nil))})
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
				if db.Mode() != ModeExec || strings.Count(logs.String(), "going on in exec mode") != 1 {
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
		})
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
		other, err := Open(context.Background(), Config{URL: db.config.URL, MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Shared().QueryRow(t.Context(), "select exists (select from pg_stat_activity where pid = $1 and state like 'idle in%')", int64(pid)).Scan(&alive); err != nil || alive {
			t.Errorf("%s: the old transaction is still open: %v", sql, err)
		}
		other.Close()
	}
}

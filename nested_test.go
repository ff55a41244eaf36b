package poolproof_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

// TestNothingOfANestedTransactionStays: what a nested transaction did is not kept
// once it, or one that it is nested in, was rolled back, however that came about.
func TestNothingOfANestedTransactionStays(t *testing.T) {
	f := newFixture(t, 1)
	db := open(t, f.url, func(c *poolproof.Config) { c.MaxConns = 1 })
	done, cancel := context.WithCancel(t.Context())
	cancel()
	write := func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "insert into documents (tenant_id, body) values ($1, 'must not be')", tenant(0))
		return err
	}
	for name, run := range map[string]func(ctx context.Context, outer, inner pgx.Tx) error{
		"used after the outer's rollback": func(ctx context.Context, outer, inner pgx.Tx) error {
			err := outer.Rollback(ctx)
			if err := write(inner); !errors.Is(err, poolproof.ErrTxEnded) {
				t.Errorf("inner, after outer has ended: %v", err)
			}
			if _, err := inner.Begin(ctx); !errors.Is(err, pgx.ErrTxClosed) {
				t.Errorf("begun in inner, after outer has ended: %v", err)
			}
			return err
		},
		"rolled back after a commit that was not sent": func(ctx context.Context, _, inner pgx.Tx) error {
			if err := write(inner); err != nil {
				return err
			}
			if err := inner.Commit(done); !errors.Is(err, context.Canceled) {
				t.Errorf("commit with a context that is done: %v", err)
			}
			return inner.Rollback(ctx)
		},
		"a panic while rows are open": func(ctx context.Context, outer, _ pgx.Tx) error {
			var kept pgx.Rows
			recovered(func() {
				_ = pgx.BeginFunc(ctx, outer, func(tx pgx.Tx) (err error) {
					if err = write(tx); err == nil {
						kept, err = tx.Query(ctx, "select id from documents")
					}
					if err != nil {
						return err
					}
					panic("in a nested transaction")
				})
			})
			if kept.Next() || kept.Err() == nil {
				t.Errorf("rows that were open: %v", kept.Err())
			}
			return nil
		},
	} {
		err := db.Tenant(tenant(0)).InTx(t.Context(), func(tx pgx.Tx) error {
			outer, err := tx.Begin(t.Context())
			if err != nil {
				return err
			}
			inner, err := outer.Begin(t.Context())
			if err != nil {
				return err
			}
			return run(t.Context(), outer, inner)
		})
		if n := f.count(t, "select count(*) from documents where body = 'must not be'"); err != nil || n != 0 {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
	}
	if n := db.Stat().NewConnsCount(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
}

// InTx returns how fn's own COMMIT ended, if that kept nothing, even if fn does not.
func TestInTxTellsOfItsFunctionsCommit(t *testing.T) {
	f := newFixture(t, 1)
	s := open(t, f.url).Tenant(tenant(0))
	for sql, want := range map[string]error{"select 1/0": pgx.ErrTxCommitRollback, "select 1": nil} {
		err := s.InTx(t.Context(), func(tx pgx.Tx) error {
			_, _ = tx.Exec(t.Context(), sql)
			if err := tx.Commit(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s, and Commit: %v", sql, err)
			}
			return nil
		})
		if !errors.Is(err, want) {
			t.Errorf("%s, and InTx: %v", sql, err)
		}
	}
}

// For database/sql a transaction is over after the first Rollback or Commit: its
// connection is given back even if that came from an argument's own code.
func TestSQLTransactionEndedByAnArgument(t *testing.T) {
	f := newFixture(t, 1)
	pool := open(t, f.url, func(c *poolproof.Config) { c.MaxConns = 1 })
	db := sql.OpenDB(poolproof.Connector(pool))
	defer func() { _ = db.Close() }()
	for _, commit := range []bool{true, false} {
		conn, err := db.Conn(as(t, 0))
		if err != nil {
			t.Fatal(err)
		}
		err = conn.Raw(func(c any) error {
			tx, err := c.(driver.ConnBeginTx).BeginTx(as(t, 0), driver.TxOptions{})
			if err != nil {
				return err
			}
			end := valuer(func() {
				if commit {
					err = tx.Commit()
				} else {
					err = tx.Rollback()
				}
				wantKind(t, "ended within a statement", err, poolproof.ErrTxInUse)
			})
			_, err = c.(driver.ExecerContext).ExecContext(as(t, 0), "select $1::text", []driver.NamedValue{{Ordinal: 1, Value: end}})
			return err
		})
		if !errors.Is(err, poolproof.ErrTxEnded) {
			t.Errorf("the statement: %v", err)
		}
		_ = conn.Close()
		if n := pool.Stat().AcquiredConns(); n != 0 {
			t.Fatalf("%d connections are lost", n)
		}
	}
}

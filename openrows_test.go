package poolproof_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestOpenRowsInTx: while rows are open the next statement is refused and
// nothing gets mixed up; rows left open are read to their end before the commit,
// and success is still told only after it.
func TestOpenRowsInTx(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, "create table once (n int, constraint once_n unique (n) deferrable initially deferred); grant all on once to public")
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
		t.Run(string(m), func(t *testing.T) {
			db := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction), mode(m), func(c *poolproof.Config) { c.MaxConns = 1 })
			s := db.Tenant(tenant(0))
			err := s.InTx(t.Context(), func(tx pgx.Tx) error {
				rows, err := tx.Query(t.Context(), "select id from documents")
				if err != nil || !rows.Next() {
					t.Fatal("no row:", err)
				}
				if tag, err := tx.Exec(t.Context(), "delete from documents"); err == nil {
					t.Errorf("a statement while rows are open: %s", tag)
				}
				n := 1
				for rows.Next() {
					n++
				}
				if n != 10 || rows.Err() != nil {
					t.Errorf("%d rows, %v", n, rows.Err())
				}
				_, err = tx.Exec(t.Context(), "update documents set body = body")
				return err
			})
			if err != nil {
				t.Error(err)
			}

			var left pgx.Rows
			leave := func(n int) error {
				return s.InTx(t.Context(), func(tx pgx.Tx) (err error) {
					if _, err = tx.Exec(t.Context(), "insert into once values ($1), ($1)", n); err != nil {
						return err
					}
					left, err = tx.Query(t.Context(), "select id from documents")
					return err
				})
			}
			err = leave(1)
			if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "23505" {
				t.Errorf("a constraint that fails at commit, beside open rows: %v", err)
			}
			if left.Next() {
				t.Error("a row after the end")
			}
			left.Close()
			if n := f.count(t, "select count(*) from once"); n != 0 {
				t.Errorf("%d rows", n)
			}
			if n := db.Stat().NewConnsCount(); n != 1 {
				t.Errorf("%d connections were made instead of 1", n)
			}
		})
	}
}

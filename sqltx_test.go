package poolproof_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestSQLTransaction commits, rolls back, fails at commit, and works through a
// prepared statement and savepoints.
func TestSQLTransaction(t *testing.T) {
	f := newFixture(t, 2)
	f.exec(t, "create table once (tenant_id uuid, n int, constraint once_n unique (n) deferrable initially deferred); grant all on once to public")
	forKinds(t, f, func(t *testing.T, kind pgtest.Kind, url string) {
		db := openSQL(t, url)
		ctx := as(t, 0)
		f.exec(t, "truncate once")
		if kind == pgtest.PgBouncer118Statement {
			_, err := db.BeginTx(ctx, nil)
			wantKind(t, "begin", err, poolproof.ErrStatementMode)
			if !strings.Contains(fmt.Sprint(err), "statement mode") {
				t.Errorf("the mode is not named: %v", err)
			}
			return
		}
		begin := func() *sql.Tx {
			t.Helper()
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			return tx
		}
		do := func(tx *sql.Tx, sql string, args ...any) {
			t.Helper()
			if _, err := tx.ExecContext(ctx, sql, args...); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		count := func() int { return f.count(t, "select count(*) from once") }

		tx := begin()
		do(tx, "insert into once values ($1, 1)", tenant(0))
		if n := count(); n != 0 {
			t.Errorf("%d rows are seen before commit", n)
		}
		do(tx, "savepoint sp1")
		do(tx, "insert into once values ($1, 2)", tenant(0))
		do(tx, "rollback to savepoint sp1")
		for _, wrong := range []string{"selec", "select 1/0"} {
			if _, err := tx.QueryContext(ctx, wrong); err == nil { //nolint:rowserrcheck // there are none
				t.Errorf("%s: no error", wrong)
			}
			do(tx, "rollback to savepoint sp1")
		}
		if err := tx.Commit(); err != nil || count() != 1 {
			t.Errorf("commit: %v, %d rows", err, count())
		}
		if err := tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("rollback after commit: %v", err)
		}

		tx = begin()
		do(tx, "insert into once values ($1, 3)", tenant(0))
		if err := tx.Rollback(); err != nil || count() != 1 {
			t.Errorf("rollback: %v, %d rows", err, count())
		}

		tx = begin()
		do(tx, "insert into once values ($1, 1)", tenant(0))
		err := tx.Commit()
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "23505" || count() != 1 {
			t.Errorf("a deferred constraint at commit: %v, %d rows", err, count())
		}
		_, err = db.ExecContext(ctx, "insert into once values ($1, 1)", tenant(0))
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "23505" || count() != 1 {
			t.Errorf("a deferred constraint outside: %v, %d rows", err, count())
		}

		tx = begin()
		do(tx, "insert into once values ($1, 4)", tenant(0))
		if _, err := tx.ExecContext(ctx, "insert into once values ($1, 1/0)", tenant(0)); err == nil {
			t.Error("no error")
		}
		if err := tx.Commit(); !errors.Is(err, pgx.ErrTxCommitRollback) || count() != 1 {
			t.Errorf("commit after a failed statement: %v, %d rows", err, count())
		}

		tx = begin()
		do(tx, "insert into once values ($1, 5)", tenant(0))
		for _, refused := range []string{"commit", "rollback", "begin", "set app.current_tenant_id = 'x'"} {
			_, err := tx.ExecContext(ctx, refused)
			wantKind(t, refused, err, poolproof.ErrStatementRefused)
		}
		if err := tx.Rollback(); err != nil || count() != 1 {
			t.Errorf("rollback: %v, %d rows", err, count())
		}
	})
}

// TestSQLTransactionKeepsItsTenant: a context of somebody else is refused, sends
// nothing and leaves the transaction as it was.
func TestSQLTransactionKeepsItsTenant(t *testing.T) {
	f := newFixture(t, 2)
	url, syncs := pgtest.CountSyncs(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction))
	db := openSQL(t, url, func(c *poolproof.Config) { c.Settings = []string{"app.region"} })
	own := poolproof.WithSetting(poolproof.WithUser(as(t, 0), "u"), "app.region", "eu")
	tx, err := db.BeginTx(own, nil)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func() {
		t.Helper()
		before := syncs()
		for name, ctx := range map[string]context.Context{
			"other tenant":  poolproof.WithTenant(own, tenant(1)),
			"no tenant":     poolproof.WithShared(own),
			"other user":    poolproof.WithUser(own, "v"),
			"no user":       poolproof.WithUser(own, ""),
			"other setting": poolproof.WithSetting(own, "app.region", "us"),
		} {
			_, err := tx.ExecContext(ctx, "delete from documents")
			wantKind(t, name, err, poolproof.ErrOtherTenant)
			var n int
			wantKind(t, name, tx.QueryRowContext(ctx, "select 1").Scan(&n), poolproof.ErrOtherTenant)
		}
		_, err := tx.ExecContext(poolproof.WithTenant(own, ""), "delete from documents")
		wantKind(t, "empty tenant", err, poolproof.ErrNoTenant)
		if n := syncs() - before; n != 0 {
			t.Errorf("%d round trips for refused statements", n)
		}
	}
	refuse() // before anything was sent
	for name, ctx := range map[string]context.Context{
		"its own": own, "one that names nothing": t.Context(), "tenant only": as(t, 0),
		"the setting, after another": poolproof.WithSetting(poolproof.WithSetting(own, "app.region", "us"), "app.region", "eu"),
	} {
		var who string
		if err := tx.QueryRowContext(ctx, "select current_setting('app.current_tenant_id') || current_setting('app.current_user_id')").Scan(&who); err != nil || who != tenant(0)+"u" {
			t.Errorf("%s: %q, %v", name, who, err)
		}
	}
	if _, err := tx.Exec("delete from documents"); err != nil {
		t.Errorf("the form without a context: %v", err)
	}
	refuse()
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if n := f.count(t, "select count(*) from documents"); n != 20 {
		t.Errorf("%d rows instead of 20", n)
	}

	shared, err := db.BeginTx(poolproof.WithShared(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = shared.ExecContext(as(t, 0), "select 1")
	wantKind(t, "a tenant in a transaction without one", err, poolproof.ErrOtherTenant)
	if n := sqlCount(t.Context(), t, shared, "select count(*) from documents"); n != 0 {
		t.Errorf("a transaction without a tenant sees %d documents", n)
	}
	if err := shared.Commit(); err != nil {
		t.Error(err)
	}
}

// TestSQLTxOptions: isolation and read only are PostgreSQL's, in every mode of
// sending, and end with the transaction.
func TestSQLTxOptions(t *testing.T) {
	f := newFixture(t, 1)
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheStatement} {
		t.Run(string(m), func(t *testing.T) {
			kind := pgtest.PgBouncer124Transaction
			db := openSQL(t, pgtest.Pooled(t, f.url, kind), mode(m))
			ctx := as(t, 0)
			for level, want := range map[sql.IsolationLevel]string{
				sql.LevelDefault: "read committed", sql.LevelReadUncommitted: "read uncommitted", sql.LevelReadCommitted: "read committed",
				sql.LevelRepeatableRead: "repeatable read", sql.LevelSnapshot: "repeatable read", sql.LevelSerializable: "serializable",
			} {
				for _, readOnly := range []bool{false, true} {
					tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level, ReadOnly: readOnly})
					if err != nil {
						t.Fatal(err)
					}
					var got string
					if err := tx.QueryRowContext(ctx, "show transaction_isolation").Scan(&got); err != nil || got != want {
						t.Errorf("%s: %q, %v", level, got, err)
					}
					_, err = tx.ExecContext(ctx, "update documents set body = body")
					if pgErr, ok := errors.AsType[*pgconn.PgError](err); readOnly != (ok && pgErr.Code == "25006") || !readOnly && err != nil {
						t.Errorf("%s, read only %v: %v", level, readOnly, err)
					}
					if err := tx.Rollback(); err != nil {
						t.Error(err)
					}
				}
			}
			if _, err := db.ExecContext(ctx, "update documents set body = body"); err != nil {
				t.Errorf("after read-only transactions: %v", err)
			}
			for _, level := range []sql.IsolationLevel{sql.LevelLinearizable, sql.LevelWriteCommitted} {
				_, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
				wantKind(t, level.String(), err, poolproof.ErrConfig)
			}
		})
	}
}

// TestSQLOpenRowsInTransaction: the next statement is refused while rows are
// open, and nothing gets mixed up.
func TestSQLOpenRowsInTransaction(t *testing.T) {
	f := newFixture(t, 1)
	db := openSQL(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction))
	ctx := as(t, 0)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := tx.QueryContext(ctx, "select id from documents")
	if err != nil || !rows.Next() {
		t.Fatal("no row:", err)
	}
	_, err = tx.ExecContext(ctx, "delete from documents")
	wantKind(t, "a statement while rows are open", err, poolproof.ErrTxInUse)
	n := 1
	for rows.Next() {
		n++
	}
	if rows.Err() != nil || n != 10 {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
	if _, err := tx.ExecContext(ctx, "selec"); err == nil {
		t.Error("no error")
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	// Rows left open at the end are closed by it, and a failed query leaves none open.
	if tx, err = db.BeginTx(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if rows, err = tx.QueryContext(ctx, "select id from documents"); err != nil || !rows.Next() {
		t.Fatal("no row:", err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if rows.Next() {
		t.Error("a row after the end")
	}
}

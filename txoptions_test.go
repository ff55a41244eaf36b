package poolproof_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestInTxOptions(t *testing.T) {
	f := newFixture(t, 2)
	url, syncs := pgtest.CountSyncs(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction))
	s := open(t, url).Tenant(tenant(0))
	for _, c := range []struct {
		opts pgx.TxOptions
		want string
	}{
		{pgx.TxOptions{}, "read committed/off/off"},
		{pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable}, "serializable/on/on"},
		{pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadWrite, DeferrableMode: pgx.NotDeferrable}, "repeatable read/off/off"},
		{pgx.TxOptions{IsoLevel: pgx.ReadUncommitted}, "read uncommitted/off/off"},
		{pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly}, "read committed/on/off"},
	} {
		var got string
		var n int
		before := syncs()
		err := s.InTxOptions(t.Context(), c.opts, func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `select concat_ws('/', current_setting('transaction_isolation'), current_setting('transaction_read_only'),
				current_setting('transaction_deferrable')), (select count(*) from documents)`).Scan(&got, &n)
		})
		if err != nil || got != c.want || n != 10 {
			t.Errorf("%+v: %q with %d rows, %v", c.opts, got, n, err)
		}
		if trips := syncs() - before; trips != 2 {
			t.Errorf("%+v: %d round trips", c.opts, trips)
		}
	}
	err := s.InTxOptions(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "delete from documents")
		return err
	})
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "25006" || f.count(t, "select count(*) from documents") != 20 {
		t.Errorf("a write in a transaction that only reads: %v", err)
	}
	err = s.InTx(t.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "set transaction isolation level serializable")
		return err
	})
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "25001" {
		t.Errorf("a level after the scope's query: %v", err)
	}
	before := syncs()
	for _, opts := range []pgx.TxOptions{
		{IsoLevel: "serializable; drop table documents"}, {AccessMode: "read only; commit"}, {DeferrableMode: "x"}, {IsoLevel: "SERIALIZABLE"},
		{BeginQuery: "begin; set role postgres"}, {CommitQuery: "rollback"},
	} {
		err := s.InTxOptions(t.Context(), opts, func(pgx.Tx) error { t.Errorf("%+v: fn was called", opts); return nil })
		if !errors.Is(err, poolproof.ErrConfig) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
	if n := syncs() - before; n != 0 {
		t.Errorf("%d round trips for what is refused", n)
	}
	statementMode := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Statement)).Tenant(tenant(0))
	if err := statementMode.InTxOptions(t.Context(), pgx.TxOptions{IsoLevel: pgx.Serializable}, func(pgx.Tx) error { return nil }); !errors.Is(err, poolproof.ErrStatementMode) {
		t.Errorf("in statement mode: %v", err)
	}
}

// The connection of a transaction is handed out with its tenant, or not at all.
func TestConnOfATransaction(t *testing.T) {
	f := newFixture(t, 2)
	f.exec(t, "create type mood as enum ('happy', 'sad')")
	db := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction), func(c *poolproof.Config) { c.MaxConns = 1 })
	s, ctx := db.Tenant(tenant(0)), t.Context()
	stop := pgtest.Hostile(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction), tenant(1))
	defer stop()
	const sees = "select current_setting('app.current_tenant_id'), count(*) from documents"
	err := s.InTx(ctx, func(tx pgx.Tx) error {
		conn := tx.Conn()
		if conn == nil || conn.PgConn().TxStatus() != 'T' {
			t.Fatalf("before the first statement: %v", conn)
		}
		types, err := conn.LoadTypes(ctx, []string{"mood", "_mood"})
		if err != nil || len(types) == 0 {
			t.Errorf("LoadTypes: %d, %v", len(types), err)
		}
		var id string
		var n int
		if err := conn.QueryRow(ctx, sees).Scan(&id, &n); err != nil || id != tenant(0) || n != 10 {
			t.Errorf("pgx's own query: tenant %s, %d rows, %v", id, n, err)
		}
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"}, pgx.CopyFromRows([][]any{{tenant(1), "smuggled"}})); err == nil {
			t.Error("COPY into a table with row-level security")
		}
		return errors.New("rolled back")
	})
	if err == nil || err.Error() != "rolled back" {
		t.Error(err)
	}
	// Ended behind our back.
	for _, sql := range []string{"commit", "rollback"} {
		for _, more := range []bool{true, false} {
			err := s.InTx(ctx, func(tx pgx.Tx) error {
				if _, err := tx.Conn().Exec(ctx, sql); err != nil {
					return err
				}
				if !more {
					return nil
				}
				var id string
				var n int
				err := tx.QueryRow(ctx, sees).Scan(&id, &n)
				if err == nil {
					t.Errorf("after %s a statement ran as %s and saw %d rows", sql, id, n)
				}
				return nil
			})
			if !errors.Is(err, poolproof.ErrStatementRefused) {
				t.Errorf("%s on the connection: %v", sql, err)
			}
		}
	}
	// No connection where there is no tenant.
	done, cancel := context.WithCancel(ctx)
	cancel()
	err = s.InTx(done, func(tx pgx.Tx) error {
		if tx.Conn() != nil {
			t.Error("a connection, though nothing could be sent")
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
	denied := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction), func(c *poolproof.Config) { c.Role = "no_such_role" }).Tenant(tenant(0))
	err = denied.InTx(ctx, func(tx pgx.Tx) error {
		if tx.Conn() != nil {
			t.Error("a connection without its tenant")
		}
		if _, err := tx.Exec(ctx, "select 1"); err == nil {
			t.Error("a statement without its tenant")
		}
		return nil
	})
	if !errors.Is(err, poolproof.ErrTenantNotSet) {
		t.Errorf("a tenant that cannot be set: %v", err)
	}
	if n := f.count(t, "select count(*) from documents where body = 'smuggled'"); n != 0 {
		t.Errorf("%d smuggled rows", n)
	}
	if n := db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are lost", n)
	}
}

package poolproof_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// panicking is an argument whose own code panics while it is encoded.
type panicking struct{}

func (panicking) Value() (driver.Value, error) { panic("an argument panicked") }

// Whatever a caller's code does while a connection is out, the connection
// comes back.
func TestNothingLeaksAConnection(t *testing.T) { forForms(t, testNothingLeaksAConnection) }

func testNothingLeaksAConnection(t *testing.T, form option) {
	f := newFixture(t, 1)
	db := open(t, f.url, form, func(c *poolproof.Config) { c.MaxConns = 1 })
	s, ctx := db.Tenant(tenant(0)), t.Context()
	misuses := map[string]func(){
		"an argument that panics": func() { _, _ = s.Exec(ctx, "select $1::text", panicking{}) },
		"too few result formats": func() {
			rows, _ := s.Query(ctx, "select 1, 2, 3", pgx.QueryResultFormats{1, 1})
			rows.Close()
		},
		"a batch's callback that panics": func() {
			b := &pgx.Batch{}
			b.Queue("select 1").Query(func(pgx.Rows) error { panic("a callback panicked") })
			_ = s.SendBatch(ctx, b).Close()
		},
		"a transaction that panics": func() {
			_ = s.InTx(ctx, func(tx pgx.Tx) error {
				_, _ = tx.Exec(ctx, "delete from documents")
				panic("fn panicked")
			})
		},
		"a transaction whose goroutine exits": func() {
			_ = s.InTx(ctx, func(tx pgx.Tx) error {
				_, _ = tx.Exec(ctx, "delete from documents")
				runtime.Goexit()
				return nil
			})
		},
		"a source of rows that panics": func() {
			_, err := s.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"},
				pgx.CopyFromFunc(func() ([]any, error) { panic("a source panicked") }))
			if err == nil || errors.Is(err, poolproof.ErrTenantNotSet) {
				t.Errorf("a source of rows that panics: %v", err)
			}
		},
		"a row that is nil": func() {
			n, err := s.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"},
				pgx.CopyFromRows([][]any{{tenant(0), "a"}, nil, {tenant(0), "c"}}))
			if err == nil {
				t.Errorf("%d rows of three, one of them nil, were copied without an error", n)
			}
		},
	}
	for name, misuse := range misuses {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = recover() }() // the panic is the caller's to see
			misuse()
		}()
		<-done
		waitFor(t, name+": the connection is back", func() bool { return db.Stat().AcquiredConns() == 0 })
		var n int
		if err := s.QueryRow(ctx, "select count(*) from documents").Scan(&n); err != nil || n != 10 {
			t.Errorf("after %s: %d rows, %v", name, n, err)
		}
	}
}

// A type that changes between two uses of a statement is answered by its value or
// an error, on other connections and through cursors, too.
func TestTypesThatChangeElsewhere(t *testing.T) { forForms(t, testTypesThatChangeElsewhere) }

func testTypesThatChangeElsewhere(t *testing.T, form option) {
	f := newFixture(t, 1)
	f.exec(t, "create table changing (n int4); insert into changing values (1); grant select on changing to "+loginOf(t, f.url))
	db := open(t, f.url, form, mode(poolproof.ModeCacheStatement))
	s, ctx := db.Tenant(tenant(0)), t.Context()
	var n int
	if err := s.QueryRow(ctx, "select n from changing").Scan(&n); err != nil {
		t.Fatal(err)
	}
	f.exec(t, "alter table changing alter n type float4")
	busy, err := s.Query(ctx, "select 1") // so that another connection is used
	if err != nil {
		t.Fatal(err)
	}
	if err := s.QueryRow(ctx, "select n from changing").Scan(&n); err == nil && n != 1 {
		t.Errorf("another connection reads %d", n)
	}
	busy.Close()
	for _, typ := range []string{"int4", "float4"} {
		err := s.InTx(ctx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "declare c cursor for select 1::"+typ); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "fetch all from c").Scan(&n)
		})
		if err == nil && n != 1 {
			t.Errorf("a cursor over %s gives %d", typ, n)
		}
	}
}

// What would let the next client of a server connection read a tenant's rows
// or settings is refused, in a scope and in a transaction.
func TestRowsAreNotLeftBehind(t *testing.T) { forForms(t, testRowsAreNotLeftBehind) }

func testRowsAreNotLeftBehind(t *testing.T, form option) {
	f := newFixture(t, 1)
	s := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction), form).Tenant(tenant(0))
	for _, sql := range []string{
		"declare c cursor with hold for select body from documents", "declare c insensitive scroll cursor\nwith /* */ hold for select 1",
		"create temp table stolen as select body from documents", "create local temporary table x ()", "create or replace temp view v as select 1",
		"set local.foo = 'x'", "set local . foo = 'x'", "set transaction.foo = 'x'", "set constraints$.foo = 'x'", "set local1.foo = 'x'", "set localé.foo = 'x'",
		"execute anything",
	} {
		if _, err := s.Exec(t.Context(), sql); !errors.Is(err, poolproof.ErrStatementRefused) {
			t.Errorf("%q: %v", sql, err)
		}
		err := s.InTx(t.Context(), func(tx pgx.Tx) error { _, err := tx.Exec(t.Context(), sql); return err })
		if !errors.Is(err, poolproof.ErrStatementRefused) {
			t.Errorf("%q in a transaction: %v", sql, err)
		}
	}
}

// A nested transaction whose context is done is rolled back all the same.
func TestNestedRollbackWithADoneContext(t *testing.T) {
	f := newFixture(t, 1)
	s := open(t, f.url).Tenant(tenant(0))
	err := s.InTx(t.Context(), func(tx pgx.Tx) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		nested, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := nested.Exec(ctx, "insert into documents (tenant_id, body) values ($1, 'undone')", tenant(0)); err != nil {
			return err
		}
		cancel()
		return nested.Rollback(ctx)
	})
	if n := f.count(t, "select count(*) from documents where body = 'undone'"); err != nil || n != 0 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// With Config.Role names are resolved as the role, while a statement is
// described, too.
func TestRoleResolvesNames(t *testing.T) {
	f := newFixture(t, 1)
	login := loginOf(t, f.url)
	role := login + "_role"
	f.exec(t, "create role "+role+" nologin; alter role "+login+" noinherit; grant "+role+" to "+login+
		"; create schema hidden; create table hidden.t (n int); grant usage on schema hidden to "+role+"; grant select on hidden.t to "+role)
	t.Cleanup(func() { f.exec(t, "drop owned by "+role+"; drop role "+role) })
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
		s := open(t, f.url, mode(m), func(c *poolproof.Config) { c.Role = role }).Tenant(tenant(0))
		if _, err := s.Exec(t.Context(), "select n from hidden.t"); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
}

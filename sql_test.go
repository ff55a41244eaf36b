package poolproof_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// openSQL opens the library behind database/sql.
func openSQL(t testing.TB, url string, options ...option) *sql.DB {
	t.Helper()
	db := sql.OpenDB(poolproof.Connector(open(t, url, options...)))
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// as is a context of tenant n.
func as(t testing.TB, n int) context.Context { return poolproof.WithTenant(t.Context(), tenant(n)) }

func sqlCount(ctx context.Context, t testing.TB, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, sql string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRowContext(ctx, sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// forKinds runs a test through every way to the database.
func forKinds(t *testing.T, f *fixture, test func(t *testing.T, kind pgtest.Kind, url string)) {
	for _, kind := range pgtest.Kinds {
		t.Run(kind.String(), func(t *testing.T) { test(t, kind, pgtest.Pooled(t, f.url, kind)) })
	}
}

// TestSQLTenantsAreIsolated has tenants share one *sql.DB and one prepared
// statement, beside a client that leaves another tenant's id on the server
// connections and a bystander that looks for ids that we left there.
func TestSQLTenantsAreIsolated(t *testing.T) { forForms(t, testSQLTenantsAreIsolated) }

func testSQLTenantsAreIsolated(t *testing.T, form option) {
	f := newFixture(t, 8)
	f.exec(t, "insert into documents (tenant_id, body) select '"+victim+"', 'of tenant "+victim+"' from generate_series(1, 100)")
	forKinds(t, f, func(t *testing.T, kind pgtest.Kind, url string) {
		db := openSQL(t, url, form)
		ctx, stop := t.Context(), pgtest.Hostile(t, url, victim)
		prepared, err := db.PrepareContext(ctx, "select body from documents where id > $1")
		if err != nil {
			t.Fatal(err)
		}
		var workers sync.WaitGroup
		for i := range 8 {
			workers.Go(func() {
				w := sqlWorker{db: db, prepared: prepared, tenant: tenant(i), transactions: kind != pgtest.PgBouncer118Statement}
				for range 15 {
					if err := w.round(poolproof.WithTenant(ctx, w.tenant)); err != nil {
						t.Errorf("tenant %d: %v", i, err)
						return
					}
				}
			})
		}
		workers.Wait()
		stop()
		if n := f.count(t, "select count(*) from documents where tenant_id <> $1", victim); n != 80 {
			t.Errorf("%d rows instead of 80", n)
		}
		if n := f.count(t, "select count(*) from documents where tenant_id = $1 and body = 'of tenant ' || $1", victim); n != 100 {
			t.Errorf("the victim has %d rows instead of 100", n)
		}
	})
}

type sqlWorker struct {
	db           *sql.DB
	prepared     *sql.Stmt
	tenant       string
	transactions bool
}

func (w sqlWorker) round(ctx context.Context) error {
	rows, err := w.prepared.QueryContext(ctx, 0)
	if err != nil {
		return fmt.Errorf("prepared: %w", err)
	}
	if err := w.ownRows(rows); err != nil {
		return fmt.Errorf("prepared: %w", err)
	}
	var id int64
	if err := w.db.QueryRowContext(ctx, "insert into documents (tenant_id, body) values ($1, 'of tenant ' || $1::uuid) returning id", w.tenant).Scan(&id); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	result, err := w.db.ExecContext(ctx, "delete from documents where id = $1 or tenant_id = $2", id, victim)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if n, err := result.RowsAffected(); n != 1 || err != nil {
		return fmt.Errorf("delete: %d rows, %w", n, err)
	}
	if _, err := w.db.ExecContext(ctx, "insert into documents (tenant_id, body) values ($1, 'smuggled')", victim); err == nil || !strings.Contains(err.Error(), "row-level security") {
		return fmt.Errorf("a row for another tenant: %w", err)
	}
	if !w.transactions {
		return nil
	}
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if rows, err = tx.StmtContext(ctx, w.prepared).QueryContext(ctx, 0); err == nil {
		err = w.ownRows(rows)
	}
	return errors.Join(err, tx.Commit())
}

func (w sqlWorker) ownRows(rows *sql.Rows) error {
	n := 0
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			return err
		}
		if body != "of tenant "+w.tenant {
			return fmt.Errorf("FOREIGN ROW: %q", body)
		}
		n++
	}
	if n != 10 && rows.Err() == nil {
		return fmt.Errorf("%d rows instead of 10", n)
	}
	return errors.Join(rows.Err(), rows.Close())
}

// TestSQLNeedsATenant: what names no tenant sends nothing, in whatever form.
func TestSQLNeedsATenant(t *testing.T) {
	f := newFixture(t, 1)
	url, messages := pgtest.CountMessages(t, f.url)
	db := openSQL(t, url)
	sent := func() int { return messages('P') + messages('B') + messages('Q') + messages('S') }
	prepared, err := db.Prepare("select count(*) from documents")
	if err != nil {
		t.Fatal(err)
	}
	before := sent()
	var n int
	for name, ctx := range map[string]context.Context{
		"bare": t.Context(), "user only": poolproof.WithUser(t.Context(), tenant(1)), "empty": poolproof.WithTenant(t.Context(), ""),
	} {
		_, execErr := db.ExecContext(ctx, "delete from documents")
		_, beginErr := db.BeginTx(ctx, nil)
		_, queryErr := db.QueryContext(ctx, "select body from documents") //nolint:rowserrcheck // there are none
		for call, err := range map[string]error{
			"exec": execErr, "begin": beginErr, "query": queryErr, "prepared": prepared.QueryRowContext(ctx).Scan(&n),
			"query row": db.QueryRowContext(ctx, "select count(*) from documents").Scan(&n),
		} {
			wantKind(t, name+": "+call, err, poolproof.ErrNoTenant)
		}
	}
	_, err = db.Exec("delete from documents")
	wantKind(t, "the form without a context", err, poolproof.ErrNoTenant)
	_, err = db.Begin()
	wantKind(t, "begin without a context", err, poolproof.ErrNoTenant)
	if n := sent() - before; n != 0 {
		t.Errorf("%d messages were sent", n)
	}
	// The counter counts, and what names a tenant does work; a ping needs none.
	if n := sqlCount(as(t, 0), t, db, "select count(*) from documents"); n != 10 {
		t.Errorf("%d rows", n)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	if sent() == before {
		t.Error("the counter counts nothing")
	}
}

func wantKind(t testing.TB, what string, err error, kind poolproof.Kind) {
	t.Helper()
	e, ok := errors.AsType[*poolproof.Error](err)
	if !ok || e.Kind != kind {
		t.Errorf("%s: %v, wanted kind %q", what, err, kind)
		return
	}
	if e.Hint == "" {
		t.Errorf("%s: no hint: %v", what, err)
	}
}

// TestSQLScopeFromContext: user and further settings arrive, none when none is
// named, and WithShared is no tenant.
func TestSQLScopeFromContext(t *testing.T) { forForms(t, testSQLScopeFromContext) }

func testSQLScopeFromContext(t *testing.T, form option) {
	f := newFixture(t, 2)
	forKinds(t, f, func(t *testing.T, _ pgtest.Kind, url string) {
		db := openSQL(t, url, form, func(c *poolproof.Config) { c.Settings = []string{"app.region", "app.plan"} })
		settings := func(ctx context.Context) (s string) {
			t.Helper()
			err := db.QueryRowContext(ctx, "select concat_ws('/', current_setting('app.current_tenant_id'), current_setting('app.current_user_id'), current_setting('app.region'), current_setting('app.plan'))").Scan(&s)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		user := poolproof.WithSetting(poolproof.WithUser(t.Context(), "u"), "app.region", "eu")
		for _, c := range []struct {
			ctx  context.Context
			want string
		}{
			{poolproof.WithTenant(user, tenant(0)), tenant(0) + "/u/eu/"},
			{poolproof.WithSetting(poolproof.WithTenant(user, tenant(0)), "app.plan", "free"), tenant(0) + "/u/eu/free"},
			{as(t, 0), tenant(0) + "///"},
			{poolproof.WithTenant(poolproof.WithTenant(user, tenant(0)), tenant(1)), tenant(1) + "/u/eu/"},
			{poolproof.WithShared(as(t, 0)), "///"},
			{poolproof.WithTenant(poolproof.WithShared(t.Context()), tenant(0)), tenant(0) + "///"},
			{poolproof.WithUser(poolproof.WithTenant(user, tenant(0)), ""), tenant(0) + "//eu/"},
			{poolproof.WithSetting(poolproof.WithTenant(user, tenant(0)), "app.region", "us"), tenant(0) + "/u/us/"},
		} {
			if got := settings(c.ctx); got != c.want {
				t.Errorf("the scope is %q instead of %q", got, c.want)
			}
		}
		if n := sqlCount(poolproof.WithShared(as(t, 0)), t, db, "select count(*) from documents"); n != 0 {
			t.Errorf("without a tenant %d documents are seen", n)
		}
		_, err := db.ExecContext(poolproof.WithSetting(as(t, 0), "app.unknown", "x"), "select 1")
		wantKind(t, "unknown setting", err, poolproof.ErrConfig)
	})
}

// TestSQLRoundTrips: one Sync for a statement, and n+1 for a transaction of n.
func TestSQLRoundTrips(t *testing.T) { forForms(t, testSQLRoundTrips) }

func testSQLRoundTrips(t *testing.T, form option) {
	f := newFixture(t, 1)
	url, syncs := pgtest.CountSyncs(t, f.url)
	db := openSQL(t, url, form, mode(poolproof.ModeExec))
	ctx := as(t, 0)
	sqlCount(ctx, t, db, "select count(*) from documents") // connects
	costs := func(what string, want int, do func() error) {
		t.Helper()
		before := syncs()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := syncs() - before; got != want {
			t.Errorf("%s: %d round trips instead of %d", what, got, want)
		}
	}
	costs("query", 1, func() error { var n int; return db.QueryRowContext(ctx, "select count(*) from documents").Scan(&n) })
	costs("exec", 1, func() error { _, err := db.ExecContext(ctx, "update documents set body = body"); return err })
	costs("prepare and run", 1, func() error {
		stmt, err := db.PrepareContext(ctx, "update documents set body = body where id = $1")
		if err != nil {
			return err
		}
		_, err = stmt.ExecContext(ctx, 1)
		return errors.Join(err, stmt.Close())
	})
	transaction := func(n int) func() error {
		return func() error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			for range n {
				if _, err := tx.ExecContext(ctx, "update documents set body = body"); err != nil {
					return err
				}
			}
			return tx.Commit()
		}
	}
	costs("empty transaction", 0, transaction(0))
	costs("transaction of three", 4, transaction(3))
}

// TestSQLCancel: a cancelled statement, and a transaction whose context is
// cancelled, leave a pool of one that works, and nothing behind.
func TestSQLCancel(t *testing.T) {
	f := newFixture(t, 1)
	forKinds(t, f, func(t *testing.T, kind pgtest.Kind, url string) {
		db := openSQL(t, url, func(c *poolproof.Config) { c.MaxConns = 1 })
		ctx, cancel := context.WithCancel(as(t, 0))
		sleeping := func() bool {
			return f.count(t, "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' and pid <> pg_backend_pid()") > 0
		}
		done := make(chan error, 1)
		go func() { _, err := db.ExecContext(ctx, "select pg_sleep(60)"); done <- err }()
		waitFor(t, "the statement runs", sleeping)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("cancelled: %v", err)
		}
		if n := sqlCount(as(t, 0), t, db, "select count(*) from documents"); n != 10 {
			t.Errorf("%d rows", n)
		}
		waitFor(t, "the server has stopped", func() bool { return !sleeping() })
		if kind == pgtest.PgBouncer118Statement {
			return
		}
		ctx, cancel = context.WithCancel(as(t, 0))
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, "delete from documents"); err != nil {
			t.Fatal(err)
		}
		cancel() // database/sql rolls back
		if n := sqlCount(as(t, 0), t, db, "select count(*) from documents"); n != 10 {
			t.Errorf("%d rows after the cancelled transaction", n)
		}
		if err := tx.Commit(); err == nil {
			t.Error("a cancelled transaction was committed")
		}
	})
}

// TestSQLNothingIsRepeated: a statement whose connection breaks runs once, and
// the error says that it is unavailable.
func TestSQLNothingIsRepeated(t *testing.T) { forForms(t, testSQLNothingIsRepeated) }

func testSQLNothingIsRepeated(t *testing.T, form option) {
	f := newFixture(t, 1)
	f.exec(t, "create sequence runs; grant usage on sequence runs to public")
	db := openSQL(t, f.url, form)
	die := "select nextval('runs'), pg_terminate_backend(pg_backend_pid())"
	_, err := db.ExecContext(as(t, 0), die)
	wantKind(t, "exec", err, poolproof.ErrUnavailable)
	tx, err := db.BeginTx(as(t, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.ExecContext(as(t, 0), die)
	wantKind(t, "in a transaction", err, poolproof.ErrUnavailable)
	_, err = tx.ExecContext(as(t, 0), "select 1")
	wantKind(t, "the transaction's next statement", err, poolproof.ErrUnavailable)
	wantKind(t, "commit", tx.Commit(), poolproof.ErrUnavailable)
	rows, err := db.QueryContext(as(t, 0), "select nextval('runs') union all select pg_terminate_backend(pg_backend_pid())::int from generate_series(1, 100000)")
	if err == nil {
		for rows.Next() {
		}
		err = errors.Join(rows.Err(), rows.Close())
	}
	wantKind(t, "in the middle of rows", err, poolproof.ErrUnavailable)
	if n := f.count(t, "select last_value from runs"); n != 3 {
		t.Errorf("the statements ran %d times instead of 3", n)
	}
	if n := sqlCount(as(t, 0), t, db, "select count(*) from documents"); n != 10 {
		t.Errorf("%d rows", n)
	}
	_, err = poolproof.Connector(nil).Driver().Open("postgres://")
	wantKind(t, "open by name", err, poolproof.ErrConfig)
}

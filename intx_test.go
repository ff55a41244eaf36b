package poolproof_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// A transaction whose first statement does not get as far as being sent, and one
// whose results are held for too long: in each case another tenant's id stands
// on the only server connection, and neither is a row of that tenant seen or
// changed, nor is anything of the next user's lost.
func TestNothingRunsBeforeTheScope(t *testing.T) { forForms(t, testNothingRunsBeforeTheScope) }

// rewriter is an argument whose own code runs while a statement is made.
type rewriter func()

func (r rewriter) RewriteQuery(_ context.Context, _ *pgx.Conn, sql string, args []any) (string, []any, error) {
	r()
	return sql, args, nil
}

// valuer is an argument whose own code runs while it is encoded.
type valuer func()

func (v valuer) Value() (driver.Value, error) { v(); return "x", nil }

// recovered runs f and swallows its panic, as a careless program does.
func recovered(f func()) {
	defer func() { _ = recover() }()
	f()
}

func testNothingRunsBeforeTheScope(t *testing.T, form option) {
	f := newFixture(t, 2)
	url, _ := pgtest.PrivatePooler(t, f.url, pgtest.PgBouncer118Transaction, map[string]string{"default_pool_size": "1"})
	mine, theirs := tenant(0), tenant(1)
	look := "select coalesce(string_agg(distinct tenant_id::text, ','), 'none') from documents"
	const change = "update documents set body = 'overwritten'"
	failed := errors.New("fn failed")

	// A case returns what InTx returned. Nothing of it is stored.
	cases := map[string]struct {
		run  func(t *testing.T, ctx context.Context, s poolproof.Session) error
		want error // nil: any error will do; InTx must fail
	}{
		"an argument that panics": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				recovered(func() { _, _ = tx.Exec(ctx, "select $1::text", panicking{}) })
				wantEnded(t, tx, look)
				return nil
			})
		}, nil},
		"an argument that panics, then a write": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				recovered(func() { _, _ = tx.Exec(ctx, "select $1::text", panicking{}) })
				wantEnded(t, tx, change)
				return failed
			})
		}, failed},
		"a rewriter that panics": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				recovered(func() { _, _ = tx.Exec(ctx, change, rewriter(func() { panic("a rewriter panicked") })) })
				wantEnded(t, tx, change)
				return nil
			})
		}, nil},
		"an argument that cannot be encoded": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "select $1::text", make(chan int)); err == nil {
					t.Error("a channel was encoded")
				}
				wantEnded(t, tx, change)
				return nil
			})
		}, nil},
		"a batch with an argument that panics": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				b := &pgx.Batch{}
				b.Queue(change)
				b.Queue("select $1::text", panicking{})
				recovered(func() { _ = tx.SendBatch(ctx, b).Close() })
				wantEnded(t, tx, change)
				return nil
			})
		}, nil},
		"a source of rows that panics": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				recovered(func() {
					_, _ = tx.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"}, pgx.CopyFromFunc(func() ([]any, error) { panic("a source panicked") }))
				})
				wantEnded(t, tx, change)
				return nil
			})
		}, nil},
		"a statement that is refused": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "commit")
				wantKind(t, "commit", err, poolproof.ErrStatementRefused)
				wantEnded(t, tx, change)
				return nil
			})
		}, poolproof.ErrStatementRefused},
		"a context that is done": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				done, cancel := context.WithCancel(ctx)
				cancel()
				if _, err := tx.Exec(done, "select 1"); !errors.Is(err, context.Canceled) {
					t.Errorf("a statement with a context that is done: %v", err)
				}
				wantEnded(t, tx, change)
				return nil
			})
		}, context.Canceled},
		"a rewriter that uses the transaction": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "select 1", rewriter(func() { wantInUse(t, tx, change) }))
				return errors.Join(err, failed)
			})
		}, failed},
		"an argument that uses the transaction": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "select $1::text", valuer(func() {
					wantInUse(t, tx, change)
					wantKind(t, "a commit from within", tx.Commit(ctx), poolproof.ErrTxInUse)
				}))
				return errors.Join(err, failed)
			})
		}, failed},
		"two goroutines": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				began, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
				go func() {
					_, err := tx.Exec(ctx, "select $1::text", valuer(func() { close(began); <-goOn }))
					done <- err
				}()
				<-began
				wantInUse(t, tx, change)
				close(goOn)
				return errors.Join(<-done, failed)
			})
		}, failed},
		"a goroutine that outlives the transaction": {func(t *testing.T, ctx context.Context, s poolproof.Session) error {
			began, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
			err := s.InTx(ctx, func(tx pgx.Tx) error {
				go func() {
					_, err := tx.Exec(ctx, change+" where $1::text <> ''", valuer(func() { close(began); <-goOn }))
					done <- err
				}()
				<-began
				return nil
			})
			close(goOn)
			if late := <-done; !errors.Is(late, poolproof.ErrTxEnded) {
				t.Errorf("a statement that was made when the transaction had ended: %v", late)
			}
			return err
		}, poolproof.ErrTxInUse},
	}
	db := open(t, url, form, mode(poolproof.ModeExec), func(c *poolproof.Config) { c.MaxConns = 2 })
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			leave(t, url, theirs)
			if err := c.run(t, t.Context(), db.Tenant(mine)); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("InTx: %v, wanted %v", err, c.want)
			}
			whole(t, f, db, mine, theirs)
		})
	}
}

// leave is the other program: it leaves a tenant on the server connection.
func leave(t testing.TB, url, tenant string) {
	t.Helper()
	if err := tryLeave(t.Context(), url, tenant); err != nil {
		t.Fatal(err)
	}
}

func tryLeave(ctx context.Context, url, tenant string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.Background()) }()
	_, err = c.Exec(ctx, "set app.current_tenant_id = '"+tenant+"'", pgx.QueryExecModeSimpleProtocol)
	return err
}

func wantEnded(t *testing.T, tx pgx.Tx, sql string) {
	t.Helper()
	_, err := tx.Exec(t.Context(), sql)
	if !errors.Is(err, poolproof.ErrTxEnded) || !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("the next statement: %v", err)
	}
	if err := tx.Commit(t.Context()); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("its commit: %v", err)
	}
}

func wantInUse(t *testing.T, tx pgx.Tx, sql string) {
	t.Helper()
	_, err := tx.Exec(t.Context(), sql)
	wantKind(t, "a second statement at the same time", err, poolproof.ErrTxInUse)
}

// whole checks that nothing was changed, that no connection is lost, and that
// the other tenant's writes, told as stored, are there.
func whole(t *testing.T, f *fixture, db *poolproof.DB, mine, theirs string) {
	t.Helper()
	waitFor(t, "the connections are back", func() bool { return db.Stat().AcquiredConns() == 0 })
	if n := f.count(t, "select count(*) from documents where body = 'overwritten'"); n != 0 {
		t.Errorf("%d rows were overwritten", n)
	}
	ctx, s := t.Context(), db.Tenant(theirs)
	var told int
	for i := range 3 {
		body := fmt.Sprintf("%s %d", t.Name(), i)
		tag, err := s.Exec(ctx, "insert into documents (tenant_id, body) values ($1, $2)", theirs, body)
		if err != nil || tag.RowsAffected() != 1 {
			t.Errorf("another tenant's write afterwards: %s, %v", tag, err)
			continue
		}
		told++
	}
	if n := f.count(t, "select count(*) from documents where body like $1 and tenant_id = $2", t.Name()+" %", theirs); n != told {
		t.Errorf("%d of %d rows that were told as stored are there", n, told)
	}
	f.exec(t, "delete from documents where body like $1", t.Name()+" %")
	var n int
	if err := db.Tenant(mine).QueryRow(ctx, "select count(*) from documents where tenant_id = $1", mine).Scan(&n); err != nil || n != 10 {
		t.Errorf("%d own rows afterwards, %v", n, err)
	}
}

// Results that are kept past their transaction answer an error: neither another
// tenant's bytes, nor "no rows" for rows that are there.
func TestResultsKeptTooLong(t *testing.T) { forForms(t, testResultsKeptTooLong) }

func testResultsKeptTooLong(t *testing.T, form option) {
	f := newFixture(t, 2)
	url, _ := pgtest.PrivatePooler(t, f.url, pgtest.PgBouncer118Transaction, map[string]string{"default_pool_size": "1"})
	mine, theirs := tenant(0), tenant(1)
	const query = "select body from documents order by id"
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe} {
		db := open(t, url, form, mode(m), func(c *poolproof.Config) { c.MaxConns = 1 })
		for _, ending := range []error{nil, errors.New("fn failed")} {
			t.Run(fmt.Sprintf("%s/%v", m, ending), func(t *testing.T) {
				s, ctx := db.Tenant(mine), t.Context()
				// used has the other tenant use the connection whose buffer the kept results were read from.
				used := func() {
					rows, err := db.Tenant(theirs).Query(ctx, query)
					if err != nil {
						t.Fatal(err)
					}
					for rows.Next() {
					}
					if rows.Err() != nil {
						t.Fatal(rows.Err())
					}
				}
				inTx := func(fn func(tx pgx.Tx) error) {
					t.Helper()
					if err := s.InTx(ctx, func(tx pgx.Tx) error { return errors.Join(fn(tx), ending) }); !errors.Is(err, ending) {
						t.Errorf("InTx: %v", err)
					}
				}
				gone := func(what string, err error) {
					t.Helper()
					wantKind(t, what, err, poolproof.ErrTxEnded)
				}

				var rows pgx.Rows
				inTx(func(tx pgx.Tx) (err error) {
					if rows, err = tx.Query(ctx, query); err == nil && !rows.Next() {
						t.Error("no row:", rows.Err())
					}
					return err
				})
				used()
				var body string
				gone("Scan", rows.Scan(&body))
				if raw := rows.RawValues(); raw != nil || body != "" {
					t.Errorf("kept rows hold %q, %q", raw, body)
				}
				if _, err := rows.Values(); !errors.Is(err, poolproof.ErrTxEnded) {
					t.Errorf("Values: %v", err)
				}
				if rows.Next() {
					t.Error("a row past the end")
				}
				gone("Err", rows.Err())

				var raw [][]byte
				inTx(func(tx pgx.Tx) (err error) {
					if rows, err = tx.Query(ctx, query); err == nil && rows.Next() {
						raw = rows.RawValues()
					}
					return err
				})
				used()
				if len(raw) != 1 || string(raw[0]) != "of tenant "+mine {
					t.Errorf("bytes that were kept became %q", raw)
				}

				var row pgx.Row
				inTx(func(tx pgx.Tx) error { row = tx.QueryRow(ctx, query); return nil })
				used()
				gone("QueryRow's Scan", row.Scan(&body))

				var results pgx.BatchResults
				inTx(func(tx pgx.Tx) error {
					b := &pgx.Batch{}
					b.Queue(query)
					b.Queue(query)
					results = tx.SendBatch(ctx, b)
					return nil
				})
				used()
				gone("a batch's row", results.QueryRow().Scan(&body))
				if _, err := results.Exec(); err == nil {
					t.Error("a batch's second result was told")
				}
				if err := results.Close(); err == nil {
					t.Error("a batch that was never read ended well")
				}

				var nested pgx.Tx
				inTx(func(tx pgx.Tx) (err error) {
					if nested, err = tx.Begin(ctx); err != nil {
						return err
					}
					if err := nested.Commit(ctx); err != nil {
						return err
					}
					_, err = nested.Exec(ctx, query)
					gone("a nested transaction after its commit", err)
					return nil
				})
				_, err := nested.Exec(ctx, query)
				gone("a nested transaction after the end", err)

				// A session's own results, after they were closed.
				rows, err = s.Query(ctx, query)
				if err != nil || !rows.Next() {
					t.Fatal("no row:", err)
				}
				rows.Close()
				used()
				if err := rows.Scan(&body); err == nil {
					t.Errorf("closed rows scanned %q", body)
				}
				b := &pgx.Batch{}
				b.Queue(query)
				b.Queue("select 1")
				results = s.SendBatch(ctx, b)
				if rows, err = results.Query(); err != nil || !rows.Next() {
					t.Fatal("no row:", err)
				}
				if _, err := results.Exec(); err != nil {
					t.Error(err)
				}
				if rows.Next() || rows.Scan(&body) == nil {
					t.Errorf("a batch's result was read after the next one, %q", body)
				}
				if err := results.Close(); err != nil {
					t.Error(err)
				}
				used()
				if n := db.Stat().NewConnsCount(); n != 1 {
					t.Errorf("%d connections were made instead of 1", n)
				}
			})
		}
	}

	// database/sql keeps rows no longer than its transaction, and copies values.
	t.Run("database/sql", func(t *testing.T) {
		db := openSQL(t, url, form)
		db.SetMaxOpenConns(1)
		tx, err := db.BeginTx(as(t, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := tx.QueryContext(as(t, 0), query)
		if err != nil || !rows.Next() {
			t.Fatal("no row:", err)
		}
		var row, body string
		if err := rows.Scan(&row); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		if sqlCount(as(t, 1), t, db, "select count(*) from documents") != 10 || row != "of tenant "+mine {
			t.Errorf("read %q", row)
		}
		if err := rows.Scan(&body); err == nil {
			t.Errorf("rows of a transaction that has ended scanned %q", body)
		}
	})
}

// A scope whose Sync does not end its transaction was not its own transaction:
// whoever left one open on the server connection, nothing is told as stored, and
// the connection serves nobody again.
func TestScopeProvesItself(t *testing.T) { forForms(t, testScopeProvesItself) }

func testScopeProvesItself(t *testing.T, form option) {
	f := newFixture(t, 1)
	db := open(t, f.url, form, func(c *poolproof.Config) { c.MaxConns = 1; c.Mode = poolproof.ModeExec })
	s, ctx := db.Tenant(tenant(0)), t.Context()
	// Nobody behind a real pooler can leave one open, but whoever has the connection itself.
	leaveOpen := func() {
		t.Helper()
		rows, err := s.Query(ctx, "select 1")
		if err != nil {
			t.Fatal(err)
		}
		conn := rows.Conn()
		rows.Close()
		if err := conn.PgConn().Exec(ctx, "begin").Close(); err != nil {
			t.Fatal(err)
		}
	}
	const insert = "insert into documents (tenant_id, body) values ($1, 'told as stored')"
	statements := map[string]func() error{
		"Exec": func() error { _, err := s.Exec(ctx, insert, tenant(0)); return err },
		"QueryRow": func() error {
			var id int
			return s.QueryRow(ctx, insert+" returning id", tenant(0)).Scan(&id)
		},
		"SendBatch": func() error {
			b := &pgx.Batch{}
			b.Queue(insert, tenant(0))
			return s.SendBatch(ctx, b).Close()
		},
		"CopyFrom": func() error {
			n, err := s.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"}, pgx.CopyFromRows([][]any{{tenant(0), "told as stored"}}))
			if n != 0 {
				t.Errorf("%d rows were told as copied", n)
			}
			return err
		},
	}
	for name, statement := range statements {
		leaveOpen()
		wantKind(t, name, statement(), poolproof.ErrTxLeftOpen)
		waitFor(t, "the connection is given up", func() bool { return db.Stat().TotalConns() == 0 })
		if n := f.count(t, "select count(*) from documents where body = 'told as stored'"); n != 0 {
			t.Errorf("%s: %d rows are there after all", name, n)
		}
	}
	if _, err := s.Exec(ctx, insert, tenant(0)); err != nil {
		t.Errorf("the next connection: %v", err)
	}
}

package poolproof_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

// panickingHandler panics once with the first record after it was armed.
type panickingHandler struct {
	slog.Handler
	armed *atomic.Bool
}

func (h panickingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h panickingHandler) Handle(context.Context, slog.Record) error {
	if h.armed.CompareAndSwap(true, false) {
		panic("in a log handler")
	}
	return nil
}

// A log handler that panics in the middle of a statement loses no connection.
// What is logged here is that a prepared statement was lost.
func TestPanickingLoggerLosesNoConnection(t *testing.T) { forForms(t, testPanickingLogger) }

func testPanickingLogger(t *testing.T, form option) {
	f := newFixture(t, 1)
	const sql = "select body from documents"
	batch := func() *pgx.Batch {
		b := &pgx.Batch{}
		b.Queue("select 1")
		b.Queue(sql)
		return b
	}
	inTx := func(ctx context.Context, s poolproof.Session, fn func(tx pgx.Tx) error) error { return s.InTx(ctx, fn) }
	for way, run := range map[string]func(ctx context.Context, s poolproof.Session) error{
		"exec": func(ctx context.Context, s poolproof.Session) error { _, err := s.Exec(ctx, sql); return err },
		"rows": func(ctx context.Context, s poolproof.Session) error {
			rows, err := s.Query(ctx, sql)
			rows.Close()
			return err
		},
		"batch": func(ctx context.Context, s poolproof.Session) error { return s.SendBatch(ctx, batch()).Close() },
		"tx": func(ctx context.Context, s poolproof.Session) error {
			return inTx(ctx, s, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, sql); return err })
		},
		"tx batch": func(ctx context.Context, s poolproof.Session) error {
			return inTx(ctx, s, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch()).Close() })
		},
		"tx, recovered": func(ctx context.Context, s poolproof.Session) error {
			return inTx(ctx, s, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "select 1")
				recovered(func() { _, err = tx.Exec(ctx, sql) })
				return err
			})
		},
	} {
		armed := &atomic.Bool{}
		db := open(t, f.url, form, mode(poolproof.ModeCacheStatement), func(c *poolproof.Config) {
			c.MaxConns, c.Logger = 1, slog.New(panickingHandler{slog.DiscardHandler, armed})
		})
		s, ctx := db.Tenant(tenant(0)), t.Context()
		if err := run(ctx, s); err != nil {
			t.Fatal(err)
		}
		err := s.InTx(ctx, func(tx pgx.Tx) error { // the only connection loses the statement
			rows, err := tx.Conn().Query(ctx, "select name from pg_prepared_statements where statement = $1", pgx.QueryExecModeExec, sql)
			if err != nil {
				return err
			}
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			for _, name := range names {
				_, err = tx.Conn().Exec(ctx, "deallocate "+name, pgx.QueryExecModeSimpleProtocol)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		armed.Store(true)
		recovered(func() { _ = run(ctx, s) })
		if armed.Load() {
			t.Fatalf("%s: nothing was logged", way)
		}
		if n := db.Stat().AcquiredConns(); n != 0 {
			t.Errorf("%s: %d connections are lost", way, n)
			gone, cancel := context.WithCancel(ctx)
			cancel()
			_ = db.CloseContext(gone)
		} else if err := run(ctx, s); err != nil {
			t.Errorf("%s: afterwards: %v", way, err)
		}
	}
}

// The pool makes its connections in goroutines of its own. A function of Config's
// that panics there, or ends the goroutine, is an error of who waits for the
// connection, and the pool's place is free again.
func TestHooksThatDoNotReturn(t *testing.T) {
	f := newFixture(t, 1)
	for name, leave := range map[string]func(){"a panic": func() { panic("in a hook") }, "Goexit": runtime.Goexit} {
		var inHook, inDial atomic.Bool
		db := open(t, f.url, func(c *poolproof.Config) {
			c.MaxConns = 1
			c.AfterConnect = func(context.Context, *pgx.Conn) error {
				if inHook.Load() {
					leave()
				}
				return nil
			}
			c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if inDial.Load() {
					leave()
				}
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
		})
		s := db.Tenant(tenant(0))
		for where, on := range map[string]*atomic.Bool{"Config.AfterConnect": &inHook, "Config.DialFunc": &inDial} {
			_, _ = s.Exec(t.Context(), "select pg_terminate_backend(pg_backend_pid())")
			on.Store(true)
			for range 2 {
				if _, err := s.Exec(t.Context(), "select 1"); err == nil || !strings.Contains(fmt.Sprint(err), where) {
					t.Errorf("%s in %s: %v", name, where, err)
				}
			}
			on.Store(false)
			if _, err := s.Exec(t.Context(), "select 1"); err != nil {
				t.Errorf("after %s in %s: %v", name, where, err)
			}
		}
	}
}

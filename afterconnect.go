package poolproof

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// hookError is a failure of Config.AfterConnect.
type hookError struct{ cause error }

func (e *hookError) Error() string { return "Config.AfterConnect: " + e.cause.Error() }
func (e *hookError) Unwrap() error { return e.cause }

// bounded makes of Config.AfterConnect what the pool calls for a new connection:
// it ends in time, and leaves the connection outside of a transaction.
func bounded(hook func(context.Context, *pgx.Conn) error, timeout time.Duration) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		err := apart(func() error { return hook(ctx, conn) })
		if err == nil && conn.PgConn().TxStatus() != 'I' {
			err = errors.New("it left a transaction open")
		}
		if err != nil {
			return &hookError{err}
		}
		return nil
	}
}

// apart runs a function of Config's in a goroutine of its own and returns how it
// ended. The pool calls it where nobody could recover a panic, and where the end of
// the goroutine, as of t.Fatal, would cost the pool a place for good.
func apart(f func() error) error {
	ended := make(chan error, 1)
	go func() {
		err := errors.New("it ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("it panicked: %v", p)
			}
			ended <- err
		}()
		err = f()
	}()
	return <-ended
}

// dialApart is a DialFunc that runs apart.
func dialApart(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = apart(func() (err error) {
			conn, err = dial(ctx, network, addr)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("Config.DialFunc: %w", err)
		}
		return conn, nil
	}
}

// tryHook has Config.AfterConnect run once, so that Open says what is wrong with
// it.
func (db *DB) tryHook(ctx context.Context) error {
	if db.config.AfterConnect == nil {
		return nil
	}
	pc, conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	db.release(pc, conn)
	return nil
}

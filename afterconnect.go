package poolproof

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
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
		err := hook(ctx, conn)
		if err == nil && conn.PgConn().TxStatus() != 'I' {
			err = errors.New("it left a transaction open")
		}
		if err != nil {
			return &hookError{err}
		}
		return nil
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

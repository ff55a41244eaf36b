package doctor

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// reader asks read-only questions on one connection.
type reader struct {
	conn     *pgx.Conn
	role     string // to take on in each transaction, or ""
	implicit bool   // several statements before one Sync are a transaction
}

// ask runs a question in a transaction of its own: after the settings, which
// end with it, as the role that is to be looked at. PostgreSQL refuses it whatever would write. Questions
// name what is PostgreSQL's own without its schema, so the search_path is set.
func ask[T any](ctx context.Context, r *reader, settings map[string]string, limit time.Duration, row pgx.RowToFunc[T], sql string, args ...any) (found []T, err error) {
	b := &pgx.Batch{}
	if !r.implicit {
		b.Queue("begin")
	}
	b.Queue(`select set_config('search_path', 'pg_catalog, pg_temp', true), set_config('transaction_read_only', 'on', true),
		set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true)`, limit.String())
	if r.role != "" {
		b.Queue("select set_config('role', $1, true)", r.role)
	}
	for name, value := range settings {
		b.Queue("select set_config($1, $2, true)", name, value)
	}
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		found, err = pgx.CollectRows(rows, row)
		return err
	})
	if !r.implicit {
		b.Queue("rollback")
	}
	err = r.conn.SendBatch(ctx, b).Close()
	if err != nil && !r.implicit && !r.conn.IsClosed() {
		_, _ = r.conn.Exec(ctx, "rollback") // what failed is the answer; where there is no transaction this is a warning
	}
	return found, err
}

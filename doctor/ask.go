package doctor

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// reader asks read-only questions: on one connection, or through an open database.
type reader struct {
	send     func(context.Context, *pgx.Batch) error
	undo     func(context.Context) // ends a transaction that an error left open; nil where there is none
	role     string                // to take on in each transaction, or ""
	explicit bool                  // BEGIN is needed: several statements before one Sync are no transaction
}

// onConn is a reader on a connection.
func onConn(conn *pgx.Conn, role string, explicit bool) *reader {
	return &reader{
		send: func(ctx context.Context, b *pgx.Batch) error { return conn.SendBatch(ctx, b).Close() },
		undo: func(ctx context.Context) {
			if !conn.IsClosed() {
				_, _ = conn.Exec(ctx, "rollback") // what failed is the answer; where there is no transaction this is a warning
			}
		},
		role: role, explicit: explicit,
	}
}

// question is SQL, and what reads its rows.
type question struct {
	sql  string
	args []any
	read func(pgx.Rows) error
}

// rows is a question whose rows are put into found.
func rows[T any](found *[]T, row pgx.RowToFunc[T], sql string, args ...any) question {
	return question{sql, args, func(r pgx.Rows) (err error) {
		*found, err = pgx.CollectRows(r, row)
		return err
	}}
}

// ask asks questions in one transaction and one round trip: after the settings, which end with it, as the role that is to be
// looked at. PostgreSQL refuses it whatever would write. Each may take as long as limit. Questions name what is
// PostgreSQL's own without its schema, so the search_path is set.
func (r *reader) ask(ctx context.Context, settings map[string]string, limit time.Duration, questions ...question) error {
	b := &pgx.Batch{}
	if r.explicit {
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
	for _, q := range questions {
		b.Queue(q.sql, q.args...).Query(q.read)
	}
	if r.explicit {
		b.Queue("rollback")
	}
	err := r.send(ctx, b)
	if err != nil && r.explicit && r.undo != nil {
		r.undo(ctx)
	}
	return err
}

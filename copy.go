package poolproof

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/wire"
)

// CopyFrom inserts rows, all or nothing, in one round trip and constant
// memory. It is not COPY: PostgreSQL refuses COPY FROM on tables with
// row-level security. It sends an INSERT for each row, in one pipeline with the
// scope, and costs accordingly: about what a batch of INSERTs costs. Triggers
// and defaults work as for INSERT. The source is read to its end even when the
// server has refused a row, and must itself end when ctx does.
func (s Session) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if s.err != nil {
		return 0, s.err
	}
	if !s.db.oneSync.Load() {
		var n int64
		err := s.InTx(ctx, func(tx pgx.Tx) (err error) {
			n, err = tx.CopyFrom(ctx, table, columns, rows)
			return err
		})
		return n, err
	}
	pc, conn, err := s.db.acquire(ctx)
	if err != nil {
		return 0, err
	}
	s.db.metrics.scopes.Inc()
	mode := wire.Mode(s.db.mode.Load())
	x, err := conn.Insert(ctx, mode, []wire.Call{s.db.scope.call(s)}, insertSQL(table, columns), source(rows))
	if err != nil {
		s.db.release(pc, conn)
		err = s.describeError(ctx, err)
		return 0, classify("insert", err)
	}
	r := &run{session: s, pool: pc, conn: conn, mode: mode, x: x}
	if err := s.readScope(ctx, x); err != nil {
		return 0, r.finish(err)
	}
	n, err := x.Count()
	return n, r.finish(err)
}

// CopyFrom is Session.CopyFrom inside the transaction.
func (tx *transaction) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if _, err := tx.Exec(ctx, "select"); err != nil { // begins the transaction, if nothing has yet
		return 0, err
	}
	x, err := tx.conn.Insert(ctx, wire.Mode(tx.session.db.mode.Load()), nil, insertSQL(table, columns), source(rows))
	if err != nil {
		return 0, classify("insert", err)
	}
	n, err := x.Count()
	return n, tx.finish(x, &span{}, err)
}

func insertSQL(table pgx.Identifier, columns []string) string {
	var sql strings.Builder
	sql.WriteString("insert into " + table.Sanitize() + " (")
	for i, column := range columns {
		if i > 0 {
			sql.WriteString(", ")
		}
		sql.WriteString(pgx.Identifier{column}.Sanitize())
	}
	sql.WriteString(") values (")
	for i := range columns {
		if i > 0 {
			sql.WriteString(", ")
		}
		sql.WriteString("$" + strconv.Itoa(i+1))
	}
	sql.WriteString(")")
	return sql.String()
}

// source reads rows as Insert wants them: nil at the end.
func source(rows pgx.CopyFromSource) func() ([]any, error) {
	return func() ([]any, error) {
		if !rows.Next() {
			return nil, rows.Err()
		}
		values, err := rows.Values()
		if values == nil { // nil says the end
			values = []any{}
		}
		return values, err
	}
}

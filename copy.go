package poolproof

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// CopyFrom inserts rows, all or nothing, in one round trip and constant
// memory. It is not COPY: PostgreSQL refuses COPY FROM on tables with
// row-level security. It sends an INSERT for each row, in one pipeline with the
// scope, and costs accordingly: about what a batch of INSERTs costs. Triggers
// and defaults work as for INSERT. The source is read to its end even when the
// server has refused a row, and must itself end when ctx does. It returns the
// number of rows inserted, 0 with an error.
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
	r, err := s.start(ctx, insertion(table, columns, rows, s.db.inScope))
	if err != nil {
		return 0, err
	}
	n, err := r.x.Count()
	if err = r.finish(err); err != nil {
		return 0, err
	}
	return n, nil
}

// insertion is the work of CopyFrom.
func insertion(table pgx.Identifier, columns []string, rows pgx.CopyFromSource, check *checked) work {
	return work{check: check, queries: []query{{sql: insertSQL(table, columns)}}, rows: rows}
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

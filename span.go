package poolproof

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/wire"
)

// span is the trace of one exchange, made through the tracer that pgx itself
// would call. Its zero value traces nothing.
type span struct {
	db   *DB
	conn *pgx.Conn
	ctx  context.Context
}

func (sp *span) begin(ctx context.Context, db *DB, conn *wire.Conn, statements []wire.Statement) context.Context {
	if db.tracer == nil || len(statements) == 0 {
		return ctx
	}
	sp.db, sp.conn = db, conn.Pgx()
	// A batch is one span under its first statement's text: it is one round trip.
	sp.ctx = db.tracer.TraceQueryStart(ctx, sp.conn, pgx.TraceQueryStartData{SQL: statements[0].SQL, Args: statements[0].Args})
	return sp.ctx
}

func (sp *span) end(tag pgconn.CommandTag, err error) {
	if sp.db != nil {
		sp.db.tracer.TraceQueryEnd(sp.ctx, sp.conn, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
		sp.db = nil
	}
}

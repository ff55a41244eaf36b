package poolproof

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/poolproof/poolproof/internal/wire"
)

// sqlTx is database/sql's transaction. Like a session's it takes its PostgreSQL
// connection with its first statement and sends BEGIN with it.
type sqlTx struct {
	conn *sqlConn
	tx   *transaction
	ctx  context.Context // BeginTx's, for Commit and Rollback, which have none
}

// BeginTx sends nothing yet.
func (c *sqlConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.tx != nil {
		return nil, &Error{Kind: ErrStatementRefused, Op: opBegin, Err: errors.New("one is open on this connection"), Hint: "nest by SAVEPOINT"}
	}
	begin, err := beginWithSQL(opts)
	if err != nil {
		return nil, err
	}
	s := c.db.SessionFrom(ctx)
	if s.err != nil {
		return nil, s.err
	}
	if err := c.db.refuseTx(); err != nil {
		return nil, err
	}
	c.tx = &sqlTx{conn: c, tx: &transaction{session: s, begin: begin, ctx: ctx}, ctx: ctx}
	return c.tx, nil
}

func (t *sqlTx) query(ctx context.Context, sql string, args []any, kind wire.Statement) *wire.Rows {
	if err := scopeOf(ctx).within(t.tx.session); err != nil {
		return wire.FailedRows(err)
	}
	return t.tx.query(ctx, work{check: t.tx.session.db.inTx, kind: kind, queries: []query{{sql, args}}}, nil)
}

// Commit fails with pgx.ErrTxCommitRollback where a statement had failed.
func (t *sqlTx) Commit() error {
	t.conn.tx = nil
	return t.tx.commit(t.ctx, true)
}

// Rollback is fine with a transaction that is over: nothing of it was kept.
func (t *sqlTx) Rollback() error {
	t.conn.tx = nil
	if err := t.tx.rollback(t.ctx, true); !errors.Is(err, ErrTxEnded) {
		return err
	}
	return nil
}

package poolproof

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/poolproof/poolproof/internal/wire"
)

// sqlTx is database/sql's transaction. Like a session's it takes its PostgreSQL
// connection with its first statement and sends BEGIN with it.
type sqlTx struct {
	conn    *sqlConn
	tx      *transaction
	ctx     context.Context // BeginTx's, for Commit and Rollback, which have none
	reading bool            // rows are open: the connection is in the middle of a result
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
	if t.reading {
		return wire.FailedRows(&Error{Kind: ErrStatementRefused, Op: "query in a transaction", Err: errors.New("rows of the statement before are still open"),
			Hint: "close them, or read them to their end, before the transaction's next statement"})
	}
	if t.tx.closed {
		return wire.FailedRows(t.ended())
	}
	t.reading = true
	rows := t.tx.query(ctx, sql, args, kind, func(err error) error {
		t.reading = false
		return err
	})
	if rows.Err() != nil { // nothing was begun, so there is nothing to close
		t.reading = false
	}
	return rows
}

// ended says why a transaction that its owner did not end is over.
func (t *sqlTx) ended() error {
	return classify("use the transaction", fmt.Errorf("the transaction is over, nothing of it was kept: %w", t.tx.failure))
}

// Commit fails with pgx.ErrTxCommitRollback where a statement had failed.
func (t *sqlTx) Commit() error {
	t.conn.tx = nil
	if t.tx.closed {
		return t.ended()
	}
	return t.tx.Commit(t.ctx)
}

// Rollback is fine with a transaction that is over: nothing of it was kept.
func (t *sqlTx) Rollback() error {
	t.conn.tx = nil
	if t.tx.closed {
		return nil
	}
	return t.tx.Rollback(t.ctx)
}

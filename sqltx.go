package poolproof

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/poolproof/poolproof/internal/wire"
)

// beginOptions are what follows BEGIN. Snapshot is what PostgreSQL calls
// repeatable read.
var beginOptions = map[sql.IsolationLevel]string{
	sql.LevelDefault:         "",
	sql.LevelReadUncommitted: " isolation level read uncommitted",
	sql.LevelReadCommitted:   " isolation level read committed",
	sql.LevelRepeatableRead:  " isolation level repeatable read",
	sql.LevelSnapshot:        " isolation level repeatable read",
	sql.LevelSerializable:    " isolation level serializable",
}

// beginStatements are all the forms of BEGIN that database/sql can ask for.
var beginStatements = func() map[driver.TxOptions]*wire.Fixed {
	all := map[driver.TxOptions]*wire.Fixed{}
	for level, text := range beginOptions {
		all[driver.TxOptions{Isolation: driver.IsolationLevel(level)}] = wire.NewFixed("begin"+text, 0)
		all[driver.TxOptions{Isolation: driver.IsolationLevel(level), ReadOnly: true}] = wire.NewFixed("begin"+text+" read only", 0)
	}
	return all
}()

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
	const op = "begin a transaction"
	if c.tx != nil {
		return nil, &Error{Kind: ErrStatementRefused, Op: op, Err: errors.New("one is open on this connection"), Hint: "nest by SAVEPOINT"}
	}
	begin, ok := beginStatements[opts]
	if !ok {
		return nil, &Error{Kind: ErrConfig, Op: op, Err: fmt.Errorf("PostgreSQL has no isolation level %s", sql.IsolationLevel(opts.Isolation)),
			Hint: "use sql.LevelReadCommitted, LevelRepeatableRead or LevelSerializable"}
	}
	s := c.db.sessionFrom(ctx)
	if s.err != nil {
		return nil, s.err
	}
	if err := c.db.refuseTx(); err != nil {
		return nil, err
	}
	c.tx = &sqlTx{conn: c, tx: &transaction{session: s, begin: begin}, ctx: ctx}
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

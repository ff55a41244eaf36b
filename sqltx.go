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
	conn *sqlConn
	tx   *transaction
	ctx  context.Context // BeginTx's, for Commit and Rollback, which have none
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
	return t.tx.query(ctx, work{check: refuseInTx, kind: kind, queries: []query{{sql, args}}}, nil)
}

// Commit fails with pgx.ErrTxCommitRollback where a statement had failed.
func (t *sqlTx) Commit() error {
	t.conn.tx = nil
	return t.tx.commit(t.ctx)
}

// Rollback is fine with a transaction that is over: nothing of it was kept.
func (t *sqlTx) Rollback() error {
	t.conn.tx = nil
	if err := t.tx.rollback(t.ctx); !errors.Is(err, ErrTxEnded) {
		return err
	}
	return nil
}

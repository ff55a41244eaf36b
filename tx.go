package poolproof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof/internal/wire"
)

// Fixed statements of transactions.
var (
	beginStatement    = beginStatements[pgx.TxOptions{}]
	commitStatement   = wire.NewFixed("commit", 0)
	rollbackStatement = wire.NewFixed("rollback", 0)
)

// rollbackTimeout bounds a rollback whose own context is done already.
const rollbackTimeout = 5 * time.Second

// InTx runs fn in a transaction of the session: committed if fn returns nil,
// rolled back if it returns an error or panics. BEGIN and the scope ride with
// the first statement, so that a transaction of n statements takes n+1 round
// trips, and one that sends nothing takes none. tx is valid until fn returns.
//
// Statements that would end the transaction are refused; tx.Begin nests by
// savepoints. Through a pooler in statement mode InTx fails with
// ErrStatementMode: use SendBatch, which is a transaction in every mode.
// Nothing is retried.
func (s Session) InTx(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return s.inTx(ctx, beginStatement, fn)
}

func (s Session) inTx(ctx context.Context, begin *wire.Fixed, fn func(tx pgx.Tx) error) (err error) {
	if s.err != nil {
		return s.err
	}
	if err := s.db.refuseTx(); err != nil {
		return err
	}
	tx := &transaction{session: s, begin: begin, ctx: ctx}
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit as of t.Fatal
			_ = tx.end(ctx, errors.New("fn did not return"))
		}
	}()
	err = fn(tx)
	returned = true
	return tx.end(ctx, err)
}

func (db *DB) refuseTx() error {
	if db.report.Mode == "statement" {
		return statementModeError(nil)
	}
	return nil
}

// noteStatementMode is told that the pooler refuses BEGIN. If the probe could not
// tell whether the one-Sync scope holds, it is the one that is left: poolers in
// statement mode keep a pipeline together (PgBouncer 1.18: measured), and where
// one did not, policies would find no tenant.
func (db *DB) noteStatementMode(ctx context.Context) {
	if db.report.Undecided && db.oneSync.CompareAndSwap(false, true) {
		db.log.LogAttrs(ctx, slog.LevelWarn, "poolproof: the pooler is in statement mode; from now on the scope goes with the statement")
	}
}

func statementModeError(cause error) error {
	if cause == nil {
		cause = errors.New("the pooler is in statement mode, where BEGIN is refused")
	}
	return &Error{Kind: ErrStatementMode, Op: opBegin, Err: cause,
		Hint: "put the statements into one SendBatch, which is a transaction in statement mode too, or have the pooler use transaction mode"}
}

// transaction is an explicit transaction of a session. It takes its connection
// with its first statement.
type transaction struct {
	session    Session
	begin      *wire.Fixed     // nil: beginStatement
	ctx        context.Context // of the whole transaction, for Conn, which has none
	pool       *pgxpool.Conn
	conn       *wire.Conn
	closed     bool
	failure    error // why the transaction ended, if neither Commit nor Rollback ended it
	savepoints int
}

var _ pgx.Tx = (*transaction)(nil)

// run sends statements, with BEGIN and the scope before them if they are the
// first, and begins to read the first result, if there is one.
func (tx *transaction) run(ctx context.Context, kind wire.Statement, queries []query) (*wire.Exchange, *span, error) {
	if tx.closed {
		return nil, nil, pgx.ErrTxClosed
	}
	if err := tx.endedOnConn(); err != nil {
		return nil, nil, err
	}
	db := tx.session.db
	var calls []wire.Call
	first := tx.conn == nil
	if first {
		var err error
		if tx.pool, tx.conn, err = db.acquire(ctx); err != nil {
			return nil, nil, err
		}
		begin := tx.begin
		if begin == nil {
			begin = beginStatement
		}
		calls = []wire.Call{{Fixed: begin}, db.scope.call(tx.session)}
		db.metrics.scopes.Inc()
	}
	fail := func(err error) (*wire.Exchange, *span, error) {
		if first || tx.conn.Broken() {
			tx.failure = err
			tx.close()
		}
		return nil, nil, classify("query", err)
	}
	statements := make([]wire.Statement, len(queries))
	for i, q := range queries {
		var err error
		if statements[i], err = q.statement(ctx, tx.conn.Pgx(), kind, refuseInTx); err != nil {
			return fail(err)
		}
	}
	sp := &span{}
	ctx = sp.begin(ctx, db, tx.conn, statements)
	mode := wire.Mode(db.mode.Load())
	x, err := tx.conn.Run(ctx, mode, calls, statements...)
	if err != nil {
		err = tx.session.describeError(ctx, err)
		sp.end(pgconn.CommandTag{}, err)
		db.noteLost(ctx, mode, err)
		return fail(err)
	}
	if first {
		if _, _, err = x.Skip(); err != nil && statementPooling(err) {
			err = statementModeError(err)
			db.noteStatementMode(ctx)
		} else if err == nil {
			err = tx.session.readScope(ctx, x)
		}
	}
	if err == nil && len(queries) > 0 {
		err = x.NextResult()
	}
	if err != nil {
		db.noteLost(ctx, mode, err) // for what comes next; this transaction has failed
		return nil, nil, tx.finish(x, sp, err)
	}
	return x, sp, nil
}

// finish ends an exchange inside the transaction.
func (tx *transaction) finish(x *wire.Exchange, sp *span, err error) error {
	closeErr := x.Close()
	if err == nil {
		err = closeErr
	}
	if tx.closed { // rows that were left open, and read on after the end
		return classify("query", err)
	}
	if tx.conn.Broken() || tx.conn.TxStatus() == 'I' { // ended, by whatever means: nothing more may run here
		if tx.failure = err; err == nil {
			tx.failure = errors.New("the transaction was ended by a statement in it")
		}
		tx.close()
	}
	sp.end(x.Tag(), err)
	return classify("query", err)
}

func (tx *transaction) close() {
	if tx.conn != nil && !tx.closed {
		tx.session.db.release(tx.pool, tx.conn)
	}
	tx.closed = true
}

// end commits, or rolls back because of err, and gives the connection back.
func (tx *transaction) end(ctx context.Context, err error) error {
	if err != nil {
		if rbErr := tx.Rollback(ctx); rbErr != nil && !errors.Is(rbErr, pgx.ErrTxClosed) {
			return errors.Join(err, fmt.Errorf("roll back: %w", rbErr))
		}
		return err
	}
	if tx.closed {
		return tx.failure // nil if fn itself committed or rolled back
	}
	return tx.Commit(ctx)
}

// Commit ends the transaction. pgx.ErrTxCommitRollback says that it was rolled
// back because a statement had failed.
func (tx *transaction) Commit(ctx context.Context) error {
	tag, err := tx.conclude(ctx, commitStatement)
	if err == nil && tag == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return err
}

// Rollback ends the transaction without effect. It works with a context that
// is done.
func (tx *transaction) Rollback(ctx context.Context) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
	}
	_, err := tx.conclude(ctx, rollbackStatement)
	return err
}

func (tx *transaction) conclude(ctx context.Context, statement *wire.Fixed) (tag string, err error) {
	if tx.closed {
		return "", pgx.ErrTxClosed
	}
	if tx.conn == nil { // nothing was sent
		tx.closed = true
		return "", nil
	}
	tx.conn.Drain() // rows that fn left open
	if err := tx.endedOnConn(); err != nil {
		return "", err
	}
	x, err := tx.conn.Run(ctx, wire.Exec, []wire.Call{{Fixed: statement}})
	if err != nil {
		tx.failure = err
		tx.close()
		return "", classify("end the transaction", err)
	}
	_, tag, err = x.Skip()
	if closeErr := x.Close(); err == nil {
		err = closeErr
	}
	tx.close()
	return tag, classify("end the transaction", err)
}

// query is Query with a function to run when the rows are closed.
func (tx *transaction) query(ctx context.Context, sql string, args []any, kind wire.Statement, then func(error) error) *wire.Rows {
	x, sp, err := tx.run(ctx, kind, []query{{sql, args}})
	if err != nil {
		return wire.FailedRows(err)
	}
	return x.Rows(func(err error) error {
		err = tx.finish(x, sp, err)
		if then != nil {
			err = then(err)
		}
		return err
	})
}

// Query is pgx.Tx's.
func (tx *transaction) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows := tx.query(ctx, sql, args, wire.Statement{}, nil)
	return rows, rows.Err()
}

// QueryRow is pgx.Tx's.
func (tx *transaction) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return wire.Row{Rows: tx.query(ctx, sql, args, wire.Statement{}, nil)}
}

// Exec is pgx.Tx's.
func (tx *transaction) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	rows := tx.query(ctx, sql, args, wire.Statement{NoRows: true}, nil)
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

// SendBatch is pgx.Tx's.
func (tx *transaction) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b.Len() == 0 {
		return &batchResults{closed: true}
	}
	return tx.sendBatch(ctx, b, nil)
}

func (tx *transaction) sendBatch(ctx context.Context, b *pgx.Batch, then func(error) error) pgx.BatchResults {
	finish := func(err error) error {
		if then != nil {
			return then(err)
		}
		return err
	}
	x, sp, err := tx.run(ctx, wire.Statement{}, queued(b))
	if err != nil {
		return &batchResults{err: finish(err), closed: true}
	}
	return &batchResults{x: x, queries: b.QueuedQueries, begun: true,
		finish: func(err error) error { return finish(tx.finish(x, sp, err)) }}
}

// Prepare is refused: how statements are prepared is Config.Mode's to say.
func (tx *transaction) Prepare(context.Context, string, string) (*pgconn.StatementDescription, error) {
	return nil, &Error{Kind: ErrStatementRefused, Op: "prepare", Err: errors.New("a named statement outlives the transaction"),
		Hint: "leave preparing to Config.Mode"}
}

// LargeObjects panics: large objects know no row-level security, and pgx makes
// its value for its own transactions only.
func (tx *transaction) LargeObjects() pgx.LargeObjects {
	panic("poolproof: large objects are not available in a tenant's transaction: they know no row-level security")
}

// Conn is the connection. Before the first statement it begins the transaction,
// which is one round trip: what is handed out has its tenant. It is nil if that
// failed, of which InTx returns the error, and once the transaction is over.
//
// What is sent on it directly, by pgx's own methods, runs in the transaction and
// as its tenant, and is not checked: no COMMIT or ROLLBACK, nothing that stays on
// the server connection (Prepare, LISTEN, SET), and no CopyFrom into a table with
// row-level security, which PostgreSQL refuses. A type that is registered on it is
// known to this connection only: see Config.AfterConnect.
func (tx *transaction) Conn() *pgx.Conn {
	if tx.conn == nil && !tx.closed {
		x, sp, err := tx.run(tx.ctx, wire.Statement{}, nil)
		if err == nil {
			err = tx.finish(x, sp, nil)
		}
		if err != nil && !tx.closed { // it was begun, and has no tenant
			tx.failure = err
			tx.close()
		}
	}
	if tx.conn == nil || tx.closed {
		return nil
	}
	return tx.conn.Pgx()
}

// endedOnConn gives an error if what Conn handed out was used to end the
// transaction: nothing more may run on the connection, which has no tenant now,
// and nobody knows what was kept.
func (tx *transaction) endedOnConn() error {
	if tx.conn == nil || tx.conn.Broken() || tx.conn.Reading() || tx.conn.TxStatus() != 'I' {
		return nil
	}
	tx.failure = &Error{Kind: ErrStatementRefused, Op: "use the transaction", Err: errors.New("it was ended on its connection, by a statement that poolproof did not see"),
		Hint: "send no COMMIT or ROLLBACK on tx.Conn(): return from InTx's function"}
	tx.close()
	return tx.failure
}

// Begin nests by a savepoint.
func (tx *transaction) Begin(ctx context.Context) (pgx.Tx, error) {
	tx.savepoints++
	sp := &savepoint{transaction: tx, name: "poolproof_" + strconv.Itoa(tx.savepoints)}
	if _, err := tx.Exec(ctx, "savepoint "+sp.name); err != nil {
		return nil, err
	}
	return sp, nil
}

// savepoint is a nested transaction.
type savepoint struct {
	*transaction
	name string
	done bool
}

// Commit releases the savepoint.
func (sp *savepoint) Commit(ctx context.Context) error {
	return sp.leave(ctx, "release savepoint "+sp.name)
}

// Rollback undoes what was done since the savepoint.
func (sp *savepoint) Rollback(ctx context.Context) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
	}
	return sp.leave(ctx, "rollback to savepoint "+sp.name)
}

func (sp *savepoint) leave(ctx context.Context, sql string) error {
	if sp.done {
		return pgx.ErrTxClosed
	}
	sp.done = true
	_, err := sp.Exec(ctx, sql)
	return err
}

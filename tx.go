package poolproof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
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
// rolled back if it returns an error or panics. BEGIN and the scope travel with
// the first statement, so that a transaction of n statements takes n+1 round
// trips, and one that sends nothing takes none. tx is valid until fn returns;
// results that are kept for longer answer ErrTxEnded.
//
// If the first statement fails or panics before the server has answered that the
// transaction and its tenant are there, the transaction is over: further
// statements get ErrTxEnded, and so does InTx's caller if fn returns nil. tx
// runs one statement at a time: a second one, from another goroutine or from
// an argument's own code, is refused with ErrTxInUse. One that is still
// under way when fn returns is given up: its connection is closed, and nothing of
// the transaction is kept.
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
	err = fn(&txHandle{tx: tx})
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
//
//	         first statement: BEGIN, scope and statement sent and answered
//	fresh ──────────────────────────────────────────────────────► open ──┐ further statements,
//	  │ failed or panicked before that answer                       │ ▲──┘ one at a time
//	  ▼                                                             ▼
//	ended ◄──────── COMMIT, ROLLBACK, a broken connection, InTx's function has returned
type transaction struct {
	session Session
	begin   *wire.Fixed     // nil: beginStatement
	ctx     context.Context // of the whole transaction, for Conn, which has none

	mu      sync.Mutex
	phase   txPhase
	inUse   bool      // a statement is being made, or its results are open
	results *underway // the results that are open; nil while a statement is being made or sent
	pool    *pgxpool.Conn
	conn    *wire.Conn // nil: not taken yet
	failure error      // why the transaction ended, if neither Commit nor Rollback ended it

	savepoints int
}

type txPhase int

const (
	txFresh txPhase = iota // the server knows nothing of it
	txOpen                 // the server has answered BEGIN and the scope
	txEnded
)

// errPanicked is the failure of a transaction whose statement panicked.
var errPanicked = errors.New("the statement panicked")

// endedError is what a statement gets that comes after the end. mu is held.
func (tx *transaction) endedError() error {
	ended := &Error{Kind: ErrTxEnded, Op: "use the transaction", Err: pgx.ErrTxClosed, Hint: "begin another, and leave this one's function at the first error"}
	if tx.failure == nil {
		return ended
	}
	return &txFailure{cause: tx.failure, ended: ended}
}

// txFailure says that a transaction is over, and first of all why: its kind and
// hint are the cause's, if that has any.
type txFailure struct{ cause, ended error }

func (e *txFailure) Error() string {
	return "poolproof: the transaction is over, nothing of it was kept: " + e.cause.Error()
}
func (e *txFailure) Unwrap() []error { return []error{e.cause, e.ended} }

// errResultGone is what a result answers that was kept past its transaction.
var errResultGone = &Error{Kind: ErrTxEnded, Op: "read a result", Err: errors.New("its transaction ended before it was read"),
	Hint: "read rows to their end, and scan each QueryRow, before the transaction's function returns"}

func (tx *transaction) inUseError() error {
	cause := "another of its statements is under way"
	if tx.results != nil {
		cause = "the result of the statement before is still open"
	}
	return &Error{Kind: ErrTxInUse, Op: "use the transaction", Err: errors.New(cause),
		Hint: "close rows, or read them to their end, before the next statement; use a transaction from one goroutine, and not from within an argument's own code"}
}

// claim takes the transaction for one statement and reports whether it is the
// first. settle must follow.
func (tx *transaction) claim() (first bool, err error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.lookForEnd()
	switch {
	case tx.phase == txEnded:
		return false, tx.endedError()
	case tx.inUse:
		return false, tx.inUseError()
	}
	tx.inUse = true
	return tx.phase == txFresh, nil
}

// lookForEnd ends the transaction if what Conn handed out was used to end it:
// nothing more may run on the connection, which has no tenant now, and nobody
// knows what was kept. mu is held.
func (tx *transaction) lookForEnd() {
	if tx.phase != txOpen || tx.inUse || !tx.conn.Ready() || tx.conn.TxStatus() != 'I' {
		return
	}
	tx.phase = txEnded
	tx.failure = &Error{Kind: ErrStatementRefused, Op: "use the transaction", Err: errors.New("a statement that poolproof did not see ended it, on its own connection"),
		Hint: "send no COMMIT or ROLLBACK on tx.Conn(): return from InTx's function"}
	tx.giveBack()
}

// take keeps the connection for the transaction, unless it ended meanwhile.
func (tx *transaction) take(pc *pgxpool.Conn, conn *wire.Conn) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.phase == txEnded {
		tx.session.db.release(pc, conn)
		return tx.endedError()
	}
	tx.pool, tx.conn = pc, conn
	return nil
}

// run does work in the transaction, with BEGIN and the scope before it if it is
// the first, and begins to read the first result, if there is one.
func (tx *transaction) run(ctx context.Context, w work) (*underway, error) {
	first, err := tx.claim()
	if err != nil {
		return nil, err
	}
	var u *underway
	err = errPanicked
	settled := false
	defer func() {
		if !settled {
			_ = tx.settle(ctx, first, u, err)
		}
	}()
	var a ahead
	if first {
		a.scope = true
		if a.begin = tx.begin; a.begin == nil {
			a.begin = beginStatement
		}
		pc, conn, acquireErr := tx.session.db.acquire(ctx)
		if acquireErr == nil {
			acquireErr = tx.take(pc, conn)
		}
		if acquireErr != nil {
			settled = true
			return nil, tx.settle(ctx, first, nil, acquireErr)
		}
	}
	u = &underway{conn: tx.conn}
	err = tx.session.exchange(ctx, u, a, w)
	settled = true
	if err = tx.settle(ctx, first, u, err); err != nil {
		return nil, err
	}
	return u, nil
}

// settle decides what becomes of the transaction after a statement was made and
// sent, or was not: err says why. It returns the error for the caller.
func (tx *transaction) settle(ctx context.Context, first bool, u *underway, err error) (result error) {
	returned := false
	defer func() { tx.abandonUnless(ctx, returned) }()
	result = tx.settled(ctx, first, u, err)
	returned = true
	return result
}

func (tx *transaction) settled(ctx context.Context, first bool, u *underway, err error) error {
	sent := u != nil && u.x != nil
	if sent && err != nil {
		_, err = u.close(err)
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	switch {
	case tx.phase == txEnded: // it was given up meanwhile
		if sent {
			_, _ = u.close(nil)
		}
		tx.giveBack()
		return tx.endedError()
	case err == nil:
		tx.phase, tx.results = txOpen, u
		return nil
	case sent && u.scoped && tx.holds(err):
		tx.phase, tx.inUse = txOpen, false
		return err
	case !first && tx.conn.Ready() && tx.conn.TxStatus() != 'I': // it could not be encoded, was refused, or panicked
		tx.inUse = false
		return err
	}
	tx.abandon(ctx, err)
	return err
}

// holds reports whether the server still holds the transaction after an exchange
// that ended with err: failed if there was an error, and sound if there was none.
// mu is held.
func (tx *transaction) holds(err error) bool {
	if tx.conn.Broken() {
		return false
	}
	status := tx.conn.TxStatus()
	return status == 'T' || status == 'E' && err != nil
}

// abandon ends a transaction that cannot go on. mu is held.
func (tx *transaction) abandon(ctx context.Context, failure error) {
	tx.phase, tx.failure = txEnded, failure
	if tx.conn != nil && tx.conn.Ready() && tx.conn.TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_, _ = tx.send(ctx, rollbackStatement) // where it fails the connection is given up
	}
	tx.giveBack()
}

// abandonUnless abandons the transaction if a step of it did not return: a logger
// or a tracer of Config's panicked in the middle.
func (tx *transaction) abandonUnless(ctx context.Context, returned bool) {
	if !returned {
		tx.mu.Lock()
		defer tx.mu.Unlock()
		tx.abandon(ctx, errPanicked)
	}
}

// giveBack releases the connection, once. mu is held.
func (tx *transaction) giveBack() {
	if tx.conn != nil {
		tx.session.db.release(tx.pool, tx.conn)
		tx.pool, tx.conn = nil, nil
	}
	tx.inUse, tx.results = false, nil
}

// closeResults ends the results that are open, as a rollback to a savepoint does:
// whoever holds them gets an error.
func (tx *transaction) closeResults() {
	tx.mu.Lock()
	open := tx.results
	tx.mu.Unlock()
	if open != nil {
		_ = open.x.GiveUp(errResultGone)
		_ = tx.finish(open, nil) // what it failed with is the caller's to read; where the transaction ended, it says so
	}
}

// finish ends an exchange inside the transaction: the rows were closed.
func (tx *transaction) finish(u *underway, err error) (result error) {
	returned := false
	defer func() { tx.abandonUnless(u.ctx, returned) }()
	result = tx.finished(u, err)
	returned = true
	return result
}

func (tx *transaction) finished(u *underway, err error) error {
	first, err := u.close(err)
	if !first {
		return err
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.results != u {
		return err // the transaction's end has read it
	}
	tx.inUse, tx.results = false, nil
	if !tx.holds(err) { // ended, by whatever means: nothing more may run here
		if err == nil {
			err = u.ctx.Err() // done in the moment when the last answer came
		}
		if err == nil {
			err = &Error{Kind: ErrTxEnded, Op: "query", Err: errors.New("the transaction was ended by a statement in it"),
				Hint: "return from InTx's function instead: nil commits, an error rolls back"}
		}
		tx.phase, tx.failure = txEnded, err
		tx.giveBack()
	}
	return err
}

// end commits, or rolls back because of err, and releases the connection,
// whatever is under way.
func (tx *transaction) end(ctx context.Context, err error) error {
	if err != nil {
		ctx, cancel := undone(ctx)
		defer cancel()
		if _, endErr := tx.conclude(ctx, rollbackStatement, true); endErr != nil && !errors.Is(endErr, ErrTxEnded) {
			return errors.Join(err, fmt.Errorf("roll back: %w", endErr))
		}
		return err
	}
	tag, err := tx.conclude(ctx, commitStatement, true)
	if errors.Is(err, ErrTxEnded) {
		tx.mu.Lock()
		defer tx.mu.Unlock()
		return tx.failure // nil if fn itself committed or rolled back
	}
	return committed(tag, err)
}

// committed is what COMMIT's answer means.
func committed(tag string, err error) error {
	if err == nil && tag == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return err
}

// commit ends the transaction. pgx.ErrTxCommitRollback says that it was rolled
// back because a statement had failed.
func (tx *transaction) commit(ctx context.Context, final bool) error {
	return committed(tx.conclude(ctx, commitStatement, final))
}

// rollback ends the transaction without effect. It works with a context that
// is done.
func (tx *transaction) rollback(ctx context.Context, final bool) error {
	ctx, cancel := undone(ctx)
	defer cancel()
	_, err := tx.conclude(ctx, rollbackStatement, final)
	return err
}

// undone returns ctx or, where it is done, one that lives for rollbackTimeout.
func undone(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
}

// conclude reads the results that are still open, sends the last statement, and
// releases the connection. A statement that another goroutine is making or
// sending keeps the transaction open; if this end is final, it is given up
// instead: nothing more is sent on its connection, which settle drops.
func (tx *transaction) conclude(ctx context.Context, last *wire.Fixed, final bool) (tag string, err error) {
	returned := false
	defer func() { tx.abandonUnless(ctx, returned) }()
	tag, err = tx.concluded(ctx, last, final)
	returned = true
	return tag, err
}

func (tx *transaction) concluded(ctx context.Context, last *wire.Fixed, final bool) (tag string, err error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.lookForEnd()
	switch {
	case tx.phase == txEnded:
		return "", tx.endedError()
	case tx.inUse && tx.results == nil && !final:
		return "", tx.inUseError()
	case tx.inUse && tx.results == nil:
		tx.phase = txEnded
		tx.failure = &Error{Kind: ErrTxInUse, Op: "end the transaction", Err: errors.New("another goroutine was in the middle of a statement; the transaction was rolled back"),
			Hint: "wait for what uses the transaction before its function returns"}
		if tx.conn != nil {
			tx.conn.Retire()
		}
		return "", tx.failure
	case tx.phase == txFresh: // nothing was sent
		tx.phase = txEnded
		return "", nil
	}
	if tx.results != nil { // waits for whoever is reading them
		_ = tx.results.x.GiveUp(errResultGone)
		_, _ = tx.results.close(nil) // what it failed with is the caller's to read, and COMMIT's answer
	}
	tag, err = tx.send(ctx, last)
	tx.phase, tx.failure = txEnded, err
	if last == commitStatement {
		tx.failure = committed(tag, err) // InTx says so, too, where fn itself committed and did not look
	}
	tx.giveBack()
	return tag, err
}

// send sends a fixed statement that ends the transaction and returns its tag. It
// is told as done only if the server then has no transaction.
func (tx *transaction) send(ctx context.Context, last *wire.Fixed) (tag string, err error) {
	x, err := tx.conn.Run(ctx, wire.Exec, []wire.Call{{Fixed: last}})
	if err == nil {
		_, tag, err = x.Skip()
		if closeErr := x.Close(); err == nil {
			err = closeErr
		}
	}
	if err == nil && (tx.conn.TxStatus() != 'I' || tag != "COMMIT" && tag != "ROLLBACK") {
		err = leftOpen("end the transaction")
		tx.conn.Retire()
	}
	return tag, classify("end the transaction", sayCanceled(ctx, "end the transaction", err))
}

// query sends one statement. then, if not nil, runs when the rows are closed.
func (tx *transaction) query(ctx context.Context, w work, then func(error) error) *wire.Rows {
	u, err := tx.run(ctx, w)
	if err != nil {
		return wire.FailedRows(err)
	}
	return u.x.Rows(func(err error) error {
		err = tx.finish(u, err)
		if then != nil {
			err = then(err)
		}
		return err
	})
}

func (tx *transaction) sendBatch(ctx context.Context, w work, b *pgx.Batch, then func(error) error) pgx.BatchResults {
	if then == nil {
		then = func(err error) error { return err }
	}
	u, err := tx.run(ctx, w)
	if err != nil {
		return &batchResults{err: then(err), closed: true}
	}
	return &batchResults{x: u.x, queries: b.QueuedQueries, begun: true,
		finish: func(err error) error { return then(tx.finish(u, err)) }}
}

// txHandle is a transaction as its user holds it: the whole of it, or a nested
// one, which is a savepoint.
type txHandle struct {
	tx        *transaction
	parent    *txHandle   // nil for the whole
	savepoint string      // "" for the whole
	done      atomic.Bool // the savepoint was left
}

// left reports whether the nested transaction is over, or one that it is nested in.
func (h *txHandle) left() bool {
	return h.done.Load() || h.parent != nil && h.parent.left()
}

var _ pgx.Tx = (*txHandle)(nil)

func (h *txHandle) query(ctx context.Context, sql string, args []any, kind wire.Statement) *wire.Rows {
	if h.left() {
		return wire.FailedRows(h.doneError())
	}
	return h.tx.query(ctx, work{check: h.tx.session.db.inTx, kind: kind, queries: []query{{sql, args}}}, nil)
}

func (h *txHandle) doneError() error {
	return &Error{Kind: ErrTxEnded, Op: "use a nested transaction", Err: pgx.ErrTxClosed, Hint: "use the transaction that it was begun in, or begin another"}
}

// Query sends one statement, as [Session.Query] does; until the rows are closed
// the transaction takes no other.
func (h *txHandle) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows := h.query(ctx, sql, args, wire.Statement{})
	return rows, rows.Err()
}

// QueryRow is Query for one row. Its Scan must be called before the transaction
// ends.
func (h *txHandle) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return wire.Row{Rows: h.query(ctx, sql, args, wire.Statement{})}
}

// Exec sends one statement and drops its rows.
func (h *txHandle) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	rows := h.query(ctx, sql, args, wire.Statement{NoRows: true})
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

// SendBatch sends the queued statements in one round trip.
func (h *txHandle) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	switch {
	case h.left():
		return &batchResults{err: h.doneError(), closed: true}
	case b.Len() == 0:
		return &batchResults{closed: true}
	}
	return h.tx.sendBatch(ctx, work{check: h.tx.session.db.inTx, queries: queued(b)}, b, nil)
}

// CopyFrom is [Session.CopyFrom] inside the transaction.
func (h *txHandle) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if h.left() {
		return 0, h.doneError()
	}
	u, err := h.tx.run(ctx, insertion(table, columns, rows, h.tx.session.db.inTx))
	if err != nil {
		return 0, err
	}
	n, err := u.x.Count()
	if err = h.tx.finish(u, err); err != nil {
		return 0, err
	}
	return n, nil
}

// Prepare is refused: how statements are prepared is Config.Mode's to say.
func (h *txHandle) Prepare(context.Context, string, string) (*pgconn.StatementDescription, error) {
	return nil, &Error{Kind: ErrStatementRefused, Op: "prepare", Err: errors.New("a named statement outlives the transaction"),
		Hint: "leave preparing to Config.Mode"}
}

// LargeObjects panics: large objects know no row-level security, and pgx makes
// its value for its own transactions only.
func (h *txHandle) LargeObjects() pgx.LargeObjects {
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
func (h *txHandle) Conn() *pgx.Conn {
	h.tx.mu.Lock()
	fresh := h.tx.phase == txFresh && !h.tx.inUse
	h.tx.mu.Unlock()
	if fresh {
		if u, err := h.tx.run(h.tx.ctx, work{}); err == nil {
			_ = h.tx.finish(u, nil) // where it fails the transaction is over, and InTx says so
		}
	}
	h.tx.mu.Lock()
	defer h.tx.mu.Unlock()
	if h.tx.phase != txOpen {
		return nil
	}
	return h.tx.conn.Pgx()
}

// Begin nests by a savepoint.
func (h *txHandle) Begin(ctx context.Context) (pgx.Tx, error) {
	h.tx.mu.Lock()
	h.tx.savepoints++
	nested := &txHandle{tx: h.tx, parent: h, savepoint: "poolproof_" + strconv.Itoa(h.tx.savepoints)}
	h.tx.mu.Unlock()
	if _, err := h.Exec(ctx, "savepoint "+nested.savepoint); err != nil {
		return nil, err
	}
	return nested, nil
}

// Commit ends the transaction, or releases the savepoint. pgx.ErrTxCommitRollback
// says that it was rolled back because a statement had failed. A savepoint whose
// Commit was not sent, because its context was done, can still be rolled back.
func (h *txHandle) Commit(ctx context.Context) error {
	if h.savepoint == "" {
		return h.tx.commit(ctx, false)
	}
	return h.leave(ctx, "release savepoint "+h.savepoint)
}

// Rollback ends the transaction without effect, or undoes what was done since
// the savepoint. It works with a context that is done, and closes rows that are open.
func (h *txHandle) Rollback(ctx context.Context) error {
	if h.savepoint == "" {
		return h.tx.rollback(ctx, false)
	}
	if h.left() {
		return h.doneError()
	}
	ctx, cancel := undone(ctx)
	defer cancel()
	h.tx.closeResults()
	return h.leave(ctx, "rollback to savepoint "+h.savepoint)
}

// leave leaves the savepoint, unless the statement for that was not sent.
func (h *txHandle) leave(ctx context.Context, sql string) error {
	_, err := h.Exec(ctx, sql)
	if _, answered := errors.AsType[*pgconn.PgError](err); err == nil || answered {
		h.done.Store(true)
	}
	return err
}

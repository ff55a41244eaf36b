package poolproof

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/wire"
)

// work is what a caller wants to be done under one Sync.
type work struct {
	check   *checked       // which statements are refused
	kind    wire.Statement // how the results are wanted
	queries []query
	rows    pgx.CopyFromSource // if not nil: the only query is executed once for each of its rows
}

// query is a statement as a caller wrote it.
type query struct {
	sql  string
	args []any
}

// ahead is what goes ahead of a caller's work.
type ahead struct {
	begin *wire.Fixed // nil: no explicit transaction begins here
	scope bool        // the session's settings are made: false inside a transaction that has made them
}

// underway is an exchange that was begun for a session, on a connection that
// its owner releases.
type underway struct {
	session Session
	ctx     context.Context // of the work
	conn    *wire.Conn
	mode    wire.Mode
	x       *wire.Exchange // nil: nothing was sent
	scoped  bool           // the transaction was begun and the settings were made, as far as that was asked for: the server has said so
	single  [1]wire.Statement
	span    span
	closed  atomic.Bool
}

// exchange is the one way to start an exchange: of a session, in a transaction,
// of rows to be inserted. It makes the statements of w, which may run code of the
// arguments' own, sends them behind what goes ahead, reads the answers to that,
// and begins to read the first result. On error without an exchange the
// connection is as it was, or broken; with one, the owner closes it. u is new, and
// knows its connection.
func (s Session) exchange(ctx context.Context, u *underway, a ahead, w work) error {
	db, conn := s.db, u.conn
	u.session, u.ctx, u.mode = s, ctx, wire.Mode(db.mode.Load())
	statements := u.single[:]
	if len(w.queries) != 1 {
		statements = make([]wire.Statement, len(w.queries))
	}
	for i, q := range w.queries {
		var err error
		if statements[i], err = q.statement(ctx, conn.Pgx(), w.kind, w.check); err != nil {
			return classify("query", err)
		}
	}
	ctx = u.span.begin(ctx, db, conn, statements)
	var calls []wire.Call
	var rider wire.Rider
	if a.begin != nil {
		calls = append(calls, wire.Call{Fixed: a.begin})
	}
	if a.scope {
		db.metrics.scopes.Inc()
		if domain := db.domain.Load(); domain != 0 && a.begin == nil && w.rows == nil && carries(statements[0]) {
			rider = db.scope.rider(s, domain)
			statements[0].Rider = rider
		} else {
			calls = append(calls, db.scope.call(s))
		}
	}
	var err error
	if w.rows != nil {
		u.x, err = conn.Insert(ctx, u.mode, calls, statements[0].SQL, source(w.rows))
	} else {
		u.x, err = conn.Run(ctx, u.mode, calls, statements...)
	}
	if err != nil {
		return u.end(s.describeError(ctx, err))
	}
	if a.begin != nil {
		if _, _, err = u.x.Skip(); err != nil {
			if statementPooling(err) {
				db.noteStatementMode(ctx)
				err = statementModeError(err)
			}
			return err
		}
	}
	if a.scope && rider.OID == 0 {
		if err = s.readScope(ctx, u.x); err != nil {
			return err
		}
	}
	u.scoped = rider.OID == 0
	if w.rows != nil || len(statements) == 0 {
		return nil
	}
	err = u.x.NextResult()
	if rider.OID != 0 {
		db.noteLeaks(ctx, u.x)
		if err != nil {
			err = s.riderError(ctx, u.x, len(statements[0].Args)+1, err)
		}
		u.scoped = err == nil
	}
	return err
}

// close reads to ReadyForQuery and returns the first error: err, if there is
// one already. first reports whether this is the first call; no other does
// anything.
func (u *underway) close(err error) (first bool, _ error) {
	if !u.closed.CompareAndSwap(false, true) {
		return false, classify("query", err)
	}
	closeErr := u.x.Close()
	if _, lost := errors.AsType[*wire.LostStepError](closeErr); err == nil || lost { // the error before may be somebody else's
		err = closeErr
	}
	return true, u.end(err)
}

// end notes what an exchange ended with.
func (u *underway) end(err error) error {
	u.session.db.noteLost(context.Background(), u.mode, err)
	err = sayCanceled(u.ctx, "query", err)
	var tag pgconn.CommandTag
	if u.x != nil {
		tag = u.x.Tag()
	}
	u.span.end(tag, err)
	return classify("query", err)
}

// sayCanceled makes ErrCanceledByOther of an error that a cancel request caused
// which was not ours: we ask for one only when ctx is done.
func sayCanceled(ctx context.Context, op string, err error) error {
	if !canceledByOther(err) || ctx.Err() != nil {
		return err
	}
	return &Error{Kind: ErrCanceledByOther, Op: op, Err: err,
		Hint: "try again: a cancel request, or pg_cancel_backend, that was meant for somebody else stopped it; nothing of it is stored"}
}

// leftOpen says that work met a transaction that is not its own.
func leftOpen(op string) error {
	return &Error{Kind: ErrTxLeftOpen, Op: op, Err: errors.New("the server connection was inside a transaction of another client, so nothing was stored"),
		Hint: "see the pool mode and the log of the pooler: it assigned a server connection in the middle of a transaction"}
}

// statement takes pgx's options out of the arguments.
func (q query) statement(ctx context.Context, conn *pgx.Conn, kind wire.Statement, check *checked) (wire.Statement, error) {
	sql, args := q.sql, q.args
options:
	for len(args) > 0 {
		switch option := args[0].(type) {
		case pgx.QueryExecMode:
			return kind, &Error{Kind: ErrConfig, Op: "read the arguments", Hint: "set Config.Mode for the whole database",
				Err: fmt.Errorf("one statement of a scope cannot have an exec mode of its own")}
		case pgx.QueryResultFormats:
			kind.Formats = func([]pgconn.FieldDescription) []int16 { return option }
		case pgx.QueryResultFormatsByOID:
			kind.Formats = func(fields []pgconn.FieldDescription) []int16 {
				formats := make([]int16, len(fields))
				for i, f := range fields {
					formats[i] = option[f.DataTypeOID]
				}
				return formats
			}
		case pgx.QueryRewriter:
			var err error
			if sql, args, err = option.RewriteQuery(ctx, conn, sql, args[1:]); err != nil {
				return kind, fmt.Errorf("rewrite the query: %w", err)
			}
			break options
		default:
			break options
		}
		args = args[1:]
	}
	kind.SQL, kind.Args = sql, args
	return kind, check.check(sql)
}

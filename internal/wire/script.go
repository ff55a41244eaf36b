package wire

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// answer is what the server says to one message of ours if it succeeds. Whoever
// says anything else has lost step: a pooler that mixes clients, or repeats an
// answer after an error (Supavisor with named statements, Odyssey 1.5). Nothing
// that comes after can be trusted, so the connection is given up.
type answer byte

const (
	parsed     answer = iota // to Parse: ParseComplete
	bound                    // to Bind: BindComplete
	parameters               // to Describe of a statement: ParameterDescription, and then described
	described                // to Describe: RowDescription or NoData
	executed                 // to Execute: DataRow any number of times, then CommandComplete or EmptyQueryResponse
	closed                   // to Close: CloseComplete
)

// expected reports whether msg is what the server may say now, and notes that it
// was said. Errors, notices and the like may always come and are not asked about.
func (x *Exchange) expected(msg pgproto3.BackendMessage) bool {
	if ready, ok := msg.(*pgproto3.ReadyForQuery); ok {
		switch ready.TxStatus {
		case protocol.Idle, protocol.InTransaction, protocol.FailedTransaction:
			return x.refused || x.said == len(x.script)
		}
		return false
	}
	if x.refused {
		return false
	}
	if x.said == len(x.script) {
		if !x.inserting {
			return false
		}
		x.said, x.script = 0, append(x.script[:0], bound, executed)
	}
	said, done := false, true
	switch next := x.script[x.said]; msg.(type) {
	case *pgproto3.ParseComplete:
		said = next == parsed && len(x.parsing) > 0
	case *pgproto3.BindComplete:
		said = next == bound
	case *pgproto3.ParameterDescription:
		said = next == parameters
	case *pgproto3.RowDescription, *pgproto3.NoData:
		said = next == described
	case *pgproto3.DataRow:
		said, done = next == executed, false
	case *pgproto3.CommandComplete, *pgproto3.EmptyQueryResponse:
		said = next == executed
		x.executions++
	case *pgproto3.CloseComplete:
		said = next == closed && x.closesSent > 0
	}
	if said && done {
		x.said++
	}
	return said
}

// StatementLostError says that a named statement of ours was not where we left
// it, or in the way of another. Nothing of the exchange was committed.
type StatementLostError struct{ cause *pgconn.PgError }

func (e *StatementLostError) Error() string { return e.cause.Error() }

// Unwrap returns PostgreSQL's error, or the pooler's.
func (e *StatementLostError) Unwrap() error { return e.cause }

// failure makes a [StatementLostError] of an error that is about one of our named
// statements, and leaves any other as it is. Which it is shows in the message of
// ours that failed, not in the code alone: a caller's own EXECUTE, or a function
// that raises the same code, fails when it is executed, or with a context.
func (x *Exchange) failure(err *pgconn.PgError) error {
	if x.mode != CacheStatement {
		return err
	}
	at, waiting := executed, x.said < len(x.script)
	if waiting {
		at = x.script[x.said]
	}
	lost := false
	switch {
	case err.Severity == "FATAL":
		lost = lostByPooler(err.Message)
	case err.Where != "" || !waiting:
	case err.Code == "26000":
		lost = at == bound || at == parameters || at == described
	case err.Code == "42P05":
		lost = at == parsed
	}
	if lost {
		return &StatementLostError{err}
	}
	return err
}

// lostByPooler reports whether a pooler's last words are about a named statement.
// They come before the Sync was passed on, so that nothing was committed. The
// code does not say it: PgBouncer's 08P01 is that of a query timeout, too, when
// the statement may have been committed (measured), and Supavisor's are all XX000.
func lostByPooler(message string) bool {
	for _, text := range []string{
		"prepared statement did not exist", "prepared statement name is already in use", // PgBouncer 1.21 and later
		"(EMAXPREPARED", "(EPREPAREDDUP)", "(EPREPAREDNOTFOUND)", // Supavisor with its flag: 100 statements a client, EMAXPREPAREDMEM
		"unable to bind", // pgpool-II
	} {
		if strings.Contains(message, text) {
			return true
		}
	}
	return false
}

// LostStepError says that the server, or the pooler before it, answered what was
// not asked for. Whether anything took effect is unknown, as with a connection
// that breaks.
type LostStepError struct{ cause error }

func (e *LostStepError) Error() string { return "the answers are out of step: " + e.cause.Error() }

// Unwrap returns the cause.
func (e *LostStepError) Unwrap() error { return e.cause }

func (x *Exchange) unexpected(msg pgproto3.BackendMessage) error {
	x.lose(fmt.Sprintf("%T", msg))
	return x.err
}

// lose notes that what has come was not asked for. An error that came before it may
// be somebody else's, so that it proves nothing about our statements any more.
func (x *Exchange) lose(what string) {
	lost := &LostStepError{errors.New(what + " was not expected")}
	if _, answered := errors.AsType[*pgconn.PgError](x.err); answered {
		lost.cause = fmt.Errorf("%w after: %s", lost.cause, x.err.Error())
		x.err = nil
	}
	x.fail(lost)
}

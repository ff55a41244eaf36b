package poolproof

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/wire"
)

// Kind says what sort of failure an [Error] is. Each kind is itself an error,
// so that errors.Is(err, poolproof.ErrTenantNotSet) reads naturally.
type Kind string

// The kinds.
const (
	// ErrConfig: the Config cannot work, whatever the database does.
	ErrConfig Kind = "configuration"
	// ErrUnavailable: the database or its pooler could not be reached, or the connection broke. Whether a statement that
	// was under way took effect is then unknown.
	ErrUnavailable Kind = "unavailable"
	// ErrNoTenant: a session without a tenant, where one is needed.
	ErrNoTenant Kind = "no tenant"
	// ErrTenantNotSet: the scope's settings could not be made; the statement was not executed.
	ErrTenantNotSet Kind = "tenant not set"
	// ErrStatementRefused: the statement would end the scope's transaction or leave state on a shared server connection;
	// it was not sent.
	ErrStatementRefused Kind = "statement refused"
	// ErrStatementMode: the pooler is in statement mode, where no transaction can be begun.
	ErrStatementMode Kind = "statement pooling"
	// ErrTxEnded: the transaction is over, so the statement was not sent, or its result cannot be read any more. The
	// cause says why; pgx.ErrTxClosed is part of it where a statement came too late.
	ErrTxEnded Kind = "transaction ended"
	// ErrTxInUse: the transaction is in the middle of another statement: rows are open, or another goroutine or an argument's own
	// code uses it. The statement was not sent; the transaction goes on.
	ErrTxInUse Kind = "transaction in use"
	// ErrCanceledByOther: the server was asked to stop the statement, and not by us. Supavisor delivers a late cancel request
	// to whichever client has the server connection by then. Nothing of the statement's transaction is stored.
	ErrCanceledByOther Kind = "canceled by another"
	// ErrTxLeftOpen: the server connection was in a transaction that somebody else had begun, so that what ran is not
	// stored. The connection is given up.
	ErrTxLeftOpen Kind = "transaction left open"
	// ErrClosed: the database was closed. Of CloseContext, that work was still under way when its context was done.
	ErrClosed Kind = "closed"
	// ErrOtherTenant: a database/sql transaction was used with the context of another tenant.
	ErrOtherTenant Kind = "another tenant"
)

// Error makes a kind usable as the target of errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is a failure that poolproof itself found or interpreted. PostgreSQL's
// own errors about a caller's statement are not wrapped in it: they come back
// as *pgconn.PgError, as from pgx.
type Error struct {
	Kind Kind
	Op   string // what was being done, such as "open" or "query"
	Hint string // the next thing to do, for a person
	Err  error  // the cause, may be nil
}

// Error returns operation, kind and cause; the hint is separate.
func (e *Error) Error() string {
	s := "poolproof: " + e.Op + ": " + string(e.Kind)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrUnavailable) and its like work.
func (e *Error) Is(target error) bool { return target == e.Kind }

// SafeToRetry is what pgconn.SafeToRetry asks: only a statement that was never
// sent, or that the server has undone, may be sent again blindly. In a
// transaction it is the whole transaction that may.
func (e *Error) SafeToRetry() bool {
	return e.Kind == ErrTenantNotSet || e.Kind == ErrCanceledByOther || e.Kind == ErrUnavailable && e.Op == opAcquire
}

const opAcquire = "acquire a connection"

// statementLost reports whether err says that a named prepared statement is not
// where we left it, or in the way of another.
func statementLost(err error) bool {
	_, lost := errors.AsType[*wire.StatementLostError](err)
	return lost
}

// canceledByOther reports whether err is a cancel request's doing. PostgreSQL has
// the same code for its own timeouts, with other words.
func canceledByOther(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "57014" && strings.Contains(pgErr.Message, "user request")
}

// statementPooling reports whether err is a pooler's refusal of BEGIN.
func statementPooling(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.Contains(pgErr.Message, "statement pooling")
}

// unreachable reports whether err means that the server, or the pooler before
// it, is not there or does not take work: broken sockets, and the SQLSTATE
// classes with which PostgreSQL and poolers close a connection.
func unreachable(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		if strings.HasPrefix(pgErr.Code, "57P0") { // admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped
			return true
		}
		if pgErr.Severity != "FATAL" && pgErr.Severity != "PANIC" {
			return false
		}
		switch pgErr.Code[:min(2, len(pgErr.Code))] {
		case "08", "53", "58", "XX": // connection, resources, system, and Supavisor's XX000
			return true
		}
		return false
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var connectErr *pgconn.ConnectError
	var netErr net.Error
	var lostStep *wire.LostStepError
	return errors.As(err, &lostStep) || errors.Is(err, wire.ErrInterrupted) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &connectErr) || errors.As(err, &netErr)
}

// classify wraps an error of the connection in an *Error of kind
// ErrUnavailable and leaves all others, PostgreSQL's and the context's, alone.
func classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if unreachable(err) {
		return &Error{Kind: ErrUnavailable, Op: op, Err: err, Hint: hintFor(err)}
	}
	return err
}

// reasons are what servers and poolers say when they let nobody in, with what to
// do then. Supavisor's words begin with a code of its own in parentheses.
var reasons = []struct{ code, text, hint string }{
	{"", "(ENOTFOUND)", hintUser}, {"", "(ENOIDENTIFIER)", hintUser}, {"", "Tenant or user not found", hintUser},
	{"28P01", "", "see whether the password is right; the pooler may lock this address out after a few more tries"},
	{"", "(EWRONGPASSWORD)", "see whether the password is right; the pooler may lock this address out after a few more tries"},
	{"", "(ECIRCUITBREAKER)", "the pooler has locked this address out after wrong passwords: mend the password, then wait two minutes without any try"},
	{"", "(EMAXCONNSESSION)", hintSession}, {"", "MaxClientsInSessionMode", hintSession},
	{"", "(EMAXCONN)", hintMaxConns}, {"", "no more connections allowed", hintMaxConns}, {"53300", "", hintMaxConns},
	{"", "(ECHECKOUT", "all the pooler's server connections are busy: look for long transactions, or enlarge its pool"},
	{"", "(ESETNOTALLOWED)", "the pooler refuses SET: use Session.With for a scope's settings"},
	{"08006", "Failed to connect", "the pooler answers and cannot reach its PostgreSQL: see whether that is up"},
}

const (
	hintUser     = "see the user name: a pooler that serves many projects wants the project's in it, as in postgres.REF"
	hintSession  = "lower Config.MaxConns: in session mode all clients together have only as many connections as the pooler's pool_size; or use its transaction mode"
	hintMaxConns = "lower Config.MaxConns, or raise the limit of connections"
)

// hintFor is the hint of an error of connecting.
func hintFor(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		for _, r := range reasons {
			if (r.code == "" || r.code == pgErr.Code) && strings.Contains(pgErr.Message, r.text) {
				return r.hint
			}
		}
	}
	return `see whether it answers at all: psql "$DATABASE_URL" -c 'select 1'`
}

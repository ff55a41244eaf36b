package poolproof

import (
	"context"
	"crypto/tls"
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
	// ErrClosed: the database was closed. CloseContext also returns it if work was still under way when its context was done.
	ErrClosed Kind = "closed"
	// ErrOtherTenant: a database/sql transaction was used with the context of another tenant.
	ErrOtherTenant Kind = "another tenant"
)

// Error returns the kind's text, so that a kind can be the target of errors.Is.
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

// Is reports whether target is the error's Kind.
func (e *Error) Is(target error) bool { return target == e.Kind }

// SafeToRetry reports whether the statement, or in a transaction the whole
// transaction, was never sent or was undone, so that sending it again is safe.
// pgconn.SafeToRetry calls it.
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

// reason is why a server or a pooler lets nobody in.
type reason struct {
	code, text string // SQLSTATE, and a part of the message; "" is any
	refused    bool   // it is the login that is refused: see LoginRefused
	hint       string
}

// reasons are what servers and poolers say when they let nobody in, with what to
// do then; the first that fits counts. Supavisor's words begin with a code of its
// own in parentheses. PgBouncer has 08P01 for nearly all that it says itself, a
// wrong password among it, and 1.18 also for what PostgreSQL has told it.
var reasons = []reason{
	{"", "(ENOTFOUND)", true, hintUser}, {"", "(ENOIDENTIFIER)", true, hintUser}, {"", "Tenant or user not found", true, hintUser},
	{"", "(EWRONGPASSWORD)", true, hintPassword},
	{"", "(ECIRCUITBREAKER)", true, "the pooler has locked this address out after wrong passwords: mend the password, then wait two minutes without any try"},
	{"", "(EMAXCONNSESSION)", false, hintSession}, {"", "MaxClientsInSessionMode", false, hintSession},
	{"", "(EMAXCONN)", false, hintMaxConns}, {"", "no more connections allowed", false, hintMaxConns}, {"53300", "", false, hintMaxConns},
	{"", "(ECHECKOUT", false, "all the pooler's server connections are busy: look for long transactions, or enlarge its pool"},
	{"", "(ESETNOTALLOWED)", false, "the pooler refuses SET: use Session.With for a scope's settings"},
	{"08006", "Failed to connect", false, "the pooler answers and cannot reach its PostgreSQL: see whether that is up"},
	{"28P01", "", true, hintPassword},
	{"28000", "pg_hba.conf", true, hintHBA},
	{"28000", "", true, hintLogin},
	{"3D000", "", false, hintDatabase},
	{"42501", "permission denied for database", false, "let the login in there as the database's owner: grant connect on database … to …"},
	{"55000", "not currently accepting connections", false, "alter database … allow_connections true, or name another database in the URL"},
	{"57P03", "", false, "wait until the server has started: whoever asks again gets in then"},
	{"08P01", "SASL authentication failed", true, hintPassword}, {"08P01", "password authentication failed", true, hintPassword}, {"08P01", "auth failed", true, hintPassword},
	{"08P01", "no such user", true, "see the user name: the pooler knows no such user (PgBouncer's auth_file or auth_query)"},
	{"08P01", "pg_hba.conf", true, hintHBA},
	{"08P01", "is not permitted to log in", true, hintLogin},
	{"08P01", "too many connections", false, hintMaxConns},
	{"08P01", `role "`, true, hintLogin}, // does not exist
	{"08P01", "no such database", false, hintDatabase}, {"08P01", "does not exist", false, hintDatabase},
	{"42704", "unrecognized configuration parameter", false, hintParameter}, {"08P01", "unsupported startup parameter", false, hintParameter},
	{"08P01", "SSL required", false, "the pooler wants TLS: write sslmode=require, or verify-full, in the URL"},
	{"08P01", "server_login_retry", false, "the pooler answers and cannot log in to its PostgreSQL: see the cause in its log, and the password that it has"},
}

const (
	hintParameter = "take the parameter that the error names out of the URL; a setting that you need goes to the role: alter role … set …"
	hintUser      = "see the user name: a pooler that serves many projects wants the project's in it, as in postgres.REF"
	hintPassword  = "see whether the password is right; the pooler may lock this address out after a few more tries"
	hintLogin     = "let the user log in (alter role … login), or name another one in the URL"
	hintHBA       = `let this user in from here in pg_hba.conf and reload it; where the error says "no encryption", try sslmode=require in the URL first`
	hintDatabase  = "make the database (createdb), or name another one in the URL"
	hintSession   = "lower Config.MaxConns: in session mode all clients together have only as many connections as the pooler's pool_size; or use its transaction mode"
	hintMaxConns  = "lower Config.MaxConns, or raise the limit of connections"
	hintNoTLS     = "set TLS up there or, on a network that you trust, write sslmode=disable in the URL"
	hintCert      = "name the authority of the server's certificate with sslrootcert in the URL, and the host as the certificate has it"
)

// reasonOf returns the first of reasons that fits, nil if none does.
func reasonOf(err error) *reason {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return nil
	}
	for i, r := range reasons {
		if (r.code == "" || r.code == pgErr.Code) && strings.Contains(pgErr.Message, r.text) {
			return &reasons[i]
		}
	}
	return nil
}

// LoginRefused reports whether err says that the server, or its pooler, does not
// accept this login: a wrong password, a user that may not log in from here, or
// one that the pooler does not know. Trying again soon does not help, and may
// lock the address out: hosted Supavisor takes ten wrong passwords within two
// minutes, and then refuses the right one, too. It takes any error of Open or of a
// statement, wrapped or not; for nil it is false.
func LoginRefused(err error) bool {
	r := reasonOf(err)
	return r != nil && r.refused
}

// Hint returns the next step after an error of connecting, as the Hint of an [Error] has it: for
// tools that connect by themselves.
func Hint(err error) string { return hintFor(err) }

// hintFor is the hint of an error of connecting.
func hintFor(err error) string {
	if r := reasonOf(err); r != nil {
		return r.hint
	}
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return hintCert
	}
	if err != nil && strings.Contains(err.Error(), "server refused TLS connection") { // pgconn has no type for it
		return hintNoTLS
	}
	return `see whether it answers at all: psql "$DATABASE_URL" -c 'select 1'`
}

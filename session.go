package poolproof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof/internal/wire"
)

// Session runs statements as one tenant, or as none. It is a value that holds
// no connection: make one wherever it is needed, copy it, use it from any
// number of goroutines.
//
// Errors of its methods: an [*Error] for what this package found, with its kind;
// PostgreSQL's own, about the statement, as *pgconn.PgError; the context's, wrapped.
// Command tags and counts are empty with an error.
//
// It satisfies sqlc's DBTX for pgx.
type Session struct {
	db     *DB
	tenant string
	user   string
	extra  []setting
	err    error // what was wrong in making it; told by every use
}

type setting struct{ name, value string }

// Tenant returns a session of the tenant with this id, in the text form that the
// policies cast from. Statements of a session with an empty id are refused
// with ErrNoTenant and are not sent; for no tenant, say so: Shared.
func (db *DB) Tenant(id string) Session {
	s := Session{db: db, tenant: id}
	if id == "" {
		s.err = &Error{Kind: ErrNoTenant, Op: "make a session", Hint: "pass the tenant's id, or use Shared for rows that belong to no tenant"}
	}
	return s
}

// Shared returns a session without a tenant: under the usual policies it sees
// rows that belong to none, such as catalogues. Every setting is set, to the empty
// text, so that it does not run as a tenant that somebody leaked.
func (db *DB) Shared() Session { return Session{db: db} }

// As returns a copy of the session that acts for a user, in the text form that the
// policies cast from. Default: no user.
func (s Session) As(user string) Session {
	s.user = user
	return s
}

// With returns a copy of the session with a value for one of Config.Settings. For a
// name that is not among them every statement of the copy returns an error of kind
// ErrConfig.
func (s Session) With(name, value string) Session {
	if i, known := s.db.scope.settings[name]; !known || i < 2 {
		s.err = &Error{Kind: ErrConfig, Op: "make a session", Hint: "list it in Config.Settings: every scope has to make every setting",
			Err: fmt.Errorf("setting %q is not configured", name)}
		return s
	}
	s.extra = append(slices.Clip(s.extra), setting{name, value})
	return s
}

// Query sends the scope and the statement in one round trip. Rows must be
// closed, or read to their end, to give the connection back; Rows.Err includes
// the error of the transaction's end. Of pgx's options QueryRewriter
// (pgx.NamedArgs) and the result formats work; an exec mode is an error of kind
// ErrConfig.
func (s Session) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows := s.query(ctx, sql, args, wire.Statement{})
	return rows, rows.Err()
}

// QueryRow is Query for one row. Errors, pgx.ErrNoRows among them, come from
// the row's Scan, which must be called.
func (s Session) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return wire.Row{Rows: s.query(ctx, sql, args, wire.Statement{})}
}

// Exec sends the scope and the statement in one round trip, drops rows, and
// succeeds only once the transaction has ended well. Errors are those of
// Query.
func (s Session) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	rows := s.query(ctx, sql, args, wire.Statement{NoRows: true})
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

// query sends one statement of the kind given and begins to read its result.
func (s Session) query(ctx context.Context, sql string, args []any, kind wire.Statement) *wire.Rows {
	if s.err != nil {
		return wire.FailedRows(s.err)
	}
	w := work{check: s.db.inScope, kind: kind, queries: []query{{sql, args}}}
	if !s.db.oneSync.Load() {
		return s.queryInTx(ctx, w)
	}
	r, err := s.start(ctx, w)
	if err != nil {
		return wire.FailedRows(err)
	}
	return r.x.Rows(r.finish)
}

// queryInTx is query where the pooler breaks the one-Sync scope: an explicit
// transaction around the statement.
func (s Session) queryInTx(ctx context.Context, w work) *wire.Rows {
	tx := &transaction{session: s}
	rows := tx.query(ctx, w, func(err error) error { return tx.end(ctx, err) })
	if err := rows.Err(); err != nil {
		rows.Close()
		return wire.FailedRows(tx.end(ctx, err))
	}
	return rows
}

// run is a scope under way that is its own transaction.
type run struct {
	underway
	pool *pgxpool.Conn
}

// start takes a connection, sends the scope with the work and begins to read
// the first result. A prepared statement, or a domain, that was lost by then is
// retried once, without it: nothing was executed, or it was rolled back.
func (s Session) start(ctx context.Context, w work) (*run, error) {
	mode := wire.Mode(s.db.mode.Load())
	r, err := s.attempt(ctx, w)
	if err != nil && w.rows == nil && (s.db.noteLost(ctx, mode, err) || s.db.noteDomainLost(ctx, err)) {
		r, err = s.attempt(ctx, w)
	}
	return r, err
}

func (s Session) attempt(ctx context.Context, w work) (r *run, err error) {
	pc, conn, err := s.db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	begun := false
	defer func() {
		if !begun { // not sent, or an argument's own code panicked
			s.db.release(pc, conn)
		}
	}()
	r = &run{underway: underway{conn: conn}, pool: pc}
	err = s.exchange(ctx, &r.underway, ahead{scope: true}, w)
	if r.x == nil {
		return nil, err
	}
	begun = true
	if err != nil {
		return nil, r.finish(err)
	}
	return r, nil
}

// finish reads to ReadyForQuery, releases the connection and returns the first
// error: err, if there is one already. A scope whose transaction is not over by
// then was not its own transaction, and nothing of it is stored.
func (r *run) finish(err error) error {
	first, returned := false, false
	defer func() {
		if first || !returned { // a logger or a tracer of Config's panicked
			r.session.db.release(r.pool, r.conn)
		}
	}()
	first, err = r.close(err)
	returned = true
	if first && err == nil && r.conn.TxStatus() != 'I' {
		err = leftOpen("end the scope")
	}
	return err
}

// readScope reads the result of a scope that is a statement: the canary, or why
// it failed.
func (s Session) readScope(ctx context.Context, x *wire.Exchange) error {
	leaked, _, err := x.Skip()
	if len(leaked) > 1 {
		s.db.noteLeak(ctx, string(leaked[1]))
	}
	return s.scopeError(ctx, err)
}

// noteLeak counts and logs a tenant that a scope found set. Its value is nobody's
// to read.
func (db *DB) noteLeak(ctx context.Context, pid string) {
	db.metrics.leaks.Inc()
	db.log.LogAttrs(ctx, slog.LevelError, "poolproof: another client left a tenant on this server connection by setting it for the session",
		slog.String("backend_pid", pid), slog.String("setting", db.config.TenantSetting),
		slog.String("hint", "look for SET or set_config(…, false) in the other programs behind this pooler; poolproof prove finds them"))
}

// scopeError makes ErrTenantNotSet of PostgreSQL's answer that a setting could
// not be made, logged and counted, and leaves everything else as it is.
func (s Session) scopeError(ctx context.Context, err error) error {
	if _, answered := errors.AsType[*pgconn.PgError](err); !answered || ctx.Err() != nil || unreachable(err) || statementLost(err) || canceledByOther(err) {
		return err
	}
	s.db.metrics.failures.Inc()
	s.db.log.LogAttrs(ctx, slog.LevelError, "poolproof: the tenant could not be set, the statement was not executed", slog.String("cause", err.Error()))
	return &Error{Kind: ErrTenantNotSet, Op: "set the tenant", Err: err,
		Hint: "see that Config's settings and role may be set by this login"}
}

// describeError is scopeError for an error of describing a statement, where the
// scope may have been part of it.
func (s Session) describeError(ctx context.Context, err error) error {
	if callErr, ok := errors.AsType[*wire.CallError](err); ok {
		return s.scopeError(ctx, callErr.Err)
	}
	return err
}

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
// It satisfies sqlc's DBTX for pgx.
type Session struct {
	db     *DB
	tenant string
	user   string
	extra  []setting
	err    error // what was wrong in making it; told by every use
}

type setting struct{ name, value string }

// Tenant gives a session of the tenant with this id, in the text form that the
// policies cast from. Statements of a session with an empty id are refused
// with ErrNoTenant and are not sent; for no tenant, say so: Shared.
func (db *DB) Tenant(id string) Session {
	s := Session{db: db, tenant: id}
	if id == "" {
		s.err = &Error{Kind: ErrNoTenant, Op: "make a session", Hint: "pass the tenant's id, or use Shared for rows that belong to no tenant"}
	}
	return s
}

// Shared gives a session without a tenant: under the usual policies it sees
// rows that belong to none, such as catalogues. It makes all settings, empty,
// so that it does not run as a tenant that somebody leaked.
func (db *DB) Shared() Session { return Session{db: db} }

// As gives the same session acting for a user.
func (s Session) As(user string) Session {
	s.user = user
	return s
}

// With gives the same session with a value for one of Config.Settings. A name
// that is not among them is an error of kind ErrConfig, told by every
// statement.
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
// (pgx.NamedArgs) and the result formats work; an exec mode is refused.
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
// succeeds only once the transaction has ended well.
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
	if !s.db.oneSync.Load() {
		return s.queryInTx(ctx, sql, args, kind)
	}
	r, err := s.start(ctx, kind, query{sql, args})
	if err != nil {
		return wire.FailedRows(err)
	}
	return r.x.Rows(r.finish)
}

// queryInTx is query where the pooler breaks the one-Sync scope: an explicit
// transaction around the statement.
func (s Session) queryInTx(ctx context.Context, sql string, args []any, kind wire.Statement) *wire.Rows {
	if err := refuseInScope(sql); err != nil {
		return wire.FailedRows(err)
	}
	tx := &transaction{session: s}
	rows := tx.query(ctx, sql, args, kind, func(err error) error { return tx.end(ctx, err) })
	if err := rows.Err(); err != nil {
		rows.Close()
		return wire.FailedRows(tx.end(ctx, err))
	}
	return rows
}

// query is a statement as a caller wrote it.
type query struct {
	sql  string
	args []any
}

// statement takes pgx's options out of the arguments.
func (q query) statement(ctx context.Context, conn *pgx.Conn, kind wire.Statement, refuse func(string) error) (wire.Statement, error) {
	sql, args := q.sql, q.args
	for len(args) > 0 {
		switch option := args[0].(type) {
		case pgx.QueryExecMode:
			return kind, &Error{Kind: ErrConfig, Op: "read the arguments", Hint: "set Config.Mode for the whole database",
				Err: fmt.Errorf("an exec mode cannot be chosen for one statement of a scope")}
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
			kind.SQL, kind.Args = sql, args
			return kind, refuse(sql)
		default:
			kind.SQL, kind.Args = sql, args
			return kind, refuse(sql)
		}
		args = args[1:]
	}
	kind.SQL, kind.Args = sql, args
	return kind, refuse(sql)
}

// run is a scope under way: the exchange, and the connection that it is to
// give back.
type run struct {
	session Session
	pool    *pgxpool.Conn
	conn    *wire.Conn
	mode    wire.Mode
	x       *wire.Exchange
	span    span
}

// start takes a connection, sends the scope with the queries, reads the
// scope's own result and begins the first query's. A prepared statement, or a
// domain, that was lost by then is retried once, without it: nothing was
// executed, or it was rolled back.
func (s Session) start(ctx context.Context, kind wire.Statement, queries ...query) (*run, error) {
	mode := wire.Mode(s.db.mode.Load())
	r, err := s.attempt(ctx, mode, kind, queries)
	if err != nil && (s.db.noteLost(ctx, mode, err) || s.db.noteDomainLost(ctx, err)) {
		r, err = s.attempt(ctx, wire.Mode(s.db.mode.Load()), kind, queries)
	}
	return r, err
}

func (s Session) attempt(ctx context.Context, mode wire.Mode, kind wire.Statement, queries []query) (*run, error) {
	pc, conn, err := s.db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	r := &run{session: s, pool: pc, conn: conn, mode: mode}
	defer func() { // an argument's own code may panic while it is encoded
		if r.x == nil {
			s.db.release(pc, conn)
		}
	}()
	statements := make([]wire.Statement, len(queries))
	for i, q := range queries {
		if statements[i], err = q.statement(ctx, conn.Pgx(), kind, refuseInScope); err != nil {
			return nil, err
		}
	}
	ctx = r.span.begin(ctx, s.db, conn, statements)
	s.db.metrics.scopes.Inc()
	var calls []wire.Call
	first := &statements[0]
	if domain := s.db.domain.Load(); domain != 0 && carries(*first) {
		first.Rider = s.db.scope.rider(s, domain)
	} else {
		calls = []wire.Call{s.db.scope.call(s)}
	}
	r.x, err = conn.Run(ctx, mode, calls, statements...)
	if err != nil {
		err = s.describeError(ctx, err)
		r.span.end(pgconn.CommandTag{}, err)
		return nil, classify("query", err)
	}
	if first.Rider.OID == 0 {
		if err := s.readScope(ctx, r.x); err != nil {
			return nil, r.finish(err)
		}
	}
	err = r.x.NextResult()
	if first.Rider.OID != 0 {
		s.db.noteLeaks(ctx, r.x)
	}
	if err != nil {
		if first.Rider.OID != 0 {
			err = s.riderError(ctx, r.x, len(first.Args)+1, err)
		}
		return nil, r.finish(err)
	}
	return r, nil
}

// readScope reads the result of a scope that is a statement: the canary, or why
// it failed.
func (s Session) readScope(ctx context.Context, x *wire.Exchange) error {
	leaked, _, err := x.Skip()
	if leaked != nil {
		s.db.noteLeak(ctx, string(leaked[1]))
	}
	return s.scopeError(ctx, err)
}

// noteLeak counts and logs a tenant that a scope found set. Its value is nobody's
// to read.
func (db *DB) noteLeak(ctx context.Context, pid string) {
	db.metrics.leaks.Inc()
	db.log.LogAttrs(ctx, slog.LevelError, "poolproof: a tenant was left on this server connection by somebody who set it for the session",
		slog.String("backend_pid", pid), slog.String("setting", db.config.TenantSetting),
		slog.String("hint", "look for SET or set_config(…, false) in whatever else uses this pooler"))
}

// scopeError makes ErrTenantNotSet of PostgreSQL's answer that a setting could
// not be made, logged and counted, and leaves everything else as it is.
func (s Session) scopeError(ctx context.Context, err error) error {
	if _, answered := errors.AsType[*pgconn.PgError](err); !answered || ctx.Err() != nil || unreachable(err) || statementLost(err) {
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

// finish reads to ReadyForQuery, gives the connection back and tells the first
// error: err, if there is one already.
func (r *run) finish(err error) error {
	closeErr := r.x.Close()
	r.session.db.release(r.pool, r.conn)
	if err == nil {
		err = closeErr
	}
	r.session.db.noteLost(context.Background(), r.mode, err)
	r.span.end(r.x.Tag(), err)
	return classify("query", err)
}

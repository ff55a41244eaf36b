package poolproof

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/wire"
)

// Connector makes database/sql, and with it GORM, Ent, bun, sqlx and sqlc's
// stdlib output, take the tenant from the context of each call:
//
//	sqlDB := sql.OpenDB(poolproof.Connector(db))
//	ctx := poolproof.WithTenant(r.Context(), id)
//	rows, err := sqlDB.QueryContext(ctx, "select …")   // one round trip, scope included
//
// A call whose context names no tenant, such as every call of the forms without
// a context, is refused with ErrNoTenant and sends nothing. Refusals and errors
// are a Session's; PostgreSQL's own are *pgconn.PgError. driver.ErrBadConn is
// never returned, so database/sql never repeats a statement.
//
//	*sql.DB ── driver.Conn ──┐   holds no PostgreSQL connection
//	        ── driver.Conn ──┼── poolproof.DB ── pooler ── PostgreSQL
//	        ── driver.Conn ──┘   takes one per statement, or per transaction
//
// Therefore MaxConns of db is the limit that counts, database/sql's own limits
// may stay at their defaults, and closing the *sql.DB does not close db. A
// prepared *sql.Stmt is its text: it may run as one tenant after another, and
// nothing is kept on the server for it beyond what Config.Mode keeps.
//
// BeginTx takes the tenant, too, and sends BEGIN with the first statement. In
// the transaction a context that names another tenant, user or setting is
// refused with ErrOtherTenant and nothing is sent; one that names none runs as
// the transaction. Isolation levels and ReadOnly are PostgreSQL's; through a
// pooler in statement mode BeginTx fails with ErrStatementMode.
//
// Arguments are encoded by pgx: its types, slices, uuid.UUID, driver.Valuer, and
// pgx.NamedArgs alone; sql.Named is refused, and a leading pgx.QueryExecMode is
// dropped: use Config.Mode. A []byte is JSON, text or bytea, as the
// parameter's type says, in every mode.
//
// Values arrive as int64 (integers, oid), float64 (float4, float8), bool, []byte
// (bytea, json, jsonb), time.Time (date, timestamp and, in local time,
// timestamptz) and string: PostgreSQL's text of all other types, numeric, uuid
// and arrays among them.
func Connector(db *DB) driver.Connector { return connector{db} }

type connector struct{ db *DB }

// Connect sends nothing.
func (c connector) Connect(context.Context) (driver.Conn, error) { return &sqlConn{db: c.db}, nil }

func (c connector) Driver() driver.Driver { return sqlDriver{} }

// sqlDriver is there for driver.Connector's sake and opens nothing.
type sqlDriver struct{}

func (sqlDriver) Open(string) (driver.Conn, error) {
	return nil, &Error{Kind: ErrConfig, Op: "open by name", Hint: "use sql.OpenDB(poolproof.Connector(db))",
		Err: errors.New("database/sql reaches poolproof through a DB that is open already")}
}

// sqlConn is database/sql's idea of a connection: here a place for one
// transaction at a time. database/sql serialises its calls.
type sqlConn struct {
	db *DB
	tx *sqlTx // nil: none is open
}

var (
	_ driver.Conn               = (*sqlConn)(nil)
	_ driver.ConnBeginTx        = (*sqlConn)(nil)
	_ driver.ConnPrepareContext = (*sqlConn)(nil)
	_ driver.QueryerContext     = (*sqlConn)(nil)
	_ driver.ExecerContext      = (*sqlConn)(nil)
	_ driver.NamedValueChecker  = (*sqlConn)(nil)
	_ driver.Pinger             = (*sqlConn)(nil)
	_ driver.SessionResetter    = (*sqlConn)(nil)
	_ driver.Validator          = (*sqlConn)(nil)
)

// query sends one statement, in the open transaction if there is one.
func (c *sqlConn) query(ctx context.Context, sql string, args []driver.NamedValue, kind wire.Statement) *wire.Rows {
	values := make([]any, 0, len(args))
	for i, a := range args {
		if _, isMode := a.Value.(pgx.QueryExecMode); isMode && i == 0 {
			continue // GORM's migrator passes one; how a statement is sent is Config.Mode's to say and changes no result
		}
		values = append(values, a.Value)
	}
	if c.tx != nil {
		return c.tx.query(ctx, sql, values, kind)
	}
	return c.db.SessionFrom(ctx).query(ctx, sql, values, kind)
}

func (c *sqlConn) QueryContext(ctx context.Context, sql string, args []driver.NamedValue) (driver.Rows, error) {
	rows := c.query(ctx, sql, args, wire.Statement{Text: true})
	if err := rows.Err(); err != nil {
		rows.Close()
		return nil, classify("query", err)
	}
	return newSQLRows(rows), nil
}

func (c *sqlConn) ExecContext(ctx context.Context, sql string, args []driver.NamedValue) (driver.Result, error) {
	rows := c.query(ctx, sql, args, wire.Statement{NoRows: true})
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, classify("query", err)
	}
	return sqlResult(rows.CommandTag()), nil
}

// CheckNamedValue lets every value through to pgx.
func (c *sqlConn) CheckNamedValue(v *driver.NamedValue) error {
	if v.Name != "" {
		return &Error{Kind: ErrStatementRefused, Op: "read the arguments", Err: errors.New("PostgreSQL's parameters have no names"),
			Hint: "number them $1, $2, or write @name and pass pgx.NamedArgs as the only argument"}
	}
	return nil
}

func (c *sqlConn) PrepareContext(_ context.Context, sql string) (driver.Stmt, error) {
	return &sqlStmt{conn: c, sql: sql}, nil
}

func (c *sqlConn) Prepare(sql string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), sql)
}

// Begin is part of driver.Conn and without a context, so without a tenant.
func (c *sqlConn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// Ping asks the server without a tenant: its context need not name one.
func (c *sqlConn) Ping(ctx context.Context) error { return c.db.Ping(ctx) }

// ResetSession has nothing to reset: every statement brings all its settings.
func (c *sqlConn) ResetSession(context.Context) error { return nil }

// IsValid is false if a transaction was left open; database/sql then closes.
func (c *sqlConn) IsValid() bool { return c.tx == nil }

func (c *sqlConn) Close() error {
	if c.tx == nil {
		return nil
	}
	return c.tx.Rollback()
}

// sqlStmt is a statement's text.
type sqlStmt struct {
	conn *sqlConn
	sql  string
}

var (
	_ driver.StmtQueryContext = (*sqlStmt)(nil)
	_ driver.StmtExecContext  = (*sqlStmt)(nil)
)

func (s *sqlStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.sql, args)
}

func (s *sqlStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.sql, args)
}

// NumInput leaves counting to the server.
func (s *sqlStmt) NumInput() int { return -1 }

func (s *sqlStmt) Close() error { return nil }

// Query is part of driver.Stmt, without a context; database/sql does not call it.
func (s *sqlStmt) Query([]driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), nil)
}

// Exec is part of driver.Stmt, without a context; database/sql does not call it.
func (s *sqlStmt) Exec([]driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), nil)
}

// sqlResult tells what a statement changed.
type sqlResult pgconn.CommandTag

func (r sqlResult) RowsAffected() (int64, error) { return pgconn.CommandTag(r).RowsAffected(), nil }

func (r sqlResult) LastInsertId() (int64, error) {
	return 0, errors.New("poolproof: PostgreSQL has no last insert id: write INSERT … RETURNING id and read it with QueryRowContext")
}

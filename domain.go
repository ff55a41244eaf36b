package poolproof

import (
	"context"
	"crypto/rand"
	_ "embed" // for ScopeSQL
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof/internal/sqltext"
	"github.com/poolproof/poolproof/internal/wire"
	"github.com/poolproof/poolproof/pooler"
)

// ScopeSQL is optional SQL. It installs what [ScopeParameter] needs: the domain poolproof.scope, whose
// check makes the settings, and a function for it. Run it once in the database,
// as a role that may create a schema there. Running it again replaces an older
// version's function and changes nothing else. "poolproof migrate up" runs it, too.
//
//go:embed scope.sql
var ScopeSQL string

const installHint = `leave Config.Scope out or, where the domain is missing, run poolproof.ScopeSQL in the database as its owner ("poolproof migrate up" does)`

// lookup asks for the domain, whether it is the one that this package knows,
// and for domains whose checks may read a setting: PostgreSQL checks a
// statement's parameters in their order, so those before ours are checked
// before the tenant is set. Their trees name functions by number.
const lookup = `
select t.oid::text,
       t.typtype = 'd' and t.typbasetype = 'text[]'::regtype and t.typnotnull and exists (
           select from pg_catalog.pg_constraint c where c.contypid = t.oid and c.conname = 'scope_v1' and c.convalidated),
       has_type_privilege(t.oid, 'usage'),
       coalesce((select string_agg(distinct format_type(c.contypid, null), ', ')
           from pg_catalog.pg_constraint c
           cross join lateral regexp_matches(c.conbin::text, ':(?:op)?funcid (\d+)', 'g') called
           join pg_catalog.pg_proc p on p.oid = called[1]::oid
           where c.contypid <> 0 and c.contypid <> t.oid and p.provolatile <> 'i'), '')
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where n.nspname = 'poolproof' and t.typname = 'scope'`

// chooseScope decides how scopes travel and says why. An error means that the
// database must not be opened.
func (db *DB) chooseScope(ctx context.Context) (why string, err error) {
	switch asked := db.config.Scope; {
	case asked == ScopeStatement:
		return "configured", nil
	case !db.report.ImplicitScope:
		err = errors.New(db.report.Why.ImplicitScope.Text)
	case asked == ScopeAuto && db.config.Role != "":
		return "Config.Role takes effect before names are resolved only in a statement of its own", nil
	default:
		if err = db.tryDomain(ctx); tooSlow(ctx, err) { // a busy pooler, or a busy machine
			err = db.tryDomain(ctx)
		}
	}
	switch forced := db.config.Scope == ScopeParameter; {
	case err == nil && forced:
		return "configured, and a trial worked", nil
	case err == nil:
		return "poolproof.scope is installed, and a trial worked", nil
	case ctx.Err() != nil, unreachable(err):
		return "", unavailableOr(ctx, "open", err)
	case forced && (db.report.Undecided || tooSlow(ctx, err)):
		return "", &Error{Kind: ErrUnavailable, Op: "choose the scope's form", Err: err, Hint: "open again when the pooler is less busy, or leave Config.Scope out"}
	case forced:
		return "", &Error{Kind: ErrConfig, Op: "choose the scope's form", Err: err, Hint: installHint}
	}
	return err.Error(), nil
}

// tooSlow reports whether a trial ended because its own time was over.
func tooSlow(ctx context.Context, err error) bool {
	return ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
}

// tryDomain looks for the domain, sends a scope by it, and keeps to it if the
// setting was made. Connecting does not count against its time.
func (db *DB) tryDomain(ctx context.Context) error {
	pc, conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer db.release(pc, conn)
	ctx, cancel := context.WithTimeout(ctx, pooler.Budget)
	defer cancel()
	domain, err := findDomain(ctx, pc)
	if err != nil {
		return err
	}
	marker := rand.Text()
	sc := &scope{names: db.scope.names[:2]} // without the role, whose failing is a statement's to tell
	x, err := conn.Run(ctx, wire.Exec, nil, wire.Statement{
		SQL: "select pg_catalog.current_setting($1, true)", Args: []any{db.config.TenantSetting},
		Rider: sc.rider(Session{db: db, tenant: marker}, domain),
	})
	if err != nil {
		return fmt.Errorf("try poolproof.scope: %w", err)
	}
	var got string
	if err = x.NextResult(); err == nil {
		rows := x.Rows(nil)
		if rows.Next() && len(rows.RawValues()) == 1 {
			got = string(rows.RawValues()[0])
		}
	}
	if closeErr := x.Close(); closeErr != nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("try poolproof.scope: %w", err)
	}
	db.noteLeaks(ctx, x)
	if got != marker {
		return errors.New("poolproof.scope is installed and did not make the setting")
	}
	db.domain.Store(domain)
	return nil
}

func findDomain(ctx context.Context, pc *pgxpool.Conn) (uint32, error) {
	// Not by pgx, which would trace it. Both statements are one transaction, so that no operator but PostgreSQL's answers.
	results, err := pc.Conn().PgConn().Exec(ctx, "select pg_catalog.set_config('search_path', 'pg_catalog', true);"+lookup).ReadAll()
	switch {
	case err != nil:
		return 0, fmt.Errorf("look for poolproof.scope: %w", err)
	case len(results) != 2 || len(results[1].Rows) == 0:
		return 0, errors.New("poolproof.scope is not installed")
	}
	row := results[1].Rows[0]
	domain, err := strconv.ParseUint(string(row[0]), 10, 32)
	switch {
	case err != nil:
		return 0, fmt.Errorf("look for poolproof.scope: %w", err)
	case string(row[1]) != "t":
		return 0, errors.New("poolproof.scope is not the domain that this version installs")
	case string(row[2]) != "t":
		return 0, errors.New("poolproof.scope may not be used by this login")
	case len(row[3]) > 0:
		return 0, fmt.Errorf("a parameter of the domain %s would be checked, by a function that is not immutable, before the tenant is set", row[3])
	}
	return uint32(domain), nil
}

// carriers are the first words of the statements that a scope rides with: what
// PostgreSQL plans. Others may commit in the middle, as VACUUM does, which
// PostgreSQL refuses after a statement of the scope's own.
var carriers = []string{"select", "insert", "update", "delete", "merge", "values", "table", "with"}

// carries reports whether a scope may be a further parameter of a statement. Its
// text must name exactly as many parameters as it has arguments: $<n+1> would
// read the scope. Whatever else is wrong with a statement PostgreSQL says in
// the other form, where it has no parameter more than the caller gave.
func carries(st wire.Statement) bool {
	sc := sqltext.New(st.SQL)
	first := sc.Next()
	for first.Kind == sqltext.Semicolon {
		first = sc.Next()
	}
	return first.Kind == sqltext.Word && slices.Contains(carriers, first.Text) && parameters(st.SQL) == len(st.Args) && len(st.Args) < wire.MaxParams
}

// parameters is the highest number behind a $ anywhere in a text, comments and
// strings included; any number too high for a parameter is MaxParams+1.
func parameters(sql string) (highest int) {
	for {
		i := strings.IndexByte(sql, '$')
		if i < 0 {
			return highest
		}
		sql = sql[i+1:]
		n := 0
		for sql != "" && sql[0] >= '0' && sql[0] <= '9' {
			n = min(10*n+int(sql[0]-'0'), wire.MaxParams+1)
			sql = sql[1:]
		}
		highest = max(highest, n)
	}
}

// leakCode is the SQLSTATE of the domain's notice that it found a tenant set.
const leakCode = "PR900"

// noteLeaks counts and logs a tenant that the domain's check found set.
func (db *DB) noteLeaks(ctx context.Context, x *wire.Exchange) {
	for _, notice := range x.Notices() {
		if notice.Code == leakCode {
			db.noteLeak(ctx, notice.Detail)
		}
	}
}

// riderError decides whether an error that came before any row is about the
// scope's parameter, which has this number, or about the caller's statement. An
// error of converting a parameter names it in the last line of its context
// ("unnamed portal parameter $2", in the language of lc_messages; PostgreSQL 15
// and 18); nothing was executed then. All others are about the statement.
func (s Session) riderError(ctx context.Context, x *wire.Exchange, number int, err error) error {
	pgErr, answered := errors.AsType[*pgconn.PgError](err)
	if !answered || !x.Riding() || parameterOf(pgErr.Where) != number {
		return err
	}
	switch pgErr.Code {
	case "XX000", "42704", // cache lookup failed for type, undefined object
		"42501",                   // a function of the check may not be called (any more)
		"42804", "22P03", "08P01": // the value is not what the type that has this number now expects
		return &domainLostError{pgErr}
	}
	return s.scopeError(ctx, err)
}

// parameterOf returns the number after the first $ of the last line, 0 if there
// is none.
func parameterOf(where string) int {
	last := where[strings.LastIndexByte(where, '\n')+1:]
	_, after, _ := strings.Cut(last, "$")
	end := 0
	for end < len(after) && after[end] >= '0' && after[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(after[:end]) // 0 where there is none
	return n
}

// domainLostError says that the domain is not what it was when Open tried it.
type domainLostError struct{ cause *pgconn.PgError }

func (e *domainLostError) Error() string {
	return "the domain poolproof.scope is lost: " + e.cause.Error()
}
func (e *domainLostError) Unwrap() error { return e.cause }

// noteDomainLost reports whether err says that the domain was lost; if so, scopes
// travel as statements from now on.
func (db *DB) noteDomainLost(ctx context.Context, err error) bool {
	lost, ok := errors.AsType[*domainLostError](err)
	if !ok {
		return false
	}
	if db.domain.Swap(0) != 0 {
		db.metrics.domains.Inc()
		db.log.LogAttrs(ctx, slog.LevelWarn, "poolproof: the domain poolproof.scope cannot be used any more; from now on a statement of its own sets each scope",
			slog.String("cause", lost.cause.Error()), slog.String("hint", "run poolproof migrate up, or poolproof.ScopeSQL as the database's owner, then open the database again"))
	}
	return true
}

package guarded

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/tenancy"
)

// Verdict is a statement's decision, its first column. Stores add their own.
type Verdict string

// The verdicts that all statements share.
const (
	OK              Verdict = "ok"               // a write: done, or nothing was left to do
	Row             Verdict = "row"              // a read: this row is data
	Empty           Verdict = "empty"            // a read: there is nothing, and that is the answer
	NotFound        Verdict = "not_found"        // what was asked for is not the tenant's
	NameTaken       Verdict = "name_taken"       // another one has the name
	NotAMember      Verdict = "not_a_member"     // becomes an error here
	Forbidden       Verdict = "forbidden"        // becomes an error here
	VersionMismatch Verdict = "version_mismatch" // becomes an error here
)

// Reader is an item for FROM, "m", whose column "refused" says why user $2, of
// whom permission $3 is wanted if that is not "", may not read in tenant $1;
// null if they may. OFFSET 0 keeps PostgreSQL from asking once per mention.
const Reader = `(select poolproof.refused($1::uuid, $2::uuid, $3::text) as refused offset 0) m`

// held is what user $2 holds in tenant $1 and until when (see poolproof.held in
// the migrations).
const held = `held as materialized (
	select h.permission_id, h.until from poolproof.held($1::uuid, $2::uuid) h
), `

const allowed = `exists (
	select from held h
	join poolproof.permissions p on p.id = h.permission_id
	where p.name = $3::text
) as allowed`

// Caller are common table expressions for writes: "held" is what user $2 holds
// in tenant $1 and until when; "caller" has the columns "member" and
// "allowed", the latter for permission $3.
const Caller = held + `caller as materialized (
	select poolproof.is_member($1::uuid, $2::uuid) as member, ` + allowed + `
)`

// PlatformCaller are the same for writes of [WritePlatform]: $1 is the platform
// tenant, "member" says whether the user is a member of the request's tenant $4.
const PlatformCaller = held + `caller as materialized (
	select poolproof.is_member($4::uuid, $2::uuid) as member, ` + allowed + `
)`

// DB runs guarded statements. It is safe for concurrent use and holds no
// connection between calls.
type DB struct {
	db       *poolproof.DB
	platform atomic.Pointer[string] // its id, once it was read: it never changes
}

// New guards db, whose schema migrations.Verify must accept.
func New(db *poolproof.DB) *DB { return &DB{db: db} }

// scope is a statement's tenant, user and first parameters.
type scope struct {
	tenant, user string
	home         string // the request's tenant
	params       []any
}

func (d *DB) session(s scope) poolproof.Session { return d.db.Tenant(s.tenant).As(s.user) }

func own(c tenancy.Caller, permission string) scope {
	tenant, user := c.Tenant.String(), c.User.String()
	return scope{tenant, user, tenant, []any{tenant, user, permission}}
}

// ofPlatform gives the platform's scope; its last parameter is the request's
// tenant. forbidden where there is no platform yet: nobody holds anything there.
func (d *DB) ofPlatform(ctx context.Context, c tenancy.Caller, permission string) (scope, error) {
	user := c.User.String()
	id := d.platform.Load()
	if id == nil {
		var text string
		err := d.db.Shared().As(user).QueryRow(ctx, `select p.id::text from poolproof.platform p`).Scan(&text)
		if errors.Is(err, pgx.ErrNoRows) {
			return scope{}, refusal(Forbidden, permission)
		}
		if err != nil {
			return scope{}, fmt.Errorf("look for the platform tenant: %w", err)
		}
		id = &text
		d.platform.Store(id)
	}
	home := c.Tenant.String()
	return scope{*id, user, home, []any{*id, user, permission, home}}, nil
}

// Read runs a statement that decides who may see its rows. $1 is the tenant,
// $2 the user, $3 the permission or "", args follow. Its first column is the
// verdict; fields gives the destinations of the others, times in UTC. No row of a
// refused read is ever scanned. If the caller asks for a state that the database has
// not reached, it waits for it, at most two seconds.
//
// Errors: *tenancy.Error with not_a_member, forbidden or stale; else the
// database's, wrapped. Other verdicts come back with no rows and no error.
func Read[T any](ctx context.Context, d *DB, c tenancy.Caller, op, permission, sql string, args []any, fields func(*T) []any) ([]T, Verdict, error) {
	return read(ctx, d, own(c, permission), c.AtLeast, op, permission, sql, args, fields)
}

// ReadPlatform is Read under the platform tenant: $1 is that, $4 the request's
// tenant, args follow. The statement must check the membership in both.
func ReadPlatform[T any](ctx context.Context, d *DB, c tenancy.Caller, op, permission, sql string, args []any, fields func(*T) []any) ([]T, Verdict, error) {
	s, err := d.ofPlatform(ctx, c, permission)
	if err != nil {
		return nil, "", err
	}
	return read(ctx, d, s, tenancy.Epoch{Catalogue: c.AtLeast.Catalogue}, op, permission, sql, args, fields)
}

// How long a read waits for a state that it must have, and how often it looks.
const (
	staleAfter = 2 * time.Second
	firstLook  = 5 * time.Millisecond
	lastLook   = 200 * time.Millisecond
)

func read[T any](ctx context.Context, d *DB, s scope, least tenancy.Epoch, op, permission, sql string, args []any, fields func(*T) []any) ([]T, Verdict, error) {
	args = append(s.params, args...)
	if least == (tenancy.Epoch{}) {
		rows, err := d.session(s).Query(ctx, sql, args...)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", op, err)
		}
		return collect(rows, op, permission, fields)
	}
	deadline := time.Now().Add(staleAfter)
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		all, verdict, now, err := readWithEpoch(ctx, d, s, op, permission, sql, args, fields)
		reached := now.Tenant >= least.Tenant && now.Catalogue >= least.Catalogue
		if reached || tenancy.CodeOf(err) == tenancy.Internal || verdict == NotAMember {
			return all, verdict, err
		}
		if time.Now().Add(wait).After(deadline) {
			return nil, "", tenancy.Refuse(tenancy.Stale, "The state %s was not reached in time; it is %s.", least, now)
		}
		select {
		case <-ctx.Done():
			return nil, "", fmt.Errorf("%s: wait for the state %s: %w", op, least, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// readWithEpoch reads the epoch before the statement, so that what it reads is
// at least as new.
func readWithEpoch[T any](ctx context.Context, d *DB, s scope, op, permission, sql string, args []any, fields func(*T) []any) (all []T, v Verdict, now tenancy.Epoch, err error) {
	b := &pgx.Batch{}
	b.Queue(`select poolproof.epoch_after($1::uuid, false)`, s.tenant)
	b.Queue(sql, args...)
	br := d.session(s).SendBatch(ctx, b)
	defer func() {
		if closeErr := br.Close(); err == nil && closeErr != nil {
			all, err = nil, fmt.Errorf("%s: %w", op, closeErr)
		}
	}()
	var text string
	if err := br.QueryRow().Scan(&text); err != nil {
		return nil, "", now, fmt.Errorf("%s: read the epoch: %w", op, err)
	}
	if now, err = tenancy.ParseEpoch(text); err != nil {
		return nil, "", now, fmt.Errorf("%s: read the epoch: %w", op, err)
	}
	rows, err := br.Query()
	if err != nil {
		return nil, "", now, fmt.Errorf("%s: %w", op, err)
	}
	all, v, err = collect(rows, op, permission, fields)
	return all, v, now, err
}

// collect reads the verdict and the rows.
func collect[T any](rows pgx.Rows, op, permission string, fields func(*T) []any) ([]T, Verdict, error) {
	defer rows.Close()
	all := []T{}
	for rows.Next() {
		if len(all) == 0 {
			verdict, err := peek(rows)
			if err != nil {
				return nil, "", fmt.Errorf("%s: read the verdict: %w", op, err)
			}
			if verdict != Row {
				rows.Close()
				if err := rows.Err(); err != nil {
					return nil, "", fmt.Errorf("%s: %w", op, err)
				}
				return all, verdict, refusal(verdict, permission)
			}
		}
		var row T
		dest := fields(&row)
		if err := rows.Scan(append([]any{nil}, dest...)...); err != nil {
			return nil, "", fmt.Errorf("%s: read a row: %w", op, err)
		}
		inUTC(dest)
		all = append(all, row)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, err)
	}
	if len(all) == 0 {
		return nil, "", fmt.Errorf("%s: the statement gave no verdict", op)
	}
	return all, Row, nil
}

// Decision is what a write came to. Detail is text for the store's words;
// Epoch the state that holds the change.
type Decision struct {
	Verdict Verdict
	Detail  string
	Epoch   tenancy.Epoch
}

// Write locks the tenant, if the caller may write in it, and runs a statement
// that decides again, changes and records. $1 is the tenant, $2 the user, $3 the permission it needs, args
// follow. Its one row is the verdict, a detail in text or null, the epoch
// (see poolproof.epoch_after in the migrations), and the columns for dest,
// which are scanned only if the verdict is [OK]. Success is told only after
// the transaction's end was.
//
// Errors: *tenancy.Error with not_a_member, forbidden, version_mismatch,
// last_manager or cycle; else the database's, wrapped. Other verdicts come
// back with their detail and no error: nothing was changed.
func (d *DB) Write(ctx context.Context, c tenancy.Caller, op, permission, sql string, args []any, dest ...any) (Decision, error) {
	return d.write(ctx, own(c, permission), op, permission, sql, args, dest)
}

// WritePlatform is Write under the platform tenant: $1 is that, $4 the
// request's tenant, args follow.
func (d *DB) WritePlatform(ctx context.Context, c tenancy.Caller, op, permission, sql string, args []any, dest ...any) (Decision, error) {
	s, err := d.ofPlatform(ctx, c, permission)
	if err != nil {
		return Decision{}, err
	}
	return d.write(ctx, s, op, permission, sql, args, dest)
}

func (d *DB) write(ctx context.Context, s scope, op, permission, sql string, args, dest []any) (Decision, error) {
	b := &pgx.Batch{}
	b.Queue(`select poolproof.lock_tenant($1::uuid, $2::uuid, $3::text, $4::uuid)`, s.tenant, s.user, permission, s.home)
	b.Queue(sql, append(s.params, args...)...)
	br := d.session(s).SendBatch(ctx, b)
	decision, err := decide(br, dest)
	if closeErr := br.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Decision{}, rule(op, err)
	}
	return decision, refusal(decision.Verdict, permission)
}

func decide(br pgx.BatchResults, dest []any) (Decision, error) {
	var refused *string
	if err := br.QueryRow().Scan(&refused); err != nil {
		return Decision{}, fmt.Errorf("lock the tenant: %w", err)
	}
	if refused != nil { // the statement after it saw nothing, and its verdict is worth nothing
		if _, err := br.Exec(); err != nil {
			return Decision{}, err
		}
		return Decision{Verdict: Verdict(*refused)}, nil
	}
	rows, err := br.Query()
	if err != nil {
		return Decision{}, err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return Decision{}, err
		}
		return Decision{}, errors.New("the statement gave no verdict")
	}
	verdict, err := peek(rows)
	if err != nil {
		return Decision{}, fmt.Errorf("read the verdict: %w", err)
	}
	var detail, epoch *string
	columns := make([]any, len(dest))
	if verdict == OK {
		columns = dest
	}
	if err := rows.Scan(append([]any{nil, &detail, &epoch}, columns...)...); err != nil {
		return Decision{}, fmt.Errorf("read the result: %w", err)
	}
	inUTC(columns)
	rows.Close()
	if err := rows.Err(); err != nil {
		return Decision{}, err
	}
	out := Decision{Verdict: verdict}
	if detail != nil {
		out.Detail = *detail
	}
	if epoch != nil {
		if out.Epoch, err = tenancy.ParseEpoch(*epoch); err != nil {
			return Decision{}, fmt.Errorf("read the epoch: %w", err)
		}
	}
	return out, nil
}

// peek reads the first column of the row at hand and leaves the others.
func peek(rows pgx.Rows) (Verdict, error) {
	var verdict string
	dest := make([]any, len(rows.FieldDescriptions()))
	dest[0] = &verdict
	err := rows.Scan(dest...)
	return Verdict(verdict), err
}

// inUTC makes the times that were read independent of this machine's time zone,
// so that every copy of a service gives the same answer.
func inUTC(dest []any) {
	for _, d := range dest {
		switch at := d.(type) {
		case *time.Time:
			*at = at.UTC()
		case **time.Time:
			if *at != nil {
				**at = (*at).UTC()
			}
		}
	}
}

func refusal(v Verdict, permission string) error {
	switch v {
	case NotAMember:
		return tenancy.Refuse(tenancy.NotAMember, "You are not an active member of this tenant.")
	case Forbidden:
		return tenancy.Refuse(tenancy.Forbidden, "This needs the permission %s.", permission)
	case VersionMismatch:
		return tenancy.Refuse(tenancy.VersionMismatch, "It was changed since: read it again.")
	}
	return nil
}

// rule turns the errors by which the schema's own rules refuse into refusals.
func rule(op string, err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "PR001":
			return &tenancy.Error{Code: tenancy.LastManager, Err: err,
				Detail: "Nobody would be left who manages roles, or tenants on the platform: one active member must hold that without an expiry."}
		case "PR002":
			return &tenancy.Error{Code: tenancy.Cycle, Err: err, Detail: "A role would inherit from itself."}
		case "PR004":
			return &tenancy.Error{Code: tenancy.LimitReached, Err: err, Detail: pg.Message} // the schema's words, of no tenant
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// Paged cuts a read of one row more than the page holds down to the page.
func Paged[T any](p tenancy.Page, items []T, key func(T) string) tenancy.Listed[T] {
	limit := p.Limit()
	if len(items) <= limit {
		return tenancy.Listed[T]{Items: items}
	}
	return tenancy.Listed[T]{Items: items[:limit], Next: key(items[limit-1])}
}

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
	NotFound        Verdict = "not_found"        // what was asked for is not the tenant's; an error here if Missing is set
	NameTaken       Verdict = "name_taken"       // another one has the name
	InUse           Verdict = "in_use"           // something refers to it
	NoRole          Verdict = "no_role"          // the tenant has no such role
	NoMember        Verdict = "no_member"        // the tenant has no such member
	ItemGate        Verdict = "item_gate"        // a permission that goes, or gets another name, while a sidebar item has it for a gate
	NotAMember      Verdict = "not_a_member"     // becomes an error here
	Forbidden       Verdict = "forbidden"        // becomes an error here
	VersionMismatch Verdict = "version_mismatch" // becomes an error here
	Cycle           Verdict = "cycle"            // becomes an error here
)

// Statement is SQL that decides for itself whether the caller may have what it
// does, and what must be known to run it.
type Statement struct {
	// Op says what it does, as errors do: "create a role".
	Op string
	// Needs is the permission that the caller needs; [AnyMember]: none.
	Needs string
	// OnPlatform: it runs under the platform tenant, and Needs is looked for
	// there. The caller must be a member of the request's tenant as well.
	OnPlatform bool
	// Missing are the words of a refusal where the verdict is [NotFound]; "": the
	// store has its own.
	Missing string
	// SQL's first parameters are $1 the tenant (the platform, if OnPlatform), $2
	// the user, $3 Needs and, if OnPlatform, $4 the request's tenant; the store's
	// arguments follow. Its first column is the verdict.
	SQL string
}

// AnyMember is what a statement needs that any active member may run.
const AnyMember = ""

// scope returns whose a run of the statement is.
func (d *DB) scope(ctx context.Context, c tenancy.Caller, st Statement) (scope, error) {
	tenant, user := c.Tenant.String(), c.User.String()
	if !st.OnPlatform {
		return scope{tenant, user, tenant, []any{tenant, user, st.Needs}}, nil
	}
	id, err := d.platformID(ctx, user, st)
	if err != nil {
		return scope{}, err
	}
	return scope{id, user, tenant, []any{id, user, st.Needs, tenant}}, nil
}

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

// PlatformCaller are the same for writes on the platform: $1 is the platform
// tenant, "member" says whether the user is a member of the request's tenant $4.
const PlatformCaller = held + `caller as materialized (
	select poolproof.is_member($4::uuid, $2::uuid) as member, ` + allowed + `
)`

// Decide returns the common table expression "verdict" of a write, whose column
// "code" is the first case that holds, else ok. A caller who may not write is
// refused first. more is what FROM holds beside "caller c", such as
// "left join target t on true"; cases are the statement's own, WHEN … THEN ….
func Decide(more, cases string) string {
	return `verdict as materialized (
	select case
		when not c.member then 'not_a_member'
		when not c.allowed then 'forbidden'` + cases + `
		else 'ok'
	end as code
	from caller c ` + more + `
)`
}

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

// platformID returns the platform's id; forbidden where there is no platform
// yet: nobody holds anything there.
func (d *DB) platformID(ctx context.Context, user string, st Statement) (string, error) {
	if id := d.platform.Load(); id != nil {
		return *id, nil
	}
	var id string
	err := d.db.Shared().As(user).QueryRow(ctx, `select p.id::text from poolproof.platform p`).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", st.refusal(Forbidden)
	}
	if err != nil {
		return "", fmt.Errorf("%s: look for the platform tenant: %w", st.Op, err)
	}
	d.platform.Store(&id)
	return id, nil
}

// Read runs a statement that decides who may see its rows, with args behind the
// parameters that every statement has. fields returns the destinations of the
// columns after the verdict; times come in UTC. No row of a refused read is ever
// scanned. If the caller asks for a state that the database has not reached, Read
// waits for it, at most two seconds.
//
// Errors: *tenancy.Error with not_a_member, forbidden, not_found (if the statement
// has the words for it) or stale; else the database's, wrapped. Nothing to read is
// no error.
func Read[T any](ctx context.Context, d *DB, c tenancy.Caller, st Statement, fields func(*T) []any, args ...any) ([]T, error) {
	s, err := d.scope(ctx, c, st)
	if err != nil {
		return nil, err
	}
	least := c.AtLeast
	if st.OnPlatform {
		least.Tenant = 0
	}
	return read(ctx, d, s, least, st, fields, append(s.params, args...))
}

// One is [Read] for a statement that returns one row or not_found.
func One[T any](ctx context.Context, d *DB, c tenancy.Caller, st Statement, fields func(*T) []any, args ...any) (T, error) {
	rows, err := Read(ctx, d, c, st, fields, args...)
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("%s: %d rows where one was expected", st.Op, len(rows))
	}
	if err != nil {
		var none T
		return none, err
	}
	return rows[0], nil
}

// How long a read waits for a state that it must have, and how often it looks.
const (
	staleAfter = 2 * time.Second
	firstLook  = 5 * time.Millisecond
	lastLook   = 200 * time.Millisecond
)

func read[T any](ctx context.Context, d *DB, s scope, least tenancy.Epoch, st Statement, fields func(*T) []any, args []any) ([]T, error) {
	if least == (tenancy.Epoch{}) {
		rows, err := d.session(s).Query(ctx, st.SQL, args...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", st.Op, err)
		}
		return collect(rows, st, fields)
	}
	deadline := time.Now().Add(staleAfter)
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		all, now, err := readWithEpoch(ctx, d, s, st, fields, args)
		reached := now.Tenant >= least.Tenant && now.Catalogue >= least.Catalogue
		if code := tenancy.CodeOf(err); reached || code == tenancy.Internal || code == tenancy.NotAMember {
			return all, err
		}
		if time.Now().Add(wait).After(deadline) {
			return nil, tenancy.Refuse(tenancy.Stale, "The database did not reach the state %s in time; it is at %s.", least, now)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: wait for the state %s: %w", st.Op, least, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// readWithEpoch reads the epoch before the statement, so that what it reads is
// at least as new.
func readWithEpoch[T any](ctx context.Context, d *DB, s scope, st Statement, fields func(*T) []any, args []any) (all []T, now tenancy.Epoch, err error) {
	b := &pgx.Batch{}
	b.Queue(`select poolproof.epoch_after($1::uuid, false)`, s.tenant)
	b.Queue(st.SQL, args...)
	br := d.session(s).SendBatch(ctx, b)
	defer func() {
		if closeErr := br.Close(); err == nil && closeErr != nil {
			all, err = nil, fmt.Errorf("%s: %w", st.Op, closeErr)
		}
	}()
	var text string
	if err := br.QueryRow().Scan(&text); err != nil {
		return nil, now, fmt.Errorf("%s: read the epoch: %w", st.Op, err)
	}
	if now, err = tenancy.ParseEpoch(text); err != nil {
		return nil, now, fmt.Errorf("%s: read the epoch: %w", st.Op, err)
	}
	rows, err := br.Query()
	if err != nil {
		return nil, now, fmt.Errorf("%s: %w", st.Op, err)
	}
	all, err = collect(rows, st, fields)
	return all, now, err
}

// collect reads the verdict and the rows.
func collect[T any](rows pgx.Rows, st Statement, fields func(*T) []any) ([]T, error) {
	defer rows.Close()
	verdict, all := Verdict(""), []T{}
	for rows.Next() {
		if len(all) == 0 {
			var err error
			if verdict, err = peek(rows); err != nil {
				return nil, fmt.Errorf("%s: read the verdict: %w", st.Op, err)
			}
			if verdict != Row {
				break
			}
		}
		var row T
		dest := fields(&row)
		if err := rows.Scan(append([]any{nil}, dest...)...); err != nil {
			return nil, fmt.Errorf("%s: read a row: %w", st.Op, err)
		}
		inUTC(dest)
		all = append(all, row)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", st.Op, err)
	}
	switch verdict {
	case Row, Empty:
		return all, nil
	case "":
		return nil, fmt.Errorf("%s: the statement returned no verdict", st.Op)
	}
	if err := st.refusal(verdict); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s: unknown verdict %s", st.Op, verdict)
}

// Decision is what a write came to. Detail is text for the store's words;
// Epoch the state that holds the change.
type Decision struct {
	Verdict Verdict
	Detail  string
	Epoch   tenancy.Epoch
}

// Write locks the tenant, if the caller may write in it, and runs a statement
// that decides again, changes and records, with args behind the parameters that
// every statement has. Its one row is the verdict, a detail in text or null, the
// epoch (see poolproof.epoch_after in the migrations), and the columns for dest,
// which are scanned only if the verdict is [OK]. Success is told only after
// the transaction's end was.
//
// Errors: *tenancy.Error with not_a_member, forbidden, version_mismatch,
// last_manager, cycle, limit_reached, or not_found (if the statement has the words
// for it); else the database's, wrapped. Other verdicts come back with their
// detail and no error: nothing was changed. A constraint that stops what the
// statement's check let pass comes back as the check's verdict, without a detail.
func (d *DB) Write(ctx context.Context, c tenancy.Caller, st Statement, args []any, dest ...any) (Decision, error) {
	s, err := d.scope(ctx, c, st)
	if err != nil {
		return Decision{}, err
	}
	b := &pgx.Batch{}
	b.Queue(`select poolproof.lock_tenant($1::uuid, $2::uuid, $3::text, $4::uuid)`, s.tenant, s.user, st.Needs, s.home)
	b.Queue(st.SQL, append(s.params, args...)...)
	br := d.session(s).SendBatch(ctx, b)
	decision, err := decide(br, dest)
	if closeErr := br.Close(); err == nil {
		err = closeErr
	}
	if verdict, ok := backed(err); ok {
		decision, err = Decision{Verdict: verdict}, nil
	}
	if err != nil {
		return Decision{}, rule(st.Op, err)
	}
	return decision, st.refusal(decision.Verdict)
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
		return Decision{}, errors.New("the statement returned no verdict")
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
// so that every copy of a service returns the same answer.
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

// refusal returns the error that a verdict is for every statement; nil for OK
// and for the verdicts of a store.
func (st Statement) refusal(v Verdict) error {
	switch v {
	case NotAMember:
		return tenancy.Refuse(tenancy.NotAMember, "You are not an active member of this tenant.")
	case Forbidden:
		return tenancy.Refuse(tenancy.Forbidden, "This needs the permission %s.", st.Needs)
	case VersionMismatch:
		return tenancy.Refuse(tenancy.VersionMismatch, "It was changed since you read it. Read it again.")
	case Cycle:
		return tenancy.Refuse(tenancy.Cycle, detailCycle)
	case NotFound:
		if st.Missing != "" {
			return tenancy.Refuse(tenancy.NotFound, "%s", st.Missing)
		}
	}
	return nil
}

const detailCycle = "The role would inherit from itself."

// backs is every constraint that backs up a check of a statement, and the check's
// verdict. Who does not take the lock that the statement holds, be it another
// tenant's write or an operator's, can change what was checked after the check;
// the constraint then stops the write, and the answer is the check's.
//
// What has no check is not here: a key that is made at random, or under the lock,
// or inserted with ON CONFLICT. Nor are references to an entry of a catalogue that
// the statement keeps (poolproof.keep_entry in the migrations): in_use is the
// verdict of who deletes such an entry.
var backs = map[string]Verdict{
	"tenants_slug_key":                   NameTaken,
	"roles_tenant_id_name_key":           NameTaken,
	"roles_pkey":                         NameTaken, // somebody took the next number
	"permissions_name_key":               NameTaken,
	"features_name_key":                  NameTaken,
	"sidebar_items_url_path_key":         NameTaken,
	"profiles_pkey":                      NameTaken,
	"profiles_tenant_id_external_id_key": NameTaken,

	"role_permissions_permission_id_scope_fkey": InUse,
	"sidebar_items_feature_id_fkey":             InUse,
	"sidebar_items_permission_fkey":             ItemGate,

	"role_permissions_tenant_id_role_id_fkey": NoRole,
	"role_parents_tenant_id_role_id_fkey":     NoRole,
	"role_parents_tenant_id_parent_id_fkey":   NoRole,
	"user_roles_tenant_id_role_id_fkey":       NoRole,
	"user_roles_tenant_id_user_id_fkey":       NoMember,
}

// backed returns the verdict of the check that an error's constraint backs up.
func backed(err error) (Verdict, bool) {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.SchemaName != "poolproof" || pg.Code != "23503" && pg.Code != "23505" { // foreign_key_violation, unique_violation
		return "", false
	}
	verdict, ok := backs[pg.ConstraintName]
	return verdict, ok
}

// rule turns the errors by which the schema's own rules refuse into refusals.
func rule(op string, err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "PR001":
			return &tenancy.Error{Code: tenancy.LastManager, Err: err,
				Detail: "Nobody would be left who manages roles (on the platform: tenants). At least one active member must hold that permission without an expiry."}
		case "PR002":
			return &tenancy.Error{Code: tenancy.Cycle, Err: err, Detail: detailCycle}
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

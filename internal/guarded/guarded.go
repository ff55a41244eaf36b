package guarded

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/tenancy"
)

// Verdict is a statement's decision, its first column. Stores add their own.
type Verdict string

// The verdicts that all statements share.
const (
	OK         Verdict = "ok"           // a write: done, or nothing was left to do
	Row        Verdict = "row"          // a read: this row is data
	Empty      Verdict = "empty"        // a read: there is nothing, and that is the answer
	NotFound   Verdict = "not_found"    // what was asked for is not the tenant's
	NotAMember Verdict = "not_a_member" // becomes an error here
	Forbidden  Verdict = "forbidden"    // becomes an error here
)

// Member is an item for FROM, "m" with one column "member": whether user $2 is
// an active member of tenant $1. OFFSET 0 keeps PostgreSQL from asking once per
// mention.
const Member = `(select poolproof.is_member($1::uuid, $2::uuid) as member offset 0) m`

// Caller are common table expressions for writes: "held" is what user $2 holds
// in tenant $1 and until when (see poolproof.held in the migrations); "caller"
// has the columns "member" and "allowed", the latter for permission $3.
const Caller = `held as materialized (
	select h.permission_id, h.until from poolproof.held($1::uuid, $2::uuid) h
), caller as materialized (
	select poolproof.is_member($1::uuid, $2::uuid) as member,
		exists (
			select from held h
			join poolproof.permissions p on p.id = h.permission_id
			where p.name = $3::text
		) as allowed
)`

// Read runs a statement that decides who may see its rows. $1 is the tenant,
// $2 the user, args follow. Its first column is the verdict; fields gives the
// destinations of the others. No row of a refused read is ever scanned.
//
// Errors: *tenancy.Error with not_a_member, or with not_found where the
// statement says so and detail gives the words; else the database's, wrapped.
func Read[T any](ctx context.Context, db *poolproof.DB, c tenancy.Caller, op, sql string, args []any, fields func(*T) []any) ([]T, Verdict, error) {
	tenant, user := c.Tenant.String(), c.User.String()
	rows, err := db.Tenant(tenant).As(user).Query(ctx, sql, append([]any{tenant, user}, args...)...)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, err)
	}
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
				return all, verdict, refusal(verdict, "")
			}
		}
		var row T
		if err := rows.Scan(append([]any{nil}, fields(&row)...)...); err != nil {
			return nil, "", fmt.Errorf("%s: read a row: %w", op, err)
		}
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

// Write locks the tenant and runs a statement that decides, changes and
// records. $1 is the tenant, $2 the user, $3 the permission it needs, args
// follow. Its one row is the verdict, a detail in text or null, and the
// columns for dest, which are scanned only if the verdict is [OK]. Success is
// told only after the transaction's end was.
//
// Errors: *tenancy.Error with not_a_member, forbidden, last_manager or cycle;
// else the database's, wrapped. Other verdicts come back with their detail and
// no error: nothing was changed.
func Write(ctx context.Context, db *poolproof.DB, c tenancy.Caller, op, permission, sql string, args []any, dest ...any) (Verdict, string, error) {
	tenant, user := c.Tenant.String(), c.User.String()
	b := &pgx.Batch{}
	b.Queue(`select 1 from poolproof.tenants t where t.id = $1::uuid for no key update`, tenant)
	b.Queue(sql, append([]any{tenant, user, permission}, args...)...)
	br := db.Tenant(tenant).As(user).SendBatch(ctx, b)
	verdict, detail, err := decision(br, dest)
	if closeErr := br.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", "", rule(op, err)
	}
	return verdict, detail, refusal(verdict, permission)
}

func decision(br pgx.BatchResults, dest []any) (Verdict, string, error) {
	if _, err := br.Exec(); err != nil {
		return "", "", fmt.Errorf("lock the tenant: %w", err)
	}
	rows, err := br.Query()
	if err != nil {
		return "", "", err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return "", "", err
		}
		return "", "", errors.New("the statement gave no verdict")
	}
	verdict, err := peek(rows)
	if err != nil {
		return "", "", fmt.Errorf("read the verdict: %w", err)
	}
	var detail *string
	skip := make([]any, len(dest))
	if verdict == OK {
		skip = dest
	}
	if err := rows.Scan(append([]any{nil, &detail}, skip...)...); err != nil {
		return "", "", fmt.Errorf("read the result: %w", err)
	}
	rows.Close()
	if detail == nil {
		detail = new(string)
	}
	return verdict, *detail, rows.Err()
}

// peek reads the first column of the row at hand and leaves the others.
func peek(rows pgx.Rows) (Verdict, error) {
	var verdict string
	dest := make([]any, len(rows.FieldDescriptions()))
	dest[0] = &verdict
	err := rows.Scan(dest...)
	return Verdict(verdict), err
}

func refusal(v Verdict, permission string) error {
	switch v {
	case NotAMember:
		return tenancy.Refuse(tenancy.NotAMember, "You are not an active member of this tenant.")
	case Forbidden:
		return tenancy.Refuse(tenancy.Forbidden, "This needs the permission %s.", permission)
	}
	return nil
}

// rule turns the errors by which the schema's own rules refuse into refusals.
func rule(op string, err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "PP001":
			return &tenancy.Error{Code: tenancy.LastManager, Err: err,
				Detail: "Nobody would be left who manages roles: one active member must hold manage_roles without an expiry."}
		case "PP002":
			return &tenancy.Error{Code: tenancy.Cycle, Err: err, Detail: "A role would inherit from itself."}
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}

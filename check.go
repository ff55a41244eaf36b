package poolproof

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Isolation is what [Check] found.
type Isolation struct {
	// Role is the role that statements run as: the login, or Config.Role.
	Role string
	// Tables are the tenant tables that were checked, schema-qualified: those with a policy that reads the tenant setting,
	// or with one of Config.TenantColumns.
	Tables []string
	// Problems are the reasons why one tenant could see another's rows. None means that row-level security isolates.
	Problems []Problem
}

// Problem is one reason why row-level security does not isolate.
type Problem struct {
	Code     string // the doctor's, such as PD004: poolproof explain prints its page
	Severity string // as the doctor has it: "fail", or "warn" where the role is not bound by it today
	Table    string // schema-qualified; "" if it is about the role
	What     string // what is wrong
	Why      string // what it means in production
	Hint     string // the SQL, or the step, that mends it
}

// The problems' codes and consequences are those of package doctor, which has the whole catalogue; its tests hold
// these to it.
const (
	superuser  = "PD001"
	exempt     = "PD002"
	ownsTable  = "PD003"
	rlsOff     = "PD004"
	notForced  = "PD005"
	openPolicy = "PD007"
	noPolicy   = "PD008"
)

var why = map[string]string{
	superuser:  "no policy applies to it: every tenant's rows are read and written",
	exempt:     "no policy applies to it: every tenant's rows are read and written",
	ownsTable:  "an owner can switch the policies off, and is bound by none that is not forced",
	rlsOff:     "every tenant reads and writes the whole table",
	notForced:  "the owner's statements see every tenant: jobs, migrations, views and SECURITY DEFINER functions",
	openPolicy: "permissive policies are alternatives: one that is open opens the table",
	noPolicy:   "the setting that the application makes is not read: no rows, or those of whoever set the other one",
}

// String returns the problem in one line, without its hint.
func (p Problem) String() string {
	if p.Table == "" {
		return p.What
	}
	return p.Table + ": " + p.What
}

// Err returns nil if there are no problems, otherwise an error of kind ErrConfig
// that names them all, with the hint of the first.
func (i *Isolation) Err() error {
	if len(i.Problems) == 0 {
		return nil
	}
	lines := make([]string, len(i.Problems))
	for n, p := range i.Problems {
		lines[n] = p.String()
	}
	return &Error{Kind: ErrConfig, Op: "check isolation", Hint: i.Problems[0].Hint,
		Err: fmt.Errorf("row-level security does not isolate tenants: %s", strings.Join(lines, "; "))}
}

// ownPath keeps the questions that come after it to PostgreSQL's own operators and
// functions, whatever search_path the role has. It ends with their transaction.
const ownPath = `select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)`

// checkRole asks about the role that statements run as: current_user within a
// scope, so Config.Role where there is one.
const checkRole = `
select current_user::text, rolsuper, rolbypassrls from pg_roles where rolname = current_user`

// checkTables asks about every table that holds tenants' rows and that the role
// may touch at all. An owner, or a member of one, could switch the policies off.
const checkTables = `
select format('%I.%I', n.nspname, c.relname),
       c.relrowsecurity, c.relforcerowsecurity, pg_has_role(current_user, c.relowner, 'usage') as owner,
       coalesce(bool_or(reads.tenant) filter (where p.polcmd in ('*', 'r')), false) as has_policy,
       coalesce(string_agg(quote_ident(p.polname), ', ') filter (where coalesce(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) = 'true' and (p.polcmd <> 'r' or has.tenant_column)), '') as open_policies
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_policy p on p.polrelid = c.oid and p.polpermissive
    and (p.polroles = '{0}' or exists (select from unnest(p.polroles) r where pg_has_role(current_user, r, 'usage')))
cross join lateral (select exists (
    select from pg_attribute a where a.attrelid = c.oid and a.attname = any($2::text[]) and a.attnum > 0 and not a.attisdropped) as tenant_column) has
left join lateral (select strpos(coalesce(pg_get_expr(p.polqual, p.polrelid), '') || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''), $1) > 0 as tenant) reads on true
where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and has_schema_privilege(n.oid, 'usage')
  and has_table_privilege(c.oid, 'select, insert, update, delete')
group by c.oid, n.nspname, has.tenant_column
having bool_or(reads.tenant) or has.tenant_column
order by 1`

// Check asks the live catalogue whether row-level security isolates tenants
// for the role that sessions run as: it must not be a superuser, bypass
// row-level security, or own (or be a member of the owner of) a tenant table;
// each tenant table must have row-level security enabled and forced, with a
// policy that reads the tenant setting. A table that has neither such a policy nor
// one of Config.TenantColumns is taken for one that all tenants share. It reads only.
//
// Its codes are the doctor's. ExamineDB of package doctor also looks at the rest: views and functions that go around, writes, the live
// trial, performance.
//
// An error means that the check could not be made: of kind ErrConfig if cfg cannot
// work, of kind ErrUnavailable if the database cannot be reached. What the check
// found is in Isolation, whose Err makes an error of it.
func Check(ctx context.Context, cfg Config) (*Isolation, error) {
	db, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return db.Check(ctx)
}

// Check is the package's [Check] over an open database, in one round trip on
// a connection of the pool. Errors are those of a statement.
func (db *DB) Check(ctx context.Context) (*Isolation, error) {
	found := &Isolation{}
	batch := &pgx.Batch{}
	batch.Queue(ownPath)
	batch.Queue(checkRole).QueryRow(func(row pgx.Row) error {
		var super, bypass bool
		if err := row.Scan(&found.Role, &super, &bypass); err != nil {
			return err
		}
		role := pgx.Identifier{found.Role}.Sanitize()
		if super {
			found.add(superuser, "", "role "+found.Role+" is a superuser, whom no policy applies to", "connect as another role, or alter role "+role+" nosuperuser")
		}
		if bypass {
			found.add(exempt, "", "role "+found.Role+" has BYPASSRLS", "alter role "+role+" nobypassrls")
		}
		return nil
	})
	batch.Queue(checkTables, db.config.TenantSetting, db.config.TenantColumns).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var table, open string
			var enabled, forced, owner, policy bool
			if err := rows.Scan(&table, &enabled, &forced, &owner, &policy, &open); err != nil {
				return err
			}
			found.Tables = append(found.Tables, table)
			if owner {
				found.add(ownsTable, table, "role "+found.Role+" owns the table, or is a member of its owner, and could switch its policies off", "alter table "+table+" owner to another role")
			}
			if !enabled {
				found.add(rlsOff, table, "row-level security is off", "alter table "+table+" enable row level security")
			}
			if !forced {
				found.add(notForced, table, "row-level security is not forced", "alter table "+table+" force row level security")
			}
			if enabled && !policy {
				found.add(noPolicy, table, "no policy for reading compares a column with "+db.config.TenantSetting, "create a policy as in the documentation of package poolproof")
			}
			if open != "" {
				found.add(openPolicy, table, "policy "+open+" lets every tenant through", "drop policy "+open+" on "+table)
			}
		}
		return rows.Err()
	})
	if err := db.Shared().SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("check isolation: %w", err)
	}
	return found, nil
}

func (i *Isolation) add(code, table, what, hint string) {
	severity := "fail"
	if code == notForced {
		severity = "warn"
	}
	i.Problems = append(i.Problems, Problem{code, severity, table, what, why[code], hint})
}

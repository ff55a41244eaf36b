package doctor

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// facts are what the catalogue says to the role that is looked at.
type facts struct {
	role       role
	tables     []table
	policies   []policy
	views      []viewUse
	functions  []definer
	grants     []defaultGrant
	columns    []string // names of tenant columns
	setting    string   // the tenant's
	assumed    bool     // setting is the default, because no policy reads any
	bySetting  map[string]int
	instances  int
	poolSize   int
	pooled     bool
	poolerSays map[string]string // of its console's SHOW CONFIG, nil where it does not say
}

type role struct {
	Name                       string
	Super, Bypass              bool
	VersionNum                 int
	Version                    string
	RowSecurity                bool
	StatementTimeout, IdleInTx string // in milliseconds, as the role's connections begin
	Replica, ReadOnly          bool
	MaxConnections, Reserved   int
}

// roleSQL asks pg_settings for what a connection begins with, as the doctor's
// own transaction and other clients may have set something else.
const roleSQL = `
select current_user::text, r.rolsuper, r.rolbypassrls, current_setting('server_version_num')::int4, current_setting('server_version'),
       current_setting('row_security')::bool,
       (select s.reset_val from pg_settings s where s.name = 'statement_timeout'),
       (select s.reset_val from pg_settings s where s.name = 'idle_in_transaction_session_timeout'),
       pg_is_in_recovery(),
       (select s.reset_val = 'on' from pg_settings s where s.name = 'default_transaction_read_only'),
       current_setting('max_connections')::int4, current_setting('superuser_reserved_connections')::int4
from pg_roles r where r.rolname = current_user`

// table is one of the database's own.
type table struct {
	OID                             uint32
	Name                            string // schema-qualified and quoted
	Bare                            string // without schema or quotes
	Enabled, Forced, Owner          bool
	Partition                       bool
	Touched                         bool // the role may do something with it
	Reads, Inserts, Updates         bool
	Rows                            float32 // PostgreSQL's estimate, -1 if it has none
	Columns, Types, Quoted, Leading []string
	Indexes                         []string // the first columns of each, at most four, with commas between
	column, quoted, typ             string   // the tenant's, "" if it has none
	policies                        []policy
}

const tablesSQL = `
select c.oid, format('%I.%I', n.nspname, c.relname), c.relname::text, c.relrowsecurity, c.relforcerowsecurity,
       pg_has_role(current_user, c.relowner, 'usage'), c.relispartition,
       has_schema_privilege(n.oid, 'usage') and (has_table_privilege(c.oid, 'select, insert, update, delete') or has_any_column_privilege(c.oid, 'select, insert, update')),
       has_table_privilege(c.oid, 'select') or has_any_column_privilege(c.oid, 'select'),
       has_table_privilege(c.oid, 'insert') or has_any_column_privilege(c.oid, 'insert'),
       has_table_privilege(c.oid, 'update') or has_any_column_privilege(c.oid, 'update'),
       c.reltuples, a.names, a.types, a.quoted,
       coalesce((select array_agg(distinct k.attname::text) from (
            select i.indkey[0] as first from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am m on m.oid = ic.relam
            where i.indrelid = c.oid and i.indisvalid and i.indpred is null and m.amname in ('btree', 'hash', 'citus_btree')
            union all select p.partattrs[0] from pg_partitioned_table p where p.partrelid = c.oid
            union all select pp.partattrs[0] from pg_inherits h join pg_partitioned_table pp on pp.partrelid = h.inhparent
                join pg_attribute pa on pa.attrelid = pp.partrelid and pa.attnum = pp.partattrs[0] where h.inhrelid = c.oid and c.relispartition
            ) l join pg_attribute k on k.attrelid = c.oid and k.attnum = l.first), '{}'),
       array(select (select string_agg(k.attname::text, ',' order by n.i) from generate_series(0, least(i.indnkeyatts, 4) - 1) n(i) join pg_attribute k on k.attrelid = c.oid and k.attnum = i.indkey[n.i])
            from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am m on m.oid = ic.relam
            where i.indrelid = c.oid and i.indisvalid and i.indpred is null and m.amname = 'btree' and 0 <> all (i.indkey))
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    select coalesce(array_agg(a.attname::text order by a.attnum), '{}') as names,
           coalesce(array_agg(format_type(case when t.typtype = 'd' then t.typbasetype else t.oid end, null) order by a.attnum), '{}') as types,
           coalesce(array_agg(quote_ident(a.attname) order by a.attnum), '{}') as quoted
    from pg_attribute a join pg_type t on t.oid = a.atttypid where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) a
where c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 2`

// policy is one that applies to the role.
type policy struct {
	Table      uint32
	Name       string // quoted
	Cmd        string // *, r, a, w or d
	Permissive bool
	Using      string // as PostgreSQL writes it, "" if there is none
	Check      string
	Volatile   []string // functions that it calls
	Functions  []string // the database's own that it calls, without their schema
	Bodies     string   // their sources
	Unstable   []string // those of Functions that are not immutable
	Roles      []string
}

// all is the policy's text.
func (p policy) all() string { return p.Using + "\n" + p.Check }

// policiesSQL takes the functions from the policy's parsed form: PostgreSQL keeps
// no dependency on those of its own.
const policiesSQL = `
select p.polrelid, quote_ident(p.polname), p.polcmd::text, p.polpermissive,
       coalesce(pg_get_expr(p.polqual, p.polrelid), ''), coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''),
       f.volatile, f.names, f.bodies, f.unstable,
       array(select case when r = 0 then 'public' else quote_ident(pg_get_userbyid(r)) end from unnest(p.polroles) r)
from pg_policy p
cross join lateral (
    select coalesce(array_agg(o.oid::regprocedure::text order by o.oid) filter (where o.provolatile = 'v'), '{}') as volatile,
           coalesce(array_agg(o.proname::text) filter (where o.oid >= 16384), '{}') as names,
           coalesce(string_agg(o.prosrc || ' ' || coalesce(pg_get_function_sqlbody(o.oid), ''), E'\n') filter (where o.oid >= 16384), '') as bodies,
           coalesce(array_agg(o.proname::text) filter (where o.oid >= 16384 and o.provolatile <> 'i'), '{}') as unstable
    from pg_proc o join pg_language l on l.oid = o.prolang
    where o.oid in (select m[1]::oid from regexp_matches(coalesce(p.polqual::text, '') || coalesce(p.polwithcheck::text, ''), ':(?:funcid|opfuncid) (\d+)', 'g') m)) f
where p.polroles = '{0}' or exists (select from unnest(p.polroles) r where pg_has_role(current_user, r, 'usage'))
order by 1, 2`

// viewUse is a table that a view reads, or a materialised view, past its policies.
type viewUse struct {
	View       string
	Table      uint32
	Owner      string // as whom it reads
	Mat        string // the materialised view that it comes from, or ""
	Definition string
}

const viewsSQL = `
with recursive direct as (
    select distinct r.ev_class as view, d.refobjid as rel
    from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
    where r.rulename = '_RETURN'
), v as (
    select c.oid, c.relkind, c.relowner, n.nspname, c.relname,
           coalesce((select o.option_value::bool from pg_options_to_table(c.reloptions) o where o.option_name = 'security_invoker'), false) as invoker
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('v', 'm')
), walk as (
    select v.oid as top, d.rel, case when v.relkind = 'v' and v.invoker then 0::oid else v.relowner end as usr,
           case when v.relkind = 'm' then v.oid end as mat
    from v join direct d on d.view = v.oid
    where v.nspname !~ '^pg_' and v.nspname <> 'information_schema' and has_schema_privilege(v.nspname, 'usage')
      and (has_table_privilege(v.oid, 'select') or has_any_column_privilege(v.oid, 'select'))
      and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = v.oid and e.deptype = 'e')
    union
    select w.top, d.rel, case when v.relkind = 'v' and v.invoker then w.usr else v.relowner end, coalesce(w.mat, case when v.relkind = 'm' then v.oid end)
    from walk w join v on v.oid = w.rel join direct d on d.view = v.oid
    where v.relkind = 'v' or case when w.usr = 0 then has_table_privilege(v.oid, 'select') else has_table_privilege(w.usr, v.oid, 'select') end
)
select distinct format('%I.%I', tn.nspname, tc.relname), t.oid, coalesce(pg_get_userbyid(nullif(w.usr, 0))::text, ''),
       coalesce((select format('%I.%I', v.nspname, v.relname) from v where v.oid = w.mat), ''), pg_get_viewdef(w.top)
from walk w
join pg_class tc on tc.oid = w.top join pg_namespace tn on tn.oid = tc.relnamespace
join pg_class t on t.oid = w.rel and t.relkind in ('r', 'p')
left join pg_roles u on u.oid = w.usr
where w.mat is not null
   or w.usr <> 0 and (u.rolsuper or u.rolbypassrls or pg_has_role(w.usr, t.relowner, 'usage') and not t.relforcerowsecurity)
order by 1, 2`

// definer is a SECURITY DEFINER function that the role may call.
type definer struct {
	Name, Owner, Body string
	Everywhere        bool     // its owner is bound by no policy at all
	Owned             []uint32 // tables that its owner owns and that do not force their policies
}

const functionsSQL = `
select p.oid::regprocedure::text, pg_get_userbyid(p.proowner)::text, p.prosrc || ' ' || coalesce(pg_get_function_sqlbody(p.oid), ''),
       o.rolsuper or o.rolbypassrls,
       array(select c.oid from pg_class c where c.relkind in ('r', 'p') and not c.relforcerowsecurity and c.oid >= 16384 and pg_has_role(p.proowner, c.relowner, 'usage'))
from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_roles o on o.oid = p.proowner join pg_language l on l.oid = p.prolang
where p.prosecdef and p.oid >= 16384 and l.lanname in ('sql', 'plpgsql') and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
  and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
  and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
order by 1`

// defaultGrant is what the role will be allowed on tables that another creates.
type defaultGrant struct {
	Creator, Schema, Grantee, Privileges string
	Guarded                              bool // an event trigger enables row-level security
}

const grantsSQL = `
select quote_ident(pg_get_userbyid(d.defaclrole)), coalesce((select quote_ident(n.nspname) from pg_namespace n where n.oid = d.defaclnamespace), ''),
       case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end, string_agg(lower(a.privilege_type), ', ' order by a.privilege_type),
       exists (select from pg_event_trigger e join pg_proc f on f.oid = e.evtfoid where e.evtenabled <> 'D' and f.prosrc ~* 'enable\s+row\s+level\s+security')
from pg_default_acl d cross join lateral aclexplode(d.defaclacl) a
where d.defaclobjtype = 'r' and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  and a.grantee <> d.defaclrole and (a.grantee = 0 or pg_has_role(current_user, a.grantee, 'usage'))
group by d.oid, d.defaclrole, d.defaclnamespace, a.grantee
order by 1, 2, 3`

// limit is how long one question may take.
const limit = 2 * time.Second

// look asks the catalogue, in one transaction and one round trip.
func look(ctx context.Context, r *reader, cfg Config) (*facts, error) {
	f := &facts{instances: cfg.Instances, poolSize: cfg.PoolSize}
	var roles []role
	err := r.ask(ctx, nil, limit,
		rows(&roles, pgx.RowToStructByPos[role], roleSQL),
		rows(&f.tables, tableRow, tablesSQL),
		rows(&f.policies, pgx.RowToStructByPos[policy], policiesSQL),
		rows(&f.views, pgx.RowToStructByPos[viewUse], viewsSQL),
		rows(&f.functions, pgx.RowToStructByPos[definer], functionsSQL),
		rows(&f.grants, pgx.RowToStructByPos[defaultGrant], grantsSQL))
	if err != nil {
		return nil, err
	}
	f.role = roles[0]
	f.infer(cfg)
	return f, nil
}

func tableRow(row pgx.CollectableRow) (t table, err error) {
	err = row.Scan(&t.OID, &t.Name, &t.Bare, &t.Enabled, &t.Forced, &t.Owner, &t.Partition, &t.Touched, &t.Reads, &t.Inserts, &t.Updates, &t.Rows,
		&t.Columns, &t.Types, &t.Quoted, &t.Leading, &t.Indexes)
	return t, err
}

// tenantTables are the tables that hold tenants' rows and that the role may touch.
func (f *facts) tenantTables() []table {
	return slices.DeleteFunc(f.allTenantTables(), func(t table) bool { return !t.Touched })
}

// allTenantTables are those that only others may touch, too: views and functions
// may lead there.
func (f *facts) allTenantTables() []table {
	return slices.DeleteFunc(slices.Clone(f.tables), func(t table) bool { return t.column == "" })
}

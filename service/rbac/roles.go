package rbac

import (
	"context"
	"strconv"

	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

func roleFields(r *Role) []any {
	return []any{&r.ID, &r.Name, &r.Description, &r.TenantID, &r.System, &r.CreatedAt, &r.HoldsAll, &r.ParentIDs}
}

func versionedRoleFields(r *Role) []any { return append(roleFields(r), &r.Version) }

var listRoles = guarded.Statement{Op: "list the roles", SQL: `select verdict, id, name, description, tenant_id, system, created_at, holds_all, parent_ids
from poolproof.read_roles($1::uuid, $2::uuid, $3::text, $4::int, $5::int)`}

// Roles lists the tenant's roles by id, at most a page of them. Any active member
// may. Refusals: invalid for a page token of another list, not_a_member, stale.
func (s *Store) Roles(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[Role], error) {
	return s.listRoles(ctx, c, page, guarded.AnyMember)
}

// RolesForAdmin is Roles for holders of manage_users; others are refused with
// forbidden.
func (s *Store) RolesForAdmin(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[Role], error) {
	return s.listRoles(ctx, c, page, manageUsers)
}

func (s *Store) listRoles(ctx context.Context, c tenancy.Caller, page tenancy.Page, permission string) (tenancy.Listed[Role], error) {
	after, err := afterID(page)
	if err != nil {
		return tenancy.Listed[Role]{}, err
	}
	st := listRoles
	st.Needs = permission
	roles, err := guarded.Read(ctx, s.db, c, st, roleFields, after, page.Limit()+1)
	return guarded.Paged(page, roles, func(r Role) string { return strconv.Itoa(int(r.ID)) }), err
}

// afterID reads a page's key where it is a role's id.
func afterID(page tenancy.Page) (int32, error) {
	if page.After == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(page.After, 10, 31)
	if err != nil {
		return 0, tenancy.BadPage()
	}
	return int32(id), nil
}

var oneRole = guarded.Statement{Op: "read a role", Missing: detailNoRole, SQL: `select coalesce(m.refused, case when r.id is null then 'not_found' else 'row' end),
	r.id, r.name, r.description, r.tenant_id, r.system, r.created_at, r.holds_all,
	array(select i.parent_id from poolproof.role_parents i where i.tenant_id = r.tenant_id and i.role_id = r.id order by i.parent_id), r.version
from ` + guarded.Reader + `
left join poolproof.roles r on m.refused is null and r.tenant_id = $1::uuid and r.id = $4::int`}

// Role returns one role; not_found where the tenant has none with this id. Any
// active member may.
func (s *Store) Role(ctx context.Context, c tenancy.Caller, id int32) (Role, error) {
	return guarded.One(ctx, s.db, c, oneRole, versionedRoleFields, id)
}

// lacking are the names of what some roles confer and the caller does not
// hold without expiry. Whoever holds all of today's permissions, yet not
// those of tomorrow, lacks "every permission".
func lacking(roleIDs string) string {
	return `lacking as materialized (
	select coalesce(p.name, 'every permission') as name
	from poolproof.conferred($1::uuid, ` + roleIDs + `) g
	left join poolproof.permissions p on p.id = g.permission_id
	where not exists (select from held h where h.permission_id = g.permission_id and h.until = 'infinity')
)`
}

var createRole = guarded.Statement{Op: "create a role", Needs: manageRoles, SQL: `with ` + guarded.Caller + `, wanted as materialized (
	select distinct unnest($6::int[]) as id
), missing as materialized (
	select w.id from wanted w
	where not exists (select from poolproof.roles r where r.tenant_id = $1::uuid and r.id = w.id)
), ` + lacking(`$6::int[]`) + `, ` + guarded.Decide(``, `
	when exists (select from missing) then 'no_parent'
	when exists (select from lacking) then 'grant'
	when exists (select from poolproof.roles r where r.tenant_id = $1::uuid and r.name = $4::text) then 'name_taken'`) + `, counter as (
	update poolproof.tenants t set next_role_id = t.next_role_id + 1
	from verdict v
	where t.id = $1::uuid and v.code = 'ok'
	returning t.next_role_id - 1 as id
), created as (
	insert into poolproof.roles (tenant_id, id, name, description)
	select $1::uuid, n.id, $4::text, $5::text from counter n
	returning id, name, description, tenant_id, system, created_at, holds_all, version
), inherited as (
	insert into poolproof.role_parents (tenant_id, role_id, parent_id)
	select $1::uuid, r.id, w.id from created r cross join wanted w
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, after)
	select $1::uuid, $2::uuid, 'role.create', 'role/' || r.id, jsonb_build_object(
		'name', r.name, 'description', r.description,
		'parent_ids', coalesce((select jsonb_agg(w.id order by w.id) from wanted w), '[]'))
	from created r
)
select v.code,
	case v.code
		when 'grant' then (select string_agg(l.name, ', ' order by l.name) from lacking l)
		when 'no_parent' then (select string_agg(x.id::text, ', ' order by x.id) from missing x)
	end,
	poolproof.epoch_after($1::uuid, v.code = 'ok'),
	r.id, r.name, r.description, r.tenant_id, r.system, r.created_at, r.holds_all,
	array(select w.id from wanted w order by w.id), r.version
from verdict v
left join created r on true`}

// CreateRole makes a role that holds nothing but what its parents do. Needs
// manage_roles, and for parents to hold without expiry all that they confer.
// Refusals: invalid, forbidden, not_found for a parent, name_taken.
func (s *Store) CreateRole(ctx context.Context, c tenancy.Caller, n NewRole) (Role, tenancy.Epoch, error) {
	name, fields := cleanName(n.Name)
	fields = append(fields, checkDescription(n.Description)...)
	fields = append(fields, checkParents(n.ParentIDs)...)
	if err := tenancy.InvalidFields(fields...); err != nil {
		return Role{}, tenancy.Epoch{}, err
	}
	var r Role
	d, err := s.write(ctx, c, createRole, []any{name, n.Description, n.ParentIDs}, versionedRoleFields(&r)...)
	return r, d.Epoch, err
}

var updateRole = guarded.Statement{Op: "update a role", Needs: manageRoles, SQL: `with ` + guarded.Caller + `, target as materialized (
	select r.* from poolproof.roles r where r.tenant_id = $1::uuid and r.id = $4::int
), wanted as materialized (
	select distinct unnest($7::int[]) as id
), present as materialized (
	select i.parent_id as id from poolproof.role_parents i where i.tenant_id = $1::uuid and i.role_id = $4::int
), missing as materialized (
	select w.id from wanted w
	where not exists (select from poolproof.roles r where r.tenant_id = $1::uuid and r.id = w.id)
), added as materialized (
	select id from wanted except select id from present
), ` + lacking(`array(select a.id from added a)`) + `, ` + guarded.Decide(`left join target t on true`, `
	when t.id is null then 'no_role'
	when not t.version = any ($8::int[]) then 'version_mismatch'
	when t.system and $5::text <> t.name then 'system'
	when exists (select from missing) then 'no_parent'
	when exists (select from added a where a.id = t.id)
		or t.id in (select a.role_id from poolproof.ancestors($1::uuid, array(select a.id from added a)) a) then 'cycle'
	when exists (select from lacking) then 'grant'
	when exists (select from poolproof.roles r where r.tenant_id = $1::uuid and r.name = $5::text and r.id <> t.id) then 'name_taken'`) + `, removed as (
	delete from poolproof.role_parents i
	using verdict v
	where v.code = 'ok' and $7::int[] is not null and i.tenant_id = $1::uuid and i.role_id = $4::int
		and not exists (select from wanted w where w.id = i.parent_id)
	returning i.parent_id as id
), inherited as (
	insert into poolproof.role_parents (tenant_id, role_id, parent_id)
	select $1::uuid, $4::int, a.id from added a join verdict v on v.code = 'ok'
	on conflict do nothing -- somebody gave it meanwhile
	returning parent_id as id
), updated as (
	update poolproof.roles r
	set name = coalesce($5::text, t.name), description = coalesce($6::text, t.description),
		version = t.version + 1, updated_at = clock_timestamp()
	from target t join verdict v on v.code = 'ok'
	where r.tenant_id = $1::uuid and r.id = $4::int
		and (coalesce($5::text, t.name) <> t.name or coalesce($6::text, t.description) <> t.description
			or exists (select from removed) or exists (select from inherited))
	returning r.*
), parents as materialized (
	select id from present except select id from removed union select a.id from added a join verdict v on v.code = 'ok'
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
	select $1::uuid, $2::uuid, 'role.update', 'role/' || u.id,
		jsonb_build_object('name', t.name, 'description', t.description,
			'parent_ids', coalesce((select jsonb_agg(p.id order by p.id) from present p), '[]')),
		jsonb_build_object('name', u.name, 'description', u.description,
			'parent_ids', coalesce((select jsonb_agg(p.id order by p.id) from parents p), '[]'))
	from updated u cross join target t
)
select v.code,
	case v.code
		when 'grant' then (select string_agg(l.name, ', ' order by l.name) from lacking l)
		when 'no_parent' then (select string_agg(x.id::text, ', ' order by x.id) from missing x)
	end,
	poolproof.epoch_after($1::uuid, u.id is not null),
	t.id, coalesce(u.name, t.name), coalesce(u.description, t.description), t.tenant_id, t.system, t.created_at,
	t.holds_all, array(select p.id from parents p order by p.id), coalesce(u.version, t.version)
from verdict v
left join target t on true
left join updated u on true`}

// UpdateRole changes what the patch names and returns the role as it then is.
// Needs manage_roles, and for parents that are added to hold without expiry
// all that they confer. Refusals: invalid, not_found for the role or a parent,
// version_mismatch, forbidden, also for the name of a system role, name_taken,
// cycle, last_manager.
func (s *Store) UpdateRole(ctx context.Context, c tenancy.Caller, id int32, p RolePatch, match tenancy.Match) (Role, tenancy.Epoch, error) {
	var fields []tenancy.Field
	var parents []int32 // nil stays NULL: leave the parents alone
	if p.Name != nil {
		name, wrong := cleanName(*p.Name)
		p.Name, fields = &name, wrong
	}
	if p.Description != nil {
		fields = append(fields, checkDescription(*p.Description)...)
	}
	if p.ParentIDs != nil {
		parents = append([]int32{}, *p.ParentIDs...)
		fields = append(fields, checkParents(parents)...)
	}
	if err := tenancy.InvalidFields(fields...); err != nil {
		return Role{}, tenancy.Epoch{}, err
	}
	var r Role
	d, err := s.write(ctx, c, updateRole,
		[]any{id, p.Name, p.Description, parents, []int32(match)}, versionedRoleFields(&r)...)
	return r, d.Epoch, err
}

var deleteRole = guarded.Statement{Op: "delete a role", Needs: manageRoles, SQL: `with ` + guarded.Caller + `, target as materialized (
	select r.id, r.name, r.description, r.system, r.version from poolproof.roles r where r.tenant_id = $1::uuid and r.id = $4::int
), affected as materialized (
	select count(distinct u.user_id) as members
	from poolproof.user_roles u
	where u.tenant_id = $1::uuid and (u.expires_at is null or u.expires_at > clock_timestamp())
		and u.role_id in (select $4::int union select h.role_id from poolproof.heirs($1::uuid, $4::int) h)
), ` + guarded.Decide(`cross join affected a left join target t on true`, `
	when t.id is null then 'no_role'
	when not t.version = any ($6::int[]) then 'version_mismatch'
	when t.system then 'system'
	when a.members > 0 and not $5::boolean then 'members'`) + `, deleted as (
	delete from poolproof.roles r
	using verdict v
	where v.code = 'ok' and r.tenant_id = $1::uuid and r.id = $4::int
	returning r.id
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before)
	select $1::uuid, $2::uuid, 'role.delete', 'role/' || d.id,
		jsonb_build_object('name', t.name, 'description', t.description, 'members', a.members)
	from deleted d cross join target t cross join affected a
)
select v.code, case v.code when 'members' then a.members::text end, poolproof.epoch_after($1::uuid, v.code = 'ok')
from verdict v cross join affected a`}

// DeleteRole removes a role and with it its assignments and its place in
// inheritance. A role that members hold, be it by a role that inherits from
// it, is deleted only with force; else role_has_members says how many they
// are. Needs manage_roles. Refusals: not_found, forbidden for a system role,
// version_mismatch, role_has_members, last_manager.
func (s *Store) DeleteRole(ctx context.Context, c tenancy.Caller, id int32, force bool, match tenancy.Match) (tenancy.Epoch, error) {
	d, err := s.write(ctx, c, deleteRole, []any{id, force, []int32(match)})
	return d.Epoch, err
}

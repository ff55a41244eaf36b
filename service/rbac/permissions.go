package rbac

import (
	"context"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

func permissionFields(p *Permission) []any {
	return []any{&p.ID, &p.Name, &p.ResourceType, &p.Action, &p.Description}
}

// permissionsWhere makes a read of those permissions of the catalogue that a
// condition holds for, after the name $4, at most $5.
func permissionsWhere(condition string) string {
	return `left join lateral (
	select p.* from poolproof.permissions p
	where m.refused is null and p.name > $4::text and (` + condition + `)
	order by p.name limit $5::int
) p on true
order by p.name`
}

func permissionName(p Permission) string { return p.Name }

var rolePermissions = guarded.Statement{Op: "list a role's permissions", Missing: detailNoRole, SQL: `select coalesce(m.refused, case when r.id is null then 'not_found' when p.id is null then 'empty' else 'row' end),
	p.id, p.name, p.resource_type, p.action, p.description
from ` + guarded.Reader + `
left join poolproof.roles r on m.refused is null and r.tenant_id = $1::uuid and r.id = $6::int
` + permissionsWhere(`r.holds_all and p.scope = 'tenant' or p.id in (
		select rp.permission_id from poolproof.role_permissions rp
		where rp.tenant_id = $1::uuid and rp.role_id = r.id)`)}

// RolePermissions lists by name what a role holds of its own: what was given
// to it, or every permission of the tenant for a role that holds all. What it
// inherits is its parents'. not_found where the tenant has no such role. Any
// active member may.
func (s *Store) RolePermissions(ctx context.Context, c tenancy.Caller, roleID int32, page tenancy.Page) (tenancy.Listed[Permission], error) {
	return s.permissions(ctx, c, rolePermissions, page, roleID)
}

var userPermissions = guarded.Statement{Op: "list a member's permissions", Missing: detailNoMember, SQL: `select coalesce(m.refused, case when u.user_id is null then 'not_found' when p.id is null then 'empty' else 'row' end),
	p.id, p.name, p.resource_type, p.action, p.description
from ` + guarded.Reader + `
left join poolproof.profiles u on m.refused is null and u.tenant_id = $1::uuid and u.user_id = $6::uuid
` + permissionsWhere(`p.id in (select h.permission_id from poolproof.held($1::uuid, u.user_id) h)`)}

// UserPermissions lists by name all that a member's roles give, inherited
// permissions included; nothing for a member who is not active. not_found for
// somebody who is no member. Any active member may.
func (s *Store) UserPermissions(ctx context.Context, c tenancy.Caller, user uuid.UUID, page tenancy.Page) (tenancy.Listed[Permission], error) {
	return s.permissions(ctx, c, userPermissions, page, user.String())
}

// permissions reads a page of permissions.
func (s *Store) permissions(ctx context.Context, c tenancy.Caller, st guarded.Statement, page tenancy.Page, args ...any) (tenancy.Listed[Permission], error) {
	list, err := guarded.Read(ctx, s.db, c, st, permissionFields, append([]any{page.After, page.Limit() + 1}, args...)...)
	return guarded.Paged(page, list, permissionName), err
}

// roleAndPermission are the role $4 and the permission $5, each if it is there.
const roleAndPermission = `target as materialized (
	select r.id, r.holds_all from poolproof.roles r where r.tenant_id = $1::uuid and r.id = $4::int
), permission as materialized (
	select p.id, p.name, p.scope from poolproof.permissions p where p.id = $5::uuid
)`

var grantPermission = guarded.Statement{Op: "grant a permission", Needs: managePermissions, SQL: `with ` + guarded.Caller + `, ` + roleAndPermission + `, ` + guarded.Decide(`left join target t on true left join permission p on true`, `
	when t.id is null then 'no_role'
	when p.id is null or not poolproof.keep_entry(p.id) then 'no_permission'
	when t.holds_all and p.scope = 'tenant' or exists (
		select from poolproof.role_permissions rp
		where rp.tenant_id = $1::uuid and rp.role_id = t.id and rp.permission_id = p.id) then 'same'
	when not exists (select from held h where h.permission_id = p.id and h.until = 'infinity') then 'grant'`) + `, given as (
	insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
	select $1::uuid, $4::int, p.id, p.scope from permission p join verdict v on v.code = 'ok'
	on conflict do nothing -- somebody gave it meanwhile
	returning role_id
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, after)
	select $1::uuid, $2::uuid, 'role.permission.grant', 'role/' || g.role_id, jsonb_build_object('permission_id', p.id, 'permission', p.name)
	from given g cross join permission p
)
select case v.code when 'same' then 'ok' else v.code end, case v.code when 'grant' then p.name end,
	poolproof.epoch_after($1::uuid, v.code = 'ok')
from verdict v left join permission p on true`}

// GrantPermission grants a permission to a role, for good. Given already, it
// does nothing. Needs manage_permissions and the permission itself, without
// expiry; forbidden for a platform permission outside the platform tenant,
// where nobody holds it. not_found for an unknown role or permission.
func (s *Store) GrantPermission(ctx context.Context, c tenancy.Caller, roleID int32, permissionID uuid.UUID) (tenancy.Epoch, error) {
	d, err := s.write(ctx, c, grantPermission, []any{roleID, permissionID.String()})
	return d.Epoch, err
}

var revokePermission = guarded.Statement{Op: "revoke a permission", Needs: managePermissions, Missing: detailNothingToTake, SQL: `with ` + guarded.Caller + `, ` + roleAndPermission + `, ` + guarded.Decide(`left join target t on true left join permission p on true`, `
	when t.id is null then 'no_role'
	when t.holds_all and p.scope = 'tenant' then 'holds_all'
	when not exists (
		select from poolproof.role_permissions rp
		where rp.tenant_id = $1::uuid and rp.role_id = t.id and rp.permission_id = $5::uuid) then 'not_found'
	when t.holds_all then 'holds_all'`) + `, taken as (
	delete from poolproof.role_permissions rp
	using verdict v
	where v.code = 'ok' and rp.tenant_id = $1::uuid and rp.role_id = $4::int and rp.permission_id = $5::uuid
	returning rp.role_id
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before)
	select $1::uuid, $2::uuid, 'role.permission.revoke', 'role/' || x.role_id, jsonb_build_object('permission_id', p.id, 'permission', p.name)
	from taken x cross join permission p
)
select v.code, null, poolproof.epoch_after($1::uuid, v.code = 'ok') from verdict v`}

// RevokePermission takes from a role what was given to it. Needs
// manage_permissions. Refusals: not_found where the role does not have it of
// its own, invalid for a role that holds all, last_manager.
func (s *Store) RevokePermission(ctx context.Context, c tenancy.Caller, roleID int32, permissionID uuid.UUID) (tenancy.Epoch, error) {
	d, err := s.write(ctx, c, revokePermission, []any{roleID, permissionID.String()})
	return d.Epoch, err
}

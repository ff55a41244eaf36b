package rbac

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/guarded"
	"github.com/poolproof/poolproof/tenancy"
)

const assignRole = `with ` + guarded.Caller + `, target as materialized (
	select p.user_id from poolproof.profiles p where p.tenant_id = $1::uuid and p.user_id = $4::uuid
), role as materialized (
	select r.id, r.name from poolproof.roles r where r.tenant_id = $1::uuid and r.id = $5::int
), present as materialized (
	select u.expires_at, coalesce(u.expires_at, 'infinity') as until,
		u.expires_at is null or u.expires_at > clock_timestamp() as live
	from poolproof.user_roles u
	where u.tenant_id = $1::uuid and u.user_id = $4::uuid and u.role_id = $5::int
), asked as materialized (
	select coalesce($6::timestamptz, 'infinity') as until,
		coalesce((select p.live and ($6::timestamptz is null or p.until = $6::timestamptz) from present p), false) as same,
		coalesce((select p.live and p.until >= $6::timestamptz from present p), false) as shorter
), lacking as materialized (
	select coalesce(p.name, 'every permission') as name
	from poolproof.conferred($1::uuid, array[$5::int]) g
	left join poolproof.permissions p on p.id = g.permission_id
	where not exists (select from held h join asked a on h.until >= a.until where h.permission_id = g.permission_id)
), verdict as materialized (
	select case
		when not c.member then 'not_a_member'
		when not c.allowed then 'forbidden'
		when not exists (select from target) then 'no_member'
		when not exists (select from role) then 'no_role'
		when $6::timestamptz <= clock_timestamp() then 'past'
		when a.same then 'same'
		when not a.shorter and exists (select from lacking) then 'grant'
		else 'ok'
	end as code
	from caller c cross join asked a
), assigned as (
	insert into poolproof.user_roles as u (tenant_id, user_id, role_id, granted_by, expires_at)
	select $1::uuid, $4::uuid, $5::int, $2::uuid, $6::timestamptz from verdict v where v.code = 'ok'
	on conflict (tenant_id, user_id, role_id) do update
	set granted_by = excluded.granted_by, expires_at = excluded.expires_at, version = u.version + 1
	returning u.role_id
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
	select $1::uuid, $2::uuid, 'user.role.assign', 'user/' || $4::uuid,
		(select jsonb_build_object('role_id', r.id, 'role', r.name, 'expires_at', p.expires_at) from present p),
		jsonb_build_object('role_id', r.id, 'role', r.name, 'expires_at', $6::timestamptz)
	from assigned x cross join role r
)
select case v.code when 'same' then 'ok' else v.code end,
	case v.code when 'grant' then (select string_agg(l.name, ', ' order by l.name) from lacking l) end
from verdict v`

// AssignRole gives a role to a member, until expiresAt or, if that is nil, for
// good. For an assignment that is there already, nil changes nothing and a
// time replaces its expiry; one that has expired counts as not there. Needs
// manage_users and to hold all that the role confers, at least as long; to
// shorten takes manage_users only. Refusals: not_found for an unknown member or
// role, invalid for an expiry in the past, forbidden, last_manager.
func (s *Store) AssignRole(ctx context.Context, c tenancy.Caller, user uuid.UUID, roleID int32, expiresAt *time.Time) error {
	return s.write(ctx, c, "assign a role", manageUsers, assignRole, []any{user.String(), roleID, expiresAt})
}

const unassignRole = `with ` + guarded.Caller + `, verdict as materialized (
	select case
		when not c.member then 'not_a_member'
		when not c.allowed then 'forbidden'
		when not exists (
			select from poolproof.user_roles u
			where u.tenant_id = $1::uuid and u.user_id = $4::uuid and u.role_id = $5::int) then 'not_found'
		else 'ok'
	end as code
	from caller c
), taken as (
	delete from poolproof.user_roles u
	using verdict v
	where v.code = 'ok' and u.tenant_id = $1::uuid and u.user_id = $4::uuid and u.role_id = $5::int
	returning u.role_id, u.expires_at
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before)
	select $1::uuid, $2::uuid, 'user.role.unassign', 'user/' || $4::uuid,
		jsonb_build_object('role_id', x.role_id, 'role', r.name, 'expires_at', x.expires_at)
	from taken x join poolproof.roles r on r.tenant_id = $1::uuid and r.id = x.role_id
)
select v.code, null from verdict v`

// UnassignRole takes a role from a member. Needs manage_users. Refusals:
// not_found where there is no such assignment, last_manager.
func (s *Store) UnassignRole(ctx context.Context, c tenancy.Caller, user uuid.UUID, roleID int32) error {
	return s.write(ctx, c, "withdraw a role", manageUsers, unassignRole, []any{user.String(), roleID})
}

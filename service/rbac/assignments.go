package rbac

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

func assignmentFields(a *Assignment) []any {
	return []any{&a.UserID, &a.RoleID, &a.RoleName, &a.CreatedAt, &a.ExpiresAt}
}

// The key of a page is the last row's user and role.
var listAssignments = guarded.Statement{Op: "list the assignments", SQL: `select coalesce(m.refused, case when u.user_id is null then 'empty' else 'row' end),
	u.user_id, u.role_id, u.name, u.created_at, u.expires_at
from ` + guarded.Reader + `
left join lateral (
	select u.user_id, u.role_id, r.name, u.created_at, u.expires_at
	from poolproof.user_roles u
	join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id
	where m.refused is null and u.tenant_id = $1::uuid and (u.user_id, u.role_id) > ($4::uuid, $5::int)
		and (u.expires_at is null or u.expires_at > clock_timestamp())
	order by u.user_id, u.role_id limit $6::int
) u on true
order by u.user_id, u.role_id`}

// Assignments lists who holds which role, by user and role, at most a page of it.
// Any active member may. Refusals: invalid for a page token of another list,
// not_a_member, stale.
func (s *Store) Assignments(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[Assignment], error) {
	var user uuid.UUID
	var role int32
	if page.After != "" {
		text, id, _ := strings.Cut(page.After, "/")
		var err error
		if user, err = uuid.Parse(text); err != nil {
			return tenancy.Listed[Assignment]{}, tenancy.BadPage()
		}
		if role, err = afterID(tenancy.Page{After: id}); err != nil {
			return tenancy.Listed[Assignment]{}, err
		}
	}
	list, err := guarded.Read(ctx, s.db, c, listAssignments, assignmentFields, user.String(), role, page.Limit()+1)
	return guarded.Paged(page, list, func(a Assignment) string { return a.UserID.String() + "/" + strconv.Itoa(int(a.RoleID)) }), err
}

var userRoles = guarded.Statement{Op: "list a member's roles", Missing: detailNoMember, SQL: `select coalesce(m.refused, case when p.user_id is null then 'not_found' when u.user_id is null then 'empty' else 'row' end),
	u.user_id, u.role_id, u.name, u.created_at, u.expires_at
from ` + guarded.Reader + `
left join poolproof.profiles p on m.refused is null and p.tenant_id = $1::uuid and p.user_id = $4::uuid
left join lateral (
	select u.user_id, u.role_id, r.name, u.created_at, u.expires_at
	from poolproof.user_roles u
	join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id
	where u.tenant_id = $1::uuid and u.user_id = p.user_id and u.role_id > $5::int
		and (u.expires_at is null or u.expires_at > clock_timestamp())
	order by u.role_id limit $6::int
) u on true
order by u.role_id`}

// RolesOf lists a member's roles by id. not_found for somebody who is no
// member. Any active member may.
func (s *Store) RolesOf(ctx context.Context, c tenancy.Caller, user uuid.UUID, page tenancy.Page) (tenancy.Listed[Assignment], error) {
	after, err := afterID(page)
	if err != nil {
		return tenancy.Listed[Assignment]{}, err
	}
	list, err := guarded.Read(ctx, s.db, c, userRoles, assignmentFields, user.String(), after, page.Limit()+1)
	return guarded.Paged(page, list, func(a Assignment) string { return strconv.Itoa(int(a.RoleID)) }), err
}

var assignRole = guarded.Statement{Op: "assign a role", Needs: manageUsers, SQL: `with ` + guarded.Caller + `, target as materialized (
	select p.user_id from poolproof.profiles p where p.tenant_id = $1::uuid and p.user_id = $4::uuid
), role as materialized (
	select r.id, r.name from poolproof.roles r where r.tenant_id = $1::uuid and r.id = $5::int
), present as materialized (
	select u.created_at, u.expires_at, coalesce(u.expires_at, 'infinity') as until,
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
), ` + guarded.Decide(`cross join asked a`, `
	when not exists (select from target) then 'no_member'
	when not exists (select from role) then 'no_role'
	when $6::timestamptz <= clock_timestamp() then 'past'
	when a.same then 'same'
	when not a.shorter and exists (select from lacking) then 'grant'`) + `, assigned as (
	insert into poolproof.user_roles as u (tenant_id, user_id, role_id, granted_by, expires_at)
	select $1::uuid, $4::uuid, $5::int, $2::uuid, nullif($6::timestamptz, 'infinity') from verdict v where v.code = 'ok'
	on conflict (tenant_id, user_id, role_id) do update
	set granted_by = excluded.granted_by, expires_at = excluded.expires_at, version = u.version + 1,
		created_at = case when u.expires_at <= clock_timestamp() then excluded.created_at else u.created_at end
	returning u.role_id, u.created_at, u.expires_at
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
	select $1::uuid, $2::uuid, 'user.role.assign', 'user/' || $4::uuid,
		(select jsonb_build_object('role_id', r.id, 'role', r.name, 'expires_at', p.expires_at) from present p),
		jsonb_build_object('role_id', r.id, 'role', r.name, 'expires_at', nullif($6::timestamptz, 'infinity'))
	from assigned x cross join role r
)
select case v.code when 'same' then 'ok' else v.code end,
	case v.code
		when 'grant' then (select string_agg(l.name, ', ' order by l.name) from lacking l)
		when 'ok' then case when coalesce((select p.live from present p), false) then null else 'created' end
	end,
	poolproof.epoch_after($1::uuid, v.code = 'ok'),
	$4::uuid, r.id, r.name, coalesce(x.created_at, p.created_at), case when x.role_id is null then p.expires_at else x.expires_at end
from verdict v left join role r on true left join present p on true left join assigned x on true`}

// AssignRole assigns a role to a member, until expiresAt or, if that is nil or
// the zero time, for good. created reports whether the member did not hold it before.
// For an assignment that is there already, nil changes nothing, a time replaces
// its expiry, and the zero time clears it; one that has expired counts as not
// there. Needs manage_users and to hold all
// that the role confers, at least as long; to shorten takes manage_users only.
// Refusals: not_found for an unknown member or role, invalid for an expiry in
// the past, forbidden, last_manager.
func (s *Store) AssignRole(ctx context.Context, c tenancy.Caller, user uuid.UUID, roleID int32, expiresAt *time.Time) (a Assignment, created bool, epoch tenancy.Epoch, err error) {
	var until pgtype.Timestamptz // null: nil
	if expiresAt != nil {
		until = pgtype.Timestamptz{Time: *expiresAt, Valid: true}
		if expiresAt.IsZero() {
			until = pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
		}
	}
	d, err := s.write(ctx, c, assignRole, []any{user.String(), roleID, until}, assignmentFields(&a)...)
	return a, d.Detail == "created", d.Epoch, err
}

var unassignRole = guarded.Statement{Op: "withdraw a role", Needs: manageUsers, Missing: detailNothingToTake, SQL: `with ` + guarded.Caller + `, ` + guarded.Decide(``, `
	when not exists (
		select from poolproof.user_roles u
		where u.tenant_id = $1::uuid and u.user_id = $4::uuid and u.role_id = $5::int
			and (u.expires_at is null or u.expires_at > clock_timestamp())) then 'not_found'`) + `, taken as (
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
select v.code, null, poolproof.epoch_after($1::uuid, v.code = 'ok') from verdict v`}

// UnassignRole takes a role from a member. Needs manage_users. Refusals:
// not_found where there is no such assignment, or it has expired, last_manager.
func (s *Store) UnassignRole(ctx context.Context, c tenancy.Caller, user uuid.UUID, roleID int32) (tenancy.Epoch, error) {
	d, err := s.write(ctx, c, unassignRole, []any{user.String(), roleID})
	return d.Epoch, err
}

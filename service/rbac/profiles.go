package rbac

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

const profileColumns = `p.user_id, p.external_id, p.email, p.name, p.active, p.created_at`

func profileFields(p *Profile) []any {
	return []any{&p.UserID, &p.ExternalID, &p.Email, &p.Name, &p.Active, &p.CreatedAt}
}

func versionedProfileFields(p *Profile) []any { return append(profileFields(p), &p.Version) }

var listProfiles = guarded.Statement{Op: "list the profiles", SQL: `select coalesce(m.refused, case when p.user_id is null then 'empty' else 'row' end),
	` + profileColumns + `
from ` + guarded.Reader + `
left join lateral (
	select p.* from poolproof.profiles p
	where m.refused is null and p.tenant_id = $1::uuid and p.user_id > $4::uuid
	order by p.user_id limit $5::int
) p on true
order by p.user_id`}

// Profiles lists the tenant's members by user id, inactive ones included, at most
// a page of them. Any active member may. Refusals: invalid for a page token of
// another list, not_a_member, stale.
func (s *Store) Profiles(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[Profile], error) {
	return s.listProfiles(ctx, c, page, guarded.AnyMember)
}

// ProfilesForAdmin is Profiles for holders of manage_users; others are refused with
// forbidden.
func (s *Store) ProfilesForAdmin(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[Profile], error) {
	return s.listProfiles(ctx, c, page, manageUsers)
}

func (s *Store) listProfiles(ctx context.Context, c tenancy.Caller, page tenancy.Page, permission string) (tenancy.Listed[Profile], error) {
	var after uuid.UUID
	if page.After != "" {
		var err error
		if after, err = uuid.Parse(page.After); err != nil {
			return tenancy.Listed[Profile]{}, tenancy.BadPage()
		}
	}
	st := listProfiles
	st.Needs = permission
	list, err := guarded.Read(ctx, s.db, c, st, profileFields, after.String(), page.Limit()+1)
	return guarded.Paged(page, list, func(p Profile) string { return p.UserID.String() }), err
}

var oneProfile = guarded.Statement{Op: "read a profile", Missing: detailNoMember, SQL: `select coalesce(m.refused, case when p.user_id is null then 'not_found' else 'row' end),
	` + profileColumns + `, p.version
from ` + guarded.Reader + `
left join poolproof.profiles p on m.refused is null and p.tenant_id = $1::uuid and p.user_id = $4::uuid`}

// Profile returns one member; not_found for somebody who is none. Any active
// member may.
func (s *Store) Profile(ctx context.Context, c tenancy.Caller, user uuid.UUID) (Profile, error) {
	return guarded.One(ctx, s.db, c, oneProfile, versionedProfileFields, user.String())
}

var createProfile = guarded.Statement{Op: "create a profile", Needs: manageUsers, SQL: `with ` + guarded.Caller + `, ` + guarded.Decide(``, `
	when exists (
		select from poolproof.profiles p
		where p.tenant_id = $1::uuid and (p.user_id = $4::uuid or p.external_id = $5::text)) then 'name_taken'`) + `, created as (
	insert into poolproof.profiles as p (tenant_id, user_id, external_id, email, name, active)
	select $1::uuid, $4::uuid, $5::text, $6::text, $7::text, $8::boolean from verdict v where v.code = 'ok'
	returning ` + profileColumns + `, p.version
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, after)
	select $1::uuid, $2::uuid, 'profile.create', 'user/' || p.user_id, jsonb_build_object(
		'external_id', p.external_id, 'email', p.email, 'name', p.name, 'active', p.active)
	from created p
)
select v.code, null, poolproof.epoch_after($1::uuid, v.code = 'ok'),
	` + profileColumns + `, p.version
from verdict v left join created p on true`}

// CreateProfile makes somebody a member, who holds nothing yet. Needs
// manage_users. Refusals: invalid, forbidden, name_taken for a user or an
// external id that the tenant has already.
func (s *Store) CreateProfile(ctx context.Context, c tenancy.Caller, n NewProfile) (Profile, tenancy.Epoch, error) {
	var fields []tenancy.Field
	if n.UserID == uuid.Nil {
		fields = append(fields, tenancy.Field{Pointer: "/user_id", Detail: "must not be the zero UUID"})
	}
	fields = append(fields, checkProfile(&n.ExternalID, &n.Email, &n.Name)...)
	if err := tenancy.InvalidFields(fields...); err != nil {
		return Profile{}, tenancy.Epoch{}, err
	}
	var external *string
	if n.ExternalID != "" {
		external = &n.ExternalID
	}
	var p Profile
	d, err := s.write(ctx, c, createProfile,
		[]any{n.UserID.String(), external, n.Email, n.Name, n.Active}, versionedProfileFields(&p)...)
	return p, d.Epoch, err
}

// The grants in a change: what the member's unexpired roles confer, where the
// change activates the profile or points it at another external id. The latter
// counts for a profile that is not active, too: whoever activates it later
// would hand its roles to somebody else.
var updateProfile = guarded.Statement{Op: "update a profile", Needs: manageUsers, SQL: `with ` + guarded.Caller + `, target as materialized (
	select p.* from poolproof.profiles p where p.tenant_id = $1::uuid and p.user_id = $4::uuid
), wanted as materialized (
	select case when $5::text is null then t.external_id else nullif($5::text, '') end as external_id,
		coalesce($6::text, t.email) as email, coalesce($7::text, t.name) as name, coalesce($8::boolean, t.active) as active
	from target t
), conferring as materialized (
	select u.role_id, coalesce(u.expires_at, 'infinity') as until
	from poolproof.user_roles u
	where u.tenant_id = $1::uuid and u.user_id = $4::uuid and (u.expires_at is null or u.expires_at > clock_timestamp())
		and exists (
			select from target t cross join wanted w
			where w.active and not t.active or w.external_id is distinct from t.external_id and w.external_id is not null)
), lacking as materialized (
	select distinct coalesce(p.name, 'every permission') as name
	from conferring r
	cross join lateral poolproof.conferred($1::uuid, array[r.role_id]) g
	left join poolproof.permissions p on p.id = g.permission_id
	where not exists (select from held h where h.permission_id = g.permission_id and h.until >= r.until)
), ` + guarded.Decide(`left join target t on true`, `
	when t.user_id is null then 'no_member'
	when not t.version = any ($9::int[]) then 'version_mismatch'
	when exists (select from lacking) then 'grant'
	when exists (
		select from poolproof.profiles p cross join wanted w
		where p.tenant_id = $1::uuid and p.external_id = w.external_id and p.user_id <> t.user_id) then 'name_taken'`) + `, updated as (
	update poolproof.profiles p
	set external_id = w.external_id, email = w.email, name = w.name, active = w.active,
		version = t.version + 1, updated_at = clock_timestamp()
	from target t cross join wanted w join verdict v on v.code = 'ok'
	where p.tenant_id = $1::uuid and p.user_id = $4::uuid
		and (w.external_id, w.email, w.name, w.active) is distinct from (t.external_id, t.email, t.name, t.active)
	returning p.*
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
	select $1::uuid, $2::uuid, 'profile.update', 'user/' || u.user_id,
		jsonb_build_object('external_id', t.external_id, 'email', t.email, 'name', t.name, 'active', t.active),
		jsonb_build_object('external_id', u.external_id, 'email', u.email, 'name', u.name, 'active', u.active)
	from updated u cross join target t
)
select v.code, case v.code when 'grant' then (select string_agg(l.name, ', ' order by l.name) from lacking l) end,
	poolproof.epoch_after($1::uuid, exists (select from updated)),
	t.user_id, w.external_id, w.email, w.name, w.active, t.created_at,
	t.version + (select count(*)::int from updated)
from verdict v left join target t on true left join wanted w on true`}

// UpdateProfile changes what the patch names. Needs manage_users, and to hold
// all that the member's roles confer, at least as long, for what is a grant
// (see [ProfilePatch]). Refusals: invalid, not_found, version_mismatch,
// forbidden, name_taken, last_manager.
func (s *Store) UpdateProfile(ctx context.Context, c tenancy.Caller, user uuid.UUID, p ProfilePatch, match tenancy.Match) (Profile, tenancy.Epoch, error) {
	if err := tenancy.InvalidFields(checkProfile(p.ExternalID, p.Email, p.Name)...); err != nil {
		return Profile{}, tenancy.Epoch{}, err
	}
	var out Profile
	d, err := s.write(ctx, c, updateProfile,
		[]any{user.String(), p.ExternalID, p.Email, p.Name, p.Active, []int32(match)}, versionedProfileFields(&out)...)
	return out, d.Epoch, err
}

var deleteProfile = guarded.Statement{Op: "delete a profile", Needs: manageUsers, SQL: `with ` + guarded.Caller + `, target as materialized (
	select p.* from poolproof.profiles p where p.tenant_id = $1::uuid and p.user_id = $4::uuid
), ` + guarded.Decide(`left join target t on true`, `
	when t.user_id is null then 'no_member'
	when not t.version = any ($5::int[]) then 'version_mismatch'`) + `, deleted as (
	delete from poolproof.profiles p using verdict v
	where v.code = 'ok' and p.tenant_id = $1::uuid and p.user_id = $4::uuid
	returning p.user_id
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before)
	select $1::uuid, $2::uuid, 'profile.delete', 'user/' || d.user_id, jsonb_build_object(
		'external_id', t.external_id, 'email', t.email, 'name', t.name, 'active', t.active, 'roles', coalesce((
			select jsonb_agg(u.role_id order by u.role_id) from poolproof.user_roles u
			where u.tenant_id = $1::uuid and u.user_id = t.user_id), '[]'))
	from deleted d cross join target t
)
select v.code, null, poolproof.epoch_after($1::uuid, v.code = 'ok') from verdict v`}

// DeleteProfile ends a membership, and with it the member's roles. Needs
// manage_users. Refusals: not_found, version_mismatch, last_manager.
func (s *Store) DeleteProfile(ctx context.Context, c tenancy.Caller, user uuid.UUID, match tenancy.Match) (tenancy.Epoch, error) {
	d, err := s.write(ctx, c, deleteProfile, []any{user.String(), []int32(match)})
	return d.Epoch, err
}

// checkProfile brings what is there into its form and says what is wrong with
// it. An external id is compared with the sub of tokens, and so kept as it is
// but for white space around it.
func checkProfile(externalID, email, name *string) []tenancy.Field {
	fields := append(tenancy.CheckName("/email", email, MaxEmail, false), tenancy.CheckName("/name", name, MaxPersonName, false)...)
	if externalID == nil {
		return fields
	}
	*externalID = strings.TrimSpace(*externalID)
	as := *externalID
	return append(tenancy.CheckName("/external_id", &as, MaxExternalID, false), fields...)
}

var stats = guarded.Statement{Op: "count", Needs: manageUsers, SQL: `select coalesce(m.refused, 'row'), s.users, s.active, s.roles, s.permissions, s.features
from ` + guarded.Reader + `
left join lateral (
	select
		(select count(*) from poolproof.profiles p where p.tenant_id = $1::uuid) as users,
		(select count(*) from poolproof.profiles p where p.tenant_id = $1::uuid and p.active) as active,
		(select count(*) from poolproof.roles r where r.tenant_id = $1::uuid) as roles,
		(select count(*) from poolproof.permissions) as permissions,
		(select count(*) from poolproof.features) as features
) s on m.refused is null`}

// Stats counts what the tenant has. Needs manage_users. Refusals: not_a_member,
// forbidden, stale.
func (s *Store) Stats(ctx context.Context, c tenancy.Caller) (Stats, error) {
	return guarded.One(ctx, s.db, c, stats, func(t *Stats) []any {
		return []any{&t.Users, &t.ActiveUsers, &t.Roles, &t.Permissions, &t.Features}
	})
}

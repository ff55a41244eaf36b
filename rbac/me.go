package rbac

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/tenancy"
)

// The policies on profiles and tenants let a user read their own memberships
// and the tenants of those, with or without a tenant; everything else is the
// chosen tenant's. One statement, so that all of it is of one moment.
const me = `with mine as materialized (
	select p.tenant_id, p.email, p.name, t.name as tenant, t.slug
	from poolproof.profiles p
	join poolproof.tenants t on t.id = p.tenant_id
	where p.user_id = $1::uuid and p.active
), here as materialized (
	select i.tenant_id, i.email, i.name from mine i where i.tenant_id = $2::uuid
)
select
	$2::uuid is null or exists (select from here),
	case when $2::uuid is null then (select min(i.email) from mine i where i.email <> '' having min(i.email) = max(i.email))
		else (select nullif(h.email, '') from here h) end,
	case when $2::uuid is null then (select min(i.name) from mine i where i.name <> '' having min(i.name) = max(i.name))
		else (select nullif(h.name, '') from here h) end,
	(select coalesce(jsonb_agg(jsonb_build_object('id', i.tenant_id, 'name', i.tenant, 'slug', i.slug) order by i.tenant, i.tenant_id), '[]') from mine i),
	(select coalesce(jsonb_agg(jsonb_build_object('id', r.id, 'name', r.name, 'description', r.description, 'tenant_id', r.tenant_id,
			'system', r.system, 'created_at', r.created_at) order by r.id), '[]')
		from here h
		join poolproof.user_roles u on u.tenant_id = h.tenant_id and u.user_id = $1::uuid
			and (u.expires_at is null or u.expires_at > clock_timestamp())
		join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id),
	(select coalesce(jsonb_agg(p.name order by p.name), '[]')
		from here h
		cross join lateral poolproof.held(h.tenant_id, $1::uuid) e
		join poolproof.permissions p on p.id = e.permission_id),
	(select coalesce(jsonb_object_agg(f.name, coalesce(tf.enabled, f.default_enabled)), '{}')
		from here h
		cross join poolproof.features f
		left join poolproof.tenant_features tf on tf.tenant_id = h.tenant_id and tf.feature_id = f.id)`

// Me tells a user about themself: their tenants and, where one is given, what
// they are there. Refusal: not_a_member for a tenant that is not theirs. A user
// whom no tenant knows has no tenants.
func (s *Store) Me(ctx context.Context, user uuid.UUID, tenant uuid.NullUUID) (Me, error) {
	session := s.db.Shared()
	var in *string
	out := Me{User: User{ID: user}}
	if tenant.Valid {
		id := tenant.UUID.String()
		session, in, out.Tenant = s.db.Tenant(id), &id, &tenant.UUID
	}
	var member bool
	err := session.As(user.String()).QueryRow(ctx, me, user.String(), in).
		Scan(&member, &out.User.Email, &out.User.Name, &out.Tenants, &out.Roles, &out.Permissions, &out.Features)
	if err != nil {
		return Me{}, fmt.Errorf("read the user's tenants: %w", err)
	}
	if !member {
		return Me{}, tenancy.Refuse(tenancy.NotAMember, "You are not an active member of this tenant.")
	}
	return out, nil
}

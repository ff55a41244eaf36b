package rbac

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

// The policies on profiles and tenants let a user read their own memberships
// and the tenants of those, with or without a tenant; everything else is the
// chosen tenant's. One statement, so that all of it is of one moment.
var me = guarded.Statement{Op: "read the user's tenants", SQL: `with mine as materialized (
	select p.tenant_id, p.email, p.name, t.name as tenant, t.slug
	from poolproof.profiles p
	join poolproof.tenants t on t.id = p.tenant_id
	where p.user_id = $2::uuid and p.active
), here as materialized (
	select i.tenant_id, i.email, i.name from mine i where i.tenant_id = $1::uuid
)
select
	case when $1::uuid is null then 'row' else coalesce(poolproof.refused($1::uuid, $2::uuid, $3::text), 'row') end,
	case when $1::uuid is null then (select min(i.email) from mine i where i.email <> '' having min(i.email) = max(i.email))
		else (select nullif(h.email, '') from here h) end,
	case when $1::uuid is null then (select min(i.name) from mine i where i.name <> '' having min(i.name) = max(i.name))
		else (select nullif(h.name, '') from here h) end,
	(select coalesce(jsonb_agg(jsonb_build_object('id', i.tenant_id, 'name', i.tenant, 'slug', i.slug) order by i.tenant, i.tenant_id), '[]') from mine i),
	(select coalesce(jsonb_agg(jsonb_build_object('id', r.id, 'name', r.name, 'description', r.description, 'tenant_id', r.tenant_id,
			'system', r.system, 'created_at', r.created_at, 'holds_all', r.holds_all,
			'parent_ids', array(select p.parent_id from poolproof.role_parents p where p.tenant_id = r.tenant_id and p.role_id = r.id order by p.parent_id)
			) order by r.id), '[]')
		from here h
		join poolproof.user_roles u on u.tenant_id = h.tenant_id and u.user_id = $2::uuid
			and (u.expires_at is null or u.expires_at > clock_timestamp())
		join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id),
	(select coalesce(jsonb_agg(p.name order by p.name), '[]')
		from here h
		cross join lateral poolproof.held(h.tenant_id, $2::uuid) e
		join poolproof.permissions p on p.id = e.permission_id),
	(select coalesce(jsonb_object_agg(f.name, coalesce(tf.enabled, f.default_enabled)), '{}')
		from here h
		cross join poolproof.features f
		left join poolproof.tenant_features tf on tf.tenant_id = h.tenant_id and tf.feature_id = f.id)`}

func meFields(m *Me) []any {
	return []any{&m.User.Email, &m.User.Name, &m.Tenants, &m.Roles, &m.Permissions, &m.Features}
}

// Me returns what a user is: their tenants and, unless the caller's tenant
// is the zero UUID, what they are there. Refusal: not_a_member for a tenant
// that is not theirs. A user whom no tenant knows has no tenants.
func (s *Store) Me(ctx context.Context, c tenancy.Caller) (Me, error) {
	if c.Tenant == uuid.Nil {
		out := Me{User: User{ID: c.User}}
		user := c.User.String()
		err := s.plain.Shared().As(user).QueryRow(ctx, me.SQL, nil, user, me.Needs).Scan(append([]any{nil}, meFields(&out)...)...)
		if err != nil {
			return Me{}, fmt.Errorf("%s: %w", me.Op, err)
		}
		return out, nil
	}
	out, err := guarded.One(ctx, s.db, c, me, meFields)
	if err != nil {
		return Me{}, err
	}
	out.User.ID, out.Tenant = c.User, &c.Tenant
	for i, r := range out.Roles {
		out.Roles[i].CreatedAt = r.CreatedAt.UTC()
	}
	return out, nil
}

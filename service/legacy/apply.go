package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/service/migrations"
)

// ErrChanged means that somebody changed a tenant between plan and import. The
// tenant is as they left it: make a new plan.
var ErrChanged = errors.New("the destination has changed since the plan was made")

// stateChanged is the SQLSTATE of the guard that finds that.
const stateChanged = "PL001"

// Apply does what the plan says: the catalogues in one transaction, then each
// tenant in one, with its entries in the audit log. Each is one pipeline with
// one Sync, so url, the owner's of poolproof's database, may be pooled in
// transaction or statement mode. progress, if not nil, is told how many tenants
// are done.
//
// After an error the tenants before it are whole and the others untouched; a
// new plan completes them.
func Apply(ctx context.Context, url string, p Plan, progress func(done, total int)) error {
	conn, err := connect(ctx, url)
	if err != nil {
		return fmt.Errorf("legacy: the destination: %w", err)
	}
	defer closeConn(conn)
	if !p.Catalogue.empty() {
		b := &pgx.Batch{}
		queueWrite(b, p.platform)
		p.Catalogue.queue(b, p.platform)
		if err := conn.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("legacy: add to the catalogues: %w", changed(err))
		}
	}
	for i, t := range p.Tenants {
		if !t.empty() {
			b := &pgx.Batch{}
			queueWrite(b, t.ID)
			t.queue(b)
			if err := conn.SendBatch(ctx, b).Close(); err != nil {
				return fmt.Errorf("legacy: import the tenant %s (%d of %d are done): %w", t.Name, i, len(p.Tenants), changed(err))
			}
		}
		if progress != nil {
			progress(i+1, len(p.Tenants))
		}
	}
	return nil
}

func changed(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == stateChanged || pg.Code == "23505") {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}

// queueWrite begins a pipeline that changes one tenant: after other operators'
// work on the installation and after the tenant's own writers, whose lock it
// takes as they do.
func queueWrite(b *pgx.Batch, tenant uuid.UUID) {
	b.Queue(`select pg_catalog.pg_advisory_xact_lock($1::bigint)`, migrations.OperatorLock)
	queueScope(b, tenant)
	b.Queue(`select from poolproof.tenants where id = $1::uuid for no key update`, tenant.String())
}

// Parameters: $1 the platform tenant, $2 the actor.
func (c Catalogue) queue(b *pgx.Batch, platform uuid.UUID) {
	for _, p := range c.Permissions {
		b.Queue(`with made as (
				insert into poolproof.permissions (id, name, scope, resource_type, action, description)
				values ($3::uuid, $4::text, 'tenant', $5::text, $6::text, $7::text) returning *
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, 'permission.create', 'permission/' || p.id, jsonb_build_object('name', p.name, 'scope', p.scope,
				'resource_type', p.resource_type, 'action', p.action, 'description', p.description)
			from made p`, platform.String(), Actor.String(), p.ID, p.Name, p.Resource, p.Action, p.Description)
	}
	for _, f := range c.Features {
		b.Queue(`with made as (
				insert into poolproof.features (id, name, description, default_enabled)
				values ($3::uuid, $4::text, $5::text, $6::boolean) returning *
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, 'feature.create', 'feature/' || f.name,
				jsonb_build_object('name', f.name, 'description', f.description, 'default_enabled', f.default_enabled)
			from made f`, platform.String(), Actor.String(), f.ID, f.Name, f.Description, f.DefaultEnabled)
	}
	for _, s := range c.Sidebar {
		b.Queue(`with made as (
				insert into poolproof.sidebar_items (id, title, url_path, icon, group_name, display_order, feature_id, permission)
				values ($3::uuid, $4::text, $5::text, $6::text, $7::text, $8::int,
					(select f.id from poolproof.features f where f.name = $9::text), nullif($10::text, ''))
				returning *
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, 'sidebar.create', 'sidebar/' || s.id, to_jsonb(s) - 'id' - 'version' from made s`,
			platform.String(), Actor.String(), s.ID, s.Title, s.Path, s.Icon, s.Group, s.Order, s.Feature, s.Permission)
	}
}

// queue adds the tenant's statements. $1 is the tenant and $2 the actor in all
// of them. Roles are made before what they hold and members before what they
// are given.
func (t TenantPlan) queue(b *pgx.Batch) {
	id, actor := t.ID.String(), Actor.String()
	if t.Create {
		// A tenant that is there by now is a duplicate key, and nothing happens.
		b.Queue(`select poolproof.create_tenant($1::uuid, $2::text, $3::text, $4::uuid, $5::text, $6::text)`,
			id, t.Name, t.Slug, t.Admin.User, t.Admin.Email, t.Admin.Name)
		b.Queue(`insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, e.action, e.object, e.after
			from poolproof.tenants t, poolproof.profiles p, poolproof.user_roles u, poolproof.roles r, lateral (values
				('tenant.import', 'tenant/' || t.id, jsonb_build_object('name', t.name, 'slug', t.slug)),
				('profile.create', 'user/' || p.user_id, jsonb_build_object('external_id', null, 'email', p.email, 'name', p.name, 'active', p.active)),
				('user.role.assign', 'user/' || p.user_id, jsonb_build_object('role_id', r.id, 'role', r.name, 'expires_at', null))
			) e (action, object, after)
			where t.id = $1::uuid and p.tenant_id = t.id and u.tenant_id = t.id and u.user_id = p.user_id and r.tenant_id = t.id and r.id = u.role_id
				and (e.action <> 'user.role.assign' or $3::boolean)`,
			id, actor, t.keepsSuperAdmin())
	} else {
		// The plan was made for what was there then.
		b.Queue(`select pg_catalog.set_config('app.import_epoch', $1::text, true)`, fmt.Sprint(t.epoch))
		b.Queue(`do $$
			begin
				if not exists (
					select from poolproof.epochs e
					where e.tenant_id = current_setting('app.current_tenant_id')::uuid and e.epoch = current_setting('app.import_epoch')::bigint
				) then
					raise exception using errcode = '` + stateChanged + `', message = 'the tenant was changed meanwhile';
				end if;
			end
			$$`)
	}
	t.queueRoles(b, id, actor)
	t.queueMembers(b, id, actor)
	if len(t.Features) > 0 {
		var names []string
		var values []bool
		for _, f := range t.Features {
			names, values = append(names, f.Name), append(values, f.Enabled)
		}
		b.Queue(`with made as (
				insert into poolproof.tenant_features (tenant_id, feature_id, enabled)
				select $1::uuid, f.id, w.enabled
				from unnest($3::text[], $4::boolean[]) w (name, enabled) join poolproof.features f on f.name = w.name
				returning feature_id, enabled
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, 'feature.set', 'feature/' || f.name, jsonb_build_object('enabled', m.enabled)
			from made m join poolproof.features f on f.id = m.feature_id order by f.name`, id, actor, names, values)
	}
}

func (t TenantPlan) queueRoles(b *pgx.Batch, id, actor string) {
	var names, descriptions, exact, holders, grants []string
	for _, r := range t.Roles {
		if r.Create {
			names, descriptions = append(names, r.Name), append(descriptions, r.Description)
		}
		if r.Exact {
			exact = append(exact, r.Name)
		}
		for _, g := range r.Grants {
			holders, grants = append(holders, r.Name), append(grants, g)
		}
	}
	if len(names) > 0 {
		b.Queue(`with wanted as (
				select w.name, w.description, w.n from unnest($3::text[], $4::text[]) with ordinality w (name, description, n)
			), counter as (
				update poolproof.tenants t set next_role_id = t.next_role_id + (select count(*)::int from wanted)
				where t.id = $1::uuid
				returning t.next_role_id - (select count(*)::int from wanted) as first
			), made as (
				insert into poolproof.roles (tenant_id, id, name, description)
				select $1::uuid, c.first + w.n::int - 1, w.name, w.description from wanted w cross join counter c
				returning id, name, description
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, 'role.create', 'role/' || m.id, jsonb_build_object('name', m.name, 'description', m.description, 'parent_ids', '[]'::jsonb)
			from made m order by m.id`, id, actor, names, descriptions)
	}
	const wanted = `unnest($3::text[], $4::text[]) w (role, permission)
				join poolproof.roles r on r.tenant_id = $1::uuid and r.name = w.role
				join poolproof.permissions p on p.name = w.permission and p.scope = 'tenant'`
	if len(exact) > 0 {
		b.Queue(`with gone as (
				delete from poolproof.role_permissions x
				using poolproof.roles r
				where x.tenant_id = $1::uuid and r.tenant_id = $1::uuid and r.id = x.role_id and r.system and r.name = any ($5::text[])
					and not exists (
						select from unnest($3::text[], $4::text[]) w (role, permission) join poolproof.permissions p on p.name = w.permission
						where w.role = r.name and p.id = x.permission_id)
				returning x.role_id, x.permission_id
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, before)
			select $1::uuid, $2::uuid, 'role.permission.revoke', 'role/' || g.role_id, jsonb_build_object('permission_id', p.id, 'permission', p.name)
			from gone g join poolproof.permissions p on p.id = g.permission_id order by g.role_id, p.name`, id, actor, holders, grants, exact)
	}
	if len(grants) > 0 {
		b.Queue(`with made as (
				insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
				select $1::uuid, r.id, p.id, p.scope
				from `+wanted+`
				on conflict do nothing
				returning role_id, permission_id
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, 'role.permission.grant', 'role/' || m.role_id,
				jsonb_build_object('permission_id', p.id, 'permission', p.name, 'role', r.name)
			from made m
			join poolproof.permissions p on p.id = m.permission_id
			join poolproof.roles r on r.tenant_id = $1::uuid and r.id = m.role_id
			order by m.role_id, p.name`, id, actor, holders, grants)
	}
}

func (t TenantPlan) queueMembers(b *pgx.Batch, id, actor string) {
	var users, emails, names, assigned, roles []string
	var actives []bool
	for _, m := range t.Members {
		users, emails, names, actives = append(users, m.User), append(emails, m.Email), append(names, m.Name), append(actives, m.Active)
	}
	for _, a := range t.Assignments {
		assigned, roles = append(assigned, a.User), append(roles, a.Role)
	}
	if len(users) > 0 {
		b.Queue(`with made as (
				insert into poolproof.profiles (tenant_id, user_id, email, name, active)
				select $1::uuid, w.user_id::uuid, w.email, w.name, w.active
				from unnest($3::text[], $4::text[], $5::text[], $6::boolean[]) w (user_id, email, name, active)
				on conflict do nothing -- the administrator that the tenant was made with
				returning *
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, 'profile.create', 'user/' || m.user_id,
				jsonb_build_object('external_id', m.external_id, 'email', m.email, 'name', m.name, 'active', m.active)
			from made m order by m.user_id`, id, actor, users, emails, names, actives)
	}
	if len(assigned) > 0 {
		b.Queue(`with made as (
				insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by)
				select $1::uuid, w.user_id::uuid, r.id, $2::uuid
				from unnest($3::text[], $4::text[]) w (user_id, role)
				join poolproof.roles r on r.tenant_id = $1::uuid and r.name = w.role
				on conflict do nothing
				returning user_id, role_id
			)
			insert into poolproof.audit_log (tenant_id, actor, action, object, after)
			select $1::uuid, $2::uuid, 'user.role.assign', 'user/' || m.user_id,
				jsonb_build_object('role_id', r.id, 'role', r.name, 'expires_at', null)
			from made m join poolproof.roles r on r.tenant_id = $1::uuid and r.id = m.role_id
			order by m.user_id, m.role_id`, id, actor, assigned, roles)
	}
	if t.Create && !t.keepsSuperAdmin() {
		// They manage the tenant's roles by another role, which they have by now.
		b.Queue(`delete from poolproof.user_roles u
			using poolproof.roles r
			where u.tenant_id = $1::uuid and u.user_id = $2::uuid
				and r.tenant_id = u.tenant_id and r.id = u.role_id and r.system and r.name = 'SUPER_ADMIN'`, id, t.Admin.User)
	}
}

// keepsSuperAdmin reports whether the administrator that a new tenant is made
// with, as every tenant is, is to be its SUPER_ADMIN.
func (t TenantPlan) keepsSuperAdmin() bool {
	return slices.ContainsFunc(t.Assignments, func(a Assignment) bool { return a.User == t.Admin.User && a.Role == superAdmin })
}

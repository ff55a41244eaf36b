package rbac

import (
	"context"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

func versionedPermissionFields(p *Permission) []any { return append(permissionFields(p), &p.Version) }

var listPermissions = guarded.Statement{Op: "list the permissions", SQL: `select coalesce(m.refused, case when p.id is null then 'empty' else 'row' end),
	p.id, p.name, p.resource_type, p.action, p.description
from ` + guarded.Reader + `
` + permissionsWhere(`true`)}

// Permissions lists the catalogue by name, those of the platform included, at most
// a page of it. Any active member may. Refusals: not_a_member, stale.
func (s *Store) Permissions(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[Permission], error) {
	return s.permissions(ctx, c, listPermissions, page)
}

var onePermission = guarded.Statement{Op: "read a permission", Missing: detailNoPermission, SQL: `select coalesce(m.refused, case when p.id is null then 'not_found' else 'row' end),
	p.id, p.name, p.resource_type, p.action, p.description, p.version
from ` + guarded.Reader + `
left join poolproof.permissions p on m.refused is null and p.id = $4::uuid`}

// Permission returns one entry of the catalogue; not_found where there is none.
// Any active member may.
func (s *Store) Permission(ctx context.Context, c tenancy.Caller, id uuid.UUID) (Permission, error) {
	return guarded.One(ctx, s.db, c, onePermission, versionedPermissionFields, id.String())
}

var createPermission = guarded.Statement{Op: "create a permission", Needs: manageTenants, OnPlatform: true, SQL: `with ` + guarded.PlatformCaller + `, ` + guarded.Decide(``, `
	when exists (select from poolproof.permissions p where p.name = $6::text) then 'name_taken'`) + `, created as (
	insert into poolproof.permissions (id, name, scope, resource_type, action, description)
	select $5::uuid, $6::text, $7::text, $8::text, $9::text, $10::text from verdict v where v.code = 'ok'
	returning *
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, after)
	select $1::uuid, $2::uuid, 'permission.create', 'permission/' || p.id, jsonb_build_object('name', p.name, 'scope', p.scope,
		'resource_type', p.resource_type, 'action', p.action, 'description', p.description)
	from created p
)
select v.code, null, poolproof.catalogue_epoch_after(v.code = 'ok'),
	p.id, p.name, p.resource_type, p.action, p.description, p.version
from verdict v left join created p on true`}

// CreatePermission adds an entry to the catalogue, which roles that hold all
// then hold, unless it is the platform's. Needs manage_tenants on the platform.
// Refusals: invalid, forbidden, name_taken.
func (s *Store) CreatePermission(ctx context.Context, c tenancy.Caller, n NewPermission) (Permission, tenancy.Epoch, error) {
	n.derive()
	fields := checkCatalogueName(n.Name)
	fields = append(fields, checkWord("/resource_type", &n.ResourceType)...)
	fields = append(fields, checkWord("/action", &n.Action)...)
	fields = append(fields, checkDescription(n.Description)...)
	if err := tenancy.InvalidFields(fields...); err != nil {
		return Permission{}, tenancy.Epoch{}, err
	}
	scope := "tenant"
	if n.Platform {
		scope = "platform"
	}
	var p Permission
	d, err := s.write(ctx, c, createPermission,
		[]any{uuid.NewString(), n.Name, scope, n.ResourceType, n.Action, n.Description}, versionedPermissionFields(&p)...)
	return p, d.Epoch, err
}

// derive takes what is missing from the name: view_reports is the action view
// on reports.
func (n *NewPermission) derive() {
	action, resource, ok := strings.Cut(n.Name, "_")
	if !ok || action == "" || resource == "" {
		action, resource = "use", n.Name
	}
	if n.Action == "" {
		n.Action = action
	}
	if n.ResourceType == "" {
		n.ResourceType = resource
	}
}

var updatePermission = guarded.Statement{Op: "update a permission", Needs: manageTenants, OnPlatform: true, SQL: `with ` + guarded.PlatformCaller + `, target as materialized (
	select p.* from poolproof.permissions p where p.id = $5::uuid
), ` + guarded.Decide(`left join target t on true`, `
	when t.id is null then 'no_permission'
	when not t.version = any ($10::int[]) then 'version_mismatch'
	when t.seeded and $6::text <> t.name then 'seeded'
	when exists (select from poolproof.permissions p where p.name = $6::text and p.id <> t.id) then 'name_taken'`) + `, updated as (
	update poolproof.permissions p
	set name = coalesce($6::text, t.name), resource_type = coalesce($7::text, t.resource_type),
		action = coalesce($8::text, t.action), description = coalesce($9::text, t.description),
		version = t.version + 1, updated_at = clock_timestamp()
	from target t join verdict v on v.code = 'ok'
	where p.id = t.id and (coalesce($6::text, t.name), coalesce($7::text, t.resource_type), coalesce($8::text, t.action), coalesce($9::text, t.description))
		is distinct from (t.name, t.resource_type, t.action, t.description)
	returning p.*
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
	select $1::uuid, $2::uuid, 'permission.update', 'permission/' || u.id,
		jsonb_build_object('name', t.name, 'resource_type', t.resource_type, 'action', t.action, 'description', t.description),
		jsonb_build_object('name', u.name, 'resource_type', u.resource_type, 'action', u.action, 'description', u.description)
	from updated u cross join target t
)
select v.code, null, poolproof.catalogue_epoch_after(u.id is not null),
	t.id, coalesce(u.name, t.name), coalesce(u.resource_type, t.resource_type), coalesce(u.action, t.action),
	coalesce(u.description, t.description), coalesce(u.version, t.version)
from verdict v left join target t on true left join updated u on true`}

// UpdatePermission changes what the patch names. Needs manage_tenants on the
// platform. Refusals: invalid, not_found, version_mismatch, forbidden, also
// for the name of one that came with the product, name_taken.
func (s *Store) UpdatePermission(ctx context.Context, c tenancy.Caller, id uuid.UUID, p PermissionPatch, match tenancy.Match) (Permission, tenancy.Epoch, error) {
	var fields []tenancy.Field
	if p.Name != nil {
		fields = append(fields, checkCatalogueName(*p.Name)...)
	}
	if p.ResourceType != nil {
		fields = append(fields, checkWord("/resource_type", p.ResourceType)...)
	}
	if p.Action != nil {
		fields = append(fields, checkWord("/action", p.Action)...)
	}
	if p.Description != nil {
		fields = append(fields, checkDescription(*p.Description)...)
	}
	if err := tenancy.InvalidFields(fields...); err != nil {
		return Permission{}, tenancy.Epoch{}, err
	}
	var out Permission
	d, err := s.write(ctx, c, updatePermission,
		[]any{id.String(), p.Name, p.ResourceType, p.Action, p.Description, []int32(match)}, versionedPermissionFields(&out)...)
	return out, d.Epoch, err
}

var deletePermission = guarded.Statement{Op: "delete a permission", Needs: manageTenants, OnPlatform: true, SQL: `with ` + guarded.PlatformCaller + `, target as materialized (
	select p.* from poolproof.permissions p where p.id = $5::uuid
), ` + guarded.Decide(`left join target t on true`, `
	when t.id is null then 'no_permission'
	when not t.version = any ($6::int[]) then 'version_mismatch'
	when t.seeded then 'seeded'`) + `, deleted as (
	delete from poolproof.permissions p using verdict v where v.code = 'ok' and p.id = $5::uuid returning p.id
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before)
	select $1::uuid, $2::uuid, 'permission.delete', 'permission/' || d.id, jsonb_build_object('name', t.name, 'scope', t.scope,
		'resource_type', t.resource_type, 'action', t.action, 'description', t.description)
	from deleted d cross join target t
)
select v.code, null, poolproof.catalogue_epoch_after(v.code = 'ok') from verdict v`}

// DeletePermission removes an entry from the catalogue. Needs manage_tenants on
// the platform. Refusals: not_found, version_mismatch, forbidden for one that
// came with the product, in_use while a role of any tenant or a sidebar item
// has it.
func (s *Store) DeletePermission(ctx context.Context, c tenancy.Caller, id uuid.UUID, match tenancy.Match) (tenancy.Epoch, error) {
	d, err := s.write(ctx, c, deletePermission, []any{id.String(), []int32(match)})
	return d.Epoch, err
}

// catalogueName is what the schema lets a permission be called.
var catalogueName = regexp.MustCompile(`^[a-z][a-z0-9_:.-]{0,99}$`)

func checkCatalogueName(name string) []tenancy.Field {
	if !catalogueName.MatchString(name) {
		return []tenancy.Field{{Pointer: "/name", Detail: "must be a lower-case letter, then at most 99 lower-case letters, digits, _ : . or -"}}
	}
	return nil
}

// checkWord brings a resource type or an action into the form of names and says
// what is wrong with it.
func checkWord(pointer string, word *string) []tenancy.Field {
	return tenancy.CheckName(pointer, word, 100, true)
}

package feature

import (
	"context"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

// SidebarItem is one entry of a front end's navigation. It shows to a user for
// whom all its gates hold.
type SidebarItem struct {
	ID                 uuid.UUID  `json:"id"`
	Title              string     `json:"title"`
	Icon               string     `json:"icon"`                // a Lucide icon name
	Path               string     `json:"path"`                // starts with "/"; unique
	FeatureID          *uuid.UUID `json:"feature_id"`          // the feature that must be on; null: none
	RequiredPermission *string    `json:"required_permission"` // the permission that must be held; null: none
	Group              string     `json:"group"`
	DisplayOrder       int        `json:"display_order"`
	Version            int32      `json:"-"` // raised by every change; 0 in lists
}

// SidebarPatch changes a sidebar item, or makes one; nil fields stay as they
// are. A gate is taken away by the zero UUID or the empty name. Title, Icon, Group
// and RequiredPermission hold at most 100 characters and Path 500; DisplayOrder is
// a 32-bit number, 0 for a new item that names none.
type SidebarPatch struct {
	Title              *string
	Icon               *string
	Path               *string
	FeatureID          *uuid.UUID
	RequiredPermission *string
	Group              *string
	DisplayOrder       *int
}

func sidebarFields(i *SidebarItem) []any {
	return []any{&i.ID, &i.Title, &i.Icon, &i.Path, &i.FeatureID, &i.RequiredPermission, &i.Group, &i.DisplayOrder}
}

func versionedSidebarFields(i *SidebarItem) []any { return append(sidebarFields(i), &i.Version) }

var sidebar = guarded.Statement{Op: "read the sidebar", SQL: `select verdict, id, title, icon, url_path, feature_id, permission, group_name, display_order
from poolproof.read_sidebar($1::uuid, $2::uuid, $3::text)`}

// Sidebar returns the items whose gates all hold for the caller, in display
// order. Any active member may; one without permissions still sees what has no
// gate. Refusals: not_a_member, stale.
func (s *Store) Sidebar(ctx context.Context, c tenancy.Caller) ([]SidebarItem, error) {
	return guarded.Read(ctx, s.db, c, sidebar, sidebarFields)
}

const sidebarColumns = `s.id, s.title, s.icon, s.url_path, s.feature_id, s.permission, s.group_name, s.display_order`

// The key of a page is the last item's place in the order, and its id.
var listSidebarItems = guarded.Statement{Op: "list the sidebar's items", SQL: `select coalesce(m.refused, case when s.id is null then 'empty' else 'row' end), ` + sidebarColumns + `
from ` + guarded.Reader + `
left join lateral (
	select s.* from poolproof.sidebar_items s
	where m.refused is null and (s.display_order, s.id) > ($4::int, $5::uuid)
	order by s.display_order, s.id limit $6::int
) s on true
order by s.display_order, s.id`}

// SidebarItems lists the catalogue behind the sidebar, whatever its gates, in
// display order, at most a page of it. Any active member may. Refusals: invalid
// for a page token of another list, not_a_member, stale.
func (s *Store) SidebarItems(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[SidebarItem], error) {
	order, id := int64(minOrder), uuid.Nil
	if page.After != "" {
		number, text, _ := strings.Cut(page.After, "/")
		var err, err2 error
		order, err = strconv.ParseInt(number, 10, 32)
		id, err2 = uuid.Parse(text)
		if err != nil || err2 != nil {
			return tenancy.Listed[SidebarItem]{}, tenancy.BadPage()
		}
	}
	list, err := guarded.Read(ctx, s.db, c, listSidebarItems, sidebarFields, int32(order), id.String(), page.Limit()+1)
	return guarded.Paged(page, list, func(i SidebarItem) string { return strconv.Itoa(i.DisplayOrder) + "/" + i.ID.String() }), err
}

// The bounds of an item's place in the order.
const (
	minOrder = -1 << 31
	maxOrder = 1<<31 - 1
)

// gates are the verdicts on a feature and a permission that do not exist. Those
// that do stay until the transaction's end.
const gates = `when nullif($9::uuid, '00000000-0000-0000-0000-000000000000') is not null
			and not exists (select from poolproof.features f where f.id = $9::uuid and poolproof.keep_entry(f.id)) then 'no_feature'
		when nullif($10::text, '') is not null
			and not exists (select from poolproof.permissions p where p.name = $10::text and poolproof.keep_entry(p.id)) then 'no_permission'`

var createSidebarItem = guarded.Statement{Op: "create a sidebar item", Needs: manageTenants, OnPlatform: true, SQL: `with ` + guarded.PlatformCaller + `, ` + guarded.Decide(``, `
	`+gates+`
	when exists (select from poolproof.sidebar_items s where s.url_path = $8::text) then 'name_taken'`) + `, created as (
	insert into poolproof.sidebar_items (id, title, icon, url_path, feature_id, permission, group_name, display_order)
	select $5::uuid, $6::text, coalesce($7::text, ''), $8::text, nullif($9::uuid, '00000000-0000-0000-0000-000000000000'),
		nullif($10::text, ''), $11::text, $12::int
	from verdict v where v.code = 'ok'
	returning *
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, after)
	select $1::uuid, $2::uuid, 'sidebar.create', 'sidebar/' || s.id, to_jsonb(s) - 'id' - 'version' from created s
)
select v.code, null, poolproof.catalogue_epoch_after(v.code = 'ok'), ` + sidebarColumns + `, s.version
from verdict v left join created s on true`}

// CreateSidebarItem adds an item. Title, Path and Group are required. Needs
// manage_tenants on the platform. Refusals: invalid, also for a gate that does
// not exist, forbidden, name_taken for the path.
func (s *Store) CreateSidebarItem(ctx context.Context, c tenancy.Caller, p SidebarPatch) (SidebarItem, tenancy.Epoch, error) {
	var fields []tenancy.Field
	for pointer, text := range map[string]*string{"/title": p.Title, "/path": p.Path, "/group": p.Group} {
		if text == nil {
			fields = append(fields, tenancy.Field{Pointer: pointer, Detail: "is required"})
		}
	}
	if err := p.check(fields); err != nil {
		return SidebarItem{}, tenancy.Epoch{}, err
	}
	if p.DisplayOrder == nil {
		p.DisplayOrder = new(int)
	}
	var item SidebarItem
	epoch, err := s.writeCatalogue(ctx, c, createSidebarItem, p.args(uuid.New()), versionedSidebarFields(&item)...)
	return item, epoch, err
}

var updateSidebarItem = guarded.Statement{Op: "update a sidebar item", Needs: manageTenants, OnPlatform: true, Missing: detailNoItem, SQL: `with ` + guarded.PlatformCaller + `, target as materialized (
	select s.* from poolproof.sidebar_items s where s.id = $5::uuid
), ` + guarded.Decide(`left join target t on true`, `
	when t.id is null then 'not_found'
	when not t.version = any ($13::int[]) then 'version_mismatch'
	`+gates+`
	when exists (select from poolproof.sidebar_items s where s.url_path = $8::text and s.id <> t.id) then 'name_taken'`) + `, wanted as materialized (
	select coalesce($6::text, t.title) as title, coalesce($7::text, t.icon) as icon, coalesce($8::text, t.url_path) as url_path,
		case when $9::uuid is null then t.feature_id else nullif($9::uuid, '00000000-0000-0000-0000-000000000000') end as feature_id,
		case when $10::text is null then t.permission else nullif($10::text, '') end as permission,
		coalesce($11::text, t.group_name) as group_name, coalesce($12::int, t.display_order) as display_order
	from target t
), updated as (
	update poolproof.sidebar_items s
	set title = w.title, icon = w.icon, url_path = w.url_path, feature_id = w.feature_id, permission = w.permission,
		group_name = w.group_name, display_order = w.display_order, version = t.version + 1
	from target t cross join wanted w join verdict v on v.code = 'ok'
	where s.id = t.id and (w.title, w.icon, w.url_path, w.feature_id, w.permission, w.group_name, w.display_order)
		is distinct from (t.title, t.icon, t.url_path, t.feature_id, t.permission, t.group_name, t.display_order)
	returning s.*
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
	select $1::uuid, $2::uuid, 'sidebar.update', 'sidebar/' || u.id, to_jsonb(t) - 'id' - 'version', to_jsonb(u) - 'id' - 'version'
	from updated u cross join target t
)
select v.code, null, poolproof.catalogue_epoch_after(exists (select from updated)),
	t.id, w.title, w.icon, w.url_path, w.feature_id, w.permission, w.group_name, w.display_order,
	t.version + (select count(*)::int from updated)
from verdict v left join target t on true left join wanted w on true`}

// UpdateSidebarItem changes what the patch names. Needs manage_tenants on the
// platform. Refusals: invalid, not_found, version_mismatch, forbidden,
// name_taken for the path.
func (s *Store) UpdateSidebarItem(ctx context.Context, c tenancy.Caller, id uuid.UUID, p SidebarPatch, match tenancy.Match) (SidebarItem, tenancy.Epoch, error) {
	if err := p.check(nil); err != nil {
		return SidebarItem{}, tenancy.Epoch{}, err
	}
	var item SidebarItem
	epoch, err := s.writeCatalogue(ctx, c, updateSidebarItem,
		append(p.args(id), []int32(match)), versionedSidebarFields(&item)...)
	return item, epoch, err
}

// detailNoItem answers for an item that is not there.
const detailNoItem = "No such sidebar item."

var deleteSidebarItem = guarded.Statement{Op: "delete a sidebar item", Needs: manageTenants, OnPlatform: true, Missing: detailNoItem, SQL: `with ` + guarded.PlatformCaller + `, target as materialized (
	select s.* from poolproof.sidebar_items s where s.id = $5::uuid
), ` + guarded.Decide(`left join target t on true`, `
	when t.id is null then 'not_found'
	when not t.version = any ($6::int[]) then 'version_mismatch'`) + `, deleted as (
	delete from poolproof.sidebar_items s using verdict v where v.code = 'ok' and s.id = $5::uuid returning s.id
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before)
	select $1::uuid, $2::uuid, 'sidebar.delete', 'sidebar/' || d.id, to_jsonb(t) - 'id' - 'version' from deleted d cross join target t
)
select v.code, null, poolproof.catalogue_epoch_after(v.code = 'ok') from verdict v`}

// DeleteSidebarItem removes an item. Needs manage_tenants on the platform.
// Refusals: not_found, version_mismatch, forbidden.
func (s *Store) DeleteSidebarItem(ctx context.Context, c tenancy.Caller, id uuid.UUID, match tenancy.Match) (tenancy.Epoch, error) {
	return s.writeCatalogue(ctx, c, deleteSidebarItem, []any{id.String(), []int32(match)})
}

// args are parameters $5 to $12.
func (p SidebarPatch) args(id uuid.UUID) []any {
	var feature *string
	if p.FeatureID != nil {
		text := p.FeatureID.String()
		feature = &text
	}
	return []any{id.String(), p.Title, p.Icon, p.Path, feature, p.RequiredPermission, p.Group, p.DisplayOrder}
}

// check brings what is there into its form and adds what is wrong with it to fields.
func (p SidebarPatch) check(fields []tenancy.Field) error {
	for _, f := range []struct {
		pointer  string
		text     *string
		most     int
		required bool
	}{{"/title", p.Title, 100, true}, {"/icon", p.Icon, 100, false}, {"/path", p.Path, 500, true}, {"/group", p.Group, 100, true},
		{"/required_permission", p.RequiredPermission, 100, false}} {
		fields = append(fields, tenancy.CheckName(f.pointer, f.text, f.most, f.required)...)
	}
	if p.Path != nil && (!strings.HasPrefix(*p.Path, "/") || strings.HasPrefix(*p.Path, "//") || strings.ContainsAny(*p.Path, " \t\u00a0\u2028\u2029\\")) {
		fields = append(fields, tenancy.Field{Pointer: "/path", Detail: "must be a path on this site: start with one slash, no spaces"})
	}
	if p.DisplayOrder != nil && (*p.DisplayOrder < minOrder+1 || *p.DisplayOrder > maxOrder) {
		fields = append(fields, tenancy.Field{Pointer: "/display_order", Detail: "must be a 32-bit number"})
	}
	return tenancy.InvalidFields(fields...)
}

package feature

import (
	"context"
	"regexp"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

// Feature is an entry of the catalogue, the same for every tenant.
type Feature struct {
	ID             uuid.UUID `json:"id"`
	Name           string    `json:"name"`
	Description    string    `json:"description"`
	DefaultEnabled bool      `json:"default_enabled"` // its value where a tenant has set none
	Version        int32     `json:"-"`               // raised by every change; 0 in lists
}

// NewFeature is an entry for the catalogue. Name starts with a small letter and
// goes on with small letters, digits, _ . and -, at most 100 characters in all, and
// is unique; Description holds at most [MaxDescription]. DefaultEnabled counts where
// a tenant has set no value.
type NewFeature struct {
	Name           string
	Description    string
	DefaultEnabled bool
}

// Patch changes an entry of the catalogue; nil fields stay as they are. The others
// have the bounds of [NewFeature].
type Patch struct {
	Name           *string
	Description    *string
	DefaultEnabled *bool
}

// MaxDescription bounds a feature's description, in characters.
const MaxDescription = 1000

const featureColumns = `f.id, f.name, f.description, f.default_enabled`

func featureFields(f *Feature) []any {
	return []any{&f.ID, &f.Name, &f.Description, &f.DefaultEnabled}
}

func versionedFeatureFields(f *Feature) []any { return append(featureFields(f), &f.Version) }

var listFeatures = guarded.Statement{Op: "list the catalogue of features", SQL: `select coalesce(m.refused, case when f.id is null then 'empty' else 'row' end), ` + featureColumns + `
from ` + guarded.Reader + `
left join lateral (
	select f.* from poolproof.features f where m.refused is null and f.name > $4::text order by f.name limit $5::int
) f on true
order by f.name`}

// Features lists the catalogue by name, at most a page of it. Any active member
// may. Refusals: not_a_member, stale.
func (s *Store) Features(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[Feature], error) {
	list, err := guarded.Read(ctx, s.db, c, listFeatures, featureFields, page.After, page.Limit()+1)
	return guarded.Paged(page, list, func(f Feature) string { return f.Name }), err
}

var oneFeature = guarded.Statement{Op: "read a feature", Missing: detailNoFeature, SQL: `select coalesce(m.refused, case when f.id is null then 'not_found' else 'row' end), ` + featureColumns + `, f.version
from ` + guarded.Reader + `
left join poolproof.features f on m.refused is null and f.id = $4::uuid`}

// Feature returns one entry of the catalogue; not_found where there is none. Any
// active member may.
func (s *Store) Feature(ctx context.Context, c tenancy.Caller, id uuid.UUID) (Feature, error) {
	return guarded.One(ctx, s.db, c, oneFeature, versionedFeatureFields, id.String())
}

var createFeature = guarded.Statement{Op: "create a feature", Needs: manageTenants, OnPlatform: true, SQL: `with ` + guarded.PlatformCaller + `, ` + guarded.Decide(``, `
	when exists (select from poolproof.features f where f.name = $6::text) then 'name_taken'`) + `, created as (
	insert into poolproof.features (id, name, description, default_enabled)
	select $5::uuid, $6::text, $7::text, $8::boolean from verdict v where v.code = 'ok'
	returning *
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, after)
	select $1::uuid, $2::uuid, 'feature.create', 'feature/' || f.name,
		jsonb_build_object('name', f.name, 'description', f.description, 'default_enabled', f.default_enabled)
	from created f
)
select v.code, null, poolproof.catalogue_epoch_after(v.code = 'ok'), ` + featureColumns + `, f.version
from verdict v left join created f on true`}

// Create adds an entry to the catalogue. Needs manage_tenants on the platform.
// Refusals: invalid, forbidden, name_taken.
func (s *Store) Create(ctx context.Context, c tenancy.Caller, n NewFeature) (Feature, tenancy.Epoch, error) {
	if err := check(&n.Name, &n.Description); err != nil {
		return Feature{}, tenancy.Epoch{}, err
	}
	var f Feature
	epoch, err := s.writeCatalogue(ctx, c, createFeature,
		[]any{uuid.NewString(), n.Name, n.Description, n.DefaultEnabled}, versionedFeatureFields(&f)...)
	return f, epoch, err
}

var updateFeature = guarded.Statement{Op: "update a feature", Needs: manageTenants, OnPlatform: true, Missing: detailNoFeature, SQL: `with ` + guarded.PlatformCaller + `, target as materialized (
	select f.* from poolproof.features f where f.id = $5::uuid
), ` + guarded.Decide(`left join target t on true`, `
	when t.id is null then 'not_found'
	when not t.version = any ($9::int[]) then 'version_mismatch'
	when t.seeded and $6::text <> t.name then 'seeded'
	when exists (select from poolproof.features f where f.name = $6::text and f.id <> t.id) then 'name_taken'`) + `, updated as (
	update poolproof.features f
	set name = coalesce($6::text, t.name), description = coalesce($7::text, t.description),
		default_enabled = coalesce($8::boolean, t.default_enabled), version = t.version + 1, updated_at = clock_timestamp()
	from target t join verdict v on v.code = 'ok'
	where f.id = t.id and (coalesce($6::text, t.name), coalesce($7::text, t.description), coalesce($8::boolean, t.default_enabled))
		is distinct from (t.name, t.description, t.default_enabled)
	returning f.*
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
	select $1::uuid, $2::uuid, 'feature.update', 'feature/' || u.name,
		jsonb_build_object('name', t.name, 'description', t.description, 'default_enabled', t.default_enabled),
		jsonb_build_object('name', u.name, 'description', u.description, 'default_enabled', u.default_enabled)
	from updated u cross join target t
)
select v.code, null, poolproof.catalogue_epoch_after(u.id is not null),
	t.id, coalesce(u.name, t.name), coalesce(u.description, t.description), coalesce(u.default_enabled, t.default_enabled),
	coalesce(u.version, t.version)
from verdict v left join target t on true left join updated u on true`}

// Update changes what the patch names. Needs manage_tenants on the platform.
// Refusals: invalid, not_found, version_mismatch, forbidden, also for the name
// of one that came with the product, name_taken.
func (s *Store) Update(ctx context.Context, c tenancy.Caller, id uuid.UUID, p Patch, match tenancy.Match) (Feature, tenancy.Epoch, error) {
	if err := check(p.Name, p.Description); err != nil {
		return Feature{}, tenancy.Epoch{}, err
	}
	var f Feature
	epoch, err := s.writeCatalogue(ctx, c, updateFeature,
		[]any{id.String(), p.Name, p.Description, p.DefaultEnabled, []int32(match)}, versionedFeatureFields(&f)...)
	return f, epoch, err
}

var deleteFeature = guarded.Statement{Op: "delete a feature", Needs: manageTenants, OnPlatform: true, Missing: detailNoFeature, SQL: `with ` + guarded.PlatformCaller + `, target as materialized (
	select f.* from poolproof.features f where f.id = $5::uuid
), ` + guarded.Decide(`left join target t on true`, `
	when t.id is null then 'not_found'
	when not t.version = any ($6::int[]) then 'version_mismatch'
	when t.seeded then 'seeded'
	when exists (select from poolproof.sidebar_items s where s.feature_id = t.id) then 'in_use'`) + `, deleted as (
	delete from poolproof.features f using verdict v where v.code = 'ok' and f.id = $5::uuid returning f.name
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before)
	select $1::uuid, $2::uuid, 'feature.delete', 'feature/' || d.name,
		jsonb_build_object('name', t.name, 'description', t.description, 'default_enabled', t.default_enabled)
	from deleted d cross join target t
)
select v.code, null, poolproof.catalogue_epoch_after(v.code = 'ok') from verdict v`}

// Delete removes an entry from the catalogue, and the tenants' values with it.
// Needs manage_tenants on the platform. Refusals: not_found, version_mismatch,
// forbidden for one that came with the product, in_use while a sidebar item has
// it for a gate.
func (s *Store) Delete(ctx context.Context, c tenancy.Caller, id uuid.UUID, match tenancy.Match) (tenancy.Epoch, error) {
	return s.writeCatalogue(ctx, c, deleteFeature, []any{id.String(), []int32(match)})
}

// Verdicts of this package's statements, beside guarded's.
const (
	seeded    guarded.Verdict = "seeded"
	noFeature guarded.Verdict = "no_feature"
	noGate    guarded.Verdict = "no_permission"
)

// writeCatalogue runs a write on a catalogue and puts refusals into words.
func (s *Store) writeCatalogue(ctx context.Context, c tenancy.Caller, st guarded.Statement, args []any, dest ...any) (tenancy.Epoch, error) {
	d, err := s.db.Write(ctx, c, st, args, dest...)
	if err != nil {
		return tenancy.Epoch{}, err
	}
	switch d.Verdict {
	case guarded.NameTaken:
		err = tenancy.Refuse(tenancy.NameTaken, "Another entry has this name or path.")
	case seeded:
		err = tenancy.Refuse(tenancy.Forbidden, "This feature is part of the product. It cannot be renamed or deleted.")
	case guarded.InUse:
		err = tenancy.Refuse(tenancy.InUse, "A sidebar item depends on this feature. Change the item first.")
	case noFeature:
		err = tenancy.InvalidFields(tenancy.Field{Pointer: "/feature_id", Detail: "is not a feature of the catalogue"})
	case noGate, guarded.ItemGate:
		err = tenancy.InvalidFields(tenancy.Field{Pointer: "/required_permission", Detail: "is not a permission of the catalogue"})
	}
	return d.Epoch, err
}

// featureName is what the schema lets a feature be called.
var featureName = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,99}$`)

// check says what is wrong with the fields that are there.
func check(name, description *string) error {
	var fields []tenancy.Field
	if name != nil && !featureName.MatchString(*name) {
		fields = append(fields, tenancy.Field{Pointer: "/name", Detail: "must be a lower-case letter, then at most 99 lower-case letters, digits, _ . or -"})
	}
	if description != nil && (utf8.RuneCountInString(*description) > MaxDescription || !tenancy.IsText(*description)) {
		fields = append(fields, tenancy.Field{Pointer: "/description", Detail: "must be text of at most 1000 characters"})
	}
	return tenancy.InvalidFields(fields...)
}

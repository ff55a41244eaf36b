package feature

import (
	"context"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

// The permissions that the store's calls need.
const (
	configureFeatures = "configure_features"
	manageTenants     = "manage_tenants" // on the platform
)

// Store reads and switches a tenant's features. It is safe for concurrent use
// and holds no connection between calls.
type Store struct{ db *guarded.DB }

// NewStore makes a store on db, whose schema migrations.Verify must accept.
func NewStore(db *poolproof.DB) *Store { return &Store{db: guarded.New(db)} }

var tenantFeatures = guarded.Statement{Op: "list the features", SQL: `select verdict, name, enabled from poolproof.read_features($1::uuid, $2::uuid, $3::text)`}

// Tenant returns every feature of the catalogue and whether it is on for the
// caller's tenant. Any active member may. Refusals: not_a_member, stale.
func (s *Store) Tenant(ctx context.Context, c tenancy.Caller) (map[string]bool, error) {
	type feature struct {
		name string
		on   bool
	}
	list, err := guarded.Read(ctx, s.db, c, tenantFeatures,
		func(f *feature) []any { return []any{&f.name, &f.on} })
	if err != nil {
		return nil, err
	}
	features := make(map[string]bool, len(list))
	for _, f := range list {
		features[f.name] = f.on
	}
	return features, nil
}

// switchTarget decides on the feature "target", switches and records.
var switchTarget = guarded.Decide(`left join target t on true`, `
	when t.id is null or not poolproof.keep_entry(t.id) then 'not_found'
	when t.enabled = $5::boolean then 'same'`) + `, switched as (
	insert into poolproof.tenant_features as x (tenant_id, feature_id, enabled)
	select $1::uuid, t.id, $5::boolean from target t join verdict v on v.code = 'ok'
	on conflict (tenant_id, feature_id) do update
	set enabled = excluded.enabled, version = x.version + 1, updated_at = clock_timestamp()
	returning x.feature_id
), audited as (
	insert into poolproof.audit_log (tenant_id, actor, action, object, before, after)
	select $1::uuid, $2::uuid, 'feature.set', 'feature/' || t.name,
		case when t.enabled is not null then jsonb_build_object('enabled', t.enabled) end,
		jsonb_build_object('enabled', $5::boolean)
	from switched s cross join target t
)`

var setFeature = guarded.Statement{Op: "switch a feature", Needs: configureFeatures, Missing: detailNoFeature, SQL: `with ` + guarded.Caller + `, target as materialized (
	select f.id, f.name, t.enabled
	from poolproof.features f
	left join poolproof.tenant_features t on t.tenant_id = $1::uuid and t.feature_id = f.id
	where f.name = $4::text
), ` + switchTarget + `
select case v.code when 'same' then 'ok' else v.code end, null, poolproof.epoch_after($1::uuid, v.code = 'ok') from verdict v`}

// Set switches a feature on or off for the caller's tenant. Needs
// configure_features; not_found for a name that is not in the catalogue. Setting
// the value that is stored already does nothing; a default does not count as stored.
func (s *Store) Set(ctx context.Context, c tenancy.Caller, name string, enabled bool) (tenancy.Epoch, error) {
	if !tenancy.IsStorable(name) {
		return tenancy.Epoch{}, tenancy.Refuse(tenancy.NotFound, detailNoFeature) // PostgreSQL would refuse the text itself
	}
	d, err := s.db.Write(ctx, c, setFeature, []any{name, enabled})
	return d.Epoch, err
}

const detailNoFeature = "No such feature."

var setStatus = guarded.Statement{Op: "switch a feature", Needs: configureFeatures, Missing: detailNoFeature, SQL: `with ` + guarded.Caller + `, target as materialized (
	select f.id, f.name, t.enabled
	from poolproof.features f
	left join poolproof.tenant_features t on t.tenant_id = $1::uuid and t.feature_id = f.id
	where f.id = $4::uuid
), ` + switchTarget + `
select case v.code when 'same' then 'ok' else v.code end, null, poolproof.epoch_after($1::uuid, v.code = 'ok'), t.id, t.name, $5::boolean
from verdict v left join target t on true`}

// Status is a feature's value for one tenant.
type Status struct {
	FeatureID uuid.UUID `json:"feature_id"`
	Name      string    `json:"name"`
	Enabled   bool      `json:"enabled"`
}

// SetStatus is [Store.Set] for a feature named by its id, with the same refusals.
func (s *Store) SetStatus(ctx context.Context, c tenancy.Caller, id uuid.UUID, enabled bool) (Status, tenancy.Epoch, error) {
	var out Status
	d, err := s.db.Write(ctx, c, setStatus, []any{id.String(), enabled}, &out.FeatureID, &out.Name, &out.Enabled)
	return out, d.Epoch, err
}

package httpapi

import (
	"net/http"

	"github.com/poolproof/poolproof/feature"
	"github.com/poolproof/poolproof/tenancy"
)

func tenantFeatures(c *call) error {
	all, err := c.features.Tenant(c.ctx(), c.caller)
	if err != nil {
		return err
	}
	if all == nil {
		all = map[string]bool{} // never null
	}
	return c.sendCached(c.caller, all)
}

func setFeature(c *call) error {
	var body struct {
		FeatureName *string `json:"feature_name"`
		Enabled     *bool   `json:"enabled"`
	}
	if err := readBody(c.exchange, c.caller, &body); err != nil {
		return err
	}
	switch {
	case body.FeatureName == nil:
		return invalidField("/feature_name", "is required")
	case body.Enabled == nil:
		return invalidField("/enabled", "is required")
	}
	if err := c.features.Set(c.ctx(), c.caller, *body.FeatureName, *body.Enabled); err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, struct {
		Message     string `json:"message"`
		FeatureName string `json:"feature_name"`
		Enabled     bool   `json:"enabled"`
	}{"Feature status updated successfully", *body.FeatureName, *body.Enabled})
}

func sidebar(c *call) error {
	items, err := c.features.Sidebar(c.ctx(), c.caller)
	if err != nil {
		return err
	}
	if items == nil {
		items = []feature.SidebarItem{} // never null
	}
	return c.sendCached(c.caller, items)
}

// me needs a user but no tenant: it is where a front end learns which tenants
// there are to choose from.
func (s *Server) me(x *exchange) error {
	id, err := s.identify(x.r)
	if err != nil {
		return err
	}
	tenant, err := wantedTenant(x.r, id)
	if err != nil {
		return err
	}
	if tenant.Valid {
		x.tenant = tenant.UUID.String()
	}
	st, err := s.connected()
	if err != nil {
		return err
	}
	me, err := st.roles.Me(x.r.Context(), id.User, tenant)
	if err != nil {
		return err
	}
	return x.sendCached(tenancy.Caller{Tenant: tenant.UUID, User: id.User}, me)
}

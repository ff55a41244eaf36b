package httpapi

import (
	"net/http"

	"github.com/poolproof/poolproof/service/feature"
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

// featureValue is the body of POST.
type featureValue struct {
	FeatureName *string `json:"feature_name"`
	Enabled     *bool   `json:"enabled"`
}

func setFeature(c *call, body featureValue) error {
	switch {
	case body.FeatureName == nil:
		return invalidField("/feature_name", "is required")
	case body.Enabled == nil:
		return invalidField("/enabled", "is required")
	}
	epoch, err := c.features.Set(c.ctx(), c.caller, *body.FeatureName, *body.Enabled)
	return c.sendWritten(http.StatusOK, struct {
		Message     string `json:"message"`
		FeatureName string `json:"feature_name"`
		Enabled     bool   `json:"enabled"`
	}{"Feature status updated successfully", *body.FeatureName, *body.Enabled}, 0, epoch, err)
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
	c, err := s.callOf(x)
	if err != nil {
		return err
	}
	return s.inTurn(c, func(c *call) error {
		me, err := c.roles.Me(c.ctx(), c.caller)
		if err != nil {
			return err
		}
		return c.sendCached(c.caller, me)
	})
}

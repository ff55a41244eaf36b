package httpapi

import (
	"net/http"

	"github.com/poolproof/poolproof/service/platform"
	"github.com/poolproof/poolproof/service/tenancy"
)

func listTenants(c *call, p tenancy.Page) (tenancy.Listed[platform.Tenant], error) {
	return c.tenants.Tenants(c.ctx(), c.caller, p)
}

func getTenant(c *call) error {
	t, err := c.tenants.Tenant(c.ctx(), c.caller, pathUUID(c, "id"))
	return c.sendObject(envelope{t}, t.Version, err)
}

// newTenantFields is the body of POST.
type newTenantFields struct {
	Name       *string `json:"name"`
	Slug       *string `json:"slug"`
	Admin      *string `json:"admin_user_id"`
	AdminEmail *string `json:"admin_email"`
}

func createTenant(c *call, body newTenantFields) error {
	if body.Name == nil {
		return invalidField("/name", "is required")
	}
	admin, err := bodyUUID("/admin_user_id", body.Admin)
	if err != nil {
		return err
	}
	t, epoch, err := c.tenants.Create(c.ctx(), c.caller, platform.NewTenant{
		Name: *body.Name, Slug: or(body.Slug, ""), Admin: admin, AdminEmail: or(body.AdminEmail, ""),
	})
	return c.sendCreated("/api/v3/rbac-admin/tenants/"+t.ID.String(), envelope{t}, t.Version, epoch, err)
}

// tenantFields is the body of PUT; null counts as not named.
type tenantFields struct {
	Name *string `json:"name"`
	Slug *string `json:"slug"`
}

func updateTenant(c *call, body tenantFields) error {
	t, epoch, err := c.tenants.Update(c.ctx(), c.caller, pathUUID(c, "id"), platform.Patch(body), c.match())
	return c.sendWritten(http.StatusOK, envelope{t}, t.Version, epoch, err)
}

func deleteTenant(c *call) error {
	force, err := c.force()
	if err != nil {
		return err
	}
	epoch, err := c.tenants.Delete(c.ctx(), c.caller, pathUUID(c, "id"), force, c.match())
	return c.sendMessage("Tenant deleted successfully", epoch, err)
}

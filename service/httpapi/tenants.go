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

func createTenant(c *call) error {
	var body struct {
		Name       *string `json:"name"`
		Slug       *string `json:"slug"`
		Admin      *string `json:"admin_user_id"`
		AdminEmail *string `json:"admin_email"`
	}
	if err := c.readBody(&body); err != nil {
		return err
	}
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

func updateTenant(c *call) error {
	var body struct {
		Name *string `json:"name"`
		Slug *string `json:"slug"`
	}
	if err := c.readBody(&body); err != nil {
		return err
	}
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

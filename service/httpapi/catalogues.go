package httpapi

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/feature"
	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

func listPermissions(c *call, p tenancy.Page) (tenancy.Listed[rbac.Permission], error) {
	return c.roles.Permissions(c.ctx(), c.caller, p)
}

func getPermission(c *call) error {
	permission, err := c.roles.Permission(c.ctx(), c.caller, pathUUID(c, "id"))
	return c.sendObject(envelope{permission}, permission.Version, err)
}

// permissionFields is the body of POST and PUT; null counts as not named.
type permissionFields struct {
	Name         *string `json:"name"`
	ResourceType *string `json:"resource_type"`
	Action       *string `json:"action"`
	Description  *string `json:"description"`
	Scope        *string `json:"scope"` // of POST only
}

func createPermission(c *call, body permissionFields) error {
	if body.Name == nil {
		return invalidField("/name", "is required")
	}
	scope := or(body.Scope, "tenant")
	if scope != "tenant" && scope != "platform" {
		return invalidField("/scope", "must be tenant or platform")
	}
	permission, epoch, err := c.roles.CreatePermission(c.ctx(), c.caller, rbac.NewPermission{
		Name: *body.Name, ResourceType: or(body.ResourceType, ""), Action: or(body.Action, ""), Description: or(body.Description, ""),
		Platform: scope == "platform",
	})
	return c.sendCreated("/api/v3/rbac/permissions/"+permission.ID.String(), envelope{permission}, permission.Version, epoch, err)
}

func updatePermission(c *call, body permissionFields) error {
	if body.Scope != nil {
		return invalidField("/scope", "cannot be changed")
	}
	patch := rbac.PermissionPatch{Name: body.Name, ResourceType: body.ResourceType, Action: body.Action, Description: body.Description}
	permission, epoch, err := c.roles.UpdatePermission(c.ctx(), c.caller, pathUUID(c, "id"), patch, c.match())
	return c.sendWritten(http.StatusOK, envelope{permission}, permission.Version, epoch, err)
}

func deletePermission(c *call) error {
	epoch, err := c.roles.DeletePermission(c.ctx(), c.caller, pathUUID(c, "id"), c.match())
	return c.sendMessage("Permission deleted successfully", epoch, err)
}

func listFeatures(c *call, p tenancy.Page) (tenancy.Listed[feature.Feature], error) {
	return c.features.Features(c.ctx(), c.caller, p)
}

func getFeature(c *call) error {
	f, err := c.features.Feature(c.ctx(), c.caller, pathUUID(c, "id"))
	return c.sendObject(envelope{f}, f.Version, err)
}

// featureFields is the body of POST and PUT; null counts as not named.
type featureFields struct {
	Name           *string `json:"name"`
	Description    *string `json:"description"`
	DefaultEnabled *bool   `json:"default_enabled"`
}

func createFeature(c *call, body featureFields) error {
	if body.Name == nil {
		return invalidField("/name", "is required")
	}
	f, epoch, err := c.features.Create(c.ctx(), c.caller, feature.NewFeature{
		Name: *body.Name, Description: or(body.Description, ""), DefaultEnabled: or(body.DefaultEnabled, false),
	})
	return c.sendCreated("/api/v3/rbac/features/"+f.ID.String(), envelope{f}, f.Version, epoch, err)
}

func updateFeature(c *call, body featureFields) error {
	f, epoch, err := c.features.Update(c.ctx(), c.caller, pathUUID(c, "id"), feature.Patch(body), c.match())
	return c.sendWritten(http.StatusOK, envelope{f}, f.Version, epoch, err)
}

func deleteFeature(c *call) error {
	epoch, err := c.features.Delete(c.ctx(), c.caller, pathUUID(c, "id"), c.match())
	return c.sendMessage("Feature deleted successfully", epoch, err)
}

// featureStatus is the body of POST.
type featureStatus struct {
	Enabled *bool `json:"enabled"`
}

func setFeatureStatus(c *call, body featureStatus) error {
	if body.Enabled == nil {
		return invalidField("/enabled", "is required")
	}
	status, epoch, err := c.features.SetStatus(c.ctx(), c.caller, pathUUID(c, "id"), *body.Enabled)
	return c.sendWritten(http.StatusOK, envelope{status}, 0, epoch, err)
}

func listSidebarItems(c *call, p tenancy.Page) (tenancy.Listed[feature.SidebarItem], error) {
	return c.features.SidebarItems(c.ctx(), c.caller, p)
}

// sidebarFields is the body of POST and PUT. A gate that is null is taken away.
type sidebarFields struct {
	Title              *string          `json:"title"`
	Icon               *string          `json:"icon"`
	Path               *string          `json:"path"`
	FeatureID          optional[string] `json:"feature_id"`
	RequiredPermission optional[string] `json:"required_permission"`
	Group              *string          `json:"group"`
	DisplayOrder       *int             `json:"display_order"`
}

func (f sidebarFields) patch() (feature.SidebarPatch, error) {
	p := feature.SidebarPatch{Title: f.Title, Icon: f.Icon, Path: f.Path, Group: f.Group, DisplayOrder: f.DisplayOrder}
	if f.FeatureID.named {
		p.FeatureID = &uuid.UUID{}
		if text := f.FeatureID.value; text != nil {
			id, err := bodyUUID("/feature_id", text)
			if err != nil {
				return p, err
			}
			p.FeatureID = &id
		}
	}
	if f.RequiredPermission.named {
		name := or(f.RequiredPermission.value, "")
		p.RequiredPermission = &name
	}
	return p, nil
}

func createSidebarItem(c *call, body sidebarFields) error {
	patch, err := body.patch()
	if err != nil {
		return err
	}
	item, epoch, err := c.features.CreateSidebarItem(c.ctx(), c.caller, patch)
	return c.sendCreated("/api/v3/rbac/sidebar-items/"+item.ID.String(), envelope{item}, item.Version, epoch, err)
}

func updateSidebarItem(c *call, body sidebarFields) error {
	patch, err := body.patch()
	if err != nil {
		return err
	}
	item, epoch, err := c.features.UpdateSidebarItem(c.ctx(), c.caller, pathUUID(c, "id"), patch, c.match())
	return c.sendWritten(http.StatusOK, envelope{item}, item.Version, epoch, err)
}

func deleteSidebarItem(c *call) error {
	epoch, err := c.features.DeleteSidebarItem(c.ctx(), c.caller, pathUUID(c, "id"), c.match())
	return c.sendMessage("Sidebar item deleted successfully", epoch, err)
}

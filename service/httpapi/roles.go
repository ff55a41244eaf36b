package httpapi

import (
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

// envelope is how v3 answers one thing.
type envelope struct {
	Data any `json:"data"`
}

// message is what v3 answers when nothing is left to show.
type message struct {
	Message string `json:"message"`
}

func listRoles(c *call, p tenancy.Page) (tenancy.Listed[rbac.Role], error) {
	return c.roles.Roles(c.ctx(), c.caller, p)
}

func adminRoles(c *call, p tenancy.Page) (tenancy.Listed[rbac.Role], error) {
	return c.roles.RolesForAdmin(c.ctx(), c.caller, p)
}

func getRole(c *call) error {
	role, err := c.roles.Role(c.ctx(), c.caller, roleID(c, "id"))
	return c.sendObject(envelope{role}, role.Version, err)
}

// roleFields is the body of POST and PUT; null counts as not named.
type roleFields struct {
	Name        *string  `json:"name"`
	Description *string  `json:"description"`
	ParentIDs   *[]int32 `json:"parent_ids"`
}

func createRole(c *call, body roleFields) error {
	if body.Name == nil {
		return invalidField("/name", "is required")
	}
	n := rbac.NewRole{Name: *body.Name, Description: or(body.Description, "")}
	if body.ParentIDs != nil {
		n.ParentIDs = *body.ParentIDs
	}
	role, epoch, err := c.roles.CreateRole(c.ctx(), c.caller, n)
	return c.sendCreated("/api/v3/rbac/roles/"+strconv.Itoa(int(role.ID)), envelope{role}, role.Version, epoch, err)
}

func updateRole(c *call, body roleFields) error {
	role, epoch, err := c.roles.UpdateRole(c.ctx(), c.caller, roleID(c, "id"), rbac.RolePatch(body), c.match())
	return c.sendWritten(http.StatusOK, envelope{role}, role.Version, epoch, err)
}

func deleteRole(c *call) error {
	force, err := c.force()
	if err != nil {
		return err
	}
	epoch, err := c.roles.DeleteRole(c.ctx(), c.caller, roleID(c, "id"), force, c.match())
	return c.sendMessage("Role deleted successfully", epoch, err)
}

// force reads ?force=, which a delete with consequences wants.
func (c *call) force() (bool, error) {
	text, err := once(c.r.URL.Query(), "force")
	if err != nil {
		return false, err
	}
	switch text {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, tenancy.Refuse(tenancy.Invalid, "The query's force must be true or false.")
}

func listRolePermissions(c *call, p tenancy.Page) (tenancy.Listed[rbac.Permission], error) {
	return c.roles.RolePermissions(c.ctx(), c.caller, roleID(c, "role_id"), p)
}

// permissionGrant is the body of POST.
type permissionGrant struct {
	PermissionID *string `json:"permission_id"`
}

func grantPermission(c *call, body permissionGrant) error {
	permission, err := bodyUUID("/permission_id", body.PermissionID)
	if err != nil {
		return err
	}
	epoch, err := c.roles.GrantPermission(c.ctx(), c.caller, roleID(c, "role_id"), permission)
	return c.sendMessage("Permission granted to the role", epoch, err)
}

func revokePermission(c *call) error {
	epoch, err := c.roles.RevokePermission(c.ctx(), c.caller, roleID(c, "role_id"), pathUUID(c, "permission_id"))
	return c.sendMessage("Permission removed from the role", epoch, err)
}

// roleID reads a role's id from the path. What is no id becomes 0, which no
// role has, so that the store answers it like any role that is not there.
func roleID(c *call, name string) int32 {
	id, err := strconv.ParseUint(c.r.PathValue(name), 10, 31)
	if err != nil {
		return 0
	}
	return int32(id)
}

// pathUUID reads an id from the path; the zero UUID, which nothing has, for
// what is none.
func pathUUID(c *call, name string) uuid.UUID {
	id, err := parseUUID(c.r.PathValue(name))
	if err != nil {
		return uuid.Nil
	}
	return id
}

// bodyUUID reads a required id of the body.
func bodyUUID(pointer string, text *string) (uuid.UUID, error) {
	if text == nil {
		return uuid.Nil, invalidField(pointer, "is required")
	}
	id, err := parseUUID(*text)
	if err != nil {
		return uuid.Nil, invalidField(pointer, "is not a UUID")
	}
	return id, nil
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

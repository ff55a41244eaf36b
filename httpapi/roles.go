package httpapi

import (
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/rbac"
	"github.com/poolproof/poolproof/tenancy"
)

// envelope is how v3 answers one thing.
type envelope struct {
	Data any `json:"data"`
}

// message is what v3 answers when nothing is left to show.
type message struct {
	Message string `json:"message"`
}

func listRoles(c *call) error {
	roles, err := c.roles.Roles(c.ctx(), c.caller)
	if err != nil {
		return err
	}
	return sendList(c, roles, func(r rbac.Role) string { return pad(r.ID) })
}

func getRole(c *call) error {
	role, err := c.roles.Role(c.ctx(), c.caller, roleID(c, "id"))
	if err != nil {
		return err
	}
	return c.sendCached(c.caller, envelope{role})
}

// roleFields is the body of POST and PUT; null counts as not named.
type roleFields struct {
	Name        *string  `json:"name"`
	Description *string  `json:"description"`
	ParentIDs   *[]int32 `json:"parent_ids"`
}

func createRole(c *call) error {
	var body roleFields
	if err := readBody(c.exchange, c.caller, &body); err != nil {
		return err
	}
	if body.Name == nil {
		return invalidField("/name", "is required")
	}
	n := rbac.NewRole{Name: *body.Name}
	if body.Description != nil {
		n.Description = *body.Description
	}
	if body.ParentIDs != nil {
		n.ParentIDs = *body.ParentIDs
	}
	role, err := c.roles.CreateRole(c.ctx(), c.caller, n)
	if err != nil {
		return err
	}
	c.Header().Set("Location", "/api/v3/rbac/roles/"+strconv.Itoa(int(role.ID)))
	return c.sendJSON(http.StatusCreated, envelope{role})
}

func updateRole(c *call) error {
	var body roleFields
	if err := readBody(c.exchange, c.caller, &body); err != nil {
		return err
	}
	role, err := c.roles.UpdateRole(c.ctx(), c.caller, roleID(c, "id"), rbac.RolePatch(body))
	if err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, envelope{role})
}

func deleteRole(c *call) error {
	var force bool
	switch text := c.r.URL.Query().Get("force"); text {
	case "", "false", "0":
	case "true", "1":
		force = true
	default:
		return tenancy.Refuse(tenancy.Invalid, "The query's force is neither true nor false.")
	}
	if err := c.roles.DeleteRole(c.ctx(), c.caller, roleID(c, "id"), force); err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, envelope{message{"Role deleted successfully"}})
}

func listPermissions(c *call) error {
	all, err := c.roles.Permissions(c.ctx(), c.caller)
	if err != nil {
		return err
	}
	return sendList(c, all, permissionName)
}

func listRolePermissions(c *call) error {
	held, err := c.roles.RolePermissions(c.ctx(), c.caller, roleID(c, "role_id"))
	if err != nil {
		return err
	}
	return sendList(c, held, permissionName)
}

func permissionName(p rbac.Permission) string { return p.Name }

func grantPermission(c *call) error {
	var body struct {
		PermissionID *string `json:"permission_id"`
	}
	if err := readBody(c.exchange, c.caller, &body); err != nil {
		return err
	}
	if body.PermissionID == nil {
		return invalidField("/permission_id", "is required")
	}
	permission, err := parseUUID(*body.PermissionID)
	if err != nil {
		return invalidField("/permission_id", "is not a UUID")
	}
	if err := c.roles.GrantPermission(c.ctx(), c.caller, roleID(c, "role_id"), permission); err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, envelope{message{"Permission granted to the role"}})
}

func revokePermission(c *call) error {
	permission, err := parseUUID(c.r.PathValue("permission_id"))
	if err != nil {
		permission = uuid.Nil // no permission has it: the store decides between 403 and 404
	}
	if err := c.roles.RevokePermission(c.ctx(), c.caller, roleID(c, "role_id"), permission); err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, envelope{message{"Permission removed from the role"}})
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

// pad makes the decimal text of an id sort like the number.
func pad(id int32) string {
	text := strconv.Itoa(int(id))
	return "0000000000"[:10-len(text)] + text
}

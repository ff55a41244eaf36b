package httpapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

func listAssignments(c *call, p tenancy.Page) (tenancy.Listed[rbac.Assignment], error) {
	return c.roles.Assignments(c.ctx(), c.caller, p)
}

func listUserRoles(c *call, p tenancy.Page) (tenancy.Listed[rbac.Assignment], error) {
	return c.roles.RolesOf(c.ctx(), c.caller, pathUUID(c, "user_id"), p)
}

func listUserPermissions(c *call, p tenancy.Page) (tenancy.Listed[rbac.Permission], error) {
	return c.roles.UserPermissions(c.ctx(), c.caller, pathUUID(c, "user_id"), p)
}

// assignmentFields is the body of POST.
type assignmentFields struct {
	RoleID    *int32           `json:"role_id"`
	ExpiresAt optional[string] `json:"expires_at"` // null clears it
}

func assignRole(c *call, body assignmentFields) error {
	if body.RoleID == nil {
		return invalidField("/role_id", "is required")
	}
	var until *time.Time
	if body.ExpiresAt.named {
		until = &time.Time{}
		if text := body.ExpiresAt.value; text != nil {
			at, err := time.Parse(time.RFC3339, *text)
			if at = at.UTC(); err != nil || at.Year() < 1 || at.Year() > 9999 || at.IsZero() {
				return invalidField("/expires_at", "is no time such as 2026-11-24T10:00:00Z")
			}
			until = &at
		}
	}
	a, created, epoch, err := c.roles.AssignRole(c.ctx(), c.caller, pathUUID(c, "user_id"), *body.RoleID, until)
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return c.sendWritten(status, envelope{a}, 0, epoch, err)
}

func unassignRole(c *call) error {
	epoch, err := c.roles.UnassignRole(c.ctx(), c.caller, pathUUID(c, "user_id"), roleID(c, "role_id"))
	return c.sendMessage("Role removed from the user", epoch, err)
}

func listProfiles(c *call, p tenancy.Page) (tenancy.Listed[rbac.Profile], error) {
	return c.roles.Profiles(c.ctx(), c.caller, p)
}

func adminProfiles(c *call, p tenancy.Page) (tenancy.Listed[rbac.Profile], error) {
	return c.roles.ProfilesForAdmin(c.ctx(), c.caller, p)
}

func getProfile(c *call) error {
	profile, err := c.roles.Profile(c.ctx(), c.caller, pathUUID(c, "user_id"))
	return c.sendObject(envelope{profile}, profile.Version, err)
}

// profileFields is the body of POST and PUT; null counts as not named.
type profileFields struct {
	UserID     *string `json:"user_id"` // of POST only
	ExternalID *string `json:"external_id"`
	Email      *string `json:"email"`
	Name       *string `json:"name"`
	Active     *bool   `json:"active"`
}

// createProfile takes the user's id, or the identity provider's own, of which
// the user's id is made as it is from tokens.
func (s *Server) createProfile(c *call, body profileFields) error {
	n := rbac.NewProfile{
		ExternalID: strings.TrimSpace(or(body.ExternalID, "")), Email: or(body.Email, ""), Name: or(body.Name, ""), Active: or(body.Active, true),
	}
	switch {
	case body.UserID != nil:
		id, err := bodyUUID("/user_id", body.UserID)
		if err != nil {
			return err
		}
		n.UserID = id
	case n.ExternalID != "":
		n.UserID = s.cfg.Tokens.UserID(n.ExternalID)
	default:
		return invalidField("/user_id", "or external_id is required")
	}
	profile, epoch, err := c.roles.CreateProfile(c.ctx(), c.caller, n)
	return c.sendCreated("/api/v3/profiles/"+profile.UserID.String(), envelope{profile}, profile.Version, epoch, err)
}

func updateProfile(c *call, body profileFields) error {
	user := pathUUID(c, "user_id")
	if body.UserID != nil {
		if id, err := uuid.Parse(*body.UserID); err != nil || id != user {
			return invalidField("/user_id", "is not the one of the path, and cannot be changed")
		}
	}
	patch := rbac.ProfilePatch{ExternalID: body.ExternalID, Email: body.Email, Name: body.Name, Active: body.Active}
	profile, epoch, err := c.roles.UpdateProfile(c.ctx(), c.caller, user, patch, c.match())
	return c.sendWritten(http.StatusOK, envelope{profile}, profile.Version, epoch, err)
}

func deleteProfile(c *call) error {
	epoch, err := c.roles.DeleteProfile(c.ctx(), c.caller, pathUUID(c, "user_id"), c.match())
	return c.sendMessage("Profile deleted successfully", epoch, err)
}

func adminStats(c *call) error {
	stats, err := c.roles.Stats(c.ctx(), c.caller)
	if err != nil {
		return err
	}
	return c.sendCached(c.caller, envelope{stats})
}

package rbac

import (
	"time"

	"github.com/google/uuid"
)

// Role is a named set of permissions inside one tenant. Ids are counted per
// tenant from 1 and never reused, so that id 1 means another role in another
// tenant.
type Role struct {
	ID          int32     `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	TenantID    uuid.UUID `json:"tenant_id"`
	System      bool      `json:"system"` // one of the four every tenant starts with: neither renamed nor deleted
	CreatedAt   time.Time `json:"created_at"`
	HoldsAll    bool      `json:"holds_all"`  // every permission of the tenant, those added later included
	ParentIDs   []int32   `json:"parent_ids"` // the roles it inherits from directly, sorted; never null
	Version     int32     `json:"-"`          // raised by every change; 0 in lists
}

// Permission is an entry of the catalogue, the same for every tenant.
type Permission struct {
	ID           uuid.UUID `json:"id"`
	Name         string    `json:"name"`
	ResourceType string    `json:"resource_type"`
	Action       string    `json:"action"`
	Description  string    `json:"description"`
	Version      int32     `json:"-"` // raised by every change; 0 in lists
}

// NewPermission is an entry for the catalogue. Name starts with a small letter
// and goes on with small letters, digits, _ : . and -; where ResourceType and
// Action are empty they are taken from it, as in view_reports. Platform marks a
// permission that only roles of the platform tenant can be given. Name, ResourceType
// and Action hold at most [MaxName] characters, Description [MaxDescription].
type NewPermission struct {
	Name         string
	ResourceType string
	Action       string
	Description  string
	Platform     bool
}

// PermissionPatch changes an entry of the catalogue; nil fields stay as they are.
// The others have the bounds of [NewPermission].
type PermissionPatch struct {
	Name         *string
	ResourceType *string
	Action       *string
	Description  *string
}

// NewRole is what a role is made of. Name is trimmed, must not be blank, holds
// at most [MaxName] characters and is unique in the tenant; Description holds
// at most [MaxDescription]. The role inherits what its parents hold, so that
// naming a parent is a grant.
type NewRole struct {
	Name        string
	Description string
	ParentIDs   []int32
}

// RolePatch changes a role; nil fields stay as they are, the others have the bounds
// of [NewRole]. ParentIDs replaces the whole set of parents.
type RolePatch struct {
	Name        *string
	Description *string
	ParentIDs   *[]int32
}

// Assignment is a role that a member holds, until ExpiresAt or for good. One
// that has expired counts as not there, and is not listed.
type Assignment struct {
	UserID    uuid.UUID  `json:"user_id"`
	RoleID    int32      `json:"role_id"`
	RoleName  string     `json:"role_name"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// Profile is a member of a tenant. One that is not active may do nothing.
type Profile struct {
	UserID     uuid.UUID `json:"user_id"`
	ExternalID *string   `json:"external_id"` // the identity provider's own id, unique in the tenant
	Email      string    `json:"email"`
	Name       string    `json:"name"`
	Active     bool      `json:"active"`
	CreatedAt  time.Time `json:"created_at"`
	Version    int32     `json:"-"` // raised by every change; 0 in lists
}

// NewProfile is a member to be. Email, Name and ExternalID may be empty and hold at
// most [MaxEmail], [MaxPersonName] and [MaxExternalID] characters; an ExternalID is
// unique in the tenant.
type NewProfile struct {
	UserID     uuid.UUID
	ExternalID string
	Email      string
	Name       string
	Active     bool
}

// ProfilePatch changes a profile; nil fields stay as they are, an ExternalID of
// "" takes it away, and the bounds are those of [NewProfile]. To activate a profile, or to give it another external id,
// hands on whatever its roles confer, now or once it is active: both are grants.
type ProfilePatch struct {
	ExternalID *string
	Email      *string
	Name       *string
	Active     *bool
}

// Stats counts what a tenant has and, of the catalogue, what it can have.
type Stats struct {
	Users       int `json:"users_count"`
	ActiveUsers int `json:"active_users_count"`
	Roles       int `json:"roles_count"`
	Permissions int `json:"permissions_count"`
	Features    int `json:"features_count"`
}

// Limits of what a role's fields hold, in characters. The schema has the same.
const (
	MaxName        = 100
	MaxDescription = 1000
	MaxEmail       = 320
	MaxPersonName  = 200
	MaxExternalID  = 500
)

// Me is what one user may know about themself: who they are, the tenants they
// are an active member of and, for the tenant asked for, what they hold there.
type Me struct {
	User        User            `json:"user"`
	Tenants     []Tenant        `json:"tenants"`     // by name
	Tenant      *uuid.UUID      `json:"tenant_id"`   // the tenant asked for; null if none was
	Roles       []Role          `json:"roles"`       // held in that tenant, unexpired; empty without a tenant
	Permissions []string        `json:"permissions"` // names of all effective permissions there, sorted
	Features    map[string]bool `json:"features"`    // every feature of the catalogue and its value there
}

// User is a person as one tenant's profile describes them; email and name are
// nil where no tenant was asked for and the memberships disagree or say nothing.
type User struct {
	ID    uuid.UUID `json:"id"`
	Email *string   `json:"email"`
	Name  *string   `json:"name"`
}

// Tenant is a customer whose rows nobody else sees.
type Tenant struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	Slug string    `json:"slug"`
}

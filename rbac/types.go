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
}

// Permission is an entry of the catalogue, the same for every tenant.
type Permission struct {
	ID           uuid.UUID `json:"id"`
	Name         string    `json:"name"`
	ResourceType string    `json:"resource_type"`
	Action       string    `json:"action"`
	Description  string    `json:"description"`
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

// RolePatch changes a role; nil fields stay as they are. ParentIDs replaces
// the whole set of parents.
type RolePatch struct {
	Name        *string
	Description *string
	ParentIDs   *[]int32
}

// Limits of what a role's fields hold, in characters. The schema has the same.
const (
	MaxName        = 100
	MaxDescription = 1000
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

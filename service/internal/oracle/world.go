package oracle

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// World is all that a database holds.
type World struct {
	Platform    uuid.UUID
	Now         time.Time `json:"-"` // what has expired by then is gone; no test's expiry is near it
	Tenants     map[uuid.UUID]*Tenant
	Permissions map[uuid.UUID]*Permission
	Features    map[uuid.UUID]*Feature
	Sidebar     map[uuid.UUID]*SidebarItem
}

// Tenant is a customer and all that is theirs.
type Tenant struct {
	Name, Slug string
	Version    int
	NextRole   int // ids are never used twice
	Profiles   map[uuid.UUID]*Profile
	Roles      map[int]*Role
	Features   map[uuid.UUID]*Setting
	Audit      []Entry
}

// Profile is a member and what they were given.
type Profile struct {
	External, Email, Name string
	Active                bool
	Version               int
	Roles                 map[int]*Assignment
}

// Assignment is a role that a member holds; Until is nil for good.
type Assignment struct {
	Until   *time.Time
	By      uuid.UUID
	Version int
}

// Role holds permissions of its own and those of its parents; All stands for
// every permission of scope tenant, those added later included.
type Role struct {
	Name, Description string
	System, All       bool
	Version           int
	Permissions       map[uuid.UUID]bool
	Parents           map[int]bool
}

// Setting is a tenant's own value of a feature.
type Setting struct {
	Enabled bool
	Version int
}

// Entry is a row of the audit log.
type Entry struct {
	Actor          uuid.UUID
	Action, Object string
}

// Permission is an entry of the catalogue.
type Permission struct {
	Name, Resource, Action, Description string
	Platform, Seeded                    bool
	Version                             int
}

// Feature is an entry of the catalogue.
type Feature struct {
	Name, Description string
	Default, Seeded   bool
	Version           int
}

// SidebarItem is an entry of the catalogue; gates that are zero are none.
type SidebarItem struct {
	Title, Icon, Path, Group string
	Feature                  uuid.UUID
	Permission               string
	Order                    int
	Version                  int
}

// Clone copies all of it.
func (w *World) Clone() *World {
	c := *w
	c.Tenants = map[uuid.UUID]*Tenant{}
	for id, t := range w.Tenants {
		c.Tenants[id] = t.clone()
	}
	c.Permissions, c.Features, c.Sidebar = copies(w.Permissions), copies(w.Features), copies(w.Sidebar)
	return &c
}

func (t *Tenant) clone() *Tenant {
	c := *t
	c.Profiles, c.Roles, c.Features, c.Audit = copies(t.Profiles), copies(t.Roles), copies(t.Features), slices.Clone(t.Audit)
	for _, p := range c.Profiles {
		p.Roles = copies(p.Roles)
	}
	for _, r := range c.Roles {
		r.Permissions, r.Parents = maps.Clone(r.Permissions), maps.Clone(r.Parents)
	}
	return &c
}

func copies[K comparable, V any](m map[K]*V) map[K]*V {
	out := make(map[K]*V, len(m))
	for k, v := range m {
		c := *v
		out[k] = &c
	}
	return out
}

// NewTenant makes a tenant with its four roles and its first administrator:
// GLOBAL_ADMIN of the platform, SUPER_ADMIN of any other.
func (w *World) NewTenant(id uuid.UUID, name, slug string, admin uuid.UUID, email string) *Tenant {
	t := &Tenant{
		Name: name, Slug: slug, Version: 1, NextRole: 5, Profiles: map[uuid.UUID]*Profile{}, Features: map[uuid.UUID]*Setting{},
		Roles: map[int]*Role{},
	}
	for n, role := range [][2]string{
		{"USER", "Sees what the tenant has"},
		{"ADMIN", "Works with every feature and manages members"},
		{"SUPER_ADMIN", "Holds every permission of the tenant"},
		{"GLOBAL_ADMIN", "Holds every permission of the tenant and, on the platform, manages tenants"},
	} {
		r := newRole(role[0])
		r.Description, r.System, r.All = role[1], true, n >= 2
		t.Roles[n+1] = r
	}
	for p, permission := range w.Permissions {
		switch {
		case permission.Platform:
			t.Roles[4].give(p, id == w.Platform)
		case strings.HasPrefix(permission.Name, "view_"):
			t.Roles[1].give(p, true)
			t.Roles[2].give(p, true)
		default:
			t.Roles[2].give(p, strings.HasPrefix(permission.Name, "start_") || permission.Name == "manage_users")
		}
	}
	first := 3
	if id == w.Platform {
		first = 4
	}
	t.Member(admin, first).Email = email
	t.Profiles[admin].Roles[first].By = admin
	w.Tenants[id] = t
	return t
}

func newRole(name string) *Role {
	return &Role{Name: name, Version: 1, Permissions: map[uuid.UUID]bool{}, Parents: map[int]bool{}}
}

func (r *Role) give(permission uuid.UUID, really bool) {
	if really {
		r.Permissions[permission] = true
	}
}

// Member makes somebody an active member who holds some roles for good.
func (t *Tenant) Member(user uuid.UUID, roles ...int) *Profile {
	p := &Profile{Active: true, Version: 1, Roles: map[int]*Assignment{}}
	for _, r := range roles {
		p.Roles[r] = &Assignment{Version: 1}
	}
	t.Profiles[user] = p
	return p
}

// AddRole makes a role that holds permissions and inherits from others.
func (t *Tenant) AddRole(name string, permissions []uuid.UUID, parents ...int) int {
	r := newRole(name)
	for _, p := range permissions {
		r.Permissions[p] = true
	}
	for _, p := range parents {
		r.Parents[p] = true
	}
	id := t.NextRole
	t.Roles[id] = r
	t.NextRole++
	return id
}

func (w *World) permissionNamed(name string) uuid.UUID {
	for id, p := range w.Permissions {
		if p.Name == name {
			return id
		}
	}
	return uuid.Nil
}

func (w *World) featureNamed(name string) uuid.UUID {
	for id, f := range w.Features {
		if f.Name == name {
			return id
		}
	}
	return uuid.Nil
}

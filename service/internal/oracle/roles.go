package oracle

import (
	"fmt"
	"maps"
	"strings"

	"github.com/google/uuid"
)

func roleBody(c Caller, id int, r *Role) object {
	return object{"id": id, "name": r.Name, "description": r.Description, "tenant_id": c.Tenant.String(), "system": r.System,
		"holds_all": r.All, "parent_ids": numbers(r.Parents)}
}

// nameTaken reports whether another role has a name.
func (t *Tenant) nameTaken(name string, but int) bool {
	for id, r := range t.Roles {
		if id != but && r.Name == name {
			return true
		}
	}
	return false
}

// missing reports whether one of the roles is not there.
func (t *Tenant) missing(roles []int) bool {
	for _, id := range roles {
		if t.Roles[id] == nil {
			return true
		}
	}
	return false
}

// CreateRole makes a role that holds what its parents do.
type CreateRole struct {
	Name        *string
	Description string
	Parents     []int
}

// Request is the operation's.
func (o CreateRole) Request() Request {
	body := patch(named("name", o.Name), named("description", &o.Description))
	if o.Parents != nil {
		body["parent_ids"] = o.Parents
	}
	return Request{Method: post, Path: "/api/v3/rbac/roles", Body: body}
}

func (o CreateRole) play(w *World, c Caller, _ uuid.UUID) Answer {
	if o.Name == nil || blank(o.Name) {
		return refuse("invalid")
	}
	if a, ok := w.may(c, "manage_roles"); !ok {
		return a
	}
	t, own := w.Tenants[c.Tenant], w.Held(c.Tenant, c.User)
	if t.missing(o.Parents) {
		return refuse("not_found")
	}
	for _, p := range o.Parents {
		if own.lacks(w.confers(t, p), Forever) {
			return refuse("forbidden")
		}
	}
	name := strings.TrimSpace(*o.Name)
	if t.nameTaken(name, 0) {
		return refuse("name_taken")
	}
	id := t.AddRole(name, nil, o.Parents...)
	t.Roles[id].Description = o.Description
	w.record(c.Tenant, c, "role.create", fmt.Sprintf("role/%d", id))
	return written(201, c, roleBody(c, id, t.Roles[id]), 1)
}

// UpdateRole changes what is not nil.
type UpdateRole struct {
	ID                int
	Name, Description *string
	Parents           *[]int
	Version           *int
}

// Request is the operation's.
func (o UpdateRole) Request() Request {
	body := patch(named("name", o.Name), named("description", o.Description), named("parent_ids", o.Parents))
	return Request{Method: putAt, Path: fmt.Sprintf("/api/v3/rbac/roles/%d", o.ID), Body: body, Version: o.Version}
}

func (o UpdateRole) play(w *World, c Caller, _ uuid.UUID) Answer {
	if blank(o.Name) {
		return refuse("invalid")
	}
	t := find(w.Tenants, c.Tenant)
	r := find(t.Roles, o.ID)
	if a, ok := w.mayChange(c, "manage_roles", o.Version, r.Version, r.System && another(o.Name, r.Name)); !ok {
		return a
	}
	own := w.Held(c.Tenant, c.User)
	parents := r.Parents
	if o.Parents != nil {
		if t.missing(*o.Parents) {
			return refuse("not_found")
		}
		parents = map[int]bool{}
		for _, p := range *o.Parents {
			parents[p] = true
		}
	}
	for p := range parents {
		if t.lineage(p)[o.ID] {
			return refuse("cycle")
		}
	}
	for p := range parents {
		if !r.Parents[p] && own.lacks(w.confers(t, p), Forever) {
			return refuse("forbidden")
		}
	}
	if o.Name != nil && t.nameTaken(*o.Name, o.ID) {
		return refuse("name_taken")
	}
	renamed, described := set(&r.Name, o.Name), set(&r.Description, o.Description)
	if renamed || described || !maps.Equal(parents, r.Parents) {
		r.Parents = parents
		r.Version++
		w.record(c.Tenant, c, "role.update", fmt.Sprintf("role/%d", o.ID))
	}
	return written(200, c, roleBody(c, o.ID, r), r.Version)
}

// DeleteRole takes a role from the tenant, its members and its heirs.
type DeleteRole struct {
	ID      int
	Force   bool
	Version *int
}

// Request is the operation's.
func (o DeleteRole) Request() Request {
	path := fmt.Sprintf("/api/v3/rbac/roles/%d", o.ID)
	if o.Force {
		path += "?force=true"
	}
	return Request{Method: del, Path: path, Version: o.Version}
}

func (o DeleteRole) play(w *World, c Caller, _ uuid.UUID) Answer {
	t := find(w.Tenants, c.Tenant)
	r := find(t.Roles, o.ID)
	if a, ok := w.mayChange(c, "manage_roles", o.Version, r.Version, r.System); !ok {
		return a
	}
	for _, p := range t.Profiles {
		for id, a := range p.Roles {
			if !o.Force && a.until().After(w.Now) && t.lineage(id)[o.ID] {
				return refuse("role_has_members")
			}
		}
	}
	delete(t.Roles, o.ID)
	for _, p := range t.Profiles {
		delete(p.Roles, o.ID)
	}
	for _, other := range t.Roles {
		delete(other.Parents, o.ID)
	}
	w.record(c.Tenant, c, "role.delete", fmt.Sprintf("role/%d", o.ID))
	return written(200, c, done, 0)
}

// Grant grants a permission to a role.
type Grant struct {
	Role       int
	Permission uuid.UUID
}

// Request is the operation's.
func (o Grant) Request() Request {
	return Request{Method: post, Path: fmt.Sprintf("/api/v3/rbac-permissions/role/%d", o.Role), Body: object{"permission_id": o.Permission.String()}}
}

func (o Grant) play(w *World, c Caller, _ uuid.UUID) Answer {
	if a, ok := w.may(c, "manage_permissions"); !ok {
		return a
	}
	r, p := w.Tenants[c.Tenant].Roles[o.Role], w.Permissions[o.Permission]
	if r == nil || p == nil {
		return refuse("not_found")
	}
	if r.Permissions[o.Permission] || r.All && !p.Platform {
		return written(200, c, done, 0)
	}
	if w.Held(c.Tenant, c.User).lacks(map[uuid.UUID]bool{o.Permission: true}, Forever) {
		return refuse("forbidden")
	}
	r.Permissions[o.Permission] = true
	w.record(c.Tenant, c, "role.permission.grant", fmt.Sprintf("role/%d", o.Role))
	return written(200, c, done, 0)
}

// Revoke takes a permission from a role.
type Revoke struct {
	Role       int
	Permission uuid.UUID
}

// Request is the operation's.
func (o Revoke) Request() Request {
	return Request{Method: del, Path: fmt.Sprintf("/api/v3/rbac-permissions/role/%d/permission/%s", o.Role, o.Permission)}
}

func (o Revoke) play(w *World, c Caller, _ uuid.UUID) Answer {
	if a, ok := w.may(c, "manage_permissions"); !ok {
		return a
	}
	r, p := w.Tenants[c.Tenant].Roles[o.Role], w.Permissions[o.Permission]
	switch {
	case r == nil:
		return refuse("not_found")
	case r.All && (r.Permissions[o.Permission] || p != nil && !p.Platform):
		return refuse("invalid") // what holds everything cannot lack one thing
	case !r.Permissions[o.Permission]:
		return refuse("not_found")
	}
	delete(r.Permissions, o.Permission)
	w.record(c.Tenant, c, "role.permission.revoke", fmt.Sprintf("role/%d", o.Role))
	return written(200, c, done, 0)
}

package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Read is a GET. It changes nothing.
type Read struct {
	path   string
	answer func(w *World, c Caller) Answer
}

// Request is the operation's.
func (o Read) Request() Request { return Request{Method: "GET", Path: o.path} }

func (o Read) play(w *World, c Caller, _ uuid.UUID) Answer { return o.answer(w, c) }

// reading is a read that needs a permission, "" for none.
func reading(path, permission string, body func(w *World, c Caller) Answer) Read {
	return Read{path, func(w *World, c Caller) Answer {
		if a, ok := w.may(c, permission); !ok {
			return a
		}
		return body(w, c)
	}}
}

func (o Read) onPlatform() Read {
	body := o.answer
	o.answer = func(w *World, c Caller) Answer {
		if a, ok := w.may(c, manageTenants); !ok {
			return a
		}
		return body(w, c)
	}
	return o
}

func ok(body any) Answer { return Answer{Status: 200, Body: body} }

// one is the answer of a read of what [find] returned.
func one(body object, version int) Answer {
	if version == 0 {
		return refuse("not_found")
	}
	return Answer{Status: 200, Body: object{"data": body}, Version: version}
}

func list(items []object) Answer {
	if items == nil {
		items = []object{} // never null
	}
	return ok(object{"data": items, "next_page_token": ""})
}

// byName orders bodies that have one.
func byName(a, b object) int { return strings.Compare(fmt.Sprint(a["name"]), fmt.Sprint(b["name"])) }

// Roles are the tenant's, for administrators or all members.
func Roles(admin bool) Read {
	path, permission := "/api/v3/rbac/roles", ""
	if admin {
		path, permission = "/api/v3/rbac-admin/roles", "manage_users"
	}
	return reading(path, permission, func(w *World, c Caller) Answer {
		t := w.Tenants[c.Tenant]
		out := make([]object, 0, len(t.Roles))
		for _, id := range numbers(t.Roles) {
			out = append(out, roleBody(c, id, t.Roles[id]))
		}
		return list(out)
	})
}

// OneRole is a role by id.
func OneRole(id int) Read {
	return reading(fmt.Sprintf("/api/v3/rbac/roles/%d", id), "", func(w *World, c Caller) Answer {
		r := find(w.Tenants[c.Tenant].Roles, id)
		return one(roleBody(c, id, r), r.Version)
	})
}

// RolePermissions are what a role holds of its own.
func RolePermissions(id int) Read {
	return reading(fmt.Sprintf("/api/v3/rbac-permissions/role/%d", id), "", func(w *World, c Caller) Answer {
		r := w.Tenants[c.Tenant].Roles[id]
		if r == nil {
			return refuse("not_found")
		}
		return w.permissionList(func(p uuid.UUID) bool { return r.Permissions[p] || r.All && !w.Permissions[p].Platform })
	})
}

// UserPermissions are what a member holds.
func UserPermissions(user uuid.UUID) Read {
	return reading("/api/v3/rbac-permissions/user/"+user.String(), "", func(w *World, c Caller) Answer {
		if w.Tenants[c.Tenant].Profiles[user] == nil {
			return refuse("not_found")
		}
		held := w.Held(c.Tenant, user)
		return w.permissionList(func(p uuid.UUID) bool { _, ok := held[p]; return ok })
	})
}

// Permissions is the catalogue.
func Permissions() Read {
	return reading("/api/v3/rbac/permissions", "", func(w *World, _ Caller) Answer {
		return w.permissionList(func(uuid.UUID) bool { return true })
	})
}

func (w *World) permissionList(in func(uuid.UUID) bool) Answer {
	var out []object
	for id, p := range w.Permissions {
		if in(id) {
			out = append(out, permissionBody(id, p))
		}
	}
	slices.SortFunc(out, byName)
	return list(out)
}

// OnePermission is an entry of the catalogue.
func OnePermission(id uuid.UUID) Read {
	return reading("/api/v3/rbac/permissions/"+id.String(), "", func(w *World, _ Caller) Answer {
		entry := find(w.Permissions, id)
		return one(permissionBody(id, entry), entry.Version)
	})
}

// UserRoles are a member's unexpired assignments, or with the zero id all
// members'.
func UserRoles(user uuid.UUID) Read {
	path := "/api/v3/rbac/user-roles"
	if user != uuid.Nil {
		path = "/api/v3/rbac/users/" + user.String() + "/roles"
	}
	return reading(path, "", func(w *World, c Caller) Answer {
		t := w.Tenants[c.Tenant]
		if user != uuid.Nil && t.Profiles[user] == nil {
			return refuse("not_found")
		}
		var out []object
		for _, u := range ids(t.Profiles) {
			for _, r := range numbers(t.Profiles[u].Roles) {
				a := t.Profiles[u].Roles[r]
				if (user == uuid.Nil || u == user) && a.until().After(w.Now) {
					out = append(out, assignmentBody(u, r, t.Roles[r], a))
				}
			}
		}
		return list(out)
	})
}

// Profiles are the tenant's, for administrators or all members.
func Profiles(admin bool) Read {
	path, permission := "/api/v3/profiles", ""
	if admin {
		path, permission = "/api/v3/rbac-admin/profiles", "manage_users"
	}
	return reading(path, permission, func(w *World, c Caller) Answer {
		t := w.Tenants[c.Tenant]
		out := make([]object, 0, len(t.Profiles))
		for _, u := range ids(t.Profiles) {
			out = append(out, profileBody(u, t.Profiles[u]))
		}
		return list(out)
	})
}

// OneProfile is a member.
func OneProfile(user uuid.UUID) Read {
	return reading("/api/v3/profiles/"+user.String(), "", func(w *World, c Caller) Answer {
		p := find(w.Tenants[c.Tenant].Profiles, user)
		return one(profileBody(user, p), p.Version)
	})
}

// Stats counts.
func Stats() Read {
	return reading("/api/v3/rbac-admin/stats", "manage_users", func(w *World, c Caller) Answer {
		t, active := w.Tenants[c.Tenant], 0
		for _, p := range t.Profiles {
			if p.Active {
				active++
			}
		}
		return ok(object{"data": object{"users_count": len(t.Profiles), "active_users_count": active, "roles_count": len(t.Roles),
			"permissions_count": len(w.Permissions), "features_count": len(w.Features)}})
	})
}

// Features is the catalogue.
func Features() Read {
	return reading("/api/v3/rbac/features", "", func(w *World, _ Caller) Answer {
		out := make([]object, 0, len(w.Features))
		for id, f := range w.Features {
			out = append(out, featureBody(id, f))
		}
		slices.SortFunc(out, byName)
		return list(out)
	})
}

// OneFeature is an entry of the catalogue.
func OneFeature(id uuid.UUID) Read {
	return reading("/api/v3/rbac/features/"+id.String(), "", func(w *World, _ Caller) Answer {
		entry := find(w.Features, id)
		return one(featureBody(id, entry), entry.Version)
	})
}

// TenantFeatures are every feature and its value.
func TenantFeatures() Read {
	return reading("/api/v4/features/tenant", "", func(w *World, c Caller) Answer { return ok(w.values(c.Tenant)) })
}

func (w *World) values(tenant uuid.UUID) object {
	out := object{}
	for id, f := range w.Features {
		out[f.Name] = w.on(tenant, id)
	}
	return out
}

// items are in display order; where that is the same, by title if titled, and
// by id.
func (w *World) items(titled bool, in func(*SidebarItem) bool) []object {
	order := slices.DeleteFunc(ids(w.Sidebar), func(id uuid.UUID) bool { return !in(w.Sidebar[id]) })
	slices.SortStableFunc(order, func(a, b uuid.UUID) int {
		x, y := w.Sidebar[a], w.Sidebar[b]
		if x.Order != y.Order || !titled {
			return cmp.Compare(x.Order, y.Order)
		}
		return strings.Compare(x.Title, y.Title)
	})
	out := make([]object, len(order))
	for i, id := range order {
		out[i] = sidebarBody(id, w.Sidebar[id])
	}
	return out
}

// SidebarItems is the catalogue behind the sidebar.
func SidebarItems() Read {
	return reading("/api/v3/rbac/sidebar-items", "", func(w *World, _ Caller) Answer {
		return list(w.items(false, func(*SidebarItem) bool { return true }))
	})
}

// Sidebar is what the caller sees.
func Sidebar() Read {
	return reading("/api/v4/sidebar", "", func(w *World, c Caller) Answer {
		return ok(w.items(true, func(s *SidebarItem) bool {
			return (s.Feature == uuid.Nil || w.on(c.Tenant, s.Feature)) && (s.Permission == "" || w.holds(c.Tenant, c.User, s.Permission))
		}))
	})
}

// Tenants are all of them.
func Tenants() Read {
	return Read{"/api/v3/rbac-admin/tenants", func(w *World, _ Caller) Answer {
		out := make([]object, 0, len(w.Tenants))
		for _, id := range ids(w.Tenants) {
			out = append(out, tenantBody(id, w.Tenants[id]))
		}
		slices.SortStableFunc(out, byName)
		return list(out)
	}}.onPlatform()
}

// OneTenant is a tenant by id.
func OneTenant(id uuid.UUID) Read {
	return Read{"/api/v3/rbac-admin/tenants/" + id.String(), func(w *World, _ Caller) Answer {
		t := find(w.Tenants, id)
		return one(tenantBody(id, t), t.Version)
	}}.onPlatform()
}

// Me is what the caller may know about themself.
func Me() Read {
	return reading("/api/v4/me", "", func(w *World, c Caller) Answer {
		here := w.Tenants[c.Tenant]
		p := here.Profiles[c.User]
		mine, roles, names := []object{}, []object{}, []string{}
		for _, id := range ids(w.Tenants) {
			if w.isMember(id, c.User) {
				mine = append(mine, tenantBody(id, w.Tenants[id]))
			}
		}
		slices.SortStableFunc(mine, byName)
		for _, r := range numbers(p.Roles) {
			if p.Roles[r].until().After(w.Now) {
				roles = append(roles, roleBody(c, r, here.Roles[r]))
			}
		}
		for id := range maps.Keys(w.Held(c.Tenant, c.User)) {
			if id != Everything {
				names = append(names, w.Permissions[id].Name)
			}
		}
		slices.Sort(names)
		return ok(object{
			"user":    object{"id": c.User.String(), "email": orNull(p.Email), "name": orNull(p.Name)},
			"tenants": mine, "tenant_id": c.Tenant.String(), "roles": roles, "permissions": names, "features": w.values(c.Tenant),
		})
	})
}

// AuditLog are the changes of a tenant, newest first, without what was before
// and after.
func AuditLog() Read {
	return reading("/api/v3/audit", "manage_users", func(w *World, c Caller) Answer {
		log := w.Tenants[c.Tenant].Audit
		out := make([]object, 0, len(log))
		for i, e := range slices.Backward(log) {
			out = append(out, object{"id": i + 1, "actor": e.Actor.String(), "action": e.Action, "object": e.Object})
		}
		return list(out)
	})
}

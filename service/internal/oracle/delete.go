package oracle

import "github.com/google/uuid"

// Delete is a DELETE of one thing, in the version that the caller has read, nil for
// any.
type Delete struct {
	Action     string // as the audit log has it
	path       string
	version    *int
	permission string // what it needs; manage_tenants for what is the platform's
	find       func(w *World, c Caller) removal
}

// removal is what a DELETE finds: the thing, and how it is removed. Version 0 is a
// thing that is not there.
type removal struct {
	version int
	seeded  bool   // it came with the product
	used    bool   // something depends on it
	object  string // in the audit log
	forget  func()
}

// Request is the operation's.
func (o Delete) Request() Request { return Request{Method: del, Path: o.path, Version: o.version} }

func (o Delete) play(w *World, c Caller, _ uuid.UUID) Answer {
	r := o.find(w, c)
	if a, ok := w.mayChange(c, o.permission, o.version, r.version, r.seeded); !ok {
		return a
	}
	if r.used {
		return refuse("in_use")
	}
	r.forget()
	if o.permission == manageTenants {
		w.record(w.Platform, c, o.Action, r.object)
		return wroteCatalogue(200, done, 0)
	}
	w.record(c.Tenant, c, o.Action, r.object)
	return written(200, c, done, 0)
}

// DeletePermission removes a permission that nothing uses.
func DeletePermission(id uuid.UUID, version *int) Delete {
	return Delete{"permission.delete", "/api/v3/rbac/permissions/" + id.String(), version, manageTenants, func(w *World, _ Caller) removal {
		p := find(w.Permissions, id)
		used := w.gated(func(s *SidebarItem) bool { return s.Permission == p.Name })
		for _, t := range w.Tenants {
			for _, r := range t.Roles {
				used = used || r.Permissions[id]
			}
		}
		return removal{p.Version, p.Seeded, used, "permission/" + id.String(), func() { delete(w.Permissions, id) }}
	}}
}

// DeleteFeature removes a feature and the tenants' values of it.
func DeleteFeature(id uuid.UUID, version *int) Delete {
	return Delete{"feature.delete", "/api/v3/rbac/features/" + id.String(), version, manageTenants, func(w *World, _ Caller) removal {
		f := find(w.Features, id)
		used := w.gated(func(s *SidebarItem) bool { return s.Feature == id })
		return removal{f.Version, f.Seeded, used, "feature/" + f.Name, func() {
			delete(w.Features, id)
			for _, t := range w.Tenants {
				delete(t.Features, id)
			}
		}}
	}}
}

// gated reports whether a sidebar item depends on something.
func (w *World) gated(by func(*SidebarItem) bool) bool {
	for _, s := range w.Sidebar {
		if by(s) {
			return true
		}
	}
	return false
}

// DeleteItem removes a sidebar item.
func DeleteItem(id uuid.UUID, version *int) Delete {
	return Delete{"sidebar.delete", "/api/v3/rbac/sidebar-items/" + id.String(), version, manageTenants, func(w *World, _ Caller) removal {
		return removal{find(w.Sidebar, id).Version, false, false, "sidebar/" + id.String(), func() { delete(w.Sidebar, id) }}
	}}
}

// DeleteProfile ends a membership and takes its roles.
func DeleteProfile(user uuid.UUID, version *int) Delete {
	return Delete{"profile.delete", "/api/v3/profiles/" + user.String(), version, "manage_users", func(w *World, c Caller) removal {
		profiles := find(w.Tenants, c.Tenant).Profiles
		return removal{find(profiles, user).Version, false, false, "user/" + user.String(), func() { delete(profiles, user) }}
	}}
}

package oracle_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/service/internal/oracle"
)

// drawn is one step of a history: who asks for what.
type drawn struct {
	cast   *cast
	caller oracle.Caller
	op     oracle.Op
}

// String is the request as a person reads it.
func (d drawn) String() string {
	r := d.op.Request()
	text := d.caller.User.String() + " in " + d.caller.Tenant.String() + ": " + r.Method + " " + strings.TrimPrefix(r.Path, "/api")
	if r.Body != nil {
		raw, err := json.Marshal(r.Body)
		if err != nil {
			panic(err)
		}
		text += " " + string(raw)
	}
	if r.Version != nil {
		text += fmt.Sprintf(" If-Match %d", *r.Version)
	}
	return d.cast.readable(text)
}

// GoString is what rapid prints.
func (d drawn) GoString() string { return d.String() }

// pick draws one of a list; what stands there twice comes twice as often.
func pick[T any](t *rapid.T, of ...T) T { return rapid.SampledFrom(of).Draw(t, "") }

// maybe draws one of a list, or nil.
func maybe[T any](t *rapid.T, of ...T) *T {
	if pick(t, true, true, false) {
		v := pick(t, of...)
		return &v
	}
	return nil
}

// rarely is true one time in eight or so.
func rarely(t *rapid.T) bool { return pick(t, false, false, false, false, false, false, false, true) }

func user(t *rapid.T) uuid.UUID { return person(pick(t, people...)) }

// role draws an id: of the four, of those that a history begins with or makes,
// of another tenant's that this one may not have, and rarely of none.
func role(t *rapid.T) int {
	if rarely(t) {
		return 99
	}
	return pick(t, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 5, 6)
}

func roles(t *rapid.T) []int { return rapid.SliceOfN(rapid.Custom(role), 0, 2).Draw(t, "") }

// version draws an If-Match: mostly none, else one that fits what was changed
// that often, or nothing.
func version(t *rapid.T) *int {
	if pick(t, true, true, true, false) {
		return nil
	}
	v := pick(t, 1, 2, 3, 77)
	return &v
}

func until(t *rapid.T) *time.Time {
	if rarely(t) {
		return &past
	}
	return pick(t, &far, nil, &nearer)
}

// text draws a name or rarely one that is refused.
func text(t *rapid.T, refused string, of ...string) string {
	if rarely(t) {
		return refused
	}
	return pick(t, of...)
}

func maybeText(t *rapid.T, refused string, of ...string) *string {
	if pick(t, true, true, false) {
		s := text(t, refused, of...)
		return &s
	}
	return nil
}

// draw draws a step of any kind: mostly by somebody who may do it, and often
// about what there is.
func (c *cast) draw(t *rapid.T) drawn {
	caller := oracle.Caller{Tenant: c.first, User: user(t)}
	if pick(t, true, false) {
		caller.Tenant = pick(t, c.any(&c.tenants)...)
	}
	permission := pick(t, "manage_users", "manage_roles")
	if able := c.now().Keepers(caller.Tenant, permission); len(able) > 0 && pick(t, true, true, true, false) {
		caller.User = pick(t, able...)
	}
	var op oracle.Op
	switch pick(t, "users", "roles", "users", "roles", "read", "switch", "platform") {
	case "users":
		op = c.drawUsers(t, caller.Tenant)
	case "roles":
		op = c.drawRoles(t, caller.Tenant)
	case "read":
		op = c.drawRead(t)
	case "switch":
		op = c.drawSwitch(t)
	case "platform":
		op = c.drawPlatform(t)
		if !rarely(t) {
			caller = oracle.Caller{Tenant: pick(t, c.platform, c.first), User: pick(t, c.now().Keepers(c.platform, "manage_tenants")...)}
		}
	}
	if pick(t, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) == 11 {
		op = oracle.Elsewhere{Op: op, Tenant: pick(t, c.any(&c.tenants)...)}
	}
	return drawn{c, caller, op}
}

// somebody draws who is there to change: often a manager.
func (c *cast) somebody(t *rapid.T, tenant uuid.UUID) uuid.UUID {
	if keepers := c.now().Keepers(tenant, "manage_roles"); len(keepers) > 0 && pick(t, true, false, false) {
		return pick(t, keepers...)
	}
	return user(t)
}

// assignment draws a user and a role, mostly one that the user has.
func (c *cast) assignment(t *rapid.T, tenant uuid.UUID) (uuid.UUID, int) {
	type pair struct {
		user uuid.UUID
		role int
	}
	var there []pair
	if here := c.now().Tenants[tenant]; here != nil {
		for _, name := range people {
			if p := here.Profiles[person(name)]; p != nil {
				for _, role := range slices.Sorted(maps.Keys(p.Roles)) {
					there = append(there, pair{person(name), role})
				}
			}
		}
	}
	if len(there) > 0 && pick(t, true, true, false) {
		p := pick(t, there...)
		return p.user, p.role
	}
	return user(t), role(t)
}

// held draws a role and a permission, half of the time one that the role has
// of its own.
func (c *cast) held(t *rapid.T, tenant uuid.UUID) (int, uuid.UUID) {
	id, all := role(t), c.any(&c.permissions)
	if here := c.now().Tenants[tenant]; here != nil && here.Roles[id] != nil && pick(t, true, false) {
		own := slices.DeleteFunc(slices.Clone(all), func(p uuid.UUID) bool { return !here.Roles[id].Permissions[p] })
		if len(own) > 0 {
			return id, pick(t, own...)
		}
	}
	return id, pick(t, all...)
}

func (c *cast) drawUsers(t *rapid.T, tenant uuid.UUID) oracle.Op {
	external := func() *string { return maybe(t, "", "idp|one", "idp|two") }
	switch pick(t, "assign", "unassign", "update", "delete", "create", "assign", "unassign", "update") {
	case "assign":
		user, role := c.assignment(t, tenant)
		o := oracle.Assign{User: user, Role: role, Until: until(t)}
		o.Clear = o.Until == nil && pick(t, true, false)
		return o
	case "unassign":
		user, role := c.assignment(t, tenant)
		return oracle.Unassign{User: user, Role: role}
	case "create":
		o := oracle.CreateProfile{User: user(t), Email: pick(t, "", "x@example.org"), Name: pick(t, "", "X"), Active: pick(t, true, true, false)}
		if e := external(); e != nil {
			o.External = *e
		}
		return o
	case "update":
		return oracle.UpdateProfile{User: c.somebody(t, tenant), External: external(), Email: maybe(t, "", "y@example.org"),
			Name: maybe(t, "Y", "Z"), Active: maybe(t, true, false), Version: version(t)}
	}
	return oracle.DeleteProfile(c.somebody(t, tenant), version(t))
}

func (c *cast) drawRoles(t *rapid.T, tenant uuid.UUID) oracle.Op {
	name := func() *string { return maybeText(t, "  ", "Red", "Green", "Blue", "Keeper", "USER") }
	switch pick(t, "grant", "revoke", "update", "create", "delete", "update", "create", "grant") {
	case "grant":
		role, permission := c.held(t, tenant)
		return oracle.Grant{Role: role, Permission: permission}
	case "revoke":
		role, permission := c.held(t, tenant)
		return oracle.Revoke{Role: role, Permission: permission}
	case "create":
		return oracle.CreateRole{Name: name(), Description: pick(t, "", "d"), Parents: roles(t)}
	case "update":
		o := oracle.UpdateRole{ID: role(t), Name: name(), Description: maybe(t, "", "e"), Version: version(t)}
		if pick(t, true, false) {
			parents := roles(t)
			o.Parents = &parents
		}
		return o
	}
	return oracle.DeleteRole{ID: role(t), Force: pick(t, false, true), Version: version(t)}
}

func (c *cast) drawSwitch(t *rapid.T) oracle.Op {
	if pick(t, true, false) {
		return oracle.Switch{Name: pick(t, "contentmap", "emailhunter", "maps", "chat", "nothing"), Enabled: pick(t, true, false)}
	}
	return oracle.Switch{ID: pick(t, c.any(&c.features)...), Enabled: pick(t, true, false)}
}

// drawPlatform draws a change of a catalogue or of the tenants.
func (c *cast) drawPlatform(t *rapid.T) oracle.Op {
	permission := func() uuid.UUID { return pick(t, c.any(&c.permissions)...) }
	permissionName := func() string {
		return text(t, "Bad Name", "view_maps", "start_maps", "export", "manage_roles", "view_chat")
	}
	featureName := func() string { return text(t, "Bad Name", "maps", "chat", "contentmap") }
	switch pick(t, "permission", "feature", "item", "tenant") {
	case "permission":
		switch pick(t, "create", "update", "delete") {
		case "create":
			return oracle.CreatePermission{Name: permissionName(), Description: pick(t, "", "d"), Platform: pick(t, false, false, true)}
		case "update":
			o := oracle.UpdatePermission{ID: permission(), Description: maybe(t, "", "e"), Action: maybeText(t, " ", "view", "use"), Resource: maybe(t, "maps"), Version: version(t)}
			if pick(t, true, false) {
				name := permissionName()
				o.Name = &name
			}
			return o
		}
		return oracle.DeletePermission(permission(), version(t))
	case "feature":
		switch pick(t, "create", "update", "delete") {
		case "create":
			return oracle.CreateFeature{Name: featureName(), Description: pick(t, "", "d"), Default: pick(t, true, false)}
		case "update":
			o := oracle.UpdateFeature{ID: pick(t, c.any(&c.features)...), Description: maybe(t, "", "e"), Default: maybe(t, true, false), Version: version(t)}
			if pick(t, true, false) {
				name := featureName()
				o.Name = &name
			}
			return o
		}
		return oracle.DeleteFeature(pick(t, c.any(&c.features)...), version(t))
	case "item":
		switch pick(t, "create", "update", "delete") {
		case "create":
			return oracle.CreateItem{ItemFields: c.drawItem(t)}
		case "update":
			return oracle.UpdateItem{ItemFields: c.drawItem(t), ID: pick(t, c.any(&c.sidebars)...), Version: version(t)}
		}
		return oracle.DeleteItem(pick(t, c.any(&c.sidebars)...), version(t))
	}
	switch pick(t, "update", "create", "delete") {
	case "create":
		return oracle.CreateTenant{Name: text(t, " ", "New", "Other"), Slug: text(t, "-", "new", "other", "b"), Admin: user(t)}
	case "update":
		return oracle.UpdateTenant{ID: pick(t, c.any(&c.tenants)...), Name: maybeText(t, " ", "Renamed", "Again"), Slug: maybeText(t, "-", "moved", "c"), Version: version(t)}
	}
	all := c.any(&c.tenants)
	// The last comes first: tenants that the history made are deleted more often than A.
	return oracle.DeleteTenant{ID: pick(t, all[len(all)-1], all[len(all)-2], pick(t, all...)), Force: pick(t, false, true), Version: version(t)}
}

func (c *cast) drawItem(t *rapid.T) oracle.ItemFields {
	f := oracle.ItemFields{Title: maybeText(t, " ", "One", "Two"), Path: maybeText(t, "no", "/one", "/two", "/contentmap"),
		Group: maybeText(t, " ", "Services", "Other"), Order: maybe(t, 0, 5, -5)}
	if f.Feature.Named = pick(t, true, false); f.Feature.Named && pick(t, true, false) {
		f.Feature.Value = pick(t, c.any(&c.features)...).String()
	}
	if f.Permission.Named = pick(t, true, false); f.Permission.Named && pick(t, true, false) {
		f.Permission.Value = pick(t, "view_dashboard", "view_maps", "manage_tenants", "export", "nothing")
	}
	return f
}

func (c *cast) drawRead(t *rapid.T) oracle.Op {
	return pick(t,
		oracle.Me,
		func() oracle.Read { return oracle.UserPermissions(user(t)) },
		oracle.Sidebar,
		func() oracle.Read { return oracle.Roles(pick(t, true, false)) },
		func() oracle.Read { return oracle.OneRole(role(t)) },
		func() oracle.Read { return oracle.RolePermissions(role(t)) },
		func() oracle.Read { return oracle.UserRoles(pick(t, uuid.Nil, user(t))) },
		func() oracle.Read { return oracle.Profiles(pick(t, true, false)) },
		func() oracle.Read { return oracle.OneProfile(user(t)) },
		oracle.Stats,
		oracle.Permissions,
		func() oracle.Read { return oracle.OnePermission(pick(t, c.any(&c.permissions)...)) },
		oracle.Features,
		func() oracle.Read { return oracle.OneFeature(pick(t, c.any(&c.features)...)) },
		oracle.TenantFeatures,
		oracle.SidebarItems,
		oracle.Tenants,
		func() oracle.Read { return oracle.OneTenant(pick(t, c.any(&c.tenants)...)) },
		oracle.AuditLog,
	)()
}

// everything are the reads that show all of a tenant.
func everything(w *oracle.World, tenant uuid.UUID) []oracle.Op {
	ops := []oracle.Op{oracle.Roles(false), oracle.UserRoles(uuid.Nil), oracle.Profiles(false), oracle.TenantFeatures(), oracle.Sidebar()}
	if tenant == w.Platform {
		ops = append(ops, oracle.Permissions(), oracle.Features(), oracle.SidebarItems())
	}
	for id, role := range w.Tenants[tenant].Roles {
		if !role.System { // what those hold, their members show
			ops = append(ops, oracle.RolePermissions(id))
		}
	}
	for user := range w.Tenants[tenant].Profiles {
		ops = append(ops, oracle.UserPermissions(user))
	}
	return ops
}

package legacy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/tenancy"
)

// The four roles that every tenant has.
const (
	user        = "USER"
	admin       = "ADMIN"
	superAdmin  = "SUPER_ADMIN"
	globalAdmin = "GLOBAL_ADMIN"
)

// appRole maps the values of the older enum.
var appRole = map[string]string{"basic": user, "admin": admin, "super_admin": superAdmin, "system_admin": globalAdmin}

func isSystem(name string) bool {
	return name == user || name == admin || holdsAll(name)
}

func holdsAll(name string) bool { return name == superAdmin || name == globalAdmin }

// role is a role of the source.
type role struct {
	id     string // "" where only a text names it
	name   string
	tenant uuid.UUID // Nil: no tenant's
	// permissions are names that roles can hold here. Not known: the source does
	// not say what roles hold.
	permissions map[string]bool
	known       bool
	description string
}

func (r *role) String() string { return strings.TrimSpace("role " + r.id + " " + r.name) }

const (
	noTenantReason  = "there is no such tenant"
	otherRoleReason = "the role belongs to another tenant"
	noRoleReason    = "there is no such role"
	platformReason  = "the permission is the platform's: no tenant's role can hold it"
)

// readRoles reads the roles and what they hold.
func (p *planner) readRoles() {
	known := p.src.Has("role_permissions", "role_id") || p.src.Has("role_permissions", "role")
	if !known {
		p.decided("role_permissions", "all", "the table is missing: the four roles hold what poolproof's hold, other roles nothing")
	}
	for _, r := range p.rows("roles") {
		x := &role{
			id: r["id"], name: tenancy.Name(r["name"]), description: text(r["description"], 1000),
			permissions: map[string]bool{}, known: known,
		}
		row := "role " + x.id + " " + r["name"]
		switch id, ok := parseID(r["tenant_id"]); {
		case r["tenant_id"] == "":
		case !ok || p.tenants[id] == nil && !p.isSkipped(id) && (id != DefaultTenant || !isSystem(x.name)):
			p.unmapped("roles", row, noTenantReason)
			continue
		default:
			x.tenant = id
		}
		switch {
		case line(x.name, 100) != x.name || x.name == "":
			p.unmapped("roles", row, "a role's name is one line of 1 to 100 characters, all of them shown")
			continue
		case x.name != r["name"] && isSystem(x.name):
			p.unmapped("roles", row, "its name is a system role's but for blanks")
			continue
		}
		p.roles[x.id] = x
		p.byTenant[x.tenant] = append(p.byTenant[x.tenant], x)
		if own := key("role", x.tenant.String(), x.name); p.own[own] == nil {
			p.own[own] = x
		}
		if x.isShared() {
			p.shared[x.name] = append(p.shared[x.name], x)
		}
	}
	if p.src.Has("roles", "id") && !p.src.Has("roles", "tenant_id") {
		p.decided("roles", "all", "roles have no tenant there: each is made in the tenants that use it")
	}
	for _, r := range p.rows("role_permissions") {
		holders := []*role{p.roles[r["role_id"]]}
		named := r["role_id"]
		if !p.src.Has("role_permissions", "role_id") {
			named = r["role"]
			holders = p.namedByText(r["role"])
		}
		name, ok := p.permissions[r["permission_id"]]
		row := "role " + named + ", permission " + p.nameThere(r["permission_id"])
		switch {
		case len(holders) == 0 || holders[0] == nil:
			p.unmapped("role_permissions", row, noRoleReason+", or it is not imported")
			continue
		case !ok && p.isPlatform(r["permission_id"]):
			p.unmapped("role_permissions", holders[0].String()+", permission "+p.nameThere(r["permission_id"]), platformReason)
			continue
		case !ok:
			p.unmapped("role_permissions", row, "there is no such permission, or it is not imported")
			continue
		}
		for _, h := range holders {
			h.permissions[name] = true
		}
	}
}

// namedByText returns the roles that a text means: those of this name that are
// everybody's, or one of its own.
func (p *planner) namedByText(text string) []*role {
	name := roleOfText(text)
	if !isSystem(name) {
		return nil
	}
	if all := p.shared[name]; len(all) > 0 {
		return all
	}
	if p.textRoles[name] == nil {
		_, known := p.src.Tables["role_permissions"]
		p.textRoles[name] = &role{name: name, permissions: map[string]bool{}, known: known}
	}
	return []*role{p.textRoles[name]}
}

func roleOfText(text string) string {
	if name, ok := appRole[text]; ok {
		return name
	}
	return text
}

// isShared reports whether users of all tenants point at the role: the original
// kept its four roles under one tenant.
func (r *role) isShared() bool {
	return r.tenant == uuid.Nil || r.tenant == DefaultTenant && isSystem(r.name)
}

// nameThere is a permission's name in the source, or its id where it has none.
func (p *planner) nameThere(id string) string { return cmp.Or(p.sourceNames[id], id) }

func (p *planner) isPlatform(permission string) bool {
	scope, ok := p.dst.Permissions[p.nameThere(permission)]
	return ok && scope != "tenant"
}

// standard is the role that says what a tenant's role of a system name holds:
// its own, else the shared one; nil: the source says nothing about it.
func (p *planner) standard(t *tenant, name string) *role {
	if r := p.own[key("role", t.plan.ID.String(), name)]; r != nil {
		return r
	}
	if all := p.shared[name]; len(all) > 0 {
		return all[0]
	}
	return p.textRoles[name]
}

// planRoles plans what each tenant's USER and ADMIN hold and the tenant's own
// roles, assigned to somebody or not.
func (p *planner) planRoles() {
	for _, t := range p.order {
		for _, name := range []string{user, admin} {
			if r := p.standard(t, name); r != nil && r.known {
				t.wanted[name] = r
			}
		}
		for _, r := range p.byTenant[t.plan.ID] {
			if _, reason := p.resolve(t, r); reason != "" {
				p.unmapped("roles", r.String()+" of tenant "+t.plan.ID.String(), reason)
			}
		}
	}
}

// resolve returns the name of the tenant's role that stands for a role of the
// source, and the reason why nobody gets it who has it not yet: whoever gets it
// gains nothing by that. No name where none stands for it.
func (p *planner) resolve(t *tenant, r *role) (name, reason string) {
	own := r.tenant == t.plan.ID || r.tenant == uuid.Nil
	name = r.name
	switch {
	case !own && !isSystem(name):
		return "", otherRoleReason
	case holdsAll(name) && p.couldTakeAll(r):
		return name, ""
	case holdsAll(name) && !own:
		return "", "the role holds less there than one of this name holds here"
	case holdsAll(name):
		// It has the name and not the power: it comes over as what it is.
		if _, ok := t.wanted[name+" (imported)"]; !ok {
			p.decided("roles", r.String()+" of tenant "+t.plan.ID.String(), "it holds less there than a role of this name holds here: it becomes a role of its own, \""+name+" (imported)\"")
		}
		name += " (imported)"
	case isSystem(name):
		standard := p.standard(t, name)
		switch {
		case standard == nil:
			return "", otherRoleReason
		case !standard.known:
			return name, ""
		case !subset(standard.permissions, r.permissions):
			return "", "the tenant's own role of this name holds more than the role that is meant"
		}
		r = standard
	}
	if w := t.wanted[name]; w != nil && w != r {
		return "", "another role of the tenant has this name"
	}
	if e := t.existing; e != nil {
		held, there := e.Roles[name]
		switch {
		case !there && e.Imported[key("role", name)]:
			return "", goneReason
		case there && (held.All || !subset(held.Permissions, r.permissions)):
			return name, "the role of this name in poolproof gives more than the role did there"
		}
	}
	t.wanted[name] = r
	return name, ""
}

// couldTakeAll reports whether a role's holders could give themselves every
// permission of their tenant in the source, where whoever managed roles and
// permissions could. Where the source does not say what roles hold, the name
// is all there is.
func (p *planner) couldTakeAll(r *role) bool {
	if !r.known {
		return true
	}
	if !r.permissions["manage_roles"] {
		return false
	}
	for _, name := range []string{"manage_permissions", "manage_users"} {
		if p.namedThere[name] && !r.permissions[name] {
			return false
		}
	}
	return true
}

// planGrants plans the roles to create and what they are given.
func (p *planner) planGrants() {
	for _, t := range p.order {
		for _, name := range slices.Sorted(maps.Keys(t.wanted)) {
			r := t.wanted[name]
			plan := RolePlan{Name: name, Create: true, Description: r.description, Grants: slices.Sorted(maps.Keys(r.permissions))}
			if isSystem(name) {
				plan.Create, plan.Description, plan.Exact = false, "", t.existing == nil
			}
			if e := t.existing; e != nil {
				held, there := e.Roles[name]
				if there {
					p.plan.Left.Roles++
					plan.Create, plan.Description = false, ""
				}
				// A role that poolproof had before is its own.
				if there && !e.Imported[key("role", name)] && (!isSystem(name) || !e.Imported[key("created")]) {
					continue
				}
				plan.Grants = slices.DeleteFunc(plan.Grants, func(permission string) bool {
					if held.Permissions[permission] {
						return true
					}
					gone := e.Imported[key("grant", name, permission)]
					if gone {
						p.unmapped("role_permissions", r.String()+", permission "+permission+", tenant "+t.plan.ID.String(), goneReason)
					}
					return gone
				})
			}
			if plan.Create || plan.Exact || len(plan.Grants) > 0 {
				t.plan.Roles = append(t.plan.Roles, plan)
			}
		}
	}
}

// managesRoles reports whether a role lets its holders manage roles.
func (t *tenant) managesRoles(name string) bool {
	if holdsAll(name) {
		return true
	}
	w := t.wanted[name]
	return w != nil && w.permissions["manage_roles"]
}

func subset(a, b map[string]bool) bool {
	for name := range a {
		if !b[name] {
			return false
		}
	}
	return true
}

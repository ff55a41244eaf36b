package legacy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/tenancy"
)

// membership is a user in a tenant, with what is said there about their role
// beside user_roles.
type membership struct {
	member  Member
	home    bool   // the tenant that the profile itself names
	roleID  string // of profiles, or of user_tenants
	text    string // profiles.role
	roles   []named
	refused bool // user_roles names a role that could not be mapped
}

// named is a role and where it was named.
type named struct {
	role *role
	from string
}

// userOf is the user's id: what tokens name. A UUID of version 5 is none: as a
// token's sub it is mapped to another, and here it would be somebody else's.
func userOf(profile Row) string {
	id, ok := parseID(cmp.Or(profile["user_id"], profile["id"]))
	if !ok || id.Version() == 5 {
		return ""
	}
	return id.String()
}

func (p *planner) isSkipped(id uuid.UUID) bool {
	_, ok := p.skipped[id]
	return ok
}

// planMembers plans the profiles: one in the tenant that each names, further
// ones by user_tenants.
func (p *planner) planMembers() {
	homes := map[string]Row{} // by user
	avatars, bios, cut := 0, 0, 0
	for _, r := range p.rows("profiles") {
		id := userOf(r)
		row := "user " + cmp.Or(id, r["id"]) + " " + r["email"]
		tenantID, ok := parseID(r["tenant_id"])
		t := p.tenants[tenantID]
		switch {
		case id == "":
			p.unmapped("profiles", row, "the user's id is no usable UUID")
			continue
		case id == Actor.String():
			p.unmapped("profiles", row, "the id is the import's own in the audit log")
			continue
		case r["tenant_id"] == "":
			p.unmapped("profiles", row, "it names no tenant")
			continue
		case !ok:
			p.unmapped("profiles", row+", tenant "+r["tenant_id"], "the tenant's id is no usable UUID")
			continue
		case t == nil && p.isSkipped(tenantID):
			p.skipped[tenantID]++
			continue
		case t == nil:
			p.unmapped("profiles", row+", tenant "+tenantID.String(), noTenantReason)
			continue
		}
		if r["avatar_url"] != "" {
			avatars++
		}
		if r["bio"] != "" {
			bios++
		}
		if line(r["email"], 320) != tenancy.Name(r["email"]) || line(r["name"], 200) != tenancy.Name(r["name"]) {
			cut++
		}
		homes[id] = r
		homes[r["id"]] = r
		if m := t.members[id]; m != nil {
			p.unmapped("profiles", row, "the user has a profile in this tenant already")
			continue
		}
		t.members[id] = p.member(id, r)
		t.members[id].home, t.members[id].roleID, t.members[id].text = true, r["role_id"], r["role"]
		if p.src.Has("profiles", "active") && r["active"] == "" {
			p.decided("profiles", row, "active is null: imported as not active, as it counted there")
		}
	}
	for _, r := range p.rows("user_tenants") {
		home := homes[r["user_id"]]
		id, _ := parseID(r["tenant_id"])
		t := p.tenants[id]
		row := "user " + r["user_id"] + ", tenant " + r["tenant_id"]
		switch {
		case t == nil && p.isSkipped(id):
			continue
		case t == nil:
			p.unmapped("user_tenants", row, noTenantReason)
			continue
		case home == nil:
			p.unmapped("user_tenants", row, noProfileReason)
			continue
		}
		user := userOf(home)
		if t.members[user] == nil {
			t.members[user] = p.member(user, home)
			t.members[user].roleID = r["role_id"]
		}
	}
	inactive := 0
	for _, t := range p.order {
		for _, id := range slices.Sorted(maps.Keys(t.members)) {
			m := t.members[id].member
			switch e := t.existing; {
			case e != nil && e.Members[id]:
				p.plan.Left.Members++
			case e != nil && e.Imported[key("member", id)]:
				p.unmapped("profiles", "user "+id+", tenant "+t.plan.ID.String(), goneReason)
				delete(t.members, id)
			default:
				if !m.Active {
					inactive++
				}
				t.plan.Members = append(t.plan.Members, m)
			}
		}
	}
	if inactive > 0 {
		p.decided("profiles", count(inactive, "profile"), "not active: imported as members who are not active and so hold nothing")
	}
	if cut > 0 {
		p.decided("profiles", count(cut, "profile"), "email or name does not fit here: shortened, or left empty where it has characters that are not shown")
	}
	p.notCarried("profiles", "avatar_url", avatars)
	p.notCarried("profiles", "bio", bios)
}

const (
	noProfileReason = "the user has no profile that is imported"
	noMemberReason  = "the user is no member of the tenant"
)

func (p *planner) member(id string, profile Row) *membership {
	return &membership{member: Member{
		User: id, Email: line(profile["email"], 320), Name: line(profile["name"], 200),
		Active: !p.src.Has("profiles", "active") || isTrue(profile["active"]),
	}}
}

// planAssignments plans each member's roles: what user_roles says, else
// the number on the profile, else its text.
func (p *planner) planAssignments() {
	p.readUserRoles()
	// Where nothing else links people and roles, the text is not a copy.
	byName := map[string]int{}
	textOnly := !p.src.Has("profiles", "role_id") && len(p.src.Tables["user_roles"].Columns) == 0
	for _, t := range p.order {
		for _, id := range slices.Sorted(maps.Keys(t.members)) {
			m := t.members[id]
			p.fallBack(t, m, textOnly)
			seen := map[string]bool{}
			for _, n := range m.roles {
				name, reason := p.resolve(t, n.role)
				row := "user " + id + ", " + n.role.String() + ", tenant " + t.plan.ID.String()
				switch e := t.existing; {
				case name != "" && seen[name]:
					continue
				case name != "" && e != nil && e.Assigned[key("assign", id, name)]:
					seen[name] = true
					p.plan.Left.Assignments++
					continue
				case reason != "":
					p.unmapped(n.from, row, reason)
					continue
				case e != nil && e.Imported[key("assign", id, name)]:
					p.unmapped(n.from, row, goneReason)
					continue
				}
				seen[name] = true
				if n.role.tenant != uuid.Nil && n.role.tenant != t.plan.ID {
					byName[n.from]++
				}
				a := Assignment{id, name, n.from}
				t.plan.Assignments = append(t.plan.Assignments, a)
				if m.member.Active && t.managesRoles(name) {
					t.plan.Managers = append(t.plan.Managers, a)
				}
			}
		}
	}
	p.sayByName(byName)
}

// sayByName lists how many assignments went by a role's name alone.
func (p *planner) sayByName(byName map[string]int) {
	for from, n := range byName {
		p.decided(from, count(n, "row"), "the role is another tenant's of a system role's name: it is the one of the user's own tenant")
	}
}

// readUserRoles finds the tenant that each row of user_roles is about.
func (p *planner) readUserRoles() {
	const table = "user_roles"
	if p.src.Has(table, "user_id") && !p.src.Has(table, "tenant_id") {
		p.decided(table, "all", "user_roles has no tenant there: each row counts in its role's tenant if that is the user's, else in the profile's")
	}
	byUser := map[string][]*tenant{}
	aliases := map[string]string{}
	for _, t := range p.order {
		for id := range t.members {
			byUser[id] = append(byUser[id], t)
		}
	}
	for _, r := range p.rows("profiles") {
		aliases[r["id"]] = userOf(r)
	}
	for _, r := range p.rows(table) {
		id := cmp.Or(aliases[r["user_id"]], r["user_id"])
		x := p.roles[r["role_id"]]
		row := "user " + r["user_id"] + ", role " + r["role_id"]
		if x != nil {
			row = "user " + r["user_id"] + ", " + x.String()
		}
		if len(byUser[id]) == 0 {
			p.unmapped(table, row, noProfileReason)
			continue
		}
		t := p.tenantOfAssignment(r, x, id, byUser[id])
		if t == nil {
			p.unmapped(table, row+", tenant "+r["tenant_id"], noMemberReason)
			continue
		}
		m := t.members[id]
		if x == nil {
			// Nothing else is tried for this member: the source meant a role.
			m.refused = true
			p.unmapped(table, row+", tenant "+t.plan.ID.String(), noRoleReason+", or it is not imported")
			continue
		}
		if r["tenant_id"] == "" && p.src.Has(table, "tenant_id") {
			p.decided(table, row+", tenant "+t.plan.ID.String(), "tenant_id is null: the row counts in its role's tenant if that is the user's, else in the profile's")
		}
		m.roles = append(m.roles, named{x, table})
	}
}

// tenantOfAssignment: the row's own tenant, else the role's if it is not one of
// the shared ones, else the profile's; nil if the user is no member there.
func (p *planner) tenantOfAssignment(r Row, x *role, user string, of []*tenant) *tenant {
	if r["tenant_id"] != "" {
		id, _ := parseID(r["tenant_id"])
		if t := p.tenants[id]; t != nil && t.members[user] != nil {
			return t
		}
		return nil
	}
	if x != nil && !x.isShared() && !isSystem(x.name) {
		if t := p.tenants[x.tenant]; t != nil && t.members[user] != nil {
			return t
		}
	}
	for _, t := range of {
		if t.members[user].home {
			return t
		}
	}
	return nil
}

// fallBack takes the role from the profile where user_roles names none, and
// lists where the three disagree.
func (p *planner) fallBack(t *tenant, m *membership, textOnly bool) {
	row := "user " + m.member.User + ", tenant " + t.plan.ID.String()
	table := "profiles"
	if !m.home {
		table = "user_tenants"
	}
	byID := p.roles[m.roleID]
	text := roleOfText(m.text)
	var names []string
	for _, n := range m.roles {
		names = append(names, n.role.name)
	}
	if len(m.roles) > 0 || m.refused {
		if byID != nil && !slices.Contains(names, byID.name) {
			p.decided(table, row+": role_id says "+byID.name+", user_roles says "+strings.Join(names, ", "), "role_id and user_roles disagree: user_roles counts")
		}
		if text != "" && !slices.Contains(names, text) {
			p.decided(table, row+": role says "+text+", user_roles says "+strings.Join(names, ", "), "role and user_roles disagree: user_roles counts")
		}
		return
	}
	switch {
	case byID != nil:
		if text != "" && text != byID.name {
			p.decided(table, row+": role says "+text+", role_id says "+byID.name, "role and role_id disagree: role_id counts")
		}
		m.roles = []named{{byID, table + ".role_id"}}
	case m.roleID != "":
		p.unmapped(table, row+", role "+m.roleID, noRoleReason+", or it is not imported")
	case text == "":
	case !isSystem(text):
		p.unmapped(table, row+", role "+m.text, "the text names none of the four roles")
	case holdsAll(text) && !textOnly:
		p.unmapped(table, row+", role "+m.text, "only the text says so, which gave nothing there: assign the role by hand if it is meant")
	default:
		if r := p.textRole(t, text); r != nil {
			m.roles = []named{{r, table + ".role"}}
		}
	}
}

func (p *planner) textRole(t *tenant, name string) *role {
	if r := p.standard(t, name); r != nil {
		return r
	}
	p.namedByText(name)
	return p.textRoles[name]
}

package legacy

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/platform"
	"github.com/poolproof/poolproof/service/tenancy"
)

// DefaultTenant is the tenant that the original's tables hold their four roles
// under, whoever uses them: Last Apple.
var DefaultTenant = uuid.MustParse("550e8400-e29b-41d4-a716-446655440000")

// Options of [NewPlan].
type Options struct {
	// Admin becomes the SUPER_ADMIN of each new tenant that nobody of the source
	// could manage. Nil: such tenants are left out.
	Admin uuid.UUID
}

// Plan is what an import will do. It adds, and changes nothing that was there.
type Plan struct {
	Absent    []string     `json:"absent"` // tables and columns that this source has not
	Catalogue Catalogue    `json:"catalogue"`
	Tenants   []TenantPlan `json:"tenants"`
	Left      Left         `json:"left"`
	// Decided lists rows that are imported although the source is unclear about
	// them, or not in full.
	Decided []Finding `json:"decided"`
	// Unmapped lists rows that are not imported.
	Unmapped []Finding `json:"unmapped"`

	platform uuid.UUID
}

// Catalogue is what is added for all tenants.
type Catalogue struct {
	Permissions []Permission  `json:"permissions"`
	Features    []Feature     `json:"features"`
	Sidebar     []SidebarItem `json:"sidebar"`
}

// Permission is a permission to add, of scope tenant.
type Permission struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Resource    string `json:"resource_type"`
	Action      string `json:"action"`
	Description string `json:"description"`
}

// Feature is a feature to add.
type Feature struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	Description    string `json:"description"`
	DefaultEnabled bool   `json:"default_enabled"`
}

// SidebarItem is an item to add; "" for a gate that it has not.
type SidebarItem struct {
	ID         string `json:"id"`
	Title      string `json:"title"`
	Path       string `json:"url_path"`
	Icon       string `json:"icon"`
	Group      string `json:"group"`
	Order      int    `json:"display_order"`
	Feature    string `json:"feature"`
	Permission string `json:"permission"`
}

// TenantPlan is one tenant's part, which is one transaction.
type TenantPlan struct {
	ID     uuid.UUID `json:"id"`
	Name   string    `json:"name"`
	Create bool      `json:"create"`
	Slug   string    `json:"slug,omitempty"` // with Create
	// Admin is the user the tenant is made with, who manages its roles.
	Admin       *Member        `json:"admin,omitempty"`
	Roles       []RolePlan     `json:"roles"`
	Members     []Member       `json:"members"`
	Assignments []Assignment   `json:"assignments"`
	Features    []FeatureValue `json:"features"`
	// Managers are the assignments here that let somebody manage roles: what to
	// look at before saying yes.
	Managers []Assignment `json:"managers"`

	epoch int64
}

// RolePlan is a role to create, or permissions for one that is there.
type RolePlan struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Create      bool     `json:"create"`
	Exact       bool     `json:"exact"` // of a new tenant's USER and ADMIN: what they hold beyond Grants is taken away
	Grants      []string `json:"grants"`
}

// Member is a profile to create.
type Member struct {
	User   string `json:"user_id"`
	Email  string `json:"email"`
	Name   string `json:"name"`
	Active bool   `json:"active"`
}

// Assignment is a role that a member is to hold.
type Assignment struct {
	User string `json:"user_id"`
	Role string `json:"role"`
	From string `json:"from"` // the column it was taken from, or "--admin"
}

// FeatureValue is a tenant's value.
type FeatureValue struct {
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
	From    string `json:"from"` // the table it was taken from: tenant_features, or feature_flags where the defaults differ
}

// Left counts what is in poolproof already and stays as it is.
type Left struct {
	Permissions int `json:"permissions"`
	Features    int `json:"features"`
	Sidebar     int `json:"sidebar"`
	Tenants     int `json:"tenants"`
	Roles       int `json:"roles"`
	Members     int `json:"members"`
	Assignments int `json:"assignments"`
	Values      int `json:"tenant_features"`
}

// Finding is about one row, or rows, of the source.
type Finding struct {
	Table  string `json:"table"`
	Row    string `json:"row"`    // what names it: "user 5b0d…, role 7 Editor"
	Reason string `json:"reason"` // the same text for rows of the same kind
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool {
	return p.Catalogue.empty() && !slices.ContainsFunc(p.Tenants, func(t TenantPlan) bool { return !t.empty() })
}

func (c Catalogue) empty() bool { return len(c.Permissions)+len(c.Features)+len(c.Sidebar) == 0 }

func (t TenantPlan) empty() bool {
	return !t.Create && len(t.Roles)+len(t.Members)+len(t.Assignments)+len(t.Features) == 0
}

// planner holds what the parts of a plan share.
type planner struct {
	src  Source
	dst  Destination
	opt  Options
	plan Plan

	permissions map[string]string // of the source, name by id; only those that roles can hold here
	sourceNames map[string]string // of all of them
	namedThere  map[string]bool   // the same names
	features    map[string]string // name by id
	defaults    map[string]bool   // the source's default by name
	added       map[string]bool   // features that this plan adds
	roles       map[string]*role  // by the source's id
	textRoles   map[string]*role  // those that only a text names, by name
	byTenant    map[uuid.UUID][]*role
	own         map[string]*role   // by key("role", tenant, name): the first
	shared      map[string][]*role // by name: everybody's
	tenants     map[uuid.UUID]*tenant
	order       []*tenant
	skipped     map[uuid.UUID]int // members of tenants that are left out
}

// tenant is a tenant of the source that is imported.
type tenant struct {
	plan     TenantPlan
	existing *Existing // nil: new
	members  map[string]*membership
	wanted   map[string]*role // what each role here, by name, is made of
	granted  map[string]map[string]bool
}

// NewPlan decides what an import of src into dst does. It reads and writes
// nothing, and returns the same plan for the same input.
func NewPlan(src Source, dst Destination, opt Options) Plan {
	p := &planner{
		src: src, dst: dst, opt: opt,
		plan:        Plan{Absent: src.Absent, platform: dst.Platform},
		permissions: map[string]string{}, sourceNames: map[string]string{}, namedThere: map[string]bool{},
		features: map[string]string{}, defaults: map[string]bool{}, added: map[string]bool{},
		roles: map[string]*role{}, textRoles: map[string]*role{},
		byTenant: map[uuid.UUID][]*role{}, own: map[string]*role{}, shared: map[string][]*role{},
		tenants: map[uuid.UUID]*tenant{}, skipped: map[uuid.UUID]int{},
	}
	p.planPermissions()
	p.planFeatures()
	p.planTenants()
	p.readRoles()
	p.planMembers()
	p.planRoles()
	p.planAssignments()
	p.planGrants()
	p.planFeatureValues()
	p.planSidebar()
	p.finish()
	return p.plan
}

func (p *planner) unmapped(table, row, reason string) {
	p.plan.Unmapped = append(p.plan.Unmapped, Finding{table, row, reason})
}

func (p *planner) decided(table, row, reason string) {
	p.plan.Decided = append(p.plan.Decided, Finding{table, row, reason})
}

// rows returns a table's rows.
func (p *planner) rows(table string) []Row { return p.src.Tables[table].Rows }

var (
	permissionName = regexp.MustCompile(`^[a-z][a-z0-9_:.-]{0,99}$`)
	featureName    = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,99}$`)
)

const goneReason = "an earlier import brought it and it was removed since: it does not come back"

func (p *planner) planPermissions() {
	seen := map[string]bool{}
	for _, r := range p.rows("permissions") {
		name, row := r["name"], "permission "+r["name"]
		scope, there := p.dst.Permissions[name]
		p.sourceNames[r["id"]], p.namedThere[name] = name, true
		switch {
		case there && scope != "tenant":
			// What roles hold of it is listed where they hold it.
			p.plan.Left.Permissions++
			continue
		case !there && !permissionName.MatchString(name):
			p.unmapped("permissions", row, "poolproof's names have small letters, digits and _ : . - only, and start with a letter")
			continue
		case !there && p.dst.Imported[key("permission", name)]:
			p.unmapped("permissions", row, goneReason)
			continue
		}
		p.permissions[r["id"]] = name
		switch {
		case seen[name]:
			p.decided("permissions", row, "is there twice: both are one permission here")
		case there:
			p.plan.Left.Permissions++
		default:
			resource, action := meaning(name)
			p.plan.Catalogue.Permissions = append(p.plan.Catalogue.Permissions, Permission{
				ID: freeID(r["id"], p.dst.PermissionIDs), Name: name, Resource: resource, Action: action, Description: text(r["description"], 1000),
			})
		}
		if r["tenant_id"] != "" && !seen[name] {
			p.decided("permissions", row, "belongs to one tenant there: poolproof's permissions are one catalogue for all")
		}
		seen[name] = true
	}
}

func (p *planner) planFeatures() {
	for _, r := range p.rows("feature_flags") {
		name, row := r["name"], "feature "+r["name"]
		_, there := p.dst.Features[name]
		_, seen := p.defaults[name]
		switch {
		case !there && !featureName.MatchString(name):
			p.unmapped("feature_flags", row, "poolproof's names have small letters, digits and _ . - only, and start with a letter")
			continue
		case !there && p.dst.Imported[key("feature", name)]:
			p.unmapped("feature_flags", row, goneReason)
			continue
		}
		p.features[r["id"]] = name
		if seen {
			p.decided("feature_flags", row, "is there twice: the first one's default counts")
			continue
		}
		p.defaults[name] = isTrue(r["default_enabled"])
		if there {
			p.plan.Left.Features++
			continue
		}
		p.added[name] = true
		p.plan.Catalogue.Features = append(p.plan.Catalogue.Features, Feature{
			ID: freeID(r["id"], p.dst.FeatureIDs), Name: name, Description: text(r["description"], 1000), DefaultEnabled: p.defaults[name],
		})
	}
}

// sourceTenant is a tenant of the source with a usable id.
type sourceTenant struct {
	id     uuid.UUID
	name   string
	active bool
}

// tenantsOf returns the source's tenants: without a table of them, those that
// profiles name.
func tenantsOf(src Source) []sourceTenant {
	var all []sourceTenant
	seen := map[uuid.UUID]bool{}
	add := func(text, name string, active bool) {
		id, ok := parseID(text)
		if !ok || seen[id] {
			return
		}
		seen[id] = true
		if name = line(name, 200); name == "" {
			name = "Tenant " + id.String()[:8]
		}
		all = append(all, sourceTenant{id, name, active})
	}
	if t, ok := src.Tables["tenants"]; ok {
		for _, r := range t.Rows {
			add(r["id"], r["name"], !t.Columns["active"] || isTrue(r["active"]))
		}
		return all
	}
	for _, r := range src.Tables["profiles"].Rows {
		add(r["tenant_id"], "", true)
	}
	return all
}

func (p *planner) planTenants() {
	if _, ok := p.src.Tables["tenants"]; !ok {
		p.decided("tenants", "all", "the table is missing: the tenants are those that profiles name")
	}
	descriptions := 0
	for _, r := range p.rows("tenants") {
		if _, ok := parseID(r["id"]); !ok {
			p.unmapped("tenants", "tenant "+r["id"], "its id is no usable UUID")
		}
		if r["description"] != "" {
			descriptions++
		}
	}
	p.notCarried("tenants", "description", descriptions)
	slugs := maps.Clone(p.dst.Slugs)
	for _, s := range tenantsOf(p.src) {
		row := "tenant " + s.id.String() + " " + s.name
		switch {
		case s.id == p.dst.Platform:
			p.unmapped("tenants", row, "its id is the platform tenant's, into which nothing is imported")
			p.skipped[s.id] = 0
			continue
		case !s.active:
			p.unmapped("tenants", row, "it is not active, and poolproof has no tenants that are not")
			p.skipped[s.id] = 0
			continue
		case p.dst.Tenants[s.id] == nil && p.dst.Deleted[s.id.String()]:
			p.unmapped("tenants", row, "it was in poolproof and has been deleted: it does not come back")
			p.skipped[s.id] = 0
			continue
		}
		t := &tenant{
			plan:     TenantPlan{ID: s.id, Name: s.name},
			existing: p.dst.Tenants[s.id],
			members:  map[string]*membership{}, wanted: map[string]*role{}, granted: map[string]map[string]bool{},
		}
		if t.existing == nil {
			t.plan.Create = true
			t.plan.Slug = freeSlug(s, slugs)
			slugs[t.plan.Slug] = s.id
		} else {
			t.plan.epoch = t.existing.Epoch
			p.plan.Left.Tenants++
		}
		p.tenants[s.id] = t
		p.order = append(p.order, t)
	}
}

// freeSlug makes a slug of the name that no other tenant has.
func freeSlug(s sourceTenant, taken map[string]uuid.UUID) string {
	slug := platform.Slug(s.name)
	if slug == "" {
		slug = "tenant"
	} else if _, ok := taken[slug]; !ok {
		return slug
	}
	long := strings.TrimRight(slug[:min(len(slug), 54)], "-") + "-" + s.id.String()[:8]
	if _, ok := taken[long]; ok {
		return s.id.String()
	}
	return long
}

func (p *planner) planFeatureValues() {
	values := map[string]bool{} // key("value", tenant, feature)
	seen := map[string]bool{}
	nulls := 0
	for _, r := range p.rows("tenant_features") {
		row := "tenant " + r["tenant_id"] + ", feature " + cmp.Or(p.features[r["feature_id"]], r["feature_id"])
		name, ok := p.features[r["feature_id"]]
		id, _ := parseID(r["tenant_id"])
		t := p.tenants[id]
		switch {
		case t == nil && p.isSkipped(id):
			// The tenant itself is listed.
		case t == nil:
			p.unmapped("tenant_features", row, noTenantReason)
		case !ok:
			p.unmapped("tenant_features", row, "there is no such feature, or it is not imported")
		case r["enabled"] == "":
			nulls++
		case seen[key("value", id.String(), name)]:
			p.unmapped("tenant_features", row, "the tenant has a value for it already")
		default:
			seen[key("value", id.String(), name)] = true
			values[key("value", id.String(), name)] = isTrue(r["enabled"])
		}
	}
	if nulls > 0 {
		p.decided("tenant_features", count(nulls, "row"), "is_enabled is null: the feature's default counts, as it did there")
	}
	for _, t := range p.order {
		for _, name := range slices.Sorted(maps.Keys(p.defaults)) {
			value, own := values[key("value", t.plan.ID.String(), name)]
			there, known := p.dst.Features[name]
			from := "tenant_features"
			if !own {
				// Its value there is the source's default: written down where ours
				// would say otherwise.
				if value = p.defaults[name]; !known || value == there {
					continue
				}
				if from = "feature_flags"; t.existing != nil && t.existing.Imported[key("tenant")] {
					continue // ours has been changed since
				}
			}
			if t.existing != nil {
				if t.existing.Features[name] {
					p.plan.Left.Values++
					continue
				}
				if t.existing.Imported[key("feature", name)] {
					p.unmapped("tenant_features", "tenant "+t.plan.ID.String()+", feature "+name, goneReason)
					continue
				}
			}
			t.plan.Features = append(t.plan.Features, FeatureValue{name, value, from})
		}
	}
}

// orderOf is where a sidebar item stands; those that do not say so come last.
func orderOf(r Row) int { return number(r["display_order"], 1000) }

func (p *planner) planSidebar() {
	seen := map[string]bool{}
	permission := func(name string) bool {
		_, ok := p.dst.Permissions[name]
		return ok || slices.ContainsFunc(p.plan.Catalogue.Permissions, func(x Permission) bool { return x.Name == name })
	}
	items := slices.Clone(p.rows("sidebar_features"))
	slices.SortStableFunc(items, func(a, b Row) int {
		return cmp.Or(cmp.Compare(orderOf(a), orderOf(b)), strings.Compare(a["title"], b["title"]))
	})
	for _, r := range items {
		path, row := r["url_path"], r["url_path"]+" "+r["title"]
		gates := setOf()
		dangling := false
		for _, c := range []string{"feature_id", "requires_feature"} {
			if id := r[c]; id != "" {
				name, ok := p.features[id]
				gates[name] = true
				dangling = dangling || !ok
			}
		}
		rank := cmp.Or(r["minimum_role_id"], "1")
		item := SidebarItem{
			ID: freeID(r["id"], p.dst.SidebarIDs), Title: line(r["title"], 100), Path: path, Icon: line(r["icon"], 100),
			Group: cmp.Or(line(r["group_name"], 100), "Other"), Order: orderOf(r), Permission: r["permission"],
		}
		for name := range gates {
			item.Feature = name
		}
		reason := ""
		switch {
		case r["tenant_id"] != "":
			reason = "it is for one tenant: poolproof's sidebar is one catalogue for all"
		case dangling:
			reason = "it is for a feature that does not exist or is not imported"
		case len(gates) > 1:
			reason = "it needs two features, and an item here has one"
		case rank != "0" && rank != "1":
			reason = "minimum_role_id: the rank of a role gives nothing here; give the item a permission"
		case item.Permission != "" && !permission(item.Permission):
			reason = "it requires a permission that does not exist or is not imported"
		case !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \t\r\n") || len(path) > 500 || !tenancy.IsLine(path) || item.Title == "":
			reason = "it needs a title and a path that starts with / and has no blanks"
		case seen[path]:
			reason = "another item has this path"
		case p.dst.Paths[path]:
			p.plan.Left.Sidebar++
			seen[path] = true
			continue
		case p.dst.Imported[key("sidebar", path)]:
			reason = goneReason
		}
		if reason != "" {
			p.unmapped("sidebar_features", row, reason)
			continue
		}
		seen[path] = true
		p.plan.Catalogue.Sidebar = append(p.plan.Catalogue.Sidebar, item)
	}
}

// finish orders what is found and leaves out tenants that nobody could manage.
func (p *planner) finish() {
	for _, t := range p.order {
		if t.plan.Create && !p.chooseAdmin(t) {
			p.unmapped("tenants", "tenant "+t.plan.ID.String()+" "+t.plan.Name+", "+count(len(t.members), "member"),
				"nobody in it could manage its roles; name somebody with --admin")
			continue
		}
		p.plan.Tenants = append(p.plan.Tenants, t.plan)
	}
	for id, n := range p.skipped {
		if n > 0 {
			p.unmapped("profiles", count(n, "profile")+" of tenant "+id.String(), "the tenant is not imported")
		}
	}
	p.plan.fill()
	for _, list := range [][]Finding{p.plan.Decided, p.plan.Unmapped} {
		slices.SortStableFunc(list, func(a, b Finding) int {
			return cmp.Or(strings.Compare(a.Table, b.Table), strings.Compare(a.Reason, b.Reason), strings.Compare(a.Row, b.Row))
		})
	}
}

// fill makes a list that is nil an empty one, for JSON.
func (p *Plan) fill() {
	p.Absent, p.Tenants = orEmpty(p.Absent), orEmpty(p.Tenants)
	p.Decided, p.Unmapped = orEmpty(p.Decided), orEmpty(p.Unmapped)
	p.Catalogue.Permissions, p.Catalogue.Features, p.Catalogue.Sidebar = orEmpty(p.Catalogue.Permissions), orEmpty(p.Catalogue.Features), orEmpty(p.Catalogue.Sidebar)
	for i := range p.Tenants {
		t := &p.Tenants[i]
		t.Roles, t.Members, t.Assignments = orEmpty(t.Roles), orEmpty(t.Members), orEmpty(t.Assignments)
		t.Features, t.Managers = orEmpty(t.Features), orEmpty(t.Managers)
		for j := range t.Roles {
			t.Roles[j].Grants = orEmpty(t.Roles[j].Grants)
		}
	}
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// chooseAdmin picks whom a new tenant is made with: somebody who manages its
// roles by what the source says, a SUPER_ADMIN if there is one, else the
// operator's choice.
func (p *planner) chooseAdmin(t *tenant) bool {
	best := -1
	for i, a := range t.plan.Managers {
		if best < 0 || a.Role == superAdmin && t.plan.Managers[best].Role != superAdmin {
			best = i
		}
	}
	if best >= 0 {
		user := t.plan.Managers[best].User
		i := slices.IndexFunc(t.plan.Members, func(m Member) bool { return m.User == user })
		admin := t.plan.Members[i]
		t.plan.Admin = &admin
		return true
	}
	if p.opt.Admin == uuid.Nil {
		return false
	}
	admin := Member{User: p.opt.Admin.String(), Active: true}
	for _, r := range p.rows("profiles") {
		if userOf(r) == admin.User {
			admin.Email, admin.Name = line(r["email"], 320), line(r["name"], 200)
		}
	}
	t.plan.Admin = &admin
	t.plan.Members = slices.DeleteFunc(t.plan.Members, func(m Member) bool { return m.User == admin.User })
	t.plan.Members = append(t.plan.Members, admin)
	given := Assignment{admin.User, superAdmin, "--admin"}
	t.plan.Assignments = slices.DeleteFunc(t.plan.Assignments, func(a Assignment) bool { return a.User == given.User && a.Role == given.Role })
	t.plan.Assignments = append(t.plan.Assignments, given)
	t.plan.Managers = append(t.plan.Managers, given)
	return true
}

func (p *planner) notCarried(table, column string, n int) {
	if n > 0 {
		p.decided(table, count(n, "row")+" with "+column, "poolproof has no such column: not carried over")
	}
}

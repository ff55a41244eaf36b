package oracle_test

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/oracle"
)

// The people of the model's histories. What they are where a history begins is
// in newCast; nobody knows sam.
var people = []string{"ann", "bob", "cas", "pat", "kim", "adam", "una", "ina", "tom", "glo", "exa", "two", "sam"}

func person(name string) uuid.UUID {
	return uuid.NewMD5(uuid.NameSpaceOID, []byte("person "+name))
}

// Expiries far from each other and from any clock.
var (
	past   = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	nearer = time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
	far    = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// cast is what a history can talk about: everything that was there, by age, and
// what to call it.
type cast struct {
	platform, first                          uuid.UUID // P and A
	mu                                       sync.Mutex
	tenants, permissions, features, sidebars []uuid.UUID
	names                                    map[uuid.UUID]string
	// now is the world as far as it is known, to draw what there is.
	now func() *oracle.World
}

// absent is the id of nothing.
var absent = uuid.MustParse("99999999-9999-4999-8999-999999999999")

// newCast makes the world in which every history begins: the platform P, the
// tenants A, B and C under fresh ids, and people of every kind in them.
func newCast(platform uuid.UUID) (*oracle.World, *cast) {
	w := &oracle.World{
		Platform: platform, Now: time.Now(), Tenants: map[uuid.UUID]*oracle.Tenant{},
		Permissions: map[uuid.UUID]*oracle.Permission{}, Features: map[uuid.UUID]*oracle.Feature{}, Sidebar: map[uuid.UUID]*oracle.SidebarItem{},
	}
	c := &cast{platform: platform, names: map[uuid.UUID]string{absent: "absent"}}
	for _, name := range people {
		c.names[person(name)] = name
	}
	permission := map[string]uuid.UUID{}
	for _, name := range []string{"manage_roles", "manage_users", "manage_permissions", "configure_features", "manage_tenants",
		"view_dashboard", "view_contentmap", "start_contentmap", "view_emailhunter", "start_emailhunter"} {
		id := c.made(&c.permissions, name)
		permission[name] = id
		action, resource, _ := strings.Cut(name, "_")
		w.Permissions[id] = &oracle.Permission{Name: name, Action: action, Resource: resource, Platform: name == "manage_tenants", Seeded: true, Version: 1}
	}
	for _, name := range []string{"contentmap", "emailhunter"} {
		id := c.made(&c.features, name)
		w.Features[id] = &oracle.Feature{Name: name, Seeded: true, Default: name == "emailhunter", Version: 1}
		w.Sidebar[c.made(&c.sidebars, "item "+name)] = &oracle.SidebarItem{
			Title: name, Path: "/" + name, Icon: "map", Group: "Services", Feature: id, Permission: "view_" + name, Version: 1}
	}

	c.tenants, c.names[platform] = []uuid.UUID{platform}, "P"
	p := w.NewTenant(platform, "Platform", "platform", person("pat"), "pat@example.org")
	c.first = c.made(&c.tenants, "A")
	c.made(&c.tenants, "B")
	c.made(&c.tenants, "C")
	tenant := func(n int, boss string) *oracle.Tenant {
		slug := strings.ToLower(c.names[c.tenants[n]])
		t := w.NewTenant(c.tenants[n], "Tenant "+slug, slug, person(boss), boss+"@example.org")
		t.AddRole("Keeper", []uuid.UUID{permission["manage_roles"], permission["manage_users"], permission["manage_permissions"]})
		return t
	}
	const user, admin, superAdmin, globalAdmin, keeper, editor, lead = 1, 2, 3, 4, 5, 6, 7
	until := func(t *oracle.Tenant, name string, role int, when time.Time) {
		t.Profiles[person(name)].Roles[role] = &oracle.Assignment{Until: &when, Version: 1}
	}

	p.AddRole("Operator", []uuid.UUID{permission["manage_tenants"], permission["manage_users"], permission["manage_permissions"]})
	p.Member(person("una"), user)
	p.Member(person("kim"), keeper) // id 5 is Operator there
	p.Member(person("tom"))
	until(p, "tom", keeper, nearer)

	a := tenant(1, "ann")
	a.AddRole("Editor", []uuid.UUID{permission["view_contentmap"], permission["start_contentmap"]}, user)
	a.AddRole("Lead", nil, editor)
	base := a.AddRole("Base", []uuid.UUID{permission["view_dashboard"]}) // held through Lead only
	a.Roles[lead].Parents[base] = true
	a.Member(person("pat"), user)
	a.Member(person("kim"), keeper)
	a.Member(person("adam"), admin, lead)
	a.Member(person("una"), user)
	until(a, "una", keeper, nearer)
	a.Member(person("ina"), admin).Active = false
	a.Member(person("tom"), user)
	until(a, "tom", keeper, far)
	until(a, "tom", superAdmin, nearer)
	a.Member(person("glo"), globalAdmin)
	a.Member(person("exa"), user)
	until(a, "exa", superAdmin, past)
	a.Member(person("two"), editor).External = "idp|two"
	until(a, "two", superAdmin, nearer)

	b := tenant(2, "bob")
	b.Member(person("two"), user)
	until(b, "two", superAdmin, nearer)
	b.Member(person("ina"), admin)
	until(b, "ina", keeper, far)

	t := tenant(3, "cas")
	t.Member(person("kim"), keeper)
	t.Member(person("una"), user)
	until(t, "una", superAdmin, nearer)
	return w, c
}

// made puts something new on a list, under a fresh id if name says what it is.
func (c *cast) made(list *[]uuid.UUID, name string) uuid.UUID {
	id := uuid.New()
	c.note(list, id, name)
	return id
}

// note puts what the service made on a list.
func (c *cast) note(list *[]uuid.UUID, id uuid.UUID, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name == "" {
		name = fmt.Sprintf("new-%d", len(*list))
	}
	*list = append(*list, id)
	c.names[id] = name
}

// any returns those on a list, and an id that is nowhere.
func (c *cast) any(list *[]uuid.UUID) []uuid.UUID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(append([]uuid.UUID{}, *list...), absent)
}

// list is where what an operation makes belongs; nil if it makes nothing with
// an id of that kind.
func (c *cast) list(op oracle.Op) *[]uuid.UUID {
	switch o := op.(type) {
	case oracle.CreateTenant:
		return &c.tenants
	case oracle.CreatePermission:
		return &c.permissions
	case oracle.CreateFeature:
		return &c.features
	case oracle.CreateItem:
		return &c.sidebars
	case oracle.Elsewhere:
		return c.list(o.Op)
	}
	return nil
}

// readable replaces ids by what they are called.
func (c *cast) readable(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, name := range c.names {
		text = strings.ReplaceAll(text, id.String(), name)
	}
	return text
}

package oracle

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Forever is until when somebody holds what has no expiry.
var Forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Everything stands for every permission of scope tenant, those added later
// included.
var Everything = uuid.Nil

// Held is what somebody holds, and until when.
type Held map[uuid.UUID]time.Time

func (h Held) add(permission uuid.UUID, until time.Time) {
	if until.After(h[permission]) {
		h[permission] = until
	}
}

// lacks reports whether any of these is missing, or ends before that time.
func (h Held) lacks(permissions map[uuid.UUID]bool, until time.Time) bool {
	for p := range permissions {
		if h[p].Before(until) {
			return true
		}
	}
	return false
}

func (a *Assignment) until() time.Time {
	if a.Until == nil {
		return Forever
	}
	return *a.Until
}

// lineage is a role and all that it inherits from.
func (t *Tenant) lineage(role int) map[int]bool {
	seen := map[int]bool{}
	var walk func(int)
	walk = func(id int) {
		if t.Roles[id] == nil || seen[id] {
			return
		}
		seen[id] = true
		for parent := range t.Roles[id].Parents {
			walk(parent)
		}
	}
	walk(role)
	return seen
}

// confers is what holding a role means: the permissions.
func (w *World) confers(t *Tenant, role int) map[uuid.UUID]bool {
	out := map[uuid.UUID]bool{}
	for id := range t.lineage(role) {
		for p := range t.Roles[id].Permissions {
			out[p] = true
		}
		if t.Roles[id].All {
			out[Everything] = true
			for p, permission := range w.Permissions {
				if !permission.Platform {
					out[p] = true
				}
			}
		}
	}
	return out
}

// Held is a member's effective set: nothing for who is none, or not active.
func (w *World) Held(tenant, user uuid.UUID) Held {
	h := Held{}
	if t := w.Tenants[tenant]; t != nil && w.isMember(tenant, user) {
		for role, a := range t.Profiles[user].Roles {
			if !a.until().After(w.Now) {
				continue
			}
			for p := range w.confers(t, role) {
				h.add(p, a.until())
			}
		}
	}
	return h
}

func (w *World) isMember(tenant, user uuid.UUID) bool {
	t := w.Tenants[tenant]
	return t != nil && t.Profiles[user] != nil && t.Profiles[user].Active
}

func (w *World) holds(tenant, user uuid.UUID, permission string) bool {
	_, ok := w.Held(tenant, user)[w.permissionNamed(permission)]
	return ok
}

// Keepers are the active members who hold a permission for good, by id; none
// of a tenant that is not there.
func (w *World) Keepers(tenant uuid.UUID, permission string) (keepers []uuid.UUID) {
	if w.Tenants[tenant] == nil {
		return nil
	}
	for user := range w.Tenants[tenant].Profiles {
		if w.Held(tenant, user)[w.permissionNamed(permission)].Equal(Forever) {
			keepers = append(keepers, user)
		}
	}
	slices.SortFunc(keepers, compareIDs)
	return keepers
}

// Broken says which rules a world breaks that must hold in every one.
func (w *World) Broken() (faults []string) {
	for id, t := range w.Tenants {
		if len(w.Keepers(id, "manage_roles")) == 0 {
			faults = append(faults, fmt.Sprintf("nobody keeps manage_roles in %s", id))
		}
		for r, role := range t.Roles {
			for parent := range role.Parents {
				if t.lineage(parent)[r] {
					faults = append(faults, fmt.Sprintf("role %d of %s inherits from itself", r, id))
				}
			}
			for p := range role.Permissions {
				if w.Permissions[p] == nil || w.Permissions[p].Platform && id != w.Platform {
					faults = append(faults, fmt.Sprintf("role %d of %s holds a permission that it cannot: %s", r, id, p))
				}
			}
		}
	}
	if len(w.Keepers(w.Platform, "manage_tenants")) == 0 {
		faults = append(faults, "nobody keeps manage_tenants on the platform")
	}
	return faults
}

// Unearned says who gained by a change what its caller did not hold, or not as
// long. What is new belongs to nobody's hand: permissions that the catalogue
// did not have go to who holds everything, a new tenant to its administrator.
func Unearned(before, after *World, c Caller) (gains []string) {
	own := before.Held(c.Tenant, c.User)
	for id, t := range after.Tenants {
		if before.Tenants[id] == nil {
			continue
		}
		for user := range t.Profiles {
			had := before.Held(id, user)
			for p, until := range after.Held(id, user) {
				known := p == Everything || before.Permissions[p] != nil
				if known && until.After(had[p]) && (id != c.Tenant || own[p].Before(until)) {
					gains = append(gains, fmt.Sprintf("%s gained %s in %s until %s", user, p, id, until.Format(time.DateOnly)))
				}
			}
		}
	}
	return gains
}

// Changed are the tenants whose rows differ, and whether the catalogues or the
// list of tenants do. The audit log and the counter of role ids are no news.
func Changed(before, after *World) (tenants map[uuid.UUID]bool, catalogue bool) {
	tenants = map[uuid.UUID]bool{}
	catalogue = !reflect.DeepEqual(before.Permissions, after.Permissions) ||
		!reflect.DeepEqual(before.Features, after.Features) || !reflect.DeepEqual(before.Sidebar, after.Sidebar)
	for _, id := range slices.Concat(ids(before.Tenants), ids(after.Tenants)) {
		b, a := news(before.Tenants[id]), news(after.Tenants[id])
		if reflect.DeepEqual(b, a) {
			continue
		}
		tenants[id] = true
		catalogue = catalogue || b == nil || a == nil || b.Name != a.Name || b.Slug != a.Slug
	}
	return tenants, catalogue
}

func news(t *Tenant) *Tenant {
	if t == nil {
		return nil
	}
	c := *t
	c.Audit, c.NextRole = nil, 0
	return &c
}

func compareIDs(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }

// ids are a map's keys in order.
func ids[V any](m map[uuid.UUID]V) []uuid.UUID {
	out := make([]uuid.UUID, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	slices.SortFunc(out, compareIDs)
	return out
}

func numbers[V any](m map[int]V) []int {
	out := make([]int, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.SortFunc(out, cmp.Compare[int])
	return out
}

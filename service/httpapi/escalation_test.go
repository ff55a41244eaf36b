package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/tenancy"
)

// Roles that every tenant has.
const (
	roleOfUsers   = 1 // USER
	roleOfAdmins  = 2 // ADMIN
	roleOfSupers  = 3 // SUPER_ADMIN
	roleOfGlobals = 4 // GLOBAL_ADMIN
)

// attempt is one request of somebody who would gain by it what they do not
// hold, or take from a tenant those who manage it.
type attempt struct {
	name    string
	by      uuid.UUID
	tenant  uuid.UUID // X-Tenant-ID; zero: Last Apple
	method  string
	path    string
	body    string
	headers []string         // instead of Authorization and X-Tenant-ID
	arrange func(*testing.T) // before it
	status  int              // of a redirect or of 200 that changed nothing there is no code
	code    tenancy.Code
	says    string // in the detail of the refusal
}

// Words of the refusals: two that have the code forbidden differ in them.
const (
	needs     = "This needs the permission "
	nobody403 = "You can only grant what you hold yourself"
)

func (st *stage) send(t *testing.T, a attempt) answer {
	t.Helper()
	headers := a.headers
	if headers == nil {
		tenant := a.tenant
		if tenant == uuid.Nil {
			tenant = migrations.DemoTenant
		}
		headers = []string{"Authorization", "Bearer " + signed(t, a.by, ""), "X-Tenant-ID", tenant.String()}
	}
	var body io.Reader
	if a.body != "" {
		body = strings.NewReader(a.body)
		headers = append(slices.Clone(headers), "Content-Type", "application/json")
	}
	return send(t, st.url, a.method, a.path, body, headers...)
}

// TestEscalation plays every attempt: it is refused with its code, and nothing
// in the whole database is another than before. Attempts by way of an import are
// in legacy.TestNobodyGains.
func TestEscalation(t *testing.T) {
	st := newStage(t, through(t, pgtest.PgBouncer118Transaction))
	if tables := st.everywhere(t); len(tables) < 14 || tables["epochs"] == "" || tables["audit_log"] == "" {
		t.Fatalf("the fingerprint sees %v", tables)
	}
	attempts := slices.Concat(st.byRole(), st.byParent(t), st.byPermission(), st.byExpiry(), st.byProfile(),
		st.byPlatform(), st.byRevoked(), st.byLastManager(), st.byTricks(t))
	if len(attempts) < 25 {
		t.Fatalf("%d attempts", len(attempts))
	}
	seen := map[string]bool{}
	for _, a := range attempts {
		if seen[a.name] {
			t.Fatalf("two attempts are named %q", a.name)
		}
		seen[a.name] = true
		t.Run(a.name, func(t *testing.T) {
			if a.arrange != nil {
				a.arrange(t)
			}
			before := st.everywhere(t)
			got := st.send(t, a)
			switch {
			case a.code != "":
				if p := got.wantProblem(t, a.status, a.code); !strings.Contains(p.Detail, a.says) {
					t.Errorf("refused for another reason: %s", p.Detail)
				}
			case got.StatusCode != a.status:
				t.Errorf("status %d, want %d: %s", got.StatusCode, a.status, got.body)
			}
			if changed := differences(before, st.everywhere(t)); changed != nil {
				t.Errorf("answered %d, and changed %v", got.StatusCode, changed)
			}
		})
	}
	if t.Failed() {
		return
	}
	t.Logf("%d attempts", len(attempts))
	for _, bad := range []string{`"level":"ERROR"`, "eyJ"} {
		if strings.Contains(st.log.String(), bad) {
			t.Errorf("the log holds %s: %s", bad, st.log)
		}
	}
}

const (
	pathRoles       = "/api/v3/rbac/roles"
	pathPermissions = "/api/v3/rbac/permissions"
	pathProfiles    = "/api/v3/profiles"
	pathFeatures    = "/api/v3/rbac/features"
	pathSidebar     = "/api/v3/rbac/sidebar-items"
	pathTenants     = "/api/v3/rbac-admin/tenants"
)

func pathOfRole(id int) string             { return fmt.Sprintf("%s/%d", pathRoles, id) }
func pathOfGrants(role int) string         { return fmt.Sprintf("/api/v3/rbac-permissions/role/%d", role) }
func pathOfAssignments(u uuid.UUID) string { return "/api/v3/rbac/users/" + u.String() + "/roles" }
func pathOfProfile(u uuid.UUID) string     { return pathProfiles + "/" + u.String() }

func wants(role int) string { return fmt.Sprintf(`{"role_id":%d}`, role) }
func wantsUntil(role int, until string) string {
	return fmt.Sprintf(`{"role_id":%d,"expires_at":%q}`, role, until)
}
func under(parents ...int) string {
	return `{"parent_ids":` + strings.ReplaceAll(fmt.Sprint(parents), " ", ",") + `}`
}

func (st *stage) permission(name string) string {
	return `{"permission_id":"` + st.permissions[name] + `"}`
}

// byRole are attempts to be given a role, or to give one to a second account.
func (st *stage) byRole() []attempt {
	assign := func(name string, by, to uuid.UUID, role int, says string) attempt {
		return attempt{name: name, by: by, method: "POST", path: pathOfAssignments(to), body: wants(role), status: 403, code: tenancy.Forbidden, says: says}
	}
	return []attempt{
		assign("manage_users takes SUPER_ADMIN", st.users, st.users, roleOfSupers, nobody403),
		assign("manage_users gives SUPER_ADMIN to an account of their own", st.users, st.second, roleOfSupers, nobody403),
		assign("manage_users takes GLOBAL_ADMIN", st.users, st.users, roleOfGlobals, nobody403),
		assign("manage_users takes ADMIN", st.users, st.users, roleOfAdmins, nobody403),
		assign("manage_users takes a role of one more permission", st.users, st.users, st.editor, nobody403),
		assign("manage_users takes a role that inherits it", st.users, st.users, st.chief, nobody403),
		assign("manage_users gives a role to who is switched off", st.users, st.away, st.editor, nobody403),
		assign("manage_users takes the role of manage_roles", st.users, st.users, st.roleOfRoles, nobody403),
		assign("ADMIN takes SUPER_ADMIN", st.admin, st.admin, roleOfSupers, "every permission"),
		assign("ADMIN gives all of today's permissions to an account of their own", st.admin, st.second, st.everything, nobody403),
		assign("who holds all of today's permissions takes those of tomorrow", st.today, st.today, roleOfSupers, "every permission"),
		assign("who holds all of today's permissions gives those of tomorrow", st.today, st.second, roleOfGlobals, "every permission"),
		assign("manage_roles takes SUPER_ADMIN", st.roles, st.roles, roleOfSupers, needs+"manage_users"),
		assign("manage_permissions takes SUPER_ADMIN", st.grants, st.grants, roleOfSupers, needs+"manage_users"),
		assign("a member without a role takes one", st.second, st.second, roleOfUsers, needs+"manage_users"),
		{name: "manage_users takes what nobody has", by: st.users, method: "POST", path: pathOfAssignments(st.users), body: wants(999), status: 404, code: tenancy.NotFound},
		{name: "manage_users gives a role to another tenant's member", by: st.users, method: "POST", path: pathOfAssignments(st.voiceBoss), body: wants(roleOfUsers), status: 404, code: tenancy.NotFound},
		{name: "the role that one has, once more", by: st.admin, method: "POST", path: pathOfAssignments(st.admin), body: wants(roleOfAdmins), status: 200},
	}
}

// byParent are attempts by manage_roles to let a role inherit.
func (st *stage) byParent(t *testing.T) []attempt {
	child := func(name, body, says string) attempt {
		return attempt{name: name, by: st.roles, method: "POST", path: pathRoles, body: `{"name":"Mine",` + body[1:], status: 403, code: tenancy.Forbidden, says: says}
	}
	put := func(name string, role int, body, says string) attempt {
		return attempt{name: name, by: st.roles, method: "PUT", path: pathOfRole(role), body: body, status: 403, code: tenancy.Forbidden, says: says}
	}
	all := []attempt{
		child("a new role under SUPER_ADMIN", under(roleOfSupers), "every permission"),
		child("a new role under ADMIN", under(roleOfAdmins), nobody403),
		child("a new role under one's own and one more", under(st.roleOfRoles, st.editor), "start_contentmap"),
		child("a new role under a role that inherits", under(st.chief), "start_contentmap"),
		put("one's own role under SUPER_ADMIN", st.roleOfRoles, under(roleOfSupers), "every permission"),
		put("one's own role under a role that inherits", st.roleOfRoles, under(st.base, st.chief), "start_contentmap"),
		put("a parent of one's own role under SUPER_ADMIN", st.base, under(roleOfSupers), "every permission"),
		put("USER under SUPER_ADMIN", roleOfUsers, under(roleOfSupers), "every permission"),
		put("a role with a parent added among those that it has", st.chief, under(st.editor, roleOfAdmins), nobody403),
		put("a parent and a name at once", st.weak, `{"name":"Harmless",`+under(st.everything)[1:], nobody403),
		put("the name of a system role", roleOfSupers, `{"name":"Nobody's"}`, "cannot be renamed or deleted"),
		{name: "the name of a system role for one's own", by: st.roles, method: "PUT", path: pathOfRole(st.roleOfRoles), body: `{"name":"SUPER_ADMIN"}`, status: 409, code: tenancy.NameTaken},
		{name: "the same with a space", by: st.roles, method: "PUT", path: pathOfRole(st.roleOfRoles), body: `{"name":" SUPER_ADMIN\t"}`, status: 409, code: tenancy.NameTaken},
		{name: "a system role deleted by force", by: st.roles, method: "DELETE", path: pathOfRole(roleOfSupers) + "?force=true", status: 403, code: tenancy.Forbidden, says: "cannot be renamed or deleted"},
		{name: "a circle of two", by: st.roles, method: "PUT", path: pathOfRole(st.editor), body: under(st.chief), status: 409, code: tenancy.Cycle},
		{name: "a role under itself", by: st.roles, method: "PUT", path: pathOfRole(st.roleOfRoles), body: under(st.roleOfRoles), status: 409, code: tenancy.Cycle},
		{name: "a circle through one's own role", by: st.roles, method: "PUT", path: pathOfRole(st.base), body: under(st.roleOfRoles), status: 409, code: tenancy.Cycle},
		{name: "a circle that also gives power", by: st.roles, method: "PUT", path: pathOfRole(st.editor), body: under(st.chief, roleOfSupers), status: 409, code: tenancy.Cycle},
		{name: "a parent that only another tenant has", by: st.roles, method: "PUT", path: pathOfRole(st.roleOfRoles), body: under(4242), status: 404, code: tenancy.NotFound,
			arrange: func(t *testing.T) {
				st.exec(t, `insert into poolproof.roles (tenant_id, id, name, holds_all) values ($1, 4242, 'Foreign', true)`, foreign)
			}},
		{name: "a parent by manage_permissions", by: st.grants, method: "PUT", path: pathOfRole(st.roleOfGrants), body: under(roleOfSupers), status: 403, code: tenancy.Forbidden, says: needs + "manage_roles"},
		{name: "a new role by ADMIN", by: st.admin, method: "POST", path: pathRoles, body: `{"name":"Mine"}`, status: 403, code: tenancy.Forbidden, says: needs + "manage_roles"},
		{name: "all of today's permissions under those of tomorrow", by: st.today, method: "PUT", path: pathOfRole(st.everything), body: under(roleOfSupers), status: 403, code: tenancy.Forbidden, says: "every permission"},
	}
	whatever := put("a parent, if it is any version", st.roleOfRoles, under(roleOfSupers), "every permission")
	whatever.headers = []string{"Authorization", "Bearer " + signed(t, st.roles, ""), "X-Tenant-ID", testTenant, "If-Match", "*"}
	return append(all, whatever)
}

// byPermission are attempts to give permissions to a role.
func (st *stage) byPermission() []attempt {
	grant := func(name string, by uuid.UUID, role int, permission, says string) attempt {
		return attempt{name: name, by: by, method: "POST", path: pathOfGrants(role), body: st.permission(permission), status: 403, code: tenancy.Forbidden, says: says}
	}
	return []attempt{
		grant("manage_users for one's own role", st.grants, st.roleOfGrants, "manage_users", nobody403),
		grant("manage_roles for a parent of one's own role", st.grants, st.base, "manage_roles", nobody403),
		grant("manage_users for USER", st.grants, roleOfUsers, "manage_users", nobody403),
		grant("manage_tenants for one's own role", st.grants, st.roleOfGrants, "manage_tenants", nobody403),
		grant("manage_tenants by SUPER_ADMIN", super, st.weak, "manage_tenants", nobody403),
		grant("manage_tenants for SUPER_ADMIN", super, roleOfSupers, "manage_tenants", nobody403),
		grant("manage_tenants by GLOBAL_ADMIN of an ordinary tenant", st.global, roleOfGlobals, "manage_tenants", nobody403),
		grant("a permission by manage_roles", st.roles, st.roleOfRoles, "manage_users", needs+"manage_permissions"),
		grant("a permission by manage_users", st.users, st.weak, "manage_users", needs+"manage_permissions"),
		grant("a permission by ADMIN", st.admin, roleOfAdmins, "manage_roles", needs+"manage_permissions"),
		{name: "a permission for a role that is not", by: st.grants, method: "POST", path: pathOfGrants(0), body: st.permission("manage_permissions"), status: 404, code: tenancy.NotFound},
		{name: "a permission taken from SUPER_ADMIN", by: st.grants, method: "DELETE", path: pathOfGrants(roleOfSupers) + "/permission/" + st.permissions["manage_users"], status: 400, code: tenancy.Invalid},
		{name: "a feature by manage_permissions", by: st.grants, method: "POST", path: "/api/v4/features/tenant", body: `{"feature_name":"emailhunter","enabled":true}`, status: 403, code: tenancy.Forbidden, says: needs + "configure_features"},
		{name: "a feature by ADMIN, by its id", by: st.admin, method: "POST", path: pathFeatures + "/fd7c2d6d-3c85-5d92-9f94-e967c27983b1/status", body: `{"enabled":true}`, status: 403, code: tenancy.Forbidden, says: needs + "configure_features"},
	}
}

// byExpiry are attempts of a SUPER_ADMIN for an hour to be one for longer.
func (st *stage) byExpiry() []attempt {
	own := pathOfAssignments(st.expiring)
	later := st.until.Add(time.Microsecond).Format(time.RFC3339Nano)
	return []attempt{
		{name: "one's own expiry, later", by: st.expiring, method: "POST", path: own, body: wantsUntil(roleOfSupers, later), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "one's own expiry, later, in another time zone", by: st.expiring, method: "POST", path: own,
			body: wantsUntil(roleOfSupers, st.until.Add(time.Second).In(time.FixedZone("", -12*3600)).Format(time.RFC3339Nano)), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "one's own expiry at the end of time", by: st.expiring, method: "POST", path: own, body: wantsUntil(roleOfSupers, "9999-12-31T23:59:59Z"), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "one's own expiry, infinity", by: st.expiring, method: "POST", path: own, body: wantsUntil(roleOfSupers, "infinity"), status: 400, code: tenancy.Invalid},
		{name: "one's own expiry, year 10000", by: st.expiring, method: "POST", path: own, body: wantsUntil(roleOfSupers, "10000-01-01T00:00:00Z"), status: 400, code: tenancy.Invalid},
		{name: "an expiry before year 1", by: st.expiring, method: "POST", path: own, body: wantsUntil(roleOfSupers, "0000-01-01T00:00:00Z"), status: 400, code: tenancy.Invalid},
		{name: "one's own expiry left out", by: st.expiring, method: "POST", path: own, body: wants(roleOfSupers), status: 200},
		{name: "one's own expiry null", by: st.expiring, method: "POST", path: own, body: fmt.Sprintf(`{"role_id":%d,"expires_at":null}`, roleOfSupers), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "one's own expiry, less than a microsecond later", by: st.expiring, method: "POST", path: own,
			body: wantsUntil(roleOfSupers, st.until.Add(900*time.Nanosecond).Format(time.RFC3339Nano)), status: 200},
		{name: "an equal role for good", by: st.expiring, method: "POST", path: own, body: wants(roleOfGlobals), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "an account of one's own for good", by: st.expiring, method: "POST", path: pathOfAssignments(st.second), body: wants(roleOfSupers), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "an account of one's own for longer", by: st.expiring, method: "POST", path: pathOfAssignments(st.second), body: wantsUntil(roleOfUsers, later), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "a permission for a role, which is for good", by: st.expiring, method: "POST", path: pathOfGrants(st.weak), body: st.permission("manage_users"), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "a parent for a role, which is for good", by: st.expiring, method: "PUT", path: pathOfRole(st.weak), body: under(st.editor), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "a new role under one's own, which is for good", by: st.expiring, method: "POST", path: pathRoles, body: `{"name":"Mine",` + under(roleOfSupers)[1:], status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "an assignment that has ended", by: st.expiring, method: "POST", path: pathOfAssignments(st.ended), body: wants(roleOfSupers), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "an assignment that has ended, by manage_users", by: st.users, method: "POST", path: pathOfAssignments(st.ended), body: wantsUntil(roleOfSupers, later), status: 403, code: tenancy.Forbidden, says: nobody403},
		{name: "an assignment that has ended, by who had it", by: st.ended, method: "POST", path: pathOfAssignments(st.ended), body: wants(roleOfSupers), status: 403, code: tenancy.Forbidden, says: needs + "manage_users"},
		{name: "a role, after one's own has ended", by: st.ended, method: "POST", path: pathRoles, body: `{"name":"Mine"}`, status: 403, code: tenancy.Forbidden, says: needs + "manage_roles"},
		{name: "who is switched off, for good", by: st.expiring, method: "PUT", path: pathOfProfile(st.away), body: `{"active":true}`, status: 403, code: tenancy.Forbidden, says: nobody403},
	}
}

// byProfile are attempts by manage_users to become, or bring back, somebody
// with more power.
func (st *stage) byProfile() []attempt {
	put := func(name string, of uuid.UUID, body string) attempt {
		return attempt{name: name, by: st.users, method: "PUT", path: pathOfProfile(of), body: body, status: 403, code: tenancy.Forbidden, says: nobody403}
	}
	return []attempt{
		put("a SUPER_ADMIN switched on", st.away, `{"active":true}`),
		put("a SUPER_ADMIN switched on among other things", st.away, `{"name":"Eva","active":true,"email":"e@example.org"}`),
		put("the external id of a SUPER_ADMIN", super, `{"external_id":"idp|mine-1"}`),
		put("the external id of a SUPER_ADMIN who has none yet", st.today, `{"external_id":"idp|mine-2"}`),
		put("the external id of a SUPER_ADMIN who is switched off", st.away, `{"external_id":"idp|mine-3"}`),
		put("the external id of a SUPER_ADMIN who is switched off with it", super, `{"active":false,"external_id":"idp|mine-4"}`),
		{name: "the external id of a SUPER_ADMIN for oneself", by: st.users, method: "PUT", path: pathOfProfile(st.users), body: `{"external_id":"idp|boss"}`, status: 409, code: tenancy.NameTaken},
		{name: "the external id of a SUPER_ADMIN for a new account", by: st.users, method: "POST", path: pathProfiles, body: `{"user_id":"` + nobody.String() + `","external_id":"idp|boss"}`, status: 409, code: tenancy.NameTaken},
		{name: "a SUPER_ADMIN's profile made anew", by: st.users, method: "POST", path: pathProfiles, body: `{"user_id":"` + super.String() + `","email":"mine@example.org"}`, status: 409, code: tenancy.NameTaken},
		{name: "the profile of who is switched off made anew", by: st.users, method: "POST", path: pathProfiles, body: `{"user_id":"` + st.away.String() + `","active":true}`, status: 409, code: tenancy.NameTaken},
		{name: "a SUPER_ADMIN's user id for one's own profile", by: st.users, method: "PUT", path: pathOfProfile(st.users), body: `{"user_id":"` + super.String() + `"}`, status: 400, code: tenancy.Invalid},
		{name: "roles in a profile", by: st.users, method: "PUT", path: pathOfProfile(st.users), status: 200,
			body: `{"role":"GLOBAL_ADMIN","role_id":4,"roles":[4],"is_admin":true,"permissions":["*"]}`},
		{name: "a profile by a stranger", by: nobody, method: "POST", path: pathProfiles, body: `{"user_id":"` + nobody.String() + `"}`, status: 403, code: tenancy.NotAMember},
		{name: "a profile by manage_roles", by: st.roles, method: "POST", path: pathProfiles, body: `{"user_id":"` + nobody.String() + `"}`, status: 403, code: tenancy.Forbidden, says: needs + "manage_users"},
		{name: "another tenant's profile", by: st.users, method: "PUT", path: pathOfProfile(st.voiceBoss), body: `{"external_id":"idp|mine-5"}`, status: 404, code: tenancy.NotFound},
		{name: "oneself switched on", by: st.away, method: "PUT", path: pathOfProfile(st.away), body: `{"active":true}`, status: 403, code: tenancy.NotAMember},
		{name: "a role by who is switched off", by: st.away, method: "POST", path: pathOfAssignments(st.second), body: wants(roleOfSupers), status: 403, code: tenancy.NotAMember},
	}
}

// byPlatform are attempts to reach the platform, its catalogues and other
// tenants from an ordinary tenant, and to become its administrator inside it.
func (st *stage) byPlatform() []attempt {
	platform := migrations.DemoPlatform
	var all []attempt
	for _, r := range []struct{ name, method, path, body string }{
		{"list tenants", "GET", pathTenants, ""},
		{"make a tenant", "POST", pathTenants, `{"name":"Mine","admin_user_id":"` + super.String() + `"}`},
		{"rename one's own tenant", "PUT", pathTenants + "/" + testTenant, `{"name":"Platform"}`},
		{"rename the platform", "PUT", pathTenants + "/" + platform.String(), `{"name":"Mine"}`},
		{"delete another tenant", "DELETE", pathTenants + "/" + foreign.String() + "?force=true", ""},
		{"delete one's own tenant", "DELETE", pathTenants + "/" + testTenant + "?force=true", ""},
		{"delete the platform", "DELETE", pathTenants + "/" + platform.String() + "?force=true", ""},
		{"make a permission", "POST", pathPermissions, `{"name":"manage_everything"}`},
		{"make a permission of the platform", "POST", pathPermissions, `{"name":"manage_everything","scope":"platform"}`},
		{"rename a permission", "PUT", pathPermissions + "/" + st.permissions["manage_users"], `{"name":"view_nothing"}`},
		{"describe a permission", "PUT", pathPermissions + "/" + st.permissions["manage_tenants"], `{"description":"mine"}`},
		{"delete a permission", "DELETE", pathPermissions + "/" + st.permissions["manage_tenants"], ""},
		{"make a feature", "POST", pathFeatures, `{"name":"mine","default_enabled":true}`},
		{"switch a default", "PUT", pathFeatures + "/fd7c2d6d-3c85-5d92-9f94-e967c27983b1", `{"default_enabled":true}`},
		{"delete a feature", "DELETE", pathFeatures + "/fd7c2d6d-3c85-5d92-9f94-e967c27983b1", ""},
		{"make a sidebar item", "POST", pathSidebar, `{"title":"Mine","path":"/mine","group":"Other"}`},
		{"take a gate away", "PUT", pathSidebar + "/be2c6422-73ad-5fa1-892a-690f0fd2dcbc", `{"required_permission":null}`},
		{"delete a sidebar item", "DELETE", pathSidebar + "/be2c6422-73ad-5fa1-892a-690f0fd2dcbc", ""},
	} {
		all = append(all,
			attempt{name: r.name + " as SUPER_ADMIN", by: super, method: r.method, path: r.path, body: r.body, status: 403, code: tenancy.Forbidden, says: needs + "manage_tenants"},
			attempt{name: r.name + " as GLOBAL_ADMIN of an ordinary tenant", by: st.global, method: r.method, path: r.path, body: r.body, status: 403, code: tenancy.Forbidden, says: needs + "manage_tenants"},
			attempt{name: r.name + " through X-Tenant-ID", by: super, tenant: platform, method: r.method, path: r.path, body: r.body, status: 403, code: tenancy.NotAMember},
			attempt{name: r.name + " as the platform's SUPER_ADMIN", by: st.platformSuper, tenant: platform, method: r.method, path: r.path, body: r.body, status: 403, code: tenancy.Forbidden, says: needs + "manage_tenants"},
			attempt{name: r.name + " from a tenant that is not one's own", by: migrations.DemoPlatformAdmin, method: r.method, path: r.path, body: r.body, status: 403, code: tenancy.NotAMember})
	}
	inside := func(name string, by uuid.UUID, method, path, body, says string) attempt {
		return attempt{name: name, by: by, tenant: platform, method: method, path: path, body: body, status: 403, code: tenancy.Forbidden, says: says}
	}
	return append(all,
		attempt{name: "GLOBAL_ADMIN of the platform by number", by: st.global, tenant: platform, method: "POST", path: pathOfAssignments(st.global), body: wants(roleOfGlobals), status: 403, code: tenancy.NotAMember},
		attempt{name: "a member of the platform", by: super, tenant: platform, method: "POST", path: pathProfiles, body: `{"user_id":"` + super.String() + `"}`, status: 403, code: tenancy.NotAMember},
		attempt{name: "a role in another tenant", by: super, tenant: foreign, method: "POST", path: pathRoles, body: `{"name":"Mine"}`, status: 403, code: tenancy.NotAMember},
		attempt{name: "a role in another tenant as its plain member", by: st.otherHome, tenant: foreign, method: "POST", path: pathRoles, body: `{"name":"Mine"}`, status: 403, code: tenancy.Forbidden, says: needs + "manage_roles"},
		attempt{name: "SUPER_ADMIN of another tenant as its plain member", by: st.otherHome, tenant: foreign, method: "POST", path: pathOfAssignments(st.otherHome), body: wants(roleOfSupers), status: 403, code: tenancy.Forbidden, says: needs + "manage_users"},
		inside("the platform's SUPER_ADMIN takes GLOBAL_ADMIN", st.platformSuper, "POST", pathOfAssignments(st.platformSuper), wants(roleOfGlobals), "manage_tenants"),
		inside("the platform's SUPER_ADMIN gives manage_tenants", st.platformSuper, "POST", pathOfGrants(roleOfSupers), st.permission("manage_tenants"), nobody403),
		inside("the platform's SUPER_ADMIN under GLOBAL_ADMIN", st.platformSuper, "PUT", pathOfRole(roleOfSupers), under(roleOfGlobals), "manage_tenants"),
		inside("the platform's SUPER_ADMIN switches a GLOBAL_ADMIN on", st.platformSuper, "PUT", pathOfProfile(st.platformAway), `{"active":true}`, "manage_tenants"),
		inside("the platform's SUPER_ADMIN takes a GLOBAL_ADMIN's external id", st.platformSuper, "PUT", pathOfProfile(st.platformBriefly), `{"external_id":"idp|mine-6"}`, "manage_tenants"),
		inside("the platform's clerk takes GLOBAL_ADMIN", st.platformClerk, "POST", pathOfAssignments(st.platformClerk), wants(roleOfGlobals), nobody403),
		inside("the platform's clerk deletes the platform", st.platformClerk, "DELETE", pathTenants+"/"+platform.String()+"?force=true", "", "cannot be deleted"),
		inside("the platform's GLOBAL_ADMIN deletes the platform", migrations.DemoPlatformAdmin, "DELETE", pathTenants+"/"+platform.String()+"?force=true", "", "cannot be deleted"),
		inside("the platform's GLOBAL_ADMIN renames a permission of the product", migrations.DemoPlatformAdmin, "PUT", pathPermissions+"/"+st.permissions["manage_users"], `{"name":"view_nothing"}`, "cannot be renamed or deleted"),
		inside("the platform's GLOBAL_ADMIN for an hour, for good", st.platformBriefly, "POST", pathOfAssignments(st.platformSuper), wants(roleOfGlobals), nobody403),
		inside("the platform's GLOBAL_ADMIN for an hour gives manage_tenants to a role", st.platformBriefly, "POST", pathOfGrants(roleOfUsers), st.permission("manage_tenants"), nobody403),
		attempt{name: "the platform's switched-off GLOBAL_ADMIN makes a tenant", by: st.platformAway, tenant: platform, method: "POST", path: pathTenants, body: `{"name":"Mine","admin_user_id":"` + super.String() + `"}`, status: 403, code: tenancy.NotAMember})
}

// byRevoked are attempts of who was somebody until a moment ago. Each is
// withdrawn by the API itself, and tries at once.
func (st *stage) byRevoked() []attempt {
	do := func(t *testing.T, a attempt) {
		t.Helper()
		a.by = super
		if got := st.send(t, a); got.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s", a.method, a.path, got.StatusCode, got.body)
		}
	}
	raise := func(t *testing.T, user *uuid.UUID) {
		t.Helper()
		*user = st.member(t, migrations.DemoTenant)
		do(t, attempt{method: "POST", path: pathOfAssignments(*user), body: wants(roleOfSupers)})
	}
	var all []attempt
	for _, w := range []struct {
		name     string
		withdraw func(t *testing.T, user uuid.UUID)
		code     tenancy.Code
	}{
		{"revoked", func(t *testing.T, user uuid.UUID) {
			do(t, attempt{method: "DELETE", path: fmt.Sprintf("%s/%d", pathOfAssignments(user), roleOfSupers)})
		}, tenancy.Forbidden},
		{"switched off", func(t *testing.T, user uuid.UUID) {
			do(t, attempt{method: "PUT", path: pathOfProfile(user), body: `{"active":false}`})
		}, tenancy.NotAMember},
		{"deleted", func(t *testing.T, user uuid.UUID) {
			do(t, attempt{method: "DELETE", path: pathOfProfile(user)})
		}, tenancy.NotAMember},
		{"deleted and made anew", func(t *testing.T, user uuid.UUID) {
			do(t, attempt{method: "DELETE", path: pathOfProfile(user)})
			do(t, attempt{method: "POST", path: pathProfiles, body: `{"user_id":"` + user.String() + `"}`})
		}, tenancy.Forbidden},
	} {
		for _, r := range []struct{ name, method, path, body string }{
			{"gives SUPER_ADMIN", "POST", pathOfAssignments(st.second), wants(roleOfSupers)},
			{"makes a role", "POST", pathRoles, `{"name":"Mine"}`},
			{"gives a permission", "POST", pathOfGrants(st.weak), st.permission("manage_users")},
			{"switches a SUPER_ADMIN on", "PUT", pathOfProfile(st.away), `{"active":true}`},
			{"switches a feature", "POST", "/api/v4/features/tenant", `{"feature_name":"emailhunter","enabled":true}`},
		} {
			var user uuid.UUID
			a := attempt{name: "a moment ago " + w.name + ", " + r.name, method: r.method, path: r.path, body: r.body, status: 403, code: w.code}
			a.headers = []string{"Authorization", "", "X-Tenant-ID", testTenant}
			a.arrange = func(t *testing.T) {
				raise(t, &user)
				w.withdraw(t, user)
				a.headers[1] = "Bearer " + signed(t, user, "")
			}
			all = append(all, a)
		}
	}
	return all
}

// byLastManager are attempts to leave a tenant without who manages its roles,
// or the platform without who manages tenants.
func (st *stage) byLastManager() []attempt {
	platform, admin := migrations.DemoPlatform, migrations.DemoPlatformAdmin
	last := func(name string, by, tenant uuid.UUID, method, path, body string) attempt {
		return attempt{name: name, by: by, tenant: tenant, method: method, path: path, body: body, status: 409, code: tenancy.LastManager}
	}
	role := func(u uuid.UUID, id int) string { return fmt.Sprintf("%s/%d", pathOfAssignments(u), id) }
	soon := time.Now().Add(time.Hour).Format(time.RFC3339)
	return []attempt{
		last("ADMIN takes the last SUPER_ADMIN's role", st.voiceAdmin, foreign, "DELETE", role(st.voiceBoss, roleOfSupers), ""),
		last("ADMIN switches the last SUPER_ADMIN off", st.voiceAdmin, foreign, "PUT", pathOfProfile(st.voiceBoss), `{"active":false}`),
		last("ADMIN deletes the last SUPER_ADMIN", st.voiceAdmin, foreign, "DELETE", pathOfProfile(st.voiceBoss), ""),
		last("ADMIN lets the last SUPER_ADMIN end", st.voiceAdmin, foreign, "POST", pathOfAssignments(st.voiceBoss), wantsUntil(roleOfSupers, soon)),
		last("the last SUPER_ADMIN resigns", st.voiceBoss, foreign, "DELETE", role(st.voiceBoss, roleOfSupers), ""),
		last("force delete of the last manager's role", st.keeper, st.third, "DELETE", pathOfRole(st.roleOfKeeper)+"?force=true", ""),
		last("force delete of its parent", st.keeper, st.third, "DELETE", pathOfRole(st.parentOfKeeper)+"?force=true", ""),
		last("the last manager's role without its parent", st.keeper, st.third, "PUT", pathOfRole(st.roleOfKeeper), under()),
		last("manage_roles taken from it", st.keeper, st.third, "DELETE", pathOfGrants(st.parentOfKeeper)+"/permission/"+st.permissions["manage_roles"], ""),
		last("a SUPER_ADMIN for a day ends who is one for good", st.otherHome, st.third, "DELETE", role(st.keeper, st.roleOfKeeper), ""),
		last("the platform's last GLOBAL_ADMIN resigns", admin, platform, "DELETE", role(admin, roleOfGlobals), ""),
		last("the platform's last GLOBAL_ADMIN goes", admin, platform, "PUT", pathOfProfile(admin), `{"active":false}`),
		last("the platform's last GLOBAL_ADMIN is deleted by its SUPER_ADMIN", st.platformSuper, platform, "DELETE", pathOfProfile(admin), ""),
		last("the platform's last GLOBAL_ADMIN is ended by its clerk", st.platformClerk, platform, "POST", pathOfAssignments(admin), wantsUntil(roleOfGlobals, soon)),
		last("the platform's last GLOBAL_ADMIN is removed by one for an hour", st.platformBriefly, platform, "DELETE", role(admin, roleOfGlobals), ""),
		{name: "manage_tenants taken from GLOBAL_ADMIN", by: admin, tenant: platform, method: "DELETE", path: pathOfGrants(roleOfGlobals) + "/permission/" + st.permissions["manage_tenants"], status: 400, code: tenancy.Invalid},
		{name: "a role with members deleted without force", by: super, method: "DELETE", path: pathOfRole(st.roleOfRoles), status: 409, code: tenancy.RoleHasMembers},
	}
}

// byTricks are attempts to be read differently by what checks and what acts:
// JSON, paths, headers, tokens.
func (st *stage) byTricks(t *testing.T) []attempt {
	other, platform := foreign.String(), migrations.DemoPlatform.String()
	json := func(name string, by uuid.UUID, method, path, body string, status int, code tenancy.Code) attempt {
		return attempt{name: name, by: by, method: method, path: path, body: body, status: status, code: code}
	}
	mine := pathOfRole(st.roleOfRoles)
	path := func(name, method, path string, status int, code tenancy.Code) attempt {
		return attempt{name: name, by: st.roles, method: method, path: path, body: under(roleOfSupers), status: status, code: code}
	}
	with := func(name string, headers []string, status int, code tenancy.Code) attempt {
		return attempt{name: name, method: "POST", path: pathTenants, body: `{"name":"Mine","admin_user_id":"` + super.String() + `"}`, headers: headers, status: status, code: code}
	}
	bearer := "Bearer " + signed(t, super, "")
	claims := jwt.MapClaims{
		"iss": testIssuer, "aud": testAudience, "sub": st.second.String(), "exp": time.Now().Add(time.Hour).Unix(), "tenant_id": testTenant,
		"role": "service_role", "roles": []string{"GLOBAL_ADMIN"}, "permissions": []string{"*"}, "is_admin": true,
		"app_metadata": map[string]any{"tenant_id": platform, "role": "GLOBAL_ADMIN", "permissions": []string{"manage_tenants"}},
	}
	key := func(method jwt.SigningMethod, key any) string {
		raw, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + raw
	}
	return []attempt{
		// Names count by the letter, and one that is there twice is refused. (By itself
		// encoding/json takes names in any case, and of duplicates the last.)
		json("a role twice, the last one strong", st.users, "POST", pathOfAssignments(st.users), fmt.Sprintf(`{"role_id":%d,"role_id":3}`, st.weak), 400, tenancy.Invalid),
		json("a role in capitals", st.users, "POST", pathOfAssignments(st.users), `{"ROLE_ID":3}`, 400, tenancy.Invalid),
		json("a role in both cases", st.users, "POST", pathOfAssignments(st.users), fmt.Sprintf(`{"role_id":3,"Role_Id":%d}`, st.weak), 403, tenancy.Forbidden),
		json("a role whose name is written with an escape", st.users, "POST", pathOfAssignments(st.users), fmt.Sprintf(`{"role_id":%d,"role_\u0069d":3}`, st.weak), 400, tenancy.Invalid),
		json("a role and then null", st.users, "POST", pathOfAssignments(st.users), `{"role_id":3,"role_id":null}`, 400, tenancy.Invalid),
		json("a role as text", st.users, "POST", pathOfAssignments(st.users), `{"role_id":"3"}`, 400, tenancy.Invalid),
		json("a role as a fraction", st.users, "POST", pathOfAssignments(st.users), `{"role_id":3.0}`, 400, tenancy.Invalid),
		json("a role beyond 32 bits", st.users, "POST", pathOfAssignments(st.users), `{"role_id":4294967299}`, 400, tenancy.Invalid),
		json("a negative role", st.users, "POST", pathOfAssignments(st.users), `{"role_id":-3}`, 404, tenancy.NotFound),
		json("an expiry and then null", st.expiring, "POST", pathOfAssignments(st.second), `{"role_id":3,"expires_at":"`+st.until.Format(time.RFC3339Nano)+`","expires_at":null}`, 400, tenancy.Invalid),
		json("an expiry with a long s", st.expiring, "POST", pathOfAssignments(st.second), `{"role_id":3,"expireſ_at":"`+st.until.Format(time.RFC3339Nano)+`"}`, 403, tenancy.Forbidden),
		json("a permission in capitals", st.grants, "POST", pathOfGrants(st.roleOfGrants), strings.ToUpper(`{"permission_id":"`)+st.permissions["manage_users"]+`"}`, 400, tenancy.Invalid),
		json("a permission twice, the last one not held", st.grants, "POST", pathOfGrants(st.roleOfGrants),
			`{"permission_id":"`+st.permissions["manage_permissions"]+`","permission_id":"`+st.permissions["manage_users"]+`"}`, 400, tenancy.Invalid),
		json("several permissions", st.grants, "POST", pathOfGrants(st.roleOfGrants), `{"permission_id":["`+st.permissions["manage_permissions"]+`","`+st.permissions["manage_users"]+`"]}`, 400, tenancy.Invalid),
		json("parents in both cases", st.roles, "PUT", mine, `{"parent_ids":[3],"Parent_IDs":[]}`, 403, tenancy.Forbidden),
		json("parents, then a null in their place", st.roles, "PUT", mine, `{"parent_ids":[3],"parent_ids":[null]}`, 400, tenancy.Invalid),
		json("a null among parents", st.roles, "PUT", mine, `{"parent_ids":[null]}`, 404, tenancy.NotFound),
		json("too many parents", st.roles, "PUT", mine, `{"parent_ids":[`+strings.Repeat("1,", 100)+`3]}`, 400, tenancy.Invalid),
		json("active in capitals", st.users, "PUT", pathOfProfile(st.away), `{"active":true,"ACTIVE":false}`, 403, tenancy.Forbidden),
		json("active as text", st.users, "PUT", pathOfProfile(st.away), `{"active":"true"}`, 400, tenancy.Invalid),
		json("two bodies", st.users, "POST", pathOfAssignments(st.users), fmt.Sprintf(`{"role_id":%d}{"role_id":3}`, st.weak), 400, tenancy.Invalid),
		json("the platform's tenant_id in the body", super, "POST", pathRoles, `{"name":"Mine","tenant_id":"`+platform+`"}`, 400, tenancy.Invalid),
		json("another tenant_id in capitals", super, "POST", pathRoles, `{"name":"Mine","TENANT_ID":"`+other+`"}`, 400, tenancy.Invalid),
		json("another tenant_id after one's own", super, "POST", pathRoles, `{"name":"Mine","tenant_id":"`+testTenant+`","Tenant_Id":"`+other+`"}`, 400, tenancy.Invalid),
		json("another tenant_id in the query", super, "POST", pathRoles+"?tenant_id="+other, `{"name":"Mine"}`, 400, tenancy.Invalid),
		json("another tenant_id in the query, after one's own", super, "POST", pathRoles+"?tenant_id="+testTenant+"&tenant_id="+other, `{"name":"Mine"}`, 400, tenancy.Invalid),
		json("another tenant_id in the query, encoded", super, "POST", pathRoles+"?tenant%5Fid="+other, `{"name":"Mine"}`, 400, tenancy.Invalid),
		json("another tenant_id in a query that cannot be read", super, "POST", pathRoles+"?tenant_id="+other+";x", `{"name":"Mine"}`, 400, tenancy.Invalid),
		json("force by something like it", super, "DELETE", pathOfRole(st.roleOfRoles)+"?FORCE=true", "", 409, tenancy.RoleHasMembers),
		json("force twice", super, "DELETE", pathOfRole(st.roleOfRoles)+"?force=false&force=true", "", 400, tenancy.Invalid),

		path("an encoded slash behind a role", "PUT", mine+"%2f", 404, tenancy.NotFound),
		path("another role behind an encoded slash", "PUT", pathOfRole(st.weak)+"%2f..%2f"+strconv.Itoa(st.roleOfRoles), 404, tenancy.NotFound),
		path("a slash behind a role", "PUT", mine+"/", 403, tenancy.Forbidden),
		path("an encoded digit", "PUT", pathRoles+"/%3"+strconv.Itoa(st.roleOfRoles), 403, tenancy.Forbidden),
		path("a parameter behind a role", "PUT", mine+";id=3", 404, tenancy.NotFound),
		path("a signed role", "PUT", pathRoles+"/+"+strconv.Itoa(st.roleOfRoles), 404, tenancy.NotFound),
		path("capitals in the path", "PUT", strings.ToUpper(mine), 404, tenancy.NotFound),
		path("a NUL behind a role", "PUT", mine+"%00", 404, tenancy.NotFound),
		path("two slashes before a role", "PUT", strings.Replace(mine, "roles/", "roles//", 1), http.StatusTemporaryRedirect, ""),
		path("two slashes first", "PUT", "/"+mine, http.StatusTemporaryRedirect, ""),
		path("dots", "PUT", pathRoles+"/x/../"+strconv.Itoa(st.roleOfRoles), http.StatusTemporaryRedirect, ""),
		path("encoded dots", "PUT", pathRoles+"/x/%2e%2e/"+strconv.Itoa(st.roleOfRoles), 404, tenancy.NotFound),
		path("a method that overrides", "POST", mine+"?_method=PUT", 405, methodNotAllowed),
		{name: "a method that overrides, as a header", method: "POST", path: mine, body: under(roleOfSupers), status: 405, code: methodNotAllowed,
			headers: []string{"Authorization", "Bearer " + signed(t, st.roles, ""), "X-Tenant-ID", testTenant, "X-HTTP-Method-Override", "PUT"}},
		{name: "a form in place of JSON", method: "POST", path: pathOfAssignments(st.users), body: "role_id=3", status: 400, code: tenancy.Invalid, by: st.users},

		with("two tenants in the headers", []string{"Authorization", bearer, "X-Tenant-ID", testTenant, "X-Tenant-ID", platform}, 400, tenancy.Invalid),
		with("two tenants in one header", []string{"Authorization", bearer, "X-Tenant-ID", testTenant + ", " + platform}, 400, tenancy.Invalid),
		with("two tokens", []string{"Authorization", bearer, "Authorization", "Bearer " + signed(t, migrations.DemoPlatformAdmin, ""), "X-Tenant-ID", platform}, 401, tenancy.Unauthenticated),
		with("a header that is said to be trusted", []string{"Authorization", bearer, "X-Tenant-ID", testTenant, "X-User-ID", migrations.DemoPlatformAdmin.String(), "X-Forwarded-User", migrations.DemoPlatformAdmin.String()}, 403, tenancy.Forbidden),
		with("roles and permissions in a token", []string{"Authorization", key(jwt.SigningMethodHS256, testSecret)}, 403, tenancy.Forbidden),
		with("the platform in a token", []string{"Authorization", "Bearer " + signed(t, super, platform)}, 403, tenancy.NotAMember),
		with("a token of nobody's", []string{"Authorization", key(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), "X-Tenant-ID", platform}, 401, tenancy.Unauthenticated),
		with("a token of another secret", []string{"Authorization", key(jwt.SigningMethodHS256, []byte("another secret of at least 32 bytes")), "X-Tenant-ID", platform}, 401, tenancy.Unauthenticated),
		with("no token", []string{"X-Tenant-ID", platform}, 401, tenancy.Unauthenticated),
	}
}

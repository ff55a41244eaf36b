package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

// dialect is how a generation of the original's pages asks.
type dialect struct {
	name     string
	query    string // behind every address
	slash    string // behind every path
	inHeader bool   // the tenant; else it is in the token
}

var dialects = []dialect{
	// From March 2025: three parameters that were to reach the driver, and the tenant as a header.
	{"with parameters", "?raw_sql=true&no_prepare=true&statement_cache_size=0", "", true},
	// Before: no header, and the slash that FastAPI's routers had.
	{"with slashes", "", "/", false},
}

// browser is one of those pages: it asks, and takes apart what is answered.
type browser struct {
	t       *testing.T
	url     string
	dialect dialect
	headers []string
}

func (d dialect) open(t *testing.T, s *service, user, tenant uuid.UUID) *browser {
	b := &browser{t: t, url: s.url, dialect: d}
	if d.inHeader {
		b.headers = []string{"Authorization", "Bearer " + signed(t, user, ""), "X-Tenant-ID", tenant.String(), "Content-Type", "application/json"}
	} else {
		b.headers = []string{"Authorization", "Bearer " + signed(t, user, tenant.String()), "Content-Type", "application/json"}
	}
	return b
}

// row is an object as a page sees it.
type row = map[string]any

// ask sends a request and returns its answer as the page's JSON.parse does.
func (b *browser) ask(method, path, body string, status int) any {
	b.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	a := send(b.t, b.url, method, path+b.dialect.slash+b.dialect.query, r, b.headers...)
	if a.StatusCode != status {
		b.t.Fatalf("%s %s: %d %s", method, path, a.StatusCode, a.body)
	}
	if got := a.Header.Get("Content-Type"); status < 300 && got != "application/json" {
		b.t.Errorf("%s %s: Content-Type %q", method, path, got)
	}
	var v any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		b.t.Fatalf("%s %s: %v: %s", method, path, err, a.body)
	}
	return v
}

// list gets v3's {"data": [...]}.
func (b *browser) list(path string) []row {
	b.t.Helper()
	return b.rows(b.object(b.ask("GET", path, "", 200))["data"])
}

// item gets v3's {"data": {...}}, of a read or a write.
func (b *browser) item(method, path, body string, status int) row {
	b.t.Helper()
	return b.object(b.object(b.ask(method, path, body, status))["data"])
}

// done is a write after which the page shows the message and reads its list again.
func (b *browser) done(method, path, body string) {
	b.t.Helper()
	if text, ok := b.item(method, path, body, 200)["message"].(string); !ok || text == "" {
		b.t.Errorf("%s %s: no message", method, path)
	}
}

// refused is a write whose error the page shows: it tries data.message, then
// data.detail. Of the original's five shapes of errors RFC 9457 has the latter.
func (b *browser) refused(method, path, body string, status int) {
	b.t.Helper()
	if text, ok := b.object(b.ask(method, path, body, status))["detail"].(string); !ok || text == "" {
		b.t.Errorf("%s %s: no detail to show", method, path)
	}
}

func (b *browser) object(v any) row {
	b.t.Helper()
	o, ok := v.(row)
	if !ok {
		b.t.Fatalf("no object: %v", v)
	}
	return o
}

func (b *browser) rows(v any) []row {
	b.t.Helper()
	all, ok := v.([]any)
	if !ok {
		b.t.Fatalf("no list: %v", v)
	}
	list := make([]row, 0, len(all))
	for _, v := range all {
		list = append(list, b.object(v))
	}
	return list
}

// column is what a page takes a field for.
type column func(any) bool

func isText(v any) bool { _, ok := v.(string); return ok }
func isBool(v any) bool { _, ok := v.(bool); return ok }
func isInt(v any) bool  { n, ok := v.(float64); return ok && n == float64(int(n)) }
func isUUID(v any) bool {
	text, ok := v.(string)
	return ok && len(text) == 36 && uuid.Validate(text) == nil
}
func isTime(v any) bool { // new Date(...) reads it
	text, ok := v.(string)
	_, err := time.Parse(time.RFC3339, text)
	return ok && err == nil
}
func orNull(c column) column { return func(v any) bool { return v == nil || c(v) } }

// draws checks that each row has what the page's columns show.
func (b *browser) draws(rows []row, columns map[string]column) {
	b.t.Helper()
	if len(rows) == 0 {
		b.t.Fatal("no rows to draw")
	}
	for _, r := range rows {
		for name, is := range columns {
			if v, ok := r[name]; !ok || !is(v) {
				b.t.Errorf("the column %s of %v", name, r)
			}
		}
	}
}

// find returns the row with a field of that value, nil if there is none.
func find(rows []row, field string, value any) row {
	for _, r := range rows {
		if r[field] == value {
			return r
		}
	}
	return nil
}

// shows and lacks compare a list with what was just done.
func (b *browser) shows(rows []row, field string, value any, want row) {
	b.t.Helper()
	r := find(rows, field, value)
	for k, v := range want {
		if r == nil || !cmp.Equal(r[k], v) {
			b.t.Errorf("the list has %v for %v, want %v", r, value, want)
			return
		}
	}
}

func (b *browser) lacks(rows []row, field string, value any) {
	b.t.Helper()
	if r := find(rows, field, value); r != nil {
		b.t.Errorf("the list still has %v", r)
	}
}

// lamps are the navbar's: the service's, which every page asks first.
func (b *browser) lamps() {
	b.t.Helper()
	a := send(b.t, b.url, "GET", "/health"+b.dialect.query, nil) // without a token
	if a.StatusCode != 200 || a.body != `{"status":"ok"}`+"\n" {
		b.t.Errorf("/health: %d %s", a.StatusCode, a.body)
	}
}

// TestReplay sends what the original application's pages send, in their order,
// in both of their dialects, and looks at the answers as they do: each column
// is there with its type, what was made is in the next list, what was deleted
// is not. Where the original contradicts itself, our contract decides; the
// comments say where.
func TestReplay(t *testing.T) {
	s := newService(t, through(t, pgtest.PgBouncer118Transaction))
	pages := map[string]func(t *testing.T, d dialect, s *service){
		"test-rbac-role.html":             replayRoles,
		"test-rbac-permission.html":       replayPermissions,
		"test-rbac-role-permissions.html": replayRolePermissions,
		"test-rbac-user-role.html":        replayUserRoles,
		"test-rbac-profile.html":          replayProfiles,
		"test-rbac-feature-flags.html":    replayFeatureFlags,
		"test-rbac-tenants.html":          replayTenants,
		"test-rbac-admin.html":            replayAdmin,
		"test-rbac-sidebar.html":          replaySidebar,
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		for _, d := range dialects {
			t.Run(name+" "+d.name, func(t *testing.T) { pages[name](t, d, s) })
		}
	}
	for _, bad := range []string{"prepared statement", `"level":"ERROR"`, `"level":"WARN"`} {
		if strings.Contains(s.log.String(), bad) {
			t.Errorf("the log holds %s: %s", bad, s.log)
		}
	}
}

var (
	lastApple  = migrations.DemoTenant
	ofPlatform = migrations.DemoPlatform
)

// ID, Name, Description, Tenant ID, Created At. A POST answered 200 or, so
// another document, 201: ours is 201, which the page's response.ok takes.
func replayRoles(t *testing.T, d dialect, s *service) {
	b := d.open(t, s, super, lastApple)
	columns := map[string]column{"id": isInt, "name": isText, "description": isText, "tenant_id": isUUID, "created_at": isTime}
	b.lamps()
	all := b.list("/api/v3/rbac/roles") // the token's lamp
	b.draws(all, columns)
	for _, r := range all {
		if r["tenant_id"] != testTenant { // one document lists those of all tenants: not here
			t.Errorf("a role of %v", r["tenant_id"])
		}
	}
	for _, system := range []string{"USER", "ADMIN", "SUPER_ADMIN", "GLOBAL_ADMIN"} {
		b.shows(all, "name", system, row{"tenant_id": testTenant})
	}
	made := b.item("POST", "/api/v3/rbac/roles", `{"name":"Page role","description":"made by a page","tenant_id":"`+testTenant+`"}`, 201)
	b.draws([]row{made}, columns)
	b.shows(b.list("/api/v3/rbac/roles"), "id", made["id"], made)
	b.refused("POST", "/api/v3/rbac/roles", `{"name":"Page role"}`, 409)

	one := fmt.Sprintf("/api/v3/rbac/roles/%v", made["id"])
	b.shows([]row{b.item("GET", one, "", 200)}, "id", made["id"], made) // the modal
	changed := b.item("PUT", one, `{"name":"Page role 2","description":"changed"}`, 200)
	b.draws([]row{changed}, columns)
	b.shows(b.list("/api/v3/rbac/roles"), "id", made["id"], row{"name": "Page role 2", "description": "changed", "created_at": made["created_at"]})
	b.done("DELETE", one, "")
	b.lacks(b.list("/api/v3/rbac/roles"), "id", made["id"])
	b.refused("DELETE", one, "", 404)
}

// ID, Name, Description. Permissions are a catalogue of all tenants, so that
// the platform's administrator keeps it; the original let any administrator.
// Its created_at and updated_at are not ours: no page shows them.
func replayPermissions(t *testing.T, d dialect, s *service) {
	const path = "/api/v3/rbac/permissions"
	b := d.open(t, s, migrations.DemoPlatformAdmin, ofPlatform)
	columns := map[string]column{"id": isUUID, "name": isText, "description": isText}
	b.lamps()
	all := b.list(path)
	b.draws(all, columns)
	b.shows(all, "id", "a388a686-530a-4137-b94f-3aaef5f4d34e", row{"name": "view_dashboard"})
	made := b.item("POST", path, `{"name":"access_page_scraper","description":"made by a page"}`, 201)
	b.draws([]row{made}, columns)
	b.shows(b.list(path), "id", made["id"], made)
	b.refused("POST", path, `{"name":"access_page_scraper"}`, 409)
	b.item("PUT", path+"/"+made["id"].(string), `{"name":"access_sitemap_scanner","description":"changed"}`, 200)
	b.shows(b.list(path), "id", made["id"], row{"name": "access_sitemap_scanner", "description": "changed"})
	b.done("DELETE", path+"/"+made["id"].(string), "")
	b.lacks(b.list(path), "id", made["id"])
}

// A role is picked; its permissions are shown, given and taken. Documents have
// them bare or in {"data": ...}: v3 has the envelope.
func replayRolePermissions(t *testing.T, d dialect, s *service) {
	b := d.open(t, s, super, lastApple)
	b.lamps()
	picked := find(b.list("/api/v3/rbac/roles"), "name", "Content editor")
	permissions := b.list("/api/v3/rbac/permissions")
	b.draws(permissions, map[string]column{"id": isUUID, "name": isText})
	chosen := find(permissions, "name", "manage_api_keys")
	path := fmt.Sprintf("/api/v3/rbac-permissions/role/%v", picked["id"])
	before := b.list(path)
	b.draws(before, map[string]column{"id": isUUID, "name": isText, "description": isText})
	b.lacks(before, "id", chosen["id"])
	give := fmt.Sprintf(`{"permission_id":%q}`, chosen["id"])
	b.done("POST", path, give)
	b.shows(b.list(path), "id", chosen["id"], row{"name": "manage_api_keys"})
	b.done("POST", path, give) // "false when already assigned" there: here it is done, and done again
	if after := b.list(path); len(after) != len(before)+1 {
		t.Errorf("%d permissions after %d and one more", len(after), len(before))
	}
	b.done("DELETE", path+"/permission/"+chosen["id"].(string), "")
	b.lacks(b.list(path), "id", chosen["id"])
}

// User, Role, Tenant, Created At, from two dropdowns, joined in the browser:
// every assignment's user is among the profiles, and its role among the roles.
// A profile's key is user_id; the original's documents have id and user_id.
// role_id is a number; one document has it as text.
func replayUserRoles(t *testing.T, d dialect, s *service) {
	const path = "/api/v3/rbac/user-roles"
	b := d.open(t, s, super, lastApple)
	b.lamps()
	users, roles := b.list("/api/v3/profiles"), b.list("/api/v3/rbac/roles")
	b.draws(users, map[string]column{"user_id": isUUID, "name": isText, "email": isText})
	b.draws(roles, map[string]column{"id": isInt, "name": isText})
	all := b.list(path)
	b.draws(all, map[string]column{"user_id": isUUID, "role_id": isInt, "role_name": isText, "created_at": isTime, "expires_at": orNull(isTime)})
	for _, a := range all {
		role := find(roles, "id", a["role_id"])
		if find(users, "user_id", a["user_id"]) == nil || role == nil || role["name"] != a["role_name"] || role["tenant_id"] != testTenant {
			t.Errorf("nothing to join %v with", a)
		}
	}
	user, role := find(users, "email", "chloe@last-apple.example"), find(roles, "name", "Auditor")
	of := "/api/v3/rbac/users/" + user["user_id"].(string) + "/roles"
	give := fmt.Sprintf(`{"role_id":%v,"tenant_id":%q}`, role["id"], testTenant)
	made := b.item("POST", of, give, 201)
	b.draws([]row{made}, map[string]column{"user_id": isUUID, "role_id": isInt, "role_name": isText, "created_at": isTime})
	held := func(rows []row) row {
		return find(slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r["user_id"] != user["user_id"] }), "role_id", role["id"])
	}
	if got := held(b.list(path)); got == nil || got["role_name"] != "Auditor" {
		t.Errorf("the list has %v for what was assigned", got)
	}
	b.shows(b.list(of), "role_id", role["id"], row{"role_name": "Auditor", "user_id": user["user_id"]})
	b.item("POST", of, give, 200) // again
	b.done("DELETE", fmt.Sprintf("%s/%v", of, role["id"]), "")
	if got := held(b.list(path)); got != nil {
		t.Errorf("the list still has %v", got)
	}
	b.lacks(b.list(of), "role_id", role["id"])
}

// A profile is the membership of somebody who signs in, so that its id is
// theirs and has to be said; in the original it was made up, or was not. role
// and bio are not ours and ignored: roles are assigned.
func replayProfiles(t *testing.T, d dialect, s *service) {
	const path = "/api/v3/profiles"
	b := d.open(t, s, super, lastApple)
	columns := map[string]column{"user_id": isUUID, "name": isText, "email": isText, "active": isBool, "created_at": isTime}
	b.lamps()
	all := b.list(path)
	b.draws(all, columns)
	b.shows(all, "email", "eva@last-apple.example", row{"active": false})
	id := uuid.NewString()
	body := `{"user_id":"` + id + `","name":"Pia Page","email":"pia@last-apple.example","role":"GLOBAL_ADMIN","bio":"b","tenant_id":"` + testTenant + `","active":true}`
	made := b.item("POST", path, body, 201)
	b.draws([]row{made}, columns)
	b.shows(b.list(path), "user_id", id, row{"name": "Pia Page", "email": "pia@last-apple.example", "active": true})
	if roles := b.list("/api/v3/rbac/users/" + id + "/roles"); len(roles) != 0 {
		t.Errorf("a new profile holds %v", roles)
	}
	b.shows([]row{b.item("GET", path+"/"+id, "", 200)}, "user_id", id, made)
	b.item("PUT", path+"/"+id, `{"name":"Pia P. Page","email":"pia@last-apple.example","role":"ADMIN","bio":"c","active":false}`, 200)
	b.shows(b.list(path), "user_id", id, row{"name": "Pia P. Page", "active": false})
	b.done("DELETE", path+"/"+id, "")
	b.lacks(b.list(path), "user_id", id)
	b.refused("GET", path+"/"+id, "", 404)
}

// The flags are a catalogue, too; their value for a tenant is the tenant's.
func replayFeatureFlags(t *testing.T, d dialect, s *service) {
	const path = "/api/v3/rbac/features"
	b := d.open(t, s, migrations.DemoPlatformAdmin, ofPlatform)
	columns := map[string]column{"id": isUUID, "name": isText, "description": isText, "default_enabled": isBool}
	b.lamps()
	all := b.list(path)
	b.draws(all, columns)
	b.shows(all, "id", "2a2f67fd-3ebb-4645-8d48-bf2b5bc7d6c3", row{"name": "contentmap", "default_enabled": false})
	made := b.item("POST", path, `{"name":"deep-analysis","description":"made by a page","default_enabled":true}`, 201)
	b.draws([]row{made}, columns)
	b.shows(b.list(path), "id", made["id"], row{"name": "deep-analysis", "default_enabled": true})
	one := path + "/" + made["id"].(string)
	b.item("PUT", one, `{"name":"deep-analysis","description":"changed","default_enabled":false}`, 200)
	b.shows(b.list(path), "id", made["id"], row{"description": "changed", "default_enabled": false})
	for _, on := range []bool{true, false} {
		status := b.item("POST", one+"/status", fmt.Sprintf(`{"tenant_id":%q,"enabled":%t}`, ofPlatform, on), 200)
		if status["enabled"] != on {
			t.Errorf("switched to %t: %v", on, status)
		}
		if got := b.object(b.ask("GET", "/api/v4/features/tenant", "", 200))["deep-analysis"]; got != on {
			t.Errorf("switched to %t, read as %v", on, got)
		}
	}
	b.done("DELETE", one, "")
	b.lacks(b.list(path), "id", made["id"])
}

// v4 answers a bare map of name and value; older documents had a list, or {}
// after a failure. A request without "enabled" switched off there; here it is
// an error, because nothing was said.
func replayTenants(t *testing.T, d dialect, s *service) {
	b := d.open(t, s, super, lastApple)
	b.lamps()
	for _, path := range []string{"/api/v4/features/tenant", "/api/v3/features/tenant"} {
		read := func() row {
			t.Helper()
			all := b.object(b.ask("GET", path, "", 200))
			for name, on := range all {
				if !isBool(on) {
					t.Errorf("%s is %v", name, on)
				}
			}
			return all
		}
		all := read()
		for _, name := range []string{"contentmap", "frontendscout", "siteharvest", "contactlaunchpad", "emailhunter", "actionqueue", "socialradar", "localminer"} {
			if _, ok := all[name]; !ok {
				t.Errorf("%s lacks %s", path, name)
			}
		}
		if all["contentmap"] != true || all["socialradar"] != false {
			t.Errorf("%v", all)
		}
		for _, on := range []bool{true, false} { // a click, and another one
			said := b.object(b.ask("POST", path, fmt.Sprintf(`{"feature_name":"socialradar","enabled":%t}`, on), 200))
			if said["message"] != "Feature status updated successfully" {
				t.Errorf("%v", said)
			}
			if got := read(); got["socialradar"] != on || len(got) != len(all) {
				t.Errorf("switched to %t: %v", on, got)
			}
		}
		b.refused("POST", path, `{"feature_name":"no-such-feature","enabled":true}`, 404)
		b.refused("POST", path, `{"feature_name":"socialradar"}`, 400)
	}
}

// Cards and three tables, all of them read-only. Of the cards' names only
// users_count is on record; the others follow it. limit and offset are
// ignored: lists go by page_size and page_token.
func replayAdmin(t *testing.T, d dialect, s *service) {
	b := d.open(t, s, migrations.DemoPlatformAdmin, ofPlatform)
	b.lamps()
	stats := b.item("GET", "/api/v3/rbac-admin/stats", "", 200)
	b.draws([]row{stats}, map[string]column{"users_count": isInt, "active_users_count": isInt, "roles_count": isInt, "permissions_count": isInt, "features_count": isInt})
	if d.query != "" {
		d.query += "&limit=10&offset=0"
	}
	b = d.open(t, s, migrations.DemoPlatformAdmin, ofPlatform)
	tenants := b.list("/api/v3/rbac-admin/tenants")
	b.draws(tenants, map[string]column{"id": isUUID, "name": isText, "slug": isText, "created_at": isTime})
	b.shows(tenants, "id", testTenant, row{"name": "Last Apple"})
	profiles := b.list("/api/v3/rbac-admin/profiles")
	b.draws(profiles, map[string]column{"user_id": isUUID, "name": isText, "email": isText, "active": isBool, "created_at": isTime})
	roles := b.list("/api/v3/rbac-admin/roles")
	b.draws(roles, map[string]column{"id": isInt, "name": isText, "description": isText, "tenant_id": isUUID, "created_at": isTime})
	if stats["users_count"] != float64(len(profiles)) || stats["roles_count"] != float64(len(roles)) {
		t.Errorf("%v beside %d profiles and %d roles", stats, len(profiles), len(roles))
	}
	// In an ordinary tenant its administrator has the cards and two tables.
	b = d.open(t, s, super, lastApple)
	if b.item("GET", "/api/v3/rbac-admin/stats", "", 200)["users_count"] != float64(len(b.list("/api/v3/rbac-admin/profiles"))) {
		t.Error("the cards of an ordinary tenant")
	}
	b.refused("GET", "/api/v3/rbac-admin/tenants", "", 403)
}

// Title, Path, Feature ID, Required permission, Order, and a preview with
// icons, later in groups. The bare list of v4, with the names that its own
// example has; another document has name and route. Nothing of what an item's
// gates hide is sent.
func replaySidebar(t *testing.T, d dialect, s *service) {
	b := d.open(t, s, super, lastApple)
	b.lamps()
	on := b.object(b.ask("GET", "/api/v4/features/tenant", "", 200))
	names := map[any]any{}
	for _, f := range b.list("/api/v3/rbac/features") {
		names[f["id"]] = f["name"]
	}
	items := b.rows(b.ask("GET", "/api/v4/sidebar", "", 200))
	b.draws(items, map[string]column{"id": isUUID, "title": isText, "icon": isText, "path": isText, "feature_id": orNull(isUUID),
		"required_permission": orNull(isText), "group": isText, "display_order": isInt})
	last := -1.0
	for _, i := range items {
		if order := i["display_order"].(float64); order < last {
			t.Errorf("%v stands behind %v", i, last)
		} else {
			last = order
		}
		if f := i["feature_id"]; f != nil && on[names[f].(string)] != true {
			t.Errorf("%v shows and its feature is off", i)
		}
		if i["required_permission"] == "manage_tenants" {
			t.Errorf("%v shows", i)
		}
	}
	b.shows(items, "title", "ContentMap", row{"path": "/contentmap", "required_permission": "view_contentmap", "group": "Services"})
	b.lacks(items, "title", "EmailHunter")
	// The sidebar follows a click in the features' page.
	b.ask("POST", "/api/v4/features/tenant", `{"feature_name":"emailhunter","enabled":true}`, 200)
	b.shows(b.rows(b.ask("GET", "/api/v4/sidebar", "", 200)), "title", "EmailHunter", row{"path": "/emailhunter"})
	b.ask("POST", "/api/v4/features/tenant", `{"feature_name":"emailhunter","enabled":false}`, 200)
	b.lacks(b.rows(b.ask("GET", "/api/v4/sidebar", "", 200)), "title", "EmailHunter")
}

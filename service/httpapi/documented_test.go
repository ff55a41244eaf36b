package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/tenancy"
)

// neverGiven are documented answers that no test can ask of every operation,
// and why.
var neverGiven = map[string]string{
	"500": "a fault that is known is mended; TestPanic and TestErrorsBecomeProblems show how one is answered",
}

// everyAnswerWasGiven says which documented statuses no test of the package has
// had for an answer.
func everyAnswerWasGiven() error {
	c := theContract()
	var missing []string
	for _, op := range c.operations {
		for _, status := range slices.Sorted(maps.Keys(op.answers)) {
			if neverGiven[status] == "" && !c.given[op.id+" "+status] {
				missing = append(missing, op.id+" "+status)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("openapi.json documents answers that no test was given: %s", strings.Join(missing, ", "))
	}
	return nil
}

// The document names the registered routes and methods, and no others.
func TestEveryRouteIsDocumented(t *testing.T) {
	s, _ := newEdge(t, Config{})
	registered, documented := map[string]bool{}, map[string]bool{}
	for path, methods := range s.table {
		for method := range methods {
			registered[method+" "+path] = true
		}
	}
	for _, op := range theContract().operations {
		documented[op.method+" "+op.path] = true
	}
	for route := range registered {
		if !documented[route] {
			t.Errorf("%s is not documented", route)
		}
	}
	for route := range documented {
		if !registered[route] {
			t.Errorf("%s is documented and does not exist", route)
		}
	}
}

// Each code stands with the status that it is answered by, and no other does.
func TestEveryCodeIsDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, response := range theContract().doc["components"].(map[string]any)["responses"].(map[string]any) {
		content, _ := response.(map[string]any)["content"].(map[string]any)
		problem, ok := content["application/problem+json"].(map[string]any)
		if !ok {
			continue
		}
		properties := problem["schema"].(map[string]any)["properties"].(map[string]any)
		for _, code := range properties["code"].(map[string]any)["enum"].([]any) {
			documented[fmt.Sprint(properties["status"].(map[string]any)["const"], " ", code)] = true
		}
	}
	for code, k := range kinds {
		if answer := fmt.Sprint(k.status, " ", code); !documented[answer] {
			t.Errorf("%s is not documented", answer)
		}
	}
	if len(documented) != len(kinds) {
		t.Errorf("%d codes are documented, %d answered: %v", len(documented), len(kinds), documented)
	}
}

// ofThePlatform are the operations that need manage_tenants.
var ofThePlatform = regexp.MustCompile(`^(create|update|delete)(Permission|Feature|SidebarItem)$|Tenants?$|DoctorReport$`)

// askAs is who is sure to be permitted an operation, in which tenant.
func askAs(op *operation) (user uuid.UUID, tenant string) {
	if ofThePlatform.MatchString(op.id) {
		return migrations.DemoPlatformAdmin, migrations.DemoPlatform.String()
	}
	return super, testTenant
}

// askExample asks for an operation as the document's examples have it, as
// somebody who may.
func (s *service) askExample(t *testing.T, op *operation, path string, headers ...string) answer {
	t.Helper()
	return s.askExampleAs(t, op, op, path, headers...)
}

// askExampleAs is askExample as somebody who may ask for another operation.
func (s *service) askExampleAs(t *testing.T, as, op *operation, path string, headers ...string) answer {
	t.Helper()
	user, tenant := askAs(as)
	if !op.secured() {
		return send(t, s.url, op.method, path, nil, headers...)
	}
	headers = append([]string{"Authorization", "Bearer " + signed(t, user, ""), "X-Tenant-ID", tenant}, headers...)
	if body := theContract().requestExample(op); body != nil {
		return send(t, s.url, op.method, path, strings.NewReader(string(body)), headers...)
	}
	return send(t, s.url, op.method, path, nil, headers...)
}

func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	return a
}

// Every operation is refused as documented: [send] compares, this asks.
func TestEveryOperationRefuses(t *testing.T) {
	s := newService(t)
	c := theContract()
	edge, _ := newEdge(t, Config{})
	without := httptest.NewServer(edge)
	t.Cleanup(without.Close)
	before := s.fingerprint(t, migrations.DemoTenant) + s.fingerprint(t, migrations.DemoPlatform)
	for _, op := range c.operations {
		t.Run(op.id, func(t *testing.T) {
			path := c.pathExample(op)
			if c.takes(op, "If-None-Match") {
				s.askExample(t, op, path, "If-None-Match", "*").want(t, 304)
			}
			send(t, s.url, "PATCH", path, nil).wantProblem(t, 405, methodNotAllowed)
			if !op.secured() {
				return
			}
			user, tenant := askAs(op)
			auth := []string{"Authorization", "Bearer " + signed(t, user, "")}
			ask := func(path, body string, headers ...string) answer {
				t.Helper()
				if op.body == nil {
					return send(t, s.url, op.method, path, nil, headers...)
				}
				return send(t, s.url, op.method, path, strings.NewReader(body), headers...)
			}
			body := string(c.requestExample(op))
			ours := append(slices.Clone(auth), "X-Tenant-ID", tenant)

			ask(path, body).wantProblem(t, 401, tenancy.Unauthenticated)
			ask(path, body, append(auth, "X-Tenant-ID", "1")...).wantProblem(t, 400, tenancy.Invalid)
			if op.id != "getMe" {
				ask(path, body, auth...).wantProblem(t, 400, tenancy.TenantRequired)
			}
			stranger := "Bearer " + signed(t, nobody, "")
			ask(path, body, "Authorization", stranger, "X-Tenant-ID", testTenant).wantProblem(t, 403, tenancy.NotAMember)
			send(t, without.URL, op.method, path, nil, ours...).wantProblem(t, 503, tenancy.Unavailable)

			if op.answers["404"] != nil {
				absent := regexp.MustCompile(`[0-9a-f-]{36}|\b[0-9]+$`).ReplaceAllString(path, "5c0ffee5-0000-4000-8000-000000000000")
				missing := body
				switch op.id {
				case "createRole":
					missing = `{"name":"Orphan","parent_ids":[4711]}`
				case "setTenantFeature", "setTenantFeatureV3":
					missing = `{"feature_name":"nothing","enabled":true}`
				}
				ask(absent, missing, ours...).wantProblem(t, 404, tenancy.NotFound)
			}
			switch {
			case c.takes(op, "If-Match"):
				ask(path, body, append(ours, "If-Match", `"4711-0"`)...).wantProblem(t, 412, tenancy.VersionMismatch)
			case op.id != "getMe":
				ask(path, body, append(ours, "If-Match", `"4711-0"`)...).wantProblem(t, 400, tenancy.Invalid)
			}
			if c.takes(op, "Poolproof-At-Least") {
				ask(path, body, append(ours, "Poolproof-At-Least", "soon")...).wantProblem(t, 400, tenancy.Invalid)
			}
			if op.body != nil {
				ask(path, `{`, ours...).wantProblem(t, 400, tenancy.Invalid)
				ask(path, `{"name":"`+strings.Repeat("x", maxBody)+`"}`, ours...).wantProblem(t, 413, tenancy.BodyTooLarge)
			}
			if op.method != http.MethodGet {
				plain := "Bearer " + signed(t, plainOne, "")
				ask(path, body, "Authorization", plain, "X-Tenant-ID", testTenant).wantProblem(t, 403, tenancy.Forbidden)
			}
		})
	}
	if after := s.fingerprint(t, migrations.DemoTenant) + s.fingerprint(t, migrations.DemoPlatform); after != before {
		t.Errorf("a refused request changed something:\n%s\n%s", before, after)
	}
}

// Every example of the document works on the demo data: what can be read is
// read, what a POST has made is read, changed and deleted, and made twice it is
// a conflict.
func TestExamplesWork(t *testing.T) {
	s := newService(t, through(t, pgtest.PgBouncer118Transaction))
	c := theContract()
	byID := map[string]*operation{}
	for _, op := range c.operations {
		byID[op.id] = op
		if op.method == http.MethodGet {
			t.Run(op.id, func(t *testing.T) { s.askExample(t, op, c.pathExample(op)).want(t, 200) })
		}
	}
	for _, op := range c.operations {
		if op.method != http.MethodPost {
			continue
		}
		t.Run(op.id, func(t *testing.T) {
			path := c.pathExample(op)
			if links := c.links(op); links["delete"] != "" {
				s.lifeOf(t, op, path, byID[links["read"]], byID[links["change"]], byID[links["delete"]])
				return
			}
			s.askExample(t, op, path).want(t, 200)
			for _, undo := range []string{"revokePermission", "unassignRole"} {
				if (op.id == "grantPermission") == (undo == "revokePermission") && (op.id == "assignRole" || op.id == "grantPermission") {
					s.askExample(t, byID[undo], c.pathExample(byID[undo])).want(t, 200)
				}
			}
			if op.id == "assignRole" {
				s.askExample(t, op, path).want(t, 201)
			}
		})
	}
	t.Run("audit as CSV", func(t *testing.T) {
		a := s.askExample(t, byID["listAuditEntries"], "/api/v3/audit?page_size=2", "Accept", "text/csv").want(t, 200)
		if media := a.Header.Get("Content-Type"); !strings.HasPrefix(media, "text/csv") || a.Header.Get("Link") == "" {
			t.Errorf("Content-Type %q, Link %q", media, a.Header.Get("Link"))
		}
	})
}

// What contradicts what is there, where no example does.
func TestDocumentedConflicts(t *testing.T) {
	s := newService(t)
	manageRoles := s.text(t, `select id::text from poolproof.permissions where name = 'manage_roles'`)
	made := map[string]string{}
	post := func(path, body string) string {
		t.Helper()
		a := send(t, s.url, "POST", path, strings.NewReader(body), "Authorization", "Bearer "+signed(t, migrations.DemoPlatformAdmin, ""), "X-Tenant-ID", migrations.DemoPlatform.String())
		location := a.want(t, 201).Header.Get("Location")
		return location[strings.LastIndex(location, "/")+1:]
	}
	made["feature"] = post("/api/v3/rbac/features", `{"name":"gate"}`)
	post("/api/v3/rbac/sidebar-items", `{"title":"Gated","path":"/gated","group":"Other","feature_id":"`+made["feature"]+`","required_permission":"view_dashboard"}`)
	made["item"] = post("/api/v3/rbac/sidebar-items", `{"title":"Other","path":"/other","group":"Other"}`)
	made["permission"] = post("/api/v3/rbac/permissions", `{"name":"view_gate"}`)
	made["tenant"] = post("/api/v3/rbac-admin/tenants", `{"name":"Bright Pear","admin_user_id":"`+nobody.String()+`"}`)
	// Whoever manages roles through a role of their own is the last one, once nobody is SUPER_ADMIN any more.
	lone := s.text(t, `insert into poolproof.roles (tenant_id, id, name) values ($1, 99, 'Lone manager') returning id::text`, testTenant)
	s.exec(t, `insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope) select $1::uuid, 99, id, scope from poolproof.permissions where name like 'manage\_%' and scope = 'tenant'`, testTenant)
	s.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by) values ($1, $2, 99, $2)`, testTenant, super)
	s.exec(t, `delete from poolproof.user_roles where tenant_id = $1 and role_id = 3`, testTenant)
	me := super.String()
	for _, tc := range []struct {
		id, path, body string
		code           tenancy.Code
	}{
		{"updateRole", "/api/v3/rbac/roles/5", `{"name":"USER"}`, tenancy.NameTaken},
		{"deleteRole", "/api/v3/rbac/roles/5", "", tenancy.RoleHasMembers},
		{"deleteRole", "/api/v3/rbac/roles/" + lone + "?force=true", "", tenancy.LastManager},
		{"updatePermission", "/api/v3/rbac/permissions/" + made["permission"], `{"name":"view_dashboard"}`, tenancy.NameTaken},
		{"revokePermission", "/api/v3/rbac-permissions/role/" + lone + "/permission/" + manageRoles, "", tenancy.LastManager},
		{"assignRole", "/api/v3/rbac/users/" + me + "/roles", `{"role_id":99,"expires_at":"2099-01-01T00:00:00Z"}`, tenancy.LastManager},
		{"unassignRole", "/api/v3/rbac/users/" + me + "/roles/99", "", tenancy.LastManager},
		{"updateProfile", "/api/v3/profiles/" + me, `{"active":false}`, tenancy.LastManager},
		{"deleteProfile", "/api/v3/profiles/" + me, "", tenancy.LastManager},
		{"updateFeature", "/api/v3/rbac/features/" + made["feature"], `{"name":"contentmap"}`, tenancy.NameTaken},
		{"deleteFeature", "/api/v3/rbac/features/" + made["feature"], "", tenancy.InUse},
		{"updateSidebarItem", "/api/v3/rbac/sidebar-items/" + made["item"], `{"path":"/gated"}`, tenancy.NameTaken},
		{"updateTenant", "/api/v3/rbac-admin/tenants/" + made["tenant"], `{"slug":"last-apple"}`, tenancy.NameTaken},
	} {
		t.Run(tc.id+" "+string(tc.code), func(t *testing.T) {
			for _, op := range theContract().operations {
				if op.id != tc.id {
					continue
				}
				user, tenant := askAs(op)
				headers := []string{"Authorization", "Bearer " + signed(t, user, ""), "X-Tenant-ID", tenant}
				if tc.body == "" {
					send(t, s.url, op.method, tc.path, nil, headers...).wantProblem(t, 409, tc.code)
					return
				}
				send(t, s.url, op.method, tc.path, strings.NewReader(tc.body), headers...).wantProblem(t, 409, tc.code)
			}
		})
	}
	t.Run("deletePermission in_use", func(t *testing.T) {
		s.exec(t, `insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope) select $1::uuid, 5, id, scope from poolproof.permissions where name = 'view_gate'`, testTenant)
		send(t, s.url, "DELETE", "/api/v3/rbac/permissions/"+made["permission"], nil, "Authorization", "Bearer "+signed(t, migrations.DemoPlatformAdmin, ""),
			"X-Tenant-ID", migrations.DemoPlatform.String()).wantProblem(t, 409, tenancy.InUse)
	})
}

// The comparison would pass everything if it looked at nothing.
func TestContractSeesFaults(t *testing.T) {
	c := theContract()
	s := newService(t)
	auth := []string{"Authorization", "Bearer " + signed(t, super, testTenant)}
	one := send(t, s.url, "GET", "/api/v3/rbac/roles/5", nil, auth...)
	changed := func(f func(a *answer)) answer {
		a := answer{&http.Response{StatusCode: one.StatusCode, Header: one.Header.Clone()}, one.body}
		f(&a)
		return a
	}
	for name, tc := range map[string]struct {
		method, path, body string
		a                  answer
		faulty             bool
	}{
		"as it is":           {"GET", "/api/v3/rbac/roles/5", "", one, false},
		"an address":         {"GET", "/api/v3/rbac/roles/5/members", "", one, true},
		"a method":           {"POST", "/api/v3/rbac/roles/5", "", one, true},
		"a page":             {"GET", "/test-rbac-role.html", "", one, false},
		"a status":           {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.StatusCode = 202 }), true},
		"a missing header":   {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.Header.Del("ETag") }), true},
		"a header's value":   {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.Header.Set("ETag", "x") }), true},
		"another header":     {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.Header.Set("Poolproof-Epoch", "1.1") }), true},
		"a content type":     {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.Header.Set("Content-Type", "text/plain") }), true},
		"a missing field":    {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.body = strings.Replace(a.body, `"system":false,`, "", 1) }), true},
		"another field":      {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.body = strings.Replace(a.body, `"system"`, `"secret":1,"system"`, 1) }), true},
		"a field's type":     {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.body = strings.Replace(a.body, `"id":5`, `"id":"5"`, 1) }), true},
		"no JSON":            {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.body = "x" }), true},
		"a body of 304":      {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.StatusCode = 304 }), true},
		"what was accepted":  {"PUT", "/api/v3/rbac/roles/5", `{"name":""}`, changed(func(a *answer) { a.Header.Set("Poolproof-Epoch", "1.1") }), true},
		"and what could be":  {"PUT", "/api/v3/rbac/roles/5", `{"name":"x","more":1}`, changed(func(a *answer) { a.Header.Set("Poolproof-Epoch", "1.1") }), false},
		"the wrong problem":  {"GET", "/api/v3/rbac/roles/5", "", changed(func(a *answer) { a.StatusCode = 404; a.Header.Set("Content-Type", "application/problem+json") }), true},
		"a closed list open": {"GET", "/api/v3/rbac/roles", "", one, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, tc.path, nil)
			if faults := c.faults(r, []byte(tc.body), tc.a); (len(faults) > 0) != tc.faulty {
				t.Errorf("faults: %v", faults)
			}
		})
	}
}

// links are the operations that a 201 leads to, by the links' names.
func (c *contract) links(op *operation) map[string]string {
	created, _ := op.node["responses"].(map[string]any)["201"].(map[string]any)
	all, _ := created["links"].(map[string]any)
	links := map[string]string{}
	for name, link := range all {
		links[name] = link.(map[string]any)["operationId"].(string)
	}
	return links
}

func (s *service) lifeOf(t *testing.T, op *operation, path string, read, change, remove *operation) {
	t.Helper()
	made := s.askExample(t, op, path).want(t, 201)
	s.askExample(t, op, path).want(t, 409)
	at, tag := made.Header.Get("Location"), made.Header.Get("ETag")
	if read != nil {
		got := s.askExampleAs(t, op, read, at).want(t, 200)
		if got.Header.Get("ETag") != tag || got.body != made.body {
			t.Errorf("read as %s %s, made as %s %s", got.Header.Get("ETag"), got.body, tag, made.body)
		}
	}
	changed := s.askExample(t, change, at, "If-Match", tag).want(t, 200)
	s.askExample(t, change, at, "If-Match", tag).want(t, 412)
	if remove.id == "deleteTenant" {
		s.askExample(t, remove, at).wantProblem(t, 409, tenancy.InUse)
		at += "?force=true"
	}
	s.askExample(t, remove, at, "If-Match", changed.Header.Get("ETag")).want(t, 200)
	s.askExample(t, remove, at).want(t, 404)
}

package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/tenancy"
)

// What asks for ids that one's own tenant does not have, and with what: a
// route is known here, or the test fails.
var (
	// ownIDs are, by route up to the parameter, ids that the tenant has.
	ownIDs = map[string]string{
		"/api/v3/rbac/roles/":                                 "5",
		"/api/v3/rbac-permissions/role/":                      "5",
		"/api/v3/rbac-permissions/role/{role_id}/permission/": "a388a686-530a-4137-b94f-3aaef5f4d34e", // view_dashboard
		"/api/v3/rbac-permissions/user/":                      plainOne.String(),
		"/api/v3/rbac/users/":                                 plainOne.String(),
		"/api/v3/rbac/users/{user_id}/roles/":                 "5",
		"/api/v3/profiles/":                                   plainOne.String(),
		"/api/v3/rbac/permissions/":                           "a388a686-530a-4137-b94f-3aaef5f4d34e",
		"/api/v3/rbac/features/":                              "2a2f67fd-3ebb-4645-8d48-bf2b5bc7d6c3", // contentmap
		"/api/v3/rbac/sidebar-items/":                         "51669751-0f7f-557b-b46f-5c279edf80e1", // Status
		"/api/v3/rbac-admin/tenants/":                         testTenant,
	}
	// goodBodies are what each write would be done with.
	goodBodies = map[string]string{
		"POST /api/v3/rbac/roles":                      `{"name":"x"}`,
		"PUT /api/v3/rbac/roles/{id}":                  `{"description":"x"}`,
		"POST /api/v3/rbac/permissions":                `{"name":"x"}`,
		"PUT /api/v3/rbac/permissions/{id}":            `{"description":"x"}`,
		"POST /api/v3/rbac-permissions/role/{role_id}": `{"permission_id":"a388a686-530a-4137-b94f-3aaef5f4d34e"}`,
		"POST /api/v3/rbac/users/{user_id}/roles":      `{"role_id":1}`,
		"POST /api/v3/profiles":                        `{"user_id":"99999999-9999-4999-8999-999999999999"}`,
		"PUT /api/v3/profiles/{user_id}":               `{"name":"x"}`,
		"POST /api/v3/rbac/features":                   `{"name":"x"}`,
		"PUT /api/v3/rbac/features/{id}":               `{"description":"x"}`,
		"POST /api/v3/rbac/features/{id}/status":       `{"enabled":true}`,
		"POST /api/v3/rbac/sidebar-items":              `{"title":"x","path":"/x","group":"x"}`,
		"PUT /api/v3/rbac/sidebar-items/{id}":          `{"title":"x"}`,
		"POST /api/v3/rbac-admin/tenants":              `{"name":"x","admin_user_id":"99999999-9999-4999-8999-999999999999"}`,
		"PUT /api/v3/rbac-admin/tenants/{id}":          `{"name":"x"}`,
		"POST /api/v4/features/tenant":                 `{"feature_name":"emailhunter","enabled":true}`,
		"POST /api/v3/features/tenant":                 `{"feature_name":"emailhunter","enabled":true}`,
	}
	// notTheTenants are routes whose objects are nobody's or the platform's, so
	// that a tenant's administrator is refused before anything is looked for.
	notTheTenants = []string{"/api/v3/rbac/permissions", "/api/v3/rbac/features", "/api/v3/rbac/sidebar-items", "/api/v3/rbac-admin/tenants"}
)

// The ids of roles are long, so that no number of /metrics has one in it by chance.
const foreignRole, missingRole, missingID = "1964242531", "1964242532", "5c0ffee5-0000-4000-8000-000000000000"

// foreignIDs are the other tenant's ids, each with one that nobody has.
func foreignIDs() map[string]string {
	return map[string]string{foreignRole: missingRole, foreign.String(): missingID, migrations.DemoOtherAdmin.String(): missingID}
}

// asked is a request of the one tenant's SUPER_ADMIN.
type asked struct {
	method, path, body string
	tenant             string // "": the own one
	match              string // If-Match
}

// rawAnswer sends a request and returns all bytes of its answer but the date's.
func (s *service) rawAnswer(t *testing.T, token string, q asked) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // read to its end
	if q.tenant == "" {
		q.tenant = testTenant
	}
	request := q.method + " " + q.path + " HTTP/1.1\r\nHost: api\r\nConnection: close\r\nX-Request-ID: fixed\r\n" +
		"Authorization: Bearer " + token + "\r\nX-Tenant-ID: " + q.tenant + "\r\n"
	if q.match != "" {
		request += "If-Match: " + q.match + "\r\n"
	}
	if q.body != "" {
		request += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(q.body)) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"+q.body); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return dateLine.ReplaceAllString(string(raw), "")
}

var dateLine = regexp.MustCompile(`(?m)^Date: .*\r\n`)

// same wants two requests to be answered by the same bytes, with one of these
// statuses and nothing of the other tenant's.
func (s *service) same(t *testing.T, token string, a, b asked, statuses ...string) {
	t.Helper()
	first, second := s.rawAnswer(t, token, a), s.rawAnswer(t, token, b)
	if first != second {
		t.Errorf("%s %s %s If-Match %q: answers differ:\n%s\n%s", a.method, a.path, a.body, a.match, first, second)
	}
	if got := strings.TrimPrefix(first, "HTTP/1.1 ")[:3]; !slices.Contains(statuses, got) {
		t.Errorf("%s %s %s If-Match %q: status %s, want one of %v: %s", a.method, a.path, a.body, a.match, got, statuses, first)
	}
	for _, not := range append(secrets(migrations.DemoTenant), "Secret", "secret", foreignRole) {
		if strings.Contains(first, not) {
			t.Errorf("%s %s: the answer holds %s: %s", a.method, a.path, not, first)
		}
	}
}

var parameter = regexp.MustCompile(`\{[a-z_]+\}`)

// fill puts an id into a route's parameter of this number and own ids into its
// others.
func fill(t *testing.T, route string, number int, id string) string {
	t.Helper()
	var filled strings.Builder
	end := 0
	for i, at := range parameter.FindAllStringIndex(route, -1) {
		own, ok := ownIDs[route[:at[0]]]
		if !ok {
			t.Fatalf("%s: ownIDs lacks %s", route, route[:at[0]])
		}
		if i == number {
			own = id
		}
		filled.WriteString(route[end:at[0]] + own)
		end = at[1]
	}
	return filled.String() + route[end:]
}

// everyEndpoint returns each method of each route that asks for a tenant.
func (s *service) everyEndpoint(t *testing.T, visit func(method, route, body string)) {
	t.Helper()
	for _, route := range slices.Sorted(maps.Keys(s.api.table)) {
		if !strings.HasPrefix(route, "/api/v") {
			continue
		}
		for _, method := range slices.Sorted(maps.Keys(s.api.table[route])) {
			body, ok := goodBodies[method+" "+route]
			if !ok && (method == http.MethodPost || method == http.MethodPut) {
				t.Fatalf("goodBodies lacks %s %s", method, route)
			}
			visit(method, route, body)
		}
	}
}

// What the other tenant has is, to a tenant's SUPER_ADMIN, what nobody has:
// byte for byte, on every route with an id, in every body with one, and on
// every route with the other tenant's id in the header. Nothing of it is in an
// answer, a log line, a figure or the audit log, beside a client that keeps
// leaving the other tenant's id on the server connections.
func TestForeignIsMissing(t *testing.T) {
	type way struct {
		name     string
		kind     pgtest.Kind
		policies bool
	}
	// Without policies: there every statement must name the tenant itself.
	ways := []way{{"without row-level security", pgtest.Direct, false}}
	kinds := pgtest.Pick([]pgtest.Kind{pgtest.PgBouncer118Transaction}, pgtest.Kinds)
	for _, kind := range kinds {
		ways = append(ways, way{kind.String(), kind, true})
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			kind := w.kind
			s := newService(t, through(t, kind))
			if !w.policies {
				s.exec(t, `alter role `+demoLogin.User.Username()+` bypassrls`)
				defer s.exec(t, `alter role `+demoLogin.User.Username()+` nobypassrls`)
			}
			s.exec(t, `with r as (
					insert into poolproof.roles (tenant_id, id, name, description) values ($1, `+foreignRole+`, 'Secret role', 'secret') returning id
				), g as (
					insert into poolproof.role_permissions (tenant_id, role_id, permission_id) select $1, r.id, p.id from r, poolproof.permissions p where p.name = 'view_dashboard'
				), h as (
					insert into poolproof.role_parents (tenant_id, role_id, parent_id) select $1, r.id, 1 from r
				)
				insert into poolproof.user_roles (tenant_id, user_id, role_id) select $1, $2, r.id from r`, foreign, migrations.DemoOtherAdmin)
			s.exec(t, `update poolproof.profiles set external_id = 'secret-subject' where tenant_id = $1 and user_id = $2`, foreign, migrations.DemoOtherAdmin)
			before := s.fingerprint(t, foreign)
			if kind != pgtest.Direct { // there nobody else has our connections
				defer pgtest.Hostile(t, s.login, foreign.String())()
			}
			token := signed(t, super, "")

			t.Run("ids in paths", func(t *testing.T) {
				s.everyEndpoint(t, func(method, route, body string) {
					statuses := []string{"404"}
					if slices.ContainsFunc(notTheTenants, func(prefix string) bool { return strings.HasPrefix(route, prefix) }) {
						statuses = append(statuses, "403")
					}
					for i := range parameter.FindAllString(route, -1) {
						for theirs, nobodys := range foreignIDs() {
							a := asked{method: method, path: fill(t, route, i, theirs), body: body}
							b := asked{method: method, path: fill(t, route, i, nobodys), body: body}
							s.same(t, token, a, b, statuses...)
							a.match, b.match = `"1-x"`, `"1-x"`
							s.same(t, token, a, b, append(statuses, "400")...) // 400 where there is nothing with a version
							if method == http.MethodDelete {
								a.path, b.path, a.match, b.match = a.path+"/?force=true", b.path+"/?force=true", "", ""
								s.same(t, token, a, b, statuses...)
							}
						}
					}
				})
			})

			t.Run("ids in bodies", func(t *testing.T) {
				for _, r := range []struct{ method, route, body, status string }{
					{"POST", "/api/v3/rbac/roles", `{"name":"x","parent_ids":[1,ROLE]}`, "404"},
					{"PUT", "/api/v3/rbac/roles/{id}", `{"parent_ids":[ROLE]}`, "404"},
					{"POST", "/api/v3/rbac-permissions/role/{role_id}", `{"permission_id":"UUID"}`, "404"},
					{"POST", "/api/v3/rbac/users/{user_id}/roles", `{"role_id":ROLE}`, "404"},
					{"POST", "/api/v3/rbac/users/{user_id}/roles", `{"role_id":ROLE,"expires_at":"2199-01-01T00:00:00Z"}`, "404"},
					{"PUT", "/api/v3/profiles/{user_id}", `{"user_id":"UUID"}`, "400"},
					{"POST", "/api/v3/rbac/sidebar-items", `{"title":"x","path":"/x","group":"x","feature_id":"UUID"}`, "403"},
					{"PUT", "/api/v3/rbac/sidebar-items/{id}", `{"feature_id":"UUID"}`, "403"},
					{"POST", "/api/v3/rbac-admin/tenants", `{"name":"x","admin_user_id":"UUID"}`, "403"},
				} {
					for theirs, nobodys := range foreignIDs() {
						put := func(id string) asked {
							return asked{method: r.method, path: fill(t, r.route, -1, ""), body: strings.NewReplacer("ROLE", id, "UUID", id).Replace(r.body)}
						}
						if (theirs == foreignRole) == strings.Contains(r.body, "ROLE") {
							s.same(t, token, put(theirs), put(nobodys), r.status)
						}
					}
				}
				s.everyEndpoint(t, func(method, route, body string) {
					if body == "" {
						return
					}
					put := func(id string) asked {
						return asked{method: method, path: fill(t, route, -1, ""), body: `{"tenant_id":"` + id + `",` + body[1:]}
					}
					s.same(t, token, put(foreign.String()), put(missingID), "400")
				})
			})

			t.Run("ids in queries", func(t *testing.T) {
				for theirs, nobodys := range foreignIDs() {
					for _, object := range []string{"role/", "user/", "tenant/", ""} {
						s.same(t, token, asked{method: "GET", path: "/api/v3/audit?object=" + object + theirs}, asked{method: "GET", path: "/api/v3/audit?object=" + object + nobodys}, "200")
					}
					if theirs != foreignRole {
						s.same(t, token, asked{method: "GET", path: "/api/v3/audit?actor=" + theirs}, asked{method: "GET", path: "/api/v3/audit?actor=" + nobodys}, "200")
					}
				}
				s.everyEndpoint(t, func(method, route, body string) {
					put := func(id string) asked {
						return asked{method: method, path: fill(t, route, -1, "") + "?tenant_id=" + id, body: body}
					}
					s.same(t, token, put(foreign.String()), put(missingID), "400")
				})
			})

			lines := s.log.String()
			for _, not := range append(ofOthers(migrations.DemoTenant), "Secret", "secret") {
				if strings.Contains(lines, not) {
					t.Errorf("the log holds %s", not)
				}
			}
			if kind != pgtest.Direct && !strings.Contains(lines, "left a tenant on this server connection") {
				t.Error("no leak was seen: the test proves nothing")
			}

			for _, path := range []string{"/api/v3/audit", "/metrics", "/readyz"} {
				a := send(t, s.url, "GET", path, nil, "Authorization", "Bearer "+token, "X-Tenant-ID", testTenant, "Accept", "text/csv")
				for _, not := range append(secrets(migrations.DemoTenant), "Secret", "secret", foreignRole) {
					if a.StatusCode != 200 || strings.Contains(a.body, not) {
						t.Errorf("%s: %d, holds %s: %s", path, a.StatusCode, not, a.body)
					}
				}
			}
			// From here on the log says which tenant was asked for, and by whom
			// it was: a refusal.
			t.Run("the tenant itself", func(t *testing.T) {
				s.everyEndpoint(t, func(method, route, body string) {
					put := func(tenant string) asked {
						return asked{method: method, path: fill(t, route, -1, ""), body: body, tenant: tenant}
					}
					s.same(t, token, put(foreign.String()), put(missingID), "403")
				})
			})
			for line := range strings.Lines(strings.TrimPrefix(s.log.String(), lines)) {
				rest := strings.Replace(line, `"tenant":"`+foreign.String()+`"`, "", 1)
				for _, not := range ofOthers(migrations.DemoTenant) {
					if strings.Contains(rest, not) || rest != line && !strings.Contains(line, `"code":"not_a_member"`) {
						t.Errorf("the log holds %s: %s", not, line)
					}
				}
			}

			t.Run("names", func(t *testing.T) { s.foreignNamesAreFree(t, token) })
			if after := s.fingerprint(t, foreign); after != before {
				t.Errorf("the other tenant's data changed:\n%s\n%s", before, after)
			}
		})
	}
}

// foreignNamesAreFree makes what the other tenant has already under the same
// name, and what nobody has: both succeed alike.
func (s *service) foreignNamesAreFree(t *testing.T, token string) {
	t.Helper()
	for _, r := range []struct{ route, body, theirs, nobodys string }{
		{"/api/v3/rbac/roles", `{"name":"NAME"}`, "Secret role", "Absent role"},
		{"/api/v3/profiles", `{"external_id":"NAME","name":"x"}`, "secret-subject", "absent-subject"},
		{"/api/v3/profiles", `{"user_id":"NAME"}`, "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e22", missingID},
	} {
		var shapes []string
		for _, name := range []string{r.theirs, r.nobodys} {
			raw := s.rawAnswer(t, token, asked{method: "POST", path: r.route, body: strings.Replace(r.body, "NAME", name, 1)})
			shapes = append(shapes, volatile.ReplaceAllString(strings.ReplaceAll(raw, name, "NAME"), "*"))
		}
		if shapes[0] != shapes[1] || !strings.HasPrefix(shapes[0], "HTTP/1.1 201 ") {
			t.Errorf("POST %s: answers differ, or fail:\n%s\n%s", r.route, shapes[0], shapes[1])
		}
	}
}

// volatile is what differs between any two objects: ids, times, tags, epochs,
// and with them the length.
var volatile = regexp.MustCompile(`"id":[0-9]+|roles/[0-9]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{4}-[0-9T:.-]+Z|Etag: .*|Poolproof-Epoch: .*|Content-Length: .*`)

// Every request is one round trip to the database: one Sync, counted on the
// wire between the service and the pooler.
func TestOneSyncPerRequest(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement} {
		t.Run(kind.String(), func(t *testing.T) {
			var syncs func() int
			s := newService(t, through(t, kind), func(url string) (relayed string) {
				relayed, syncs = pgtest.CountSyncs(t, url)
				return relayed
			})
			dashboard := s.text(t, `select id::text from poolproof.permissions where name = 'view_dashboard'`)
			made := "0"
			for _, sc := range []scenario{
				{name: "warm up", method: "GET", path: "/api/v3/rbac/roles", status: 200},
				{name: "roles", method: "GET", path: "/api/v3/rbac/roles", status: 200},
				{name: "make a role", method: "POST", path: "/api/v3/rbac/roles", body: `{"name":"r"}`, status: 201},
				{name: "make it again", method: "POST", path: "/api/v3/rbac/roles", body: `{"name":"r"}`, status: 409},
				{name: "a role", method: "GET", path: "/api/v3/rbac/roles/{made}", status: 200},
				{name: "rename", method: "PUT", path: "/api/v3/rbac/roles/{made}", body: `{"name":"s"}`, status: 200},
				{name: "grant", method: "POST", path: "/api/v3/rbac-permissions/role/{made}", body: `{"permission_id":"` + dashboard + `"}`, status: 200},
				{name: "permissions of a role", method: "GET", path: "/api/v3/rbac-permissions/role/{made}", status: 200},
				{name: "revoke", method: "DELETE", path: "/api/v3/rbac-permissions/role/{made}/permission/" + dashboard, status: 200},
				{name: "delete", method: "DELETE", path: "/api/v3/rbac/roles/{made}", status: 200},
				{name: "catalogue", method: "GET", path: "/api/v3/rbac/permissions", status: 200},
				{name: "features", method: "GET", path: "/api/v4/features/tenant", status: 200},
				{name: "switch a feature", method: "POST", path: "/api/v4/features/tenant", body: `{"feature_name":"emailhunter","enabled":true}`, status: 200},
				{name: "sidebar", method: "GET", path: "/api/v4/sidebar", status: 200},
				{name: "me", method: "GET", path: "/api/v4/me", status: 200},
			} {
				sc.user, sc.tenant = super, testTenant
				before := syncs()
				s.play(t, &made, sc)
				if got := syncs() - before; got != 1 && sc.name != "warm up" {
					t.Errorf("%s: %d Syncs, want 1", sc.name, got)
				}
			}
		})
	}
}

// A client that leaves SET of another tenant on the server connections all the
// while must not change a single answer.
func TestLeakedTenant(t *testing.T) {
	var pooled string
	s := newService(t, through(t, pgtest.PgBouncer118Transaction), func(url string) string {
		pooled = url
		return url
	})
	ctx, stop := context.WithCancel(t.Context())
	leaked := make(chan int, 1)
	go func() {
		n := 0
		defer func() { leaked <- n }()
		conn, err := pgx.Connect(ctx, pooled)
		if err != nil {
			return
		}
		defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost
		for ctx.Err() == nil {
			// Never cancelled: see pgtest.Hostile.
			if _, err := conn.PgConn().Exec(context.WithoutCancel(ctx), "set app.current_tenant_id to '"+foreign.String()+"'").ReadAll(); err == nil {
				n++
			}
		}
	}()
	made := "0"
	var first string
	for i := range 100 {
		a := s.play(t, &made, scenario{method: "GET", path: "/api/v3/rbac/roles", user: super, tenant: testTenant, status: 200})
		if i == 0 {
			first = a.body
		}
		if a.body != first {
			t.Fatalf("an answer changed:\n%s\n%s", first, a.body)
		}
		s.play(t, &made, scenario{method: "GET", path: "/api/v3/rbac/roles", user: super, tenant: foreign.String(), status: 403, code: tenancy.NotAMember})
		me := s.play(t, &made, scenario{method: "GET", path: "/api/v4/me", user: super, status: 200})
		if !json.Valid([]byte(me.body)) {
			t.Fatalf("me: %s", me.body)
		}
	}
	stop()
	if n := <-leaked; n == 0 {
		t.Fatal("nothing was leaked: the test proves nothing")
	}
	if !strings.Contains(s.log.String(), "left a tenant on this server connection") {
		t.Error("no leak was seen in 300 requests: the test proves nothing")
	}
}

var _ http.Handler = (*Server)(nil)

package httpapi

import (
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/tenancy"
)

// Faults of the original application (docs/faults.md) that no other test has.

var (
	routeCall   = regexp.MustCompile(`s\.route\("(/api/v[^"]+)", methods\{([^}]*)\}`)
	routeMethod = regexp.MustCompile(`\b(get|post|put|del):`)
	pathValue   = regexp.MustCompile(`\{[^}]*\}`)
)

// F29: one piece of code says who is calling. Every route of the table refuses
// the same tokens, the original's development token among them, and takes the
// same one: without a database it comes as far as that.
func TestEveryRouteTakesTheSameTokens(t *testing.T) {
	raw, err := os.ReadFile("routes.go")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := newEdge(t, Config{})
	good := signed(t, testUser, testTenant)
	verbs := map[string]string{"get": "GET", "post": "POST", "put": "PUT", "del": "DELETE"}
	n := 0
	// The values of the methods' map hold no braces.
	for _, call := range routeCall.FindAllStringSubmatch(string(raw), -1) {
		path := pathValue.ReplaceAllString(call[1], "1")
		for _, m := range routeMethod.FindAllStringSubmatch(call[2], -1) {
			n++
			method := verbs[m[1]]
			ask := func(headers ...string) answer {
				t.Helper()
				return askOnce(t, s, method, path, strings.NewReader(`{}`), headers...)
			}
			ask().wantProblem(t, 401, tenancy.Unauthenticated)
			for _, bad := range []string{"dev-admin-id", "123", good + "x"} {
				ask("Authorization", "Bearer "+bad, "X-Tenant-ID", testTenant).wantProblem(t, 401, tenancy.Unauthenticated)
			}
			if a := ask("Authorization", "Bearer "+good); a.StatusCode != 503 {
				t.Errorf("%s %s: %d %s", method, path, a.StatusCode, a.body)
			}
		}
	}
	const open = 5 // health, twice, readiness, figures and the document need no token
	if all := len(routeMethod.FindAllString(string(raw), -1)); n == 0 || n != all-open {
		t.Errorf("%d endpoints of %d in routes.go were asked", n, all)
	}
}

// J21: lists come in pages, which together are the list.
func TestListsComeInPages(t *testing.T) {
	s := newService(t, through(t, pgtest.PgBouncer118Transaction))
	user := super.String()
	type page struct {
		Data []json.RawMessage `json:"data"`
		Next string            `json:"next_page_token"`
	}
	get := func(path, query string, user uuid.UUID, tenant string) (p page) {
		t.Helper()
		a := send(t, s.url, "GET", path+query, nil, "Authorization", "Bearer "+signed(t, user, tenant))
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.StatusCode != 200 {
			t.Fatalf("%s%s: %d %s", path, query, a.StatusCode, a.body)
		}
		return p
	}
	for _, path := range []string{
		"/api/v3/rbac/roles", "/api/v3/rbac/permissions", "/api/v3/rbac-permissions/role/3", "/api/v3/rbac-permissions/user/" + user,
		"/api/v3/rbac/user-roles", "/api/v3/profiles", "/api/v3/rbac/features", "/api/v3/rbac/sidebar-items",
		"/api/v3/rbac-admin/profiles", "/api/v3/rbac-admin/roles",
	} {
		t.Run(path, func(t *testing.T) {
			whole := get(path, "", super, testTenant)
			if whole.Next != "" || len(whole.Data) < 4 {
				t.Fatalf("%d rows at once, then %q", len(whole.Data), whole.Next)
			}
			var got []json.RawMessage
			query := "?page_size=3"
			for query != "" && len(got) < 100 {
				p := get(path, query, super, testTenant)
				if len(p.Data) == 0 || len(p.Data) > 3 {
					t.Errorf("a page of %d", len(p.Data))
				}
				got, query = append(got, p.Data...), ""
				if p.Next != "" {
					query = "?page_size=3&page_token=" + url.QueryEscape(p.Next)
				}
			}
			if a, b := len(got), len(whole.Data); a != b {
				t.Fatalf("%d rows in pages, %d at once", a, b)
			}
			for i := range got {
				if string(got[i]) != string(whole.Data[i]) {
					t.Errorf("row %d is %s in pages and %s at once", i, got[i], whole.Data[i])
				}
			}
		})
	}
}

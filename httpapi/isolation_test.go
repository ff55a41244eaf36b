package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/tenancy"
)

// sameAnswer compares everything of two answers but the date.
func sameAnswer(t *testing.T, a, b answer) {
	t.Helper()
	a.Header.Del("Date")
	b.Header.Del("Date")
	if a.StatusCode != b.StatusCode || a.body != b.body {
		t.Errorf("answers differ:\n%d %s\n%d %s", a.StatusCode, a.body, b.StatusCode, b.body)
	}
	if x, y := fmt.Sprint(a.Header), fmt.Sprint(b.Header); x != y {
		t.Errorf("headers differ:\n%s\n%s", x, y)
	}
}

// A tenant that exists and one that does not must be the same to somebody who
// is a member of neither, and so must a foreign role and a missing one.
func TestForeignIsMissing(t *testing.T) {
	s := newService(t, through(t, pgtest.PgBouncer118Transaction))
	const foreignRole, missingRole = "4242", "4243"
	s.exec(t, `insert into poolproof.roles (tenant_id, id, name) values ($1, 4242, 'Secret role')`, foreign)
	before := s.fingerprint(t, foreign)
	dashboard := s.text(t, `select id::text from poolproof.permissions where name = 'view_dashboard'`)
	grant := `{"permission_id":"` + dashboard + `"}`
	ask := func(tenant, method, path, body string) answer {
		headers := []string{"Authorization", "Bearer " + signed(t, super, ""), "X-Tenant-ID", tenant, "X-Request-ID", "fixed"}
		if body == "" {
			return send(t, s.url, method, path, nil, headers...)
		}
		return send(t, s.url, method, path, strings.NewReader(body), headers...)
	}
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/api/v3/rbac/roles", ""},
		{"POST", "/api/v3/rbac/roles", `{"name":"x"}`},
		{"GET", "/api/v3/rbac/roles/1", ""},
		{"GET", "/api/v3/rbac/roles/4242", ""},
		{"PUT", "/api/v3/rbac/roles/4242", `{"name":"x"}`},
		{"DELETE", "/api/v3/rbac/roles/4242?force=true", ""},
		{"GET", "/api/v3/rbac/permissions", ""},
		{"GET", "/api/v3/rbac-permissions/role/4242", ""},
		{"POST", "/api/v3/rbac-permissions/role/4242", grant},
		{"DELETE", "/api/v3/rbac-permissions/role/1/permission/" + dashboard, ""},
		{"GET", "/api/v4/features/tenant", ""},
		{"POST", "/api/v4/features/tenant", `{"feature_name":"emailhunter","enabled":true}`},
		{"GET", "/api/v4/sidebar", ""},
		{"GET", "/api/v4/me", ""},
	} {
		t.Run("tenant "+r.method+" "+r.path, func(t *testing.T) {
			a, b := ask(foreign.String(), r.method, r.path, r.body), ask(nobody.String(), r.method, r.path, r.body)
			a.wantProblem(t, 403, tenancy.NotAMember)
			sameAnswer(t, a, b)
		})
	}
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/api/v3/rbac/roles/%s", ""},
		{"PUT", "/api/v3/rbac/roles/%s", `{"name":"x"}`},
		{"DELETE", "/api/v3/rbac/roles/%s", ""},
		{"DELETE", "/api/v3/rbac/roles/%s?force=true", ""},
		{"GET", "/api/v3/rbac-permissions/role/%s", ""},
		{"POST", "/api/v3/rbac-permissions/role/%s", grant},
		{"DELETE", "/api/v3/rbac-permissions/role/%s/permission/" + dashboard, ""},
	} {
		t.Run("role "+r.method+" "+r.path, func(t *testing.T) {
			a := ask(testTenant, r.method, fmt.Sprintf(r.path, foreignRole), r.body)
			b := ask(testTenant, r.method, fmt.Sprintf(r.path, missingRole), r.body)
			a.wantProblem(t, 404, tenancy.NotFound)
			sameAnswer(t, a, b)
		})
	}
	t.Run("parent", func(t *testing.T) {
		a := ask(testTenant, "POST", "/api/v3/rbac/roles", `{"name":"x","parent_ids":[4242]}`)
		b := ask(testTenant, "POST", "/api/v3/rbac/roles", `{"name":"x","parent_ids":[4243]}`)
		if a.StatusCode < 400 || a.StatusCode >= 500 {
			t.Fatalf("status %d: %s", a.StatusCode, a.body)
		}
		a.body, b.body = strings.ReplaceAll(a.body, foreignRole, "N"), strings.ReplaceAll(b.body, missingRole, "N") // what the client itself sent
		sameAnswer(t, a, b)
	})
	if after := s.fingerprint(t, foreign); after != before {
		t.Errorf("the other tenant's data changed:\n%s\n%s", before, after)
	}
}

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
			if _, err := conn.PgConn().Exec(ctx, "set app.current_tenant_id to '"+foreign.String()+"'").ReadAll(); err == nil {
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
	if !strings.Contains(s.log.String(), "was left on this server connection") {
		t.Error("no leak was seen in 300 requests: the test proves nothing")
	}
}

var _ http.Handler = (*Server)(nil)

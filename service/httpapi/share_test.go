package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/tenancy"
)

// A tenant whose requests all hang waits for itself: another tenant is
// answered, and strangers who name the tenant neither get nor take its turns.
func TestATenantWaitsForItself(t *testing.T) {
	s := newService(t)
	shares := s.api.stores.Load().shares
	shares.slots, shares.wait = 2, 50*time.Millisecond
	ask := func(user uuid.UUID, tenant, method, path, body string) answer {
		t.Helper()
		return send(t, s.url, method, path, strings.NewReader(body), "Authorization", "Bearer "+signed(t, user, ""), "X-Tenant-ID", tenant)
	}
	const roles = "/api/v3/rbac/roles"
	if a := ask(super, testTenant, "GET", roles, ""); a.StatusCode != http.StatusOK {
		t.Fatal(a.body)
	}

	holder := s.connect(t)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select from poolproof.tenants where id = $1 for update`, testTenant); err != nil {
		t.Fatal(err)
	}
	written := make(chan answer, 2)
	for _, name := range []string{"a", "b"} {
		go func() { written <- ask(super, testTenant, "POST", roles, `{"name":"`+name+`"}`) }()
	}
	deadline := time.After(10 * time.Second)
	for full := false; !full; {
		select {
		case <-deadline:
			t.Fatal("the tenant's share is not full")
		case <-time.After(time.Millisecond):
		}
		shares.mu.Lock()
		sh := shares.open[shareKey{tenant: uuid.MustParse(testTenant)}]
		full = sh != nil && len(sh.turns) == 2
		shares.mu.Unlock()
	}

	a := ask(super, testTenant, "GET", roles, "")
	a.wantProblem(t, http.StatusTooManyRequests, tenancy.TooManyRequests)
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if a := ask(migrations.DemoOtherAdmin, foreign.String(), "GET", roles, ""); a.StatusCode != http.StatusOK {
		t.Errorf("another tenant: %d %s", a.StatusCode, a.body)
	}
	for range 5 { // a stranger: refused as ever, and not told that the tenant is busy
		ask(migrations.DemoOtherAdmin, testTenant, "GET", roles, "").wantProblem(t, http.StatusForbidden, tenancy.NotAMember)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a := <-written; a.StatusCode != http.StatusCreated {
			t.Errorf("a write that had its turn: %d %s", a.StatusCode, a.body)
		}
	}
	if a := ask(super, testTenant, "GET", roles, ""); a.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.StatusCode, a.body)
	}
	shares.mu.Lock()
	defer shares.mu.Unlock()
	if len(shares.open) != 0 {
		t.Errorf("%d shares are left open", len(shares.open))
	}
}

// Every operation waits for its tenant's turn.
func TestEveryOperationHasItsTurn(t *testing.T) {
	s := newService(t)
	shares := s.api.stores.Load().shares
	shares.slots, shares.wait = 1, time.Millisecond
	for _, op := range theContract().operations {
		if !op.secured() {
			continue
		}
		user, tenant := askAs(op)
		caller := tenancy.Caller{Tenant: uuid.MustParse(tenant), User: user}
		shares.learn(caller, nil)
		leave, err := shares.enter(t.Context(), caller)
		if err != nil {
			t.Fatal(err)
		}
		s.askExample(t, op, theContract().pathExample(op)).wantProblem(t, http.StatusTooManyRequests, tenancy.TooManyRequests)
		leave()
	}
}

// What a tenant may have at the most is told, with the number.
func TestBoundsAreTold(t *testing.T) {
	s := newService(t)
	ask := func(method, path, body string) answer {
		t.Helper()
		return send(t, s.url, method, path, strings.NewReader(body), "Authorization", "Bearer "+signed(t, super, ""), "X-Tenant-ID", testTenant)
	}
	count := s.text(t, `select count(*)::text from poolproof.roles where tenant_id = $1`, testTenant)
	s.exec(t, `update poolproof.bounds set roles = $1::int, parents = 1, depth = 1, assignments = 1`, count)
	for what, c := range map[string]struct{ method, path, body, detail string }{
		"roles":       {"POST", "/api/v3/rbac/roles", `{"name":"one more"}`, "A tenant has at most " + count + " roles."},
		"parents":     {"PUT", "/api/v3/rbac/roles/1", `{"parent_ids":[2,3]}`, "A role inherits from at most 1 others."},
		"assignments": {"POST", "/api/v3/rbac/users/" + super.String() + "/roles", `{"role_id":1}`, "A user has at most 1 roles in a tenant."},
	} {
		if p := ask(c.method, c.path, c.body).wantProblem(t, http.StatusConflict, tenancy.LimitReached); p.Detail != c.detail {
			t.Errorf("%s: %q instead of %q", what, p.Detail, c.detail)
		}
	}
}

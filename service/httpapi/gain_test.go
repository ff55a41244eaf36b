package httpapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/tenancy"
)

// Requests that are allowed, and that ask for more than they get: done and
// recorded, and nobody anywhere holds anything that they did not hold before.
func TestNothingIsGained(t *testing.T) {
	st := newStage(t, through(t, pgtest.PgBouncer118Transaction))
	deleted := st.member(t, migrations.DemoTenant, roleOfSupers)
	every := make([]string, 0, len(st.permissions))
	for _, id := range st.permissions {
		every = append(every, strconv.Quote(id))
	}
	slices.Sort(every)
	mine := func() string {
		return st.one(t, `select max(id)::text from poolproof.roles where tenant_id = $1`, migrations.DemoTenant)
	}
	for _, a := range []attempt{
		{name: "a role with everything in its body", by: st.roles, method: "POST", path: pathRoles, status: 201,
			body: `{"name":"Mine","id":3,"system":true,"holds_all":true,"scope":"platform","permissions":["*"],"permission_ids":[` + strings.Join(every, ",") + `]}`},
		{name: "a role of a powerful name", by: st.roles, method: "POST", path: pathRoles, body: `{"name":"super_admin"}`, status: 201},
		{name: "a role that looks like a powerful one", by: st.roles, method: "POST", path: pathRoles, body: `{"name":"GLOBAL_\u0410DMIN"}`, status: 201},
		{name: "that role for oneself", by: st.users, method: "POST", path: pathOfAssignments(st.users), body: `{"role_id":{last}}`, status: 201},
		{name: "a profile with roles in its body", by: st.users, method: "POST", path: pathProfiles, status: 201,
			body: `{"user_id":"` + nobody.String() + `","role":"GLOBAL_ADMIN","role_id":4,"roles":[4],"role_ids":[3,4],"is_admin":true}`},
		{name: "a SUPER_ADMIN deleted", by: super, method: "DELETE", path: pathOfProfile(deleted), status: 200},
		{name: "and made anew", by: st.users, method: "POST", path: pathProfiles, body: `{"user_id":"` + deleted.String() + `","active":true}`, status: 201},
		{name: "the external id of who holds nothing", by: st.users, method: "PUT", path: pathOfProfile(st.second), body: `{"external_id":"idp|mine"}`, status: 200},
		{name: "a SUPER_ADMIN without an external id", by: st.users, method: "PUT", path: pathOfProfile(super), body: `{"external_id":""}`, status: 200},
		{name: "and that external id for oneself", by: st.users, method: "PUT", path: pathOfProfile(st.users), body: `{"external_id":"idp|boss"}`, status: 200},
		{name: "a SUPER_ADMIN switched off", by: st.users, method: "PUT", path: pathOfProfile(st.global), body: `{"active":false}`, status: 200},
		{name: "a system role described", by: st.roles, method: "PUT", path: pathOfRole(roleOfUsers), body: `{"description":"All may do all","holds_all":true}`, status: 200},
		{name: "one's own role under one that holds less", by: st.roles, method: "PUT", path: pathOfRole(st.roleOfRoles), body: under(st.base, st.weak), status: 200},
		{name: "a permission of the platform, which nobody holds", by: migrations.DemoPlatformAdmin, tenant: migrations.DemoPlatform,
			method: "POST", path: pathPermissions, body: `{"name":"manage_everything","scope":"platform"}`, status: 201},
	} {
		t.Run(a.name, func(t *testing.T) {
			a.body = strings.ReplaceAll(a.body, "{last}", mine())
			const recorded = `select count(*)::text from poolproof.audit_log`
			before, rows := st.powers(t), st.one(t, recorded)
			got := st.send(t, a)
			if got.StatusCode != a.status {
				t.Fatalf("status %d, want %d: %s", got.StatusCode, a.status, got.body)
			}
			if n, _ := strconv.Atoi(rows); st.one(t, recorded) != strconv.Itoa(n+1) {
				t.Errorf("%s audit rows after %d", st.one(t, recorded), n)
			}
			after := st.powers(t)
			for _, who := range differences(before, after) {
				if after[who] != "" {
					t.Errorf("%s held %q and now holds %q", who, before[who], after[who])
				}
			}
			if strings.Contains(got.body, `"system":true`) && a.method == "POST" {
				t.Errorf("a system role: %s", got.body)
			}
		})
	}
}

// Two hundred times a grant and the withdrawal of what it rests on are sent at
// once. Whichever comes first, the grant is either there, and recorded before
// the withdrawal, or refused and nowhere; and after the withdrawal there is
// nothing more to be had.
func TestConcurrentGrantAndRevoke(t *testing.T) {
	st := newStage(t, through(t, pgtest.PgBouncer118Transaction))
	home := migrations.DemoTenant
	usersToo := st.role(t, home, "Users", []string{"manage_users"})
	grantsToo := st.role(t, home, "Permissions", []string{"manage_permissions"})
	first, second := st.member(t, home, usersToo), st.member(t, home, grantsToo)
	assignment := func(user uuid.UUID, role int) string { return fmt.Sprintf("%s/%d", pathOfAssignments(user), role) }
	done := map[string]int{}
	for round := range 200 {
		// Both attackers hold Starter, and one of them passes it on.
		st.exec(t, `delete from poolproof.user_roles where tenant_id = $1 and user_id = $2`, home, st.second)
		st.exec(t, `delete from poolproof.role_permissions where tenant_id = $1 and role_id = $2`, home, st.weak)
		st.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, $4), ($1, $3, $4) on conflict do nothing`,
			home, first, second, st.editor)
		from := st.one(t, `select coalesce(max(id), 0)::text from poolproof.audit_log where tenant_id = $1`, home)
		grant := attempt{by: first, method: "POST", path: pathOfAssignments(st.second), body: wants(st.editor)}
		there := func() bool {
			return st.one(t, `select count(*)::text from poolproof.user_roles where tenant_id = $1 and user_id = $2`, home, st.second) == "1"
		}
		if round%2 == 1 {
			grant = attempt{by: second, method: "POST", path: pathOfGrants(st.weak), body: st.permission("start_contentmap")}
			there = func() bool {
				return st.one(t, `select count(*)::text from poolproof.role_permissions where tenant_id = $1 and role_id = $2`, home, st.weak) == "1"
			}
		}
		revoke := attempt{by: super, method: "DELETE", path: assignment(grant.by, st.editor)}
		var granted, revoked answer
		var wg sync.WaitGroup
		both := []func(){func() { granted = st.send(t, grant) }, func() { revoked = st.send(t, revoke) }}
		if round%4 > 1 { // the other one first
			slices.Reverse(both)
		}
		for _, play := range both {
			wg.Go(play)
		}
		wg.Wait()
		if t.Failed() {
			return // no answer at all
		}
		if revoked.StatusCode != 200 {
			t.Fatalf("round %d: the withdrawal: %d %s", round, revoked.StatusCode, revoked.body)
		}
		ok := granted.StatusCode < 300
		done[fmt.Sprintf("%s %t", grant.path, ok)]++
		if !ok {
			granted.wantProblem(t, 403, tenancy.Forbidden)
		}
		if there() != ok {
			t.Fatalf("round %d: the grant was answered by %d, and is it there? %t", round, granted.StatusCode, there())
		}
		history := st.one(t, `select coalesce(string_agg(action, ' ' order by id), '') from poolproof.audit_log where tenant_id = $1 and id > $2::text::bigint`, home, from)
		want := "user.role.unassign"
		if ok {
			want = map[int]string{0: "user.role.assign ", 1: "role.permission.grant "}[round%2] + want
		}
		if history != want {
			t.Fatalf("round %d: the grant was answered by %d, recorded is %q, want %q", round, granted.StatusCode, history, want)
		}
		// What was withdrawn is withdrawn.
		if grant.path == pathOfAssignments(st.second) {
			grant.path = pathOfAssignments(first)
		} else {
			grant.path = pathOfGrants(grantsToo)
		}
		before := st.everywhere(t)
		st.send(t, grant).wantProblem(t, 403, tenancy.Forbidden)
		if changed := differences(before, st.everywhere(t)); changed != nil {
			t.Fatalf("round %d: refused, and changed %v", round, changed)
		}
	}
	t.Logf("rounds by what was granted, and whether it was: %v", done)
	if len(done) != 4 {
		t.Error("the two did not meet both ways: the test proves nothing")
	}
}

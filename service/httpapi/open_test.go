package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

// What happens while a write's transaction is open: between its check and its
// change, and before its end. The requests are stopped on the wire.

// stopped is the service with its writes stopped where a test wants it.
type stopped struct {
	owned
	hold *pgtest.Holder
}

func newStopped(t *testing.T) *stopped {
	t.Helper()
	st := &stopped{}
	st.owned = newService(t, func(url string) string {
		url, st.hold = pgtest.Hold(t, url)
		return url
	}).withOwner(t)
	return st
}

// during sends a request, stops it before the last message of a kind, does
// something meanwhile, and returns the answer.
func (st *stopped) during(t *testing.T, kind byte, token string, q asked, meanwhile func(port int)) string {
	t.Helper()
	held := st.hold.BeforeLast(kind)
	answered := make(chan string, 1)
	go func() { answered <- st.rawAnswer(t, token, q) }()
	select {
	case port := <-held.Reached:
		func() {
			defer held.Release()
			meanwhile(port)
		}()
		return <-answered
	case a := <-answered:
		t.Fatalf("%s %s was answered before it was stopped: %s", q.method, q.path, a)
	case <-time.After(time.Minute):
		t.Fatalf("%s %s was not stopped", q.method, q.path)
	}
	return ""
}

// writes visits every method that changes something of every route.
func (st *stopped) writes(t *testing.T, visit func(route string, q asked)) {
	t.Helper()
	n := 0
	st.everyEndpoint(t, func(method, route, body string) {
		if method != http.MethodGet {
			n++
			visit(method+" "+route, asked{method: method, path: fill(t, route, -1, ""), body: body})
		}
	})
	if n < len(goodBodies)+8 {
		t.Fatalf("%d writes", n)
	}
}

// locksOf are the locks of the connection from a port on what is not the
// server's own, its virtual id left out, and whether it has a transaction id.
const locksOf = `select concat_ws(', ', (
		select string_agg(distinct concat_ws(' ', l.locktype, c.relname, l.mode), ', ')
		from pg_locks l left join pg_class c on c.oid = l.relation
		where l.pid = a.pid and l.locktype <> 'virtualxid' and (c.oid is null or c.relkind = 'r' and c.relnamespace <> 'pg_catalog'::regnamespace)),
		'in ' || a.state, 'transaction ' || a.backend_xid::text)
	from pg_stat_activity a where a.client_port = $1 and a.datname = current_database()`

// A stranger's write, on every route, when all its statements have run and its
// transaction is open: the same locks for a tenant that is there and one that is
// not, of no row, no tuple and no transaction, and of tables only what PostgreSQL
// takes when it plans a statement (ROW EXCLUSIVE at most, which no reader or writer
// waits for). A member without the permission has no more. Who may write has,
// so the look is one that finds them.
func TestLocksOfEveryRefusedWrite(t *testing.T) {
	st := newStopped(t)
	stranger, plain := signed(t, nobody, ""), signed(t, plainOne, "")
	st.writes(t, func(_ string, q asked) { // what is only learned once is known from here on
		for _, q.tenant = range []string{foreign.String(), missingID, testTenant} {
			st.rawAnswer(t, stranger, q)
		}
		st.rawAnswer(t, plain, q)
	})
	look := func(token string, q asked, code string) (locks string) {
		a := st.during(t, 'S', token, q, func(port int) { locks = st.one(t, locksOf, port) })
		if !strings.HasPrefix(a, "HTTP/1.1 403") || !strings.Contains(a, `"`+code+`"`) {
			t.Errorf("%s %s: %s", q.method, q.path, a)
		}
		for _, not := range []string{"RowShare", " ShareLock", " ExclusiveLock", "transaction", "tuple", "advisory"} {
			if strings.Contains(locks, not) {
				t.Errorf("%s %s of one who is refused holds %s", q.method, q.path, locks)
				break
			}
		}
		return locks
	}
	st.writes(t, func(route string, q asked) {
		q.tenant = foreign.String()
		there := look(stranger, q, "not_a_member")
		q.tenant = missingID
		if missing := look(stranger, q, "not_a_member"); there != missing {
			t.Errorf("%s: a stranger has\n%s\nand where no tenant is\n%s", route, there, missing)
		}
		q.tenant = testTenant
		look(plain, q, "forbidden")
	})
	var locks string
	st.during(t, 'S', signed(t, super, ""), asked{method: "PUT", path: "/api/v3/rbac/roles/5", body: `{"description":"seen"}`}, func(port int) {
		locks = st.one(t, locksOf, port)
	})
	for _, want := range []string{"relation tenants RowShareLock", "relation roles RowExclusiveLock", "transactionid ExclusiveLock", "transaction "} {
		if !strings.Contains(locks, want) {
			t.Errorf("one who may write holds %s: no %s", locks, want)
		}
	}
}

// platformWrite reports whether a write is the platform's.
func platformWrite(route string) bool {
	_, path, _ := strings.Cut(route, " ")
	return !strings.HasSuffix(path, "/status") && slices.ContainsFunc(notTheTenants, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// Between the check that refuses a write and the write itself somebody is given
// the right, as a member already or as a stranger: on every route they are refused
// nevertheless, and nothing is written, because nobody holds the lock.
func TestARightGivenAfterTheRefusal(t *testing.T) {
	st := newStopped(t)
	st.exec(t, `insert into poolproof.profiles (tenant_id, user_id) values ($1, $2)`, migrations.DemoPlatform, plainOne)
	for _, who := range []struct {
		user uuid.UUID
		code string
	}{{nobody, "not_a_member"}, {plainOne, "forbidden"}} {
		token := signed(t, who.user, "")
		st.writes(t, func(route string, q asked) {
			q.tenant = testTenant
			role := 3
			if platformWrite(route) {
				q.tenant, role = migrations.DemoPlatform.String(), 4
			}
			st.rawAnswer(t, token, q)
			var before map[string]string
			a := st.during(t, 'B', token, q, func(int) {
				st.exec(t, `insert into poolproof.profiles (tenant_id, user_id) values ($1, $2) on conflict do nothing`, q.tenant, who.user)
				st.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, $3)`, q.tenant, who.user, role)
				before = st.everywhere(t)
			})
			if !strings.HasPrefix(a, "HTTP/1.1 403") || !strings.Contains(a, `"`+who.code+`"`) {
				t.Errorf("%s: %s", route, a)
			}
			if diff := cmp.Diff(before, st.everywhere(t)); diff != "" {
				t.Errorf("%s wrote without the lock: %s", route, diff)
			}
			st.exec(t, `delete from poolproof.user_roles where tenant_id = $1 and user_id = $2 and role_id = $3`, q.tenant, who.user, role)
			if who.user == nobody {
				st.exec(t, `delete from poolproof.profiles where tenant_id = $1 and user_id = $2`, q.tenant, who.user)
			}
		})
	}
}

// Between the check that lets a write pass and the write itself somebody who does
// not take the tenant's lock takes the right away, or ends the membership: on
// every route the write is refused and nothing is written.
func TestARightTakenAfterTheCheck(t *testing.T) {
	st := newStopped(t)
	st.secondManagers(t)
	for _, taken := range []struct{ sql, back, code string }{
		{`update poolproof.user_roles set expires_at = '2001-01-01' where tenant_id = $1 and user_id = $2`,
			`update poolproof.user_roles set expires_at = null where tenant_id = $1 and user_id = $2`, "forbidden"},
		{`update poolproof.profiles set active = false where tenant_id = $1 and user_id = $2`,
			`update poolproof.profiles set active = true where tenant_id = $1 and user_id = $2`, "not_a_member"},
	} {
		st.writes(t, func(route string, q asked) {
			user := super
			q.tenant = testTenant
			if platformWrite(route) {
				user, q.tenant = migrations.DemoPlatformAdmin, migrations.DemoPlatform.String()
			}
			var before map[string]string
			a := st.during(t, 'B', signed(t, user, ""), q, func(int) {
				st.exec(t, taken.sql, q.tenant, user)
				before = st.everywhere(t)
			})
			if !strings.HasPrefix(a, "HTTP/1.1 403") || !strings.Contains(a, `"`+taken.code+`"`) {
				t.Errorf("%s: %s", route, a)
			}
			if diff := cmp.Diff(before, st.everywhere(t)); diff != "" {
				t.Errorf("%s wrote: %s", route, diff)
			}
			st.exec(t, taken.back, q.tenant, user)
		})
	}
}

// secondManagers adds another manager to the tenant and to the platform, and lets
// the service learn what it learns once.
func (st *stopped) secondManagers(t *testing.T) {
	t.Helper()
	for tenant, role := range map[uuid.UUID]int{migrations.DemoTenant: 3, migrations.DemoPlatform: 4} {
		st.exec(t, `insert into poolproof.profiles (tenant_id, user_id) values ($1, $2)`, tenant, nobody)
		st.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, $3)`, tenant, nobody, role)
	}
	st.rawAnswer(t, signed(t, migrations.DemoPlatformAdmin, ""), asked{method: "DELETE", path: "/api/v3/rbac/features/" + missingID, tenant: migrations.DemoPlatform.String()})
}

// An ADMIN withdraws a SUPER_ADMIN's role, and between the check and that the
// only other manager goes: the rule holds, and the answer says so. By the service
// itself nobody gets between them: whoever withdraws the other manager's role
// waits for the lock, and is then the one who is refused.
func TestTheOtherManagerGoesAfterTheCheck(t *testing.T) {
	st := newStopped(t)
	const (
		add      = `insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, 3)`
		managers = `select count(*)::text from poolproof.user_roles where tenant_id = $1 and role_id = 3`
	)
	second, admin := people["lead"].id, signed(t, people["admin"].id, "")
	st.exec(t, add, testTenant, second)
	withdraw := func(user uuid.UUID) asked {
		return asked{method: "DELETE", path: "/api/v3/rbac/users/" + user.String() + "/roles/3"}
	}

	other := make(chan string, 1)
	a := st.during(t, 'B', admin, withdraw(super), func(int) {
		go func() { other <- st.rawAnswer(t, signed(t, super, ""), withdraw(second)) }()
		for st.one(t, `select count(*)::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) != "1" {
			if t.Failed() {
				return
			}
		}
	})
	if b := <-other; !strings.HasPrefix(a, "HTTP/1.1 200") || !strings.HasPrefix(b, "HTTP/1.1 403") || st.one(t, managers, testTenant) != "1" {
		t.Errorf("the first was answered\n%s\nand the one who waited\n%s\nmanagers: %s", a, b, st.one(t, managers, testTenant))
	}

	st.exec(t, add, testTenant, super)
	var before map[string]string
	a = st.during(t, 'B', admin, withdraw(super), func(int) {
		st.exec(t, `delete from poolproof.user_roles where tenant_id = $1 and user_id = $2 and role_id = 3`, testTenant, second)
		before = st.everywhere(t)
	})
	if !strings.HasPrefix(a, "HTTP/1.1 409") || !strings.Contains(a, `"last_manager"`) {
		t.Error(a)
	}
	if diff := cmp.Diff(before, st.everywhere(t)); diff != "" {
		t.Error(diff)
	}
}

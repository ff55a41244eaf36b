package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

// Somebody holds every tenant's row. Each write of a stranger, and of a member
// without the permission, is refused nevertheless: it waits for nobody, takes no
// transaction id, and for a tenant that is there the same messages of the same
// sizes go to the server and come back as for one that is not, and the answer has
// the same bytes.
func TestARefusedWriteLocksNothing(t *testing.T) {
	var said func() []string
	s := newService(t, func(url string) string {
		url, said = pgtest.Tap(t, url)
		return url
	})
	holder := s.connect(t)
	defer holder.Close(t.Context()) //nolint:errcheck // nothing is lost
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select from poolproof.tenants for update`); err != nil {
		t.Fatal(err)
	}
	stranger, plain := signed(t, nobody, ""), signed(t, plainOne, "")
	writes := maps.Clone(goodBodies)
	for path, methods := range s.api.table {
		if _, ok := methods[http.MethodDelete]; ok {
			writes["DELETE "+path] = ""
		}
	}
	if len(writes) < len(goodBodies)+8 {
		t.Fatalf("the writes are %v", slices.Sorted(maps.Keys(writes)))
	}
	everyWrite := func() {
		for route, body := range writes {
			method, route, _ := strings.Cut(route, " ")
			q := asked{method: method, path: fill(t, route, -1, ""), body: body}
			for _, tenant := range []string{foreign.String(), missingID} {
				q.tenant = tenant
				if a := s.rawAnswer(t, stranger, q); !strings.HasPrefix(a, "HTTP/1.1 403") || !strings.Contains(a, "not_a_member") {
					t.Errorf("a stranger's %s %s: %s", method, route, a)
				}
			}
			q.tenant = testTenant
			if a := s.rawAnswer(t, plain, q); !strings.HasPrefix(a, "HTTP/1.1 403") || !strings.Contains(a, `"forbidden"`) {
				t.Errorf("a member's %s %s: %s", method, route, a)
			}
		}
	}
	everyWrite() // what is only learned once is known from here on

	for route, body := range writes {
		method, route, _ := strings.Cut(route, " ")
		q := asked{method: method, path: fill(t, route, -1, ""), body: body}
		var sent, answers []string
		for _, tenant := range []string{foreign.String(), missingID} {
			q.tenant = tenant
			_ = said()
			answers = append(answers, s.rawAnswer(t, stranger, q))
			sent = append(sent, strings.Join(said(), ", "))
		}
		if sent[0] != sent[1] || answers[0] != answers[1] || !strings.Contains(sent[0], "> S 4") || !strings.Contains(sent[0], "< Z 5") {
			t.Errorf("%s %s for a tenant that is there and one that is not: messages %q, answers\n%s", method, route, sent, strings.Join(answers, "\n"))
		}
	}

	// Nobody holds a row any more, and still none is locked.
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Something else on the server may take an id meanwhile; a write that took
	// one would take it every time.
	next := `select pg_snapshot_xmax(pg_current_snapshot())::text`
	for attempt := 1; ; attempt++ {
		before := s.text(t, next)
		everyWrite()
		after := s.text(t, next)
		if before == after {
			break
		}
		if attempt == 5 {
			t.Errorf("refused writes took transaction ids: %s before, %s after", before, after)
			break
		}
	}
}

// What lock_tenant holds at its end, by pg_locks: for a stranger the same for a
// tenant that is there and one that is not, and no transaction id; the scope is
// gone, also for a member without the permission. One who may write has the id
// that the row's lock took.
func TestLocksOfARefusedCaller(t *testing.T) {
	s := newService(t)
	conn := s.connect(t)
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost
	ask := func(tenant, user uuid.UUID) string {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(t.Context()) //nolint:errcheck // only looked
		if _, err := tx.Exec(t.Context(), `select set_config('role', $1, true), set_config('app.current_tenant_id', $2, true), set_config('app.current_user_id', $3, true)`,
			demoLogin.User.Username(), tenant.String(), user.String()); err != nil {
			t.Fatal(err)
		}
		var text string
		if err := tx.QueryRow(t.Context(), `select coalesce(poolproof.lock_tenant($1, $2, 'manage_roles', $1), 'locked')`, tenant, user).Scan(&text); err != nil {
			t.Fatal(err)
		}
		var scope, locks string
		var id bool
		if err := tx.QueryRow(t.Context(), `select current_setting('app.current_tenant_id'), pg_current_xact_id_if_assigned() is not null,
			(select string_agg(concat_ws(' ', l.locktype, l.relation::regclass, l.mode), ', ' order by l.locktype, l.relation, l.mode)
				from pg_locks l where l.pid = pg_backend_pid() and l.relation is distinct from 'pg_locks'::regclass)`).Scan(&scope, &id, &locks); err != nil {
			t.Fatal(err)
		}
		if (text == "locked") != id || (text == "locked") != (scope != "") || strings.Contains(locks, "transactionid") != id || strings.Contains(locks, "RowShareLock") != id {
			t.Errorf("%s: scope %q, a transaction id %t, locks %s", text, scope, id, locks)
		}
		return text + ": " + locks
	}
	there, missing := ask(foreign, nobody), ask(uuid.MustParse(missingID), nobody)
	if there != missing || !strings.HasPrefix(there, "not_a_member: ") {
		t.Errorf("a stranger has\n%s\nand where no tenant is\n%s", there, missing)
	}
	if got := ask(migrations.DemoTenant, plainOne); !strings.HasPrefix(got, "forbidden: ") {
		t.Errorf("a member without the permission has %s", got)
	}
	if got := ask(migrations.DemoTenant, super); !strings.HasPrefix(got, "locked: ") {
		t.Errorf("who may write has %s", got)
	}
}

// Tenants have set the feature, one has switched it off, and the platform's
// administrator deletes it: their values go with it, and each of their epochs
// is raised. The owner of the schema is no superuser.
func TestDeletingAFeatureThatTenantsHaveSet(t *testing.T) {
	s := newService(t)
	const id = "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
	s.exec(t, `insert into poolproof.features (id, name) values ($1, 'doomed')`, id)
	s.exec(t, `insert into poolproof.tenant_features (tenant_id, feature_id, enabled) values ($2, $1, true), ($3, $1, false)`, id, migrations.DemoTenant, foreign)
	const epochs = `select string_agg((epoch + $1)::text, ' ' order by tenant_id) from poolproof.epochs where tenant_id in ($2, $3, '00000000-0000-0000-0000-000000000000')`
	want := s.text(t, epochs, 1, migrations.DemoTenant, foreign)
	a := s.rawAnswer(t, signed(t, migrations.DemoPlatformAdmin, ""), asked{method: http.MethodDelete, path: "/api/v3/rbac/features/" + id, tenant: migrations.DemoPlatform.String()})
	if !strings.HasPrefix(a, "HTTP/1.1 200") {
		t.Fatal(a)
	}
	if n := s.text(t, `select count(*)::text from poolproof.tenant_features where feature_id = $1`, id); n != "0" {
		t.Errorf("%s tenants still have it", n)
	}
	if got := s.text(t, epochs, 0, migrations.DemoTenant, foreign); got != want {
		t.Errorf("the epochs are %s, want %s", got, want)
	}
}

// Every reference that changes rows when another row goes, and every trigger
// that runs as the schema's owner. Where the first table is a tenant's and the
// second is none, rows of tenants change under another tenant's scope: a new one
// is added here together with a test that goes its way.
func TestEveryCascadeIsKnown(t *testing.T) {
	s := newService(t)
	got := s.text(t, `select string_agg(x.line, E'\n' order by x.line) from (
		select concat_ws(' ', substr(c.conrelid::regclass::text, 11), 'follows', substr(c.confrelid::regclass::text, 11),
			case c.confdeltype when 'c' then 'on delete' when 'a' then null when 'r' then null else 'otherwise on delete' end,
			case c.confupdtype when 'c' then 'on update' when 'a' then null when 'r' then null else 'otherwise on update' end) as line
		from pg_constraint c
		where c.contype = 'f' and c.connamespace = 'poolproof'::regnamespace and (c.confdeltype not in ('a', 'r') or c.confupdtype not in ('a', 'r'))
		union
		select concat_ws(' ', 'as owner', p.proname) from pg_trigger g join pg_proc p on p.oid = g.tgfoid
		where p.pronamespace = 'poolproof'::regnamespace and p.prosecdef) x`)
	const want = `as owner raise_catalogue_epoch
as owner raise_epoch
as owner raise_epoch_of_tenant
audit_log follows tenants on delete
profiles follows tenants on delete
role_parents follows roles on delete
role_permissions follows roles on delete
roles follows tenants on delete
sidebar_items follows permissions on update
tenant_features follows features on delete
tenant_features follows tenants on delete
user_roles follows profiles on delete
user_roles follows roles on delete`
	if got != want {
		t.Errorf("cascades:\n%s\nwant\n%s", got, want)
	}
}

package legacy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// An import that ends in the middle leaves whole tenants, and the next one
// completes them: after an error of a statement, and after the server process
// died under it.
func TestInTheMiddle(t *testing.T) {
	for name, tc := range map[string]struct {
		kind pgtest.Kind
		fail string
	}{
		"a statement fails, statement pooling":     {pgtest.PgBouncer118Statement, `raise exception 'no more'`},
		"a statement fails, transaction pooling":   {pgtest.PgBouncer118Transaction, `raise exception 'no more'`},
		"the server process dies, statement mode":  {pgtest.PgBouncer118Statement, `perform pg_terminate_backend(pg_backend_pid())`},
		"the server process dies, no pooler there": {pgtest.Direct, `perform pg_terminate_backend(pg_backend_pid())`},
	} {
		t.Run(name, func(t *testing.T) {
			owner, admin := destination(t)
			beside(t, owner, "")
			url := pgtest.Pooled(t, owner, tc.kind)
			p := planOf(t, owner, url, Options{Admin: uuid.New()})
			if len(p.Tenants) != 3 || p.Tenants[1].ID.String() == lastApple {
				t.Fatalf("the plan's tenants: %+v", p.Tenants)
			}
			second := p.Tenants[1]
			// Late: its roles and members are made by then.
			exec(t, admin, `create function public.fail() returns trigger language plpgsql as $$ begin
					if new.tenant_id = '`+second.ID.String()+`' and new.granted_by = '`+Actor.String()+`' then `+tc.fail+`; end if; return new; end $$;
				create trigger fail before insert on poolproof.user_roles for each row execute function public.fail()`)
			done := 0
			err := Apply(t.Context(), url, p, func(n, _ int) { done = n })
			if err == nil || done != 1 || !strings.Contains(err.Error(), second.Name) {
				t.Fatalf("%d tenants done: %v", done, err)
			}
			const parts = `select string_agg(t.name || ' ' || (select count(*) from poolproof.profiles p where p.tenant_id = t.id) || ' '
				|| (select count(*) from poolproof.user_roles u where u.tenant_id = t.id), ', ' order by t.name) from poolproof.tenants t where t.slug <> 'platform'`
			first := one[string](t, admin, parts)
			if strings.Contains(first, ",") || !strings.HasPrefix(first, p.Tenants[0].Name+" ") {
				t.Errorf("after the failure: %s", first)
			}
			for _, table := range []string{"profiles", "roles", "role_permissions", "user_roles", "tenant_features", "audit_log"} {
				if n := one[int](t, admin, `select count(*)::int from poolproof.`+table+` where tenant_id = $1`, second.ID); n != 0 {
					t.Errorf("%d rows of the tenant that failed are in %s", n, table)
				}
			}
			exec(t, admin, `drop trigger fail on poolproof.user_roles`)
			again := imported(t, owner, url, Options{Admin: uuid.New()})
			if n := len(again.Tenants); n != 3 || !again.Tenants[0].empty() || again.Tenants[1].empty() {
				t.Errorf("the second plan: %+v", again.Tenants)
			}
			if got := one[string](t, admin, parts); got != "Last Apple 6 5, Nobody's 2 1, Voice Automated 5 4" {
				t.Errorf("after the second run: %s", got)
			}
		})
	}
}

// A tenant that is changed, or made, after the plan is left as it is.
func TestAPlanThatIsTooOld(t *testing.T) {
	owner, admin := destination(t)
	beside(t, owner, "")
	p := planOf(t, owner, owner, Options{})
	imported(t, owner, owner, Options{}) // somebody else's
	before := everything(t, admin)
	p.Catalogue = Catalogue{}
	if err := Apply(t.Context(), owner, p, nil); !errors.Is(err, ErrChanged) {
		t.Errorf("a tenant that was made meanwhile: %v", err)
	}
	exec(t, admin, `insert into public.user_roles (user_id, role_id, tenant_id) values ('`+person(9)+`', 6, '`+voice+`')`)
	p = planOf(t, owner, owner, Options{})
	if p.Empty() {
		t.Fatal("nothing to do")
	}
	exec(t, admin, `select set_config('app.current_tenant_id', '`+voice+`', true); update poolproof.profiles set name = 'Vera C.' where user_id = '`+person(7)+`'`)
	if err := Apply(t.Context(), owner, p, nil); !errors.Is(err, ErrChanged) {
		t.Errorf("a tenant that was changed meanwhile: %v", err)
	}
	exec(t, admin, `select set_config('app.current_tenant_id', '`+voice+`', true); update poolproof.profiles set name = 'Vera' where user_id = '`+person(7)+`'`)
	if strings.Contains(who(t, admin, voice), "09") || strings.Count(before, "profile.create") != strings.Count(everything(t, admin), "profile.create") {
		t.Error("a plan that is too old was carried out")
	}
	imported(t, owner, owner, Options{})
	if !strings.Contains(who(t, admin, voice), "09 Researcher") {
		t.Error("a new plan was not")
	}
}

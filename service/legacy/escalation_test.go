package legacy

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

// Whoever could write the source's tables before an import gains nothing that
// the source did not give.
func TestNobodyGains(t *testing.T) {
	for name, tc := range map[string]struct {
		craft string // changes the source
		// want is who has which role in Voice Automated afterwards.
		want string
		// listed are parts of a line of what is not mapped; none: not listed.
		listed []string
		// role of Voice Automated, and what it holds.
		role, holds string
	}{
		"a role of a tenant named GLOBAL_ADMIN with manage_tenants": {
			craft: `insert into roles (id, name, tenant_id) values (50, 'GLOBAL_ADMIN', '` + voice + `');
				insert into role_permissions (role_id, permission_id) select 50, id from permissions where name in ('manage_tenants', 'view_dashboard');
				insert into user_roles (user_id, role_id, tenant_id) values ('` + person(8) + `', 50, '` + voice + `')`,
			want:   "02 USER, 07 GLOBAL_ADMIN, 08 GLOBAL_ADMIN (imported), 08 Researcher, 10 ADMIN",
			listed: []string{"role_permissions", "role 50 GLOBAL_ADMIN", "manage_tenants"},
			role:   "GLOBAL_ADMIN (imported)", holds: "view_dashboard",
		},
		"a role of a tenant named SUPER_ADMIN without power": {
			craft: `insert into roles (id, name, tenant_id) values (50, 'SUPER_ADMIN', '` + voice + `');
				insert into user_roles (user_id, role_id) values ('` + person(8) + `', 50)`,
			want: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 08 SUPER_ADMIN (imported), 10 ADMIN",
			role: "SUPER_ADMIN (imported)", holds: "",
		},
		"somebody takes the name of a powerless role's copy": {
			craft: `insert into roles (id, name, tenant_id) values (50, 'SUPER_ADMIN', '` + voice + `'), (51, 'SUPER_ADMIN (imported)', '` + voice + `');
				insert into role_permissions (role_id, permission_id) select 51, id from permissions where name = 'manage_users';
				insert into user_roles (user_id, role_id) values ('` + person(8) + `', 51)`,
			want:   "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			listed: []string{"user_roles", "role 51 SUPER_ADMIN (imported)", "another role of the tenant has this name"},
			role:   "SUPER_ADMIN (imported)", holds: "",
		},
		"a high number": {
			craft: `insert into roles (id, name, tenant_id) values (1000000, 'Zero', '` + voice + `');
				insert into user_roles (user_id, role_id, tenant_id) values ('` + person(8) + `', 1000000, '` + voice + `')`,
			want: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 08 Zero, 10 ADMIN",
			role: "Zero", holds: "",
		},
		"a profile says GLOBAL_ADMIN of itself": {
			craft:  `update profiles set role = 'GLOBAL_ADMIN', role_id = null where id = '` + person(9) + `'`,
			want:   "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			listed: []string{"profiles", person(9), "only the text"},
		},
		"a profile outbids user_roles": {
			craft: `update profiles set role = 'GLOBAL_ADMIN', role_id = 4 where id = '` + person(8) + `'`,
			want:  "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
		},
		"an assignment that cannot be mapped is not replaced by the profile's": {
			craft: `alter table user_roles drop constraint user_roles_role_id_fkey;
				update profiles set role_id = 3 where id = '` + person(8) + `';
				update user_roles set role_id = 99 where user_id = '` + person(8) + `'`,
			want:   "02 USER, 07 GLOBAL_ADMIN, 10 ADMIN",
			listed: []string{"user_roles", person(8), "role 99", noRoleReason},
		},
		"an assignment in a tenant of which the user is no member": {
			craft: `insert into user_roles (user_id, role_id, tenant_id) values ('` + person(2) + `', 3, '` + nobodys + `'), ('` + person(1) + `', 2, '` + voice + `')`,
			want:  "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			listed: []string{
				"user_roles", person(1), "role 2 ADMIN", voice, noMemberReason,
			},
		},
		"another tenant's role": {
			craft:  `insert into user_roles (user_id, role_id, tenant_id) values ('` + person(8) + `', 5, '` + voice + `')`,
			want:   "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			listed: []string{"user_roles", person(8), "role 5 Editor", otherRoleReason},
		},
		"the tenant's own ADMIN holds more than the shared one, which others have": {
			craft: `insert into roles (id, name, tenant_id) values (50, 'ADMIN', '` + voice + `');
				insert into role_permissions (role_id, permission_id) select 50, id from permissions where name in ('manage_roles', 'manage_users');
				insert into user_roles (user_id, role_id) values ('` + person(8) + `', 50)`,
			want:   "02 USER, 07 GLOBAL_ADMIN, 08 ADMIN, 08 Researcher",
			listed: []string{"profiles", person(10), "own role of this name holds more"},
			role:   "ADMIN", holds: "manage_roles manage_users",
		},
		"a system role's name with blanks": {
			craft: `insert into roles (id, name, tenant_id) values (50, ' SUPER_ADMIN', '` + voice + `');
				insert into user_roles (user_id, role_id) values ('` + person(8) + `', 50)`,
			want:   "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			listed: []string{"roles", "role 50", "but for blanks"},
		},
		"the import's own id": {
			craft: `insert into auth.users values ('` + Actor.String() + `');
				insert into profiles (id, tenant_id, role_id, active) values ('` + Actor.String() + `', '` + voice + `', 1, true)`,
			want:   "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			listed: []string{"profiles", Actor.String()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			owner, admin := destination(t)
			beside(t, owner, tc.craft)
			from := owner
			p := imported(t, from, owner, Options{})
			if got := who(t, admin, voice); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if tc.listed != nil {
				p.wantUnmapped(t, tc.listed...)
			}
			if tc.role != "" {
				if got := holds(t, admin, voice, tc.role); got != tc.holds {
					t.Errorf("%s holds %q, want %q", tc.role, got, tc.holds)
				}
			}
			if n := one[int](t, admin, `select count(*)::int from poolproof.profiles p, poolproof.held(p.tenant_id, p.user_id) h
				join poolproof.permissions g on g.id = h.permission_id
				where g.name = 'manage_tenants' and p.tenant_id <> (select id from poolproof.platform)`); n != 0 {
				t.Errorf("%d members of tenants hold manage_tenants", n)
			}
			if again := planOf(t, from, owner, Options{}); !again.Empty() {
				t.Errorf("a second run has something to do: %+v", again.Tenants)
			}
		})
	}
}

// A tenant of the source that has the platform's id.
func TestThePlatformIsNeverImportedInto(t *testing.T) {
	owner, admin := destination(t)
	platform := one[string](t, admin, `select id::text from poolproof.platform`)
	from := source(t, `insert into tenants (id, name) values ('`+platform+`', 'Us');
		update profiles set tenant_id = '`+platform+`', role_id = 4 where id = '`+person(1)+`';
		update user_roles set tenant_id = '`+platform+`', role_id = 4 where user_id = '`+person(1)+`';
		update user_tenants set tenant_id = '`+platform+`' where role_id = 1`)
	before := one[string](t, admin, `select jsonb_agg(to_jsonb(p))::text || (select jsonb_agg(to_jsonb(u)) from poolproof.user_roles u)
		|| (select jsonb_agg(to_jsonb(t)) from poolproof.tenants t) from poolproof.profiles p`)
	p := imported(t, from, owner, Options{Admin: uuid.New()})
	p.wantUnmapped(t, "tenants", platform, "the platform tenant's")
	p.wantUnmapped(t, "1 profile of tenant "+platform)
	after := one[string](t, admin, `select (select jsonb_agg(to_jsonb(p))::text from poolproof.profiles p where tenant_id = x.id)
		|| (select jsonb_agg(to_jsonb(u)) from poolproof.user_roles u where tenant_id = x.id)
		|| (select jsonb_agg(to_jsonb(t)) from poolproof.tenants t where t.id = x.id) from poolproof.platform x`)
	if before != after {
		t.Errorf("the platform changed from %s to %s", before, after)
	}
}

// A tenant that poolproof has already: what is there stays, and roles of the
// same name are not filled.
func TestATenantThatIsThere(t *testing.T) {
	owner, admin := destination(t)
	if err := migrations.Demo(t.Context(), owner, uuid.New()); err != nil {
		t.Fatal(err)
	}
	from := source(t, `insert into roles (id, name, tenant_id) values (50, 'Content editor', '`+lastApple+`'), (51, 'Auditor', '`+lastApple+`');
		insert into role_permissions (role_id, permission_id) select r, id from permissions, unnest(array[50, 51]) r where name in ('manage_users', 'view_dashboard', 'view_contentmap', 'start_contentmap');
		insert into user_roles (user_id, role_id, tenant_id) values ('`+person(2)+`', 50, '`+lastApple+`'), ('`+person(6)+`', 51, '`+lastApple+`')`)
	before := holds(t, admin, lastApple, "Content editor") + holds(t, admin, lastApple, "ADMIN") + holds(t, admin, lastApple, "Auditor")
	p := imported(t, pgtest.Pooled(t, from, pgtest.PgBouncer118Transaction), owner, Options{})
	if after := holds(t, admin, lastApple, "Content editor") + holds(t, admin, lastApple, "ADMIN") + holds(t, admin, lastApple, "Auditor"); before != after {
		t.Errorf("roles that were there changed from %s to %s", before, after)
	}
	if got := one[string](t, admin, `select string_agg(r.name, ', ' order by r.name) from poolproof.user_roles u join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id
		where u.tenant_id = $1::text::uuid and u.user_id = $2::text::uuid`, lastApple, person(2)); got != "Content editor" {
		t.Errorf("person 2 has %s", got)
	}
	// Auditor here inherits USER, which sees more.
	p.wantUnmapped(t, "user_roles", person(6), "Auditor", "gives more")
	p.wantUnmapped(t, "profiles", person(10), "role 2 ADMIN", "gives more") // manage_users, there
	if strings.Contains(who(t, admin, voice), "10 ADMIN") {
		t.Error("a role that gives more was given")
	}
}

// What an import brought and somebody removed does not come back, and what
// they changed stays.
func TestNothingComesBack(t *testing.T) {
	owner, admin := destination(t)
	from := source(t, "")
	imported(t, from, owner, Options{})
	as := func(tenant string) string {
		return `select set_config('app.current_tenant_id', '` + tenant + `', true);`
	}
	exec(t, admin, as(voice)+`delete from poolproof.user_roles where user_id = '`+person(10)+`';
		delete from poolproof.profiles where user_id = '`+person(8)+`';
		delete from poolproof.tenant_features where tenant_id = '`+voice+`' and feature_id in (select id from poolproof.features where name = 'emailhunter');
		update poolproof.profiles set email = 'new@voice.example' where user_id = '`+person(7)+`';
		delete from poolproof.sidebar_items where url_path = '/reports';
		`+as(lastApple)+`
		delete from poolproof.role_permissions x using poolproof.permissions p where p.id = x.permission_id and p.name = 'access_page_scraper';
		update poolproof.roles set name = 'Sub-editor' where name = 'Editor';
		update poolproof.features set default_enabled = true where name = 'deep-analysis'`)
	before := everything(t, admin)
	p := imported(t, from, owner, Options{})
	if before != everything(t, admin) || !p.Empty() {
		t.Errorf("a second run brought something back: %+v", p)
	}
	p.wantUnmapped(t, "profiles.role_id", person(10), goneReason)
	p.wantUnmapped(t, "profiles", person(8), goneReason)
	p.wantUnmapped(t, "tenant_features", "emailhunter", goneReason)
	p.wantUnmapped(t, "sidebar_features", "/reports", goneReason)
	// Nor does a tenant that the platform's administrator deleted.
	boss := one[string](t, admin, `select user_id::text from poolproof.profiles where email = 'boss@example.org'`)
	if got := one[string](t, admin, `select d.verdict from poolproof.platform x, lateral poolproof.remove_tenant(x.id, $1::text::uuid, x.id, $2::text::uuid, true, null)
		d where set_config('app.current_tenant_id', x.id::text, false) <> ''`, boss, lastApple); got != "ok" {
		t.Fatalf("deleting a tenant: %s", got)
	}
	p = imported(t, from, owner, Options{})
	p.wantUnmapped(t, "tenants", lastApple, "has been deleted")
	if !p.Empty() {
		t.Errorf("a deleted tenant brought something back: %+v", p.Tenants)
	}
	// What is new in the source since comes over.
	exec(t, open(t, from), `insert into user_roles (user_id, role_id, tenant_id) values ('`+person(9)+`', 6, '`+voice+`');
		insert into role_permissions (role_id, permission_id) select 6, id from permissions where name = 'start_localminer'`)
	imported(t, from, owner, Options{})
	if got := who(t, admin, voice); !strings.Contains(got, "09 Researcher") || strings.Contains(got, "10 ") {
		t.Errorf("after a third run: %s", got)
	}
	if got := holds(t, admin, voice, "Researcher"); got != "start_localminer view_localminer" {
		t.Errorf("Researcher holds %s", got)
	}
}

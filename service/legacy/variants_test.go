package legacy

import (
	"slices"
	"strings"
	"testing"
)

// Installations whose tables are others than those of the dump.
func TestVariants(t *testing.T) {
	for name, tc := range map[string]struct {
		change           string // of the fixture
		apple, voice     string // who has which role
		absent, listed   []string
		decided          []string
		userHolds        string // what Last Apple's USER holds; "": not looked at
		discovery, local string // Voice Automated's rows: t, f or - for none
	}{
		"roles without tenants": {
			change: `alter table roles drop column tenant_id cascade`,
			apple:  "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 09 Editor, 10 ADMIN",
			absent: []string{"roles.tenant_id"}, decided: []string{"roles", "each is made in the tenants that use it"},
		},
		"ids of roles are UUIDs": {
			change: `alter table profiles drop constraint profiles_role_id_fkey; alter table role_permissions drop constraint role_permissions_role_id_fkey;
				alter table user_roles drop constraint user_roles_role_id_fkey;
				alter table roles alter id drop default, alter id type uuid using md5(id::text)::uuid;
				alter table profiles alter role_id type uuid using md5(role_id::text)::uuid;
				alter table role_permissions alter role_id type uuid using md5(role_id::text)::uuid;
				alter table user_tenants alter role_id type uuid using md5(role_id::text)::uuid;
				alter table user_roles alter role_id type uuid using md5(role_id::text)::uuid`,
			apple: "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
		},
		"user_roles without tenants": {
			change: `alter table user_roles drop column tenant_id`,
			apple:  "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 SUPER_ADMIN",
			absent: []string{"user_roles.tenant_id"}, decided: []string{"user_roles has no tenant there"},
		},
		"other names of columns": {
			change: `alter table tenant_features rename is_enabled to enabled; alter table feature_flags rename default_enabled to is_enabled;
				drop table features; alter table feature_flags rename to features;
				alter table sidebar_features rename sidebar_name to title; alter table sidebar_features rename url_path to path;
				alter table sidebar_features rename requires_permission to required_permission; alter table sidebar_features drop column minimum_role_id;
				alter table profiles rename active to is_active`,
			apple: "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			listed: []string{"sidebar_features", "/analyze"}, discovery: "-", local: "f",
		},
		"everything by text, the older enum": {
			change: `create type app_role as enum ('basic', 'admin', 'super_admin', 'system_admin');
				drop table user_roles, user_tenants;
				alter table profiles drop constraint profiles_role_check, alter role drop default;
				update profiles p set role = r.name from roles r where r.id = p.role_id and r.id < 5;
				update profiles set role = 'GLOBAL_ADMIN' where id = '` + person(7) + `';
				update profiles set role = case role when 'USER' then 'basic' when 'ADMIN' then 'admin' when 'SUPER_ADMIN' then 'super_admin' else 'system_admin' end;
				alter table profiles drop column role_id, alter role type app_role using role::text::app_role;
				alter table role_permissions add role app_role;
				delete from role_permissions where role_id > 4;
				update role_permissions set role = (array['basic', 'admin', 'super_admin', 'system_admin'])[role_id]::app_role;
				alter table role_permissions drop column role_id;
				drop table roles`,
			apple: "01 SUPER_ADMIN, 02 ADMIN, 03 GLOBAL_ADMIN, 04 GLOBAL_ADMIN, 05 SUPER_ADMIN, 06 USER", voice: "07 GLOBAL_ADMIN, 08 USER, 09 USER, 10 ADMIN",
			absent:    []string{"roles", "user_roles", "user_tenants", "profiles.role_id"},
			userHolds: "view_actionqueue view_contactlaunchpad view_contentmap view_dashboard view_emailhunter view_frontendscout view_localminer view_siteharvest view_socialradar",
		},
		"no table says what roles hold": {
			change: `drop table role_permissions`,
			apple:  "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			absent: []string{"role_permissions"}, decided: []string{"role_permissions", "the four roles hold what poolproof's hold"},
		},
		"permissions of tenants, twice": {
			change: `alter table permissions drop constraint permissions_name_key, drop constraint unique_permission_name, add tenant_id uuid;
				insert into permissions (id, name, tenant_id) values (gen_random_uuid(), 'view_dashboard', '` + voice + `')`,
			apple: "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			decided: []string{"permissions", "view_dashboard", "twice"},
		},
		"tenants of profiles are text": {
			change: `alter table profiles drop constraint profiles_tenant_id_fkey, alter tenant_id drop default, alter tenant_id type text;
				update profiles set tenant_id = 'default' where id = '` + person(10) + `';
				update profiles set tenant_id = '00000000-0000-0000-0000-000000000000' where id = '` + person(9) + `';
				update profiles set tenant_id = '12345678-1234-1234-1234-123456789012' where id = '` + person(8) + `';
				update profiles set tenant_id = upper(tenant_id) where id = '` + person(7) + `'`,
			apple: "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN",
			listed: []string{"profiles", person(8), "12345678-1234", noTenantReason},
		},
		"no table of tenants": {
			change: `drop table tenants cascade`,
			apple:  "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			absent: []string{"tenants"}, decided: []string{"tenants", "those that profiles name"},
		},
		"no features and no sidebar": {
			change: `drop table tenant_features, sidebar_features; drop table feature_flags cascade`,
			apple:  "01 SUPER_ADMIN, 02 ADMIN, 03 Editor, 05 SUPER_ADMIN, 06 USER", voice: "02 USER, 07 GLOBAL_ADMIN, 08 Researcher, 10 ADMIN",
			absent: []string{"feature_flags", "tenant_features", "sidebar_features"}, discovery: "-", local: "-",
		},
	} {
		t.Run(name, func(t *testing.T) {
			owner, admin := destination(t)
			beside(t, owner, tc.change)
			p := imported(t, owner, owner, Options{})
			if got := who(t, admin, lastApple); got != tc.apple {
				t.Errorf("Last Apple: %s, want %s", got, tc.apple)
			}
			if got := who(t, admin, voice); got != tc.voice {
				t.Errorf("Voice Automated: %s, want %s", got, tc.voice)
			}
			for _, x := range tc.absent {
				if !slices.Contains(p.Absent, x) {
					t.Errorf("%s is not said to be absent: %v", x, p.Absent)
				}
			}
			if tc.listed != nil {
				p.wantUnmapped(t, tc.listed...)
			}
			if tc.decided != nil {
				Plan{Unmapped: p.Decided}.wantUnmapped(t, tc.decided...)
			}
			if got := holds(t, admin, lastApple, "USER"); tc.userHolds != "" && got != tc.userHolds {
				t.Errorf("USER holds %s", got)
			}
			row := func(feature string) string {
				return one[string](t, admin, `select coalesce((select left(x.enabled::text, 1) from poolproof.tenant_features x join poolproof.features f on f.id = x.feature_id
					where x.tenant_id = $1::text::uuid and f.name = $2), '-')`, voice, feature)
			}
			if tc.discovery != "" && (row("discovery-scan") != tc.discovery || row("localminer") != tc.local) {
				t.Errorf("Voice Automated's discovery-scan %s, localminer %s", row("discovery-scan"), row("localminer"))
			}
			var text strings.Builder
			if err := p.WriteText(&text); err != nil || !strings.Contains(text.String(), "Voice Automated") && !strings.Contains(text.String(), "Tenant 2ebffd7a") {
				t.Errorf("the plan as text: %v\n%s", err, &text)
			}
			if again := planOf(t, owner, owner, Options{}); !again.Empty() {
				t.Errorf("a second run has something to do: %+v", again.Tenants)
			}
		})
	}
}

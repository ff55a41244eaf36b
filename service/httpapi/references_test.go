package httpapi

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/service/migrations"
)

// reference is a request about a row that others refer to, or that a unique index
// guards.
type reference struct {
	key    string // the constraint that it is a case of; several are separated by spaces
	name   string
	do     string // method and path
	body   string
	tenant string   // whose administrator asks; "" is ours
	before []string // SQL, before the request
	// race is SQL of somebody who does not take the tenant's lock, and who commits
	// when the request's statement has made its checks and waits for what this SQL
	// has locked: what was checked is so no more.
	race    []string
	answer  string   // status and, of a refusal, code
	after   string   // SQL: a text
	want    string   // that text, as the request leaves it
	changed []string // tables in which rows of other tenants change, and may
}

// What the cases speak of: rows with the ids below, in our tenant and in the other.
const (
	refRole, refParent = "7001", "7002"
	refPermission      = "aaaaaaaa-0000-4000-8000-000000000001"
	refFeature         = "aaaaaaaa-0000-4000-8000-000000000002"
	refItem            = "aaaaaaaa-0000-4000-8000-000000000003"
	refTenant          = "aaaaaaaa-0000-4000-8000-000000000004"
	refUser            = "aaaaaaaa-0000-4000-8000-000000000005"
)

// refRows make them: the role 7001 inherits from 7002, the user is a member of
// both tenants with 7001 in both, and of a third one.
var refRows = []string{
	`insert into poolproof.permissions (id, name, resource_type, action) values ('` + refPermission + `', 'use_ref', 'ref', 'use')`,
	`insert into poolproof.features (id, name) values ('` + refFeature + `', 'ref')`,
	`insert into poolproof.sidebar_items (id, title, url_path, group_name, display_order) values ('` + refItem + `', 'ref', '/ref', 'ref', 1)`,
	`insert into poolproof.roles (tenant_id, id, name) select t, r, 'ref ' || r from unnest(array['{ours}', '{other}']::uuid[]) t, unnest(array[7001, 7002]) r`,
	`insert into poolproof.profiles (tenant_id, user_id, external_id) select t, '` + refUser + `', 'idp|ref' from unnest(array['{ours}', '{other}']::uuid[]) t`,
	`select poolproof.create_tenant('` + refTenant + `', 'Ref', 'ref', '` + refUser + `', '', '')`,
}

const (
	otherGrants  = `insert into poolproof.role_permissions (tenant_id, role_id, permission_id) values ('{other}', 7001, '` + refPermission + `')`
	otherParent  = `insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ('{other}', 7001, 7002)`
	otherAssigns = `insert into poolproof.user_roles (tenant_id, user_id, role_id) values ('{other}', '` + refUser + `', 7001)`
	bothSwitch   = `insert into poolproof.tenant_features (tenant_id, feature_id, enabled) select t, '` + refFeature + `', true from unnest(array['{ours}', '{other}']::uuid[]) t`
	oursToo      = `insert into poolproof.role_permissions (tenant_id, role_id, permission_id) values ('{ours}', 7001, '` + refPermission + `');
		insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ('{ours}', 7001, 7002);
		insert into poolproof.user_roles (tenant_id, user_id, role_id) values ('{ours}', '` + refUser + `', 7001)`
	gateFeature    = `update poolproof.sidebar_items set feature_id = '` + refFeature + `' where id = '` + refItem + `'`
	gatePermission = `update poolproof.sidebar_items set permission = 'use_ref' where id = '` + refItem + `'`

	rolesPath, permissionsPath, featuresPath = "/api/v3/rbac/roles", "/api/v3/rbac/permissions", "/api/v3/rbac/features"
	itemsPath, tenantsPath, profilesPath     = "/api/v3/rbac/sidebar-items", "/api/v3/rbac-admin/tenants", "/api/v3/profiles"
	grantsPath                               = "/api/v3/rbac-permissions/role/"
	assignmentsPath                          = "/api/v3/rbac/users/" + refUser + "/roles"

	fkPermission = "role_permissions_permission_id_scope_fkey"
	fkRole       = "role_permissions_tenant_id_role_id_fkey role_parents_tenant_id_role_id_fkey role_parents_tenant_id_parent_id_fkey user_roles_tenant_id_role_id_fkey"
	fkTenant     = "profiles_tenant_id_fkey roles_tenant_id_fkey tenant_features_tenant_id_fkey audit_log_tenant_id_fkey user_roles_tenant_id_user_id_fkey"
)

var references = []reference{
	// What goes, or gets another name, while others refer to it.
	{key: fkPermission, name: "a permission that another tenant's role has", do: "DELETE " + permissionsPath + "/" + refPermission, tenant: "platform",
		before: []string{otherGrants}, answer: "409 in_use"},
	{key: fkPermission, name: "it gets another name", do: "PUT " + permissionsPath + "/" + refPermission, body: `{"name":"use_renamed"}`, tenant: "platform",
		before: []string{otherGrants, gatePermission}, answer: "200",
		after: `select concat_ws(' ', (select permission from poolproof.sidebar_items where id = '` + refItem + `'),
			(select count(*) from poolproof.role_permissions where permission_id = '` + refPermission + `'))`, want: "use_renamed 1"},
	{key: fkPermission, name: "a role of another tenant is given the permission meanwhile", do: "DELETE " + permissionsPath + "/" + refPermission, tenant: "platform",
		race: []string{otherGrants}, answer: "409 in_use"},
	{key: fkPermission, name: "the permission is deleted meanwhile", do: "POST " + grantsPath + refRole, body: `{"permission_id":"` + refPermission + `"}`,
		race: []string{`delete from poolproof.permissions where id = '` + refPermission + `'`}, answer: "404 not_found"},
	{key: "sidebar_items_permission_fkey", name: "a permission that an item has for a gate", do: "DELETE " + permissionsPath + "/" + refPermission, tenant: "platform",
		before: []string{gatePermission}, answer: "409 in_use"},
	{key: "sidebar_items_permission_fkey", name: "an item gets the gate meanwhile", do: "DELETE " + permissionsPath + "/" + refPermission, tenant: "platform",
		race: []string{gatePermission}, answer: "409 in_use"},
	{key: "sidebar_items_permission_fkey", name: "the gate of a new item goes meanwhile", do: "POST " + itemsPath, tenant: "platform",
		body: `{"title":"x","path":"/x","group":"x","required_permission":"use_ref"}`,
		race: []string{`delete from poolproof.permissions where id = '` + refPermission + `'`}, answer: "400 invalid"},
	{key: "sidebar_items_permission_fkey", name: "an item's new gate gets another name meanwhile", do: "PUT " + itemsPath + "/" + refItem, tenant: "platform",
		body: `{"required_permission":"use_ref"}`,
		race: []string{`update poolproof.permissions set name = 'use_renamed' where id = '` + refPermission + `'`}, answer: "400 invalid"},
	{key: "sidebar_items_feature_id_fkey", name: "a feature that an item has for a gate", do: "DELETE " + featuresPath + "/" + refFeature, tenant: "platform",
		before: []string{gateFeature}, answer: "409 in_use"},
	{key: "sidebar_items_feature_id_fkey", name: "an item gets the feature for a gate meanwhile", do: "DELETE " + featuresPath + "/" + refFeature, tenant: "platform",
		race: []string{gateFeature}, answer: "409 in_use"},
	{key: "sidebar_items_feature_id_fkey", name: "the feature of a new item goes meanwhile", do: "POST " + itemsPath, tenant: "platform",
		body: `{"title":"x","path":"/x","group":"x","feature_id":"` + refFeature + `"}`,
		race: []string{`delete from poolproof.features where id = '` + refFeature + `'`}, answer: "400 invalid"},
	{key: "sidebar_items_feature_id_fkey", name: "an item's new feature goes meanwhile", do: "PUT " + itemsPath + "/" + refItem, tenant: "platform",
		body: `{"feature_id":"` + refFeature + `"}`,
		race: []string{`delete from poolproof.features where id = '` + refFeature + `'`}, answer: "400 invalid"},
	{key: "tenant_features_feature_id_fkey", name: "a feature that tenants have switched", do: "DELETE " + featuresPath + "/" + refFeature, tenant: "platform",
		before: []string{bothSwitch}, answer: "200", changed: []string{"tenant_features", "epochs"},
		after: `select count(*)::text from poolproof.tenant_features where feature_id = '` + refFeature + `'`, want: "0"},
	{key: "tenant_features_feature_id_fkey", name: "it gets another name", do: "PUT " + featuresPath + "/" + refFeature, body: `{"name":"renamed","default_enabled":true}`, tenant: "platform",
		before: []string{bothSwitch, gateFeature}, answer: "200"},
	{key: "tenant_features_feature_id_fkey", name: "a tenant switches it meanwhile", do: "DELETE " + featuresPath + "/" + refFeature, tenant: "platform",
		race: []string{bothSwitch}, answer: "200", changed: []string{"tenant_features", "epochs"},
		after: `select count(*)::text from poolproof.tenant_features where feature_id = '` + refFeature + `'`, want: "0"},
	{key: "tenant_features_feature_id_fkey", name: "the feature goes meanwhile", do: "POST " + featuresPath + "/" + refFeature + "/status", body: `{"enabled":true}`,
		race: []string{`delete from poolproof.features where id = '` + refFeature + `'`}, answer: "404 not_found"},
	{key: "tenant_features_feature_id_fkey", name: "the feature goes meanwhile, by its name", do: "POST /api/v4/features/tenant", body: `{"feature_name":"ref","enabled":true}`,
		race: []string{`delete from poolproof.features where id = '` + refFeature + `'`}, answer: "404 not_found"},
	{key: fkRole, name: "a role whose number another tenant's role has, too", do: "DELETE " + rolesPath + "/" + refRole + "?force=true",
		before: []string{otherGrants, otherParent, otherAssigns, oursToo}, answer: "200",
		after: `select concat_ws(' ', (select count(*) from poolproof.role_permissions where role_id = 7001),
			(select count(*) from poolproof.role_parents where role_id = 7001), (select count(*) from poolproof.user_roles where role_id = 7001))`, want: "1 1 1"},
	{key: fkRole, name: "a role that others inherit from", do: "DELETE " + rolesPath + "/" + refParent + "?force=true",
		before: []string{otherParent, oursToo}, answer: "200",
		after: `select concat_ws(' ', count(*), min(tenant_id::text)) from poolproof.role_parents where parent_id = 7002`, want: "1 {other}"},
	{key: fkRole, name: "a role that members have", do: "DELETE " + rolesPath + "/" + refRole, before: []string{oursToo}, answer: "409 role_has_members"},
	{key: fkRole, name: "somebody gets the role meanwhile", do: "DELETE " + rolesPath + "/" + refRole, race: []string{oursToo}, answer: "200",
		after: `select count(*)::text from poolproof.user_roles where role_id = 7001`, want: "0"},
	{key: fkRole, name: "a role with another name", do: "PUT " + rolesPath + "/" + refRole, body: `{"name":"ref renamed"}`,
		before: []string{otherGrants, otherParent, otherAssigns, oursToo}, answer: "200"},
	{key: fkRole, name: "the role of a grant goes meanwhile", do: "POST " + grantsPath + refRole, body: `{"permission_id":"` + refPermission + `"}`,
		race: []string{`delete from poolproof.roles where tenant_id = '{ours}' and id = 7001`}, answer: "404 not_found"},
	{key: fkRole, name: "the role of an assignment goes meanwhile", do: "POST " + assignmentsPath, body: `{"role_id":7001}`,
		race: []string{`delete from poolproof.roles where tenant_id = '{ours}' and id = 7001`}, answer: "404 not_found"},
	{key: fkRole, name: "the parent of a new role goes meanwhile", do: "POST " + rolesPath, body: `{"name":"heir","parent_ids":[7002]}`,
		race: []string{`delete from poolproof.roles where tenant_id = '{ours}' and id = 7002`}, answer: "404 not_found"},
	{key: fkRole, name: "a role's new parent goes meanwhile", do: "PUT " + rolesPath + "/" + refRole, body: `{"parent_ids":[7002]}`,
		race: []string{`delete from poolproof.roles where tenant_id = '{ours}' and id = 7002`}, answer: "404 not_found"},
	{key: fkRole, name: "the role that gets a parent goes meanwhile", do: "PUT " + rolesPath + "/" + refRole, body: `{"parent_ids":[7002]}`,
		race: []string{`delete from poolproof.roles where tenant_id = '{ours}' and id = 7001`}, answer: "404 not_found"},
	{key: "user_roles_tenant_id_user_id_fkey", name: "a member who has the same role elsewhere", do: "DELETE " + profilesPath + "/" + refUser,
		before: []string{otherAssigns, oursToo}, answer: "200", after: `select concat_ws(' ', count(*), min(tenant_id::text)) from poolproof.user_roles where role_id = 7001`, want: "1 {other}"},
	{key: "user_roles_tenant_id_user_id_fkey", name: "the member goes meanwhile", do: "POST " + assignmentsPath, body: `{"role_id":7001}`,
		race: []string{`delete from poolproof.profiles where tenant_id = '{ours}' and user_id = '` + refUser + `'`}, answer: "404 not_found"},
	{key: fkTenant, name: "a tenant with members", do: "DELETE " + tenantsPath + "/" + refTenant, tenant: "platform", answer: "409 in_use"},
	{key: fkTenant, name: "a tenant and all that is in it, whose member is one elsewhere", do: "DELETE " + tenantsPath + "/" + refTenant + "?force=true", tenant: "platform",
		before: []string{otherAssigns, bothSwitch, `insert into poolproof.tenant_features (tenant_id, feature_id, enabled) values ('` + refTenant + `', '` + refFeature + `', true)`},
		answer: "200", after: `select (select count(*) from poolproof.profiles where tenant_id = '` + refTenant + `') + (select count(*) from poolproof.roles where tenant_id = '` + refTenant + `')
			+ (select count(*) from poolproof.role_permissions where tenant_id = '` + refTenant + `') + (select count(*) from poolproof.user_roles where tenant_id = '` + refTenant + `')
			+ (select count(*) from poolproof.tenant_features where tenant_id = '` + refTenant + `') + (select count(*) from poolproof.audit_log where tenant_id = '` + refTenant + `') || ''`, want: "0"},
	{key: fkTenant, name: "a tenant with another name", do: "PUT " + tenantsPath + "/" + refTenant, body: `{"name":"Renamed","slug":"renamed"}`, tenant: "platform", answer: "200"},
	{key: fkTenant, name: "somebody joins the tenant meanwhile", do: "DELETE " + tenantsPath + "/" + refTenant + "?force=true", tenant: "platform",
		race: []string{`insert into poolproof.profiles (tenant_id, user_id) values ('` + refTenant + `', gen_random_uuid())`}, answer: "200",
		after: `select count(*)::text from poolproof.profiles where tenant_id = '` + refTenant + `'`, want: "0"},
	{key: "platform_id_fkey role_permissions_platform_id_fkey", name: "the platform", do: "DELETE " + tenantsPath + "/{platform}?force=true", tenant: "platform", answer: "403 forbidden"},
	{key: "role_permissions_platform_id_fkey", name: "the platform's permission outside it", do: "POST " + grantsPath + refRole,
		body: `{"permission_id":"32a06b5e-6c63-59cc-b8fd-220cbb9446bf"}`, answer: "403 forbidden"},

	// What gets a name that somebody else takes meanwhile.
	{key: "roles_tenant_id_name_key", name: "a new role's name", do: "POST " + rolesPath, body: `{"name":"taken"}`,
		race: []string{`insert into poolproof.roles (tenant_id, id, name) values ('{ours}', 7003, 'taken')`}, answer: "409 name_taken"},
	{key: "roles_tenant_id_name_key", name: "a role's new name", do: "PUT " + rolesPath + "/" + refRole, body: `{"name":"taken"}`,
		race: []string{`update poolproof.roles set name = 'taken' where tenant_id = '{ours}' and id = 7002`}, answer: "409 name_taken"},
	{key: "roles_pkey", name: "a new role's number", do: "POST " + rolesPath, body: `{"name":"x"}`,
		race:   []string{`insert into poolproof.roles (tenant_id, id, name) select id, next_role_id, 'numbered' from poolproof.tenants where id = '{ours}'`},
		answer: "409 name_taken"},
	{key: "permissions_name_key", name: "a new permission's name", do: "POST " + permissionsPath, body: `{"name":"taken"}`, tenant: "platform",
		race: []string{`update poolproof.permissions set name = 'taken' where id = '` + refPermission + `'`}, answer: "409 name_taken"},
	{key: "permissions_name_key", name: "a permission's new name", do: "PUT " + permissionsPath + "/" + refPermission, body: `{"name":"taken"}`, tenant: "platform",
		race: []string{`insert into poolproof.permissions (id, name, resource_type, action) values (gen_random_uuid(), 'taken', 'x', 'x')`}, answer: "409 name_taken"},
	{key: "features_name_key", name: "a new feature's name", do: "POST " + featuresPath, body: `{"name":"taken"}`, tenant: "platform",
		race: []string{`update poolproof.features set name = 'taken' where id = '` + refFeature + `'`}, answer: "409 name_taken"},
	{key: "features_name_key", name: "a feature's new name", do: "PUT " + featuresPath + "/" + refFeature, body: `{"name":"taken"}`, tenant: "platform",
		race: []string{`insert into poolproof.features (id, name) values (gen_random_uuid(), 'taken')`}, answer: "409 name_taken"},
	{key: "sidebar_items_url_path_key", name: "a new item's path", do: "POST " + itemsPath, body: `{"title":"x","path":"/taken","group":"x"}`, tenant: "platform",
		race: []string{`update poolproof.sidebar_items set url_path = '/taken' where id = '` + refItem + `'`}, answer: "409 name_taken"},
	{key: "sidebar_items_url_path_key", name: "an item's new path", do: "PUT " + itemsPath + "/" + refItem, body: `{"path":"/taken"}`, tenant: "platform",
		race: []string{`update poolproof.sidebar_items set url_path = '/taken' where url_path = '/status'`}, answer: "409 name_taken"},
	{key: "tenants_slug_key", name: "a new tenant's slug", do: "POST " + tenantsPath, body: `{"name":"x","slug":"taken","admin_user_id":"` + refUser + `"}`, tenant: "platform",
		race: []string{`update poolproof.tenants set slug = 'taken' where id = '` + refTenant + `'`}, answer: "409 name_taken"},
	{key: "tenants_slug_key", name: "a tenant's new slug", do: "PUT " + tenantsPath + "/" + refTenant, body: `{"slug":"taken"}`, tenant: "platform",
		race: []string{`update poolproof.tenants set slug = 'taken' where id = '{other}'`}, answer: "409 name_taken"},
	{key: "profiles_pkey", name: "a new member's id", do: "POST " + profilesPath, body: `{"user_id":"` + missingID + `"}`,
		race: []string{`insert into poolproof.profiles (tenant_id, user_id) values ('{ours}', '` + missingID + `')`}, answer: "409 name_taken"},
	{key: "profiles_tenant_id_external_id_key", name: "a new member's external id", do: "POST " + profilesPath, body: `{"user_id":"` + missingID + `","external_id":"taken"}`,
		race: []string{`update poolproof.profiles set external_id = 'taken' where tenant_id = '{ours}' and user_id = '` + refUser + `'`}, answer: "409 name_taken"},
	{key: "profiles_tenant_id_external_id_key", name: "a member's new external id", do: "PUT " + profilesPath + "/" + refUser, body: `{"external_id":"taken"}`,
		race: []string{`insert into poolproof.profiles (tenant_id, user_id, external_id) values ('{ours}', '` + missingID + `', 'taken')`}, answer: "409 name_taken"},
	{key: "role_permissions_pkey", name: "the same permission is given meanwhile", do: "POST " + grantsPath + refRole, body: `{"permission_id":"` + refPermission + `"}`,
		race: []string{`insert into poolproof.role_permissions (tenant_id, role_id, permission_id) values ('{ours}', 7001, '` + refPermission + `')`}, answer: "200"},
	{key: "role_parents_pkey", name: "the same parent is given meanwhile", do: "PUT " + rolesPath + "/" + refRole, body: `{"parent_ids":[7002]}`,
		race: []string{`insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ('{ours}', 7001, 7002)`}, answer: "200"},
	{key: "user_roles_pkey", name: "the same role is assigned meanwhile", do: "POST " + assignmentsPath, body: `{"role_id":7001}`,
		race: []string{`insert into poolproof.user_roles (tenant_id, user_id, role_id) values ('{ours}', '` + refUser + `', 7001)`}, answer: "201"},
	{key: "tenant_features_pkey", name: "the feature is switched meanwhile", do: "POST " + featuresPath + "/" + refFeature + "/status", body: `{"enabled":true}`,
		race: []string{bothSwitch}, answer: "200"},
}

// unchecked are the constraints that no statement of the service can break, with
// the reason.
var unchecked = map[string]string{
	"schema_migrations_pkey":   "the service writes none",
	"bounds_pkey":              "the service writes none",
	"platform_pkey":            "the service writes none",
	"platform_id_key":          "the service writes none",
	"tenants_pkey":             "a new random UUID",
	"permissions_pkey":         "a new random UUID",
	"permissions_id_scope_key": "holds an id that is unique already",
	"features_pkey":            "a new random UUID",
	"sidebar_items_pkey":       "a new random UUID",
	"epochs_pkey":              "raised by on conflict",
	"audit_log_pkey":           "numbered under the tenant's lock, by the newest snapshot",
}

// Every foreign key and unique index of the schema, whoever refers to the row and
// whoever is faster: the answer is the one that the statement's own check returns,
// never a 500; a refusal changes nothing, and no row of another tenant changes
// but those that go with what is everybody's. A constraint without a case fails.
func TestEveryReferenceHasItsAnswer(t *testing.T) {
	known := map[string]bool{}
	for _, r := range references {
		for key := range strings.FieldsSeq(r.key) {
			known[key] = true
		}
	}
	st := &stopped{owned: newService(t).withOwner(t)}
	fill := strings.NewReplacer("{ours}", testTenant, "{other}", foreign.String(), "{platform}", migrations.DemoPlatform.String())
	for name := range strings.FieldsSeq(st.one(t, `select string_agg(conname, ' ') from pg_constraint where connamespace = 'poolproof'::regnamespace and contype in ('f', 'u', 'p', 'x')`)) {
		if !known[name] && unchecked[name] == "" {
			t.Errorf("no case of %s", name)
		}
		delete(known, name)
	}
	for name := range known {
		t.Errorf("there is no %s", name)
	}
	st.secondManagers(t)
	saved := st.save(t)
	for _, r := range references {
		t.Run(strings.ReplaceAll(strings.Fields(r.key)[0]+": "+r.name, "/", "_"), func(t *testing.T) {
			defer st.restore(t, saved)
			for _, sql := range append(append([]string{}, refRows...), r.before...) {
				st.exec(t, fill.Replace(sql))
			}
			method, path, _ := strings.Cut(fill.Replace(r.do), " ")
			q, user := asked{method: method, path: path, body: r.body}, super
			if r.tenant == "platform" {
				q.tenant, user = migrations.DemoPlatform.String(), migrations.DemoPlatformAdmin
			}
			before, others := st.everywhere(t), st.ofOthers(t, q.tenant)
			var a string
			answered := make(chan string, 1)
			if r.race == nil {
				a = st.rawAnswer(t, signed(t, user, ""), q)
			} else {
				err := pgx.BeginFunc(t.Context(), st.owner, func(pgx.Tx) error {
					for _, sql := range r.race {
						st.exec(t, fill.Replace(sql))
					}
					before, others = st.everywhere(t), st.ofOthers(t, q.tenant)
					go func() { answered <- st.rawAnswer(t, signed(t, user, ""), q) }()
					return st.awaitBlocked(answered)
				})
				if err != nil {
					t.Fatal(err)
				}
				a = <-answered
			}
			status, code, _ := strings.Cut(r.answer, " ")
			if !strings.HasPrefix(a, "HTTP/1.1 "+status) || code != "" && !strings.Contains(a, `"code":"`+code+`"`) {
				t.Errorf("answered, want %s: %s\n%s", r.answer, a, lastLine(st.log.String()))
			}
			if code != "" {
				if diff := cmp.Diff(before, st.everywhere(t)); diff != "" {
					t.Errorf("a refusal changed something: %s", diff)
				}
			}
			now := st.ofOthers(t, q.tenant)
			for _, table := range r.changed {
				delete(others, table)
				delete(now, table)
			}
			if diff := cmp.Diff(others, now); diff != "" {
				t.Errorf("rows of other tenants changed: %s", diff)
			}
			if r.after != "" {
				if got := st.one(t, fill.Replace(r.after)); got != fill.Replace(r.want) {
					t.Errorf("afterwards: %s, want %s", got, fill.Replace(r.want))
				}
			}
		})
	}
}

// ofOthers is what tenants hold that are neither the one who asks nor the one that
// a case is about, by table.
func (st *stopped) ofOthers(t *testing.T, asks string) map[string]string {
	t.Helper()
	if asks == "" {
		asks = testTenant
	}
	return st.pairs(t, st.one(t, `select string_agg(format('select %1$L as name, coalesce(string_agg(x::text, chr(10) order by x::text), '''') as rows
			from poolproof.%1$I x where x.%2$I not in (%3$L, %4$L, %5$L)', c.relname, a.attname, $1::text, $2::text, '00000000-0000-0000-0000-000000000000'), ' union all ')
		from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = case c.relname when 'tenants' then 'id' else 'tenant_id' end
		where c.relnamespace = 'poolproof'::regnamespace and c.relkind = 'r'`, asks, refTenant))
}

// awaitBlocked waits until somebody waits for what the owner's transaction holds.
func (st *stopped) awaitBlocked(answered <-chan string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		var blocked bool
		if err := st.owner.QueryRow(ctx, `select exists (select from pg_locks l where not l.granted and pg_backend_pid() = any (pg_blocking_pids(l.pid)))`).Scan(&blocked); err != nil {
			return fmt.Errorf("nobody waits: %w", err)
		}
		if blocked {
			return nil
		}
		select {
		case a := <-answered:
			return fmt.Errorf("it did not wait: %s", a)
		default:
		}
	}
}

// save keeps what every table holds in tables of this session, and returns the
// statements that put it back.
func (st *stopped) save(t *testing.T) (restore []string) {
	t.Helper()
	rows, err := st.owner.Query(t.Context(), `select c.relname, string_agg(quote_ident(a.attname), ', ' order by a.attnum)
		from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
		where c.relnamespace = 'poolproof'::regnamespace and c.relkind = 'r' group by c.relname`)
	if err != nil {
		t.Fatal(err)
	}
	var table, columns string
	var keep []string
	if _, err := pgx.ForEachRow(rows, []any{&table, &columns}, func() error {
		keep = append(keep, `create temp table saved_`+table+` as table poolproof.`+table)
		restore = append(restore, `delete from poolproof.`+table+`; insert into poolproof.`+table+` (`+columns+`) select `+columns+` from saved_`+table)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	st.exec(t, strings.Join(keep, "; "))
	return restore
}

// restore puts back what save kept, past every trigger.
func (st *stopped) restore(t *testing.T, saved []string) {
	t.Helper()
	st.exec(t, `set session_replication_role = replica; `+strings.Join(saved, "; ")+`; reset session_replication_role`)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

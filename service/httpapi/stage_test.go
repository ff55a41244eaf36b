package httpapi

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/migrations"
)

// stage is a service with attackers of every kind on it, in Last Apple unless
// their name says otherwise.
type stage struct {
	owned
	permissions map[string]string // ids by name

	// What a member who holds one permission, and that only, is; and their role.
	users, roles, grants             uuid.UUID
	roleOfRoles, roleOfGrants        int
	base                             int       // what roleOfRoles and roleOfGrants inherit from
	today                            uuid.UUID // holds every permission of the tenant, each by itself
	admin, global, expiring, ended   uuid.UUID // ADMIN; GLOBAL_ADMIN; SUPER_ADMIN for an hour; SUPER_ADMIN until yesterday
	away                             uuid.UUID // SUPER_ADMIN, switched off
	second                           uuid.UUID // an account without a role
	weak, editor, chief, everything  int       // roles: of nothing; of start_contentmap; child of editor; of today's permissions
	platformSuper, platformBriefly   uuid.UUID // of the platform: SUPER_ADMIN; GLOBAL_ADMIN for an hour
	platformClerk, platformAway      uuid.UUID // of the platform: manage_tenants and manage_users only; GLOBAL_ADMIN, switched off
	third, keeper                    uuid.UUID // a tenant, and the only one who manages its roles
	roleOfKeeper, parentOfKeeper     int       // by the first, which inherits from the second
	voiceAdmin, voiceBoss, otherHome uuid.UUID // ADMIN and only SUPER_ADMIN of Voice Automated; plain member of it who is a SUPER_ADMIN of third
	until                            time.Time // when expiring's assignment ends
}

func newStage(t *testing.T, wrap ...func(string) string) *stage {
	t.Helper()
	st := &stage{owned: newService(t, wrap...).withOwner(t)}
	st.permissions = st.pairs(t, `select name, id::text from poolproof.permissions`)

	home, platform := migrations.DemoTenant, migrations.DemoPlatform
	st.base = st.role(t, home, "Base", nil)
	st.weak = st.role(t, home, "Weak", nil)
	st.editor = st.role(t, home, "Starter", []string{"start_contentmap"})
	st.chief = st.role(t, home, "Chief starter", nil, st.editor)
	st.roleOfRoles = st.role(t, home, "Only roles", []string{"manage_roles"}, st.base)
	st.roleOfGrants = st.role(t, home, "Only permissions", []string{"manage_permissions"}, st.base)
	var tenants []string
	for name := range st.permissions {
		if name != "manage_tenants" {
			tenants = append(tenants, name)
		}
	}
	st.everything = st.role(t, home, "All of today", tenants)

	st.users = st.member(t, home, st.role(t, home, "Only users", []string{"manage_users"}))
	st.roles = st.member(t, home, st.roleOfRoles)
	st.grants = st.member(t, home, st.roleOfGrants)
	st.today = st.member(t, home, st.everything)
	st.admin = st.member(t, home, roleOfAdmins)
	st.global = st.member(t, home, roleOfGlobals)
	st.expiring = st.member(t, home, roleOfSupers)
	st.ended = st.member(t, home, roleOfSupers)
	st.away = st.member(t, home, roleOfSupers)
	st.second = st.member(t, home)
	st.until = time.Now().Add(time.Hour).Truncate(time.Microsecond)
	st.ends(t, home, st.expiring, st.until)
	st.ends(t, home, st.ended, time.Now().Add(-24*time.Hour))
	st.exec(t, `update poolproof.profiles set active = false where tenant_id = $1 and user_id = $2`, home, st.away)
	st.exec(t, `update poolproof.profiles set external_id = 'idp|boss' where tenant_id = $1 and user_id = $2`, home, super)

	st.platformSuper = st.member(t, platform, roleOfSupers)
	st.platformBriefly = st.member(t, platform, roleOfGlobals)
	st.ends(t, platform, st.platformBriefly, st.until)
	st.platformClerk = st.member(t, platform, st.role(t, platform, "Clerk", []string{"manage_tenants", "manage_users"}))
	st.ends(t, platform, st.platformClerk, st.until) // else the platform would have another keeper
	st.platformAway = st.member(t, platform, roleOfGlobals)
	st.exec(t, `update poolproof.profiles set active = false where tenant_id = $1 and user_id = $2`, platform, st.platformAway)

	st.third, st.keeper = uuid.New(), uuid.New()
	st.exec(t, `select poolproof.create_tenant($1, 'Third', 'third', $2, '', '')`, st.third, st.keeper)
	st.parentOfKeeper = st.role(t, st.third, "Keeping", []string{"manage_roles"})
	st.roleOfKeeper = st.role(t, st.third, "Keeper", []string{"manage_users", "manage_permissions"}, st.parentOfKeeper)
	st.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, $3)`, st.third, st.keeper, st.roleOfKeeper)
	st.exec(t, `delete from poolproof.user_roles where tenant_id = $1 and role_id = $2`, st.third, roleOfSupers)

	st.voiceBoss, st.voiceAdmin = migrations.DemoOtherAdmin, st.member(t, foreign, roleOfAdmins)
	st.otherHome = st.member(t, foreign, roleOfUsers)
	st.exec(t, `insert into poolproof.profiles (tenant_id, user_id) values ($1, $2)`, st.third, st.otherHome)
	st.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id, expires_at) values ($1, $2, $3, now() + interval '1 day')`, st.third, st.otherHome, roleOfSupers)
	return st
}

func (st *stage) role(t *testing.T, tenant uuid.UUID, name string, permissions []string, parents ...int) int {
	t.Helper()
	id, err := strconv.Atoi(st.one(t, `update poolproof.tenants set next_role_id = next_role_id + 1 where id = $1 returning (next_role_id - 1)::text`, tenant))
	if err != nil {
		t.Fatal(err)
	}
	st.exec(t, `insert into poolproof.roles (tenant_id, id, name) values ($1, $2, $3)`, tenant, id, name)
	st.exec(t, `insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
		select $1, $2, id, scope from poolproof.permissions where name = any ($3)`, tenant, id, permissions)
	for _, p := range parents {
		st.exec(t, `insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ($1, $2, $3)`, tenant, id, p)
	}
	return id
}

func (st *stage) member(t *testing.T, tenant uuid.UUID, roles ...int) uuid.UUID {
	t.Helper()
	user := uuid.New()
	st.exec(t, `insert into poolproof.profiles (tenant_id, user_id) values ($1, $2)`, tenant, user)
	for _, r := range roles {
		st.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, $3)`, tenant, user, r)
	}
	return user
}

// ends lets a member's assignments end.
func (st *stage) ends(t *testing.T, tenant, user uuid.UUID, at time.Time) {
	t.Helper()
	st.exec(t, `update poolproof.user_roles set expires_at = $3 where tenant_id = $1 and user_id = $2`, tenant, user, at)
}

// powers is what everybody holds anywhere, and until when.
func (st *stage) powers(t *testing.T) map[string]string {
	t.Helper()
	return st.pairs(t, `select p.tenant_id || '/' || p.user_id, (
			select coalesce(string_agg(h.permission_id || ' until ' || h.until, ',' order by h.permission_id), '')
			from poolproof.held(p.tenant_id, p.user_id) h)
		from poolproof.profiles p`)
}

// differences names the keys by which two maps differ.
func differences(before, after map[string]string) []string {
	var keys []string
	for k, v := range after {
		if old, ok := before[k]; !ok || old != v {
			keys = append(keys, k)
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

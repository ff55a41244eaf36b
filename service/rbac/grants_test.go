package rbac_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

// You can only grant what you hold yourself for at least as long.
func TestNobodyGrantsWhatTheyDoNotHold(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		const editing = "start_contentmap"
		managing := b.role("Managing", []string{"manage_roles", "manage_permissions", "manage_users"})
		weak := b.role("Weak", nil)
		editor := b.role("Editor", []string{editing})
		chief := b.role("Chief", nil, editor)
		all := b.role("All of today", nil)
		b.exec(`insert into poolproof.role_permissions (tenant_id, role_id, permission_id)
			select $1, $2, id from poolproof.permissions where scope = 'tenant'`, b.tenant, all)
		target := b.member()
		p := b.permission(editing)
		own := time.Now().Add(time.Hour)

		manager := b.member(managing)
		temporary := b.member(managing, editor)
		b.expire(temporary, editor, own)
		permanent := b.member(managing, editor)
		both := b.member(managing, editor, chief) // by Editor for an hour, by Chief for good
		b.expire(both, editor, own)
		today := b.member(all)

		grantIt := func(c tenancy.Caller) func() error {
			return func() error { return only(b.store.GrantPermission(ctx, c, weak, p)) }
		}
		child := func(c tenancy.Caller, parent int32) func() error {
			return func() error {
				r, err := valued(b.store.CreateRole(ctx, c, rbac.NewRole{Name: uuid.NewString(), ParentIDs: []int32{parent}}))
				if err == nil {
					b.exec(`delete from poolproof.roles where tenant_id = $1 and id = $2`, b.tenant, r.ID)
				}
				return err
			}
		}
		adopt := func(c tenancy.Caller, parent int32) func() error {
			return func() error {
				_, err := valued(b.store.UpdateRole(ctx, c, weak, rbac.RolePatch{ParentIDs: &[]int32{parent}}, tenancy.Any))
				return err
			}
		}
		assign := func(c tenancy.Caller, role int32, until *time.Time) func() error {
			return func() error { return assigned(b.store.AssignRole(ctx, c, target.User, role, until)) }
		}
		reset := func() {
			b.exec(`delete from poolproof.role_permissions where tenant_id = $1 and role_id = $2`, b.tenant, weak)
			b.exec(`delete from poolproof.role_parents where tenant_id = $1 and role_id = $2`, b.tenant, weak)
			b.exec(`delete from poolproof.user_roles where tenant_id = $1 and user_id = $2`, b.tenant, target.User)
		}
		before, after := own.Add(-time.Minute), own.Add(time.Minute)
		for _, c := range []struct {
			what string
			ok   bool
			call func() error
		}{
			{"manager gives what they do not hold", false, grantIt(manager)},
			{"manager makes a child of Editor", false, child(manager, editor)},
			{"manager makes a child of Chief, who inherits", false, child(manager, chief)},
			{"manager lets Weak inherit", false, adopt(manager, chief)},
			{"manager assigns Editor", false, assign(manager, editor, nil)},
			{"manager assigns Chief", false, assign(manager, chief, &before)},
			{"manager assigns SUPER_ADMIN", false, assign(manager, roleSuperAdmin, nil)},
			{"manager assigns Weak", true, assign(manager, weak, nil)},
			{"manager assigns Managing", true, assign(manager, managing, nil)},
			{"manager makes a child of Managing", true, child(manager, managing)},

			{"temporary gives for good what they hold for an hour", false, grantIt(temporary)},
			{"temporary makes a child", false, child(temporary, editor)},
			{"temporary lets Weak inherit", false, adopt(temporary, editor)},
			{"temporary assigns for good", false, assign(temporary, editor, nil)},
			{"temporary assigns for longer", false, assign(temporary, editor, &after)},
			{"temporary assigns for shorter", true, assign(temporary, editor, &before)},
			{"temporary assigns for as long", true, assign(temporary, chief, &own)},

			{"permanent gives", true, grantIt(permanent)},
			{"permanent makes a child", true, child(permanent, chief)},
			{"permanent lets Weak inherit", true, adopt(permanent, chief)},
			{"permanent assigns", true, assign(permanent, chief, nil)},
			{"both counts the longer holding", true, assign(both, editor, nil)},

			{"who holds all of today's permissions assigns those", true, assign(today, all, nil)},
			{"but not SUPER_ADMIN, who holds tomorrow's", false, assign(today, roleSuperAdmin, nil)},
			{"nor makes a child of it", false, child(today, roleSuperAdmin)},
			{"nor lets Weak inherit", false, adopt(today, roleSuperAdmin)},
			{"SUPER_ADMIN assigns SUPER_ADMIN", true, assign(b.boss, roleSuperAdmin, nil)},
			{"and GLOBAL_ADMIN, which is nothing more here", true, assign(b.boss, 4, nil)},
			{"SUPER_ADMIN makes a child of SUPER_ADMIN", true, child(b.boss, roleSuperAdmin)},
		} {
			reset()
			if c.ok {
				b.done(c.what, 1, c.call)
			} else {
				b.refused(c.what, tenancy.Forbidden, c.call)
			}
		}
		reset()

		// Nobody lifts themselves.
		self := func(role int32, until *time.Time) func() error {
			return func() error { return assigned(b.store.AssignRole(ctx, temporary, temporary.User, role, until)) }
		}
		b.refused("take SUPER_ADMIN", tenancy.Forbidden, self(roleSuperAdmin, nil))
		b.refused("prolong one's own assignment", tenancy.Forbidden, self(editor, &after))
		b.done("ask for one's own assignment without an expiry", 0, self(editor, nil))
		if n := ask[int](b, `select count(*)::int from poolproof.user_roles where user_id = $1 and role_id = $2 and expires_at is null`, temporary.User, editor); n != 0 {
			b.t.Error("asking for an assignment without an expiry cleared its expiry")
		}
		b.done("shorten one's own assignment", 1, self(editor, &before))

		// A role is not made stronger behind the back of who may not: a grant
		// that exists already gains nobody anything.
		b.exec(`insert into poolproof.role_permissions (tenant_id, role_id, permission_id) values ($1, $2, $3)`, b.tenant, weak, p)
		b.done("give what is there", 0, grantIt(manager))
		b.exec(`insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ($1, $2, $3)`, b.tenant, weak, chief)
		b.done("keep a parent that is there", 0, adopt(manager, chief))
	})
}

func TestAssignments(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		m := b.member()
		expiry := func() *time.Time {
			return ask[*time.Time](b, `select expires_at from poolproof.user_roles where user_id = $1 and role_id = $2`, m.User, roleUser)
		}
		soon, later := time.Now().Add(time.Hour).Truncate(time.Microsecond), time.Now().Add(2*time.Hour).Truncate(time.Microsecond)
		assign := func(until *time.Time) func() error {
			return func() error { return assigned(b.store.AssignRole(ctx, b.boss, m.User, roleUser, until)) }
		}
		past := time.Now().Add(-time.Hour)
		b.refused("in the past", tenancy.Invalid, assign(&past))
		b.done("until soon", 1, assign(&soon))
		b.done("until soon, again", 0, assign(&soon))
		b.done("without an expiry changes nothing", 0, assign(nil))
		if got := expiry(); got == nil || !got.Equal(soon) {
			b.t.Errorf("expires at %v, want %v", got, soon)
		}
		b.done("for good", 1, assign(&time.Time{}))
		b.done("for good, again", 0, assign(&time.Time{}))
		if got := expiry(); got != nil {
			b.t.Errorf("expires at %v, want never", got)
		}
		b.done("until later", 1, assign(&later))
		if got := expiry(); got == nil || !got.Equal(later) {
			b.t.Errorf("expires at %v, want %v", got, later)
		}
		b.expire(m, roleUser, past)
		b.refused("take what has ended", tenancy.NotFound, func() error { return only(b.store.UnassignRole(ctx, b.boss, m.User, roleUser)) })
		b.done("for good, after it has ended", 1, assign(nil))
		if got := expiry(); got != nil {
			b.t.Errorf("expires at %v, want never", got)
		}
		b.done("end it", 1, assign(&soon))
		b.done("take it", 1, func() error { return only(b.store.UnassignRole(ctx, b.boss, m.User, roleUser)) })
		b.refused("take it again", tenancy.NotFound, func() error { return only(b.store.UnassignRole(ctx, b.boss, m.User, roleUser)) })
		b.refused("a role that is not", tenancy.NotFound, func() error { return assigned(b.store.AssignRole(ctx, b.boss, m.User, 99, nil)) })
		if who := ask[string](b, `select actor::text from poolproof.audit_log order by id desc limit 1`); who != b.boss.User.String() {
			b.t.Errorf("the audit log says %s did it", who)
		}
	})
}

func TestTheLastManagerStays(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		soon := time.Now().Add(time.Hour)
		unassign := func(c tenancy.Caller, role int32) func() error {
			return func() error { return only(b.store.UnassignRole(ctx, b.boss, c.User, role)) }
		}
		b.refused("the only SUPER_ADMIN", tenancy.LastManager, unassign(b.boss, roleSuperAdmin))
		b.refused("let it expire", tenancy.LastManager, func() error { return assigned(b.store.AssignRole(ctx, b.boss, b.boss.User, roleSuperAdmin, &soon)) })
		second := b.member()
		if err := assigned(b.store.AssignRole(ctx, b.boss, second.User, roleSuperAdmin, &soon)); err != nil {
			b.t.Fatal(err)
		}
		b.refused("a second one for an hour does not count", tenancy.LastManager, unassign(b.boss, roleSuperAdmin))
		inactive := b.member(roleSuperAdmin)
		b.exec(`update poolproof.profiles set active = false where user_id = $1`, inactive.User)
		b.refused("an inactive one does not count", tenancy.LastManager, unassign(b.boss, roleSuperAdmin))

		// One who holds it by inheritance does.
		lead := b.role("Lead", []string{"manage_roles"})
		heir := b.role("Heir", nil, lead)
		third := b.member(heir, b.role("People", []string{"manage_users", "manage_permissions"}))
		b.done("with another manager", 1, unassign(b.boss, roleSuperAdmin))

		none := []int32{}
		b.refused("take the permission from the role", tenancy.LastManager, func() error {
			return only(b.store.RevokePermission(ctx, third, lead, b.permission("manage_roles")))
		})
		b.refused("cut the inheritance", tenancy.LastManager, func() error {
			_, err := valued(b.store.UpdateRole(ctx, third, heir, rbac.RolePatch{ParentIDs: &none}, tenancy.Any))
			return err
		})
		b.refused("delete the role", tenancy.LastManager, func() error { return only(b.store.DeleteRole(ctx, third, lead, true, tenancy.Any)) })
		b.refused("delete the heir", tenancy.LastManager, func() error { return only(b.store.DeleteRole(ctx, third, heir, true, tenancy.Any)) })
		b.refused("take the assignment", tenancy.LastManager, func() error { return only(b.store.UnassignRole(ctx, third, third.User, heir)) })
	})
}

func TestMe(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		me, err := b.store.Me(ctx, b.boss)
		if err != nil {
			b.t.Fatal(err)
		}
		if me.User.ID != b.boss.User || me.User.Email == nil || *me.User.Email != "boss@0.example" || *me.User.Name != "Boss" ||
			len(me.Tenants) != 1 || me.Tenants[0] != (rbac.Tenant{ID: b.tenant, Name: "Tenant 0", Slug: "tenant-0"}) || *me.Tenant != b.tenant ||
			len(me.Roles) != 1 || me.Roles[0].Name != "SUPER_ADMIN" || me.Roles[0].TenantID != b.tenant || me.Roles[0].CreatedAt.IsZero() ||
			!me.Roles[0].HoldsAll || me.Roles[0].ParentIDs == nil || len(me.Permissions) != 22 || me.Permissions[0] != "configure_features" || len(me.Features) != 8 || me.Features["contentmap"] {
			b.t.Errorf("%+v", me)
		}
		// Member of both: sees both, and only the chosen one's rights.
		b.exec(`insert into poolproof.profiles (tenant_id, user_id, email) values ($1, $2, 'other@0.example')`, b.other, b.boss.User)
		b.exec(`insert into poolproof.tenant_features (tenant_id, feature_id, enabled) select $1, id, true from poolproof.features where name = 'contentmap'`, b.other)
		me, err = b.store.Me(ctx, tenancy.Caller{Tenant: b.other, User: b.boss.User})
		if err != nil || len(me.Tenants) != 2 || len(me.Roles) != 0 || len(me.Permissions) != 0 || !me.Features["contentmap"] || *me.User.Email != "other@0.example" || me.User.Name != nil {
			b.t.Errorf("in the other tenant: %+v, %v", me, err)
		}
		me, err = b.store.Me(ctx, tenancy.Caller{User: b.boss.User})
		if err != nil || len(me.Tenants) != 2 || me.Tenant != nil || me.Roles == nil || len(me.Roles) != 0 || len(me.Permissions) != 0 || len(me.Features) != 0 || me.User.Email != nil {
			b.t.Errorf("without a tenant: %+v, %v", me, err)
		}
		me, err = b.store.Me(ctx, tenancy.Caller{User: uuid.New()})
		if err != nil || len(me.Tenants) != 0 || me.Tenants == nil {
			b.t.Errorf("a stranger: %+v, %v", me, err)
		}
		for _, tenant := range []uuid.UUID{b.tenant, uuid.New()} {
			if _, err := b.store.Me(ctx, tenancy.Caller{Tenant: tenant, User: b.otherBoss.User}); tenancy.CodeOf(err) != tenancy.NotAMember {
				b.t.Errorf("a tenant that is not theirs: %v", err)
			}
		}
		inactive := b.member(roleUser)
		b.exec(`update poolproof.profiles set active = false where user_id = $1`, inactive.User)
		if me, err = b.store.Me(ctx, tenancy.Caller{User: inactive.User}); err != nil || len(me.Tenants) != 0 {
			b.t.Errorf("an inactive member: %+v, %v", me, err)
		}
		expiring := b.member(roleUser, roleAdmin)
		b.expire(expiring, roleAdmin, time.Now().Add(-time.Second))
		if me, err = b.store.Me(ctx, expiring); err != nil || len(me.Roles) != 1 || len(me.Permissions) != 9 {
			b.t.Errorf("with an assignment that has ended: %+v, %v", me, err)
		}
	})
}

// One Sync is one round trip: what the library promises, the stores keep.
func TestEachCallIsOneSync(t *testing.T) {
	b := setup(t, pgtest.PgBouncer118Statement)
	url, count := pgtest.CountSyncs(t, b.url)
	db := b.open(url)
	b.store = rbac.NewStore(db)
	ctx := t.Context()
	role := b.role("Editor", []string{"view_dashboard"})
	m := b.member(role)
	if _, err := items(b.store.Roles(ctx, b.boss, tenancy.Page{})); err != nil { // the connection is open now
		t.Fatal(err)
	}
	reads, writes := b.every(ctx, b.boss, role, m.User)
	reads["Me"] = func() error {
		_, err := b.store.Me(ctx, b.boss)
		return err
	}
	for name, call := range reads {
		before := count()
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := count() - before; n != 1 {
			t.Errorf("%s took %d Syncs", name, n)
		}
	}
	if err := writes["AssignRole"](); err != nil { // its time has the statement described, once
		t.Fatal(err)
	}
	for _, name := range []string{"CreateRole", "UpdateRole", "GrantPermission", "RevokePermission", "AssignRole", "UnassignRole", "DeleteRole"} {
		before := count()
		if err := writes[name](); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := count() - before; n != 1 {
			t.Errorf("%s took %d Syncs", name, n)
		}
	}
}

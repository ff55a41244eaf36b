package rbac_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

func TestRolesFromBirthToDeath(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		var r rbac.Role
		b.done("create", 1, func() (err error) {
			r, err = valued(b.store.CreateRole(ctx, b.boss, rbac.NewRole{Name: "  Editor ", Description: "Edits\nthings", ParentIDs: []int32{roleUser, roleUser}}))
			return err
		})
		if r.ID != 5 || r.Name != "Editor" || r.Description != "Edits\nthings" || r.TenantID != b.tenant || r.System || r.HoldsAll ||
			!cmp.Equal(r.ParentIDs, []int32{roleUser}) || time.Since(r.CreatedAt).Abs() > time.Minute {
			b.t.Errorf("created %+v", r)
		}
		if got, err := b.store.Role(ctx, b.boss, r.ID); err != nil || !cmp.Equal(got, r) {
			b.t.Errorf("read back %+v, %v; want %+v", got, err, r)
		}
		roles, err := items(b.store.Roles(ctx, b.member(), tenancy.Page{}))
		r.Version = 0 // lists have none
		if err != nil || len(roles) != 5 || !cmp.Equal(roles[4], r) || roles[0].Name != "USER" || !roles[0].System || roles[0].ID != 1 ||
			roles[0].HoldsAll || roles[0].ParentIDs == nil || !roles[2].HoldsAll {
			b.t.Errorf("list: %+v, %v", roles, err)
		}

		name, description, none := "Author", "Writes", []int32{}
		b.done("rename", 1, func() (err error) {
			r, err = valued(b.store.UpdateRole(ctx, b.boss, 5, rbac.RolePatch{Name: &name}, tenancy.Any))
			return err
		})
		if r.Name != name || r.Description != "Edits\nthings" || !cmp.Equal(r.ParentIDs, []int32{roleUser}) {
			b.t.Errorf("renamed: %+v", r)
		}
		b.done("rename to the same name", 0, func() error {
			_, err := valued(b.store.UpdateRole(ctx, b.boss, 5, rbac.RolePatch{Name: &name, ParentIDs: &[]int32{roleUser}}, tenancy.Any))
			return err
		})
		b.done("an empty patch", 0, func() error {
			_, err := valued(b.store.UpdateRole(ctx, b.boss, 5, rbac.RolePatch{}, tenancy.Any))
			return err
		})
		b.done("describe and cut off the parent", 1, func() (err error) {
			r, err = valued(b.store.UpdateRole(ctx, b.boss, 5, rbac.RolePatch{Description: &description, ParentIDs: &none}, tenancy.Any))
			return err
		})
		if r.Description != description || r.ParentIDs == nil || len(r.ParentIDs) != 0 || ask[int](b, `select count(*)::int from poolproof.role_parents where tenant_id = $1`, b.tenant) != 0 {
			b.t.Errorf("described: %+v", r)
		}
		if got := ask[int](b, `select version from poolproof.roles where tenant_id = $1 and id = 5`, b.tenant); got != 3 {
			b.t.Errorf("version %d after two changes, want 3", got)
		}
		last := ask[string](b, `select actor || ' ' || action || ' ' || object || ' ' || before || ' ' || after from poolproof.audit_log order by id desc limit 1`)
		want := b.boss.User.String() + ` role.update role/5 {"name": "Author", "parent_ids": [1], "description": "Edits\nthings"} {"name": "Author", "parent_ids": [], "description": "Writes"}`
		if last != want {
			b.t.Errorf("audit: %s\nwant:  %s", last, want)
		}

		b.done("delete", 1, func() error { return only(b.store.DeleteRole(ctx, b.boss, 5, false, tenancy.Any)) })
		b.refused("read what was deleted", tenancy.NotFound, func() error { _, err := b.store.Role(ctx, b.boss, 5); return err })
		b.refused("delete again", tenancy.NotFound, func() error { return only(b.store.DeleteRole(ctx, b.boss, 5, true, tenancy.Any)) })
		if r, err = valued(b.store.CreateRole(ctx, b.boss, rbac.NewRole{Name: "Author"})); err != nil || r.ID != 6 {
			b.t.Errorf("a new role got id %d, %v; ids are not used again, want 6", r.ID, err)
		}
	})
}

func TestNames(t *testing.T) {
	b := setup(t, pgtest.PgBouncer118Statement)
	ctx := t.Context()
	for what, n := range map[string]rbac.NewRole{
		"blank":              {Name: " \t\u00a0"},
		"empty":              {},
		"too long":           {Name: strings.Repeat("é", rbac.MaxName+1)},
		"with a zero byte":   {Name: "a\x00b"},
		"with a line break":  {Name: "a\nb"},
		"no UTF-8":           {Name: "a\xffb"},
		"long description":   {Name: "ok", Description: strings.Repeat("x", rbac.MaxDescription+1)},
		"binary description": {Name: "ok", Description: "\x00"},
		"too many parents":   {Name: "ok", ParentIDs: make([]int32, 101)},
	} {
		b.refused(what, tenancy.Invalid, func() error {
			_, err := valued(b.store.CreateRole(ctx, b.boss, n))
			if e, ok := errors.AsType[*tenancy.Error](err); ok && len(e.Fields) == 0 {
				t.Errorf("%s: no field is named", what)
			}
			return err
		})
	}
	for what, name := range map[string]string{
		"as long as can be": strings.Repeat("é", rbac.MaxName), "quotes": `'"; drop table poolproof.roles --`, "an emoji": "🍏", "a percent": "100 %s", "braces": "{1,2}",
	} {
		r, err := valued(b.store.CreateRole(ctx, b.boss, rbac.NewRole{Name: name}))
		if err != nil || r.Name != name {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	blank, taken, free := " ", "ADMIN", "Free"
	b.refused("rename to blank", tenancy.Invalid, func() error {
		_, err := valued(b.store.UpdateRole(ctx, b.boss, 5, rbac.RolePatch{Name: &blank}, tenancy.Any))
		return err
	})
	b.refused("a taken name", tenancy.NameTaken, func() error { _, err := valued(b.store.CreateRole(ctx, b.boss, rbac.NewRole{Name: taken})); return err })
	b.refused("rename to a taken name", tenancy.NameTaken, func() error {
		_, err := valued(b.store.UpdateRole(ctx, b.boss, 5, rbac.RolePatch{Name: &taken}, tenancy.Any))
		return err
	})
	b.refused("rename a system role", tenancy.Forbidden, func() error {
		_, err := valued(b.store.UpdateRole(ctx, b.boss, roleUser, rbac.RolePatch{Name: &free}, tenancy.Any))
		return err
	})
	b.refused("delete a system role", tenancy.Forbidden, func() error { return only(b.store.DeleteRole(ctx, b.boss, roleAdmin, true, tenancy.Any)) })
	b.done("describe a system role and name it as it is named", 1, func() error {
		_, err := valued(b.store.UpdateRole(ctx, b.boss, roleAdmin, rbac.RolePatch{Name: &taken, Description: &free}, tenancy.Any))
		return err
	})
}

func TestARoleWithMembersIsNotDeletedSilently(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		base := b.role("Base", []string{"view_dashboard"})
		heir := b.role("Heir", nil, base)
		b.member(base)
		b.member(heir)
		both := b.member(base, heir)
		ended := b.member(base)
		b.expire(ended, base, time.Now().Add(-time.Hour))
		b.refused("with members", tenancy.RoleHasMembers, func() error {
			err := only(b.store.DeleteRole(ctx, b.boss, base, false, tenancy.Any))
			if err == nil || !strings.Contains(err.Error(), "members (3).") {
				b.t.Errorf("got %v, want a count of 3", err)
			}
			return err
		})
		b.done("with force", 1, func() error { return only(b.store.DeleteRole(ctx, b.boss, base, true, tenancy.Any)) })
		if n := ask[int](b, `select count(*)::int from poolproof.user_roles where role_id = $1`, base); n != 0 {
			b.t.Errorf("%d assignments of a deleted role are left", n)
		}
		if me, err := b.store.Me(ctx, tenancy.Caller{Tenant: b.tenant, User: both.User}); err != nil || len(me.Permissions) != 0 || len(me.Roles) != 1 {
			b.t.Errorf("a member of the deleted role and its heir: %+v, %v", me, err)
		}
	})
}

func TestInheritanceRunsInNoCircle(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		a := b.role("A", nil)
		c := b.role("B", nil, a)
		d := b.role("C", nil, c)
		set := func(role int32, parents ...int32) func() error {
			return func() error {
				_, err := valued(b.store.UpdateRole(ctx, b.boss, role, rbac.RolePatch{ParentIDs: &parents}, tenancy.Any))
				return err
			}
		}
		b.refused("itself", tenancy.Cycle, set(a, a))
		b.refused("its heir", tenancy.Cycle, set(a, c))
		b.refused("its heir's heir", tenancy.Cycle, set(a, roleUser, d))
		b.done("a diamond", 1, set(d, c, a))
		b.done("the other way round, one step at a time", 1, set(d))
		b.done("and then", 1, set(c))
		b.done("and then", 1, set(a, d))
		b.refused("now it is", tenancy.Cycle, set(d, a))
	})
}

func TestPermissionsOfARole(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		role := b.role("Editor", nil, roleUser)
		p := b.permission("start_contentmap")
		list := func(id int32) int {
			permissions, err := items(b.store.RolePermissions(ctx, b.boss, id, tenancy.Page{}))
			if err != nil {
				b.t.Error(err)
			}
			return len(permissions)
		}
		all, err := items(b.store.Permissions(ctx, b.member(), tenancy.Page{}))
		if err != nil || len(all) != 23 || all[0].Name != "configure_features" || all[0].ResourceType != "features" || all[0].Action != "configure" || all[0].ID == uuid.Nil {
			b.t.Errorf("the catalogue: %d, %+v, %v", len(all), all[:1], err)
		}
		if n := list(role); n != 0 {
			b.t.Errorf("a role that only inherits has %d of its own", n)
		}
		b.done("grant", 1, func() error { return only(b.store.GrantPermission(ctx, b.boss, role, p)) })
		b.done("grant again", 0, func() error { return only(b.store.GrantPermission(ctx, b.boss, role, p)) })
		if n := list(role); n != 1 {
			b.t.Errorf("%d permissions after a grant", n)
		}
		b.done("revoke", 1, func() error { return only(b.store.RevokePermission(ctx, b.boss, role, p)) })
		b.refused("revoke again", tenancy.NotFound, func() error { return only(b.store.RevokePermission(ctx, b.boss, role, p)) })
		b.refused("revoke what is inherited", tenancy.NotFound, func() error {
			return only(b.store.RevokePermission(ctx, b.boss, role, b.permission("view_dashboard")))
		})
		b.refused("an unknown permission", tenancy.NotFound, func() error { return only(b.store.GrantPermission(ctx, b.boss, role, uuid.New())) })
		b.refused("an unknown permission taken", tenancy.NotFound, func() error { return only(b.store.RevokePermission(ctx, b.boss, role, uuid.New())) })

		// A role that holds all has each permission, to be taken from it or given to it by nobody.
		if n := list(roleSuperAdmin); n != 22 {
			b.t.Errorf("SUPER_ADMIN lists %d permissions, want 22", n)
		}
		b.refused("take from SUPER_ADMIN", tenancy.Invalid, func() error { return only(b.store.RevokePermission(ctx, b.boss, roleSuperAdmin, p)) })
		b.done("give to SUPER_ADMIN", 0, func() error { return only(b.store.GrantPermission(ctx, b.boss, roleSuperAdmin, p)) })
		b.refused("a platform permission", tenancy.Forbidden, func() error {
			return only(b.store.GrantPermission(ctx, b.boss, roleSuperAdmin, b.permission("manage_tenants")))
		})
		// And it holds those that are added later.
		b.exec(`insert into poolproof.permissions (id, name, resource_type, action) values (gen_random_uuid(), 'brand_new', 'x', 'x')`)
		if n := list(roleSuperAdmin); n != 23 {
			b.t.Errorf("SUPER_ADMIN lists %d permissions after one was added, want 23", n)
		}
		b.done("grant a new one", 1, func() error { return only(b.store.GrantPermission(ctx, b.boss, role, b.permission("brand_new"))) })
	})
}

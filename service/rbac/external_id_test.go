package rbac_test

import (
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

// Whoever sets a profile's external id hands its roles to whom that id
// belongs, at the latest when somebody activates the profile.
func TestAnotherExternalIDIsAGrant(t *testing.T) {
	b := setup(t, pgtest.PgBouncer118Statement)
	ctx := t.Context()
	manager := b.member(b.role("Managing", []string{"manage_users"}))
	strong, weak := b.member(roleSuperAdmin), b.member()
	mine, none, off, on := "idp|mine", "", false, true
	update := func(by, of tenancy.Caller, p rbac.ProfilePatch) func() error {
		return func() error {
			_, err := valued(b.store.UpdateProfile(ctx, by, of.User, p, tenancy.Any))
			return err
		}
	}
	b.refused("of who is active", tenancy.Forbidden, update(manager, strong, rbac.ProfilePatch{ExternalID: &mine}))
	b.refused("and is switched off with it", tenancy.Forbidden, update(manager, strong, rbac.ProfilePatch{ExternalID: &mine, Active: &off}))
	b.done("switch off", 1, update(manager, strong, rbac.ProfilePatch{Active: &off}))
	b.refused("of who is switched off", tenancy.Forbidden, update(manager, strong, rbac.ProfilePatch{ExternalID: &mine}))
	b.refused("of who is switched on with it", tenancy.Forbidden, update(manager, strong, rbac.ProfilePatch{ExternalID: &mine, Active: &on}))
	b.done("by who holds as much", 1, update(b.boss, strong, rbac.ProfilePatch{ExternalID: &mine}))
	b.done("the same once more, with a name", 1, update(manager, strong, rbac.ProfilePatch{ExternalID: &mine, Name: &mine}))
	b.done("taken away", 1, update(manager, strong, rbac.ProfilePatch{ExternalID: &none}))
	b.done("of who holds nothing", 1, update(manager, weak, rbac.ProfilePatch{ExternalID: &mine}))
}

package rbac

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

// The permissions that the store's writes need.
const (
	manageRoles       = "manage_roles"
	managePermissions = "manage_permissions"
	manageUsers       = "manage_users"
	manageTenants     = "manage_tenants" // on the platform
)

// Verdicts of this package's statements, beside guarded's.
const (
	noParent     guarded.Verdict = "no_parent"     // detail: the ids
	noPermission guarded.Verdict = "no_permission" // not in the catalogue
	grant        guarded.Verdict = "grant"         // detail: what the caller does not hold, or not long enough
	system       guarded.Verdict = "system"
	members      guarded.Verdict = "members" // detail: how many
	holdsAll     guarded.Verdict = "holds_all"
	seeded       guarded.Verdict = "seeded"
	past         guarded.Verdict = "past"
)

// Store reads and changes roles through a pooled connection. It is safe for
// concurrent use and holds no connection between calls.
type Store struct {
	db    *guarded.DB
	plain *poolproof.DB // where a user has no tenant yet
}

// NewStore makes a store on db, whose schema migrations.Verify must accept.
func NewStore(db *poolproof.DB) *Store { return &Store{db: guarded.New(db), plain: db} }

// write runs a guarded write and puts this package's refusals into words.
func (s *Store) write(ctx context.Context, c tenancy.Caller, st guarded.Statement, args []any, dest ...any) (guarded.Decision, error) {
	d, err := s.db.Write(ctx, c, st, args, dest...)
	if err = refused(st, d, err); err != nil {
		return guarded.Decision{}, err
	}
	return d, nil
}

// refused returns the error that a decision is; nil if it is OK.
func refused(st guarded.Statement, d guarded.Decision, err error) error {
	if err != nil {
		return err
	}
	switch d.Verdict {
	case guarded.OK:
		return nil
	case guarded.NoRole:
		return tenancy.Refuse(tenancy.NotFound, detailNoRole)
	case noParent:
		return tenancy.Refuse(tenancy.NotFound, "The tenant has no role with the id %s to inherit from.", d.Detail)
	case noPermission:
		return tenancy.Refuse(tenancy.NotFound, detailNoPermission)
	case guarded.NoMember:
		return tenancy.Refuse(tenancy.NotFound, detailNoMember)
	case grant:
		return tenancy.Refuse(tenancy.Forbidden, "You can only grant what you hold yourself for at least as long. Missing: %s.", d.Detail)
	case guarded.InUse, guarded.ItemGate:
		return tenancy.Refuse(tenancy.InUse, "Roles or sidebar items use this permission. Remove it from them first.")
	case guarded.NameTaken:
		return tenancy.Refuse(tenancy.NameTaken, detailNameTaken)
	case system:
		return tenancy.Refuse(tenancy.Forbidden, "Every tenant has this role. It cannot be renamed or deleted.")
	case seeded:
		return tenancy.Refuse(tenancy.Forbidden, "This permission is part of the product. It cannot be renamed or deleted.")
	case members:
		return tenancy.Refuse(tenancy.RoleHasMembers, "The role still has members (%s). force=true takes it from them and deletes it.", d.Detail)
	case holdsAll:
		return tenancy.Refuse(tenancy.Invalid, "This role holds every permission of the tenant. You cannot take one from it.")
	case past:
		return tenancy.InvalidFields(tenancy.Field{Pointer: "/expires_at", Detail: "must be in the future"})
	}
	return fmt.Errorf("%s: unknown verdict %s", st.Op, d.Verdict)
}

const (
	detailNoRole        = "No such role."
	detailNoPermission  = "No such permission."
	detailNoMember      = "No such member."
	detailNameTaken     = "This name or id is taken."
	detailNothingToTake = "There is nothing to take away."
)

// cleanName returns a role's name in its stored form, and what is wrong with it.
func cleanName(name string) (string, []tenancy.Field) {
	wrong := tenancy.CheckName("/name", &name, MaxName, true)
	return name, wrong
}

// checkDescription returns what is wrong with a description. Line breaks are fine.
func checkDescription(d string) []tenancy.Field {
	switch {
	case utf8.RuneCountInString(d) > MaxDescription:
		return []tenancy.Field{{Pointer: "/description", Detail: "must have at most 1000 characters"}}
	case !tenancy.IsText(d):
		return []tenancy.Field{{Pointer: "/description", Detail: tenancy.NotText}}
	}
	return nil
}

// maxParents bounds a request, not the model.
const maxParents = 100

func checkParents(ids []int32) []tenancy.Field {
	if len(ids) > maxParents {
		return []tenancy.Field{{Pointer: "/parent_ids", Detail: "must name at most 100 roles"}}
	}
	return nil
}

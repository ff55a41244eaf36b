package rbac

import (
	"context"
	"errors"
	"unicode/utf8"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/guarded"
	"github.com/poolproof/poolproof/tenancy"
)

// The permissions that the store's writes need.
const (
	manageRoles       = "manage_roles"
	managePermissions = "manage_permissions"
	manageUsers       = "manage_users"
	manageTenants     = "manage_tenants" // on the platform
	anyMember         = ""               // of reads
)

// Verdicts of this package's statements, beside guarded's.
const (
	noParent     guarded.Verdict = "no_parent"     // detail: the ids
	noPermission guarded.Verdict = "no_permission" // not in the catalogue
	grant        guarded.Verdict = "grant"         // detail: what the caller does not hold, or not long enough
	cycle        guarded.Verdict = "cycle"
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

// write runs a guarded write and gives the words to the refusals that more
// than one of this package's statements has. It gives the state that holds the
// change, and the verdict's detail.
func (s *Store) write(ctx context.Context, c tenancy.Caller, op, permission, sql string, args []any, dest ...any) (tenancy.Epoch, string, error) {
	d, err := s.db.Write(ctx, c, op, permission, sql, args, dest...)
	return words(op, d, err)
}

// writeCatalogue is write for the catalogue of permissions.
func (s *Store) writeCatalogue(ctx context.Context, c tenancy.Caller, op, sql string, args []any, dest ...any) (tenancy.Epoch, error) {
	d, err := s.db.WritePlatform(ctx, c, op, manageTenants, sql, args, dest...)
	epoch, _, err := words(op, d, err)
	return epoch, err
}

// words makes an error of a decision that is not OK.
func words(op string, d guarded.Decision, err error) (tenancy.Epoch, string, error) {
	if err != nil {
		return tenancy.Epoch{}, "", err
	}
	switch d.Verdict {
	case guarded.OK:
		return d.Epoch, d.Detail, nil
	case guarded.NoRole:
		err = tenancy.Refuse(tenancy.NotFound, detailNoRole)
	case noParent:
		err = tenancy.Refuse(tenancy.NotFound, "No role to inherit from with the id %s.", d.Detail)
	case noPermission:
		err = tenancy.Refuse(tenancy.NotFound, detailNoPermission)
	case guarded.NoMember:
		err = tenancy.Refuse(tenancy.NotFound, detailNoMember)
	case guarded.NotFound:
		err = tenancy.Refuse(tenancy.NotFound, "There is nothing to take away.")
	case grant:
		err = tenancy.Refuse(tenancy.Forbidden, "Nobody grants what they do not hold themselves, at least as long: %s.", d.Detail)
	case guarded.InUse, guarded.ItemGate:
		err = tenancy.Refuse(tenancy.InUse, "Roles or sidebar items use this permission: take it from them first.")
	case guarded.NameTaken:
		err = tenancy.Refuse(tenancy.NameTaken, detailNameTaken)
	case cycle:
		err = tenancy.Refuse(tenancy.Cycle, "A role would inherit from itself.")
	case system:
		err = tenancy.Refuse(tenancy.Forbidden, "This is one of the roles that every tenant has: it is neither renamed nor deleted.")
	case seeded:
		err = tenancy.Refuse(tenancy.Forbidden, "This permission is part of the product: it is neither renamed nor deleted.")
	case members:
		err = tenancy.Refuse(tenancy.RoleHasMembers, "The role has members: %s. Delete it with force=true to take it from them.", d.Detail)
	case holdsAll:
		err = tenancy.Refuse(tenancy.Invalid, "This role holds every permission of the tenant; none can be taken from it.")
	case past:
		err = tenancy.InvalidFields(tenancy.Field{Pointer: "/expires_at", Detail: "must be in the future"})
	default:
		err = errors.New(op + ": unknown verdict " + string(d.Verdict))
	}
	return tenancy.Epoch{}, "", err
}

const (
	detailNoRole       = "No such role."
	detailNoPermission = "No such permission."
	detailNoMember     = "No such member."
	detailNameTaken    = "It is taken already."
)

// cleanName brings a role's name into its form and says what is wrong with it.
func cleanName(name string) (string, []tenancy.Field) {
	wrong := tenancy.CheckName("/name", &name, MaxName, true)
	return name, wrong
}

// checkDescription says what is wrong with a description. Line breaks are fine.
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

// badPage refuses a key that no list of this package gave.
func badPage() error {
	return tenancy.Refuse(tenancy.Invalid, "The page's key is none that this list gave.")
}

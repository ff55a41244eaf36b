package rbac

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/guarded"
	"github.com/poolproof/poolproof/tenancy"
)

// The permissions that the store's writes need.
const (
	manageRoles       = "manage_roles"
	managePermissions = "manage_permissions"
	manageUsers       = "manage_users"
)

// Verdicts of this package's statements, beside guarded's.
const (
	noRole       guarded.Verdict = "no_role"
	noParent     guarded.Verdict = "no_parent"     // detail: the ids
	noPermission guarded.Verdict = "no_permission" // not in the catalogue
	noMember     guarded.Verdict = "no_member"
	grant        guarded.Verdict = "grant" // detail: what the caller does not hold, or not long enough
	nameTaken    guarded.Verdict = "name_taken"
	cycle        guarded.Verdict = "cycle"
	system       guarded.Verdict = "system"
	members      guarded.Verdict = "members" // detail: how many
	holdsAll     guarded.Verdict = "holds_all"
	past         guarded.Verdict = "past"
)

// Store reads and changes roles through a pooled connection. It is safe for
// concurrent use and holds no connection between calls.
type Store struct{ db *poolproof.DB }

// NewStore makes a store on db, whose schema migrations.Verify must accept.
func NewStore(db *poolproof.DB) *Store { return &Store{db: db} }

// write runs a guarded write and gives the words to the refusals that more
// than one of this package's statements has.
func (s *Store) write(ctx context.Context, c tenancy.Caller, op, permission, sql string, args []any, dest ...any) error {
	verdict, detail, err := guarded.Write(ctx, s.db, c, op, permission, sql, args, dest...)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" && pg.TableName == "roles" {
		// Somebody who does not take the tenant's lock was faster.
		return &tenancy.Error{Code: tenancy.NameTaken, Detail: detailNameTaken, Err: err}
	}
	if err != nil {
		return err
	}
	switch verdict {
	case guarded.OK:
		return nil
	case noRole:
		return tenancy.Refuse(tenancy.NotFound, detailNoRole)
	case noParent:
		return tenancy.Refuse(tenancy.NotFound, "No role to inherit from with the id %s.", detail)
	case noPermission:
		return tenancy.Refuse(tenancy.NotFound, "No such permission.")
	case noMember:
		return tenancy.Refuse(tenancy.NotFound, "No such member.")
	case guarded.NotFound:
		return tenancy.Refuse(tenancy.NotFound, "There is nothing to take away.")
	case grant:
		return tenancy.Refuse(tenancy.Forbidden, "Nobody grants what they do not hold themselves, at least as long: %s.", detail)
	case nameTaken:
		return tenancy.Refuse(tenancy.NameTaken, detailNameTaken)
	case cycle:
		return tenancy.Refuse(tenancy.Cycle, "A role would inherit from itself.")
	case system:
		return tenancy.Refuse(tenancy.Forbidden, "This is one of the roles that every tenant has: it is neither renamed nor deleted.")
	case members:
		return tenancy.Refuse(tenancy.RoleHasMembers, "The role has members: %s. Delete it with force=true to take it from them.", detail)
	case holdsAll:
		return tenancy.Refuse(tenancy.Invalid, "This role holds every permission of the tenant; none can be taken from it.")
	case past:
		return &tenancy.Error{Code: tenancy.Invalid, Detail: "The expiry is in the past.",
			Fields: []tenancy.Field{{Pointer: "/expires_at", Detail: "must be in the future"}}}
	}
	return errors.New(op + ": unknown verdict " + string(verdict))
}

const (
	detailNoRole    = "No such role."
	detailNameTaken = "Another role of this tenant has this name."
)

// cleanName trims a role's name and says what is wrong with it.
func cleanName(name string) (string, []tenancy.Field) {
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		return name, []tenancy.Field{{Pointer: "/name", Detail: "must not be blank"}}
	case utf8.RuneCountInString(name) > MaxName:
		return name, []tenancy.Field{{Pointer: "/name", Detail: "must have at most 100 characters"}}
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return name, []tenancy.Field{{Pointer: "/name", Detail: "must not hold control characters"}}
	}
	return name, nil
}

// checkDescription says what is wrong with a description. Line breaks are fine.
func checkDescription(d string) []tenancy.Field {
	switch {
	case utf8.RuneCountInString(d) > MaxDescription:
		return []tenancy.Field{{Pointer: "/description", Detail: "must have at most 1000 characters"}}
	case !utf8.ValidString(d) || strings.ContainsRune(d, 0):
		return []tenancy.Field{{Pointer: "/description", Detail: "must be text"}}
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

func invalid(fields []tenancy.Field) error {
	if len(fields) == 0 {
		return nil
	}
	return &tenancy.Error{Code: tenancy.Invalid, Detail: "The request's fields are wrong.", Fields: fields}
}

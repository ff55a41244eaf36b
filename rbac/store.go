package rbac

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/tenancy"
)

var errUnfinished = errors.New("rbac: being written")

// Store reads and changes roles through a pooled connection. It is safe for
// concurrent use and holds no connection between calls.
type Store struct{ db *poolproof.DB }

// NewStore makes a store on db, whose schema [migrations.Verify] must accept.
func NewStore(db *poolproof.DB) *Store { return &Store{db: db} }

// Roles lists the tenant's roles by id.
func (s *Store) Roles(ctx context.Context, c tenancy.Caller) ([]Role, error) {
	return nil, errUnfinished
}

// Role gives one role; not_found where the tenant has none with this id.
func (s *Store) Role(ctx context.Context, c tenancy.Caller, id int32) (Role, error) {
	return Role{}, errUnfinished
}

// CreateRole makes a role.
func (s *Store) CreateRole(ctx context.Context, c tenancy.Caller, n NewRole) (Role, error) {
	return Role{}, errUnfinished
}

// UpdateRole changes a role.
func (s *Store) UpdateRole(ctx context.Context, c tenancy.Caller, id int32, p RolePatch) (Role, error) {
	return Role{}, errUnfinished
}

// DeleteRole removes a role.
func (s *Store) DeleteRole(ctx context.Context, c tenancy.Caller, id int32, force bool) error {
	return errUnfinished
}

// Permissions lists the catalogue by name.
func (s *Store) Permissions(ctx context.Context, c tenancy.Caller) ([]Permission, error) {
	return nil, errUnfinished
}

// RolePermissions lists what the role holds.
func (s *Store) RolePermissions(ctx context.Context, c tenancy.Caller, roleID int32) ([]Permission, error) {
	return nil, errUnfinished
}

// GrantPermission gives a permission to a role.
func (s *Store) GrantPermission(ctx context.Context, c tenancy.Caller, roleID int32, permissionID uuid.UUID) error {
	return errUnfinished
}

// RevokePermission takes a permission from a role.
func (s *Store) RevokePermission(ctx context.Context, c tenancy.Caller, roleID int32, permissionID uuid.UUID) error {
	return errUnfinished
}

// AssignRole gives a role to a member.
func (s *Store) AssignRole(ctx context.Context, c tenancy.Caller, user uuid.UUID, roleID int32, expiresAt *time.Time) error {
	return errUnfinished
}

// UnassignRole takes a role from a member.
func (s *Store) UnassignRole(ctx context.Context, c tenancy.Caller, user uuid.UUID, roleID int32) error {
	return errUnfinished
}

// Me tells a user about themself.
func (s *Store) Me(ctx context.Context, user uuid.UUID, tenant uuid.NullUUID) (Me, error) {
	return Me{}, errUnfinished
}

// Package rbac is who may do what in a tenant: roles, the permissions they
// hold, which role inherits from which, and who has which role until when.
//
//	member ──assignment, with or without expiry──► role ──inherits──► role ──► permission
//
// Power comes from permissions, never from a role's id or rank. Four rules
// hold whatever is called, in one statement with the change they allow:
//
//   - The caller is an active member and holds the permission that the call
//     needs: manage_roles for roles and inheritance, manage_permissions for
//     what a role holds, manage_users for assignments.
//   - You can only grant what you hold. What others gain by a permission, a
//     parent or an assignment, the caller holds too, and at least as long: what
//     a role holds lasts, so it takes a holding without expiry. Who holds every
//     permission by SUPER_ADMIN holds those of tomorrow, too; to pass that on
//     takes the same, not merely all of today's.
//   - A tenant keeps an active holder of manage_roles without expiry.
//   - Another tenant's object is a missing object.
//
// A [Store] answers from PostgreSQL: each read and each write is one round
// trip (see internal/guarded), through transaction and statement poolers alike.
// A write that changes nothing leaves no trace; any other leaves a row in the
// audit log, in the same transaction.
//
// Every refusal is a *tenancy.Error. Of the errors that are none,
// poolproof.ErrUnavailable means that the database could not be reached; a
// write may then have happened, and is safe to repeat except CreateRole, which
// then says that the name is taken.
package rbac

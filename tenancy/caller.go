package tenancy

import "github.com/google/uuid"

// Caller is a user acting in one tenant. That the user is an active member of
// the tenant is not implied: each statement checks it in its own transaction,
// so that a membership that was revoked a moment ago counts for nothing.
type Caller struct {
	Tenant uuid.UUID
	User   uuid.UUID
}

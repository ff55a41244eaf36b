package tenancy

import (
	"errors"
	"fmt"
)

// Code is a stable name for a kind of refusal. Clients branch on it; its text
// never changes.
type Code string

// The codes of the API. httpapi maps each to one HTTP status.
const (
	Unauthenticated Code = "unauthenticated"   // no valid token: 401
	NotAMember      Code = "not_a_member"      // the tenant is not the caller's, or does not exist: 403
	Forbidden       Code = "forbidden"         // a member without the permission: 403
	TenantRequired  Code = "tenant_required"   // neither header nor token names a tenant: 400
	Invalid         Code = "invalid"           // the request's fields are wrong: 400
	NotFound        Code = "not_found"         // missing, or another tenant's: 404
	NameTaken       Code = "name_taken"        // unique names: 409
	RoleHasMembers  Code = "role_has_members"  // would be deleted silently: 409
	LastManager     Code = "last_manager"      // nobody would be left who manages roles: 409
	Cycle           Code = "cycle"             // a role would inherit from itself: 409
	InUse           Code = "in_use"            // something else refers to it: 409
	LimitReached    Code = "limit_reached"     // the tenant has as much as it may have: 409
	VersionMismatch Code = "version_mismatch"  // If-Match named another version: 412
	BodyTooLarge    Code = "body_too_large"    // over the limit: 413
	TooManyRequests Code = "too_many_requests" // the tenant's other requests come first: 429
	Unavailable     Code = "unavailable"       // the database cannot be reached: 503
	Stale           Code = "stale"             // the asked-for epoch was not reached in time: 503
	Internal        Code = "internal"          // anything else: 500
)

// Field names one field of a request and what is wrong with it.
type Field struct {
	Pointer string `json:"pointer"` // JSON pointer into the body, such as "/name"
	Detail  string `json:"detail"`
}

// Error is a refusal. Detail is written for the person who reads the answer
// and never holds SQL, a connection string or another tenant's data; Err, if
// any, is for the log only.
type Error struct {
	Code   Code
	Detail string
	Fields []Field // with Invalid: which fields
	Err    error
}

// Error returns code, detail and cause, for logs.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Refuse makes an Error with a formatted detail.
func Refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first *Error in err's chain, Internal if err is
// not nil and holds none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

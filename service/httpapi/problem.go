package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/tenancy"
)

// methodNotAllowed is the one code that only HTTP knows.
const methodNotAllowed tenancy.Code = "method_not_allowed"

// statusClientGone is what the log says when the client hung up before its
// answer (nginx's number for it). It is never sent.
const statusClientGone = 499

// problemDocs is where the type of every problem resolves to its description.
const problemDocs = "https://github.com/poolproof/poolproof/blob/main/docs/problems.md#"

// kind is how one code is answered.
type kind struct {
	status int
	title  string
	// detail is sent where the refusal has none of its own, or always if fixed:
	// there the answer must not depend on what was asked for or what failed.
	detail string
	fixed  bool
}

// kinds is the table of all refusals: code to status and words.
var kinds = map[tenancy.Code]kind{
	tenancy.Unauthenticated: {status: http.StatusUnauthorized, title: "Sign in", detail: "An access token is required."},
	tenancy.NotAMember: {status: http.StatusForbidden, title: "Not a member of this tenant", fixed: true,
		detail: "You are not an active member of this tenant."},
	tenancy.Forbidden:      {status: http.StatusForbidden, title: "Not permitted", detail: "Your roles do not permit this."},
	tenancy.TenantRequired: {status: http.StatusBadRequest, title: "Tenant required", detail: "Name a tenant in the X-Tenant-ID header."},
	tenancy.Invalid:        {status: http.StatusBadRequest, title: "Invalid request", detail: "The request is not valid."},
	tenancy.NotFound: {status: http.StatusNotFound, title: "Not found", fixed: true,
		detail: "There is nothing here, or nothing that you may see."},
	methodNotAllowed:        {status: http.StatusMethodNotAllowed, title: "Method not allowed", detail: "The Allow header lists the methods of this address."},
	tenancy.NameTaken:       {status: http.StatusConflict, title: "Name taken", detail: "This name is taken."},
	tenancy.RoleHasMembers:  {status: http.StatusConflict, title: "The role has members", detail: "The role still has members. force=true takes it from them and deletes it."},
	tenancy.LastManager:     {status: http.StatusConflict, title: "Last manager", detail: "Nobody would be left who manages roles."},
	tenancy.Cycle:           {status: http.StatusConflict, title: "Cycle", detail: "The role would inherit from itself."},
	tenancy.InUse:           {status: http.StatusConflict, title: "In use", detail: "Something else refers to it."},
	tenancy.LimitReached:    {status: http.StatusConflict, title: "Limit reached", detail: "The tenant has reached its limit."},
	tenancy.VersionMismatch: {status: http.StatusPreconditionFailed, title: "Changed meanwhile", detail: "It was changed since you read it. Read it again."},
	tenancy.BodyTooLarge:    {status: http.StatusRequestEntityTooLarge, title: "Body too large", detail: "The body is larger than 1 MiB."},
	tenancy.TooManyRequests: {status: http.StatusTooManyRequests, title: "Too many requests", fixed: true,
		detail: "Too many requests of this tenant are under way. Try again."},
	tenancy.Unavailable: {status: http.StatusServiceUnavailable, title: "Unavailable", fixed: true,
		detail: "The service cannot reach its database now. Try again."},
	tenancy.Stale: {status: http.StatusServiceUnavailable, title: "Stale", detail: "The database did not reach the requested state in time. Try again."},
	tenancy.Internal: {status: http.StatusInternalServerError, title: "Internal error", fixed: true,
		detail: "Something went wrong on our side. The X-Request-ID header identifies the request in our logs."},
}

// problem is an RFC 9457 answer. It has no instance: the request id is in a
// header, so that two answers to the same question are the same bytes.
type problem struct {
	Type   string          `json:"type"`
	Title  string          `json:"title"`
	Status int             `json:"status"`
	Detail string          `json:"detail"`
	Code   tenancy.Code    `json:"code"`
	Errors []tenancy.Field `json:"errors,omitempty"`
}

// newProblem makes the answer to an error. Whatever is no [tenancy.Error] and
// no outage is internal, and nothing of its text is told.
func newProblem(err error) problem {
	code, detail := codeOf(err), ""
	var fields []tenancy.Field
	if refusal, ok := errors.AsType[*tenancy.Error](err); ok && refusal.Code == code {
		detail, fields = refusal.Detail, refusal.Fields
	}
	k, ok := kinds[code]
	if !ok {
		code, k = tenancy.Internal, kinds[tenancy.Internal]
	}
	if detail == "" || k.fixed {
		detail = k.detail
	}
	if k.fixed {
		fields = nil
	}
	return problem{
		Type: problemDocs + string(code), Title: k.title, Status: k.status,
		Detail: detail, Code: code, Errors: fields,
	}
}

// codeOf finds the code of an error. An outage counts as one even if a store
// has wrapped it in an internal refusal.
func codeOf(err error) tenancy.Code {
	if refusal, ok := errors.AsType[*tenancy.Error](err); ok && refusal.Code != tenancy.Internal {
		return refusal.Code
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "57014", "55P03", "40P01", "40001": // cancelled or timed out, lock not had, deadlock, serialization: rolled back, worth another try
			return tenancy.Unavailable
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return tenancy.BodyTooLarge
	case errors.Is(err, poolproof.ErrUnavailable), errors.Is(err, poolproof.ErrClosed),
		errors.Is(err, poolproof.ErrTenantNotSet),
		errors.Is(err, context.DeadlineExceeded):
		return tenancy.Unavailable
	}
	return tenancy.Internal
}

// fail answers an error. It is the only place that does.
func (s *Server) fail(x *exchange, err error) {
	x.err = err
	if errors.Is(err, context.Canceled) && x.clientGone() {
		x.status = statusClientGone
		return
	}
	p := newProblem(err)
	h := x.w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("Etag")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", challenge(err))
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	body, marshalErr := json.Marshal(p)
	if marshalErr != nil { // [unexpected] strings and numbers always marshal
		body = []byte(`{"title":"Internal error","status":500,"code":"internal"}`)
		p.Status = http.StatusInternalServerError
		x.err = errors.Join(err, marshalErr)
	}
	x.send(p.Status, append(body, '\n'))
}

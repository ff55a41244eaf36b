package oracle

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Caller is who asks, and for which tenant.
type Caller struct{ Tenant, User uuid.UUID }

// Request is what an operation sends. Body nil is none; Version, if not nil,
// goes into If-Match.
type Request struct {
	Method, Path string
	Body         map[string]any
	Version      *int
}

// Answer is what must come back: a code for refusals, else the body, in which
// times of creation are left out. Version is that of the object's ETag, 0 for
// none. Epoch tells whose state a write's answer carries: a tenant's, or with
// the zero id only the catalogues'.
type Answer struct {
	Status  int
	Code    string
	Body    any
	Version int
	Epoch   *uuid.UUID
}

// Op is something that can be asked of the API.
type Op interface {
	Request() Request
	// play decides on w and changes it; after a refusal w is thrown away. made is
	// the id that the service gave to what it made.
	play(w *World, c Caller, made uuid.UUID) Answer
}

// Play says what must be answered to c and how the world is afterwards: w itself
// after a read or a refusal. made is the id of what the answer says was made.
func (w *World) Play(c Caller, op Op, made uuid.UUID) (*World, Answer) {
	if read, ok := op.(Read); ok {
		return w, read.answer(w, c)
	}
	next := w.Clone()
	a := op.play(next, c, made)
	if a.Code != "" {
		return w, a
	}
	// The rule behind all others: somebody is left who can go on.
	for id := range next.Tenants {
		if len(next.Keepers(id, "manage_roles")) == 0 {
			return w, refuse("last_manager")
		}
	}
	if len(next.Keepers(w.Platform, "manage_tenants")) == 0 {
		return w, refuse("last_manager")
	}
	return next, a
}

// statuses are the codes that decisions have.
var statuses = map[string]int{
	"invalid": 400, "not_a_member": 403, "forbidden": 403, "not_found": 404, "name_taken": 409, "role_has_members": 409,
	"last_manager": 409, "cycle": 409, "in_use": 409, "version_mismatch": 412,
}

func refuse(code string) Answer { return Answer{Status: statuses[code], Code: code} }

type object = map[string]any

// written answers a change of a tenant, wroteCatalogue one of the catalogues.
func written(status int, c Caller, data any, version int) Answer {
	return Answer{Status: status, Body: object{"data": data}, Version: version, Epoch: &c.Tenant}
}

func wroteCatalogue(status int, data any, version int) Answer {
	return Answer{Status: status, Body: object{"data": data}, Version: version, Epoch: &uuid.Nil}
}

var done = object{"message": "…"}

// may refuses who is no active member or does not hold the permission; "" asks
// for membership only.
func (w *World) may(c Caller, permission string) (Answer, bool) {
	where := c.Tenant
	if permission == manageTenants {
		where = w.Platform
	}
	switch {
	case !w.isMember(c.Tenant, c.User):
		return refuse("not_a_member"), false
	case permission != "" && !w.holds(where, c.User, permission):
		return refuse("forbidden"), false
	}
	return Answer{}, true
}

// manageTenants is for tenants and catalogues. It counts on the platform.
const manageTenants = "manage_tenants"

// mayChange is may for a change of what [find] returned, in the version that the
// caller has read, if they name one. What is fixed nobody may change.
func (w *World) mayChange(c Caller, permission string, read *int, version int, fixed bool) (Answer, bool) {
	switch a, ok := w.may(c, permission); {
	case !ok:
		return a, false
	case version == 0:
		return refuse("not_found"), false
	case read != nil && *read != version:
		return refuse("version_mismatch"), false
	case fixed:
		return refuse("forbidden"), false
	}
	return Answer{}, true
}

// find returns a thing of the world, or one of version 0, which nothing has.
func find[K comparable, V any](things map[K]*V, id K) *V {
	if thing := things[id]; thing != nil {
		return thing
	}
	return new(V)
}

// another reports whether a patch names a value other than this one.
func another(wanted *string, is string) bool { return wanted != nil && *wanted != is }

func (w *World) record(tenant uuid.UUID, c Caller, action, object string) {
	t := w.Tenants[tenant]
	t.Audit = append(t.Audit, Entry{c.User, action, object})
}

// set replaces what a patch names and reports whether that is another value.
func set[T comparable](field *T, value *T) bool {
	if value == nil || *value == *field {
		return false
	}
	*field = *value
	return true
}

// either reports whether any of these patches changed something.
func either(changed ...bool) bool { return slices.Contains(changed, true) }

// touch raises a version and records the change, if there was one.
func (w *World) touch(changed bool, version *int, tenant uuid.UUID, c Caller, action, object string) {
	if changed {
		*version++
		w.record(tenant, c, action, object)
	}
}

// member is a name of a body and its value; nil is not there.
type member struct {
	name  string
	value any
}

func named[T any](name string, value *T) member {
	if value == nil {
		return member{}
	}
	return member{name, *value}
}

// patch is the body that names what is not nil.
func patch(members ...member) object {
	body := object{}
	for _, m := range members {
		if m.value != nil {
			body[m.name] = m.value
		}
	}
	return body
}

func blank(name *string) bool { return name != nil && strings.TrimSpace(*name) == "" }

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Elsewhere is an operation whose body names a tenant, which must be the
// caller's.
type Elsewhere struct {
	Op
	Tenant uuid.UUID
}

// Request is the operation's, with the tenant in its body.
func (o Elsewhere) Request() Request {
	r := o.Op.Request()
	if r.Body != nil {
		r.Body["tenant_id"] = o.Tenant.String()
	}
	return r
}

func (o Elsewhere) play(w *World, c Caller, made uuid.UUID) Answer {
	if o.Op.Request().Body != nil && o.Tenant != c.Tenant {
		return refuse("invalid")
	}
	return o.Op.play(w, c, made)
}

const (
	post  = http.MethodPost
	putAt = http.MethodPut
	del   = http.MethodDelete
)

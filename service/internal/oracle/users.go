package oracle

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

func profileBody(user uuid.UUID, p *Profile) object {
	return object{"user_id": user.String(), "external_id": orNull(p.External), "email": p.Email, "name": p.Name, "active": p.Active}
}

// externalTaken reports whether another member has an identity provider's id.
func (t *Tenant) externalTaken(id string, but uuid.UUID) bool {
	for user, p := range t.Profiles {
		if id != "" && user != but && p.External == id {
			return true
		}
	}
	return false
}

// CreateProfile makes somebody a member.
type CreateProfile struct {
	User                  uuid.UUID
	External, Email, Name string
	Active                bool
}

// Request is the operation's.
func (o CreateProfile) Request() Request {
	return Request{Method: post, Path: "/api/v3/profiles", Body: object{
		"user_id": o.User.String(), "external_id": o.External, "email": o.Email, "name": o.Name, "active": o.Active,
	}}
}

func (o CreateProfile) play(w *World, c Caller, _ uuid.UUID) Answer {
	if a, ok := w.may(c, "manage_users"); !ok {
		return a
	}
	t := w.Tenants[c.Tenant]
	if t.Profiles[o.User] != nil || t.externalTaken(o.External, o.User) {
		return refuse("name_taken")
	}
	p := t.Member(o.User)
	p.External, p.Email, p.Name, p.Active = o.External, o.Email, o.Name, o.Active
	w.record(c.Tenant, c, "profile.create", "user/"+o.User.String())
	return written(201, c, profileBody(o.User, p), 1)
}

// UpdateProfile changes what is not nil; "" takes the external id away.
type UpdateProfile struct {
	User                  uuid.UUID
	External, Email, Name *string
	Active                *bool
	Version               *int
}

// Request is the operation's.
func (o UpdateProfile) Request() Request {
	body := patch(named("external_id", o.External), named("email", o.Email), named("name", o.Name), named("active", o.Active))
	return Request{Method: putAt, Path: "/api/v3/profiles/" + o.User.String(), Body: body, Version: o.Version}
}

func (o UpdateProfile) play(w *World, c Caller, _ uuid.UUID) Answer {
	t := find(w.Tenants, c.Tenant)
	p := find(t.Profiles, o.User)
	if a, ok := w.mayChange(c, "manage_users", o.Version, p.Version, false); !ok {
		return a
	}
	own := w.Held(c.Tenant, c.User)
	was := *p
	changed := either(set(&p.External, o.External), set(&p.Email, o.Email), set(&p.Name, o.Name), set(&p.Active, o.Active))
	// Whoever comes (back) to a profile, or is somebody else, gains its roles, now
	// or once it is active.
	if p.Active && !was.Active || p.External != was.External && p.External != "" {
		for role, a := range p.Roles {
			if a.until().After(w.Now) && own.lacks(w.confers(t, role), a.until()) {
				return refuse("forbidden")
			}
		}
	}
	if t.externalTaken(p.External, o.User) {
		return refuse("name_taken")
	}
	w.touch(changed, &p.Version, c.Tenant, c, "profile.update", "user/"+o.User.String())
	return written(200, c, profileBody(o.User, p), p.Version)
}

func assignmentBody(user uuid.UUID, id int, r *Role, a *Assignment) object {
	body := object{"user_id": user.String(), "role_id": id, "role_name": r.Name, "expires_at": nil}
	if a.Until != nil {
		body["expires_at"] = a.Until.UTC().Format(time.RFC3339)
	}
	return body
}

// Assign assigns a role to a member, or another expiry to what they hold. Clear
// names an expiry of null, which takes it away.
type Assign struct {
	User  uuid.UUID
	Role  int
	Until *time.Time
	Clear bool
}

// Request is the operation's.
func (o Assign) Request() Request {
	body := patch(named("role_id", &o.Role), named("expires_at", o.Until))
	if o.Clear {
		body["expires_at"] = nil
	}
	return Request{Method: post, Path: "/api/v3/rbac/users/" + o.User.String() + "/roles", Body: body}
}

func (o Assign) play(w *World, c Caller, _ uuid.UUID) Answer {
	if a, ok := w.may(c, "manage_users"); !ok {
		return a
	}
	t := w.Tenants[c.Tenant]
	p, r := t.Profiles[o.User], t.Roles[o.Role]
	switch {
	case p == nil || r == nil:
		return refuse("not_found")
	case o.Until != nil && !o.Until.After(w.Now):
		return refuse("invalid")
	}
	wanted := Assignment{Until: o.Until, By: c.User, Version: 1}
	status, longer := 201, true
	if present := p.Roles[o.Role]; present != nil {
		wanted.Version = present.Version + 1
		if present.until().After(w.Now) {
			status, longer = 200, wanted.until().After(present.until())
			if o.Until == nil && !o.Clear || wanted.until().Equal(present.until()) {
				return written(200, c, assignmentBody(o.User, o.Role, r, present), 0)
			}
		}
	}
	if longer && w.Held(c.Tenant, c.User).lacks(w.confers(t, o.Role), wanted.until()) {
		return refuse("forbidden")
	}
	p.Roles[o.Role] = &wanted
	w.record(c.Tenant, c, "user.role.assign", "user/"+o.User.String())
	return written(status, c, assignmentBody(o.User, o.Role, r, &wanted), 0)
}

// Unassign takes a role from a member who holds it.
type Unassign struct {
	User uuid.UUID
	Role int
}

// Request is the operation's.
func (o Unassign) Request() Request {
	return Request{Method: del, Path: fmt.Sprintf("/api/v3/rbac/users/%s/roles/%d", o.User, o.Role)}
}

func (o Unassign) play(w *World, c Caller, _ uuid.UUID) Answer {
	if a, ok := w.may(c, "manage_users"); !ok {
		return a
	}
	p := w.Tenants[c.Tenant].Profiles[o.User]
	if p == nil || p.Roles[o.Role] == nil || !p.Roles[o.Role].until().After(w.Now) {
		return refuse("not_found")
	}
	delete(p.Roles, o.Role)
	w.record(c.Tenant, c, "user.role.unassign", "user/"+o.User.String())
	return written(200, c, done, 0)
}

package oracle

import (
	"regexp"
	"strings"

	"github.com/google/uuid"
)

var catalogueName = regexp.MustCompile(`^[a-z][a-z0-9_.-]*$`)

func badName(name *string) bool { return name != nil && !catalogueName.MatchString(*name) }

// mayRename is mayChange for an entry of a catalogue whose name the change may
// name. A seeded entry keeps its name, and nobody takes one that is there.
func (w *World) mayRename(c Caller, read *int, version int, seeded bool, name *string, was string, named func(string) uuid.UUID) (Answer, bool) {
	renamed := another(name, was)
	if a, ok := w.mayChange(c, manageTenants, read, version, seeded && renamed); !ok {
		return a, false
	}
	if renamed && named(*name) != uuid.Nil {
		return refuse("name_taken"), false
	}
	return Answer{}, true
}

func permissionBody(id uuid.UUID, p *Permission) object {
	return object{"id": id.String(), "name": p.Name, "resource_type": p.Resource, "action": p.Action, "description": p.Description}
}

// CreatePermission adds a permission, whose action and resource its name tells.
type CreatePermission struct {
	Name, Description string
	Platform          bool
}

// Request is the operation's.
func (o CreatePermission) Request() Request {
	body := object{"name": o.Name, "description": o.Description}
	if o.Platform {
		body["scope"] = "platform"
	}
	return Request{Method: post, Path: "/api/v3/rbac/permissions", Body: body}
}

func (o CreatePermission) play(w *World, c Caller, made uuid.UUID) Answer {
	if badName(&o.Name) {
		return refuse("invalid")
	}
	if a, ok := w.may(c, manageTenants); !ok {
		return a
	}
	if w.permissionNamed(o.Name) != uuid.Nil {
		return refuse("name_taken")
	}
	p := &Permission{Name: o.Name, Action: "use", Resource: o.Name, Description: o.Description, Platform: o.Platform, Version: 1}
	if action, resource, ok := strings.Cut(o.Name, "_"); ok {
		p.Action, p.Resource = action, resource
	}
	w.Permissions[made] = p
	w.record(w.Platform, c, "permission.create", "permission/"+made.String())
	return wroteCatalogue(201, permissionBody(made, p), 1)
}

// UpdatePermission changes what is not nil.
type UpdatePermission struct {
	ID                uuid.UUID
	Name, Description *string
	Action, Resource  *string
	Version           *int
}

// Request is the operation's.
func (o UpdatePermission) Request() Request {
	body := patch(named("name", o.Name), named("description", o.Description), named("action", o.Action), named("resource_type", o.Resource))
	return Request{Method: putAt, Path: "/api/v3/rbac/permissions/" + o.ID.String(), Body: body, Version: o.Version}
}

func (o UpdatePermission) play(w *World, c Caller, _ uuid.UUID) Answer {
	if badName(o.Name) || blank(o.Action) || blank(o.Resource) {
		return refuse("invalid")
	}
	p := find(w.Permissions, o.ID)
	if a, ok := w.mayRename(c, o.Version, p.Version, p.Seeded, o.Name, p.Name, w.permissionNamed); !ok {
		return a
	}
	was := p.Name
	changed := either(set(&p.Name, o.Name), set(&p.Description, o.Description), set(&p.Action, o.Action), set(&p.Resource, o.Resource))
	for _, s := range w.Sidebar { // gates follow
		if s.Permission == was {
			s.Permission = p.Name
		}
	}
	w.touch(changed, &p.Version, w.Platform, c, "permission.update", "permission/"+o.ID.String())
	return wroteCatalogue(200, permissionBody(o.ID, p), p.Version)
}

func featureBody(id uuid.UUID, f *Feature) object {
	return object{"id": id.String(), "name": f.Name, "description": f.Description, "default_enabled": f.Default}
}

// CreateFeature adds a feature.
type CreateFeature struct {
	Name, Description string
	Default           bool
}

// Request is the operation's.
func (o CreateFeature) Request() Request {
	return Request{Method: post, Path: "/api/v3/rbac/features",
		Body: object{"name": o.Name, "description": o.Description, "default_enabled": o.Default}}
}

func (o CreateFeature) play(w *World, c Caller, made uuid.UUID) Answer {
	if badName(&o.Name) {
		return refuse("invalid")
	}
	if a, ok := w.may(c, manageTenants); !ok {
		return a
	}
	if w.featureNamed(o.Name) != uuid.Nil {
		return refuse("name_taken")
	}
	w.Features[made] = &Feature{Name: o.Name, Description: o.Description, Default: o.Default, Version: 1}
	w.record(w.Platform, c, "feature.create", "feature/"+o.Name)
	return wroteCatalogue(201, featureBody(made, w.Features[made]), 1)
}

// UpdateFeature changes what is not nil.
type UpdateFeature struct {
	ID                uuid.UUID
	Name, Description *string
	Default           *bool
	Version           *int
}

// Request is the operation's.
func (o UpdateFeature) Request() Request {
	body := patch(named("name", o.Name), named("description", o.Description), named("default_enabled", o.Default))
	return Request{Method: putAt, Path: "/api/v3/rbac/features/" + o.ID.String(), Body: body, Version: o.Version}
}

func (o UpdateFeature) play(w *World, c Caller, _ uuid.UUID) Answer {
	if badName(o.Name) {
		return refuse("invalid")
	}
	f := find(w.Features, o.ID)
	if a, ok := w.mayRename(c, o.Version, f.Version, f.Seeded, o.Name, f.Name, w.featureNamed); !ok {
		return a
	}
	changed := either(set(&f.Name, o.Name), set(&f.Description, o.Description), set(&f.Default, o.Default))
	w.touch(changed, &f.Version, w.Platform, c, "feature.update", "feature/"+f.Name)
	return wroteCatalogue(200, featureBody(o.ID, f), f.Version)
}

// on is a feature's value in a tenant: its own, else the default.
func (w *World) on(tenant, feature uuid.UUID) bool {
	if s := w.Tenants[tenant].Features[feature]; s != nil {
		return s.Enabled
	}
	return w.Features[feature].Default
}

// Switch sets a feature's value for a tenant, by name as v4 has it or, if Name
// is "", by id as v3 has it.
type Switch struct {
	Name    string
	ID      uuid.UUID
	Enabled bool
}

// Request is the operation's.
func (o Switch) Request() Request {
	if o.Name != "" {
		return Request{Method: post, Path: "/api/v4/features/tenant", Body: object{"feature_name": o.Name, "enabled": o.Enabled}}
	}
	return Request{Method: post, Path: "/api/v3/rbac/features/" + o.ID.String() + "/status", Body: object{"enabled": o.Enabled}}
}

func (o Switch) play(w *World, c Caller, _ uuid.UUID) Answer {
	if a, ok := w.may(c, "configure_features"); !ok {
		return a
	}
	id := o.ID
	if o.Name != "" {
		id = w.featureNamed(o.Name)
	}
	f, t := w.Features[id], w.Tenants[c.Tenant]
	if f == nil {
		return refuse("not_found")
	}
	s := t.Features[id]
	if s == nil || s.Enabled != o.Enabled { // the default is no value of the tenant's
		if s == nil {
			s = &Setting{}
			t.Features[id] = s
		}
		s.Enabled = o.Enabled
		s.Version++
		w.record(c.Tenant, c, "feature.set", "feature/"+f.Name)
	}
	if o.Name != "" {
		a := written(200, c, nil, 0)
		a.Body = object{"message": "…", "feature_name": o.Name, "enabled": o.Enabled}
		return a
	}
	return written(200, c, object{"feature_id": id.String(), "name": f.Name, "enabled": o.Enabled}, 0)
}

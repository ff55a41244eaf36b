package oracle

import (
	"regexp"
	"strings"

	"github.com/google/uuid"
)

var slugForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func badSlug(slug *string) bool { return slug != nil && !slugForm.MatchString(*slug) }

func tenantBody(id uuid.UUID, t *Tenant) object {
	return object{"id": id.String(), "name": t.Name, "slug": t.Slug}
}

func (w *World) slugTaken(slug *string, but uuid.UUID) bool {
	for id, t := range w.Tenants {
		if slug != nil && id != but && t.Slug == *slug {
			return true
		}
	}
	return false
}

// CreateTenant makes a tenant, whose administrator may be anybody.
type CreateTenant struct {
	Name, Slug string
	Admin      uuid.UUID
}

// Request is the operation's.
func (o CreateTenant) Request() Request {
	return Request{Method: post, Path: "/api/v3/rbac-admin/tenants",
		Body: object{"name": o.Name, "slug": o.Slug, "admin_user_id": o.Admin.String(), "admin_email": "boss@example.org"}}
}

func (o CreateTenant) play(w *World, c Caller, made uuid.UUID) Answer {
	name := strings.TrimSpace(o.Name)
	if name == "" || badSlug(&o.Slug) {
		return refuse("invalid")
	}
	if a, ok := w.may(c, manageTenants); !ok {
		return a
	}
	if w.slugTaken(&o.Slug, uuid.Nil) {
		return refuse("name_taken")
	}
	t := w.NewTenant(made, name, o.Slug, o.Admin, "boss@example.org")
	t.Audit = []Entry{{o.Admin, "tenant.create", "tenant/" + made.String()}}
	w.record(w.Platform, c, "tenant.create", "tenant/"+made.String())
	return wroteCatalogue(201, tenantBody(made, t), 1)
}

// UpdateTenant changes what is not nil.
type UpdateTenant struct {
	ID         uuid.UUID
	Name, Slug *string
	Version    *int
}

// Request is the operation's.
func (o UpdateTenant) Request() Request {
	body := patch(named("name", o.Name), named("slug", o.Slug))
	return Request{Method: putAt, Path: "/api/v3/rbac-admin/tenants/" + o.ID.String(), Body: body, Version: o.Version}
}

func (o UpdateTenant) play(w *World, c Caller, _ uuid.UUID) Answer {
	if blank(o.Name) || badSlug(o.Slug) {
		return refuse("invalid")
	}
	t := find(w.Tenants, o.ID)
	if a, ok := w.mayChange(c, manageTenants, o.Version, t.Version, false); !ok {
		return a
	}
	if w.slugTaken(o.Slug, o.ID) {
		return refuse("name_taken")
	}
	renamed, moved := set(&t.Name, o.Name), set(&t.Slug, o.Slug)
	w.touch(renamed || moved, &t.Version, w.Platform, c, "tenant.update", "tenant/"+o.ID.String())
	return wroteCatalogue(200, tenantBody(o.ID, t), t.Version)
}

// DeleteTenant removes a tenant and all that is in it.
type DeleteTenant struct {
	ID      uuid.UUID
	Force   bool
	Version *int
}

// Request is the operation's.
func (o DeleteTenant) Request() Request {
	path := "/api/v3/rbac-admin/tenants/" + o.ID.String()
	if o.Force {
		path += "?force=true"
	}
	return Request{Method: del, Path: path, Version: o.Version}
}

func (o DeleteTenant) play(w *World, c Caller, _ uuid.UUID) Answer {
	t := find(w.Tenants, o.ID)
	if a, ok := w.mayChange(c, manageTenants, o.Version, t.Version, o.ID == w.Platform); !ok {
		return a
	}
	if len(t.Profiles) > 0 && !o.Force {
		return refuse("in_use")
	}
	delete(w.Tenants, o.ID)
	w.record(w.Platform, c, "tenant.delete", "tenant/"+o.ID.String())
	return wroteCatalogue(200, done, 0)
}

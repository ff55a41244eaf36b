package oracle

import (
	"strings"

	"github.com/google/uuid"
)

// Gate is a sidebar item's condition as a body names it: not at all, none, or
// an id or name.
type Gate struct {
	Named bool
	Value string
}

func (g Gate) put(body map[string]any, key string) {
	if g.Named {
		body[key] = orNull(g.Value)
	}
}

func sidebarBody(id uuid.UUID, s *SidebarItem) object {
	body := object{"id": id.String(), "title": s.Title, "icon": s.Icon, "path": s.Path, "feature_id": nil,
		"required_permission": orNull(s.Permission), "group": s.Group, "display_order": s.Order}
	if s.Feature != uuid.Nil {
		body["feature_id"] = s.Feature.String()
	}
	return body
}

// ItemFields are what a sidebar item's body names; nil fields are not there.
type ItemFields struct {
	Title, Path, Group *string
	Order              *int
	Feature            Gate
	Permission         Gate
}

func (f ItemFields) body() map[string]any {
	body := patch(named("title", f.Title), named("path", f.Path), named("group", f.Group), named("display_order", f.Order))
	f.Feature.put(body, "feature_id")
	f.Permission.put(body, "required_permission")
	return body
}

func (f ItemFields) invalid() bool {
	return blank(f.Title) || blank(f.Group) || f.Path != nil && !strings.HasPrefix(*f.Path, "/")
}

// noGate reports whether a gate names what is not in the catalogue.
func (w *World) noGate(f ItemFields) bool {
	return f.Feature.Value != "" && w.Features[uuid.MustParse(f.Feature.Value)] == nil ||
		f.Permission.Value != "" && w.permissionNamed(f.Permission.Value) == uuid.Nil
}

func (w *World) pathTaken(path *string, but uuid.UUID) bool {
	for id, s := range w.Sidebar {
		if path != nil && id != but && s.Path == *path {
			return true
		}
	}
	return false
}

// apply changes an item and reports whether it is another one then.
func (f ItemFields) apply(s *SidebarItem) bool {
	was := *s
	set(&s.Title, f.Title)
	set(&s.Path, f.Path)
	set(&s.Group, f.Group)
	set(&s.Order, f.Order)
	if f.Feature.Named {
		s.Feature = uuid.Nil
		if f.Feature.Value != "" {
			s.Feature = uuid.MustParse(f.Feature.Value)
		}
	}
	if f.Permission.Named {
		s.Permission = f.Permission.Value
	}
	return *s != was
}

// CreateItem adds a sidebar item.
type CreateItem struct{ ItemFields }

// Request is the operation's.
func (o CreateItem) Request() Request {
	return Request{Method: post, Path: "/api/v3/rbac/sidebar-items", Body: o.body()}
}

func (o CreateItem) play(w *World, c Caller, made uuid.UUID) Answer {
	if o.Title == nil || o.Path == nil || o.Group == nil || o.invalid() {
		return refuse("invalid")
	}
	if a, ok := w.may(c, manageTenants); !ok {
		return a
	}
	switch {
	case w.noGate(o.ItemFields):
		return refuse("invalid")
	case w.pathTaken(o.Path, uuid.Nil):
		return refuse("name_taken")
	}
	s := &SidebarItem{Version: 1}
	o.apply(s)
	w.Sidebar[made] = s
	w.record(w.Platform, c, "sidebar.create", "sidebar/"+made.String())
	return wroteCatalogue(201, sidebarBody(made, s), 1)
}

// UpdateItem changes a sidebar item.
type UpdateItem struct {
	ItemFields
	ID      uuid.UUID
	Version *int
}

// Request is the operation's.
func (o UpdateItem) Request() Request {
	return Request{Method: putAt, Path: "/api/v3/rbac/sidebar-items/" + o.ID.String(), Body: o.body(), Version: o.Version}
}

func (o UpdateItem) play(w *World, c Caller, _ uuid.UUID) Answer {
	if o.invalid() {
		return refuse("invalid")
	}
	s := find(w.Sidebar, o.ID)
	if a, ok := w.mayChange(c, manageTenants, o.Version, s.Version, false); !ok {
		return a
	}
	switch {
	case w.noGate(o.ItemFields):
		return refuse("invalid")
	case w.pathTaken(o.Path, o.ID):
		return refuse("name_taken")
	}
	w.touch(o.apply(s), &s.Version, w.Platform, c, "sidebar.update", "sidebar/"+o.ID.String())
	return wroteCatalogue(200, sidebarBody(o.ID, s), s.Version)
}

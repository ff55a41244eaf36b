package platform

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

// manageTenants is the permission that everything here needs.
const manageTenants = "manage_tenants"

// Verdicts of this package's statements, beside guarded's.
const (
	members    guarded.Verdict = "members"  // detail: how many
	isPlatform guarded.Verdict = "platform" // it is the platform itself
)

// Tenant is a customer whose rows nobody else sees.
type Tenant struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	Slug      string    `json:"slug"` // unique; small letters, digits and hyphens
	CreatedAt time.Time `json:"created_at"`
	Version   int32     `json:"-"` // raised by every change; 0 in lists
}

// NewTenant is a tenant to be, with Admin as its first SUPER_ADMIN. Name holds at
// most [MaxName] characters; an empty Slug is made of it. AdminEmail, at most 320
// characters, may be empty.
type NewTenant struct {
	Name       string
	Slug       string
	Admin      uuid.UUID
	AdminEmail string
}

// Patch changes a tenant; nil fields stay as they are. The others have the bounds
// of [NewTenant].
type Patch struct {
	Name *string
	Slug *string
}

// MaxName bounds a tenant's name, in characters.
const MaxName = 200

// maxEmail bounds an email address, in characters.
const maxEmail = 320

// Store manages tenants. It is safe for concurrent use and holds no connection
// between calls.
type Store struct{ db *guarded.DB }

// NewStore makes a store on db, whose schema migrations.Verify must accept.
func NewStore(db *poolproof.DB) *Store { return &Store{db: guarded.New(db)} }

func fields(t *Tenant) []any { return []any{&t.ID, &t.Name, &t.Slug, &t.CreatedAt} }

func versionedFields(t *Tenant) []any { return append(fields(t), &t.Version) }

// reader is guarded's Reader for the platform's permission.
const reader = `(select nullif(poolproof.may_manage_tenants($1::uuid, $2::uuid, $4::uuid), 'ok') as refused where $3::text = '` + manageTenants + `' offset 0) m`

// The key of a page is the last tenant's name and id.
var list = guarded.Statement{Op: "list the tenants", Needs: manageTenants, OnPlatform: true, SQL: `select coalesce(m.refused, case when t.id is null then 'empty' else 'row' end), t.id, t.name, t.slug, t.created_at
from ` + reader + `
left join lateral (
	select t.* from poolproof.tenants t
	where m.refused is null and (t.name, t.id) > ($5::text, $6::uuid)
	order by t.name, t.id limit $7::int
) t on true
order by t.name, t.id`}

// Tenants lists all tenants by name, the platform included, at most a page of them.
// Refusals: not_a_member, forbidden, stale.
func (s *Store) Tenants(ctx context.Context, c tenancy.Caller, page tenancy.Page) (tenancy.Listed[Tenant], error) {
	name, id := "", uuid.Nil
	if page.After != "" {
		text, rest, _ := strings.Cut(page.After, "/") // the id first: it holds no slash
		var err error
		if id, err = uuid.Parse(text); err != nil {
			return tenancy.Listed[Tenant]{}, tenancy.BadPage()
		}
		name = rest
	}
	all, err := guarded.Read(ctx, s.db, c, list, fields, name, id.String(), page.Limit()+1)
	return guarded.Paged(page, all, func(t Tenant) string { return t.ID.String() + "/" + t.Name }), err
}

var operates = guarded.Statement{Op: "read the doctor's report", Needs: manageTenants, OnPlatform: true, SQL: `select coalesce(m.refused, 'row') from ` + reader}

// Operates returns nil if the caller is an operator of the platform. Refusals: not_a_member, forbidden, stale.
func (s *Store) Operates(ctx context.Context, c tenancy.Caller) error {
	_, err := guarded.One(ctx, s.db, c, operates, func(*struct{}) []any { return nil })
	return err
}

var one = guarded.Statement{Op: "read a tenant", Needs: manageTenants, OnPlatform: true, Missing: detailNoTenant, SQL: `select coalesce(m.refused, case when t.id is null then 'not_found' else 'row' end), t.id, t.name, t.slug, t.created_at, t.version
from ` + reader + `
left join poolproof.tenants t on m.refused is null and t.id = $5::uuid`}

// Tenant returns one tenant; not_found where there is none.
func (s *Store) Tenant(ctx context.Context, c tenancy.Caller, id uuid.UUID) (Tenant, error) {
	return guarded.One(ctx, s.db, c, one, versionedFields, id.String())
}

var create = guarded.Statement{Op: "create a tenant", Needs: manageTenants, OnPlatform: true, SQL: `select a.verdict, a.detail, a.epoch, $5::uuid, $6::text, $7::text, a.created_at, a.version
from poolproof.add_tenant($1::uuid, $2::uuid, $4::uuid, $5::uuid, $6::text, $7::text, $8::uuid, $9::text) a
where $3::text = '` + manageTenants + `'`}

// Create makes a tenant with its four roles and its first SUPER_ADMIN.
// Refusals: invalid, forbidden, name_taken for the slug.
func (s *Store) Create(ctx context.Context, c tenancy.Caller, n NewTenant) (Tenant, tenancy.Epoch, error) {
	wrong := tenancy.CheckName("/name", &n.Name, MaxName, true)
	if n.Slug == "" {
		n.Slug = Slug(n.Name)
	}
	wrong = append(wrong, checkSlug(n.Slug)...)
	if n.Admin == uuid.Nil {
		wrong = append(wrong, tenancy.Field{Pointer: "/admin_user_id", Detail: "is required: every tenant needs an administrator"})
	}
	wrong = append(wrong, tenancy.CheckName("/admin_email", &n.AdminEmail, maxEmail, false)...)
	if err := tenancy.InvalidFields(wrong...); err != nil {
		return Tenant{}, tenancy.Epoch{}, err
	}
	var t Tenant
	epoch, err := s.write(ctx, c, create,
		[]any{uuid.NewString(), n.Name, n.Slug, n.Admin.String(), n.AdminEmail}, versionedFields(&t)...)
	return t, epoch, err
}

var update = guarded.Statement{Op: "update a tenant", Needs: manageTenants, OnPlatform: true, Missing: detailNoTenant, SQL: `select a.verdict, a.detail, a.epoch, a.id, a.new_name, a.new_slug, a.created_at, a.version
from poolproof.change_tenant($1::uuid, $2::uuid, $4::uuid, $5::uuid, $6::text, $7::text, $8::int[]) a
where $3::text = '` + manageTenants + `'`}

// Update changes what the patch names. Refusals: invalid, not_found,
// version_mismatch, forbidden, name_taken for the slug.
func (s *Store) Update(ctx context.Context, c tenancy.Caller, id uuid.UUID, p Patch, match tenancy.Match) (Tenant, tenancy.Epoch, error) {
	if p.Name != nil {
		name := *p.Name // the caller's stays as it is
		p.Name = &name
	}
	wrong := tenancy.CheckName("/name", p.Name, MaxName, true)
	if p.Slug != nil {
		wrong = append(wrong, checkSlug(*p.Slug)...)
	}
	if err := tenancy.InvalidFields(wrong...); err != nil {
		return Tenant{}, tenancy.Epoch{}, err
	}
	var t Tenant
	epoch, err := s.write(ctx, c, update, []any{id.String(), p.Name, p.Slug, []int32(match)}, versionedFields(&t)...)
	return t, epoch, err
}

var remove = guarded.Statement{Op: "delete a tenant", Needs: manageTenants, OnPlatform: true, Missing: detailNoTenant, SQL: `select a.verdict, a.detail, a.epoch
from poolproof.remove_tenant($1::uuid, $2::uuid, $4::uuid, $5::uuid, $6::boolean, $7::int[]) a
where $3::text = '` + manageTenants + `'`}

// Delete removes a tenant and all that is in it, its audit log included; while
// it has profiles, only with force. Refusals: not_found, version_mismatch,
// forbidden, also for the platform itself, in_use while it has profiles.
func (s *Store) Delete(ctx context.Context, c tenancy.Caller, id uuid.UUID, force bool, match tenancy.Match) (tenancy.Epoch, error) {
	return s.write(ctx, c, remove, []any{id.String(), force, []int32(match)})
}

const detailNoTenant = "No such tenant."

// write runs a write and puts refusals into words.
func (s *Store) write(ctx context.Context, c tenancy.Caller, st guarded.Statement, args []any, dest ...any) (tenancy.Epoch, error) {
	d, err := s.db.Write(ctx, c, st, args, dest...)
	if err != nil {
		return tenancy.Epoch{}, err
	}
	switch d.Verdict {
	case guarded.NameTaken:
		err = tenancy.Refuse(tenancy.NameTaken, detailSlugTaken)
	case members:
		err = tenancy.Refuse(tenancy.InUse, "The tenant still has profiles (%s). force=true deletes it with everything in it.", d.Detail)
	case isPlatform:
		err = tenancy.Refuse(tenancy.Forbidden, "The platform tenant cannot be deleted.")
	}
	return d.Epoch, err
}

const detailSlugTaken = "Another tenant has this slug."

// slugForm is what the schema lets a slug be.
var slugForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func checkSlug(slug string) []tenancy.Field {
	if !slugForm.MatchString(slug) {
		return []tenancy.Field{{Pointer: "/slug", Detail: "must be 1 to 63 lower-case letters, digits and hyphens, and must not start or end with a hyphen"}}
	}
	return nil
}

var notInSlug = regexp.MustCompile(`[^a-z0-9]+`)

// Slug makes a slug of a name, as far as its letters are ASCII: "" if none is.
func Slug(name string) string {
	slug := strings.Trim(notInSlug.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return strings.TrimRight(slug[:min(len(slug), 63)], "-")
}

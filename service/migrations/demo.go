package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

// Ids of the demo data, the same in every installation.
var (
	// DemoTenant is Last Apple, whose SUPER_ADMIN [Demo]'s user is.
	DemoTenant = uuid.MustParse("550e8400-e29b-41d4-a716-446655440000")
	// DemoOtherTenant is Voice Automated, of which that user is no member.
	DemoOtherTenant = uuid.MustParse("2ebffd7a-c423-42f3-bf85-ed1397c9e218")
	// DemoOtherAdmin is Voice Automated's SUPER_ADMIN.
	DemoOtherAdmin = uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e01")
	// DemoPlatform is the platform tenant, where there was none before.
	DemoPlatform = uuid.MustParse("0b8e5c52-6a0e-4f0c-8f57-3d0c9c1e4a10")
	// DemoPlatformAdmin is then its GLOBAL_ADMIN.
	DemoPlatformAdmin = uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e00")
)

// demoMember is a person of the demo data and the roles they hold.
type demoMember struct {
	id          string
	email, name string
	active      bool
	roles       []string
	expires     time.Duration // 0: never
}

// demoRole is a role that the demo adds to the four of every tenant.
type demoRole struct {
	name, description string
	permissions       []string
	parents           []string
}

type demoTenant struct {
	id         uuid.UUID
	name, slug string
	features   []string // switched on; the others are left to their default
	roles      []demoRole
	members    []demoMember
}

func demoTenants() []demoTenant {
	return []demoTenant{
		{
			id: DemoTenant, name: "Last Apple", slug: "last-apple",
			features: []string{"contentmap", "frontendscout", "siteharvest", "contactlaunchpad"},
			roles: []demoRole{
				{"Content editor", "Plans and maps content", []string{"view_dashboard", "view_contentmap", "start_contentmap"}, nil},
				{"Campaign lead", "Runs campaigns and what editors do", []string{"view_contactlaunchpad", "start_contactlaunchpad"}, []string{"Content editor"}},
				{"Auditor", "Looks at everything and changes nothing", nil, []string{"USER"}},
			},
			members: []demoMember{
				{id: "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e11", email: "ada@last-apple.example", name: "Ada Nyberg", active: true, roles: []string{"ADMIN"}},
				{id: "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e12", email: "ben@last-apple.example", name: "Ben Okafor", active: true, roles: []string{"USER", "Content editor"}},
				{id: "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e13", email: "chloe@last-apple.example", name: "Chloé Martin", active: true, roles: []string{"Campaign lead"}},
				{id: "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e14", email: "audit@elsewhere.example", name: "Dmitri Sato", active: true, roles: []string{"Auditor"}, expires: 90 * 24 * time.Hour},
				{id: "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e15", email: "eva@last-apple.example", name: "Eva Lindqvist", active: false, roles: []string{"USER"}},
			},
		},
		{
			id: DemoOtherTenant, name: "Voice Automated", slug: "voice-automated",
			features: []string{"emailhunter", "actionqueue", "socialradar", "localminer"},
			roles: []demoRole{
				{"Field researcher", "Finds local businesses", []string{"view_localminer", "start_localminer"}, []string{"USER"}},
			},
			members: []demoMember{
				{id: "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e21", email: "farid@voice-automated.example", name: "Farid Haddad", active: true, roles: []string{"ADMIN"}},
				{id: "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e22", email: "grace@voice-automated.example", name: "Grace Kim", active: true, roles: []string{"Field researcher"}},
			},
		},
	}
}

// Demo makes the platform tenant, unless there is one, and the tenants Last
// Apple, with user as a SUPER_ADMIN, and Voice Automated, both with a few
// roles and members. What is there already stays as it is, so that it can run
// at every start. url is an owner's and may be pooled. Errors: [ErrSchemaOlder]
// where "poolproof migrate up" has to run first; else the database's, wrapped.
func Demo(ctx context.Context, url string, user uuid.UUID) error {
	if user == uuid.Nil {
		return errors.New("migrations: demo: a user id is needed")
	}
	db, err := openOwner(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := demo(ctx, db, user); err != nil {
		return fmt.Errorf("migrations: demo: %w", schemaMissing(err))
	}
	return nil
}

func demo(ctx context.Context, db *poolproof.DB, user uuid.UUID) error {
	var platforms int
	if err := db.Shared().QueryRow(ctx, `select count(*)::int from poolproof.platform`).Scan(&platforms); err != nil {
		return fmt.Errorf("look for the platform tenant: %w", err)
	}
	if platforms == 0 {
		if err := bootstrap(ctx, db, DemoPlatform, "Platform", DemoPlatformAdmin, "platform@poolproof.example", "Platform administrator"); err != nil {
			return err
		}
	}
	admins := map[uuid.UUID]demoMember{
		DemoTenant:      {id: user.String(), email: "you@last-apple.example", name: "You"},
		DemoOtherTenant: {id: DemoOtherAdmin.String(), email: "admin@voice-automated.example", name: "Vera Castillo"},
	}
	for _, t := range demoTenants() {
		b := locked()
		fill(b, t, admins[t.id])
		if err := db.Tenant(t.id.String()).SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("make the tenant %s: %w", t.name, err)
		}
	}
	return nil
}

// fill queues one tenant. What belongs to a new tenant only (roles, members,
// features) is added in the same transaction that makes it, and never again:
// whoever deletes a demo role has deleted it.
func fill(b *pgx.Batch, t demoTenant, admin demoMember) {
	id := t.id.String()
	// now() is when the transaction began, so only a tenant made in this one has it.
	const fresh = ` exists (select from poolproof.tenants t where t.id = $1::uuid and t.created_at = now())`
	b.Queue(`select poolproof.create_tenant($1::uuid, $2::text, $3::text, $4::uuid, $5::text, $6::text)
		where not exists (select from poolproof.tenants t where t.id = $1::uuid)`,
		id, t.name, t.slug, admin.id, admin.email, admin.name)
	for _, r := range t.roles {
		b.Queue(`with counter as (
				update poolproof.tenants set next_role_id = next_role_id + 1 where id = $1::uuid and`+fresh+` returning next_role_id - 1 as id
			), made as (
				insert into poolproof.roles (tenant_id, id, name, description)
				select $1::uuid, counter.id, $2::text, $3::text from counter returning id
			), holds as (
				insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
				select $1::uuid, made.id, p.id, p.scope from made join poolproof.permissions p on p.name = any ($4::text[])
			)
			insert into poolproof.role_parents (tenant_id, role_id, parent_id)
			select $1::uuid, made.id, r.id from made join poolproof.roles r on r.tenant_id = $1::uuid and r.name = any ($5::text[])`,
			id, r.name, r.description, r.permissions, r.parents)
	}
	for _, m := range t.members {
		var until *time.Time
		if m.expires > 0 {
			at := time.Now().Add(m.expires)
			until = &at
		}
		b.Queue(`insert into poolproof.profiles (tenant_id, user_id, email, name, active)
			select $1::uuid, $2::uuid, $3::text, $4::text, $5::boolean where`+fresh+` on conflict (tenant_id, user_id) do nothing`,
			id, m.id, m.email, m.name, m.active)
		b.Queue(`insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by, expires_at)
			select $1::uuid, $2::uuid, r.id, $4::uuid, $5::timestamptz
			from poolproof.roles r where r.tenant_id = $1::uuid and r.name = any ($3::text[]) and`+fresh+` on conflict (tenant_id, user_id, role_id) do nothing`,
			id, m.id, m.roles, admin.id, until)
	}
	b.Queue(`insert into poolproof.tenant_features (tenant_id, feature_id, enabled)
		select $1::uuid, f.id, true from poolproof.features f where f.name = any ($2::text[]) and`+fresh,
		id, t.features)
	// The administrator may be another one than last time.
	b.Queue(`insert into poolproof.profiles (tenant_id, user_id, email, name)
		select $1::uuid, $2::uuid, $3::text, $4::text on conflict (tenant_id, user_id) do nothing`,
		id, admin.id, admin.email, admin.name)
	b.Queue(`insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by)
		select $1::uuid, $2::uuid, r.id, $2::uuid from poolproof.roles r
		where r.tenant_id = $1::uuid and r.name = 'SUPER_ADMIN' on conflict (tenant_id, user_id, role_id) do nothing`,
		id, admin.id)
}

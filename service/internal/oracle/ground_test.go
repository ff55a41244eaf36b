package oracle_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/httpapi"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/internal/migrated"
	"github.com/poolproof/poolproof/service/internal/oracle"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	issuer   = "https://issuer.test"
	audience = "authenticated"
)

var secret = []byte("the-secret-of-the-model's-tests---------")

// ground is a whole service, and its owner's connection, on which worlds are
// put and from which they are read: as the superuser, whom no policy binds.
type ground struct {
	url      string // the API
	owner    *pgx.Conn
	platform uuid.UUID
	tokens   map[uuid.UUID]string
}

func newGround(t *testing.T, kind pgtest.Kind) *ground {
	t.Helper()
	owner, login := migrated.Database(t)
	g := &ground{platform: uuid.New(), tokens: map[uuid.UUID]string{}}
	var err error
	if g.owner, err = pgx.Connect(t.Context(), owner); err != nil {
		t.Fatalf("connecting as the owner: %v", err)
	}
	t.Cleanup(func() {
		if err := g.owner.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("closing the owner's connection: %v", err)
		}
	})
	db, err := poolproof.Open(t.Context(), poolproof.Config{URL: pgtest.Pooled(t, login, kind), MaxConns: 16, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	t.Cleanup(db.Close)
	verifier, err := token.NewVerifier(t.Context(), token.Config{Issuer: issuer, Audience: audience, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(httpapi.Config{Tokens: verifier, Logger: slog.New(slog.DiscardHandler), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	api.SetDatabase(db)
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close)
	g.url = srv.URL
	for _, name := range people {
		g.tokens[person(name)], err = token.Sign(secret, token.Request{
			Issuer: issuer, Audience: audience, Subject: person(name).String(), Lifetime: 2 * time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// install replaces all there is by a world; only the platform keeps its id,
// which a service never forgets, and its epoch. Triggers do not fire.
func (g *ground) install(ctx context.Context, w *oracle.World) error {
	b := &pgx.Batch{}
	b.Queue(`set local session_replication_role = replica`)
	for _, table := range []string{"audit_log", "tenant_features", "user_roles", "role_parents", "role_permissions", "roles", "profiles",
		"sidebar_items", "features", "permissions", "platform", "tenants"} {
		b.Queue(`delete from poolproof.` + table)
	}
	b.Queue(`delete from poolproof.epochs where tenant_id not in ($1, $2)`, uuid.Nil, w.Platform)
	for id, p := range w.Permissions {
		b.Queue(`insert into poolproof.permissions (id, name, scope, resource_type, action, description, seeded) values ($1, $2, $3, $4, $5, $6, $7)`,
			id, p.Name, scopeOf(p), p.Resource, p.Action, p.Description, p.Seeded)
	}
	for id, f := range w.Features {
		b.Queue(`insert into poolproof.features (id, name, default_enabled, seeded) values ($1, $2, $3, $4)`, id, f.Name, f.Default, f.Seeded)
	}
	for id, s := range w.Sidebar {
		b.Queue(`insert into poolproof.sidebar_items (id, title, icon, url_path, group_name, feature_id, permission, display_order)
			values ($1, $2, $3, $4, $5, $6, $7, $8)`, id, s.Title, s.Icon, s.Path, s.Group, nullID(s.Feature), s.Permission, s.Order)
	}
	for id, t := range w.Tenants {
		b.Queue(`insert into poolproof.tenants (id, name, slug, next_role_id) values ($1, $2, $3, $4)`, id, t.Name, t.Slug, t.NextRole)
		for n, r := range t.Roles {
			b.Queue(`insert into poolproof.roles (tenant_id, id, name, description, system, holds_all) values ($1, $2, $3, $4, $5, $6)`,
				id, n, r.Name, r.Description, r.System, r.All)
			for p := range r.Permissions {
				b.Queue(`insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope) values ($1, $2, $3, $4)`,
					id, n, p, scopeOf(w.Permissions[p]))
			}
			for parent := range r.Parents {
				b.Queue(`insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ($1, $2, $3)`, id, n, parent)
			}
		}
		for user, p := range t.Profiles {
			b.Queue(`insert into poolproof.profiles (tenant_id, user_id, external_id, email, name, active) values ($1, $2, nullif($3, ''), $4, $5, $6)`,
				id, user, p.External, p.Email, p.Name, p.Active)
			for n, a := range p.Roles {
				b.Queue(`insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by, expires_at) values ($1, $2, $3, $4, $5)`,
					id, user, n, nullID(a.By), a.Until)
			}
		}
	}
	b.Queue(`insert into poolproof.platform (id) values ($1)`, w.Platform)
	return pgx.BeginFunc(ctx, g.owner, func(tx pgx.Tx) error { return tx.SendBatch(ctx, b).Close() })
}

func scopeOf(p *oracle.Permission) string {
	if p.Platform {
		return "platform"
	}
	return "tenant"
}

func nullID(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

// readAll is one text with every row that a world has a place for.
const readAll = `select jsonb_build_object(
	'tenants', (select jsonb_agg(to_jsonb(x)) from poolproof.tenants x),
	'roles', (select jsonb_agg(to_jsonb(x)) from poolproof.roles x),
	'role_permissions', (select jsonb_agg(to_jsonb(x)) from poolproof.role_permissions x),
	'role_parents', (select jsonb_agg(to_jsonb(x)) from poolproof.role_parents x),
	'profiles', (select jsonb_agg(to_jsonb(x)) from poolproof.profiles x),
	'user_roles', (select jsonb_agg(to_jsonb(x)) from poolproof.user_roles x),
	'tenant_features', (select jsonb_agg(to_jsonb(x)) from poolproof.tenant_features x),
	'audit_log', (select jsonb_agg(to_jsonb(x) order by x.tenant_id, x.id) from poolproof.audit_log x),
	'permissions', (select jsonb_agg(to_jsonb(x)) from poolproof.permissions x),
	'features', (select jsonb_agg(to_jsonb(x)) from poolproof.features x),
	'sidebar_items', (select jsonb_agg(to_jsonb(x)) from poolproof.sidebar_items x))::text`

// row has the columns of all tables that a world shows.
type row struct {
	ID           any        // a number or a UUID
	TenantID     uuid.UUID  `json:"tenant_id"`
	UserID       uuid.UUID  `json:"user_id"`
	RoleID       int        `json:"role_id"`
	ParentID     int        `json:"parent_id"`
	PermissionID uuid.UUID  `json:"permission_id"`
	FeatureID    uuid.UUID  `json:"feature_id"`
	GrantedBy    uuid.UUID  `json:"granted_by"`
	ExternalID   string     `json:"external_id"`
	Name         string     `json:"name"`
	Slug         string     `json:"slug"`
	Description  string     `json:"description"`
	Email        string     `json:"email"`
	Active       bool       `json:"active"`
	System       bool       `json:"system"`
	HoldsAll     bool       `json:"holds_all"`
	Seeded       bool       `json:"seeded"`
	Enabled      bool       `json:"enabled"`
	Default      bool       `json:"default_enabled"`
	Scope        string     `json:"scope"`
	ResourceType string     `json:"resource_type"`
	Action       string     `json:"action"`
	Actor        uuid.UUID  `json:"actor"`
	Object       string     `json:"object"`
	Title        string     `json:"title"`
	Icon         string     `json:"icon"`
	Path         string     `json:"url_path"`
	Group        string     `json:"group_name"`
	Permission   string     `json:"permission"`
	Order        int        `json:"display_order"`
	NextRole     int        `json:"next_role_id"`
	Version      int        `json:"version"`
	ExpiresAt    *time.Time `json:"expires_at"`
}

func (r row) number() int     { return int(r.ID.(float64)) }
func (r row) uuid() uuid.UUID { return uuid.MustParse(r.ID.(string)) }

// read returns the world that is in the database.
func (g *ground) read(ctx context.Context) (*oracle.World, error) {
	var text string
	if err := g.owner.QueryRow(ctx, readAll).Scan(&text); err != nil {
		return nil, err
	}
	var tables map[string][]row
	if err := json.Unmarshal([]byte(text), &tables); err != nil {
		return nil, err
	}
	w := &oracle.World{
		Platform: g.platform, Now: time.Now(), Tenants: map[uuid.UUID]*oracle.Tenant{},
		Permissions: map[uuid.UUID]*oracle.Permission{}, Features: map[uuid.UUID]*oracle.Feature{}, Sidebar: map[uuid.UUID]*oracle.SidebarItem{},
	}
	for _, r := range tables["tenants"] {
		w.Tenants[r.uuid()] = &oracle.Tenant{
			Name: r.Name, Slug: r.Slug, Version: r.Version, NextRole: r.NextRole, Profiles: map[uuid.UUID]*oracle.Profile{},
			Roles: map[int]*oracle.Role{}, Features: map[uuid.UUID]*oracle.Setting{}}
	}
	for _, r := range tables["roles"] {
		w.Tenants[r.TenantID].Roles[r.number()] = &oracle.Role{
			Name: r.Name, Description: r.Description, System: r.System, All: r.HoldsAll, Version: r.Version,
			Permissions: map[uuid.UUID]bool{}, Parents: map[int]bool{}}
	}
	for _, r := range tables["role_permissions"] {
		w.Tenants[r.TenantID].Roles[r.RoleID].Permissions[r.PermissionID] = true
	}
	for _, r := range tables["role_parents"] {
		w.Tenants[r.TenantID].Roles[r.RoleID].Parents[r.ParentID] = true
	}
	for _, r := range tables["profiles"] {
		w.Tenants[r.TenantID].Profiles[r.UserID] = &oracle.Profile{
			External: r.ExternalID, Email: r.Email, Name: r.Name, Active: r.Active, Version: r.Version, Roles: map[int]*oracle.Assignment{}}
	}
	for _, r := range tables["user_roles"] {
		w.Tenants[r.TenantID].Profiles[r.UserID].Roles[r.RoleID] = &oracle.Assignment{Until: r.ExpiresAt, By: r.GrantedBy, Version: r.Version}
	}
	for _, r := range tables["tenant_features"] {
		w.Tenants[r.TenantID].Features[r.FeatureID] = &oracle.Setting{Enabled: r.Enabled, Version: r.Version}
	}
	for _, r := range tables["audit_log"] {
		t := w.Tenants[r.TenantID]
		t.Audit = append(t.Audit, oracle.Entry{Actor: r.Actor, Action: r.Action, Object: r.Object})
	}
	for _, r := range tables["permissions"] {
		w.Permissions[r.uuid()] = &oracle.Permission{Name: r.Name, Resource: r.ResourceType, Action: r.Action, Description: r.Description,
			Platform: r.Scope == "platform", Seeded: r.Seeded, Version: r.Version}
	}
	for _, r := range tables["features"] {
		w.Features[r.uuid()] = &oracle.Feature{Name: r.Name, Description: r.Description, Default: r.Default, Seeded: r.Seeded, Version: r.Version}
	}
	for _, r := range tables["sidebar_items"] {
		w.Sidebar[r.uuid()] = &oracle.SidebarItem{Title: r.Title, Icon: r.Icon, Path: r.Path, Group: r.Group,
			Feature: r.FeatureID, Permission: r.Permission, Order: r.Order, Version: r.Version}
	}
	return w, nil
}

// epochs are how often tenants and, under the zero id, the catalogues changed.
func (g *ground) epochs(ctx context.Context) (map[uuid.UUID]int64, error) {
	rows, err := g.owner.Query(ctx, `select tenant_id, epoch from poolproof.epochs`)
	if err != nil {
		return nil, err
	}
	out := map[uuid.UUID]int64{}
	var id uuid.UUID
	var epoch int64
	_, err = pgx.ForEachRow(rows, []any{&id, &epoch}, func() error {
		out[id] = epoch
		return nil
	})
	return out, err
}

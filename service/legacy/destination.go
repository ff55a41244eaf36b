package legacy

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/service/migrations"
)

// Actor is who the audit log names for what an import did, in every
// installation. Nobody can log in as it, and a profile of the source with this
// id is not imported.
var Actor = uuid.MustParse("1e6ac711-0b57-4f0e-9d43-2c5f7e80a1b6")

// Destination is what poolproof's own tables hold of what a plan depends on.
type Destination struct {
	Platform      uuid.UUID
	Slugs         map[string]uuid.UUID // of every tenant
	Permissions   map[string]string    // scope by name
	PermissionIDs map[string]bool
	Features      map[string]bool // default by name
	FeatureIDs    map[string]bool
	Paths         map[string]bool // of sidebar items
	SidebarIDs    map[string]bool
	Imported      map[string]bool // keys of what earlier imports brought into the catalogues
	Deleted       map[string]bool // ids of tenants that there were
	Tenants       map[uuid.UUID]*Existing
}

// Existing is a tenant of the source that poolproof has already.
type Existing struct {
	Epoch    int64
	Roles    map[string]Held
	Members  map[string]bool
	Assigned map[string]bool // key("assign", user, role name)
	Features map[string]bool
	Imported map[string]bool // keys of what earlier imports brought
}

// Held is a role and what it holds, inherited permissions included.
type Held struct {
	System      bool
	All         bool // every permission of the tenant
	Permissions map[string]bool
}

// key names a thing that an import can bring.
func key(kind string, parts ...string) string {
	for _, p := range parts {
		kind += "\x00" + p
	}
	return kind
}

// ReadDestination reads what a plan for src depends on. url is the owner's of
// poolproof's database and may be pooled. Errors: ErrSplit,
// migrations.ErrSchemaOlder and
// ErrSchemaNewer where migrate up has to run first, or a newer program, and
// migrations.ErrNoPlatform before bootstrap.
func ReadDestination(ctx context.Context, url string, src Source) (Destination, error) {
	conn, err := connect(ctx, url)
	if err != nil {
		return Destination{}, fmt.Errorf("legacy: the destination: %w", err)
	}
	defer closeConn(conn)
	dst, err := readDestination(ctx, conn, src)
	if err != nil {
		return Destination{}, fmt.Errorf("legacy: read the destination: %w", err)
	}
	return dst, nil
}

func readDestination(ctx context.Context, conn *pgx.Conn, src Source) (Destination, error) {
	dst := Destination{Tenants: map[uuid.UUID]*Existing{}}
	if err := checkVersion(ctx, conn); err != nil {
		return dst, err
	}
	platform := ""
	err := conn.QueryRow(ctx, `select id::text from poolproof.platform`).Scan(&platform)
	if errors.Is(err, pgx.ErrNoRows) {
		return dst, migrations.ErrNoPlatform
	}
	if err != nil {
		return dst, fmt.Errorf("the platform tenant: %w", err)
	}
	if dst.Platform, err = uuid.Parse(platform); err != nil {
		return dst, fmt.Errorf("the platform tenant: %w", err)
	}

	b := &pgx.Batch{}
	queueScope(b, dst.Platform)
	kept := ""
	b.Queue(`select coalesce(pg_catalog.current_setting('app.current_tenant_id', true), '')`).QueryRow(func(row pgx.Row) error { return row.Scan(&kept) })
	slugs := collectPairs(b, `select slug, id::text from poolproof.tenants`)
	dst.Permissions = collectPairs(b, `select name, scope from poolproof.permissions`)
	dst.PermissionIDs = collectSet(b, `select id::text from poolproof.permissions`)
	features := collectPairs(b, `select name, default_enabled::text from poolproof.features`)
	dst.FeatureIDs = collectSet(b, `select id::text from poolproof.features`)
	dst.Paths = collectSet(b, `select url_path from poolproof.sidebar_items`)
	dst.SidebarIDs = collectSet(b, `select id::text from poolproof.sidebar_items`)
	dst.Imported = collectKeys(b, `select split_part(action, '.', 1), coalesce(after ->> 'name', after ->> 'url_path'), null
		from poolproof.audit_log where tenant_id = $1::uuid and actor = $2::uuid and action in ('permission.create', 'feature.create', 'sidebar.create')`,
		platform, Actor.String())
	dst.Deleted = collectSet(b, `select substr(object, length('tenant/') + 1) from poolproof.audit_log
		where tenant_id = $1::uuid and action = 'tenant.delete'`, platform)
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return dst, fmt.Errorf("the catalogues: %w", err)
	}
	if kept != platform {
		return dst, ErrSplit
	}
	dst.Features = map[string]bool{}
	for name, enabled := range features {
		dst.Features[name] = enabled == "true"
	}
	dst.Slugs = map[string]uuid.UUID{}
	known := map[uuid.UUID]bool{}
	for slug, text := range slugs {
		id, err := uuid.Parse(text)
		if err != nil {
			return dst, fmt.Errorf("the tenants: %w", err)
		}
		dst.Slugs[slug], known[id] = id, true
	}
	for _, t := range tenantsOf(src) {
		if known[t.id] && t.id != dst.Platform {
			if dst.Tenants[t.id], err = readTenant(ctx, conn, t.id); err != nil {
				return dst, fmt.Errorf("the tenant %s: %w", t.id, err)
			}
		}
	}
	return dst, nil
}

func readTenant(ctx context.Context, conn *pgx.Conn, id uuid.UUID) (*Existing, error) {
	e := &Existing{Roles: map[string]Held{}}
	b := &pgx.Batch{}
	queueScope(b, id)
	b.Queue(`select coalesce(max(e.epoch), 0) from poolproof.epochs e where e.tenant_id = $1::uuid`, id.String()).
		QueryRow(func(row pgx.Row) error { return row.Scan(&e.Epoch) })
	b.Queue(`select r.name, r.system, r.holds_all or exists (
				select from poolproof.ancestors(r.tenant_id, array[r.id]) a
				join poolproof.roles p on p.tenant_id = r.tenant_id and p.id = a.role_id and p.holds_all),
			array(select p.name from poolproof.conferred(r.tenant_id, array[r.id]) c join poolproof.permissions p on p.id = c.permission_id)
		from poolproof.roles r where r.tenant_id = $1::uuid`, id.String()).
		Query(func(rows pgx.Rows) error {
			var name string
			var h Held
			var permissions []string
			_, err := pgx.ForEachRow(rows, []any{&name, &h.System, &h.All, &permissions}, func() error {
				h.Permissions = setOf(permissions...)
				e.Roles[name] = h
				return nil
			})
			return err
		})
	e.Members = collectSet(b, `select user_id::text from poolproof.profiles where tenant_id = $1::uuid`, id.String())
	e.Assigned = collectKeys(b, `select 'assign', u.user_id::text, r.name
		from poolproof.user_roles u join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id
		where u.tenant_id = $1::uuid`, id.String())
	e.Features = collectSet(b, `select f.name from poolproof.tenant_features t join poolproof.features f on f.id = t.feature_id
		where t.tenant_id = $1::uuid`, id.String())
	e.Imported = collectKeys(b, `select 'tenant', null, null from poolproof.audit_log
			where tenant_id = $1::uuid and actor = $2::uuid
		union all
		select case action when 'tenant.import' then 'created' when 'role.create' then 'role' when 'profile.create' then 'member'
				when 'user.role.assign' then 'assign' when 'feature.set' then 'feature' else 'grant' end,
			case action when 'role.create' then after ->> 'name' when 'role.permission.grant' then after ->> 'role'
				when 'feature.set' then substr(object, length('feature/') + 1)
				when 'profile.create' then substr(object, length('user/') + 1) when 'user.role.assign' then substr(object, length('user/') + 1) end,
			case action when 'role.permission.grant' then after ->> 'permission' when 'user.role.assign' then after ->> 'role' end
		from poolproof.audit_log
		where tenant_id = $1::uuid and actor = $2::uuid
			and action in ('tenant.import', 'role.create', 'profile.create', 'user.role.assign', 'feature.set', 'role.permission.grant')`, id.String(), Actor.String())
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return nil, err
	}
	return e, nil
}

// checkVersion refuses a schema that this program does not know.
func checkVersion(ctx context.Context, conn *pgx.Conn) error {
	version := 0
	err := conn.QueryRow(ctx, `select coalesce(max(version), 0)::int from poolproof.schema_migrations`).Scan(&version)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "42P01" || pg.Code == "3F000") {
		return fmt.Errorf("%w: it has no schema poolproof", migrations.ErrSchemaOlder)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the schema's version: %w", err)
	case version < migrations.Version:
		return fmt.Errorf("%w: it has version %d and %d is needed", migrations.ErrSchemaOlder, version, migrations.Version)
	case version > migrations.Version:
		return fmt.Errorf("%w: it has version %d and this program knows %d", migrations.ErrSchemaNewer, version, migrations.Version)
	}
	return nil
}

// queueScope begins a pipeline that acts for one tenant: one Sync, one implicit
// transaction. The owner obeys row-level security, too.
func queueScope(b *pgx.Batch, tenant uuid.UUID) {
	b.Queue(`select pg_catalog.set_config('app.current_tenant_id', $1::text, true), pg_catalog.set_config('app.current_user_id', '', true)`, tenant.String())
}

// The collect functions queue a statement and give what its rows will have
// filled when the pipeline is closed.

func collectPairs(b *pgx.Batch, sql string) map[string]string {
	all := map[string]string{}
	b.Queue(sql).Query(func(rows pgx.Rows) error {
		var k, v string
		_, err := pgx.ForEachRow(rows, []any{&k, &v}, func() error {
			all[k] = v
			return nil
		})
		return err
	})
	return all
}

func collectSet(b *pgx.Batch, sql string, args ...any) map[string]bool {
	all := map[string]bool{}
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		var k string
		_, err := pgx.ForEachRow(rows, []any{&k}, func() error {
			all[k] = true
			return nil
		})
		return err
	})
	return all
}

// collectKeys takes a statement whose columns are a key's kind and parts.
func collectKeys(b *pgx.Batch, sql string, args ...any) map[string]bool {
	all := map[string]bool{}
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		var kind string
		var first, second *string
		_, err := pgx.ForEachRow(rows, []any{&kind, &first, &second}, func() error {
			var parts []string
			for _, p := range []*string{first, second} {
				if p != nil {
					parts = append(parts, *p)
				}
			}
			all[key(kind, parts...)] = true
			return nil
		})
		return err
	})
	return all
}

func setOf(names ...string) map[string]bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return set
}

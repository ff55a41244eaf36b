package migrations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
)

// Bootstrap makes the platform tenant, of which an installation has exactly
// one, and user its first GLOBAL_ADMIN. Again for a user who is its
// GLOBAL_ADMIN already it does nothing; for another user it is an error. url
// is an owner's and may be pooled. The schema must be there (see [Up]).
func Bootstrap(ctx context.Context, url string, user uuid.UUID, email string) error {
	if user == uuid.Nil {
		return errors.New("migrations: bootstrap: a user id is needed")
	}
	name := "Platform"
	if err := named(&name, &email); err != nil {
		return fmt.Errorf("migrations: bootstrap: %w", err)
	}
	db, err := openOwner(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := bootstrap(ctx, db, uuid.New(), name, user, email, "Platform administrator"); err != nil {
		return fmt.Errorf("migrations: bootstrap: %w", schemaMissing(err))
	}
	return nil
}

// bootstrap makes the platform under the given id, unless there is one, and
// sees that the user administers the one that there is. Copies that run at once queue on the lock.
func bootstrap(ctx context.Context, db *poolproof.DB, id uuid.UUID, name string, admin uuid.UUID, email, adminName string) error {
	err := scoped(ctx, db, id,
		`select poolproof.create_tenant($1::uuid, $2::text, 'platform', $3::uuid, $4::text, $5::text, true)
		 where not exists (select from poolproof.platform)`,
		id.String(), name, admin.String(), email, adminName)
	if err != nil {
		return err
	}
	if id, err = platformID(ctx, db); err != nil {
		return err
	}
	holds := false
	b := locked()
	b.Queue(`select exists (
		select from poolproof.user_roles u
		join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id and r.system and r.name = 'GLOBAL_ADMIN'
		join poolproof.profiles p on p.tenant_id = u.tenant_id and p.user_id = u.user_id and p.active
		where u.tenant_id = $1::uuid and u.user_id = $2::uuid and u.expires_at is null)`, id.String(), admin.String()).
		QueryRow(func(row pgx.Row) error { return row.Scan(&holds) })
	if err := db.Tenant(id.String()).SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("look for the platform's administrator: %w", err)
	}
	if !holds {
		return errors.New("this installation already has a platform tenant, and this user is not a GLOBAL_ADMIN of it: a GLOBAL_ADMIN can assign that role, in the console or through the API")
	}
	return nil
}

// openOwner is how an owner's statements get their tenant: the owner obeys row-level
// security, too, and what a scope takes depends on the pooler.
func openOwner(ctx context.Context, url string) (*poolproof.DB, error) {
	db, err := poolproof.Open(ctx, poolproof.Config{
		URL: url, MaxConns: 1, Mode: poolproof.ModeExec, Scope: poolproof.ScopeStatement, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, fmt.Errorf("migrations: connect: %w", err)
	}
	return db, nil
}

// locked begins a batch, one transaction, of which only one runs at a time.
func locked() *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(`select pg_catalog.pg_advisory_xact_lock($1::bigint)`, int64(lockKey))
	return b
}

// scoped runs one statement for a tenant.
func scoped(ctx context.Context, db *poolproof.DB, tenant uuid.UUID, sql string, args ...any) error {
	b := locked()
	b.Queue(sql, args...)
	return db.Tenant(tenant.String()).SendBatch(ctx, b).Close()
}

// schemaMissing says what to do where the tables are not there.
func schemaMissing(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "42P01", "3F000", "42883":
			return fmt.Errorf("%w; run: poolproof migrate up: %w", ErrSchemaOlder, err)
		}
	}
	return err
}

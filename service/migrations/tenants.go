package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/tenancy"
)

// NewTenant is a tenant for [CreateTenant] to make. Name holds at most 200
// characters; an empty Slug is made of it; Email, at most 320 characters, may be
// empty.
type NewTenant struct {
	Name  string
	Slug  string
	Admin uuid.UUID // its first SUPER_ADMIN
	Email string    // of that user
}

// ErrNoPlatform means that an installation was not bootstrapped yet.
var ErrNoPlatform = errors.New("there is no platform tenant yet")

// CreateTenant makes a tenant with its four roles and first SUPER_ADMIN, as an
// operator, and returns its id. url is an owner's and may be pooled. A slug that
// is taken is an error.
func CreateTenant(ctx context.Context, url string, n NewTenant) (uuid.UUID, error) {
	if n.Admin == uuid.Nil {
		return uuid.Nil, errors.New("migrations: make a tenant: a user id is needed")
	}
	if err := named(&n.Name, &n.Email); err != nil {
		return uuid.Nil, fmt.Errorf("migrations: make a tenant: %w", err)
	}
	db, err := openOwner(ctx, url)
	if err != nil {
		return uuid.Nil, err
	}
	defer db.Close()
	if _, err := platformID(ctx, db); err != nil {
		return uuid.Nil, fmt.Errorf("migrations: make a tenant: %w", err)
	}
	id := uuid.New()
	err = scoped(ctx, db, id, `select poolproof.create_tenant($1::uuid, $2::text, $3::text, $4::uuid, $5::text, '')`,
		id.String(), n.Name, n.Slug, n.Admin.String(), n.Email)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" {
		return uuid.Nil, fmt.Errorf("migrations: make a tenant: the slug %q is taken", n.Slug)
	}
	if err != nil {
		return uuid.Nil, fmt.Errorf("migrations: make a tenant: %w", err)
	}
	return id, nil
}

// ErrName means that a name or an email address cannot be kept; the error says
// why.
var ErrName = errors.New("a name cannot be kept")

// named brings a tenant's name and its administrator's email address into the
// form that the API stores them in, or says what is wrong with them.
func named(name, email *string) error {
	wrong := append(tenancy.CheckName("name", name, 200, true), tenancy.CheckName("email", email, 320, false)...)
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the %s %s", ErrName, wrong[0].Pointer, wrong[0].Detail)
}

// Tenant is a row of [Tenants].
type Tenant struct {
	ID         uuid.UUID
	Name, Slug string
	CreatedAt  time.Time
	Platform   bool
}

// Tenants lists all tenants by name, as an operator: under the platform's id,
// whose policy lets it see them. url is an owner's and may be pooled. Errors:
// [ErrNoPlatform], [ErrSchemaOlder]; else the database's, wrapped.
func Tenants(ctx context.Context, url string) ([]Tenant, error) {
	db, err := openOwner(ctx, url)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	platform, err := platformID(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("migrations: list the tenants: %w", err)
	}
	var tenants []Tenant
	b := locked()
	b.Queue(`select t.id::text, t.name, t.slug, t.created_at, t.id = $1::uuid from poolproof.tenants t order by t.name, t.id`, platform.String()).
		Query(func(rows pgx.Rows) error {
			var err error
			tenants, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Tenant, err error) {
				var id string
				if err = row.Scan(&id, &t.Name, &t.Slug, &t.CreatedAt, &t.Platform); err != nil {
					return t, err
				}
				t.ID, err = uuid.Parse(id)
				return t, err
			})
			return err
		})
	if err := db.Tenant(platform.String()).SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("migrations: list the tenants: %w", err)
	}
	return tenants, nil
}

// platformID reads the platform tenant's id.
func platformID(ctx context.Context, db *poolproof.DB) (uuid.UUID, error) {
	var text string
	err := db.Shared().QueryRow(ctx, `select id::text from poolproof.platform`).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, ErrNoPlatform
	}
	if err != nil {
		return uuid.Nil, fmt.Errorf("read the platform tenant: %w", schemaMissing(err))
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil, fmt.Errorf("read the platform tenant: %w", err)
	}
	return id, nil
}

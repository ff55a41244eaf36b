package console_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/console"
	"github.com/poolproof/poolproof/httpapi"
	"github.com/poolproof/poolproof/httpapi/token"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/migrations"
)

// service is everything that stands behind the page, for real: a database of
// its own with the demo data, PgBouncer in transaction mode, the API and the
// console on one address.
type service struct {
	url    string
	token  string // of the demo tenant's SUPER_ADMIN
	tenant string
	api    *httpapi.Server
	db     *poolproof.DB // as the runtime login, through PgBouncer
	owner  *pgxpool.Pool // direct, bound by no policy: for assertions
}

func newService(t *testing.T) *service {
	t.Helper()
	ctx := t.Context()
	ownerURL := pgtest.Database(t)
	owner, err := pgxpool.New(ctx, ownerURL)
	if err != nil {
		t.Fatalf("connecting as the owner: %v", err)
	}
	t.Cleanup(owner.Close)

	login := "page_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	up, err := migrations.Up(ctx, ownerURL, migrations.Options{Login: login})
	if err != nil {
		t.Fatalf("migrating: %v", err)
	}
	t.Cleanup(func() {
		// A login outlives its database.
		name := pgx.Identifier{login}.Sanitize()
		if _, err := owner.Exec(context.Background(), "drop owned by "+name+"; drop role "+name, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Errorf("dropping the login: %v", err)
		}
	})
	user := uuid.New()
	if err := migrations.Demo(ctx, ownerURL, user); err != nil {
		t.Fatalf("demo data: %v", err)
	}

	log := slog.New(slog.DiscardHandler)
	db, err := poolproof.Open(ctx, poolproof.Config{URL: pgtest.Pooled(t, up.LoginURL, pgtest.PgBouncer118Transaction), Logger: log})
	if err != nil {
		t.Fatalf("opening the database through PgBouncer: %v", err)
	}
	t.Cleanup(db.Close)

	const issuer, audience = "https://issuer.example", "poolproof"
	secret := []byte("a secret of the page's tests, 32 bytes or more")
	tokens, err := token.NewVerifier(ctx, token.Config{Issuer: issuer, Audience: audience, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := token.Sign(secret, token.Request{Issuer: issuer, Audience: audience, Subject: user.String(), Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(httpapi.Config{Tokens: tokens, Pages: console.Handler(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	api.SetDatabase(db)
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close)
	return &service{url: srv.URL, token: signed, tenant: migrations.DemoTenant.String(), api: api, db: db, owner: owner}
}

// one gives the single value that a query answers, asked as the owner.
func one[T any](t *testing.T, s *service, sql string, args ...any) T {
	t.Helper()
	var value T
	if err := s.owner.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// roles counts the demo tenant's roles of a name.
func (s *service) roles(t *testing.T, name string) int {
	t.Helper()
	return one[int](t, s, `select count(*)::int from poolproof.roles where tenant_id = $1 and name = $2`, s.tenant, name)
}

// roleID gives the id of the demo tenant's role of a name.
func (s *service) roleID(t *testing.T, name string) int {
	t.Helper()
	return one[int](t, s, `select id from poolproof.roles where tenant_id = $1 and name = $2`, s.tenant, name)
}

// permissions gives the names of what a role itself holds, sorted.
func (s *service) permissions(t *testing.T, role int) string {
	t.Helper()
	return one[string](t, s, `select coalesce(string_agg(p.name, ' ' order by p.name), '')
		from poolproof.role_permissions r join poolproof.permissions p on p.id = r.permission_id
		where r.tenant_id = $1 and r.role_id = $2`, s.tenant, role)
}

package console_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/checkup"
	"github.com/poolproof/poolproof/service/console"
	"github.com/poolproof/poolproof/service/httpapi"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/internal/migrated"
	"github.com/poolproof/poolproof/service/migrations"
)

// service is everything that stands behind the page, for real: a database of
// its own with the demo data, PgBouncer in transaction mode, the API and the
// console on one address.
type service struct {
	url    string
	user   uuid.UUID
	token  string // of user, the demo tenant's SUPER_ADMIN
	tenant string
	api    *httpapi.Server
	record *checkup.Record // the doctor's reports: see examined
	login  string          // the runtime login's URL, direct
	db     *poolproof.DB   // as the runtime login, through PgBouncer
	owner  *pgxpool.Pool   // direct, bound by no policy: for assertions
}

func newService(t *testing.T) *service {
	t.Helper()
	return newServiceWith(t, token.Config{Issuer: issuer, Audience: audience, Secret: []byte(secret)}, console.Handler(), slog.New(slog.DiscardHandler))
}

// newServiceWith is newService that takes other tokens, shows other pages, or
// is listened to.
func newServiceWith(t *testing.T, accepted token.Config, pages http.Handler, log *slog.Logger) *service {
	t.Helper()
	ctx := t.Context()
	ownerURL, login := migrated.Demo(t)
	owner, err := pgxpool.New(ctx, ownerURL)
	if err != nil {
		t.Fatalf("connecting as the owner: %v", err)
	}
	t.Cleanup(owner.Close)
	user := migrated.Super

	db, err := poolproof.Open(ctx, poolproof.Config{URL: pgtest.Pooled(t, login, pgtest.PgBouncer118Transaction), Logger: log})
	if err != nil {
		t.Fatalf("opening the database through PgBouncer: %v", err)
	}
	t.Cleanup(db.Close)

	s := &service{record: &checkup.Record{}, login: login, user: user, token: tokenOf(t, user, time.Hour), tenant: migrations.DemoTenant.String(), db: db, owner: owner}
	s.url, s.api = s.serve(t, accepted, pages, log)
	return s
}

// serve starts an API on the service's database, and returns its address.
func (s *service) serve(t *testing.T, accepted token.Config, pages http.Handler, log *slog.Logger) (string, *httpapi.Server) {
	t.Helper()
	tokens, err := token.NewVerifier(t.Context(), accepted)
	if err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(httpapi.Config{Tokens: tokens, Pages: pages, Logger: log, Checkup: s.record})
	if err != nil {
		t.Fatal(err)
	}
	api.SetDatabase(s.db)
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close)
	return srv.URL, api
}

// examined has the doctor look twice: through a pooler in session mode, and then, after a table has lost its policies, in
// transaction mode.
func (s *service) examined(t *testing.T) {
	t.Helper()
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Session, pgtest.PgBouncer118Transaction} {
		report := doctor.Examine(t.Context(), doctor.Config{URL: pgtest.Pooled(t, s.login, kind), Within: time.Minute, Fast: kind == pgtest.PgBouncer118Session})
		if !report.Reached {
			t.Fatal(report.Verdict)
		}
		s.record.Note(report, time.Now())
		if kind == pgtest.PgBouncer118Session {
			s.exec(t, `alter table poolproof.audit_log disable row level security`)
		}
	}
}

const (
	issuer, audience = "https://issuer.example", "poolproof"
	secret           = "a secret of the page's tests, 32 bytes or more"
)

// tokenOf signs a token for a user.
func tokenOf(t *testing.T, user uuid.UUID, lifetime time.Duration) string {
	t.Helper()
	signed, err := token.Sign([]byte(secret), token.Request{Issuer: issuer, Audience: audience, Subject: user.String(), Lifetime: lifetime})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// expiredToken is a token whose time was over an hour ago.
func expiredToken(t *testing.T, user uuid.UUID) string {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": issuer, "aud": audience, "sub": user.String(), "iat": then.Add(-time.Hour).Unix(), "exp": then.Unix(),
	}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// ask sends a request as the demo tenant's SUPER_ADMIN, for what a test needs
// to be there.
func (s *service) ask(t *testing.T, method, path, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("X-Tenant-ID", s.tenant)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		t.Fatalf("%s %s: status %d", method, path, answer.StatusCode)
	}
}

// exec changes rows as the owner.
func (s *service) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.owner.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one returns the single value that a query answers, asked as the owner.
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

// roleID returns the id of the demo tenant's role of a name.
func (s *service) roleID(t *testing.T, name string) int {
	t.Helper()
	return one[int](t, s, `select id from poolproof.roles where tenant_id = $1 and name = $2`, s.tenant, name)
}

// permissions returns the names of what a role itself holds, sorted.
func (s *service) permissions(t *testing.T, role int) string {
	t.Helper()
	return one[string](t, s, `select coalesce(string_agg(p.name, ' ' order by p.name), '')
		from poolproof.role_permissions r join poolproof.permissions p on p.id = r.permission_id
		where r.tenant_id = $1 and r.role_id = $2`, s.tenant, role)
}

package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m, everyAnswerWasGiven) }

// The people of the demo data.
var (
	super    = testUser                                               // SUPER_ADMIN of Last Apple
	plainOne = uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e12") // USER and Content editor of Last Apple
	inactive = uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e15") // of Last Apple, switched off
	nobody   = uuid.MustParse("99999999-9999-4999-8999-999999999999")
	foreign  = migrations.DemoOtherTenant
)

// service is the whole thing on a database of its own.
type service struct {
	url   string // the API
	api   *Server
	login string // the service's own URL of the database
	owner string // the database's owner, direct
	log   *logBuffer
}

// newService migrates a fresh database, fills it with the demo data and serves
// it as the runtime login. The URL of that login passes through each wrap, last
// one outermost.
func newService(t *testing.T, wrap ...func(string) string) *service {
	t.Helper()
	return newServiceFor(t, nil, wrap...)
}

// newServiceFor is newService for pages of some web origins.
func newServiceFor(t *testing.T, origins []string, wrap ...func(string) string) *service {
	t.Helper()
	owner, url := demoDatabase(t)
	s := &service{owner: owner, log: &logBuffer{}}
	for _, w := range wrap {
		url = w(url)
	}
	s.login = url
	log := slog.New(slog.NewJSONHandler(s.log, nil))
	figures := prometheus.NewRegistry()
	db, err := poolproof.Open(t.Context(), poolproof.Config{URL: url, Logger: log, Registerer: figures})
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	t.Cleanup(db.Close)
	api, err := New(Config{Tokens: testTokens(t), Logger: log, Registry: figures, Origins: origins})
	if err != nil {
		t.Fatal(err)
	}
	api.SetDatabase(db)
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close)
	s.url, s.api = srv.URL, api
	return s
}

// demoLogin is the runtime login of every demo database of this process.
var demoLogin *url.URL

// demoDatabase makes a database with the schema and the demo data, and returns
// its owner's URL and the runtime login's.
func demoDatabase(t *testing.T) (owner, login string) {
	t.Helper()
	owner = pgtest.Copy(t, "demo", func(database string) {
		owner := pgtest.Owned(t, database)
		up, err := migrations.Up(t.Context(), owner, migrations.Options{Login: "app_httpapi"})
		if err != nil {
			t.Fatalf("migrating: %v", err)
		}
		if err := migrations.Demo(t.Context(), owner, super); err != nil {
			t.Fatalf("demo data: %v", err)
		}
		if demoLogin, err = url.Parse(up.LoginURL); err != nil {
			t.Fatal(err)
		}
	})
	pgtest.Owned(t, owner)
	at, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	here := *demoLogin
	here.Path = at.Path
	return owner, here.String()
}

func through(t *testing.T, kind pgtest.Kind) func(string) string {
	return func(url string) string { return pgtest.Pooled(t, url, kind) }
}

func (s *service) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.WithoutCancel(t.Context()), s.owner)
	if err != nil {
		t.Fatalf("connecting as the owner: %v", err)
	}
	return conn
}

// exec runs SQL as the owner, a superuser whom no policy binds.
func (s *service) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn := s.connect(t)
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// text asks for one text as the owner.
func (s *service) text(t *testing.T, sql string, args ...any) string {
	t.Helper()
	conn := s.connect(t)
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost
	var text string
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// fingerprint is everything that a tenant holds, in a text that changes with it.
func (s *service) fingerprint(t *testing.T, tenant uuid.UUID) string {
	t.Helper()
	return s.text(t, `select concat_ws('|',
		(select md5(string_agg(r::text, ',' order by r::text)) from poolproof.roles r where tenant_id = $1),
		(select md5(string_agg(r::text, ',' order by r::text)) from poolproof.role_permissions r where tenant_id = $1),
		(select md5(string_agg(r::text, ',' order by r::text)) from poolproof.user_roles r where tenant_id = $1),
		(select md5(string_agg(r::text, ',' order by r::text)) from poolproof.tenant_features r where tenant_id = $1),
		(select md5(string_agg(r::text, ',' order by r::text)) from poolproof.audit_log r where tenant_id = $1),
		(select epoch from poolproof.epochs where tenant_id = $1))`, tenant)
}

// scenario is one request and what must and must not be in its answer.
type scenario struct {
	name    string
	method  string
	path    string // {made} becomes the id of the last role that was made
	user    uuid.UUID
	tenant  string // X-Tenant-ID; "" sends none
	body    string
	status  int
	code    tenancy.Code // for refusals
	want    []string
	wantNot []string
}

// foreignTexts are parts of the other tenant's data, which no answer to a
// member of Last Apple may hold.
func foreignTexts() []string {
	return []string{
		foreign.String(), migrations.DemoOtherAdmin.String(), "Voice", "voice-automated", "Field researcher",
		migrations.DemoPlatform.String(), "SQLSTATE", "poolproof.roles",
	}
}

func (s *service) play(t *testing.T, made *string, sc scenario) answer {
	t.Helper()
	headers := []string{"Authorization", "Bearer " + signed(t, sc.user, "")}
	if sc.tenant != "" {
		headers = append(headers, "X-Tenant-ID", sc.tenant)
	}
	var body io.Reader
	if sc.body != "" {
		body = strings.NewReader(sc.body)
		headers = append(headers, "Content-Type", "application/json")
	}
	a := send(t, s.url, sc.method, strings.ReplaceAll(sc.path, "{made}", *made), body, headers...)
	if a.StatusCode != sc.status {
		t.Fatalf("%s %s: status %d, want %d; %s", sc.method, sc.path, a.StatusCode, sc.status, a.body)
	}
	if sc.code != "" {
		a.wantProblem(t, sc.status, sc.code)
	}
	for _, want := range sc.want {
		if !strings.Contains(a.body, strings.ReplaceAll(want, "{made}", *made)) {
			t.Errorf("%s %s: the answer lacks %s: %s", sc.method, sc.path, want, a.body)
		}
	}
	for _, not := range append(foreignTexts(), sc.wantNot...) {
		if strings.Contains(a.body, not) {
			t.Errorf("%s %s: the answer holds %s: %s", sc.method, sc.path, not, a.body)
		}
	}
	if location := a.Header.Get("Location"); location != "" {
		*made = location[strings.LastIndex(location, "/")+1:]
	}
	return a
}

func TestReady(t *testing.T) {
	for kind, want := range map[pgtest.Kind]string{
		pgtest.PgBouncer118Transaction: `{"status":"ok","database":"ok","pooler":{"present":true,"mode":"transaction","scope":"one_sync","exec_mode":"exec"},"schema":"ok","doctor":{"verdict":"unknown","codes":[],"changed":[]}}`,
		pgtest.PgBouncer118Statement:   `{"status":"ok","database":"ok","pooler":{"present":true,"mode":"statement","scope":"one_sync","exec_mode":"exec"},"schema":"ok","doctor":{"verdict":"unknown","codes":[],"changed":[]}}`,
		pgtest.Direct:                  `{"status":"ok","database":"ok","pooler":{"present":false,"mode":"none","scope":"one_sync","exec_mode":"cache_statement"},"schema":"ok","doctor":{"verdict":"unknown","codes":[],"changed":[]}}`,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			s := newService(t, through(t, kind))
			if a := send(t, s.url, "GET", "/readyz", nil); a.StatusCode != 200 || strings.TrimSpace(a.body) != want {
				t.Errorf("/readyz: %d %s", a.StatusCode, a.body)
			}
		})
	}
	t.Run("schema newer", func(t *testing.T) {
		s := newService(t)
		s.exec(t, `insert into poolproof.schema_migrations select (jsonb_populate_record(m, jsonb_build_object('version', 999, 'name', '0999_future'))).*
			from poolproof.schema_migrations m where version = 1`)
		a := send(t, s.url, "GET", "/readyz", nil)
		if a.StatusCode != 200 || !strings.Contains(a.body, `"database":"ok"`) || !strings.Contains(a.body, `"schema":"newer"`) {
			t.Errorf("/readyz: %d %s", a.StatusCode, a.body)
		}
	})
}

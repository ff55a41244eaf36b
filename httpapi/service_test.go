package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/migrations"
	"github.com/poolproof/poolproof/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

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
	s := &service{owner: pgtest.Database(t), log: &logBuffer{}}
	login := "app_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	up, err := migrations.Up(t.Context(), s.owner, migrations.Options{Login: login})
	if err != nil {
		t.Fatalf("migrating: %v", err)
	}
	t.Cleanup(func() { s.dropLogin(t, login) })
	if err := migrations.Demo(t.Context(), s.owner, super); err != nil {
		t.Fatalf("demo data: %v", err)
	}
	url := up.LoginURL
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

func through(t *testing.T, kind pgtest.Kind) func(string) string {
	return func(url string) string { return pgtest.Pooled(t, url, kind) }
}

// dropLogin removes a login, which outlives its database.
func (s *service) dropLogin(t *testing.T, login string) {
	name := pgx.Identifier{login}.Sanitize()
	s.exec(t, "drop owned by "+name)
	s.exec(t, "drop role "+name)
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

// Every route answers through every pooler as it does without one, in
// statement mode, too, where BEGIN is refused.
func TestRoutes(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement} {
		t.Run(kind.String(), func(t *testing.T) {
			s := newService(t, through(t, kind))
			before := s.fingerprint(t, foreign)
			made := "0"
			for _, sc := range routeScenarios(s, t) {
				t.Run(sc.name, func(t *testing.T) { s.play(t, &made, sc) })
			}
			if after := s.fingerprint(t, foreign); after != before {
				t.Errorf("the other tenant's data changed:\n%s\n%s", before, after)
			}
			for _, bad := range []string{"prepared statement", `"level":"ERROR"`, "eyJ"} {
				if strings.Contains(s.log.String(), bad) {
					t.Errorf("the log holds %s: %s", bad, s.log)
				}
			}
		})
	}
}

func routeScenarios(s *service, t *testing.T) []scenario {
	const (
		roles    = "/api/v3/rbac/roles"
		features = "/api/v4/features/tenant"
	)
	ours := testTenant
	dashboard := s.text(t, `select id::text from poolproof.permissions where name = 'view_dashboard'`)
	tenants := s.text(t, `select id::text from poolproof.permissions where name = 'manage_tenants'`)
	editor := s.text(t, `select id::text from poolproof.roles where tenant_id = $1 and name = 'Content editor'`, testTenant)
	held := "/api/v3/rbac-permissions/role/{made}"
	return []scenario{
		{name: "roles", method: "GET", path: roles, user: super, tenant: ours, status: 200,
			want: []string{`{"data":[{"id":1,"name":"USER",`, `"tenant_id":"` + ours + `"`, `"system":true`, `"Content editor"`, `"next_page_token":""}`}},
		{name: "roles as old clients ask", method: "GET", path: roles + "/?raw_sql=true&no_prepare=true&statement_cache_size=0", user: super, tenant: ours, status: 200,
			want: []string{`"SUPER_ADMIN"`}},
		{name: "roles for a plain member", method: "GET", path: roles, user: plainOne, tenant: ours, status: 200, want: []string{`"SUPER_ADMIN"`}},
		{name: "page size 0", method: "GET", path: roles + "?page_size=0", user: super, tenant: ours, status: 400, code: tenancy.Invalid},
		{name: "rubbish token", method: "GET", path: roles + "?page_token=!", user: super, tenant: ours, status: 400, code: tenancy.Invalid},
		{name: "inactive member", method: "GET", path: roles, user: inactive, tenant: ours, status: 403, code: tenancy.NotAMember},
		{name: "stranger", method: "GET", path: roles, user: nobody, tenant: ours, status: 403, code: tenancy.NotAMember},
		{name: "one role", method: "GET", path: roles + "/1", user: super, tenant: ours, status: 200, want: []string{`{"data":{"id":1,"name":"USER"`}},
		{name: "missing role", method: "GET", path: roles + "/9999", user: super, tenant: ours, status: 404, code: tenancy.NotFound},
		{name: "no id", method: "GET", path: roles + "/abc", user: super, tenant: ours, status: 404, code: tenancy.NotFound},
		{name: "negative id", method: "GET", path: roles + "/-1", user: super, tenant: ours, status: 404, code: tenancy.NotFound},
		{name: "huge id", method: "GET", path: roles + "/99999999999999999999", user: super, tenant: ours, status: 404, code: tenancy.NotFound},

		{name: "make", method: "POST", path: roles + "/", user: super, tenant: ours, body: `{"name":"Zoë's <role>","description":"d","permission_ids":[1]}`, status: 201,
			want: []string{`{"data":{"id":`, `"name":"Zoë's \u003crole\u003e"`, `"description":"d"`, `"system":false`}},
		{name: "make again", method: "POST", path: roles, user: super, tenant: ours, body: `{"name":"Zoë's <role>"}`, status: 409, code: tenancy.NameTaken},
		{name: "make without a name", method: "POST", path: roles, user: super, tenant: ours, body: `{}`, status: 400, code: tenancy.Invalid, want: []string{`"pointer":"/name"`}},
		{name: "make with a blank name", method: "POST", path: roles, user: super, tenant: ours, body: `{"name":"  "}`, status: 400, code: tenancy.Invalid, want: []string{`"pointer":"/name"`}},
		{name: "make elsewhere", method: "POST", path: roles, user: super, tenant: ours, body: `{"name":"x","tenant_id":"99999999-0000-4000-8000-000000000000"}`, status: 400, code: tenancy.Invalid},
		{name: "make as a plain member", method: "POST", path: roles, user: plainOne, tenant: ours, body: `{"name":"x"}`, status: 403, code: tenancy.Forbidden},
		{name: "rename", method: "PUT", path: roles + "/{made}", user: super, tenant: ours, body: `{"name":"Renamed"}`, status: 200,
			want: []string{`{"data":{"id":{made},"name":"Renamed","description":"d"`}},
		{name: "rename nothing", method: "PUT", path: roles + "/{made}", user: super, tenant: ours, body: `{}`, status: 200, want: []string{`"name":"Renamed","description":"d"`}},
		{name: "rename to a taken name", method: "PUT", path: roles + "/{made}", user: super, tenant: ours, body: `{"name":"USER"}`, status: 409, code: tenancy.NameTaken},
		{name: "rename a system role", method: "PUT", path: roles + "/1", user: super, tenant: ours, body: `{"name":"x"}`, status: 403, code: tenancy.Forbidden},
		{name: "rename a missing role", method: "PUT", path: roles + "/9999", user: super, tenant: ours, body: `{"name":"x"}`, status: 404, code: tenancy.NotFound},
		{name: "own parent", method: "PUT", path: roles + "/{made}", user: super, tenant: ours, body: `{"parent_ids":[{made}]}`, status: 400, code: tenancy.Invalid},

		{name: "catalogue", method: "GET", path: "/api/v3/rbac/permissions", user: plainOne, tenant: ours, status: 200,
			want: []string{`{"data":[{"id":"`, `"name":"configure_features"`, `"name":"view_dashboard","resource_type":"`, `"action":"`, `"next_page_token":""}`}},
		{name: "catalogue for a stranger", method: "GET", path: "/api/v3/rbac/permissions", user: nobody, tenant: ours, status: 403, code: tenancy.NotAMember},
		{name: "holds nothing", method: "GET", path: held, user: super, tenant: ours, status: 200, want: []string{`{"data":[],"next_page_token":""}`}},
		{name: "grant", method: "POST", path: held, user: super, tenant: ours, body: `{"permission_id":"` + dashboard + `"}`, status: 200, want: []string{`{"data":{"message":"`}},
		{name: "grant again", method: "POST", path: held, user: super, tenant: ours, body: `{"permission_id":"` + dashboard + `"}`, status: 200},
		{name: "holds it", method: "GET", path: held, user: super, tenant: ours, status: 200, want: []string{`{"data":[{"id":"` + dashboard + `","name":"view_dashboard"`}},
		{name: "grant what is no id", method: "POST", path: held, user: super, tenant: ours, body: `{"permission_id":"x"}`, status: 400, code: tenancy.Invalid, want: []string{`"pointer":"/permission_id"`}},
		{name: "grant nothing", method: "POST", path: held, user: super, tenant: ours, body: `{}`, status: 400, code: tenancy.Invalid, want: []string{`"pointer":"/permission_id"`}},
		{name: "grant a missing one", method: "POST", path: held, user: super, tenant: ours, body: `{"permission_id":"` + nobody.String() + `"}`, status: 404, code: tenancy.NotFound},
		{name: "grant more than one holds", method: "POST", path: held, user: super, tenant: ours, body: `{"permission_id":"` + tenants + `"}`, status: 403, code: tenancy.Forbidden},
		{name: "grant as a plain member", method: "POST", path: held, user: plainOne, tenant: ours, body: `{"permission_id":"` + dashboard + `"}`, status: 403, code: tenancy.Forbidden},
		{name: "permissions of a missing role", method: "GET", path: "/api/v3/rbac-permissions/role/9999", user: super, tenant: ours, status: 404, code: tenancy.NotFound},
		{name: "revoke", method: "DELETE", path: held + "/permission/" + dashboard, user: super, tenant: ours, status: 200, want: []string{`{"data":{"message":"`}},
		{name: "revoke again", method: "DELETE", path: held + "/permission/" + dashboard, user: super, tenant: ours, status: 404, code: tenancy.NotFound},
		{name: "revoke what is no id", method: "DELETE", path: held + "/permission/x", user: super, tenant: ours, status: 404, code: tenancy.NotFound},

		{name: "delete as a plain member", method: "DELETE", path: roles + "/{made}", user: plainOne, tenant: ours, status: 403, code: tenancy.Forbidden},
		{name: "delete with a doubtful force", method: "DELETE", path: roles + "/{made}?force=yes", user: super, tenant: ours, status: 400, code: tenancy.Invalid},
		{name: "delete", method: "DELETE", path: roles + "/{made}", user: super, tenant: ours, status: 200, want: []string{`{"data":{"message":"Role deleted successfully"}}`}},
		{name: "delete again", method: "DELETE", path: roles + "/{made}", user: super, tenant: ours, status: 404, code: tenancy.NotFound},
		{name: "delete a system role", method: "DELETE", path: roles + "/2?force=true", user: super, tenant: ours, status: 403, code: tenancy.Forbidden},
		{name: "delete a role with members", method: "DELETE", path: roles + "/" + editor, user: super, tenant: ours, status: 409, code: tenancy.RoleHasMembers, want: []string{"2"}}, // one of them through a role that inherits from it
		{name: "delete it all the same", method: "DELETE", path: roles + "/" + editor + "?force=true", user: super, tenant: ours, status: 200},

		{name: "features", method: "GET", path: features, user: plainOne, tenant: ours, status: 200,
			want: []string{`"contentmap":true`, `"emailhunter":false`, `"actionqueue":`, `"socialradar":`, `"localminer":`, `"siteharvest":`, `"frontendscout":`, `"contactlaunchpad":`}, wantNot: []string{`"data"`}},
		{name: "switch on", method: "POST", path: features, user: super, tenant: ours, body: `{"feature_name":"emailhunter","enabled":true}`, status: 200,
			want: []string{`{"message":"Feature status updated successfully","feature_name":"emailhunter","enabled":true}`}},
		{name: "is on", method: "GET", path: "/api/v3/features/tenant", user: super, tenant: ours, status: 200, want: []string{`"emailhunter":true`}},
		{name: "switch off the old way", method: "POST", path: "/api/v3/features/tenant", user: super, tenant: ours, body: `{"feature_name":"emailhunter","enabled":false}`, status: 200, want: []string{`"enabled":false`}},
		{name: "is off", method: "GET", path: features + "/", user: super, tenant: ours, status: 200, want: []string{`"emailhunter":false`}},
		{name: "switch what is not there", method: "POST", path: features, user: super, tenant: ours, body: `{"feature_name":"nothing","enabled":true}`, status: 404, code: tenancy.NotFound},
		{name: "switch without saying how", method: "POST", path: features, user: super, tenant: ours, body: `{"feature_name":"emailhunter"}`, status: 400, code: tenancy.Invalid, want: []string{`"pointer":"/enabled"`}},
		{name: "switch as a plain member", method: "POST", path: features, user: plainOne, tenant: ours, body: `{"feature_name":"emailhunter","enabled":true}`, status: 403, code: tenancy.Forbidden},
		{name: "features for a stranger", method: "GET", path: features, user: nobody, tenant: ours, status: 403, code: tenancy.NotAMember},

		{name: "sidebar", method: "GET", path: "/api/v4/sidebar", user: super, tenant: ours, status: 200,
			want: []string{`[{"id":"`, `"title":"ContentMap"`, `"path":"/`, `"feature_id":`, `"required_permission":`, `"group":"Services"`, `"display_order":`}, wantNot: []string{`"title":"EmailHunter"`, `"data"`}},
		{name: "sidebar for a stranger", method: "GET", path: "/api/v4/sidebar", user: nobody, tenant: ours, status: 403, code: tenancy.NotAMember},
		{name: "me", method: "GET", path: "/api/v4/me", user: super, tenant: ours, status: 200,
			want: []string{`"tenants":[{"id":"` + ours + `","name":"Last Apple","slug":"last-apple"}]`, `"SUPER_ADMIN"`, `"manage_roles"`, `"contentmap":true`}, wantNot: []string{`"manage_tenants"`}},
		{name: "me without a tenant", method: "GET", path: "/api/v4/me", user: super, status: 200,
			want: []string{`"name":"Last Apple"`, `"tenant_id":null`, `"roles":[]`}},
		{name: "me, a stranger", method: "GET", path: "/api/v4/me", user: nobody, status: 200, want: []string{`"tenants":[]`}, wantNot: []string{"Last Apple"}},
		{name: "me elsewhere", method: "GET", path: "/api/v4/me", user: super, tenant: nobody.String(), status: 403, code: tenancy.NotAMember},
		{name: "no tenant", method: "GET", path: roles, user: super, status: 400, code: tenancy.TenantRequired},
		{name: "malformed tenant", method: "GET", path: roles, user: super, tenant: "1", status: 400, code: tenancy.Invalid},
	}
}

func TestDeprecatedAlias(t *testing.T) {
	s := newService(t)
	auth := []string{"Authorization", "Bearer " + signed(t, super, testTenant)}
	v3 := send(t, s.url, "GET", "/api/v3/features/tenant", nil, auth...)
	v4 := send(t, s.url, "GET", "/api/v4/features/tenant", nil, auth...)
	if v3.StatusCode != 200 || v3.body != v4.body || v3.body == "" {
		t.Errorf("v3 answers %d %s, v4 %s", v3.StatusCode, v3.body, v4.body)
	}
	if got := v3.Header.Get("Deprecation"); got != "@1772323200" {
		t.Errorf("Deprecation %q", got)
	}
	if got := v3.Header.Get("Link"); got != `</api/v4/features/tenant>; rel="successor-version"` {
		t.Errorf("Link %q", got)
	}
	if v4.Header.Get("Deprecation") != "" {
		t.Error("v4 says that it is deprecated")
	}
}

func TestReady(t *testing.T) {
	for kind, want := range map[pgtest.Kind]string{
		pgtest.PgBouncer118Transaction: `{"status":"ok","database":"ok","pooler":{"present":true,"mode":"transaction","scope":"one_sync","exec_mode":"exec"},"schema":"ok"}`,
		pgtest.PgBouncer118Statement:   `{"status":"ok","database":"ok","pooler":{"present":true,"mode":"statement","scope":"one_sync","exec_mode":"exec"},"schema":"ok"}`,
		pgtest.Direct:                  `{"status":"ok","database":"ok","pooler":{"present":false,"mode":"none","scope":"one_sync","exec_mode":"cache_statement"},"schema":"ok"}`,
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

package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/migrations"
)

// logBuffer collects what other goroutines write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eventually waits until a condition holds, and fails after the limit.
func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// sql runs a statement as the owner, a superuser.
func sql(t *testing.T, owner, text string, args ...any) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, owner)
	if err != nil {
		t.Fatalf("connecting as the owner: %v", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost
	if _, err := conn.Exec(ctx, text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func scalar(t *testing.T, owner, query string, args ...any) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), owner)
	if err != nil {
		t.Fatalf("connecting as the owner: %v", err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost
	var text string
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}

// dropLogin removes a login, which outlives its database, when the test ends.
func dropLogin(t *testing.T, owner, login string) {
	t.Helper()
	name := pgx.Identifier{login}.Sanitize()
	t.Cleanup(func() {
		sql(t, owner, "reassign owned by "+name+" to postgres")
		sql(t, owner, "drop owned by "+name)
		sql(t, owner, "drop role "+name)
	})
}

// database is a migrated one with the demo data.
type database struct {
	owner string // URL of its owner, direct
	login string // name of the runtime login
	url   string // URL of that, direct
}

func newDatabase(t *testing.T) database {
	t.Helper()
	d := database{owner: pgtest.Database(t), login: "app_" + strings.ReplaceAll(uuid.NewString(), "-", "")}
	up, err := migrations.Up(t.Context(), pgtest.Owned(t, d.owner), migrations.Options{Login: d.login})
	if err != nil {
		t.Fatalf("migrating: %v", err)
	}
	dropLogin(t, d.owner, d.login)
	if err := migrations.Demo(t.Context(), pgtest.Owned(t, d.owner), uuid.MustParse(testUser)); err != nil {
		t.Fatalf("demo data: %v", err)
	}
	d.url = up.LoginURL
	return d
}

// served is a running runServer.
type served struct {
	base  string
	log   *logBuffer
	ready chan struct{}
	stop  context.CancelFunc
	ended chan error
	token string
}

func serve(t *testing.T, databaseURL string) *served {
	t.Helper()
	return serveEvery(t, databaseURL, 0)
}

// serveEvery is serve with a database that is looked at every so often.
func serveEvery(t *testing.T, databaseURL string, every time.Duration) *served {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := token.Sign([]byte(testSecret), token.Request{
		Issuer: testIssuer, Audience: testAudience, Subject: testUser, Tenant: testTenant, Lifetime: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := interruptible(context.WithoutCancel(t.Context()))
	s := &served{
		base: "http://" + listener.Addr().String(), log: &logBuffer{}, token: signed,
		ready: make(chan struct{}), stop: stop, ended: make(chan error, 1),
	}
	go func() {
		s.ended <- runServer(ctx, serverOptions{
			Listener: listener, DatabaseURL: databaseURL,
			Tokens: token.Config{Issuer: testIssuer, Audience: testAudience, Secret: []byte(testSecret)},
			Logger: slog.New(slog.NewTextHandler(s.log, nil)),
			Ready:  func() { close(s.ready) }, CheckEvery: every,
		})
	}()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-s.ended:
			if err != nil {
				t.Errorf("serving ended with: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not end")
		}
	})
	return s
}

// wantReady waits until the server serves.
func (s *served) wantReady(t *testing.T) {
	t.Helper()
	select {
	case <-s.ready:
	case <-time.After(20 * time.Second):
		t.Fatalf("the server does not become ready: %s", s.log)
	}
}

// refused waits for the server to end with an error by itself.
func (s *served) refused(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		s.ended <- nil // for the clean-up
		if err == nil {
			t.Fatal("the server ended without an error")
		}
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("the server goes on: %s", s.log)
		return nil
	}
}

// ask makes one request as the demo user. Status 0: no answer.
func (s *served) ask(ctx context.Context, method, path, body string) (status int, header http.Header, text string) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return res.StatusCode, res.Header, string(raw)
}

const rolesPath = "/api/v3/rbac/roles"

// Started before its database, the service stays up, says so to everybody, and
// serves within two seconds of the database.
func TestServeBeforeItsDatabase(t *testing.T) {
	for name, url := range map[string]func(database) string{
		"direct": func(d database) string { return d.url },
		"pgbouncer": func(d database) string {
			u, _ := pgtest.PrivatePooler(t, d.url, pgtest.PgBouncer118Transaction, nil)
			return u
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t)
			server := pgtest.Server(t)
			at := url(d)
			if err := server.Halt(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := serve(t, at)
			eventually(t, 10*time.Second, "a logged cause", func() bool { return strings.Contains(s.log.String(), "waiting for the database") })
			for range 20 {
				status, header, body := s.ask(t.Context(), "GET", rolesPath, "")
				if status != 503 || header.Get("Retry-After") != "1" || !strings.Contains(body, `"code":"unavailable"`) {
					t.Fatalf("before the database: %d %v %s", status, header, body)
				}
			}
			if status, _, body := s.ask(t.Context(), "GET", "/readyz", ""); status != 503 || !strings.Contains(body, `"database":"unavailable"`) {
				t.Errorf("/readyz before the database: %d %s", status, body)
			}
			if status, _, _ := s.ask(t.Context(), "GET", "/healthz", ""); status != 200 {
				t.Errorf("/healthz before the database: %d", status)
			}
			if err := server.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			eventually(t, 2*time.Second, "roles from the database", func() bool {
				status, _, _ := s.ask(t.Context(), "GET", rolesPath, "")
				return status == 200
			})
			t.Logf("served %s after the database was up", time.Since(start).Round(time.Millisecond))
			s.wantReady(t)
			eventually(t, 2*time.Second, "/readyz", func() bool {
				status, _, _ := s.ask(t.Context(), "GET", "/readyz", "")
				return status == 200
			})
			told := make(map[string]bool)
			for line := range strings.Lines(s.log.String()) {
				if _, cause, ok := strings.Cut(line, "waiting for the database"); ok {
					if cause = ownAddress.ReplaceAllString(cause, ""); told[cause] {
						t.Errorf("a cause was logged twice: %s", cause)
					}
					told[cause] = true
				}
			}
		})
	}
}

// What only an operator can change ends the service, with its name and remedy.
func TestServeRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		fault string // {login} is the runtime login
		want  []string
	}{
		"owner of a table": {`alter table poolproof.user_roles owner to {login}`, []string{"poolproof.user_roles", "owns", "hint: "}},
		"policies off":     {`alter table poolproof.roles disable row level security`, []string{"poolproof.roles", "row-level security is off", "hint: alter table poolproof.roles enable row level security"}},
		"policies not forced": {`alter table poolproof.tenant_features no force row level security`,
			[]string{"poolproof.tenant_features", "not forced", "hint: alter table poolproof.tenant_features force row level security"}},
		"superuser":       {`alter role {login} superuser`, []string{"superuser", "hint: "}},
		"bypass":          {`alter role {login} bypassrls`, []string{"BYPASSRLS", "hint: "}},
		"schema newer":    {`insert into poolproof.schema_migrations select (jsonb_populate_record(m, jsonb_build_object('version', 999, 'name', '0999_future'))).* from poolproof.schema_migrations m where version = 1`, []string{"newer", "hint: "}},
		"schema older":    {`delete from poolproof.schema_migrations where version = (select max(version) from poolproof.schema_migrations)`, []string{"older", "hint: run poolproof migrate up"}},
		"no schema":       {`drop schema poolproof cascade`, []string{"older", "hint: run poolproof migrate up"}},
		"not a member":    {`revoke poolproof_runtime from {login}`, []string{"poolproof_runtime", "hint: "}},
		"several at once": {`alter table poolproof.roles disable row level security; alter table poolproof.profiles disable row level security`, []string{"poolproof.roles", "poolproof.profiles"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t)
			sql(t, d.owner, strings.ReplaceAll(tc.fault, "{login}", pgx.Identifier{d.login}.Sanitize()))
			setTokenEnv(t)
			t.Setenv("DATABASE_URL", pgtest.Pooled(t, d.url, pgtest.PgBouncer118Transaction))
			r := command(t, "serve", "--addr", "127.0.0.1:0")
			if r.code != exitFailure || !strings.Contains(r.stderr, "\npoolproof: ") {
				t.Errorf("exit code %d: %s", r.code, r.stderr)
			}
			_, own, _ := strings.Cut(r.stderr, "\npoolproof: ")
			for _, want := range tc.want {
				if !strings.Contains(own, want) {
					t.Errorf("the error does not say %q: %s", want, own)
				}
			}
			if strings.Contains(r.stderr, "msg=ready") {
				t.Errorf("it served: %s", r.stderr)
			}
		})
	}
}

// The same holds if the database comes later: it is not served from.
func TestServeRefusesALateDatabase(t *testing.T) {
	d := newDatabase(t)
	sql(t, d.owner, `alter table poolproof.roles disable row level security`)
	server := pgtest.Server(t)
	if err := server.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := serve(t, d.url)
	eventually(t, 10*time.Second, "a logged cause", func() bool { return strings.Contains(s.log.String(), "waiting for the database") })
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.refused(t); !strings.Contains(err.Error(), "poolproof.roles") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(s.log.String(), "msg=ready") {
		t.Errorf("it served: %s", s.log)
	}
}

// A server that is stopped finishes what it has begun.
func TestServeDrains(t *testing.T) {
	d := newDatabase(t)
	s := serve(t, pgtest.WithLatency(t, d.url, 100*time.Millisecond))
	s.wantReady(t)
	type answer struct {
		status int
		body   string
	}
	answered := make(chan answer, 1)
	go func() {
		status, _, body := s.ask(context.WithoutCancel(t.Context()), "POST", rolesPath, `{"name":"made while stopping"}`)
		answered <- answer{status, body}
	}()
	eventually(t, 5*time.Second, "the request under way", func() bool {
		_, _, body := s.ask(t.Context(), "GET", "/metrics", "")
		return strings.Contains(body, "poolproof_http_requests_in_flight 2\n")
	})
	s.stop()
	a := <-answered
	if a.status != 201 {
		t.Errorf("the request under way: %d %s", a.status, a.body)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	s.ended <- nil // for the clean-up
	if status, _, text := s.ask(t.Context(), "GET", "/healthz", ""); status != 0 {
		t.Errorf("after the end: %d %s", status, text)
	}
	if got := scalar(t, d.owner, `select count(*)::text from poolproof.roles where name = 'made while stopping'`); got != "1" {
		t.Errorf("%s roles were made, want 1", got)
	}
}

// After a migration that it does not know, a running copy goes on answering,
// and says so while it stays ready.
func TestServeOutlivesANewerMigration(t *testing.T) {
	d := newDatabase(t)
	s := serve(t, pgtest.Pooled(t, d.url, pgtest.PgBouncer118Transaction))
	s.wantReady(t)
	sql(t, d.owner, `insert into poolproof.schema_migrations select (jsonb_populate_record(m, jsonb_build_object('version', 999, 'name', '0999_future'))).* from poolproof.schema_migrations m where version = 1`)
	eventually(t, 5*time.Second, "/readyz tells", func() bool {
		status, _, body := s.ask(t.Context(), "GET", "/readyz", "")
		return status == 200 && strings.Contains(body, `"schema":"newer"`)
	})
	if status, _, body := s.ask(t.Context(), "GET", rolesPath, ""); status != 200 || !strings.Contains(body, "SUPER_ADMIN") {
		t.Errorf("roles: %d %s", status, body)
	}
	if status, _, body := s.ask(t.Context(), "POST", rolesPath, `{"name":"made afterwards"}`); status != 201 {
		t.Errorf("a new role: %d %s", status, body)
	}
}

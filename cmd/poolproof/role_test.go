package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

// singleLogin is a migrated database with the demo data, as platforms with one
// login give it: that login owns it and bypasses row-level security, and is no
// superuser.
func singleLogin(t *testing.T) (owner, login, direct string) {
	t.Helper()
	owner = pgtest.Database(t)
	login = "single_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	name := pgx.Identifier{login}.Sanitize()
	sql(t, owner, "create role "+name+" login createrole bypassrls")
	dropLogin(t, owner, login)
	sql(t, owner, "do $$ begin execute format('alter database %I owner to "+name+"', current_database()); end $$")
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(login)
	direct = u.String()
	if _, err := migrations.Up(t.Context(), direct, migrations.Options{}); err != nil {
		t.Fatalf("migrating: %v", err)
	}
	if err := migrations.Demo(t.Context(), direct, uuid.MustParse(testUser)); err != nil {
		t.Fatalf("demo data: %v", err)
	}
	return owner, login, direct
}

var readyLine = regexp.MustCompile(`msg=ready addr=(\S+)`)

// Where there is one login only, POOLPROOF_ROLE makes every transaction run as
// the runtime role; without it such a login is refused.
func TestServeWithASingleLogin(t *testing.T) {
	owner, login, direct := singleLogin(t)
	setTokenEnv(t)
	t.Setenv("POOLPROOF_ADDR", "127.0.0.1:0")
	t.Setenv("DATABASE_URL", pgtest.Pooled(t, direct, pgtest.PgBouncer118Transaction))

	for _, refused := range []struct {
		role string
		want []string
	}{
		{"", []string{login + ": the role has BYPASSRLS", "poolproof.roles: the role owns a tenant table"}},
		{login, []string{login + ": the role has BYPASSRLS", "poolproof.roles: the role owns a tenant table"}},
		{migrations.RuntimeRole, []string{"permission denied to set role", "or grant it " + migrations.RuntimeRole}}, // not yet granted
		{"no_such_role", []string{`"no_such_role" does not exist`, "hint: set POOLPROOF_ROLE"}},
	} {
		t.Setenv("POOLPROOF_ROLE", refused.role)
		r := command(t, "serve")
		for _, want := range refused.want {
			if r.code != exitFailure || !strings.Contains(r.stderr, want) || strings.Contains(r.stderr, "msg=ready") {
				t.Errorf("role %q: exit code %d, want 1 and %q: %s", refused.role, r.code, want, r.stderr)
			}
		}
	}

	sql(t, owner, "grant "+migrations.RuntimeRole+" to "+pgx.Identifier{login}.Sanitize())
	t.Setenv("POOLPROOF_ROLE", migrations.RuntimeRole)
	ctx, stop := interruptible(context.WithoutCancel(t.Context()))
	log, ended := &logBuffer{}, make(chan int, 1)
	go func() { ended <- run(ctx, []string{"serve"}, strings.NewReader(""), log, log) }()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("exit code %d: %s", code, log)
		}
	})
	eventually(t, 20*time.Second, "ready", func() bool { return readyLine.MatchString(log.String()) })

	signed := command(t, "token", "--user", testUser)
	ask := func(tenant string) (int, string) {
		s := served{base: "http://" + readyLine.FindStringSubmatch(log.String())[1], token: strings.TrimSpace(signed.stdout)}
		return s.askAs(t.Context(), tenant, rolesPath)
	}
	if status, body := ask(testTenant); status != http.StatusOK || !strings.Contains(body, "SUPER_ADMIN") || strings.Contains(body, migrations.DemoOtherTenant.String()) {
		t.Errorf("own tenant: %d %s", status, body)
	}
	if status, body := ask(migrations.DemoOtherTenant.String()); status != http.StatusForbidden || strings.Contains(body, "SUPER_ADMIN") {
		t.Errorf("another tenant: %d %s", status, body)
	}
	// The role ends with its transaction: the pooler's connections are the login's again.
	conn, err := pgx.Connect(t.Context(), pgtest.Pooled(t, direct, pgtest.PgBouncer118Transaction))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for range 20 {
		var user string
		if err := conn.QueryRow(t.Context(), "select current_user", pgx.QueryExecModeExec).Scan(&user); err != nil || user != login {
			t.Fatalf("a server connection was left as %q: %v", user, err)
		}
	}
}

// askAs reads a path for a tenant.
func (s *served) askAs(ctx context.Context, tenant, path string) (status int, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("X-Tenant-ID", tenant)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(raw)
}

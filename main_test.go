package poolproof_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// The tenants of the fixtures: tenant(0) to tenant(n-1).
func tenant(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

const tenantPolicy = `tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid)`

// fixture is a database with tenants' rows, and a login that policies apply to.
type fixture struct {
	owner *pgxpool.Pool // sees everything
	url   string        // of the runtime login, direct
	// ownerURL connects as the superuser.
	ownerURL string
}

// newFixture makes a table documents with rows of n tenants (ten each, whose
// body names the tenant), a catalogue, and the runtime login.
func newFixture(t testing.TB, n int) *fixture {
	t.Helper()
	f := &fixture{ownerURL: pgtest.Database(t)}
	var err error
	if f.owner, err = pgxpool.New(t.Context(), f.ownerURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.owner.Close)
	f.exec(t, poolproof.ScopeSQL)
	login := "app_" + strings.ReplaceAll(strings.ToLower(f.owner.Config().ConnConfig.Database), "-", "_")
	f.exec(t, `
		create role `+login+` login nosuperuser nobypassrls;
		create table documents (
			tenant_id uuid not null,
			id bigint generated always as identity,
			body text not null,
			primary key (tenant_id, id)
		);
		create table catalogue (name text primary key);
		insert into catalogue values ('shared row');
		alter table documents enable row level security;
		alter table documents force row level security;
		create policy tenant on documents using (`+tenantPolicy+`) with check (`+tenantPolicy+`);
		grant select, insert, update, delete on documents to `+login+`;
		grant select on catalogue to `+login)
	t.Cleanup(func() {
		_, err := f.owner.Exec(context.Background(), "drop owned by "+login+"; drop role "+login)
		if err != nil {
			t.Errorf("drop the login: %v", err)
		}
	})
	for i := range n {
		f.exec(t, "insert into documents (tenant_id, body) select '"+tenant(i)+"', 'of tenant "+tenant(i)+"' from generate_series(1, 10)")
	}
	config := f.owner.Config().ConnConfig
	f.url = fmt.Sprintf("postgres://%s@%s:%d/%s?sslmode=disable", login, config.Host, config.Port, config.Database)
	return f
}

func (f *fixture) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if len(args) == 0 {
		args = []any{pgx.QueryExecModeSimpleProtocol}
	}
	if _, err := f.owner.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (f *fixture) count(t testing.TB, sql string, args ...any) (n int) {
	t.Helper()
	if err := f.owner.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// open opens the library at a URL and closes it at the test's end.
func open(t testing.TB, url string, options ...option) *poolproof.DB {
	t.Helper()
	cfg := poolproof.Config{URL: url, MaxConns: 16, Logger: slog.New(slog.DiscardHandler)}
	for _, o := range options {
		o(&cfg)
	}
	db, err := poolproof.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if cfg.Scope != poolproof.ScopeAuto && db.Scope() != cfg.Scope {
		t.Fatalf("the scope's form is %s instead of %s", db.Scope(), cfg.Scope)
	}
	return db
}

type option = func(*poolproof.Config)

func mode(m poolproof.Mode) option {
	return func(c *poolproof.Config) { c.Mode = m }
}

func scoped(form poolproof.ScopeForm) option {
	return func(c *poolproof.Config) { c.Scope = form }
}

var forms = []poolproof.ScopeForm{poolproof.ScopeStatement, poolproof.ScopeParameter}

// forForms runs a test with the scope as a statement and as a parameter.
func forForms(t *testing.T, test func(t *testing.T, form option)) {
	for _, form := range forms {
		t.Run("as a "+string(form), func(t *testing.T) { test(t, scoped(form)) })
	}
}

// waitFor polls until ok, for at most five seconds.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 5 s: %s", what)
		case <-tick.C:
		}
	}
}

// logged keeps log records as text.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// count returns the number of lines that hold s.
func (l *logged) count(s string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, s) {
			n++
		}
	}
	return n
}

package poolproof_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// Invariant 5: each way in which a database fails to isolate is found and
// named, with the step that mends it.
func TestCheckFindsFaultyIsolation(t *testing.T) {
	tests := []struct {
		name, harm, undo string
		what, hint       string
		role             bool // it is about the role, not the table
	}{
		{"row-level security off", "alter table documents disable row level security", "alter table documents enable row level security", "row-level security is off", "enable row level security", false},
		{"not forced", "alter table documents no force row level security", "alter table documents force row level security", "not forced", "force row level security", false},
		{"owner", "alter table documents owner to LOGIN", "alter table documents owner to postgres; grant select, insert on documents to LOGIN", "owns the table", "owner to", false},
		{"member of the owner", "create role LOGIN_o; grant LOGIN_o to LOGIN; alter table documents owner to LOGIN_o", "alter table documents owner to postgres; drop role LOGIN_o; grant select, insert on documents to LOGIN", "member of its owner", "owner to", false},
		{"superuser", "alter role LOGIN superuser", "alter role LOGIN nosuperuser", "superuser", "nosuperuser", true},
		{"bypass", "alter role LOGIN bypassrls", "alter role LOGIN nobypassrls", "BYPASSRLS", "nobypassrls", true},
		{"another policy", "drop policy tenant on documents; create policy everybody on documents using (true)", "drop policy everybody on documents; create policy tenant on documents using (" + tenantPolicy + ")", "no policy", "create a policy", false},
		{"an open policy beside", "create policy everybody on documents using (true)", "drop policy everybody on documents", "lets every tenant through", "drop policy", false},
		{"an open policy for reading", "create policy everybody on documents for select using (true)", "drop policy everybody on documents", "lets every tenant through", "drop policy", false},
	}
	f := newFixture(t, 1)
	login := loginOf(t, f.url)
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Statement} {
		cfg := poolproof.Config{URL: pgtest.Pooled(t, f.url, kind)}
		check := func() *poolproof.Isolation {
			t.Helper()
			found, err := poolproof.Check(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		if found := check(); found.Err() != nil || found.Role != login || !slices.Equal(found.Tables, []string{"public.documents"}) {
			t.Fatalf("a sound database: %+v", found)
		}
		for _, tt := range tests {
			t.Run(kind.String()+"/"+tt.name, func(t *testing.T) {
				f.exec(t, strings.ReplaceAll(tt.harm, "LOGIN", login))
				defer f.exec(t, strings.ReplaceAll(tt.undo, "LOGIN", login))
				found := check()
				i := slices.IndexFunc(found.Problems, func(p poolproof.Problem) bool { return strings.Contains(p.What, tt.what) })
				if i < 0 {
					t.Fatalf("not found: %+v", found.Problems)
				}
				if p := found.Problems[i]; !strings.Contains(p.Hint, tt.hint) || tt.role != (p.Table == "") || !strings.HasPrefix(p.Code, "PD0") || p.Why == "" || (p.Severity == "warn") != (p.Code == "PD005") {
					t.Errorf("got %+v", p)
				}
				if err := found.Err(); !errors.Is(err, poolproof.ErrConfig) || !strings.Contains(err.Error(), tt.what) {
					t.Errorf("Err: %v", err)
				}
			})
		}
		if found := check(); found.Err() != nil {
			t.Errorf("after all was mended: %v", found.Err())
		}
	}
}

// TestCheckOfARole checks the role that scopes take on, where there is one
// login only and it may do everything.
func TestCheckOfARole(t *testing.T) {
	f := newFixture(t, 2)
	cfg := poolproof.Config{URL: pgtest.Pooled(t, f.ownerURL, pgtest.PgBouncer118Transaction)}
	found, err := poolproof.Check(t.Context(), cfg)
	if err != nil || found.Err() == nil {
		t.Fatalf("a superuser passes: %v", err)
	}
	cfg.Role = loginOf(t, f.url)
	if found, err = poolproof.Check(t.Context(), cfg); err != nil || found.Err() != nil || found.Role != cfg.Role {
		t.Fatalf("its role does not: %+v, %v", found, err)
	}
	db := open(t, cfg.URL, func(c *poolproof.Config) { c.Role = cfg.Role })
	if c := db.Config(); c.URL != "" || c.Role != cfg.Role || c.TenantSetting != poolproof.DefaultTenantSetting || !slices.Equal(c.TenantColumns, []string{poolproof.DefaultTenantColumn}) {
		t.Errorf("the configuration in use: %+v", c)
	}
	var n int
	if err := db.Tenant(tenant(0)).QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err != nil || n != 10 {
		t.Errorf("%d rows, %v", n, err)
	}
	err = db.Tenant(tenant(0)).InTx(t.Context(), func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), "select count(*) from documents").Scan(&n)
	})
	if err != nil || n != 10 {
		t.Errorf("in a transaction: %d rows, %v", n, err)
	}
}

// Invariant 7: a tenant that somebody left is counted and logged with the
// server's pid, and the tenant's id is in no log.
func TestCanary(t *testing.T) { forForms(t, testCanary) }

func testCanary(t *testing.T, form option) {
	f := newFixture(t, 2)
	url := pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction)
	logs, registry := &logged{}, prometheus.NewRegistry()
	db := open(t, url, form, func(c *poolproof.Config) { c.Logger, c.Registerer = logs.logger(), registry })
	culprit, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = culprit.Close(t.Context()) }()
	for _, sql := range []string{"set app.current_tenant_id = '" + tenant(1) + "'", "reset app.current_tenant_id"} {
		for range 2 { // both server connections, one after the other at the latest
			if _, err := culprit.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
		}
		var n int
		if err := db.Shared().QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err != nil || n != 0 {
			t.Errorf("a shared session sees %d rows, %v", n, err)
		}
		if counted, lines := poolproof.Counter(t, registry, "poolproof_leaked_settings_total"), logs.count("left a tenant on this server connection"); counted != 1 || lines != 1 {
			t.Errorf("after %q: %v counted, %d lines", sql, counted, lines)
		}
	}
	if logs.count("backend_pid=") != 1 || logs.count(tenant(1)) != 0 {
		t.Errorf("log: %v", logs.lines)
	}
}

// TestSpans asks for a span per statement, with the statement and no argument.
func TestSpans(t *testing.T) { forForms(t, testSpans) }

func testSpans(t *testing.T, form option) {
	f := newFixture(t, 1)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	db := open(t, f.url, form, func(c *poolproof.Config) { c.TracerProvider = provider })
	ctx, request := provider.Tracer("test").Start(t.Context(), "request")
	if _, err := db.Tenant(tenant(0)).Exec(ctx, "select $1::text", "a secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Tenant(tenant(0)).Exec(ctx, "select 1/(select 0)"); err == nil {
		t.Fatal("no error")
	}
	request.End()
	var ok, failed bool
	for _, span := range spans.Ended() {
		text := span.Name()
		for _, a := range span.Attributes() {
			text += " " + a.Value.String()
		}
		ok = ok || strings.Contains(text, "select $1::text") && len(span.Events()) == 0
		failed = failed || strings.Contains(text, "select 1/") && len(span.Events()) > 0
		if strings.Contains(text, "a secret") || strings.Contains(text, tenant(0)) {
			t.Errorf("a span tells an argument or a tenant: %s", text)
		}
	}
	if !ok || !failed {
		t.Errorf("spans are missing: ok %v, failed %v, of %d", ok, failed, len(spans.Ended()))
	}
}

// A table is a tenant's by the names that the application has for its columns.
func TestCheckByTenantColumns(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, `create table invoices (account_id int, total int); create table "Odd" ("o'rg" int); create table settings (id int);
		grant select on invoices, "Odd", settings to `+loginOf(t, f.url))
	check := func(columns ...string) *poolproof.Isolation {
		t.Helper()
		found, err := poolproof.Check(t.Context(), poolproof.Config{URL: pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction), TenantColumns: columns})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := check(); found.Err() != nil || !slices.Equal(found.Tables, []string{"public.documents"}) {
		t.Errorf("by default: %+v", found)
	}
	for _, columns := range [][]string{{"account_id"}, {"tenant_id", "account_id"}} {
		found := check(columns...)
		if !slices.Equal(found.Tables, []string{"public.documents", "public.invoices"}) || found.Err() == nil || !strings.Contains(found.Err().Error(), "public.invoices: row-level security is off") {
			t.Errorf("%q: %+v", columns, found)
		}
	}
	if found := check("o'rg"); !slices.Contains(found.Tables, `public."Odd"`) || slices.Contains(found.Tables, "public.invoices") {
		t.Errorf("a name with a quotation mark: %+v", found)
	}
	if found := check("Account_ID"); slices.Contains(found.Tables, "public.invoices") {
		t.Errorf("another column's name: %+v", found)
	}
	if _, err := poolproof.Check(t.Context(), poolproof.Config{URL: f.url, TenantColumns: []string{""}}); !errors.Is(err, poolproof.ErrConfig) {
		t.Errorf("a column without a name: %v", err)
	}
}

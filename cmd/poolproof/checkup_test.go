package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/checkup"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/migrations"
)

// ready is what these tests want to know of /readyz.
type ready struct {
	Status string
	Pooler struct {
		Mode     string
		ExecMode string `json:"exec_mode"`
	}
	Doctor checkup.Public
}

func (s *served) readyz(t *testing.T) (r ready, raw string) {
	t.Helper()
	_, _, raw = s.ask(t.Context(), "GET", "/readyz", "")
	if err := json.Unmarshal([]byte(raw), &r); err != nil {
		t.Fatalf("/readyz: %s", raw)
	}
	return r, raw
}

// asOperator is the same service, asked by the platform's administrator.
func (s *served) asOperator(t *testing.T) *served {
	t.Helper()
	signed, err := token.Sign([]byte(testSecret), token.Request{
		Issuer: testIssuer, Audience: testAudience, Subject: migrations.DemoPlatformAdmin.String(), Tenant: migrations.DemoPlatform.String(), Lifetime: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	operator := *s
	operator.token = signed
	return &operator
}

// report is the doctor's last one, as the platform's administrator reads it.
func (s *served) report(t *testing.T) checkup.Report {
	t.Helper()
	status, _, body := s.asOperator(t).ask(t.Context(), "GET", doctorPath, "")
	var answer struct{ Data checkup.Report }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 {
		t.Fatalf("the report: %d %s", status, body)
	}
	return answer.Data
}

const (
	doctorPath   = "/api/v3/rbac-admin/doctor"
	featuresPath = "/api/v4/features/tenant"
)

// atOnce asks both versions of the API by several callers, and returns each answer that is not 200.
func (s *served) atOnce(ctx context.Context, callers int) (refused []string) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for path, want := range map[string]string{rolesPath: "SUPER_ADMIN", featuresPath: `"contentmap"`} {
				status, _, body := s.ask(ctx, "GET", path, "")
				if status == 200 && strings.Contains(body, want) {
					continue
				}
				mu.Lock()
				refused = append(refused, fmt.Sprint(path, " ", status, " ", body))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return refused
}

// The fault that this project began with: the pooler is switched from session to transaction mode under the running service, and
// started anew. Both versions of the API answer within two seconds, and /readyz, the report and the log say what changed.
func TestThePoolerIsSwitchedFromSessionToTransactionMode(t *testing.T) {
	d := newDatabase(t)
	url, bouncer := pgtest.PrivatePooler(t, d.url, pgtest.PgBouncer118Session, map[string]string{"default_pool_size": "10"})
	s := serve(t, url)
	s.wantReady(t)
	eventually(t, 20*time.Second, "the doctor's first look", func() bool { return s.report(t).Pooler.Kind == "pgbouncer" })
	if refused := s.atOnce(t.Context(), 4); len(refused) > 0 { // statements are prepared by now
		t.Fatal(refused)
	}
	if r, raw := s.readyz(t); r.Pooler.Mode != "session" || r.Pooler.ExecMode != "cache_statement" || r.Doctor.Verdict != "ok" || len(r.Doctor.Changed) > 0 || len(r.Doctor.Codes) > 0 {
		t.Errorf("/readyz before: %s", raw)
	}

	if err := bouncer.SetMode("transaction"); err != nil {
		t.Fatal(err)
	}
	if err := bouncer.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refused []string
	eventually(t, 2*time.Second, "both versions of the API", func() bool {
		refused = s.atOnce(t.Context(), 4)
		return len(refused) == 0
	})
	switched := checkup.Change{What: "pooler.mode", Before: "session", After: "transaction"}
	eventually(t, 20*time.Second, "/readyz says what changed", func() bool {
		r, _ := s.readyz(t)
		return r.Pooler.Mode == "transaction" && slices.Equal(r.Doctor.Changed, []checkup.Change{switched})
	})
	for range 5 {
		if refused := s.atOnce(t.Context(), 4); len(refused) > 0 {
			t.Errorf("after the switch: %s", refused)
		}
	}
	r, raw := s.readyz(t)
	if r.Status != "ok" || r.Pooler.ExecMode != "exec" || r.Doctor.Verdict != "ok" {
		t.Errorf("/readyz after: %s", raw)
	}
	for _, secret := range []string{"pgbouncer", "15.", d.login, "127.0.0.1", "named_statements", "poolproof."} {
		if strings.Contains(raw, secret) {
			t.Errorf("/readyz, which anybody may ask, says %q: %s", secret, raw)
		}
	}
	report := s.report(t)
	if report.Status != "ok" || report.Pooler != (checkup.Pooler{Kind: "pgbouncer", Mode: "transaction", Version: "1.19.1 or earlier"}) || report.Role != d.login || len(report.Findings) > 0 ||
		report.ChangedAt == nil || len(report.Changes) == 0 || report.Changes[0] != switched || !slices.Contains(report.Changes, checkup.Change{What: "through.named_statements", Before: "works", After: "leaks"}) {
		t.Errorf("the report: %+v", report)
	}
	if status, _, body := s.ask(t.Context(), "GET", doctorPath, ""); status != 403 || strings.Contains(body, "pgbouncer") {
		t.Errorf("the report, for a tenant's administrator: %d %s", status, body)
	}
	if n := strings.Count(s.log.String(), "the doctor has looked"); n != 1 {
		t.Errorf("%d lines have a verdict: %s", n, s.log)
	}
	if n := strings.Count(s.log.String(), "has changed"); n != 1 || !strings.Contains(s.log.String(), "pooler.mode: session → transaction; ") {
		t.Errorf("%d lines say that it has changed: %s", n, s.log)
	}
	if password := parsed(t, d.url).Password; password != "" && strings.Contains(raw+s.log.String(), password) {
		t.Error("a password is told")
	}
	// The database that was open before is closed: no connections but those of one pool.
	eventually(t, 20*time.Second, "the connections of one pool", func() bool {
		clients, err := bouncer.Admin(t.Context(), "SHOW CLIENTS")
		return err == nil && len(clients) <= 4+1 // the console's own
	})
}

func parsed(t *testing.T, url string) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// A pooler that reads its configuration anew breaks no connection: the look that comes by itself sees it.
func TestThePoolerReloadsAnotherMode(t *testing.T) {
	d := newDatabase(t)
	url, bouncer := pgtest.PrivatePooler(t, d.url, pgtest.PgBouncer118Transaction, nil)
	s := serveEvery(t, url, time.Millisecond)
	s.wantReady(t)
	eventually(t, 20*time.Second, "the doctor's first look", func() bool { return s.report(t).Pooler.Kind == "pgbouncer" })
	if err := bouncer.SetMode("statement"); err != nil {
		t.Fatal(err)
	}
	if _, err := bouncer.Admin(t.Context(), "RELOAD"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the other mode", func() bool {
		r, _ := s.readyz(t)
		return r.Pooler.Mode == "statement" && slices.Equal(r.Doctor.Changed, []checkup.Change{{What: "pooler.mode", Before: "transaction", After: "statement"}})
	})
	if refused := s.atOnce(t.Context(), 4); len(refused) > 0 {
		t.Error(refused)
	}
}

// What costs time, and no isolation, is warned of once, and no reason to refuse.
func TestServeWarns(t *testing.T) {
	d := newDatabase(t)
	login := pgx.Identifier{d.login}.Sanitize()
	sql(t, d.owner, "alter role "+login+" set idle_in_transaction_session_timeout = 0")
	s := serveEvery(t, pgtest.Pooled(t, d.url, pgtest.PgBouncer118Transaction), time.Millisecond)
	s.wantReady(t)
	first := s.report(t)
	if first.Status != "warn" || len(first.Findings) != 1 || first.Findings[0].Code != "PD021" || !strings.Contains(first.Findings[0].Fix, "idle_in_transaction_session_timeout = '60s'") {
		t.Errorf("the report: %+v", first)
	}
	eventually(t, 20*time.Second, "another look", func() bool { return s.report(t).At.After(*first.At) })
	if r, raw := s.readyz(t); r.Status != "ok" || r.Doctor.Verdict != "warn" || !slices.Equal(r.Doctor.Codes, first.Public().Codes) || strings.Contains(raw, d.login) {
		t.Errorf("/readyz: %s", raw)
	}
	if log := s.log.String(); strings.Count(log, "code=PD021") != 1 || !strings.Contains(log, "hint=") {
		t.Errorf("it is to be warned of once: %s", log)
	}
	sql(t, d.owner, "alter role "+login+" reset idle_in_transaction_session_timeout")
}

// A database that comes back without its isolation is served from no more, as one that comes late.
func TestServeEndsWhenIsolationIsGone(t *testing.T) {
	d := newDatabase(t)
	url, bouncer := pgtest.PrivatePooler(t, d.url, pgtest.PgBouncer118Transaction, nil)
	s := serve(t, url)
	s.wantReady(t)
	eventually(t, 20*time.Second, "the doctor's first look", func() bool { return s.report(t).Pooler.Kind == "pgbouncer" })
	sql(t, d.owner, "alter table poolproof.roles disable row level security")
	if err := bouncer.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.atOnce(t.Context(), 1) // somebody meets the connection that was lost
	err := s.refused(t)
	if err == nil || !strings.Contains(err.Error(), "poolproof.roles: row-level security is off") {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(s.log.String(), "code=PD004") {
		t.Errorf("the log: %s", s.log)
	}
}

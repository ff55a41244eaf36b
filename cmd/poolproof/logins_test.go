package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

// The process, started with a wrong password, tries it once and says why, and is
// in no hurry to try it again, whatever is asked of it meanwhile: told by
// PostgreSQL, and by PgBouncer in its own words.
func TestServeWithAWrongPassword(t *testing.T) {
	server := pgtest.PrivateServer(t, "", nil)
	adminSQL(t, server, "create role app login password 'right'")
	dir, err := os.MkdirTemp("", "poolproof-logins-") //nolint:usetesting // t.TempDir is closed to the account that root's servers run under
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := devdb.FindPgBouncer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pooler, err := devdb.StartPgBouncer(t.Context(), devdb.PgBouncerConfig{Binary: program, Dir: filepath.Join(dir, "pgbouncer"), Upstream: server, Users: map[string]string{"app": "right"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pooler.Stop() })
	for name, url := range map[string]string{
		"PostgreSQL": strings.Replace(server.URL("app", "postgres"), "@", ":wr0ng@", 1),
		"PgBouncer":  pooler.URL("app", "wr0ng", "postgres"),
	} {
		t.Run(name, func(t *testing.T) {
			relayed, sent := pgtest.CountMessages(t, url)
			log := &logBuffer{}
			cmd := exec.CommandContext(t.Context(), self(t), "serve", "--addr", "127.0.0.1:0")
			cmd.Env = []string{
				"DATABASE_URL=" + relayed, "POOLPROOF_MAX_CONNS=20", "POOLPROOF_JWT_SECRET=" + testSecret,
				"POOLPROOF_JWT_ISSUER=" + testIssuer, "POOLPROOF_JWT_AUDIENCE=" + testAudience, asPoolproof + "=1",
			}
			cmd.Stderr = log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			hint := "see whether the password is right; the pooler may lock this address out after a few more tries"
			eventually(t, 20*time.Second, "the cause and its hint", func() bool {
				return strings.Contains(log.String(), "waiting for the database") && strings.Contains(log.String(), hint)
			})
			address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(log.String()) // the first line has it
			s := &served{base: "http://" + address, log: log}
			burst(t, s, "/readyz")
			// A login by SCRAM is two messages of the client.
			if n := sent('p'); n > 2*2 {
				t.Errorf("%d messages with passwords", n)
			}
			if strings.Contains(log.String(), "wr0ng") {
				t.Errorf("the password is in the log:\n%s", log)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
		})
	}
}

// The password changes under a service that serves, and its connections end: a
// burst of requests is no burst of logins.
func TestServeWhenThePasswordChanges(t *testing.T) {
	server := pgtest.PrivateServer(t, "", nil)
	up, err := migrations.Up(t.Context(), server.AdminURL(), migrations.Options{Login: "app"})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, up.LoginURL+"&pool_max_conns=20")
	s.wantReady(t)
	if status, _, body := s.ask(t.Context(), "GET", "/readyz", ""); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	eventually(t, 20*time.Second, "the doctor's first look", func() bool { return strings.Contains(s.log.String(), "the doctor has looked") })
	adminSQL(t, server, "alter role app password 'another'; select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'app'")
	burst(t, s, rolesPath)
	log, err := os.ReadFile(filepath.Join(server.Dir(), "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "FATAL:  password authentication failed"); n < 1 || n > 4 {
		t.Errorf("250 requests made %d logins", n)
	}
}

// burst has fifty callers ask at once, each several times, for what needs the
// database. 429 is the limit of one tenant's requests under way.
func burst(t *testing.T, s *served, path string) {
	t.Helper()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 5 {
				if status, _, body := s.ask(t.Context(), "GET", path, ""); status != 503 && status != 429 {
					t.Errorf("%d %s", status, body)
					return
				}
			}
		})
	}
	wg.Wait()
}

func adminSQL(t *testing.T, server *devdb.Postgres, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", sql, err))
	}
}

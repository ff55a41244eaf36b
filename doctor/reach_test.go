//go:build unix

package doctor_test

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestNoConnection: whatever keeps the doctor out, the verdict says what it is and the hint what to do next, soon, and
// no report holds the password.
func TestNoConnection(t *testing.T) {
	const secret = "s3cret-word"
	server := pgtest.PrivateServer(t, "hostssl all tls_only 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 scram-sha-256\nhost all nobody 127.0.0.1/32 trust\n", nil) //nolint:dupword // the file's columns
	at := func(user, password, more string) string {
		u, err := url.Parse(server.URL("postgres", "postgres"))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, password)
		u.RawQuery = more
		return u.String()
	}
	admin, err := pgx.Connect(t.Context(), server.URL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context()) //nolint:errcheck // only a fixture
	if _, err := admin.Exec(t.Context(), "create role app login password 'another'; create role tls_only login; create role nobody"); err != nil {
		t.Fatal(err)
	}

	closed, silent := listen(t), listen(t)
	_ = closed.Close()
	exhausted := pgtest.Pooled(t, app(t, sound), pgtest.PgBouncer118Transaction)
	for range 2 { // as many as the pool has
		conn, err := pgx.Connect(t.Context(), exhausted)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(t.Context()) })
		if _, err := conn.Exec(t.Context(), "begin; select 1"); err != nil {
			t.Fatal(err)
		}
	}
	gone, _ := pgtest.PoolerBefore(t, app(t, sound), pgtest.PgBouncer124Transaction, port(closed), map[string]string{"server_connect_timeout": "1"})

	for _, tt := range []struct{ name, url, verdict, hint string }{
		{"no URL", "", "there is no URL", "postgres://user:password@host"},
		{"not a URL", "host=localhost password=" + secret, "cannot be read", "postgres://user:password@host"},
		{"another scheme", "mysql://app:" + secret + "@localhost/app", "postgres://", "postgres://user:password@host"},
		{"bad port", "postgres://app:" + secret + "@localhost:port/app", "cannot be read", "%40"},
		{"unescaped password", "postgres://app:" + secret + "/%zz@localhost/app", "cannot be read", "%40"},
		{"closed port", "postgres://app:" + secret + "@" + closed.Addr().String() + "/app", "nothing listens at " + closed.Addr().String(), "start the server"},
		{"a host without an address", "postgres://app:" + secret + "@nowhere.invalid/app", "nowhere.invalid", "host"},
		{"wrong password", at("app", secret, ""), "password authentication failed", "password"},
		{"no such role", at("stranger", secret, ""), "no pg_hba.conf entry", "pg_hba.conf"},
		{"a role that does not log in", at("nobody", secret, ""), "not permitted to log in", "alter role"},
		{"no such database", strings.Replace(at("app", "another", "sslmode=disable"), "/postgres?", "/nowhere?", 1), "does not exist", "database"},
		{"TLS required", at("tls_only", secret, "sslmode=disable"), "no encryption", "sslmode=require"},
		{"TLS that the server has not", at("app", secret, "sslmode=require"), "TLS", "sslmode"},
		{"nobody answers", "postgres://app:" + secret + "@" + silent.Addr().String() + "/app", "gives no answer within", "pg_stat_activity"},
		{"pool exhausted", exhausted, "gives no answer within", "pg_stat_activity"},
		{"PostgreSQL gone behind the pooler", gone, "", "PostgreSQL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			r := doctor.Examine(t.Context(), doctor.Config{URL: tt.url, Driver: "asyncpg"})
			if took := time.Since(start); took > 2*doctor.Budget { // the machine may be busy
				t.Errorf("it took %v", took)
			} else {
				t.Log(took.Round(time.Millisecond))
			}
			var text, raw, markdown bytes.Buffer
			for _, err := range []error{r.Text(&text, true), r.JSON(&raw), r.Markdown(&markdown)} {
				if err != nil {
					t.Error(err)
				}
			}
			t.Log(text.String())
			if r.Reached || r.Checks[0].ID != doctor.NoConnection || r.Checks[0].Status != doctor.Fail || r.Worst() != doctor.Fail {
				t.Errorf("it was reached: %+v", r)
			}
			if !strings.HasPrefix(r.Verdict, "no connection: ") || !strings.Contains(r.Verdict, tt.verdict) {
				t.Errorf("the verdict %q does not say %q", r.Verdict, tt.verdict)
			}
			if !strings.Contains(r.Checks[0].Hint, tt.hint) {
				t.Errorf("the hint %q does not say %q", r.Checks[0].Hint, tt.hint)
			}
			for _, out := range []string{text.String(), raw.String(), markdown.String()} {
				if strings.Contains(out, secret) || strings.Contains(out, "goroutine") || strings.Contains(out, "panic") {
					t.Errorf("the password, or a stack: %s", out)
				}
			}
		})
	}
}

// TestReadOnlyServers are reached, and said to take only reads.
func TestReadOnlyServers(t *testing.T) {
	standby := pgtest.PrivateServer(t, "", nil)
	if err := standby.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(standby.Dir(), "pgdata", "standby.signal"), nil, 0o644); err != nil { //nolint:gosec // the server's account reads it
		t.Fatal(err)
	}
	if err := standby.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	replica := doctor.Examine(t.Context(), doctor.Config{URL: standby.URL("postgres", "postgres"), Only: []doctor.Code{doctor.ReadOnly}})
	if c := check(replica, doctor.ReadOnly); !replica.Reached || c.Status != doctor.Warn || !strings.Contains(c.Detail, "replica") || !strings.Contains(c.Hint, "primary") {
		t.Errorf("a replica: %s %+v", replica.Verdict, c)
	}

	r := doctor.Examine(t.Context(), doctor.Config{URL: app(t, sound+"do $$ begin execute format('alter role doctor_login in database %I set default_transaction_read_only = on', current_database()); end $$")})
	if got := findings(r); got != "PD023" {
		t.Errorf("default_transaction_read_only: found %q: %s", got, r.Verdict)
	}
	if c := check(r, doctor.ReadOnly); c.Fix == "" || !strings.Contains(c.Detail, "default_transaction_read_only") {
		t.Errorf("%+v", c)
	}
}

// check is the first one of a code.
func check(r *doctor.Report, code doctor.Code) doctor.Check {
	for _, c := range r.Checks {
		if c.ID == code {
			return c
		}
	}
	return doctor.Check{}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			if _, err := l.Accept(); err != nil {
				return // the connections end with the process
			}
		}
	})
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	return l
}

func port(l net.Listener) (n int) {
	_, _ = fmt.Sscan(l.Addr().String()[strings.LastIndex(l.Addr().String(), ":")+1:], &n)
	return n
}

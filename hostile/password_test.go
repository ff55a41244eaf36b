package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// secured is a server with TLS that asks each user for a password in another way.
// A user's password is the name and "-secret".
type secured struct {
	port        int
	certificate tls.Certificate
}

func secret(user string) string { return user + "-secret" }

func newSecured(t *testing.T) *secured {
	t.Helper()
	dir, err := os.MkdirTemp("", "secured-") //nolint:usetesting // the server's account must enter
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	pg, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{Dir: filepath.Join(dir, "postgres")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
		defer cancel()
		if err := errors.Join(pg.Stop(ctx), os.RemoveAll(pg.Dir()), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	s := &secured{port: pg.Port()}
	cert, key := pgtest.Certificate(t)
	if s.certificate, err = tls.X509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(pg.Dir(), "pgdata")
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	for name, text := range map[string][]byte{
		"server.crt": cert, "server.key": key,
		"pg_hba.conf": []byte("host all postgres,trusted 127.0.0.1/32 trust\nhost replication trusted 127.0.0.1/32 trust\n" +
			"host all md5 127.0.0.1/32 md5\nhost all scram 127.0.0.1/32 scram-sha-256\nhost all clear 127.0.0.1/32 password\n"),
	} {
		name = filepath.Join(data, name)
		if err := errors.Join(os.WriteFile(name, text, 0o600), os.Chown(name, int(owner.Uid), int(owner.Gid))); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, pg.AdminURL(), "simple_protocol")
	for _, user := range []string{"md5", "scram", "clear", "trusted"} {
		how := "scram-sha-256"
		if user == "md5" {
			how = user
		}
		exec(t, c, fmt.Sprintf("set password_encryption = '%s'; create role %s login replication password '%s'", how, user, secret(user)))
	}
	exec(t, c, "alter system set ssl = on")
	exec(t, c, "select pg_reload_conf()")
	eventually(t, "the server has TLS", func() bool {
		c, err := pgconn.Connect(t.Context(), s.url("postgres", "", "require"))
		return err == nil && c.Close(t.Context()) == nil
	})
	return s
}

func (s *secured) url(user, password, sslmode string) string {
	return urlFor(fmt.Sprintf("127.0.0.1:%d", s.port), user, password, sslmode)
}

func urlFor(addr, user, password, sslmode string) string {
	u := url.URL{Scheme: "postgres", Host: addr, User: url.UserPassword(user, password), Path: "/postgres", RawQuery: "sslmode=" + sslmode}
	return u.String()
}

// guarded runs a pooler in front of it. At the test's end no password may be in
// its log and report, and every server connection must be idle in a pool.
func (s *secured) guarded(t *testing.T, cfg Config) (p *Pooler, addr string) {
	t.Helper()
	var mu sync.Mutex
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, pooled := StartWith(t, cfg)
	t.Cleanup(func() {
		eventually(t, "no session is left, and every server connection is idle", func() bool { sessions, backends, idle := p.counts(); return sessions == 0 && backends == idle })
		if _, backends, _ := p.counts(); cfg.Observe && backends != 0 {
			t.Errorf("%d server connections are left", backends)
		}
		report, err := json.Marshal(p.Report())
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if said := log.String() + string(report); strings.Contains(said, "-secret") || strings.Contains(said, "wrong-password") {
			t.Errorf("a password is in %s", said)
		}
	})
	u, err := url.Parse(pooled)
	if err != nil {
		t.Fatal(err)
	}
	return p, u.Host
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

var _ io.Writer = writerFunc(nil)

// The server judges each client's own password, however it asks for it, each
// time. Another client's login helps nobody. A client that the server does not
// ask, or that has no password of its own, needs the pooler's.
func TestPasswords(t *testing.T) {
	s := newSecured(t)
	const ours = "wrong-password to the server" // guarded looks for it in log and report
	for _, tls := range []string{"disable", "require"} {
		for form, cfg := range forms {
			for _, given := range []string{"", ours} {
				t.Run(fmt.Sprintf("%s, upstream TLS %s, own password %v", form, tls, given != ""), func(t *testing.T) {
					cfg.Upstream, cfg.Password = s.url("scram", secret("scram"), tls), given
					p, addr := s.guarded(t, cfg)
					p.cfg.Password = given // and not one that was made up
					try := func(user, password, more string, want string) {
						t.Helper()
						c, err := pgconn.Connect(t.Context(), urlFor(addr, user, password, "disable")+more)
						code := ""
						if err == nil && more == "" {
							var results []*pgconn.Result
							if results, err = c.Exec(t.Context(), "select current_user").ReadAll(); err == nil && string(results[0].Rows[0][0]) != user {
								t.Errorf("%s is %s", user, results[0].Rows[0][0])
							}
						}
						if err == nil {
							err = c.Close(t.Context())
						}
						if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
							code = pg.Code
							err = nil
						}
						if err != nil || code != want {
							t.Errorf("%s with %q%s: %v, %s, want %q", user, password, more, err, code, want)
						}
					}
					for _, user := range []string{"md5", "scram", "clear"} {
						for _, right := range []bool{false, true, true, false} {
							password, want := "wrong-password", "28P01"
							if right {
								password, want = secret(user), ""
							}
							try(user, password, "", want)
						}
					}
					lent := "28P01" // the identity of the upstream's user, to who knows the pooler's password
					if given != "" && !cfg.Observe {
						lent = ""
					}
					try("scram", ours, "", lent)
					try("md5", ours, "", "28P01")
					trusted := "28P01"
					if given != "" {
						trusted = ""
					}
					for _, more := range []string{"", "&replication=database"} {
						if more != "" && !cfg.Observe {
							continue
						}
						try("trusted", "wrong-password", more, "28P01")
						try("trusted", ours, more, trusted)
						try("trusted", "", more, "28P01") // what let another in is not lent
						try("trusted", secret("trusted"), more, "28P01")
						try("trusted", ours, more, trusted)
					}
				})
			}
		}
	}
}

// SCRAM that is bound to the TLS connection works if client and server see one
// certificate. If they see two, or only the server has TLS, it is not offered;
// libpq then suspects an attack, and its user reads what to do.
func TestChannelBinding(t *testing.T) {
	s := newSecured(t)
	cert, key := pgtest.Certificate(t)
	another, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	psql := func(addr, sslmode, binding string) (string, error) {
		cmd := osexec.CommandContext(t.Context(), "psql", "-X", "-A", "-t", "-c", "select current_user", urlFor(addr, "scram", secret("scram"), sslmode)+"&channel_binding="+binding) //nolint:gosec // our own
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	for _, tc := range []struct {
		name             string
		ours             *tls.Certificate
		sslmode, binding string
		refused          string // what an observed client is told
	}{
		{"a client without TLS", nil, "disable", "prefer", ""},
		{"the server's certificate", &s.certificate, "require", "require", ""},
		{"the server's certificate, unbound", &s.certificate, "require", "disable", ""},
		{"another certificate", &another, "require", "prefer", "channel_binding=disable"},
		{"another certificate, unbound", &another, "require", "disable", ""},
		{"another certificate, bound", &another, "require", "require", "channel binding"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Observe: true, Upstream: s.url("scram", secret("scram"), "require")}
			if tc.ours != nil {
				cfg.TLS = &tls.Config{Certificates: []tls.Certificate{*tc.ours}, MinVersion: tls.VersionTLS12}
			}
			_, addr := s.guarded(t, cfg)
			out, err := psql(addr, tc.sslmode, tc.binding)
			if tc.refused == "" && (err != nil || out != "scram") || tc.refused != "" && (err == nil || !strings.Contains(out, tc.refused)) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

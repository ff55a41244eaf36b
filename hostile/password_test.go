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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// secured is a server that asks for passwords, each user in another way, and
// speaks TLS. A user's password is the name and "-secret".
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

// guarded runs a pooler before it whose log and report, at the test's end, hold
// no password; and when its clients have gone no server connection is left that
// is not idle in a pool.
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

// Clients are let in by the server's judgement of their own password, however it
// asks for it, each time; what somebody else got in with helps nobody.
func TestPasswords(t *testing.T) {
	s := newSecured(t)
	for _, tls := range []string{"disable", "require"} {
		for name, cfg := range map[string]Config{"strict": {}, "strict, for others": {Passwords: true}, "observe": {Observe: true}, "observe, for others": {Observe: true, Passwords: true}} {
			t.Run(name+", upstream TLS "+tls, func(t *testing.T) {
				cfg.Upstream = s.url("scram", secret("scram"), tls)
				_, addr := s.guarded(t, cfg)
				for _, user := range []string{"md5", "scram", "clear"} {
					own := user == "scram" && !cfg.Observe && !cfg.Passwords // it needs none
					for _, right := range []bool{false, true, true, false} {
						password := "wrong-password"
						if right {
							password = secret(user)
						}
						c, err := pgx.Connect(t.Context(), urlFor(addr, user, password, "disable")+"&default_query_exec_mode=exec")
						pg, refused := errors.AsType[*pgconn.PgError](err)
						switch {
						case right || own:
							var me string
							if err == nil {
								err = errors.Join(c.QueryRow(t.Context(), "select current_user").Scan(&me), c.Close(t.Context()))
							}
							if err != nil || me != user {
								t.Errorf("%s: %q, %v", user, me, err)
							}
						case !refused || pg.Code != "28P01":
							t.Errorf("%s with another password: %v", user, err)
						}
					}
				}
				trusted := []string{""}
				if cfg.Observe {
					trusted = append(trusted, "&replication=database")
				}
				for _, more := range trusted {
					c, err := pgconn.Connect(t.Context(), urlFor(addr, "trusted", "wrong-password", "disable")+more)
					if err == nil {
						err = c.Close(t.Context())
					}
					pg, refused := errors.AsType[*pgconn.PgError](err)
					if cfg.Passwords != (refused && pg.Code == "28000") || !cfg.Passwords && err != nil {
						t.Errorf("a user whom the server trusts%s: %v", more, err)
					}
				}
			})
		}
	}
}

// SCRAM bound to the TLS connection goes through where client and server see one
// certificate. Where they see two, or only the server has TLS, it is not offered;
// and libpq, which then suspects an attack, is told what to do.
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

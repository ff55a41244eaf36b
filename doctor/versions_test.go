//go:build unix

package doctor_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestVersions: on each major version of PostgreSQL the doctor says what keeps it out and what to do next, is silent where
// nothing is wrong, finds what is, and knows what is left on a server connection. In the soak 14 to 18, else the newest.
func TestVersions(t *testing.T) {
	majors := pgtest.Pick([]int{18}, []int{14, 15, 16, 17, 18})
	for _, major := range majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			server := pgtest.PrivateServerOf(t, major, "hostssl all tls_only 127.0.0.1/32 trust\nhost all doctor_login 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 scram-sha-256\n", nil) //nolint:dupword // the file's columns
			at := func(user, password, more string) string {
				u, err := url.Parse(server.URL("postgres", "postgres"))
				if err != nil {
					t.Fatal(err)
				}
				u.User, u.RawQuery = url.UserPassword(user, password), more
				return u.String()
			}
			say(t, server.URL("postgres", "postgres"), "create role app login password 'another'; create role tls_only login; create role doctor_login login; alter role doctor_login set idle_in_transaction_session_timeout = '60s'; "+
				policies+"create view v with (security_barrier) as select * from docs; grant select on v to doctor_login")
			direct := at("doctor_login", "", "sslmode=disable")
			binary, err := devdb.FindPgBouncer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			bouncer, err := devdb.StartPgBouncer(t.Context(), devdb.PgBouncerConfig{Binary: binary, Dir: filepath.Join(filepath.Dir(server.Dir()), "bouncer"), Mode: "transaction", Upstream: server})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := bouncer.Stop(); err != nil {
					t.Error(err)
				}
			}()
			if err := bouncer.AddUsers(t.Context(), map[string]string{"doctor_login": ""}); err != nil {
				t.Fatal(err)
			}
			pooled := strings.Replace(direct, fmt.Sprintf(":%d/", server.Port()), fmt.Sprintf(":%d/", bouncer.Port()), 1)
			closed := listen(t)
			_ = closed.Close()

			look := func(url string) *doctor.Report {
				t.Helper()
				began := time.Now()
				r := doctor.Examine(t.Context(), doctor.Config{URL: url})
				if took := time.Since(began); took > 2*doctor.Budget { // the machine may be busy
					t.Errorf("it took %v: %s", took, r.Verdict)
				}
				return r
			}
			refused := func(url, verdict, hint string) {
				t.Helper()
				if r := look(url); r.Reached || !strings.Contains(r.Verdict, verdict) || !strings.Contains(r.Checks[0].Hint, hint) {
					t.Errorf("%q, %q", r.Verdict, r.Checks[0].Hint)
				}
			}
			refused("postgres://app@localhost:port/app", "cannot be read", "%40")
			refused("postgres://app@"+closed.Addr().String()+"/app", "nothing listens", "start the server")
			refused(at("app", "wrong", "sslmode=disable"), "password authentication failed", "password")
			refused(at("tls_only", "", "sslmode=disable"), "no encryption", "sslmode=require")

			// A view of 14 has no security_invoker, and the one here goes around the policies on each version.
			for _, way := range []string{direct, pooled} {
				r := doctor.Examine(t.Context(), doctor.Config{URL: way, Within: inTests})
				got := slices.DeleteFunc(strings.Fields(findings(r)), func(c string) bool { return c == string(doctor.ServerVersion) })
				if strings.Join(got, " ") != "PD013" || !strings.HasPrefix(r.ServerVersion, strconv.Itoa(major)+".") {
					t.Errorf("found %q on %s: %s", got, r.ServerVersion, r.Verdict)
				}
			}
			want := left
			if major < 15 { // its generator is another one
				want = slices.DeleteFunc(slices.Clone(left), func(o string) bool { return strings.HasPrefix(o, "PD033") })
			}
			say(t, pooled, leaves)
			r := doctor.Audit(t.Context(), doctor.Config{URL: pooled, Within: inTests})
			if got := objects(r); !slices.Equal(got, want) {
				t.Errorf("left: %q, want %q: %s", got, want, text(t, r))
			}
			clean(t, direct, r)

			if len(majors) > 1 { // it takes the doctor all the time that it has
				var holders []*pgx.Conn
				for range 2 { // as many as the pool has
					conn, err := pgx.Connect(t.Context(), pooled)
					if err != nil {
						t.Fatal(err)
					}
					holders = append(holders, conn)
					if _, err := conn.Exec(t.Context(), "begin; select 1"); err != nil {
						t.Fatal(err)
					}
				}
				refused(pooled, "gives no answer within", "pg_stat_activity")
				for _, conn := range holders {
					_ = conn.Close(t.Context())
				}
			}

			if err := server.Halt(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(server.Dir(), "pgdata", "standby.signal"), nil, 0o644); err != nil { //nolint:gosec // the server's account reads it
				t.Fatal(err)
			}
			if err := server.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if c := check(look(direct), doctor.ReadOnly); c.Status != doctor.Warn || !strings.Contains(c.Detail, "replica") || !strings.Contains(c.Hint, "primary") {
				t.Errorf("a replica: %+v", c)
			}
		})
	}
}

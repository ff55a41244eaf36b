//go:build unix

package doctor_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestRoles looks at one sound schema as roles that the policies do not bind, and others; and at servers that a fleet does
// not fit. Whatever is wrong, the sound role beside it is healthy.
func TestRoles(t *testing.T) {
	base := app(t, sound+`
		do $$ begin
			execute 'drop role if exists doctor_bypass'; execute 'drop role if exists doctor_off'; execute 'drop role if exists doctor_idle';
		end $$;
		create role doctor_bypass login bypassrls in role doctor_login; alter role doctor_bypass set idle_in_transaction_session_timeout = '60s';
		create role doctor_off login in role doctor_login; alter role doctor_off set row_security = off; alter role doctor_off set idle_in_transaction_session_timeout = '60s';
		create role doctor_idle login in role doctor_login;`)
	owned := app(t, sound+"grant all on schema public to doctor_login; alter table docs owner to doctor_login;")
	as := func(raw, user string) string {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.User(user)
		return u.String()
	}
	stats := func(settings map[string]string) string {
		settings["stats_users"] = login
		pooled, _ := pgtest.PrivatePooler(t, base, pgtest.PgBouncer124Transaction, settings)
		return pooled
	}
	roomy, narrow := stats(map[string]string{"max_client_conn": "1000", "default_pool_size": "10"}), stats(map[string]string{"max_client_conn": "50", "default_pool_size": "500"})
	for _, tt := range []struct {
		name, want, says string
		cfg              doctor.Config
	}{
		{"sound", "", "", doctor.Config{URL: base}},
		{"superuser", "PD001 PD019 PD021", "nosuperuser", doctor.Config{URL: as(base, "postgres")}},
		{"BYPASSRLS", "PD002 PD019", "nobypassrls", doctor.Config{URL: as(base, "doctor_bypass")}},
		{"a login that takes on a sound role", "", "", doctor.Config{URL: as(base, "doctor_bypass"), Role: login}},
		{"owner", "PD003", "alter table public.docs owner to", doctor.Config{URL: owned}},
		{"row_security off", "PD017", "reset row_security", doctor.Config{URL: as(base, "doctor_off")}},
		{"no timeout", "PD021", "set idle_in_transaction_session_timeout", doctor.Config{URL: as(base, "doctor_idle")}},
		{"fleet, directly, too many", "PD022", "max_connections", doctor.Config{URL: base, Instances: 50, PoolSize: 20}},
		{"fleet, directly, it fits", "", "", doctor.Config{URL: base, Instances: 2, PoolSize: 2}},
		{"fleet, pooled, it fits", "", "", doctor.Config{URL: roomy, Instances: 45, PoolSize: 20}},
		{"fleet, more clients than the pooler takes, and a pool larger than the server", "PD022 PD022", "max_client_conn = 121", doctor.Config{URL: narrow, Instances: 5, PoolSize: 20}}, //nolint:dupword // found twice
		{"fleet, a pooler that does not say", "", "", doctor.Config{URL: pgtest.Pooled(t, base, pgtest.PgBouncer118Transaction), Instances: 5, PoolSize: 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Fast, tt.cfg.Within = true, inTests
			r := doctor.Examine(t.Context(), tt.cfg)
			if got := findings(r); got != tt.want || !r.Reached {
				t.Errorf("found %q, want %q: %s %+v", got, tt.want, r.Verdict, r.Checks)
			}
			hints := ""
			for _, c := range r.Checks {
				if c.Status != doctor.OK {
					hints += c.Object + " " + c.Detail + " " + c.Hint + "\n"
				}
			}
			if !strings.Contains(hints, tt.says) {
				t.Errorf("%q is not said: %s", tt.says, hints)
			}
			if fleet := check(r, doctor.Fleet); strings.Contains(tt.name, "does not say") != (fleet.Status == doctor.Skip && tt.cfg.Instances > 0) {
				t.Errorf("%+v", fleet)
			}
		})
	}
}

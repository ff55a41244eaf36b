//go:build unix

package doctor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/pooler"
)

// TestFastIsLittleWork bounds what --fast asks before a program starts, by connections and round trips, however many tables
// there are: within a second on a slow network, too. It finds what the full look finds, and says what it left out.
func TestFastIsLittleWork(t *testing.T) {
	var many strings.Builder
	many.WriteString(sound)
	for i := range 60 {
		fmt.Fprintf(&many, `create table t%d (like docs including all); alter table t%d enable row level security; alter table t%d force row level security;
			grant select on t%d to %s; create policy tenant on t%d using (%s);`, i, i, i, i, login, i, is)
	}
	many.WriteString("create table open (tenant_id uuid primary key); insert into open select gen_random_uuid(); grant select on open to " + login)
	url := app(t, many.String())
	for kind, most := range map[pgtest.Kind]int{pgtest.PgBouncer118Transaction: 30, pgtest.PgBouncer118Statement: 30, pgtest.PgBouncer118Session: 60} { // that nobody is moved takes longest
		t.Run(kind.String(), func(t *testing.T) {
			tapped, said := pgtest.Tap(t, pgtest.Pooled(t, url, kind))
			r := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: tapped, Fast: true})
			var connections, trips int
			for _, line := range said() {
				switch {
				case line == "< R 8": // AuthenticationOk
					connections++
				case strings.HasPrefix(line, "> S "), strings.HasPrefix(line, "> Q "):
					trips++
				}
			}
			if connections == 0 || connections > 4 || trips == 0 || trips > most {
				t.Errorf("%d connections and %d round trips, want 4 and %d at most", connections, trips, most)
			}
			if found := findings(r); found != "PD004 PD019" || !strings.Contains(detail(r, doctor.Trial), "62 of 62 tenant tables tried") {
				t.Errorf("found %s: %+v", found, r.Checks)
			}
			if r.Pooler.Kind != pooler.UnknownKind || !strings.HasSuffix(r.Verdict, "; not looked at: the pooler's kind, version and known faults, what works through it") {
				t.Errorf("it does not say what it left out: %s", r.Verdict)
			}
		})
	}
	if r := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: pgtest.Pooled(t, url, pgtest.PgBouncer118Transaction)}); len(r.NotLookedAt) > 0 || findings(r) != "PD004 PD019" {
		t.Errorf("a full look: %s, left out %q", r.Verdict, r.NotLookedAt)
	}
}

// detail is what a check says beyond its title.
func detail(r *doctor.Report, code doctor.Code) string {
	for _, c := range r.Checks {
		if c.ID == code {
			return c.Detail
		}
	}
	return ""
}

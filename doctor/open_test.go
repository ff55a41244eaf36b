//go:build unix

package doctor_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/pooler"
)

// TestExamineDB: over an open database the report has what a fast look by URL has, in whatever way scopes travel, and nothing is left
// behind. Its own setting is the one that policies should read.
func TestExamineDB(t *testing.T) {
	sane := app(t, sound)
	faulty := app(t, sound+`
		create table off (like docs including all); insert into off select gen_random_uuid(), 1; grant select on off to doctor_login;
		create table unforced (like docs including all); alter table unforced enable row level security; grant select on unforced to doctor_login; create policy tenant on unforced using (`+is+`);
		create table other (like docs including all); alter table other enable row level security; alter table other force row level security; grant select on other to doctor_login;
		create policy tenant on other using (tenant_id = (select nullif(current_setting('app.other', true), '')::uuid));
		create table open (like docs including all); alter table open enable row level security; alter table open force row level security; grant select on open to doctor_login;
		create policy tenant on open using (`+is+`); create policy everybody on open using (true);
		create view around as select * from docs; grant select on around to doctor_login;`)
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement, pgtest.Pgpool43} {
		t.Run(kind.String(), func(t *testing.T) {
			for _, tt := range []struct{ url, want string }{{sane, ""}, {faulty, "PD004 PD005 PD007 PD008 PD013 PD019"}} {
				db, err := poolproof.Open(t.Context(), poolproof.Config{URL: pgtest.Pooled(t, tt.url, kind), TenantSetting: "app.t", Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				r, err := doctor.ExamineDB(t.Context(), db)
				if err != nil {
					t.Fatal(err)
				}
				fast := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: pgtest.Pooled(t, tt.url, kind), TenantSetting: "app.t", Fast: true})
				found := strings.Fields(findings(r))
				slices.Sort(found)
				if got := strings.Join(slices.Compact(found), " "); got != tt.want || findings(fast) != findings(r) {
					t.Errorf("found %s, by URL %s, want %s: %s", findings(r), findings(fast), tt.want, r.Verdict)
				}
				if r.Role != login || r.TenantSetting != "app.t" || !slices.Equal(r.TenantTables, fast.TenantTables) || !r.Reached {
					t.Errorf("%+v, by URL %+v", r, fast)
				}
				if kind != pgtest.Direct && len(r.NotLookedAt) == 0 || r.Pooler.Mode != db.Report().Mode {
					t.Errorf("between: %+v, left out %q", r.Pooler, r.NotLookedAt)
				}
				agrees(t, db, r)
				if kind == pgtest.PgBouncer118Statement { // the look for what is left needs a transaction
					continue
				}
				if left := pgtest.LeftoversInAMoment(t, pgtest.Pooled(t, tt.url, kind)); left != "" {
					t.Errorf("left behind: %s", left)
				}
			}
		})
	}
	if r, err := doctor.ExamineDB(t.Context(), closed(t, sane)); err == nil {
		t.Errorf("of a database that was closed: %s", r.Verdict)
	}
	none, err := poolproof.Open(t.Context(), poolproof.Config{URL: sane, Logger: slog.New(slog.DiscardHandler)}) // whose setting no policy reads
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if r, err := doctor.ExamineDB(t.Context(), none); err != nil || findings(r) != "PD008" || r.Pooler.Kind != pooler.NoPooler {
		t.Errorf("another setting: %v, %s", err, findings(r))
	}
}

func closed(t *testing.T, url string) *poolproof.DB {
	t.Helper()
	db, err := poolproof.Open(t.Context(), poolproof.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	return db
}

// agrees holds what the library's own Check says to the doctor's words: code, severity and consequence.
func agrees(t *testing.T, db *poolproof.DB, r *doctor.Report) {
	t.Helper()
	found, err := db.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found.Problems {
		i := slices.IndexFunc(r.Checks, func(c doctor.Check) bool { return string(c.ID) == p.Code && (strings.HasSuffix(c.Object, p.Table)) })
		if i < 0 && p.Code == "PD005" && slices.ContainsFunc(found.Problems, func(o poolproof.Problem) bool { return o.Code == "PD004" && o.Table == p.Table }) {
			continue // the doctor says it once that policies are off
		}
		if i < 0 {
			t.Errorf("the doctor does not find %+v", p)
			continue
		}
		if c := r.Checks[i]; string(c.Status) != p.Severity || c.Consequence != p.Why || p.Hint == "" {
			t.Errorf("Check has %+v, the doctor %+v", p, c)
		}
	}
	if len(found.Problems) == 0 && r.Worst() != doctor.OK && findings(r) != "PD013" {
		t.Errorf("Check finds nothing, the doctor %s", findings(r))
	}
}

package checkup

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/pooler"
)

// looked is a report with a mode, findings and what works through the pooler.
func looked(mode pooler.Mode, through map[pooler.Name]pooler.Value, checks ...doctor.Check) *doctor.Report {
	r := &doctor.Report{Verdict: "…", ServerVersion: "15.18", Role: "app", Pooler: pooler.Fingerprint{Kind: pooler.PgBouncer, Mode: mode, VersionMax: "1.19.1"}, Through: map[pooler.Name]pooler.Capability{}}
	for name, value := range through {
		r.Through[name] = pooler.Capability{Value: value}
	}
	had := map[doctor.Code]bool{}
	for _, c := range checks {
		had[c.ID] = true
	}
	for _, code := range doctor.Codes() {
		if !had[code] {
			checks = append(checks, doctor.Check{ID: code, Status: doctor.OK})
		}
	}
	r.Checks = checks
	return r
}

// TestOnlyWhatChanged: a look is compared with what is known, whatever look it is known from; what was not looked at has not
// changed, and a finding is new once.
func TestOnlyWhatChanged(t *testing.T) {
	slow := doctor.Check{ID: doctor.NoTimeout, Status: doctor.Warn, Object: "app"}
	open := doctor.Check{ID: doctor.RLSOff, Status: doctor.Fail, Object: "public.notes", Title: "row-level security is off"}
	other := doctor.Check{ID: doctor.RLSOff, Status: doctor.Fail, Object: "public.others"}
	option := doctor.Check{ID: doctor.BadOption, Status: doctor.Warn, Object: "pgbouncer"}
	works, leaks := map[pooler.Name]pooler.Value{pooler.NamedStatements: pooler.Works}, map[pooler.Name]pooler.Value{pooler.NamedStatements: pooler.Leaks}
	unclear := map[pooler.Name]pooler.Value{pooler.NamedStatements: pooler.Unclear, pooler.Cancel: pooler.Lost}
	fast := looked(pooler.Session, nil, slow, doctor.Check{ID: doctor.BadOption, Status: doctor.Skip})
	fast.Pooler.Kind, fast.Pooler.VersionMax = pooler.UnknownKind, ""

	var record Record
	if last := record.Last(); last.Status != "unknown" || last.At != nil || last.Findings == nil || last.Public().Verdict != "unknown" {
		t.Errorf("before the first look: %+v", last)
	}
	for i, step := range []struct {
		found   *doctor.Report
		changes string
		fresh   string
		public  string // codes, and what changed
	}{
		{fast, "", "PD021", `["PD021"] []`},
		{looked(pooler.Session, works, slow, option), "", "PD024", `["PD021","PD024"] []`}, // the URL was not looked at before
		{looked(pooler.Session, works, slow, option), "", "", `["PD021","PD024"] []`},
		{looked(pooler.Unknown, unclear, slow, option), "", "", `["PD021","PD024"] []`},
		{looked(pooler.Transaction, leaks, slow, option), "pooler.mode: session → transaction; through.named_statements: works → leaks", "", `["PD021","PD024"] [{"what":"pooler.mode","before":"session","after":"transaction"}]`},
		{looked(pooler.Transaction, unclear, option), "PD021 app: warn → ok", "", `["PD024"] [{"what":"PD021","before":"warn","after":"ok"}]`},
		{looked(pooler.Transaction, leaks, option, open, other), "PD004 public.notes: ok → fail; PD004 public.others: ok → fail", "PD004, PD004", `["PD004","PD024"] [{"what":"PD004","before":"ok","after":"fail"}]`},
		{looked(pooler.Transaction, leaks, option, open, other), "", "", `["PD004","PD024"] [{"what":"PD004","before":"ok","after":"fail"}]`}, // it still says what changed last
	} {
		changes, fresh := record.Note(step.found, time.Unix(int64(i), 0))
		codes := make([]string, len(fresh))
		for n, f := range fresh {
			codes[n] = string(f.Code)
		}
		if got := describe(changes); got != step.changes || strings.Join(codes, ", ") != step.fresh {
			t.Errorf("look %d: changed %q, new %q; want %q and %q", i, got, codes, step.changes, step.fresh)
		}
		public, err := json.Marshal(record.Last().Public())
		if err != nil {
			t.Fatal(err)
		}
		raw := strings.NewReplacer(`"codes":`, "", `,"changed":`, " ").Replace(string(public))
		if _, rest, _ := strings.Cut(raw, ","); strings.TrimSuffix(rest, "}") != step.public {
			t.Errorf("look %d: everybody sees %s, want %s", i, public, step.public)
		}
		for _, secret := range []string{"app", "public.", "pgbouncer", "1.19", "named_statements", "15.18"} {
			if strings.Contains(string(public), secret) {
				t.Errorf("look %d: everybody sees %q: %s", i, secret, public)
			}
		}
	}
	last := record.Last()
	if last.Status != doctor.Fail || last.Findings[0].Code != doctor.RLSOff || last.Pooler.Version != "1.19.1 or earlier" || last.ChangedAt.Unix() != 6 || last.At.Unix() != 7 {
		t.Errorf("the last report: %+v", last)
	}
	// A change of what Open chose by, and no other, asks for another Open.
	for text, want := range map[string]bool{"pooler.mode": true, "pooler.kind": true, "through.named_statements": true, "through.implicit_scope": true, "pooler.version": false, "through.listen": false, "PD021 app": false} {
		if got := asksForReopening([]Change{{What: text}}); got != want {
			t.Errorf("%s: reopen %v", text, got)
		}
	}
}

// TestWhatRefuses: measured faults of isolation do, and nothing else.
func TestWhatRefuses(t *testing.T) {
	refuse := strings.Fields("PD001 PD002 PD003 PD004 PD005 PD006 PD007 PD008 PD013 PD014 PD015 PD019")
	for _, code := range doctor.Codes() {
		for _, status := range []doctor.Status{doctor.Fail, doctor.Warn, doctor.OK, doctor.Skip} {
			for _, basis := range []doctor.Basis{doctor.Measured, doctor.Inferred, doctor.Documented, doctor.NotLookedAt} {
				err := fault(looked(pooler.Transaction, nil, doctor.Check{ID: code, Status: status, Basis: basis, Object: "public.notes", Hint: "mend it"}))
				wrong := status == doctor.Fail || status == doctor.Warn
				if want := wrong && basis == doctor.Measured && slices.Contains(refuse, string(code)); (err != nil) != want {
					t.Errorf("%s %s %s: %v", code, status, basis, err)
				}
			}
		}
	}
}

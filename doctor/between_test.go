//go:build unix

package doctor_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/pooler"
)

// inTests is enough for a machine that is busy with other things.
const inTests = 50 * time.Second

// TestWhatStandsBetween holds kind, mode, version and what they rest on to what was started, and the recipe of
// a driver to what was measured.
func TestWhatStandsBetween(t *testing.T) {
	const off, on = "statement_cache_size=0", "leave the driver's statement cache as it is"
	url := app(t, sound)
	for _, tt := range []struct {
		kind      pgtest.Kind
		is        string
		mode      pooler.Mode
		says      string // the whole fingerprint
		kindBasis pooler.Basis
		modeBasis pooler.Basis
		broken    string // a line of what does not work
		asyncpg   string // its recipe
	}{
		{pgtest.Direct, "none", pooler.None, "no pooler", pooler.Measured, pooler.Measured, "refused [measured]: tls, channel_binding", on},
		{pgtest.PgBouncer118Transaction, "pgbouncer", pooler.Transaction, "pgbouncer 1.19.1 or earlier in transaction mode", pooler.Measured, pooler.Measured, "leaks [measured]: named_statements", off},
		{pgtest.PgBouncer118Statement, "pgbouncer", pooler.Statement, "pgbouncer 1.19.1 or earlier in statement mode", pooler.Measured, pooler.Measured, "refused [measured]: transactions, ", off},
		{pgtest.PgBouncer118Session, "pgbouncer", pooler.Session, "pgbouncer 1.19.1 or earlier in session mode", pooler.Measured, pooler.Inferred, "refused [measured]: startup_parameter, startup_options, ", on},
		{pgtest.PgBouncer124Transaction, "pgbouncer", pooler.Transaction, "pgbouncer 1.21.0 or later in transaction mode", pooler.Measured, pooler.Measured, "wrong [measured]: unnamed_statement_across_sync", on},
		{pgtest.Odyssey15, "odyssey", pooler.Transaction, "odyssey in transaction mode", pooler.Measured, pooler.Measured, "ignored [measured]: startup_parameter, startup_options", on},
		{pgtest.Pgpool43, "pgpool", pooler.Session, "pgpool 4.3.5 in session mode", pooler.Measured, pooler.Inferred, "wrong [measured]: implicit_scope", on},
	} {
		t.Run(tt.kind.String(), func(t *testing.T) {
			r := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: pgtest.Pooled(t, url, tt.kind), Driver: "asyncpg"})
			p := r.Pooler
			if string(p.Kind) != tt.is || p.Mode != tt.mode || p.String() != tt.says || p.Why.Kind.Basis != tt.kindBasis || p.Why.Mode.Basis != tt.modeBasis || p.Why.Kind.Text == "" || p.Why.Mode.Text == "" {
				t.Errorf("found %q (%+v), want %s in mode %s, %q", p, p, tt.is, tt.mode, tt.says)
			}
			if len(r.Through) != len(pooler.Names) {
				t.Errorf("%d of %d capabilities", len(r.Through), len(pooler.Names))
			}
			if len(r.Recipes) == 0 || !strings.Contains(r.Recipes[0].Setting, tt.asyncpg) || r.Recipes[0].Reason == "" {
				t.Errorf("the settings of asyncpg: %+v, want %q", r.Recipes, tt.asyncpg)
			}
			if found := findings(r); found != "" {
				t.Errorf("a sound schema: %s", found)
			}
			var healthy, all, raw bytes.Buffer
			for _, err := range []error{r.Text(&healthy, false), r.Text(&all, true), r.JSON(&raw)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := healthy.String(); strings.Count(got, "\n") != 1+2*len(r.Recipes)+1 || !strings.HasPrefix(got, "healthy: ") || !strings.Contains(got, "1 of 1 tenant tables tried") {
				t.Errorf("a healthy report is the verdict and the settings that were asked for, but is:\n%s", got)
			}
			lines := strings.Split(strings.TrimSpace(all.String()), "\n")
			if lines[0] != lines[len(lines)-1] || !strings.HasPrefix(lines[0], "healthy: ") {
				t.Errorf("the verdict is not first and last:\n%s", all.String())
			}
			r.Checks[0].Status = doctor.Warn // whatever: so that there is more than the verdict
			var short bytes.Buffer
			if err := r.Text(&short, false); err != nil || !strings.Contains(short.String(), "\n      "+tt.broken) || !strings.Contains(short.String(), "\nbetween: "+tt.says+"\n") {
				t.Errorf("%v: the report lacks %q:\n%s", err, tt.broken, short.String())
			}
			var contract struct {
				Version int
				Verdict string
				Pooler  struct{ Kind, Mode, Version *string }
				Caps    map[string]bool `json:"capabilities"`
				Checks  []struct {
					ID, Status, Title, Basis string
					Detail, Hint             *string
				}
				Recipes []struct{ Driver, Setting, Reason string }
			}
			if err := json.Unmarshal(raw.Bytes(), &contract); err != nil {
				t.Fatal(err)
			}
			if c := contract; c.Version != 1 || c.Pooler.Kind == nil || c.Pooler.Version == nil || len(c.Caps) != len(pooler.Names) || len(c.Checks) != len(doctor.Codes()) || len(c.Recipes) != len(r.Recipes) {
				t.Errorf("the contract of DESIGN.md does not hold: %s", raw.String())
			}
			for _, c := range contract.Checks {
				if c.ID == "" || c.Title == "" || c.Basis == "" || c.Detail == nil || c.Hint == nil {
					t.Errorf("a check without what the contract names: %+v", c)
				}
			}
		})
	}
}

// TestKnownFaultsAreOfThatVersion: a fault is named for versions that have it, and for no other.
func TestKnownFaultsAreOfThatVersion(t *testing.T) {
	url := app(t, sound)
	ids := func(kind pgtest.Kind) string {
		var all []string
		for _, f := range doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: pgtest.Pooled(t, url, kind)}).KnownFaults {
			if f.Source == "" || f.Date == "" || f.Fix == "" {
				t.Errorf("no source, date or fix: %+v", f)
			}
			all = append(all, f.ID)
		}
		return strings.Join(all, " ")
	}
	if got := ids(pgtest.Direct); got != "" {
		t.Errorf("PostgreSQL itself: %s", got)
	}
	old, newer := ids(pgtest.PgBouncer118Transaction), ids(pgtest.PgBouncer124Transaction)
	for _, id := range []string{"several-syncs", "cancel-crash"} {
		if !strings.Contains(old, id) || strings.Contains(newer, id) {
			t.Errorf("%s: 1.18 has it and 1.24 has not, but found %q and %q", id, old, newer)
		}
	}
	if strings.Contains(old, "duplicate-negotiation") || !strings.Contains(newer, "CVE-2026-107350") {
		t.Errorf("found %q and %q", old, newer)
	}
}

// TestIntrusive measures what is inferred without it, and leaves nothing behind.
func TestIntrusive(t *testing.T) {
	pooled := pgtest.Pooled(t, app(t, sound), pgtest.PgBouncer118Transaction)
	if c := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: pooled}).Through[pooler.SettingSet]; c.Value != pooler.Leaks || c.Basis != pooler.Inferred {
		t.Errorf("without it: %+v", c)
	}
	r := doctor.Examine(t.Context(), doctor.Config{Within: inTests, URL: pooled, Intrusive: true})
	for _, name := range []pooler.Name{pooler.SettingSet, pooler.Listen, pooler.AdvisoryLocks, pooler.TempTables} {
		if c := r.Through[name]; c.Value != pooler.Leaks || c.Basis != pooler.Measured {
			t.Errorf("%s with --intrusive: %+v", name, c)
		}
	}
	if found := findings(r); found != "" || !r.Reached {
		t.Errorf("%s: %s", found, r.Verdict)
	}
}

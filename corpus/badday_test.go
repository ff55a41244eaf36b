package corpus

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/source"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// badDays are programs that a pooler's bad day meets: faulty forms, the faults
// that they take wrong, and what they say themselves of the harm; and correct
// forms, which all faults meet.
var badDays = []struct {
	row
	faults []hostile.FaultKind
	says   string
}{
	{row{program: "node/pg_badday.cjs", form: "leak", want: []string{"PP024"}}, []hostile.FaultKind{hostile.FaultBegin}, `wrong: \d+ clients were never given back`},
	{row{program: "node/pg_badday.cjs", form: "goes-on", want: []string{"PP025"}}, []hostile.FaultKind{hostile.FaultBegin}, `wrong: \d+ halves of a transaction`},
	{row{program: "node/pg_badday.cjs", form: "correct"}, nil, ""},
	// drizzle-orm's issue 6241: its pool is used up, and the program stands still.
	{row{program: "node/drizzle_badday.cjs", form: "transaction", want: []string{"PP024"}, fix: "drizzle(client).transaction"}, []hostile.FaultKind{hostile.FaultBegin}, `wrong: the pool is used up: of 2 clients 0 are free`},
	{row{program: "node/drizzle_badday.cjs", form: "correct"}, nil, ""},
	{row{program: "python/psycopg_badday.py", form: "twice", want: []string{"PP026"}}, []hostile.FaultKind{hostile.FaultAnswer}, `wrong: \d+ payments twice`},
	{row{program: "python/psycopg_badday.py", form: "job", want: []string{"PP027 job"}}, []hostile.FaultKind{hostile.FaultAnswer}, `wrong: \d+ jobs were never done`},
	{row{program: "python/psycopg_badday.py", form: "correct"}, nil, ""},
}

// Real programs on a bad day: what takes it wrong is found, and suffers what
// the finding says; what takes it right is not accused.
func TestBadDays(t *testing.T) {
	rounds := pgtest.Pick(1, 20)
	for _, r := range badDays {
		t.Run(r.program+" "+r.form, func(t *testing.T) {
			t.Parallel()
			for round := range rounds {
				direct := database(t)
				seed := uint64(1)
				if len(r.want) == 0 { // nothing is found, whatever the seed
					seed = uint64(1 + round)
				}
				p, pooled := pooler(t, hostile.Config{Upstream: direct, Faults: &hostile.Faults{Seed: seed, Kinds: r.faults}})
				calls, err := source.New()
				if err != nil {
					t.Fatal(err)
				}
				ran := execute(t, r.program, r.form, pooled, direct, calls.Environ(nil)...)
				p.Finish()
				report := p.Report()
				if err := errors.Join(calls.Locate(&report, "."), calls.Close()); err != nil {
					t.Error(err)
				}
				var found []string
				for _, f := range report.Findings {
					found = append(found, strings.TrimSpace(string(f.Code)+" "+f.Subject))
				}
				if !slices.Equal(found, r.want) {
					t.Errorf("found %q, want %q", found, r.want)
				}
				if (ran.exit != 0) != (len(r.want) > 0) || ran.hung || !regexp.MustCompile(r.says).MatchString(ran.output) {
					t.Errorf("it exits with %d, and says %q", ran.exit, ran.output)
				}
				if len(report.Findings) > 0 && !strings.Contains(report.Findings[0].Fix, r.fix) {
					t.Errorf("the fix is %q, want %q in it", report.Findings[0].Fix, r.fix)
				}
				r.advises(t, report.Findings)
				if t.Failed() {
					t.Fatal(report.BadDay)
				}
				t.Log(report.BadDay)
			}
		})
	}
}

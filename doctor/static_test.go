//go:build unix

package doctor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/doctor"
)

// TestStaticResults: what pgrls says of an object is shown once, and changes neither the verdict nor what counts.
func TestStaticResults(t *testing.T) {
	r := &doctor.Report{Version: 1, Reached: true, Verdict: "1 fault", Checks: []doctor.Check{{ID: doctor.RLSOff, Status: doctor.Fail, Title: "row-level security is off", Object: "public.notes"}}}
	result := func(rule, object string) string {
		return fmt.Sprintf(`{"ruleId":%q,"level":"error","message":{"text":"said of %s"},"locations":[{"logicalLocations":[{"fullyQualifiedName":%q}]}]}`, rule, object, object)
	}
	log := `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"pgrls"}},"results":[` + result("SEC001", "public.notes") + "," + result("SEC001", "public.others") + "," + result("SEC007", "public.notes") + `]}]}`
	if err := r.AddSARIF(strings.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	if len(r.Static) != 3 || r.Static[0].Same != doctor.RLSOff || r.Static[1].Same != "" || r.Static[2].Same != "" || r.Worst() != doctor.Fail {
		t.Errorf("%+v", r.Static)
	}
	out := text(t, r)
	if strings.Contains(out, "said of public.notes\n      as") || strings.Count(out, "said of public.notes") != 1 || !strings.Contains(out, "pgrls SEC001 error: public.others [static]") || !strings.Contains(out, "of the linter's 3 results 1 are findings above") {
		t.Errorf("%s", out)
	}
	for _, bad := range []string{"", "no JSON", `{"version":"1.0"}`} {
		if err := r.AddSARIF(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

package hostile

import (
	"strings"
	"testing"
)

// A finding's timeline ends with the message that is at fault, and shows where
// the statement was made.
func TestTimeline(t *testing.T) {
	for mode, want := range map[string][2]string{
		"cache_statement": {"Parse stmtcache_", "Bind stmtcache_"},
		"describe_exec":   {"Parse unnamed: select $1::int", "Bind unnamed: select $1::int"},
	} {
		p, url, _ := testPooler(t, Config{})
		c := connect(t, url, mode)
		for i := range 2 {
			_, _ = c.Exec(t.Context(), "select $1::int", i) // fails, as it would
		}
		findings := p.Report().Findings
		if len(findings) == 0 {
			t.Fatalf("%s: %+v", mode, findings)
		}
		trace := findings[0].First.Trace
		last := trace[len(trace)-1]
		made := -1
		for i, s := range trace {
			if strings.HasPrefix(s.What, want[0]) {
				made = i
			}
		}
		if !strings.HasPrefix(last.What, want[1]) || made < 0 || trace[made].Server == last.Server || trace[made].Client != last.Client {
			t.Errorf("%s: %+v", mode, trace)
		}
	}
}

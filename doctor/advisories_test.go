package doctor

import (
	"strings"
	"testing"
)

// A version has a fault until the minor version that mended it, by PostgreSQL's security page.
func TestAdvisories(t *testing.T) {
	for num, want := range map[int]string{
		90424: "", 90516: "CVE-2019-10130", 90612: "CVE-2019-10130", 90613: "", 90624: "",
		110002: "CVE-2019-10130 CVE-2023-2455",
		140007: "CVE-2023-2455 CVE-2024-10976 CVE-2025-8713 CVE-2026-14666",
		140008: "CVE-2024-10976 CVE-2025-8713 CVE-2026-14666",
		140014: "CVE-2025-8713 CVE-2026-14666",
		150003: "CVE-2023-39418 CVE-2024-10976 CVE-2025-8713 CVE-2026-14666",
		150018: "CVE-2026-14666", 150019: "", 160015: "", 170000: "CVE-2024-10976 CVE-2025-8713 CVE-2026-14666", 170011: "", 180000: "CVE-2026-14666", 180006: "", 190000: "",
	} {
		var ids []string
		for _, a := range advisories {
			if a.concerns(num) {
				ids = append(ids, a.ID)
			}
			if a.Date == "" || !strings.HasPrefix(a.Source, security) {
				t.Errorf("%s has no date or source", a.ID)
			}
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%d: %q, want %q", num, got, want)
		}
	}
	// What depends on the role counts only where a policy does.
	for _, tt := range []struct {
		policy policy
		want   int
	}{
		{policy{Roles: []string{"public"}, Using: "(tenant_id = 7)"}, 2},
		{policy{Roles: []string{"app"}, Using: "(tenant_id = 7)"}, 4},
		{policy{Roles: []string{"public"}, Using: "(owner = CURRENT_USER)"}, 4},
	} {
		checks := aboutServer(&facts{role: role{Name: "app", VersionNum: 150003, Version: "15.3", IdleInTx: "60000"}, policies: []policy{tt.policy}})
		if len(checks) != tt.want {
			t.Errorf("%+v: %d advisories, want %d", tt.policy, len(checks), tt.want)
		}
		for _, c := range checks {
			if c.ID != ServerVersion || c.Basis != Documented || c.Status != Warn || !strings.Contains(c.Hint, security) {
				t.Errorf("%+v", c)
			}
		}
	}
}

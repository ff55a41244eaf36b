package hostile

import (
	"strings"
	"testing"
)

// A server before 14 has no function for bodies that are kept parsed.
func TestSchemaSQLByVersion(t *testing.T) {
	const newer = "pg_get_function_sqlbody"
	for version, want := range map[string]bool{"13.22": false, "9.6.24": false, "14.0": true, "15.13 (Debian 15.13-1)": true, "18beta1": true} {
		sql := schemaSQLFor(version)
		if strings.Contains(sql, newer) != want || !strings.Contains(sql, "p.prosrc") {
			t.Errorf("%s: %s is in the query: %v", version, newer, !want)
		}
	}
}

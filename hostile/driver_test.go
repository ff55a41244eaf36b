package hostile

import "testing"

// Names that differ only in a driver's counter are one subject, so that findings
// and baselines do not depend on how far it counted.
func TestNamePattern(t *testing.T) {
	for name, want := range map[string]string{
		"__asyncpg_stmt_9__":                               "__asyncpg_stmt_#__",
		"__asyncpg_stmt_a__":                               "__asyncpg_stmt_#__", // asyncpg counts in hexadecimal digits
		"__asyncpg_stmt_1f3__":                             "__asyncpg_stmt_#__",
		"__asyncpg_8a3c1e52-77aa-4c51-9b1e-0f1e2d3c4b5a__": "__asyncpg_…__",
		"pdo_stmt_00000009":                                "pdo_stmt_#",
		"pdo_stmt_0000000a":                                "pdo_stmt_#",
		"_pg3_0":                                           "_pg#_#",
		"stmtcache_3a1b5c7d9e0f3a1b5c7d9e0f3a1b5c7d9e0f3a1b5c7d9e0f": "stmtcache_…",
		"S_12":         "S_#",
		"dbdpg_p33_7":  "dbdpg_p#_#",
		"fetch-item":   "fetch-item",
		"decade_cafe_": "decade_cafe_",
	} {
		if got := namePattern(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

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
		"S_12":                         "S_#",
		"dbdpg_p33_7":                  "dbdpg_p#_#",
		"fetch-item":                   "fetch-item",
		"decade_cafe_":                 "decade_cafe_",
		"KQdvnn0PKQFP+lzFHkx4sGoTxlc=": "…", // hashes in base64
		"5HKBLmVOZQPX5QrTdoFuA3rG6fKR3yqNlbAQmYiqeLo": "…",
		"getItemsByTenantAndCategory2":                "getItemsByTenantAndCategory#",
		"fetch_item_by_tenant_and_kind_for_update":    "fetch_item_by_tenant_and_kind_for_update",
		"FETCH_ITEMS_OF_TENANT_2":                     "FETCH_ITEMS_OF_TENANT_#",
	} {
		if got := namePattern(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A lock's key is what the program wrote, without what differs between databases.
func TestLockPattern(t *testing.T) {
	for _, tc := range []struct{ held, sql, want string }{
		{"4222222", "SELECT pg_try_advisory_lock(4222222)", "4222222"},
		{"3, 7", "select pg_advisory_lock( 3,\n 7 ), 1", "3, 7"},
		{"3, 7", "select pg_advisory_lock(3,7)", "3,7"},
		{"77", "select pg_advisory_lock(hashtext('migrate (all)')) from x", "hashtext('migrate (all)')"},
		{"528280977864", "SELECT pg_advisory_lock($1)", "$1"},
		{"5678901234567", "SELECT pg_advisory_lock(5678901234567)", "#"},
		{"1, 2", "select take_lock()", "1, 2"},
		{"0, 42", "select take_lock()", "0, 42"},
		{"1, -1048576000", "", "1, -#"},
		{"2", "select pg_advisory_lock(1), pg_advisory_lock(2)", "2"},
		{"2", "select pg_advisory_lock(1), take_lock()", "2"},
	} {
		if got := lockPattern(tc.held, tc.sql); got != tc.want {
			t.Errorf("%s by %s: %q, want %q", tc.held, tc.sql, got, tc.want)
		}
	}
}

// What people name stays; what a program computes becomes a pattern, so that a
// baseline outlives the next run, the next thread and the next query.
func TestObjectPattern(t *testing.T) {
	for name, want := range map[string]string{
		"news":                                  "news",
		"week_42":                               "week_42",
		"jobs:9f86d081884c7d659a2feaa0c55ad015": "jobs:…",
		"user-8a3c1e52-77aa-4c51-9b1e-0f1e2d3c4b5a":         "user-…",
		"room:5HKBLmVOZQPX5QrTdoFuA3rG6fKR3yqNlbAQmYiqeLo=": "room:…",
		"_django_curs_140234567890_sync_1":                  "_django_curs_…_sync_1",
		"created_at_1764270000":                             "created_at_#",
	} {
		if got := objectPattern(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

package doctor

// advisory is a fault of PostgreSQL in what row-level security promises.
type advisory struct {
	ID, Text, Date, Source string
	byRole                 bool        // it matters only where policies depend on the role
	fixed                  map[int]int // by major version, 906 for 9.6: the first minor version without the fault
}

const security = "https://www.postgresql.org/support/security/"

// advisories are PostgreSQL's own. Versions and dates were held to its release notes and to the records of OSV and the CVE programme in November 2026.
// Major versions that a row does not name never had the fault, or are older than
// any that gets fixes.
var advisories = []advisory{
	{"CVE-2019-10130", "selectivity estimators show values that policies hide", "2019-05-09", security + "CVE-2019-10130/", false, map[int]int{905: 17, 906: 13, 10: 8, 11: 3}},
	{"CVE-2023-2455", "policies of the wrong role apply after a function was inlined and the role changed", "2023-05-11", security + "CVE-2023-2455/", true, map[int]int{11: 20, 12: 15, 13: 11, 14: 8, 15: 3}},
	{"CVE-2023-39418", "MERGE does not check the policies for UPDATE and SELECT", "2023-08-10", security + "CVE-2023-39418/", false, map[int]int{15: 4}},
	{"CVE-2024-10976", "a plan that is used again after the role changed applies the wrong policies below sub-selects", "2024-11-14", security + "CVE-2024-10976/", true, map[int]int{12: 21, 13: 17, 14: 14, 15: 9, 16: 5, 17: 1}},
	{"CVE-2025-8713", "statistics of the planner show sampled rows that policies hide", "2025-08-14", security + "CVE-2025-8713/", false, map[int]int{13: 22, 14: 19, 15: 14, 16: 10, 17: 6}},
	{"CVE-2026-14666", "policies that are cached go on after a role lost a membership or an attribute", "2026-08-13", security + "CVE-2026-14666/", true, map[int]int{14: 24, 15: 19, 16: 15, 17: 11, 18: 6}},
}

// concerns reports whether a server of this server_version_num has the fault.
func (a advisory) concerns(num int) bool {
	major, minor := num/10000, num%10000
	if num < 100000 {
		major, minor = num/100, num%100
	}
	fixed, ok := a.fixed[major]
	return ok && minor < fixed
}

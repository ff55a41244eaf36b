package pooler

import (
	"slices"
	"strconv"
	"strings"
)

// Fault is a published fault of some versions of a pooler.
type Fault struct {
	// ID is what it is known by: a CVE, or a short name of ours.
	ID string `json:"id"`
	// Title says what goes wrong, in one clause.
	Title string `json:"title"`
	// Fix is what to do.
	Fix string `json:"fix"`
	// Source says where this is from, Date when it was published or measured.
	Source string `json:"source"`
	Date   string `json:"date"`
	// Certain: the pooler's version is known to have it. Otherwise it is among the versions that fit.
	Certain bool `json:"certain"`

	kind        Kind
	from, fixed string // versions [from, fixed); "" is open
	modes       []Mode // in which it matters, nil: all
}

// cancelCrash is the fault for which a cancel request is not harmless.
const cancelCrash = "cancel-crash"

// distribution is what a distribution's package may have changed.
const distribution = "; a distribution's package may have the patch under an older number: see its changelog"

// poolerFaults are the faults that poolers are known for. Where a date is no
// publication's, it is that of our own measurement (November 2026).
var poolerFaults = []Fault{
	{
		ID: "CVE-2026-107350", kind: PgBouncer, from: "1.17.0", fixed: "1.26.1",
		Title: "whoever knows the SCRAM password of one user of auth_file can log in as another SCRAM user",
		Fix:   "PgBouncer 1.26.1" + distribution, Source: "PgBouncer's changelog, 1.26.1", Date: "2026-10-14",
	},
	{
		ID: "CVE-2026-107349", kind: PgBouncer, from: "1.20.0", fixed: "1.26.1",
		Title: "anybody who reaches the port can have the pooler serve nobody any more, where ignore_startup_parameters is set and does not name options",
		Fix:   "PgBouncer 1.26.1, or options in ignore_startup_parameters" + distribution, Source: "PgBouncer's changelog, 1.26.1", Date: "2026-10-14",
	},
	{
		ID: "CVE-2025-12819", kind: PgBouncer, from: "1.20.0", fixed: "1.25.1",
		Title: "anybody who reaches the port can have the pooler run SQL, by a search_path in the log-in, where track_extra_parameters names search_path and auth_user is set",
		Fix:   "PgBouncer 1.25.1, or take search_path out of track_extra_parameters" + distribution, Source: "PgBouncer's changelog, 1.25.1", Date: "2025-12-03",
	},
	{
		ID: "CVE-2026-6664", kind: PgBouncer, from: "", fixed: "1.25.2",
		Title: "anybody who reaches the port can crash the pooler by a malformed SCRAM message, where clients log in by SCRAM",
		Fix:   "PgBouncer 1.25.2" + distribution, Source: "the CVE's record; PgBouncer's changelog, 1.25.2", Date: "2026-05-08",
	},
	{
		ID: "CVE-2026-6667", kind: PgBouncer, from: "", fixed: "1.25.2",
		Title: "users of the console who may only read (stats_users) can end clients by KILL_CLIENT",
		Fix:   "PgBouncer 1.25.2" + distribution, Source: "the CVE's record; PgBouncer's changelog, 1.25.2", Date: "2026-05-08",
	},
	{
		ID: "CVE-2025-2291", kind: PgBouncer, from: "", fixed: "1.24.1",
		Title: "passwords that have expired (VALID UNTIL) are accepted, where auth_query is the default or one's own that does not ask",
		Fix:   "PgBouncer 1.24.1, or its new auth_query" + distribution, Source: "PgBouncer's changelog, 1.24.1", Date: "2025-04-16",
	},
	{
		ID: "several-syncs", kind: PgBouncer, from: "", fixed: "1.19.0", modes: []Mode{Transaction, Statement},
		Title: "with several Syncs under way and messages of 4 kB, clients get each other's answers; of 8 kB, the pooler refuses everybody",
		Fix:   "send one Sync and wait for its answer, or a newer PgBouncer (right in 1.24.1 and 1.26.1; between them not tried)", Source: "measured with 1.18.0 by poolproof", Date: "2026-11",
	},
	{
		ID: cancelCrash, kind: PgBouncer, from: "", fixed: "1.19.0",
		Title: "the pooler can end at a cancel request whose sender has hung up by then",
		Fix:   "let something restart it, as systemd does, or a newer PgBouncer (fixed when is not known to us)", Source: "PgBouncer issue 801; seen with 1.18.0 by poolproof", Date: "2026-11",
	},
	{
		ID: "late-copy", kind: PgBouncer, from: "", fixed: "", modes: []Mode{Transaction, Statement},
		Title: "a client that sends more data of a COPY, or its end, after it has read the error holds its server connection until its next statement or its end: as many idle ones as the pool has stop everybody",
		Fix:   "let the program send its next statement, or leave, right after a COPY that failed; COPY over the direct URL", Source: "measured with 1.18.0, 1.24.1 and 1.26.1 by poolproof (TestLateCopy); 1.26's fix, pull request 1471, does not cover it", Date: "2026-11",
	},
	{
		ID: "late-copy-stays", kind: PgBouncer, from: "1.24.0", fixed: "1.26.0", modes: []Mode{Transaction, Statement},
		Title: "such a client holds its server connection for good: not even its next statement hands it back",
		Fix:   "PgBouncer 1.26", Source: "PgBouncer pull request 1471; measured with 1.24.1 (fault), 1.18.0 and 1.26.1 (right; between them not tried) by poolproof", Date: "2026-11",
	},
	{
		ID: "copy-error-holds", kind: PgBouncer, from: "1.26.0", fixed: "", modes: []Mode{Transaction, Statement},
		Title: "a client whose COPY failed by its data holds its server connection until its next statement or its end, even if it sends nothing more",
		Fix:   "let the program send its next statement, or leave, right after a COPY that failed", Source: "measured with 1.26.1 (fault), 1.18.0 and 1.24.1 (right) by poolproof (TestLateCopy)", Date: "2026-11",
	},
	{
		ID: "duplicate-negotiation", kind: PgBouncer, from: "1.25.0", fixed: "1.26.0",
		Title: "clients of protocol 3.2 fail at random with \"received duplicate protocol negotiation message\" when no server connection is free",
		Fix:   "PgBouncer 1.26, or max_protocol_version=3.0 in the client", Source: "PgBouncer issue 1459, pull request 1460", Date: "2026-05-30",
	},
	{
		ID: "application-name", kind: PgBouncer, from: "", fixed: "1.22.0", modes: []Mode{Transaction, Statement},
		Title: "a client without application_name is shown under the name of whoever had the server connection before",
		Fix:   "PgBouncer 1.22, or an application_name in every URL", Source: "PgBouncer's changelog, 1.22.0 (pull request 999)", Date: "2024-01-31",
	},
	{
		ID: "unnamed-statement", kind: PgBouncer, from: "", fixed: "", modes: []Mode{Transaction, Statement},
		Title: "a driver that parses the unnamed statement in one Sync and executes it in the next (lib/pq, pgx describe_exec) runs another client's statement",
		Fix:   "lib/pq: binary_parameters=yes; pgx: any mode but describe_exec; or explicit transactions", Source: "measured with 1.18 to 1.26.1 by poolproof; PgBouncer issue 1288", Date: "2026-11",
	},
	{
		ID: "pipeline-error", kind: Odyssey, from: "1.5.0", fixed: "",
		Title: "after an error in the middle of a pipeline with further Parses, the client gets an answer that nobody asked for",
		Fix:   "send what may fail last in its pipeline; pgx closes the connection, others may go out of step", Source: "measured with 1.5.1 by poolproof", Date: "2026-11",
	},
	{
		ID: "one-sync-scope", kind: Pgpool, from: "4.3", fixed: "4.7",
		Title: "in raw mode, statements before one Sync are not one transaction: a setting made for it is gone before the query",
		Fix:   "backend_clustering_mode = 'streaming_replication', or pgpool-II 4.7", Source: "measured with 4.3.5, 4.6.1 (fault) and 4.7.3 (right) by poolproof", Date: "2026-11",
	},
	{
		ID: "several-syncs", kind: Supavisor, from: "", fixed: "2.10.0", modes: []Mode{Transaction},
		Title: "with several Syncs under way, clients get each other's answers, and some hang",
		Fix:   "send one Sync and wait for its answer (postgres.js: prepare: false)", Source: "measured with main of August 2026 by poolproof; Supavisor issues 1061 and 1172", Date: "2026-11",
	},
	{
		ID: "late-cancel", kind: Supavisor, from: "", fixed: "", modes: []Mode{Transaction},
		Title: "a cancel request that comes late stops another client's statement (94 of 1,000)",
		Fix:   "bound statements by statement_timeout, and retry 57014 that was not your own", Source: "measured with main of August 2026 by poolproof", Date: "2026-11",
	},
	{
		ID: "stray-parse-complete", kind: Supavisor, from: "", fixed: "",
		Title: "with named_prepared_statements, an error of a client is followed by answers that nobody asked for",
		Fix:   "do without named statements", Source: "measured with main of August 2026 by poolproof", Date: "2026-11",
	},
	{
		ID: "set-config-leaks", kind: PgCat, from: "", fixed: "", modes: []Mode{Transaction},
		Title: "set_config(…, false) and SET inside BEGIN … COMMIT stay on the server connection, although SET alone is reset",
		Fix:   "set_config(…, true), in the statement's own transaction", Source: "read in PgCat's server.rs", Date: "2025-02",
	},
	{
		ID: "set-config-leaks", kind: Pgdog, from: "", fixed: "", modes: []Mode{Transaction},
		Title: "SELECT set_config(…, false) is not seen by the default query parser: it stays on the server connection",
		Fix:   "set_config(…, true), in the statement's own transaction", Source: "read in pgdog 0.1.54", Date: "2026-11",
	},
	{
		ID: "begin-hangs", kind: Pgdog, from: "", fixed: "",
		Title: "an extended query inside BEGIN hangs for ten seconds (lib/pq)",
		Fix:   "a newer pgdog", Source: "pgdog issue 999", Date: "2026-05-22",
	},
	{
		ID: "pinning", kind: RDSProxy, from: "", fixed: "",
		Title: "SET, temporary tables, LISTEN, session locks and statements over 16 KB pin a client to a server connection until it disconnects",
		Fix:   "set_config(…, true) in the statement's own transaction; watch DatabaseConnectionsCurrentlySessionPinned", Source: "AWS documentation, rds-proxy-pinning", Date: "2026",
	},
}

// knownFaults are the faults of a pooler in the versions [min, max], either of
// which may be "", that matter in its mode.
func knownFaults(f Fingerprint) []Fault {
	faults := []Fault{}
	for _, fault := range poolerFaults {
		if fault.kind != f.Kind && (fault.kind != PgBouncer || f.Kind != Neon && f.Kind != CloudSQL) ||
			fault.modes != nil && !slices.Contains(fault.modes, f.Mode) {
			continue
		}
		low, high := f.VersionMin, f.VersionMax
		if f.Version != "" {
			low, high = f.Version, f.Version
		}
		if low != "" && fault.fixed != "" && CompareVersions(low, fault.fixed) >= 0 || high != "" && fault.from != "" && CompareVersions(high, fault.from) < 0 {
			continue // none of the versions has it
		}
		fault.Certain = (fault.fixed == "" || high != "" && CompareVersions(high, fault.fixed) < 0) &&
			(fault.from == "" || low != "" && CompareVersions(low, fault.from) >= 0)
		faults = append(faults, fault)
	}
	return faults
}

// CompareVersions compares versions as numbers between dots; what is missing is
// 0, and what follows the numbers, as in 1.25rc1, does not count.
func CompareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		if d := versionPart(x, i) - versionPart(y, i); d != 0 {
			return d
		}
	}
	return 0
}

func versionPart(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	digits := parts[i]
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, _ := strconv.Atoi(digits) // "" is 0
	return n
}

// Command bench measures what a tenant scope costs: poolproof's beside the same
// query without a tenant and beside the usual explicit transaction, and a
// request to poolproof's API beside a bare handler, and what one tenant's load
// does to another.
//
//	cd bench && go run .            about fourteen minutes; "make bench" does the same
//	go run . -quick                 three minutes, noisy: to see that it works
//	go run . -only neighbour        one part alone, in two minutes; the others are http, growth and hostile
//	go run . -server-cpu            with the CPU time of each process per operation
//	go run . -profile client -only 'pgbouncer-1.24.*/16/scope'
//
// It is a Go module of its own, so that what only a comparison needs stays out
// of poolproof's go.mod.
//
// # What is measured
//
// One operation reads one row by primary key, of a random one of 100 tenants
// with 1,000 rows each, and checks that it is the right row. The variants:
//
//	unscoped   pgxpool; the tenant is a predicate on an equal table without
//	           row-level security: one round trip, and nothing but the
//	           programmer's care keeps tenants apart
//	scope      poolproof, db.Tenant(id).QueryRow, on the table with row-level
//	           security and its policy: one round trip; the scope is a
//	           parameter, of the domain that poolproof.ScopeSQL installs
//	explicit   pgxpool; BEGIN, select set_config(…, true), query, COMMIT, on
//	           the same table as scope: four round trips; it makes the
//	           same two settings, and does not look for a leaked tenant
//
// and at 16 clients also
//
//	scope, as a statement    the same without the domain: the scope is a
//	           statement of its own, in the same round trip; no gate
//
// They go the same ways, each with the same exec mode for all, the same
// number of client connections (16) and the same pooler (2 server connections, as many
// as the cores it was made on):
// to PostgreSQL directly, through PgBouncer 1.18, which knows no prepared
// statements (exec), through PgBouncer 1.24, which tracks them
// (cache_statement), and through both with 1 ms added in each direction (see
// far.go; -latency changes it).
//
// The second part asks GET /api/v3/rbac/roles of poolproof's handler (token,
// membership, scope, log line and all) and the same answer, byte for byte, of a
// bare net/http handler that runs the unscoped query and looks at no token.
//
// The third part is the neighbour: one client of a tenant reads its roles, alone
// and beside a tenant at the default bounds (400 roles in eight layers, each with 50
// parents, and a user with 30 expiries) whose 32 clients ask GET /api/v4/me, and
// switch a feature with every eighth request, without a pause. It is measured with the noisy
// tenant's share of requests (httpapi.Config.PerTenant) at its default, at 1, and
// without one. Its ratios are of p50 and p99 to those of the same rounds alone;
// a read counts where it began while it was measured, however long it took.
//
// # How to read it
//
// A round measures every variant of a comparison in four slices of 100 ms. They
// take turns slice by slice, beginning with another one each round, so that
// whatever else the machine does meets all alike. A slice begins once every
// client has ended an operation. ops/s, p50 and p99 are medians over
// the rounds. A ratio is taken within each round, of operations per second; its
// median is printed with the lowest and highest round. "÷ unscoped 0.85" says
// that scope did 0.85 times the operations of unscoped. Ratios mean much,
// absolute figures only something beside others of the same run.
//
// The clients and the HTTP server run in this process, the servers beside it on
// the same cores: at 16 clients the machine is busy, and every microsecond that
// anybody spends shows. With -server-cpu further columns say who: CPU time per
// operation of PostgreSQL's processes, of PgBouncer and of this process. Together they come to cores ÷ ops/s when the
// machine is busy with nothing else. While the cores are what limits, ratios of
// ops/s are ratios of CPU time, with added latency too: that hides a scope's cost
// only from clients that wait more than they compute.
//
// Operations have no deadline, in all variants alike; -deadline sets each one
// of ten seconds, as a service would, which makes every variant watch a context.
//
// All clients of the first two parts are one tenant's, or one of two, so that the service may answer 16
// requests of a tenant at a time there; with its default some would wait for their
// turn. An answer that refuses, such as 503 unavailable or 429 too_many_requests,
// counts as no operation. The report says how many there were, by status and code, and
// how long the service tried and what it logged. Anything else that goes wrong ends the bench. A variant with more than
// one in a hundred refused is marked INVALID, and no gate is judged by it.
//
// The status is 1 if a gate fails: a ratio at 16 clients below what poolproof
// promises; 0.95 is what it reaches for, and only a note. It is 3 if none fails
// and a figure is invalid, 2 if the bench could not be run.
package main

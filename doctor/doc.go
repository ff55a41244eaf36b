// Package doctor looks at a database through the application's own URL and role, and
// says what keeps tenants apart there and what does not.
//
//	Examine ─► pooler.Probe       what stands between
//	        ─► look               the catalogue's facts, in a few read-only statements
//	        ─► judge              findings: pure functions of the facts
//	        ─► trial              as a random tenant, an empty one and none: no row may be seen
//
// Every statement runs in a transaction that PostgreSQL itself keeps from writing
// (transaction_read_only), with a statement_timeout, and with settings that end with
// it. Nothing is created. At most four connections are open at a time.
package doctor

// Package poolproof keeps multi-tenant PostgreSQL correct when a connection
// pooler stands in front of it.
//
// A pooler in transaction or statement mode hands the same server connection
// to one client after another. A tenant id that was set for the session stays
// on it, and the next client, of another tenant, inherits it. Here every
// statement carries its tenant itself:
//
//	Parse/Bind/Execute   the caller's statement; Bind carries the tenant
//	Sync                 one round trip, one implicit transaction, no BEGIN, no COMMIT
//
// The tenant is a parameter more, of a domain whose check sets it (install
// [ScopeSQL] once), or, without that domain, a statement before the caller's
// in the same pipeline: as safe, and dearer. The setting is local to that transaction and gone when it ends. If it cannot
// be made, PostgreSQL skips the statement. Row-level security policies read the
// setting and do the isolating:
//
//	create policy tenant on documents
//	    using      (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid))
//	    with check (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
//
// # Use
//
// [Open] probes what answers behind the URL, chooses how statements and scopes
// are sent and logs why. [DB.Tenant] gives a [Session], a value that holds no
// connection; [DB.Shared] one that has no tenant. Sessions have pgx's methods:
// [Session.Query], [Session.QueryRow], [Session.Exec], [Session.SendBatch],
// [Session.CopyFrom], and [Session.InTx] and [Session.InTxOptions] for transactions
// of several steps. [Connector] serves database/sql. [WithTenant] puts the tenant
// into a context, from where [Connector] and [DB.SessionFrom] read it.
// Config.AfterConnect registers types. docs/library.md answers further questions,
// and examples/ has whole programs. [Check] tells whether the database isolates
// tenants at all; call it at start-up.
//
// # What is promised
//
// A statement runs with its tenant or not at all. Success is told only after
// the transaction has ended. Where what the server answers is not what was asked
// for, the connection is given up and the error is of kind [ErrUnavailable].
//
// Statements that would end the scope's transaction or leave state on a shared
// server connection are refused before they are sent ([ErrStatementRefused]).
// This is a check of mistakes, not of attackers. It reads a statement's words,
// past comments, strings and quoted bodies, and knows: BEGIN, COMMIT and their
// like; SET (but LOCAL), RESET, DISCARD, LOAD, LISTEN, PREPARE, EXECUTE,
// DEALLOCATE and COPY, behind EXPLAIN too; temporary objects, however they are
// made, SELECT INTO among them; names in pg_temp; DECLARE … WITH HOLD; advisory
// locks of the session; set_config whose last argument is a plain false; UPDATE
// of pg_settings; dblink_connect, setseed, set_limit. It does not see what
// a function, a trigger, a view or a DO block does inside, nor a last argument
// that is computed or a parameter.
//
// Nothing else is promised about SQL that a caller passes: it may set the
// tenant itself, for instance, and SQL built from a user's input can do what
// SQL injection can.
//
// What the scope as a parameter asks in return: alter neither the domain nor its
// constraint while programs run (drop it instead: they notice, and go on with
// statements); and open the database again after making a domain whose check
// reads the tenant, if statements have parameters of it: their checks come first.
//
// # Operations
//
// One log line at Open; then one for each tenant that could not be set, each
// leaked tenant that was met, and a fall back to exec mode or to scopes that
// are statements. Counters of the same: poolproof_scopes_total, poolproof_scope_failures_total,
// poolproof_leaked_settings_total, poolproof_mode_fallbacks_total,
// poolproof_scope_fallbacks_total,
// poolproof_discarded_connections_total. After a cancelled context the
// connection is given up, the server is asked to stop, and the pool's place is
// free at once.
package poolproof

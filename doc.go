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
// The tenant travels as one extra parameter of the statement. Its type is a domain
// whose check sets the tenant (install [ScopeSQL] once). Without the domain it
// travels as a separate statement in the same pipeline: just as safe, but slower.
// The setting is local to that transaction and gone when it ends. If it cannot be
// made, PostgreSQL skips the statement. Row-level security policies read the
// setting and do the isolating:
//
//	create policy tenant on documents
//	    using      (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid))
//	    with check (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
//
// # Use
//
// [Open] probes what answers behind the URL, chooses how statements and scopes
// are sent and logs why. [DB.Tenant] returns a [Session], a value that holds no
// connection; [DB.Shared] one that has no tenant. Sessions have pgx's methods:
// [Session.Query], [Session.QueryRow], [Session.Exec], [Session.SendBatch],
// [Session.CopyFrom], and [Session.InTx] and [Session.InTxOptions] for transactions
// of several steps. [Connector] serves database/sql. [WithTenant] puts the tenant
// into a context, from where [Connector] and [DB.SessionFrom] read it.
// Config.AfterConnect registers types. docs/library.md answers further questions,
// and examples/ has whole programs. [Check] reports whether the database isolates
// tenants at all; call it at start-up.
//
// # What is promised
//
// A statement runs with its tenant or not at all. Success is told only after
// the server has said that the transaction has ended, and that it was this
// statement's own: a scope that ends in a transaction somebody else left open is
// an error, and its connection is given up. A transaction that fails, or panics,
// before its BEGIN and its tenant are answered is over. Results that are kept past
// their transaction answer an error, never another's bytes. An answer that was
// not asked for breaks the connection. A panic, and runtime.Goexit, in an argument's
// own code, a scan destination, a transaction's function or Config's logger loses no connection;
// in Config.AfterConnect and Config.DialFunc it is an error of whoever waits for the connection.
//
// Before it is sent, a statement is checked for mistakes: it is refused if it
// would end the scope's transaction, or would leave state on a shared server
// connection. The check reads words, outside of strings and comments, wherever
// they stand: SET, LISTEN, PREPARE and their like, temporary objects and pg_temp,
// SELECT INTO TEMP, WITH HOLD, session advisory locks, set_config(…, false) with a
// constant, UPDATE of pg_settings, and some functions that leave something
// (dblink_connect, setseed). It does not see what functions, DO blocks and dynamic
// SQL do inside, and is no defence against SQL that an attacker wrote: that may set
// the tenant itself.
//
// If the tenant travels as a parameter, do not alter the domain or its constraint
// while programs run. Drop it instead: they notice, and fall back to statements.
// After you create another domain whose check reads the tenant, call [Open] again:
// a parameter of that domain would be checked before the tenant is set.
//
// # Operations
//
// Open logs one line. Further lines follow for each tenant that could not be
// set, each leaked tenant that was met, and a fall-back to exec mode or to scopes
// that are statements. Counters of the same events: poolproof_scopes_total,
// poolproof_scope_failures_total, poolproof_leaked_settings_total,
// poolproof_mode_fallbacks_total, poolproof_scope_fallbacks_total and
// poolproof_discarded_connections_total. When a context is cancelled, the
// connection is given up, the server is asked to stop, and the pool's place is
// free at once.
package poolproof

// Package pooler finds out what stands between a program and its PostgreSQL.
//
// A URL does not say whether a pooler answers behind it, in which mode it
// hands out server connections, or what survives the change from one to the
// next. [Probe] asks, with at most three connections at a time and within a
// second, and believes only what it saw:
//
//	is anybody there?    the pid in BackendKeyData is the pooler's, not pg_backend_pid()'s
//	which mode?          BEGIN is refused: statement; two open clients meet the same server
//	                     connection, or one meets two: transaction; nobody is moved, although
//	                     others hold what could be handed out instead: session
//	named statements?    prepare one, drop it on the server by SQL in the same pipeline, execute
//	                     it: an answer proves that the pooler keeps it under a name of its own
//	one-Sync scope?      set_config(…, true) and a reader in one pipeline: does the reader
//	                     see the value, and is it gone after the Sync?
//
// [Examine] asks more, within five seconds: which pooler this is and in which
// version ([Fingerprint], with the known faults of that version), and what works
// through it (a [Capability] each). What would leave something on a server
// connection until it is cleaned up is tried only with Options.Intrusive.
//
// What was not proven is reported as absent, so that whoever relies on a
// [Report] errs on the safe side, and [Report.Why] says what each conclusion
// rests on. The package knows nothing of tenants.
package pooler

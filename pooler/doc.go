// Package pooler finds out what stands between a program and its PostgreSQL.
//
// A URL does not say whether a pooler answers behind it, in which mode it
// hands out server connections, or what survives the change from one to the
// next. [Probe] asks, with at most three connections and within a second, and
// believes only what it saw:
//
//	is anybody there?    the pid in BackendKeyData is the pooler's, not pg_backend_pid()'s
//	which mode?          BEGIN is refused: statement; the server pid changes under an
//	                     open client connection: transaction; it never does: session
//	named statements?    prepare on server X, occupy X from a second connection, execute:
//	                     an answer that comes from Y proves that the pooler tracks them
//	one-Sync scope?      set_config(…, true) and a reader in one pipeline: does the reader
//	                     see the value, and is it gone after the Sync?
//
// What was not proven is reported as absent, so that whoever relies on a
// [Report] errs on the safe side. The package knows nothing of tenants.
package pooler

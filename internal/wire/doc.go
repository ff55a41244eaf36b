// Package wire sends several statements to PostgreSQL under one Sync and reads
// their answers up to its ReadyForQuery, never beyond.
//
// pgx offers batches and pipelines; this package exists because behind a
// pooler the details decide. A server connection is ours from the first
// message to the one ReadyForQuery that answers our one Sync, so:
//
//	Parse Bind Execute    a call: fixed text, its description never asked for
//	Parse Bind Describe Execute    the caller's statement
//	Sync                  ── one flush, one round trip ──►
//	◄── … ReadyForQuery   success is told only now; nothing was sent meanwhile
//
// Instead of a call before it a statement may have a [Rider]: a parameter that
// its text does not name, which the server converts all the same.
//
// A [Conn] is the package's view of a pgx connection: which named statements
// it holds. [Descriptions] are what all connections of a pool know about
// statements' types. An [Exchange] is one pipeline under way. Whoever starts
// an exchange must Close it; a connection that says Broken must not be used
// again.
package wire

// Package hostile is a transaction pooler that is as hostile as the protocol
// allows: a race detector for connection poolers.
//
// A pooler's faults hide on a laptop. With one user the pooler hands the same
// server connection back every time, so nobody notices that a setting, a
// prepared statement or a temporary table was only found again by luck. Here
// the luck is gone:
//
//	client ──► Pooler ──► another server connection for every transaction,
//	             │        which somebody else has had since
//	             ├─ wire: a statement used where it was not made, an unnamed one used after
//	             │        its Sync, names that two clients share, queries sent too early
//	             └─ residue: when a transaction is over, the server is asked what it left:
//	                      settings, locks, temporary tables, LISTEN … however it was made
//
// What a client says reaches PostgreSQL unchanged, and so do the answers, row by
// row, in constant memory. Only where a client uses a statement that another
// pooler's client would have replaced by then, another one is put in its place
// before, so that the fault shows every time.
//
// Two goroutines move the messages. A client's own reads what it says and writes
// to the server connection that it has at the moment; the server connection's
// own reads the answers, and at a ReadyForQuery that ends the transaction takes
// the connection away, looks at it and gives it to the pool.
//
// Most transactions are judged by the words of their statements alone (sqltext.go):
// it takes a SET, a function that may hold one, a LISTEN … to leave something
// behind. Only where a word, or a function or trigger of the database's own,
// leaves a doubt, is the server asked; so relaying stays fast, and nothing that
// a function does is missed.
//
// The package knows nothing of tenants, roles or HTTP.
package hostile

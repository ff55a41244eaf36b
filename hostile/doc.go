// Package hostile is a transaction pooler that is as hostile as the protocol
// allows: a race detector for connection poolers.
//
// A pooler's faults hide on a laptop. With one user, the pooler hands out the
// same server connection every time. A setting, a prepared statement or a
// temporary table is found again by luck, and nobody notices. Here each
// transaction gets a server connection that somebody else has had since, so luck
// does not help.
//
// # One message of a client
//
//	client                                                 PostgreSQL
//	  │ Bind                                                   ▲ │
//	  ▼                                                        │ │
//	session.run             the client's goroutine: reads one  │ │
//	  │                     message (frame.go)                 │ │
//	  ├─ backendFor         no server connection? takes one    │ │
//	  │                     from the pool that it did not have │ │
//	  │                     last, and sets what others left    │ │
//	  ├─ onClientMessage    records it, and judges it: PP001,  │ │
//	  │                     PP002, PP010, PP011, PP017, PP018, │ │
//	  │                     PP021, PP023                       │ │
//	  └─ relay              the same bytes ────────────────────┘ │
//	                                                             ▼
//	backend.serve           the server connection's goroutine: reads one answer
//	  ├─ onServerMessage    relays the same bytes; drops answers to our own messages
//	  └─ onReadyForQuery    judges the unit: PP015, PP016, PP019. Is the transaction over?
//	       ├─ inspect       judges it: PP013, and what it left: PP003 to PP010, PP020. If its words
//	       │                cannot have left anything, the server is not asked
//	       ├─ reset         if it left something: the connection becomes as good as new
//	       └─ giveBack      the client gets its ReadyForQuery, the pool the connection
//
//	each fault, also of a login (PP012) or of an idle client (PP014, PP022) ──► ledger ──► Report
//
// Messages reach the other side unchanged, row by row, in constant memory. Two
// exceptions make a fault show every time: just before a client uses an unnamed
// statement that a pooler would by then have let another client replace, we
// replace it (PP001); and just before it parses a statement under a name that
// some client has left elsewhere, we parse one under it (PP003, names.go).
//
// # Bad days
//
// With Config.Faults some messages do not get that far (fault.go): before
// backendFor, session.suffer answers them as a pooler on a bad day would, and
// session.withhold drops the answer to a write that is committed. What clients
// do afterwards is judged in aftermath.go: PP024 to PP027.
//
// # When the server is asked
//
// Most transactions are judged by the words of their statements alone
// (scanner.go). It takes a SET, a LISTEN, a function that may hold one … to leave
// something behind. The server is asked (question.go, internal/residue) only if a word
// leaves a doubt, or a function or trigger of the database does (schema.go). So
// relaying stays fast, and what a function does is not missed.
//
// # Locks
//
// They are taken from left to right, and never from right to left:
//
//	backend.writing ─► session.mu ─► Pooler.mu ─► pool.mu, ledger.mu, the caches' own
//
// Methods that want the lock of their receiver held end in Locked; session.mu also
// guards the session's clientState. While the server is asked, session.mu is not
// held, and session.inspecting keeps the client from writing. Config.Found is
// called with locks held.
//
// The package knows nothing of tenants, roles or HTTP.
package hostile

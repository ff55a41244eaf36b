// Package oracle is the service's rules a second time, naively: maps instead of
// tables, loops instead of SQL, no locks, no pooler. It says what the API must
// answer to a request and what must then be there, so that a test can send the
// same request to both and compare.
//
//	World ── Play(caller, op) ──► Answer      status, code, body
//	   │                     └──► World       as it is afterwards
//	   └── Keepers, Unearned, Changed         what must hold whatever was asked
//
// It is written from what the API promises, not from its statements, and
// imports nothing of the project: a fault would have to be made twice to go
// unseen. Where the promise leaves open which of two refusals comes first, the
// order is the one that the service has: what is wrong with the request's
// fields, membership, permission, whether it is there, its version, the grant
// rule, names, the last manager.
//
// It leaves out what has tests of its own: tokens, malformed requests, pages,
// Poolproof-At-Least, times of creation, the words of refusals, what the audit
// log says of before and after, and a role that expires while it is watched.
package oracle

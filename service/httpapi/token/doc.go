// Package token turns a bearer token into the user it speaks for.
//
// A [Verifier] is made for one issuer and one kind of key, and the algorithms
// it accepts follow from the kind of key. A shared secret verifies HS256 and
// nothing else; a published key set verifies RSA, ECDSA and Ed25519 signatures
// and never an HMAC. So a token cannot choose how it is judged: "alg: none"
// and an HMAC made with a public key are refused before any key is read.
//
//	Authorization: Bearer eyJ…
//	        │ size, three parts, no crit, known typ
//	        ▼
//	   algorithm allowed for this kind of key? ── no ──► ErrInvalid
//	        ▼
//	   signature by the secret, or by the key set's key of that kid
//	        ▼                       └─ no key set was ever read ──► ErrKeysUnavailable
//	   iss, aud, exp (required), nbf, sub: by the letter of their names
//	        ▼
//	   Identity{User, tenant claim}
//
// A good token is remembered for a minute, and never beyond its exp: verifying
// its signature again for every request costs more than the rest of the edge.
//
// What the package does not do: decide whether the user belongs to a tenant.
// A token is signed once and lives for an hour; a membership can end at any
// moment, so the database decides it in the transaction that it protects.
package token

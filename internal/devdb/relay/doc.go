// Package relay stands between a PostgreSQL client and its server as plain TCP,
// without changing a byte, to observe or to delay what passes:
//
//	client ──► Relay ──► server or pooler
//	             ├─ Messages: how many of each type the client sent
//	             └─ Latency:  each way takes half of it longer
//
// Counting reads only the framing of the client's messages (a type byte and a
// length), so it does not depend on what they contain.
package relay

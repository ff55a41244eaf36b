// Package atlas is the table of session state: everything that a PostgreSQL
// backend can keep from one transaction to the next, and everything by which a
// client can hold a server connection.
//
// A row names one such thing, shows how it comes about, says what the next
// client sees of it, which code of [hostile] names it (or why it is harmless),
// what DISCARD ALL does about it, and what each pooler does with it. The
// package's tests make each row on a real server, and docs/atlas.md is written
// from the table.
//
// The table is not complete because somebody thought hard. A differential test
// runs PostgreSQL's own regression statements on a used backend, and asks it and
// a fresh one a few hundred questions. A difference that no row lists is a gap,
// and fails the test (machine_test.go).
package atlas

// Package pgtest starts real servers for tests: one PostgreSQL per test process, a
// database per test, and poolers in front of it.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		for _, kind := range pgtest.Kinds {
//			t.Run(kind.String(), func(t *testing.T) {
//				owner := pgtest.Database(t)             // fresh, direct, dropped afterwards
//				url := pgtest.Pooled(t, owner, kind)    // the same one, through a pooler
//				url, count := pgtest.CountSyncs(t, url) // how many round trips?
//				…
//
//	test ──► relay (CountSyncs, WithLatency) ──► PgBouncer (one per kind, pool of 2) ──► PostgreSQL
//
// Everything starts when it is first asked for, lives in a folder of its own
// under the system's temporary folder, and ends in Main; if the process dies
// before that, the servers die with it and the next run removes the folder. A
// missing program fails the test with the command that installs it.
package pgtest

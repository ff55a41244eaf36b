// Package exhibit is what poolproof's demo shows: two ordinary programs that do
// nothing wrong by themselves, and lose rows behind a transaction pooler.
//
//	the reader    select id, body from things where id = $1    ids 1 to 500, which are there
//	the deleter   delete from things where id = $1             ids from 100000 on, which are not
//
// Both send what lib/pq (1.12) sends by default: Parse, Describe, Sync; then,
// once that is answered, Bind, Execute, Sync. Between the two Syncs the pooler may
// give the server connection to the other program, whose statement then takes the
// unnamed one's place: the reader's Bind executes the deleter's statement, with
// the reader's id.
package exhibit

// Package repro writes, for each finding of the hostile pooler, the smallest
// script that shows it against a stock PgBouncer: no code of this project has a
// hand in it.
//
//	DIR/README.md       what to run, and what each script shows
//	DIR/pgbouncer.ini   transaction mode, two server connections, all else as it comes
//	DIR/pgwire.py       the protocol's messages, Python 3's standard library only
//	DIR/PP004-app.tenant.py  two clients, a few messages, and what went wrong
//
// psql and two terminals would do for some codes, but it cannot send a Bind
// without its Parse; so all are Python, which is on most machines. The scripts
// need no tables and change no data; the names (of a setting, a channel, a table)
// are the finding's. A script exits with 0 if it saw the fault and with 1 if not.
package repro

// Package repro writes a script for each finding of the hostile pooler. It is the
// smallest script that shows the fault against a stock PgBouncer, and uses no code
// of this project.
//
//	DIR/README.md       what to run, and what each script shows
//	DIR/pgbouncer.ini   transaction mode, two server connections, otherwise the defaults
//	DIR/pgwire.py       the protocol's messages, in Python 3's standard library
//	DIR/PP004-app.tenant.py  two clients, a few messages, and what went wrong
//
// For some codes psql and two terminals would do, but psql cannot send a Bind
// without its Parse. So all scripts are in Python, which most machines have. They
// need no tables and change no data. The names in them (of a setting, a channel,
// a table) are the finding's. A script exits with 0 if it saw the fault, and with
// 1 if not.
package repro

// Package source finds out where in its source a program said something to
// PostgreSQL.
//
// The pooler sees messages, not files. Node and Python programs can be asked,
// without a change to them: a small script that their runtimes load by an
// environment variable wraps the entry points of the common drivers and writes,
// for each different text, who called to a file beside.
//
//	Recorder.Environ ─► NODE_OPTIONS=--require …/poolproof.cjs   pg, postgres
//	                    PYTHONPATH=…/sitecustomize.py            psycopg, psycopg2, asyncpg
//	the program ──────► POOLPROOF_CALLS: {"sql":…,"file":…,"line":…} a line, appended by any number of processes
//	Recorder.Locate ──► a finding whose SQL is one of those has a file and a line
//
// The scripts change neither the text nor what the drivers do with it, and keep
// silent when something is not as they expect. Frameworks above these drivers
// (SQLAlchemy, Django, Knex …) are seen through: the caller is the first frame
// that is in neither the runtime's library nor among installed packages.
// Programs of other languages can say it themselves, by sqlcommenter's comments
// with file and line.
package source

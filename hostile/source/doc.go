// Package source finds out where in its source a program sent a statement to
// PostgreSQL.
//
// The pooler sees messages, not files. Node and Python programs can be asked
// without changing them. An environment variable makes their runtime load a small
// script, which wraps the entry points of the common drivers. For each different
// text it writes the caller to a file.
//
//	Recorder.Environ ─► NODE_OPTIONS=--require …/poolproof.cjs   pg, postgres
//	                    PYTHONPATH=…/sitecustomize.py            psycopg, psycopg2, asyncpg
//	the program ──────► POOLPROOF_CALLS: {"sql":…,"file":…,"line":…} a line, appended by any number of processes
//	Recorder.Locate ──► a finding whose SQL is one of those has a file and a line
//
// The scripts change neither the text nor what the drivers do with it. If
// something is not as they expect, they do nothing. They see through frameworks
// above these drivers (SQLAlchemy, Django, Knex …): the caller is the first frame
// that is neither in the runtime's library nor in an installed package. Programs
// in other languages can name file and line themselves, in sqlcommenter's
// comments.
package source

package corpus

// fieldTable are programs after public reports of 2025 and 2026. They run behind a
// real PgBouncer 1.24 as well. The reports' cases that protocol's and others' rows
// show are in table: a pipeline without its Sync (psycopg_flush.py), rows after a
// COPY's error (psycopg_copy.py), DDL under a statement that the pooler tracks
// (pg_column.cjs).
var fieldTable = []row{
	// pgbouncer's issue 976: "pg_dump through pgbouncer poisons that connection".
	{"shell/pg_dump.sh", "faulty", 1, []string{
		"PP004 restrict_nonsystem_relation_kind", "PP004 row_security", "PP004 search_path", "PP004 synchronize_seqscans",
	}, "pg_dump", failsBeside(
		"select count(*) from item", `relation "item" does not exist`,
		"set local role corpus_reader; select count(*) from public.guarded", `would be affected by row-level security policy`)},
	{"shell/pg_dump.sh", "direct", 1, nil, "", nil},
	// A cleanup's reset is undone by the rollback that gives the connection back.
	{"python/sqlalchemy_rollback.py", "faulty", 1, []string{"PP004 app.tenant"}, "after_begin", leaves("select left(current_setting('app.tenant', true), 6)", "tenant")},
	{"python/sqlalchemy_rollback.py", "correct", 1, nil, "", nil},
	// A guard against writing, by SET when a connection is made: strangers cannot write.
	{"go/pgx", "readonly", 1, []string{"PP004 default_transaction_read_only"}, "SET TRANSACTION READ ONLY", fails("insert into note (body) values ('an order')", `read-only transaction`)},
	{"go/pgx", "readonly-correct", 1, nil, "", nil},
	// Two leaders, and a lock that nobody who is connected holds.
	{"python/psycopg_leader.py", "faulty", 1, []string{"PP009 4711"}, "pg_advisory_xact_lock", all(says(`leaders are \['a', 'b'\]`), locked(4711))},
	{"python/psycopg_leader.py", "correct", 1, nil, "", nil},
	// A stranger asks over the program's connection to another database, as its user.
	{"python/psycopg_dblink.py", "faulty", 1, []string{"PP020 dblink remote"}, "dblink(connection string, …)", says(`wrong: item 7 is could not establish connection`)},
	{"python/psycopg_dblink.py", "correct", 1, nil, "", nil},
}

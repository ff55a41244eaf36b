package atlas

import "github.com/poolproof/poolproof/hostile"

// What several rows share.
var (
	// settingFates is what poolers do with an ordinary setting.
	settingFates = map[Pooler]Fate{PgCat: Lost, PgDog: Tracked, RDSProxy: Pins}
	// pinned is for what RDS Proxy documents that it pins.
	pinned = map[Pooler]Fate{RDSProxy: Pins}
	// unseen is what becomes of settings that a pooler does not see in the text: PgCat looks for the tag SET, pgdog for a
	// statement that begins with SET.
	unseen = map[Pooler]Fate{PgCat: Leaks, PgDog: Leaks}
	// trackedStatement is what poolers do with a named statement of the protocol.
	trackedStatement = map[Pooler]Fate{PgBouncer124: Tracked, PgBouncerReset: Tracked, Odyssey: Tracked, OdysseyKeep: Tracked, PgCat: Leaks, PgDog: Tracked, RDSProxy: Pins}
)

// caches are the kinds of memory in which a backend keeps what it has read from
// the catalogue or has worked out from it.
var caches = []string{
	"memory:Attopt cache", "memory:Btree proof lookup cache", "memory:CFuncHash", "memory:CachedExpression", "memory:Collation cache",
	"memory:Domain constraints", "memory:Event Trigger Cache", "memory:EventTriggerCache", "memory:HandleParallelMessages", "memory:Local Buffer Lookup Table",
	"memory:LocalBufferContext", "memory:Missing Values Cache", "memory:PL/Perl function", "memory:PL/Perl interpreters", "memory:PL/Perl procedures",
	"memory:PL/Perl queries", "memory:PL/Python SPI exceptions", "memory:PL/Python function", "memory:PL/Python procedures", "memory:PL/pgSQL function",
	"memory:PLpgSQL cast cache", "memory:PLpgSQL cast expressions", "memory:PLpgSQL function hash", "memory:RI compare cache", "memory:RI constraint cache",
	"memory:RI query cache", "memory:RelfilenodeMap cache", "memory:Rendezvous variable hash", "memory:SPI Plan", "memory:Shippability cache",
	"memory:TS dictionary", "memory:Tsearch dictionary cache", "memory:Tsearch parser cache", "memory:partition constraint", "memory:partition descriptor",
	"memory:partition key", "memory:row security descriptor",
}

const loopback = `'host=127.0.0.1 port=' || current_setting('port') || ' user=postgres dbname=' || current_database()`

// rows is the table: first what stays, then what holds.
var rows = []Row{
	// Settings.
	{
		Name: "setting", Make: []string{"set work_mem = '9MB'"}, Witness: "show work_mem", Sees: "works with it: a timeout, a search_path, a read-only session",
		Codes: []hostile.Code{hostile.SessionSetting}, DiscardAll: Removed, Narrower: "reset all", Fates: settingFates,
		Differences: []string{"setting", "schema path", "language that does not start"},
	},
	{
		Name: "setting that poolers track", Make: []string{"set timezone = 'Pacific/Chatham'"}, Witness: "show timezone", Sees: "its own: PgBouncer sets it again for each client",
		Harmless:   "TimeZone, DateStyle, client_encoding, standard_conforming_strings and application_name are reported to the client, and poolers set them again for whoever comes next; a note",
		DiscardAll: Removed, Narrower: "reset all",
		Fates:       map[Pooler]Fate{PgBouncer118: Tracked, PgBouncer124: Tracked, PgBouncerReset: Tracked, Odyssey: Tracked, PgCat: Lost, PgDog: Tracked, RDSProxy: Pins},
		Differences: []string{"tracked setting", "reported:TimeZone", "reported:DateStyle", "reported:client_encoding", "reported:standard_conforming_strings", "reported:application_name", "activity:application_name"},
	},
	{
		Name: "IntervalStyle", Make: []string{"set intervalstyle = 'iso_8601'"}, Witness: "select interval '1 day'", Sees: "intervals in another form",
		Codes: []hostile.Code{hostile.SessionSetting}, DiscardAll: Removed, Narrower: "reset all",
		Fates:       map[Pooler]Fate{PgBouncer124: Tracked, PgBouncerReset: Lost, Odyssey: Lost, PgCat: Lost, PgDog: Tracked, RDSProxy: Pins},
		Differences: []string{"setting IntervalStyle", "reported:IntervalStyle"},
	},
	{
		Name: "setting that holds for one transaction", Make: []string{"set default_transaction_isolation = 'serializable'"}, Witness: "show transaction_isolation",
		Sees:  "its transactions begin with it",
		Codes: []hostile.Code{hostile.SessionSetting}, DiscardAll: Removed, Narrower: "reset all", Fates: settingFates,
		Differences: []string{"transaction setting", "reported:default_transaction_read_only"},
	},
	{
		Name: "source of a setting that holds for one transaction", Make: []string{"begin; set transaction isolation level serializable; create temp table atlas_gone (a int) on commit drop; commit"},
		Witness: "select source from pg_settings where name = 'transaction_isolation'", Sees: "the word session in pg_settings", DiscardAll: Stays,
		Harmless: "BEGIN makes transaction_isolation, _read_only and _deferrable anew; only where they came from is remembered", Differences: []string{"transaction setting source"},
	},
	{
		Name: "custom setting", Make: []string{"set app.tenant = 'a'"}, Witness: "select coalesce(current_setting('app.tenant', true), '')", Sees: "another tenant's rows",
		Codes: []hostile.Code{hostile.SessionSetting}, DiscardAll: Removed, Narrower: "reset all", Fates: settingFates,
		Differences: []string{"custom setting"},
	},
	{
		Name: "custom setting that dynamic SQL makes", Make: []string{"do $$begin execute format('set %s = %L', 'app.' || 'hidden', 'a'); end$$"},
		Witness: "select coalesce(current_setting('app.hidden', true), '')", Sees: "another tenant's rows", DiscardAll: Removed, Narrower: "reset all",
		Codes: []hostile.Code{hostile.SessionSetting}, Fates: unseen,
	},
	{
		Name: "custom setting whose name is computed", Make: []string{"do $$begin perform set_config(reverse('neddih.ppa'), 'a', false); end$$"},
		Use:     "select current_setting(reverse('neddih.ppa'), true)",
		Witness: "select coalesce(current_setting('app.hidden', true), '')", Sees: "another tenant's rows, if it reads it: by name, or by a computed name", DiscardAll: Removed, Narrower: "reset all",
		Codes: []hostile.Code{hostile.SessionSetting}, Fates: unseen,
	},
	{
		Name: "custom setting whose name is a parameter", Wire: "Parse select set_config($1, $2, false), Bind app.bound and a value, Sync",
		Witness: "select coalesce(current_setting('app.bound', true), '')", Sees: "another tenant's rows", DiscardAll: Removed, Narrower: "reset all",
		Codes: []hostile.Code{hostile.SessionSetting}, Fates: unseen,
	},
	{
		Name: "custom setting that is empty, not absent", Make: []string{"begin; set local app.local = 'a'; commit"}, Witness: "select current_setting('app.local', true) is null",
		Sees: "'' where a new connection reads null: ''::uuid fails", DiscardAll: Stays,
		Harmless:    "no value of another client is in it, and SET LOCAL is what everybody should use; write nullif(current_setting(name, true), '')",
		Differences: []string{"custom setting that is empty"},
	},
	{
		Name: "settings as of the log-in",
		Make: []string{"do $$begin execute format('alter database %I set lock_timeout = %L', current_database(), '77s'); end$$"}, Witness: "show lock_timeout",
		Sees: "the old value, until the pooler opens new server connections", DiscardAll: Stays,
		Harmless:    "ALTER ROLE and ALTER DATABASE … SET are read when a server connection is opened: nobody's leftover, but tell the pooler to RECONNECT",
		Fates:       map[Pooler]Fate{Pgpool: Leaks},
		Differences: []string{"setting that the session did not make"},
	},

	// Who one is.
	{
		Name: "role", Setup: []string{createRole}, Make: []string{"set role poolproof_atlas"}, Witness: "select current_user", Sees: "works with the rights of this role",
		Codes: []hostile.Code{hostile.SessionRole}, DiscardAll: Removed, Narrower: "reset role", Fates: settingFates,
		Differences: []string{"role", "reported:is_superuser", "function:current_role", "function:current_user", "function:user"},
	},
	{
		Name: "session authorization", Setup: []string{createRole}, Make: []string{"set session authorization poolproof_atlas"}, Witness: "select session_user", Sees: "is this user, and may not go back",
		Codes: []hostile.Code{hostile.SessionRole}, DiscardAll: Removed, Narrower: "reset session authorization", Fates: map[Pooler]Fate{PgBouncer126: Tracked, PgCat: Lost, PgDog: Tracked, RDSProxy: Pins},
		Differences: []string{"session user", "reported:session_authorization", "function:session_user"},
	},

	// Named objects.
	{
		Name: "temporary table, view or sequence", Make: []string{"create temp table atlas_scratch (a int)"}, Witness: "select to_regclass('pg_temp.atlas_scratch') is not null",
		Sees: "relation already exists, or foreign rows", Codes: []hostile.Code{hostile.TempTable}, DiscardAll: Removed, Narrower: "discard temp", Fates: map[Pooler]Fate{PgCat: Leaks, RDSProxy: Pins},
		Differences: []string{"temp:pg_class", "temp:pg_constraint", "temp:pg_statistic_ext"},
	},
	{
		Name: "temporary function", Make: []string{"create function pg_temp.atlas_f() returns int language sql as 'select 1'"}, Witness: "select to_regprocedure('pg_temp.atlas_f()') is not null",
		Sees: "function already exists, or runs another client's code", Codes: []hostile.Code{hostile.TempTable}, DiscardAll: Removed, Narrower: "discard temp",
		Differences: []string{"temp:pg_proc"},
	},
	{
		Name: "temporary type or domain", Make: []string{"create domain pg_temp.atlas_d as int"}, Witness: "select to_regtype('pg_temp.atlas_d') is not null",
		Sees: "it hides a type of the same name: pg_temp is searched first", Codes: []hostile.Code{hostile.TempTable}, DiscardAll: Removed, Narrower: "discard temp",
		Differences: []string{"temp:pg_type"},
	},
	{
		Name: "temporary operator, operator class or family", Make: []string{"create operator pg_temp.=== (function = int4eq, leftarg = int4, rightarg = int4)"},
		Witness: "select to_regoperator('pg_temp.===(int4,int4)') is not null", Sees: "operator already exists", Codes: []hostile.Code{hostile.TempTable}, DiscardAll: Removed, Narrower: "discard temp",
		Differences: []string{"temp:pg_operator", "temp:pg_opclass", "temp:pg_opfamily"},
	},
	{
		Name: "temporary collation or conversion", Make: []string{`create collation pg_temp.atlas_c from "C"`}, Witness: "select to_regcollation('pg_temp.atlas_c') is not null",
		Sees: "collation already exists", Codes: []hostile.Code{hostile.TempTable}, DiscardAll: Removed, Narrower: "discard temp",
		Differences: []string{"temp:pg_collation", "temp:pg_conversion"},
	},
	{
		Name: "temporary text search object", Make: []string{"create text search configuration pg_temp.atlas_ts (copy = pg_catalog.simple)"},
		Witness: "select count(*) from pg_ts_config where cfgnamespace = pg_my_temp_schema()", Sees: "configuration already exists", Codes: []hostile.Code{hostile.TempTable},
		DiscardAll: Removed, Narrower: "discard temp",
		Differences: []string{"temp:pg_ts_config", "temp:pg_ts_dict", "temp:pg_ts_parser", "temp:pg_ts_template"},
	},
	{
		Name: "temporary schema", Make: []string{"begin; create temp table atlas_gone (a int) on commit drop; commit"}, Witness: "select pg_my_temp_schema() <> 0",
		Sees: "nothing: it is empty", Harmless: "an empty schema that the backend uses again", DiscardAll: Stays,
		Differences: []string{"temp schema", "function:pg_my_temp_schema"},
	},
	{
		Name: "cursor WITH HOLD", Make: []string{"declare atlas_cursor cursor with hold for select 1"}, Witness: "fetch atlas_cursor", Sees: "cursor already exists, or foreign rows",
		Codes: []hostile.Code{hostile.HoldCursor}, DiscardAll: Removed, Narrower: "close all", Fates: map[Pooler]Fate{PgCat: Leaks, PgDog: Leaks, RDSProxy: Pins},
		Differences: []string{"cursor", "memory:PortalHoldContext"},
	},
	{
		Name: "LISTEN", Make: []string{"listen atlas_channel"}, Witness: "select pg_listening_channels()", Sees: "notifications that it never asked for, payload included",
		Codes: []hostile.Code{hostile.Listening}, DiscardAll: Removed, Narrower: "unlisten *", Fates: map[Pooler]Fate{PgCat: Leaks, PgDog: Tracked, RDSProxy: Pins},
		Differences: []string{"channel"},
	},
	{
		Name: "advisory lock of the session", Make: []string{"select pg_advisory_lock(42)"},
		Witness: "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()", Sees: "gets the lock as well: two leaders; it stays when its client has left",
		Codes: []hostile.Code{hostile.SessionLock}, DiscardAll: Removed, Narrower: "select pg_advisory_unlock_all()", Fates: map[Pooler]Fate{PgCat: Leaks, PgDog: Pins, RDSProxy: Pins},
		Differences: []string{"lock:advisory"},
	},
	{
		Name: "PREPARE", Make: []string{"prepare atlas_statement as select 1"}, Witness: "execute atlas_statement", Sees: "prepared statement already exists, or runs another client's",
		Codes: []hostile.Code{hostile.SQLPrepared}, DiscardAll: Removed, Narrower: "deallocate all", Fates: map[Pooler]Fate{Odyssey: Leaks, PgCat: Lost, RDSProxy: Pins},
		Differences: []string{"prepared"},
	},
	{
		Name: "named statement of the protocol", Wire: "Parse with a name, Sync; then Bind, Execute, Sync", Witness: "execute atlas_named",
		Sees: "prepared statement already exists, or runs another client's", Codes: []hostile.Code{hostile.MissingNamed, hostile.NameCollision}, DiscardAll: Removed, Narrower: "deallocate all", Fates: trackedStatement,
	},
	{
		Name: "name that two clients give a statement", Wire: "two clients parse different texts under one name", Witness: "execute atlas_named",
		Sees: "the other one's rows, without an error", Codes: []hostile.Code{hostile.NameCollision}, DiscardAll: Removed, Narrower: "deallocate all", Fates: trackedStatement,
	},
	{
		Name: "unnamed statement", Wire: "Parse, Sync; then Bind, Execute, Sync", Sees: "its parameters go to another client's statement, without an error",
		Codes: []hostile.Code{hostile.ForeignUnnamed}, DiscardAll: Removed,
		Fates: map[Pooler]Fate{Odyssey: Tracked, OdysseyKeep: Tracked, Supavisor: Leaks, PgDog: Unknown},
	},
	{
		Name: "plan whose result has changed", Setup: []string{"create table if not exists atlas_plan (a int)", "alter table atlas_plan drop column if exists b"},
		Wire:    "Parse select * from atlas_plan with a name, Execute; then alter table atlas_plan add b int, and Execute again",
		Witness: "execute atlas_plan", Sees: "cached plan must not change result type (0A000), for good where the pooler tracks the statement",
		As: "pgbouncer-1.24", Codes: []hostile.Code{hostile.StaleStatement}, DiscardAll: Removed, Narrower: "deallocate all",
		Fates: map[Pooler]Fate{PgBouncerReset: Unknown, Odyssey: Unknown, OdysseyKeep: Unknown},
	},

	// Numbers.
	{
		Name: "last value of a sequence", Setup: []string{"create sequence if not exists atlas_sequence"}, Make: []string{"select nextval('atlas_sequence')"}, Use: "select lastval()",
		Witness: "select lastval()", Sees: "the value of another client's insert", Codes: []hostile.Code{hostile.SequenceState}, DiscardAll: Removed, Narrower: "discard sequences", Fates: pinned,
		Differences: []string{"lastval", "memory:Sequence values"},
	},
	{
		Name: "values that a sequence has in store", Setup: []string{"create sequence if not exists atlas_stored cache 10"}, Make: []string{"select nextval('atlas_stored')"},
		Witness: "select nextval('atlas_stored') % 10", Sees: "the numbers that this one left over", DiscardAll: Removed, Narrower: "discard sequences",
		Harmless: "CACHE promises different numbers, not an order", Fates: pinned,
	},
	{
		Name: "seed of random()", Make: []string{"select setseed(0.5)"}, Witness: "select random()", Twin: true, Sees: "numbers that others can foretell",
		Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays, Differences: []string{"random"},
	},

	// Code and caches.
	{
		Name: "library that was loaded by LOAD", Make: []string{"load 'auto_explain'"}, Witness: "select current_setting('auto_explain.log_min_duration', true)",
		Sees: "its hooks and settings", Codes: []hostile.Code{hostile.LoadedLibrary}, DiscardAll: Stays, Fates: pinned,
		Differences: []string{"library"},
	},
	{
		Name: "library that its first use loads", Make: []string{"do $$begin end$$"}, Witness: "select current_setting('plpgsql.variable_conflict', true)",
		Sees: "settings of the library, at their defaults", Harmless: "whoever uses it loads it", DiscardAll: Stays,
	},
	{
		Name: "caches", Make: []string{"select to_tsvector('english', 'cars')"}, Witness: "select count(*) from pg_backend_memory_contexts where name ~ '^TS (parser|dictionary|configuration)|Snowball|TSearch'",
		Sees:     "speed and memory",
		Harmless: "caches of the catalogue: PostgreSQL drops what a change makes wrong, before the next statement", DiscardAll: Stays,
		Differences: caches,
	},
	{
		Name: "statistics that are not sent yet", Documented: "PostgreSQL 15 sends them at most once a second, and pg_stat_xact_… shows them until then", Sees: "counts of others in pg_stat_xact_…",
		Harmless: "nobody decides by them", DiscardAll: Stays, Differences: []string{"view:pg_stat_xact_user_tables", "view:pg_stat_xact_all_tables", "view:pg_stat_xact_sys_tables", "view:pg_stat_xact_user_functions"},
	},

	// Extensions.
	{
		Name: "dblink's named connection", Needs: []string{"dblink"}, Make: []string{"select dblink_connect('atlas', " + loopback + ")"},
		Witness: "select dblink_get_connections()::text", Sees: "queries run as the user that somebody else logged in as", Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays,
		Differences: []string{"dblink", "memory:Remote Con hash"},
	},
	{
		Name: "dblink's unnamed connection", Needs: []string{"dblink"}, Make: []string{"select dblink_connect(" + loopback + ")"},
		Witness: "select n from dblink('select 1') as t(n int)", Sees: "queries run as the user that somebody else logged in as", Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays,
		Differences: []string{"dblink unnamed"},
	},
	{
		Name: "connection of postgres_fdw", Needs: []string{"postgres_fdw"},
		Setup: []string{
			`do $$begin execute format('create server if not exists atlas_server foreign data wrapper postgres_fdw options (host %L, port %L, dbname %L)', '127.0.0.1', current_setting('port'), current_database()); end$$`,
			"create user mapping if not exists for current_user server atlas_server options (user 'postgres')",
			"create table if not exists atlas_remote (a int)", "create foreign table if not exists atlas_foreign (a int) server atlas_server options (table_name 'atlas_remote')",
		},
		Make: []string{"select * from atlas_foreign"}, Witness: "select count(*) from postgres_fdw_get_connections()", Sees: "a query that need not connect",
		Harmless: "it belongs to the user mapping: only who may use the mapping gets it, and would open the same; it costs a connection on the other server", DiscardAll: Stays,
		Narrower: "select postgres_fdw_disconnect_all()", Differences: []string{"postgres_fdw connection", "memory:postgres_fdw connections"},
	},
	{
		Name: "hypothetical index of HypoPG", Needs: []string{"hypopg"}, Setup: []string{"create table if not exists atlas_indexed (a int)"},
		Make: []string{"select hypopg_create_index('create index on atlas_indexed (a)')"}, Witness: "select count(*) from hypopg_list_indexes",
		Sees: "EXPLAIN with an index that does not exist", Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays, Narrower: "select hypopg_reset()", Differences: []string{"hypopg"},
	},
	{
		Name: "%_SHARED of PL/Perl", Needs: []string{"plperl"},
		Setup: []string{
			"create or replace function atlas_perl_set() returns void language plperl as $$ $_SHARED{tenant} = 'a'; $$",
			"create or replace function atlas_perl_get() returns text language plperl as $$ return join ',', sort keys %_SHARED; $$",
		},
		Make: []string{"select atlas_perl_set()"}, Witness: "select atlas_perl_get()", Sees: "what another client's function left, if it calls functions of the same role",
		Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays, Differences: []string{"globals:atlas_perl_get", "memory:PL/Perl spi_prepare query"},
	},
	{
		Name: "GD and modules of PL/Python", Needs: []string{"plpython3u"},
		Setup: []string{
			"create or replace function atlas_python_set() returns void language plpython3u as $$\nGD['tenant'] = 'a'\n$$",
			"create or replace function atlas_python_get() returns text language plpython3u as $$\nreturn ','.join(sorted(GD))\n$$",
		},
		Make: []string{"select atlas_python_set()"}, Witness: "select atlas_python_get()", Sees: "what another client's function left",
		Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays, Differences: []string{"globals:atlas_python_get", "memory:PL/Python plan context"},
	},
	{
		Name: "globals of PL/Tcl", Needs: []string{"pltcl"},
		Setup: []string{
			"create or replace function atlas_tcl_set() returns void language pltcl as $$ global tenant; set tenant a $$",
			"create or replace function atlas_tcl_get() returns text language pltcl as $$ return [info exists ::tenant] $$",
		},
		Make: []string{"select atlas_tcl_set()"}, Witness: "select atlas_tcl_get()", Sees: "what another client's function left, if it calls functions of the same role",
		Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays, Differences: []string{"globals:atlas_tcl_get", "memory:PL/Tcl spi_prepare query"},
	},
	{
		Name: "limit of pg_trgm", Needs: []string{"pg_trgm"}, Make: []string{"select set_limit(0.6)"}, Witness: "select show_limit()", Sees: "other rows by the operator %",
		Codes: []hostile.Code{hostile.SessionSetting}, DiscardAll: Removed, Narrower: "reset all", Fates: unseen,
	},
	{
		Name: "variables of an extension (orafce)", Needs: []string{"orafce"}, Make: []string{"select dbms_output.enable(), dbms_output.put_line('of another client')"},
		Witness: "select (dbms_output.get_line()).line", Sees: "what another client left", Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays,
		Narrower: "select dbms_output.disable()",
	},
	{
		Name: "variables of pg_variables, and globals of PL/v8, PL/Lua and PL/R", Documented: "they are not run here; prove knows the names of pg_variables' functions, and how functions in these languages set globals",
		Sees: "what another client left", Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays,
	},

	{
		Name: "what a login event trigger did", Documented: "PostgreSQL 17", Versions: "17 and later", Sees: "what it did for the pooler, once for each server connection", DiscardAll: Stays,
		Harmless: "the same for everybody, unless it looks at who connects",
	},
	{
		Name: "address and encryption of the connection", Documented: "any version", Sees: "the pooler's, in inet_client_addr() and pg_stat_ssl", DiscardAll: Stays,
		Harmless: "the same for everybody; do not decide by it behind a pooler",
	},

	// Replication and backups.
	{
		Name: "replication origin of the session", Setup: []string{"select pg_replication_origin_create('poolproof_atlas') where not exists (select from pg_replication_origin where roname = 'poolproof_atlas')"},
		Make: []string{"select pg_replication_origin_session_setup('poolproof_atlas')"}, Witness: "select pg_replication_origin_session_is_setup()",
		Sees: "its commits count as another node's: they are not replicated", Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays,
		Narrower: "select pg_replication_origin_session_reset()", Differences: []string{"function:pg_replication_origin_session_is_setup"},
	},
	{
		Name: "temporary replication slot", Make: []string{"select pg_create_physical_replication_slot('atlas_' || pg_backend_pid(), true, true)"},
		Witness: "select count(*) from pg_replication_slots where active_pid = pg_backend_pid()", Sees: "slot already exists, or is active; the server keeps WAL as long as the pooler keeps the connection",
		Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays, Narrower: "select pg_drop_replication_slot('atlas_' || pg_backend_pid())", Differences: []string{"temporary slot"},
	},
	{
		Name: "base backup that was begun", Make: []string{"select pg_backup_start('atlas', true)"}, Witness: "select labelfile <> '' from pg_backup_stop(false)",
		Sees: "may end it; its own client cannot: backup is not in progress", Codes: []hostile.Code{hostile.FunctionState}, DiscardAll: Stays,
		Versions: "15 and later; before, pg_start_backup",
	},

	// Ways to hold a server connection.
	{
		Name: "open transaction", Make: []string{"begin"}, Holds: "idle in transaction", Sees: "waits for a server connection: query_wait_timeout",
		Codes: []hostile.Code{hostile.IdleInTransaction}, DiscardAll: Refused, Differences: []string{"open transaction"},
	},
	{
		Name: "failed transaction", Wire: "BEGIN, a statement that fails and COMMIT before one Sync", Holds: "idle in transaction (aborted)", Sees: "waits for a server connection",
		Codes: []hostile.Code{hostile.IdleInTransaction, hostile.FailedPipeline}, DiscardAll: Refused, Differences: []string{"failed transaction"},
	},
	{
		Name: "pipeline without its Sync", Wire: "Parse, Bind, Execute, Flush, and nothing more", Holds: "active",
		Sees:  "waits for a server connection: of the timeouts only transaction_timeout (PostgreSQL 17) ends it",
		Codes: []hostile.Code{hostile.HeldForGood}, DiscardAll: Refused,
	},
	{
		Name: "COPY that is not ended", Wire: "Query copy … from stdin, and no CopyDone", Holds: "active", Setup: []string{"create table if not exists atlas_copied (a int)"},
		Sees: "waits for a server connection", Codes: []hostile.Code{hostile.HeldForGood}, DiscardAll: Refused,
	},
	{
		Name: "CopyData after the error", Setup: []string{"create table if not exists atlas_copied (a int)"},
		Wire: "Query copy … from stdin, a wrong row; after the error and its ReadyForQuery another row and CopyDone", Holds: "idle",
		Sees:  "waits for a server connection: PgBouncer keeps it active until the client's next statement or its end (1.18, 1.24, 1.26); PostgreSQL itself ignores the rows",
		Codes: []hostile.Code{hostile.HeldForGood}, DiscardAll: Refused,
	},
	{
		Name: "answer that is not read", Wire: "Query for more rows than the sockets take, and no reading", Holds: "active", Sees: "waits for a server connection",
		Codes: []hostile.Code{hostile.HeldForGood}, DiscardAll: Refused,
	},
	{
		Name: "Syncs in flight", Wire: "a second Query before the first is answered", Sees: "the second one's answer, where the pooler gives back at the first",
		Codes: []hostile.Code{hostile.SyncsInFlight}, DiscardAll: Removed,
		Fates: map[Pooler]Fate{PgBouncer118: Leaks, PgBouncer124: Tracked, PgBouncerReset: Tracked, Odyssey: Tracked, OdysseyKeep: Tracked, Supavisor: Leaks},
	},
	{
		Name: "number of the server process", Wire: "select pg_backend_pid(), and pg_cancel_backend of it in a later transaction", Sees: "its statement is cancelled",
		Codes: []hostile.Code{hostile.StalePID}, DiscardAll: Stays,
	},
	{
		Name: "long statement, or one that waits for a lock", Make: nil, Documented: "any version", Holds: "active", Sees: "waits for a server connection", DiscardAll: Refused,
		Harmless: "it holds the connection for its work; statement_timeout and lock_timeout, by ALTER ROLE, bound it",
	},
}

// elsewhere are the codes that have no row, and why.
var elsewhere = map[hostile.Code]string{
	hostile.StartupParameter: "what a client asks for when it connects, and poolers refuse or drop: nothing stays",
	hostile.SettingNotSet:    "the other end of a custom setting: the transaction that reads what somebody left",
	hostile.LocalOutside:     "SET LOCAL that has no effect: nothing stays",
	hostile.ResetsOthers:     "what takes away what others keep",
	hostile.NeverGivenBack:   "what a program does after a fault of the pooler (--faults): its own pool",
	hostile.GoesOn:           "what a program does after a fault of the pooler (--faults): the transaction never began",
	hostile.SentTwice:        "what a program does after a fault of the pooler (--faults): the write is stored twice",
	hostile.LockLost:         "what a program does after a fault of the pooler (--faults): the lock went with its session",
}

// createRole makes the role of the rows about roles. Roles belong to the server.
const createRole = `do $$begin if not exists (select from pg_roles where rolname = 'poolproof_atlas') then create role poolproof_atlas; end if; end$$`

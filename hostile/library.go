package hostile

import (
	"regexp"
	"slices"
	"strings"
)

// Library is a driver, or a library that works through one, as advice needs it.
type Library struct {
	Name     string   // as Client.Driver has it
	Language string   // "Python", "Node" …
	Over     []string // the drivers below it; where Fixes has nothing, theirs holds
	Fixes    []Advice // at most one for a code and a setting
}

// Advice is what the people who use a library do about a fault: its own knob,
// or what to use where it has none.
type Advice struct {
	Codes   []Code
	Setting string // it is for this one only; "" is for all others
	Knob    string // what to set, or to do
	Also    string // the same under other names, or another way, which was not run; "" if there is none
	Warning string // how that can hurt; "" if it cannot
	// Source says how we know. Either the knob was run with and without: then it
	// names programs of the corpus and their forms, "program faulty correct", with
	// "; " between several. A program whose client cannot be told from others' ends
	// in "unrecognized"; where "tracked" stands for the correct form, the faulty one
	// is right behind a pooler that tracks statements. Or it is "documented: WHERE,
	// DATE", with a version.
	Source string
}

// Run reports whether the knob was run here, with and without.
func (a Advice) Run() bool { return !strings.HasPrefix(a.Source, "documented: ") }

// Text is the advice in one line, as Finding.Fix has it.
func (a Advice) Text() string {
	text := a.Knob
	if !a.Run() {
		text += " (documented, not run here)"
	}
	if a.Also != "" {
		text += "; documented, not run here: " + a.Also
	}
	if a.Warning != "" {
		text += "; careful: " + a.Warning
	}
	return text
}

// Libraries returns all that are known, grouped by language.
func Libraries() []Library {
	all := make([]Library, len(libraries))
	for i, l := range libraries {
		all[i] = Library{l.name, l.language, slices.Clone(l.over), slices.Clone(l.fixes)}
	}
	return all
}

// library is a Library and how it is recognized.
type library struct {
	name, language string
	over           []string
	packages       []string       // that are on the stack in Node and Python: of npm, or modules
	applications   []string       // application_name, in small letters
	statements     *regexp.Regexp // names of statements
	afterDriver    bool           // its texts are others' too: they count once a driver of over is known
	texts          *regexp.Regexp // the beginning of what only it sends
	words          []string       // that only its texts have
	fixes          []Advice
}

// Names that Client.Driver may have, of those that are named elsewhere.
const (
	driverAsyncpg    = "asyncpg"
	driverPsycopg    = "psycopg"
	driverPsycopg2   = "psycopg2"
	driverLibpq      = "libpq"
	driverPgx        = "pgx"
	driverLibPQ      = "lib/pq"
	driverPgjdbc     = "pgjdbc"
	driverR2DBC      = "r2dbc-postgresql"
	driverVertx      = "vertx-pg-client"
	driverNodePg     = "node-postgres"
	driverPostgresJS = "postgres.js"
	driverTokio      = "tokio-postgres"
	driverSqlx       = "sqlx"
	driverNpgsql     = "npgsql"
	driverRubyPg     = "ruby-pg"
	driverPDO        = "pdo"
	driverDBD        = "DBD::Pg"
	driverDjango     = "django"
	driverPrisma     = "prisma"
	driverGoPg       = "go-pg"
)

// libraryOf returns the library of a name, or nil.
func libraryOf(name string) *library {
	if i := slices.IndexFunc(libraries, func(l library) bool { return l.name == name }); i >= 0 {
		return &libraries[i]
	}
	return nil
}

// libraryOfPackage returns the library that a package on the stack belongs to,
// or nil. A package of a scope ("@mikro-orm/core") belongs to whoever has the
// scope ("@mikro-orm/").
func libraryOfPackage(name string) *library {
	for i := range libraries {
		if slices.ContainsFunc(libraries[i].packages, func(p string) bool {
			return p == name || strings.HasSuffix(p, "/") && strings.HasPrefix(name, p)
		}) {
			return &libraries[i]
		}
	}
	return nil
}

// own returns the library's own advice for a setting, or what is for all if the
// setting is "".
func (l *library) own(code Code, setting string) (Advice, bool) {
	for _, a := range l.fixes {
		if a.Setting == setting && slices.Contains(a.Codes, code) {
			return a, true
		}
	}
	return Advice{}, false
}

// adviceFor returns the advice of the first of these libraries that has some,
// or else of the drivers below them.
func adviceFor(code Code, setting string, senders []string) (Advice, bool) {
	var below []string
	for _, name := range senders {
		l := libraryOf(name)
		if l == nil {
			continue
		}
		if a, ok := l.own(code, setting); ok {
			return a, true
		}
		below = append(below, l.over...)
	}
	if len(below) == 0 {
		return Advice{}, false
	}
	return adviceFor(code, setting, below)
}

// names is a regular expression for names of statements.
func names(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(` + pattern + `)$`) }

// begins is a regular expression for the beginning of a text.
func begins(pattern string) *regexp.Regexp { return regexp.MustCompile(`^\s*(` + pattern + `)`) }

// documented is the source of advice that was not run here.
func documented(where string) string { return "documented: " + where + ", 2026-11-27" }

// Groups of codes that one knob mends.
var (
	statementNames = []Code{MissingNamed, NameCollision}
	unnamed        = []Code{ForeignUnnamed}
	settings       = []Code{SessionSetting}
	startup        = []Code{StartupParameter}
	listening      = []Code{Listening}
	locking        = []Code{SessionLock}
)

// Libraries above drivers come before the drivers, so that a text or a name that
// both could have is the library's.
var libraries = []library{
	// --- Python ---
	{
		name: "langgraph", language: "Python", over: []string{driverPsycopg}, packages: []string{"langgraph"},
		words: []string{"checkpoint_blobs", "checkpoint_writes", "checkpoint_migrations"},
		fixes: []Advice{{
			Codes: statementNames, Knob: `PostgresSaver(ConnectionPool(url, kwargs={"prepare_threshold": None, "autocommit": True, "row_factory": dict_row})) instead of from_conn_string, which prepares everything`,
			Source: "python/langgraph_saver.py default correct",
		}},
	},
	{
		name: "procrastinate", language: "Python", over: []string{driverPsycopg}, packages: []string{"procrastinate"}, words: []string{"procrastinate_"},
		fixes: []Advice{
			{Codes: statementNames, Knob: `PsycopgConnector(conninfo=url, kwargs={"prepare_threshold": None})`, Source: "python/procrastinate_app.py default correct"},
			{
				Codes: listening, Knob: "run_worker(listen_notify=False)", Also: "a connector with the direct URL for the worker",
				Warning: "without LISTEN a job waits for the next poll (fetch_job_polling_interval, 5 s)", Source: "python/procrastinate_app.py listen correct",
			},
		},
	},
	{
		name: "pgqueuer", language: "Python", over: []string{driverAsyncpg, driverPsycopg}, packages: []string{"pgqueuer"}, words: []string{"pgqueuer", "ch_pgqueuer"},
		fixes: []Advice{{
			Codes: listening, Knob: "PgQueuer has no knob against LISTEN: its workers need the direct URL (DIRECT_URL); producers may use the pooled one with asyncpg's statement_cache_size=0",
			Source: "python/pgqueuer_app.py default direct",
		}},
	},
	{
		name: "tortoise", language: "Python", over: []string{driverAsyncpg, driverPsycopg}, packages: []string{"tortoise"},
		fixes: []Advice{
			{Codes: statementNames, Knob: `"statement_cache_size": 0 among the connection's "credentials", or ?statement_cache_size=0 in db_url`, Source: "python/tortoise_app.py default correct"},
			{Codes: settings, Knob: "async with in_transaction() as tx: tx.execute_query(\"select set_config($1, $2, true)\", …), and queries with using_db(tx)", Source: "python/tortoise_app.py set correct"},
			{Codes: startup, Setting: "search_path", Knob: `take "schema" out of the credentials; schema in each model's Meta instead, or ALTER ROLE … SET search_path`, Source: "python/tortoise_app.py schema correct"},
		},
	},
	{
		name: "peewee", language: "Python", over: []string{driverPsycopg2, driverPsycopg}, packages: []string{"peewee", "playhouse"},
		fixes: []Advice{
			{Codes: []Code{HoldCursor}, Knob: "server_side_cursors=False (the default) in PostgresqlExtDatabase, and page by key; or ServerSide(query) inside db.atomic()", Source: "python/peewee_app.py cursor correct"},
			{Codes: settings, Knob: "db.execute_sql(\"select set_config(%s, %s, true)\", …) inside with db.atomic()", Source: "python/peewee_app.py set correct"},
		},
	},
	{
		name: "aiopg", language: "Python", over: []string{driverPsycopg2}, packages: []string{"aiopg"},
		fixes: []Advice{
			{Codes: settings, Knob: "aiopg is always in autocommit: \"begin\" first, then select set_config(…, true), and \"commit\" after the statements that need it", Source: "python/aiopg_app.py set correct"},
			{Codes: listening, Knob: "aiopg.connect(DIRECT_URL) for the one connection that listens", Source: "python/aiopg_app.py listen correct"},
		},
	},
	{
		name: "celery", language: "Python", over: []string{"sqlalchemy"}, packages: []string{"celery", "kombu"}, words: []string{"celery_taskmeta", "kombu_message"},
		fixes: []Advice{{Codes: statementNames, Knob: "with psycopg: database_engine_options = {\"connect_args\": {\"prepare_threshold\": None}}", Source: "python/celery_app.py default correct"}},
	},
	{
		name: "airflow", language: "Python", over: []string{"sqlalchemy"}, packages: []string{"airflow"},
		fixes: []Advice{
			{
				Codes: statementNames, Knob: "[database] sql_alchemy_connect_args = the import path of a dictionary that has \"prepare_threshold\": None (psycopg)",
				Also:   "sql_alchemy_connect_args_async with asyncpg's settings, for sql_alchemy_conn_async",
				Source: documented("Airflow 3.3.2, its own configuration, section database, sql_alchemy_connect_args and sql_alchemy_connect_args_async"),
			},
		},
	},
	{
		name: "django-tenants", language: "Python", over: []string{driverDjango}, packages: []string{"django_tenants"},
		fixes: []Advice{{
			Codes: settings, Setting: "search_path", Knob: "django-tenants has no knob for this: it sets search_path for the session; use the direct URL or a pooler in session mode",
			Source: "python/django_tenants_app.py default direct",
		}},
	},
	{
		name: driverDjango, language: "Python", over: []string{driverPsycopg, driverPsycopg2}, packages: []string{"django"}, texts: begins(`DECLARE "_django_curs_`),
		fixes: []Advice{
			{Codes: []Code{HoldCursor}, Knob: "DISABLE_SERVER_SIDE_CURSORS: True in DATABASES, or iterator() inside transaction.atomic()", Source: "python/django_program.py cursor correct; python/django_program.py cursor atomic"},
			{Codes: statementNames, Knob: `leave "prepare_threshold" out of DATABASES' OPTIONS: Django prepares nothing by itself`, Source: "python/django_program.py prepared correct"},
			{Codes: startup, Knob: `take the setting out of "options" in DATABASES' OPTIONS: ALTER ROLE … SET`, Source: "python/django_program.py options correct"},
		},
	},
	{
		name: "sqlalchemy", language: "Python", over: []string{driverAsyncpg, driverPsycopg, driverPsycopg2}, packages: []string{"sqlalchemy"},
		fixes: []Advice{
			{Codes: settings, Knob: "connection.execute(text(\"select set_config(:n, :v, true)\")) in the session's after_begin event, not at connect or checkout", Source: "python/sqlalchemy_asyncpg.py set correct"},
		},
	},
	{
		name: driverAsyncpg, language: "Python", packages: []string{"asyncpg"}, statements: names(`__asyncpg_(stmt_)?[0-9a-f-]+_*`), texts: asyncpgReset,
		fixes: []Advice{
			{
				Codes:   []Code{MissingNamed},
				Knob:    "statement_cache_size=0 for connect() and create_pool(); with SQLAlchemy also prepared_statement_cache_size=0 and prepared_statement_name_func=lambda: f\"__asyncpg_{uuid4()}__\" for unique names",
				Warning: "SQLAlchemy's poolclass=NullPool, which its docs add, opens a connection for each checkout and exhausts ports under load; keep its pool",
				Source:  "python/asyncpg_cache.py default correct; python/sqlalchemy_asyncpg.py default correct",
			},
			{
				Codes: []Code{NameCollision}, Knob: "statement_cache_size=0; for a cursor also (await conn.prepare(sql, name='')).cursor(); with SQLAlchemy prepared_statement_name_func=lambda: f\"__asyncpg_{uuid4()}__\"",
				Source: "python/asyncpg_cursor.py faulty correct; python/sqlalchemy_asyncpg.py default correct",
			},
			{Codes: startup, Knob: "take it out of server_settings= (connect and create_pool): ALTER ROLE … SET, or set_config($1, $2, true) in the transaction", Source: "python/asyncpg_session.py settings correct"},
		},
	},
	{
		name: driverPsycopg, language: "Python", packages: []string{"psycopg", "psycopg_pool"}, statements: names(`_pg3_[0-9]+.*`),
		fixes: []Advice{
			{Codes: []Code{StalePID}, Knob: "conn.cancel_safe(), or ask for pg_backend_pid() in the transaction that is to be cancelled", Source: "python/psycopg_cancel.py faulty correct"},
			{
				Codes: []Code{HeldForGood}, Setting: "pipeline without its sync", Knob: "pipeline.sync() before waiting for anything else", Source: "python/psycopg_flush.py faulty correct unrecognized",
			},
			{
				Codes: []Code{HeldForGood}, Knob: "COPY inside a transaction (autocommit=False), or conn.execute(\"select 1\") after one that failed", Source: "python/psycopg_copy.py faulty correct",
			},
			{Codes: statementNames, Knob: "psycopg.connect(…, prepare_threshold=None); with ConnectionPool in its kwargs, with SQLAlchemy in connect_args", Source: "python/psycopg_prepare.py default correct; python/langgraph_saver.py default correct; python/celery_app.py default correct"},
			{Codes: settings, Setting: "default_transaction_isolation", Knob: "connection.isolation_level without autocommit, so that psycopg says it with BEGIN; or SET TRANSACTION first in the transaction", Source: "python/psycopg_session.py set correct"},
			{Codes: settings, Setting: "default_transaction_read_only", Knob: "connection.read_only without autocommit, so that psycopg says it with BEGIN; or SET TRANSACTION READ ONLY first in the transaction", Source: "python/psycopg_session.py set correct"},
			{Codes: startup, Knob: "take it out of options= in the connection string: ALTER ROLE … SET, or set_config(…, true) in the transaction", Source: "python/psycopg_session.py options correct"},
		},
	},
	{
		name: driverPsycopg2, language: "Python", packages: []string{"psycopg2"}, texts: begins(`SET default_transaction_(read_only|isolation|deferrable) TO '`),
		fixes: []Advice{
			{Codes: settings, Setting: "default_transaction_read_only", Knob: "set_session(readonly=…) without autocommit, so that psycopg2 says it with BEGIN; or SET TRANSACTION READ ONLY first in the transaction", Source: "python/psycopg2_session.py faulty correct"},
			{Codes: settings, Setting: "default_transaction_isolation", Knob: "set_session(isolation_level=…) without autocommit, so that psycopg2 says it with BEGIN; or SET TRANSACTION first in the transaction", Source: "python/psycopg2_session.py isolation correct"},
			{Codes: startup, Knob: "take it out of options= in the connection string: ALTER ROLE … SET, or set_config(…, true) in the transaction", Source: "python/psycopg2_session.py options correct"},
		},
	},

	// --- Node ---
	{
		name: "typeorm", language: "Node", over: []string{driverNodePg}, packages: []string{"typeorm"},
		fixes: []Advice{
			{Codes: settings, Setting: "default_transaction_isolation", Knob: "dataSource.transaction(\"SERIALIZABLE\", …), which says SET TRANSACTION", Source: "node/typeorm_tenant.cjs isolation correct"},
			{Codes: settings, Knob: "dataSource.transaction(async m => { await m.query(\"select set_config($1, $2, true)\", …); … }), with m for all that needs it", Source: "node/typeorm_tenant.cjs faulty correct"},
			{Codes: startup, Knob: "take it out of extra: {…} in DataSource: ALTER ROLE … SET; for a time limit extra.query_timeout, which the client keeps", Source: "node/typeorm_tenant.cjs timeout correct"},
		},
	},
	{
		name: "mikro-orm", language: "Node", over: []string{"knex", driverNodePg}, packages: []string{"@mikro-orm/"},
		fixes: []Advice{
			{Codes: settings, Setting: "search_path", Knob: "em.fork({ schema }) names the schema in each query", Source: "node/mikroorm_tenant.cjs schema correct"},
			{Codes: settings, Knob: "em.transactional(async em => { await em.execute(\"select set_config(?, ?, true)\", …); … })", Source: "node/mikroorm_tenant.cjs faulty correct"},
			{Codes: startup, Knob: "take it out of driverOptions: ALTER ROLE … SET", Source: "node/mikroorm_tenant.cjs timeout correct"},
		},
	},
	{
		name: "kysely", language: "Node", over: []string{driverNodePg, driverPostgresJS}, packages: []string{"kysely"},
		fixes: []Advice{
			{Codes: settings, Setting: "default_transaction_isolation", Knob: "db.transaction().setIsolationLevel(…), which says it with the transaction", Source: "node/kysely_tenant.cjs isolation correct"},
			{Codes: settings, Setting: "search_path", Knob: "db.withSchema(…) names the schema in each query", Source: "node/kysely_tenant.cjs schema correct"},
			{Codes: settings, Knob: "db.transaction().execute(async trx => { await sql`select set_config(${name}, ${value}, true)`.execute(trx); … }) instead of db.connection()", Source: "node/kysely_tenant.cjs faulty correct"},
		},
	},
	{
		name: "drizzle", language: "Node", over: []string{driverNodePg, driverPostgresJS}, packages: []string{"drizzle-orm"},
		fixes: []Advice{
			{Codes: statementNames, Knob: "no .prepare(name): leave name: out; on postgres.js postgres(url, { prepare: false })", Source: "node/drizzle_prepared.cjs prepare correct; node/postgresjs_all.cjs default correct"},
			{Codes: settings, Knob: "db.transaction(async tx => { await tx.execute(sql`select set_config(${name}, ${value}, true)`); … })", Source: "node/drizzle_prepared.cjs set correct"},
			{Codes: []Code{NeverGivenBack}, Knob: "a client of one's own: const client = await pool.connect(); try { await drizzle(client).transaction(…) } finally { client.release(error) }; db.transaction(…) over a pool keeps its client when BEGIN fails", Source: "node/drizzle_badday.cjs transaction correct"},
		},
	},
	{
		name: "objection", language: "Node", over: []string{"knex"}, packages: []string{"objection"},
		fixes: []Advice{
			{Codes: settings, Setting: "search_path", Knob: "Model.query().withSchema(…) instead of Knex's searchPath", Source: "node/objection_tenant.cjs searchPath correct"},
			{Codes: settings, Knob: "Model.transaction(async trx => { await trx.raw(\"select set_config(?, ?, true)\", …); await Model.query(trx)… })", Source: "node/objection_tenant.cjs faulty correct"},
		},
	},
	{
		name: "knex", language: "Node", over: []string{driverNodePg}, packages: []string{"knex"},
		fixes: []Advice{
			{Codes: settings, Setting: "search_path", Knob: "leave searchPath out of the configuration: withSchema(…) in each query", Source: "node/knex_schema.cjs searchPath correct"},
			{Codes: settings, Knob: "no SET in pool.afterCreate: knex.transaction(async trx => { await trx.raw(\"select set_config(?, ?, true)\", …); … })", Source: "node/knex_schema.cjs afterCreate correct"},
		},
	},
	{
		name: "sequelize", language: "Node", over: []string{driverNodePg}, packages: []string{"sequelize", "@sequelize/"},
		fixes: []Advice{
			{Codes: settings, Knob: "sequelize.transaction(async transaction => { await sequelize.query(\"select set_config(…, true)\", { transaction }); … })", Source: "node/sequelize_tenant.cjs faulty correct"},
			{Codes: startup, Knob: "take it out of dialectOptions (statement_timeout, options …): ALTER ROLE … SET", Source: "node/sequelize_tenant.cjs timeout correct"},
		},
	},
	{
		name: driverPrisma, language: "Node", over: []string{driverNodePg}, packages: []string{"@prisma/"},
		fixes: []Advice{
			{Codes: statementNames, Knob: "?pgbouncer=true on the pooled URL, and directUrl for migrations", Source: documented("Prisma 6, docs on databases, configure Prisma Client with PgBouncer")},
			{Codes: settings, Knob: "$transaction([tx.$executeRaw`select set_config(…, true)`, query]), both in one", Source: "node/prisma_tenant.cjs faulty correct"},
			{
				Codes: locking, Knob: "the direct URL for prisma migrate, which locks for the session: that of the adapter in prisma.config", Also: "directUrl in the datasource, where the engine is no driver adapter",
				Source: "node/prisma_migrate.cjs pooled direct",
			},
		},
	},
	{
		name: "graphile-worker", language: "Node", over: []string{driverNodePg}, packages: []string{"graphile-worker"}, words: []string{"graphile_worker", `LISTEN "jobs:insert"`},
		fixes: []Advice{
			{Codes: statementNames, Knob: "noPreparedStatements: true in run() and makeWorkerUtils()", Source: "node/graphile_worker.cjs default noprep"},
			{Codes: listening, Knob: "the worker listens always: run({ connectionString: DIRECT_URL }); makeWorkerUtils() and addJob may use the pooled URL", Source: "node/graphile_worker.cjs default correct"},
		},
	},
	{
		name: "postgraphile", language: "Node", over: []string{driverNodePg}, packages: []string{"postgraphile", "@dataplan/", "graphile-build-pg", "postgraphile-core"},
		fixes: []Advice{
			{Codes: statementNames, Knob: "POSTGRAPHILE_PREPARED_STATEMENT_CACHE_SIZE=0 in the environment (version 4)", Also: "version 5: preparedStatementCacheSize: 0 in makePgService's adaptorSettings", Source: "node/postgraphile_schema.cjs default correct"},
			{Codes: listening, Knob: "no watchPg (--watch) in production; where it watches, the direct URL for the whole of postgraphile(): ownerConnectionString only installs what it listens for", Also: "live queries over the direct URL", Source: "node/postgraphile_watch.cjs pooled direct"},
		},
	},
	{
		name: "pg-boss", language: "Node", over: []string{driverNodePg}, packages: []string{"pg-boss"}, words: []string{"pgboss."},
		fixes: []Advice{
			{Codes: startup, Knob: "take it out of new PgBoss({…}): ALTER ROLE … SET", Source: "node/pgboss_app.cjs timeout correct"},
		},
	},
	{
		name: "slonik", language: "Node", over: []string{driverNodePg}, packages: []string{"slonik", "@slonik/"},
		fixes: []Advice{
			{
				Codes:   startup,
				Knob:    "createPool(url, { statementTimeout: 'DISABLE_TIMEOUT', idleInTransactionSessionTimeout: 'DISABLE_TIMEOUT' }), and ALTER ROLE … SET for the limits",
				Warning: "without ALTER ROLE there is no time limit at all", Source: "node/slonik_tenant.cjs default correct",
			},
			{
				Codes: []Code{ResetsOthers}, Knob: "createPool(url, { resetConnection: async () => {} }): Slonik sends DISCARD ALL whenever a connection comes back",
				Warning: "what the program itself set for the session then stays: set it in the transaction", Source: "node/slonik_tenant.cjs default correct",
			},
			{Codes: settings, Knob: "pool.transaction(async tx => { await tx.query(sql.unsafe`select set_config(${name}, ${value}, true)`); … })", Source: "node/slonik_tenant.cjs set correct"},
		},
	},
	{
		name: driverPostgresJS, language: "Node", packages: []string{"postgres"}, applications: []string{"postgres.js"}, statements: postgresJSName,
		fixes: []Advice{
			{
				Codes: statementNames, Knob: "postgres(url, { prepare: false })",
				Warning: "on Cloudflare's Hyperdrive it hangs: there leave it as it is, Hyperdrive tracks statements", Source: "node/postgresjs_all.cjs default correct",
			},
			{
				Codes: []Code{SyncsInFlight}, Knob: "prepare: false with parameters in every query, or await each query instead of Promise.all",
				Warning: "prepare: false hangs on Cloudflare's Hyperdrive", Source: "node/postgresjs_all.cjs default correct",
			},
			{Codes: startup, Knob: "take it out of connection: {…} in postgres(url, …): ALTER ROLE … SET", Source: "node/postgresjs_tenant.cjs timeout correct"},
			{Codes: settings, Knob: "sql.begin(async tx => { await tx`select set_config(${name}, ${value}, true)`; … })", Source: "node/postgresjs_tenant.cjs set correct"},
			{Codes: listening, Knob: "sql.listen() of an instance of its own: postgres(DIRECT_URL)", Source: "node/postgresjs_tenant.cjs listen correct"},
		},
	},
	{
		name: driverNodePg, language: "Node", packages: []string{"pg", "pg-pool", "pg-cursor", "pg-query-stream"},
		fixes: []Advice{
			{Codes: []Code{StaleStatement}, Knob: "leave name: out of the query; after DDL say RECONNECT on PgBouncer's console", Source: "node/pg_column.cjs faulty correct"},
			{Codes: statementNames, Knob: "leave name: out of the query", Source: "node/pg_named.cjs faulty correct"},
			{Codes: startup, Knob: "leave it out of new Pool({…}), of the URL and of PGOPTIONS: ALTER ROLE … SET, or for a time limit query_timeout, which the client keeps", Source: "node/pg_tenant.cjs timeout correct"},
		},
	},

	// --- Java ---
	{
		name: "hibernate", language: "Java", over: []string{driverPgjdbc},
		texts: regexp.MustCompile(`^(select|update|delete|insert)\b.*\b[a-z]+\d+_\d+\.[a-z]`),
		fixes: []Advice{
			{Codes: settings, Setting: "search_path", Knob: "no SET search_path in a MultiTenantConnectionProvider: SET LOCAL as the transaction's first statement", Also: "@TenantId, which needs no schema for each tenant", Source: "java/HibernateApp schema correct"},
		},
	},
	{
		name: "flyway", language: "Java", over: []string{driverPgjdbc}, applications: []string{"redgate_flyway"}, words: []string{"flyway_schema_history"},
		fixes: []Advice{
			{Codes: settings, Setting: "search_path", Knob: "Flyway sets search_path and the role for its session and has no knob against it: flyway.url with the direct URL", Source: "java/FlywayApp unprepared correct"},
			{Codes: locking, Knob: "flyway.url with the direct URL; flyway.postgresql.transactional.lock=true (the default) takes the lock in a transaction, which it leaves idle meanwhile", Source: "java/FlywayApp lock correct"},
			{Codes: statementNames, Knob: "flyway.url with the direct URL; prepareThreshold=0 in it is not enough, because of search_path", Source: "java/FlywayApp default correct"},
		},
	},
	{
		name: "liquibase", language: "Java", over: []string{driverPgjdbc}, words: []string{"databasechangelog", "DATABASECHANGELOG"},
		fixes: []Advice{
			{Codes: settings, Setting: "search_path", Knob: "Liquibase sets search_path for its session and has no knob against it: its url with the direct URL", Source: "java/LiquibaseApp unprepared correct"},
			{Codes: statementNames, Knob: "its url with the direct URL; prepareThreshold=0 in it is not enough, because of search_path", Source: "java/LiquibaseApp default correct"},
		},
	},
	{
		name: "keycloak", language: "Java", over: []string{"hibernate", driverPgjdbc}, words: []string{"keycloak_role", "keycloak_group", "migration_model"},
		fixes: []Advice{
			{Codes: statementNames, Knob: "KC_DB_URL_PROPERTIES=?prepareThreshold=0, for its migrations too", Source: documented("Keycloak 26, all configuration, db-url-properties; keycloak issue 40934")},
		},
	},
	{
		name: "jooq", language: "Java", over: []string{driverPgjdbc}, texts: regexp.MustCompile(`^select .*"\w+"\."\w+"\."\w+"|^set search_path = "`),
		fixes: []Advice{
			{Codes: settings, Setting: "search_path", Knob: "no ctx.setSchema(): Settings.withRenderMapping names the schema in each query", Source: "java/JooqApp schema correct"},
			{Codes: settings, Knob: "ctx.transaction(c -> { c.dsl().execute(\"select set_config(?, ?, true)\", …); … })", Source: "java/JooqApp set correct"},
		},
	},
	{
		name: driverVertx, language: "Java", applications: []string{"vertx-pg-client"},
		fixes: []Advice{
			{
				Codes: []Code{ForeignUnnamed, MissingNamed, NameCollision}, Knob: "PgConnectOptions.setUseLayer7Proxy(true), and setCachePreparedStatements(false) (the default)", Also: "Quarkus 3: quarkus.datasource.reactive.postgresql.use-layer7-proxy=true",
				Source: "java/VertxApp default correct; java/VertxApp cached correct",
			},
			{Codes: startup, Knob: "take it out of PgConnectOptions.setProperties / addProperty: ALTER ROLE … SET", Source: "java/VertxApp properties correct"},
			{Codes: []Code{SyncsInFlight}, Knob: "PgConnectOptions.setPipeliningLimit(1)", Source: "java/VertxApp pipelined limited"},
			{Codes: listening, Knob: "PgSubscriber with options for the direct URL", Source: "java/VertxApp listen correct"},
		},
	},
	{
		name: driverR2DBC, language: "Java", applications: []string{"r2dbc-postgresql"},
		fixes: []Advice{
			{
				Codes: append(slices.Clone(statementNames), SyncsInFlight), Knob: "preparedStatementCacheQueries(0) in PostgresqlConnectionConfiguration", Also: "?preparedStatementCacheQueries=0 in the URL; Spring Boot 3: spring.r2dbc.properties.preparedStatementCacheQueries=0",
				Source: "java/R2dbcApp default correct",
			},
			{Codes: startup, Knob: "take it out of options(…), schema(…), statementTimeout(…) and lockWaitTimeout(…): ALTER ROLE … SET", Source: "java/R2dbcApp timeout correct"},
			{Codes: settings, Setting: "default_transaction_isolation", Knob: "beginTransaction(PostgresTransactionDefinition.from(…)) instead of setTransactionIsolationLevel outside a transaction", Source: "java/R2dbcApp isolation correct"},
		},
	},
	{
		name: driverPgjdbc, language: "Java", applications: []string{"postgresql jdbc driver", "jdbc"}, statements: names(`S_[0-9]+`),
		texts: begins(`SET application_name = 'PostgreSQL JDBC Driver'|SET SESSION CHARACTERISTICS AS TRANSACTION (ISOLATION|READ)`),
		fixes: []Advice{
			{Codes: statementNames, Knob: "prepareThreshold=0 in the JDBC URL; with HikariCP dataSource.prepareThreshold=0", Also: "Spring Boot 3: spring.datasource.hikari.data-source-properties.prepareThreshold=0", Source: "java/Threshold default correct; java/HikariApp default correct"},
			{Codes: startup, Setting: "search_path", Knob: "leave currentSchema out of the URL: ALTER ROLE … SET search_path, or SET LOCAL in the transaction", Source: "java/Schema url correct"},
			{Codes: startup, Knob: "leave it out of options in the URL: ALTER ROLE … SET, or SET LOCAL in the transaction", Source: "java/Schema options correct"},
			{Codes: settings, Setting: "search_path", Knob: "no Connection.setSchema and no HikariCP schema=: SET LOCAL search_path in the transaction, or ALTER ROLE … SET", Source: "java/Schema setSchema correct"},
			{
				Codes: settings, Setting: "default_transaction_read_only", Knob: "readOnlyMode=transaction in the JDBC URL (the default): setReadOnly(true) with setAutoCommit(false) says BEGIN READ ONLY; else SET TRANSACTION READ ONLY first in the transaction",
				Source: "java/HikariApp readonly correct",
			},
			{
				Codes: settings, Setting: "default_transaction_isolation", Knob: "no Connection.setTransactionIsolation and no HikariCP transactionIsolation=: SET TRANSACTION ISOLATION LEVEL … first in the transaction, or ALTER ROLE … SET default_transaction_isolation",
				Source: "java/HikariApp isolation correct",
			},
		},
	},

	// --- Go ---
	{
		name: "river", language: "Go", over: []string{driverPgx}, words: []string{"river_job", "river_leader", "river_queue", "river_migration"},
		fixes: []Advice{
			{Codes: listening, Knob: "river.Config{PollOnly: true}", Warning: "with PollOnly a job waits for the next poll (FetchPollInterval, 1 s)", Source: "go/river default correct"},
			{Codes: statementNames, Knob: "default_query_exec_mode=exec or cache_describe in the pool's URL", Source: "go/river prepared correct unrecognized"},
		},
	},
	{
		name: "goose", language: "Go", over: []string{driverPgx, driverLibPQ}, words: []string{"goose_db_version"},
		fixes: []Advice{
			{Codes: locking, Knob: "lock.NewPostgresTableLocker instead of NewPostgresSessionLocker", Source: "go/goose session table"},
		},
	},
	{
		name: "golang-migrate", language: "Go", over: []string{driverPgx, driverLibPQ}, texts: begins(`SELECT pg_advisory_lock\(\$1\)$`), words: []string{`"schema_migrations" (version bigint not null primary key, dirty boolean not null)`},
		fixes: []Advice{
			{Codes: locking, Knob: "golang-migrate has no knob against it for PostgreSQL's usual drivers: migrate over the direct URL", Source: "go/migrate default correct"},
		},
	},
	{
		name: "atlas", language: "Go", over: []string{driverPgx, driverLibPQ}, words: []string{"atlas_schema_revisions", "atlas_migrate_execute"},
		fixes: []Advice{
			{Codes: locking, Knob: "--url with the direct URL: Atlas locks for the session", Source: "go/atlas default direct unrecognized"},
			{Codes: startup, Setting: "search_path", Knob: "?search_path= left out of --url, and --schema instead", Source: "go/atlas search_path schema unrecognized"},
		},
	},
	{
		name: "bun", language: "Go", statements: names(`pgdriver-[0-9]+`),
		fixes: []Advice{
			{Codes: statementNames, Knob: "no db.Prepare and no db.PrepareContext: pgdriver sends everything else as simple queries", Source: "go/bun prepare correct"},
			{Codes: settings, Knob: "take it out of pgdriver.WithConnParams, which sends SET when it connects: ALTER ROLE … SET", Source: "go/bun params correct unrecognized"},
		},
	},
	{
		name: "ent", language: "Go", over: []string{driverPgx, driverLibPQ}, texts: regexp.MustCompile(`^(SELECT|INSERT|UPDATE|DELETE)\b[^\x60]*"(\w+)"\."\w+"(, "(\w+)"\."\w+")* FROM "\w+" WHERE "\w+"\."\w+" = \$1 LIMIT [0-9]+$`),
		fixes: []Advice{
			{Codes: settings, Knob: "client.Tx(ctx), and tx.ExecContext(\"select set_config($1, $2, true)\") first in it (feature sql/execquery); entsql.WithVar sets it for the session and resets it later", Source: "go/ent set correct"},
		},
	},
	{
		name: "temporal", language: "Go", over: []string{driverPgx, driverLibPQ}, words: []string{"executions_visibility", "history_node", "namespace_metadata"},
		fixes: []Advice{
			{Codes: statementNames, Knob: "connectAttributes: {default_query_exec_mode: exec} under the SQL store, with pluginName postgres12_pgx", Source: documented("Temporal 1.24, common/config/config.go, SQL.ConnectAttributes")},
		},
	},
	{
		name: "hasura", language: "Haskell", words: []string{"hdb_catalog"},
		fixes: []Advice{
			{Codes: statementNames, Knob: "use_prepared_statements: false in the source's connection_info; HASURA_GRAPHQL_USE_PREPARED_STATEMENTS=false for the metadata", Source: documented("Hasura 2, API reference, PGConnectionParameters and use_prepared_statements")},
			{Codes: settings, Knob: "HASURA_GRAPHQL_METADATA_DATABASE_URL with the direct URL", Source: documented("Hasura 2, server configuration, HASURA_GRAPHQL_METADATA_DATABASE_URL")},
		},
	},
	{
		name: "oban", language: "Elixir", words: []string{"oban_jobs", "oban_peers"},
		fixes: []Advice{
			{Codes: listening, Knob: "notifier: Oban.Notifiers.PG, and peer: Oban.Peers.Global, in Oban's config", Source: documented("Oban 2, Oban.Notifiers.PG and Oban.Peers.Global; issue 1488")},
			{Codes: statementNames, Knob: "prepare: :unnamed in the Repo's config", Source: documented("Postgrex 0.17, README, PgBouncer")},
		},
	},
	{
		name: driverGoPg, language: "Go", statements: names(`[0-9]+`), // as lib/pq, which is known by its startup parameters
		fixes: []Advice{
			{Codes: statementNames, Knob: "no db.Prepare: go-pg sends everything else as simple queries", Source: "go/gopg prepare correct"},
			{Codes: settings, Knob: "no SET in Options.OnConnect: db.RunInTransaction with select set_config(?, ?, true) first", Source: "go/gopg connect correct unrecognized"},
		},
	},
	{
		name: "gorm", language: "Go", over: []string{driverPgx},
		fixes: []Advice{
			{Codes: statementNames, Knob: "postgres.Config{PreferSimpleProtocol: true}, and no PrepareStmt: true", Also: "default_query_exec_mode=exec in the DSN", Source: "go/gorm default correct unrecognized"},
		},
	},
	{
		name: driverPgx, language: "Go", statements: names(`stmtcache_[0-9a-f]+`),
		fixes: []Advice{
			{Codes: unnamed, Knob: "use default_query_exec_mode=exec or cache_describe, never describe_exec", Source: "go/pgx describe_exec exec; go/pgx describe_exec cache_describe"},
			{Codes: statementNames, Knob: "default_query_exec_mode=exec or cache_describe in the connection string", Source: "go/pgx cache_statement exec; go/pgx cache_statement cache_describe"},
			{Codes: []Code{SyncsInFlight}, Knob: "SendBatch (one Sync) instead of Pipeline with several", Source: "go/pgx pipeline pipeline-correct unrecognized"},
			{Codes: startup, Knob: "leave it out of the connection string and of RuntimeParams: ALTER ROLE … SET", Source: "go/pgx timeout exec"},
			{Codes: settings, Knob: "no SET in AfterConnect or BeforeAcquire: select set_config($1, $2, true) in the transaction, or in one batch with the query", Source: "go/pgx acquire-cached acquire-correct"},
		},
	},

	// --- Rust ---
	{
		name: "diesel-async", language: "Rust", over: []string{driverTokio}, afterDriver: true, texts: regexp.MustCompile(`^SET TIME ZONE 'UTC'$|^SELECT "\w+"\."\w+".* WHERE \(`),
		fixes: []Advice{{
			Codes:  []Code{ForeignUnnamed, MissingNamed, NameCollision, SyncsInFlight},
			Knob:   "diesel-async prepares all, even what it sends when it connects, and has no knob against it: the direct URL, or a pooler that tracks statements",
			Source: "rust/diesel default direct; rust/diesel default tracked",
		}},
	},
	{
		name: "diesel", language: "Rust", statements: names(`__diesel_stmt_[0-9]+`),
		fixes: []Advice{
			{Codes: append(slices.Clone(unnamed), statementNames...), Knob: "set_prepared_statement_cache_size(CacheSize::Disabled) and conn.transaction around each query, or a pooler that tracks statements", Source: "rust/diesel_sync default correct; rust/diesel_sync default tracked"},
		},
	},
	{
		name: "sea-orm", language: "Rust", over: []string{driverSqlx}, texts: regexp.MustCompile(`^SELECT "\w+"\."\w+".* WHERE "\w+"\."\w+" = \$1( LIMIT \$\d+)?$`),
		fixes: []Advice{
			{
				Codes: append(slices.Clone(unnamed), statementNames...), Knob: "SeaORM has no .persistent(false), and db.begin() with ?statement-cache-capacity=0 still leaves names behind: a pooler that tracks statements",
				Source: "rust/seaorm default tracked",
			},
		},
	},
	{
		name: "deadpool", language: "Rust", over: []string{driverTokio}, words: []string{"CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *;"},
		fixes: []Advice{
			{Codes: []Code{ResetsOthers}, Knob: "RecyclingMethod::Fast (the default) instead of Clean", Warning: "what the program itself set for the session then stays: set it in the transaction", Source: "rust/deadpool clean correct"},
			{Codes: statementNames, Knob: "client.query_typed instead of prepare_cached, each awaited before the next", Source: "rust/deadpool cached correct unrecognized"},
		},
	},
	{
		name: driverSqlx, language: "Rust", statements: names(`sqlx_s_[0-9]+`),
		fixes: []Advice{
			{Codes: unnamed, Knob: "sqlx asks in two trips: a transaction around each query (pool.begin())", Source: "rust/sqlx unnamed correct"},
			{Codes: statementNames, Knob: "a transaction around each query, with statement_cache_capacity(0) and .persistent(false); or a pooler that tracks statements", Source: "rust/sqlx default correct; rust/sqlx default tracked"},
			{Codes: []Code{SyncsInFlight}, Knob: "a transaction around each query: a pool's connection is tried with a Sync of its own before the last answer was read to its end", Source: "rust/sqlx default correct"},
			{Codes: startup, Knob: "leave it out of PgConnectOptions::options: ALTER ROLE … SET", Source: "rust/sqlx options correct"},
		},
	},
	{
		name: driverTokio, language: "Rust", statements: names(`s[0-9]+`),
		fixes: []Advice{
			{Codes: append(slices.Clone(unnamed), statementNames...), Knob: "use query_typed, which prepares nothing, and wait for each query", Source: "rust/tokio query query_typed"},
			{Codes: []Code{SyncsInFlight}, Knob: "await each query instead of join_all", Source: "rust/tokio join_all query_typed"},
			{Codes: startup, Knob: "leave it out of Config::options: ALTER ROLE … SET", Source: "rust/tokio options query_typed"},
		},
	},

	// --- Ruby, PHP, Perl, .NET, C ---
	{
		name: driverRubyPg, language: "Ruby", statements: names(`a[0-9]+`), texts: begins(`SET intervalstyle = iso_8601$`), // ActiveRecord, when it connects
		fixes: []Advice{
			{Codes: statementNames, Knob: "prepared_statements: false in database.yml; without ActiveRecord exec_params instead of prepare", Source: "ruby/activerecord.rb prepared correct; ruby/pg_prepared.rb faulty correct"},
			{Codes: locking, Knob: "migrate over a direct connection, or advisory_locks: false in database.yml", Warning: "without the lock two deploys may migrate at once", Source: "ruby/activerecord.rb lock correct"},
			{Codes: settings, Knob: "take it out of variables: in database.yml (ALTER ROLE … SET); a tenant in the transaction, by set_config(…, true)", Source: "ruby/activerecord.rb variables correct"},
		},
	},
	{
		name: driverPDO, language: "PHP", statements: names(`pdo_stmt_[0-9a-f]+`), texts: begins(`(SELECT LASTVAL\(\)|DEALLOCATE pdo_stmt_[0-9a-f]+)$`),
		fixes: []Advice{
			{Codes: append(slices.Clone(statementNames), SQLPrepared), Knob: "PDO::ATTR_EMULATE_PREPARES => true among the options of new PDO", Source: "php/pdo.php faulty correct"},
			{Codes: []Code{SequenceState}, Knob: "INSERT … RETURNING and fetchColumn() instead of lastInsertId()", Source: "php/pdo_id.php faulty correct"},
		},
	},
	{
		name: driverDBD, language: "Perl", statements: names(`dbdpg_p?[0-9]+_[0-9]+`),
		fixes: []Advice{{Codes: statementNames, Knob: "pg_server_prepare => 0 in DBI->connect", Source: "perl/dbd.pl faulty correct"}},
	},
	{
		name: driverNpgsql, language: ".NET",
		fixes: []Advice{
			{Codes: statementNames, Knob: "Max Auto Prepare=0 in the connection string, and no Prepare()", Source: documented("Npgsql 8, docs on prepared statements")},
			{
				Codes: []Code{ResetsOthers}, Knob: "No Reset On Close=true",
				Warning: "if the program sets a tenant for the session, this reset is what keeps it from the next request: first set it in the transaction", Source: documented("Npgsql 8, connection string parameters; nocturne issue 1266"),
			},
		},
	},
	{
		name: "pg_dump", language: "C", over: []string{driverLibpq}, applications: []string{"pg_dump", "pg_dumpall"},
		fixes: []Advice{{
			Codes: settings, Knob: "pg_dump sets its session for itself and has no knob against it: the direct URL (DIRECT_URL)",
			Source: "shell/pg_dump.sh faulty direct",
		}},
	},
	{
		name: driverLibpq, language: "C",
		fixes: []Advice{{Codes: []Code{SyncsInFlight}, Knob: "one PQpipelineSync for all queries, or wait for its result before the next", Source: "python/libpq_pipeline.py faulty correct unrecognized"}},
	},

	// Names that begin with nothing of their own come last: letters and a number, or a number.
	{
		name: driverLibPQ, language: "Go",
		fixes: []Advice{
			{Codes: unnamed, Knob: "add binary_parameters=yes to the connection string", Source: "go/libpq default correct"},
			{Codes: statementNames, Knob: "no db.Prepare: db.Query and db.Exec, with binary_parameters=yes in the connection string", Source: "go/libpq prepare correct"},
			{Codes: startup, Knob: "leave it out of the connection string: ALTER ROLE … SET", Source: "go/libpq timeout correct"},
		},
	},
}

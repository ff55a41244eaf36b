package explain_test

import (
	"strings"
	"testing"

	"github.com/poolproof/poolproof/doctor/explain"
)

// spoken are messages as a driver, a log or a person's terminal shows them, each
// with the ID of its explanation.
var spoken = []struct{ id, text string }{
	{"supavisor-tenant", `asyncpg.exceptions.InternalServerError: Tenant or user not found`},
	{"supavisor-tenant", `psycopg.OperationalError: connection failed: connection to server at "3.65.151.229", port 6543 failed: FATAL:  (ENOTFOUND) tenant/user postgres.abcdefghijklmnopqrst not found`},
	{"supavisor-no-identifier", `error: (ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)`},
	{"supavisor-circuit", `FATAL:  (ECIRCUITBREAKER) too many authentication failures, new connections are temporarily blocked`},
	{"supavisor-password", `PrismaClientInitializationError: FATAL: (EWRONGPASSWORD) Wrong password`},
	{"supavisor-session-full", `FATAL:  MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to pool_size`},
	{"supavisor-session-full", `error: (EMAXCONNSESSION) max clients reached in session mode - max clients are limited to pool_size: 15`},
	{"supavisor-full", `FATAL:  (EMAXCONN) max client connections reached, limit: 200`},
	{"supavisor-checkout", `PG::ConnectionBad: FATAL:  (ECHECKOUTTIMEOUT) unable to check out connection from the pool after 60000ms in Transaction mode`},
	{"supavisor-simple-query", `ConnectorError: FATAL: (EPSSIMPLEQUERY) transaction mode only supports prepared statements using the Extended Query Protocol`},
	{"supavisor-max-prepared", `FATAL: (EMAXPREPARED) max prepared statements reached. Limit: 100 per connection (SQLSTATE XX000)`},
	{"supavisor-dup-prepared", `FATAL: (EPREPAREDDUP) prepared statement "s0" already exists (SQLSTATE 42P05)`},
	{"supavisor-set", `FATAL:  (ESETNOTALLOWED) session-level SET statements are not allowed in transaction mode`},
	{"supavisor-ssl", `FATAL:  (ESSLREQUIRED) SSL connection is required`},
	{"supavisor-auth-query", `FATAL:  (EAUTHQUERY) authentication query failed`},
	{"supavisor-upstream", `PostgresError: Failed to connect to database: {:error, :econnrefused}`},
	{"bouncer-options", `asyncpg.exceptions.ProtocolViolationError: unsupported startup parameter: options`},
	{"bouncer-options", `psycopg2.OperationalError: connection to server at "127.0.0.1", port 6432 failed: FATAL:  unsupported startup parameter in options: statement_timeout`},
	{"bouncer-startup-float-digits", `org.postgresql.util.PSQLException: FATAL: unsupported startup parameter: extra_float_digits`},
	{"bouncer-startup", `Npgsql.PostgresException (0x80004005): 08P01: unsupported startup parameter: search_path`},
	{"bouncer-statement-missing", `FATAL: prepared statement did not exist (SQLSTATE 08P01)`},
	{"bouncer-statement-name", `db error: FATAL: prepared statement name is already in use`},
	{"bouncer-statement-mode", `FATAL: transaction blocks not allowed in statement pooling mode (SQLSTATE 08P01)`},
	{"bouncer-wait", `psycopg2.OperationalError: FATAL:  query_wait_timeout`},
	{"bouncer-no-server", `NOTICE:  No server connection available in postgres backend, client being queued`},
	{"bouncer-max-client", `ERROR:  no more connections allowed (max_client_conn)`},
	{"bouncer-login-retry", `FATAL:  server login has been failing, cached error: connect failed (server_login_retry)`},
	{"bouncer-db", `FATAL:  no such database: shop`},
	{"bouncer-user", `psql: error: connection to server failed: FATAL:  no such user: app`},
	{"bouncer-sasl", `FATAL: SASL authentication failed (SQLSTATE 08P01)`},
	{"bouncer-query-timeout", `ERROR:  query timeout`},
	{"bouncer-idle-tx", `FATAL:  idle transaction timeout`},
	{"bouncer-client-idle", `FATAL:  client_idle_timeout`},
	{"bouncer-ssl", `FATAL:  SSL required`},
	{"bouncer-packet-header", `FATAL: bad packet header: '0000003700030002' (SQLSTATE 08P01)`},
	{"bouncer-negotiation", `connection to server at "db", port 6432 failed: received duplicate protocol negotiation message`},
	{"bouncer-cancel", `FATAL: successfully sent cancel request (SQLSTATE 08P01)`},
	{"bouncer-shutdown", `FATAL:  pgbouncer is shutting down`},
	{"bouncer-server-closed", `ERROR:  server conn crashed?`},
	{"odyssey-route", `FATAL:  odyssey: c6f2: route for 'shop.app' is not found`},
	{"odyssey-full", `FATAL:  odyssey: c6f2: too many tcp connections (global client_max 1000)`},
	{"odyssey-upstream", `ERROR:  odyssey: c6f2: failed to connect to remote server s1`},
	{"pgpool-bind", `FATAL:  unable to bind`},
	{"pgpool-children", `FATAL:  Sorry, too many clients already`},
	{"pgpool-backend-auth", `FATAL: backend authentication failed (SQLSTATE XX000)`},
	{"pgpool-no-backend", `FATAL:  pgpool is not accepting any new connections DETAIL:  all backend nodes are down, pgpool requires at least one valid node`},
	{"pgcat-pool", `FATAL:  No pool configured for database: "shop", user: "app"`},
	{"pgcat-checkout", `ERROR: could not get connection from the pool - AllServersDown`},
	{"pgdog-checkout", `FATAL: pool: checkout timeout [db.internal:5432, shop]`},
	{"rds-proxy-timeout", `FATAL:  Timed-out waiting to acquire database connection`},
	{"rds-proxy-pinned", `The client session was pinned to the database connection [dbConnection=123] for the remainder of the session. The proxy can't reuse this connection until the session ends. Reason: SQL changed session settings that the proxy doesn't track.`},
	{"rds-proxy-auth", `FATAL:  This RDS proxy has no credentials for the role app. Check the credentials for this role and try again.`},
	{"neon-endpoint", `ERROR:  Endpoint ID is not specified. Either please upgrade the postgres client library (libpq) for SNI support or pass the endpoint ID`},
	{"neon-endpoint-gone", `ERROR:  The requested endpoint could not be found, or you don't have access to it.`},
	{"neon-compute", `NeonDbError: couldn't connect to compute node`},
	{"neon-quota", `ERROR: Your account or project has exceeded the compute time quota.`},
	{"cloudsql-hba", `FATAL: connection from address 203.0.113.5 is not allowed; connections to instance from address 203.0.113.5 not authorized`},
	{"asyncpg-sslmode", `TypeError: connect() got an unexpected keyword argument 'sslmode'`},
	{"unknown-option", `TypeError: connect() got an unexpected keyword argument 'server_side_binding'`},
	{"unknown-option", `sqlalchemy.exc.TypeError: Connection.__init__() got an unexpected keyword argument 'prepare_threshold'`},
	{"libpq-option", `psycopg2.ProgrammingError: invalid dsn: invalid URI query parameter: "pgbouncer"`},
	{"libpq-option", `psycopg.ProgrammingError: invalid connection option "statement_cache_size"`},
	{"tokio-option", "Error { kind: Config, cause: Some(UnknownOption(\"pgbouncer\")) }: invalid connection string: unknown option `pgbouncer`"},
	{"asyncpg-pgbouncer", "asyncpg.exceptions.DuplicatePreparedStatementError: prepared statement \"__asyncpg_stmt_1__\" already exists\nHINT:  \nNOTE: pgbouncer with pool_mode set to \"transaction\" or\n\"statement\" does not support prepared statements properly.\n"},
	{"asyncpg-closed", `asyncpg.exceptions.ConnectionDoesNotExistError: connection was closed in the middle of operation`},
	{"asyncpg-busy", `asyncpg.exceptions._base.InterfaceError: cannot perform operation: another operation is in progress`},
	{"asyncpg-invalid-cached", `asyncpg.exceptions.InvalidCachedStatementError: cached statement plan is invalid due to a database schema or configuration change`},
	{"asyncpg-tls-hint", `ConnectionError: PostgreSQL server at "127.0.0.1:6432" rejected SSL upgrade`},
	{"sqlalchemy-pool", `sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00`},
	{"sqlalchemy-greenlet", `sqlalchemy.exc.MissingGreenlet: greenlet_spawn has not been called; can't call await_only() here. Was IO attempted in an unexpected place?`},
	{"sqlalchemy-invalid-tx", `sqlalchemy.exc.PendingRollbackError: Can't reconnect until invalid transaction is rolled back.`},
	{"psycopg-pool", `psycopg_pool.PoolTimeout: couldn't get a connection after 30.00 sec`},
	{"psycopg-in-failed", `psycopg2.errors.InFailedSqlTransaction: current transaction is aborted, commands ignored until end of transaction block`},
	{"node-timeout", `Error: timeout exceeded when trying to connect`},
	{"node-terminated", `Error: Connection terminated unexpectedly at Connection.<anonymous> (/app/node_modules/pg/lib/client.js:132:73)`},
	{"node-scram", `Error: SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string`},
	{"node-no-tls", `Error: The server does not support SSL connections`},
	{"postgresjs-timeout", `Error: write CONNECT_TIMEOUT db.abcdefghijklmnopqrst.supabase.co:5432`},
	{"postgresjs-closed", `Error: write CONNECTION_CLOSED 127.0.0.1:6432`},
	{"prisma-pool", "PrismaClientKnownRequestError: Timed out fetching a new connection from the connection pool. (Current connection pool timeout: 10, connection limit: 5)"},
	{"prisma-reach", "PrismaClientInitializationError: Can't reach database server at `db.abcdefghijklmnopqrst.supabase.co:5432`"},
	{"prisma-tx-wait", `Transaction API error: Unable to start a transaction in the given time.`},
	{"prisma-tx-closed", `Transaction API error: Transaction already closed: A query cannot be executed on an expired transaction. code: 'P2028'`},
	{"prisma-lock", `Error: P1002 The database server was reached but timed out. Context: Timed out trying to acquire a postgres advisory lock (SELECT pg_advisory_lock(72707369)).`},
	{"npgsql-pool", `Npgsql.NpgsqlException (0x80004005): The connection pool has been exhausted, either raise 'Max Pool Size' (currently 100) or 'Timeout' (currently 15 seconds)`},
	{"npgsql-reading", `Npgsql.NpgsqlException (0x80004005): Exception while reading from stream`},
	{"npgsql-busy", `Npgsql.NpgsqlOperationInProgressException: A command is already in progress: SELECT 1`},
	{"jdbc-io", `org.postgresql.util.PSQLException: An I/O error occurred while sending to the backend.`},
	{"jdbc-refused", `org.postgresql.util.PSQLException: Connection to localhost:6432 refused. Check that the hostname and port are correct and that the postmaster is accepting TCP/IP connections.`},
	{"jdbc-hikari", `java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not available, request timed out after 30000ms.`},
	{"rails-pool", `ActiveRecord::ConnectionTimeoutError (could not obtain a connection from the pool within 5.000 seconds (waited 5.004 seconds); all pooled connections were in use)`},
	{"rails-prepared", `ActiveRecord::PreparedStatementCacheExpired: ERROR: cached plan must not change result type`},
	{"rails-concurrent", `ActiveRecord::ConcurrentMigrationError: Failed to release advisory lock`},
	{"gorm-bad-conn", `failed to begin: driver: bad connection`},
	{"sqlx-pool", `Error: pool timed out while waiting for an open connection`},
	{"pgx-busy", `failed to deallocate cached statement(s): conn busy`},
	{"pgx-closed-tx", `panic: commit: tx is closed`},
	{"sqlx-decode", "error occurred while decoding column 0: mismatched types; Rust type `i64` (as SQL type `INT8`) is not compatible with SQL type `TEXT`"},
	{"ecto-checkout", `** (DBConnection.ConnectionError) connection not available and request was dropped from queue after 2000ms.`},
	{"unnamed-arity", `pq: bind message supplies 3 parameters, but prepared statement "" requires 2`},
	{"unnamed-missing", `ERROR: unnamed prepared statement does not exist (SQLSTATE 26000)`},
	{"statement-missing", `sqlalchemy.exc.ProgrammingError: (sqlalchemy.dialects.postgresql.asyncpg.ProgrammingError) <class 'asyncpg.exceptions.InvalidSQLStatementNameError'>: prepared statement "__asyncpg_stmt_4__" does not exist`},
	{"statement-missing", `org.postgresql.util.PSQLException: ERROR: prepared statement "S_2" does not exist`},
	{"statement-missing", `ERROR: prepared statement "stmtcache_5f2c1d" does not exist (SQLSTATE 26000)`},
	{"statement-exists", `ConnectorError(ConnectorError { user_facing_error: None, kind: QueryError(PostgresError { code: "42P05", message: "prepared statement \"s0\" already exists" }) })`},
	{"statement-exists", `PG::DuplicatePstatement: ERROR:  prepared statement "a1" already exists`},
	{"cached-plan", `ERROR: cached plan must not change result type (SQLSTATE 0A000)`},
	{"portal-missing", `org.postgresql.util.PSQLException: ERROR: portal "C_3" does not exist`},
	{"cursor-missing", `django.db.utils.OperationalError: cursor "_django_curs_140_sync_1" does not exist`},
	{"lock-not-owned", `WARNING:  you don't own a lock of type ExclusiveLock`},
	{"currval", `ERROR:  currval of sequence "orders_id_seq" is not yet defined in this session`},
	{"temp-table", `psycopg.errors.UndefinedTable: relation "tmp_import" does not exist`},
	{"set-local-outside", `WARNING:  SET LOCAL can only be used in transaction blocks`},
	{"listen-gone", `ERROR: cannot execute LISTEN during recovery`},
	{"uuid-empty", `PrismaClientUnknownRequestError: invalid input syntax for type uuid: ""`},
	{"uuid-empty", `ConnectorError: message: "invalid input syntax for type uuid: \"\""`},
	{"setting-unknown", `ERROR:  unrecognized configuration parameter "app.current_tenant_id"`},
	{"rls-violates", `new row violates row-level security policy for table "orders"`},
	{"rls-would-affect", `ERROR:  query would be affected by row-level security policy for table "orders"`},
	{"policy-column", `ERROR:  cannot alter type of a column used in a policy definition`},
	{"read-only-tx", `ActiveRecord::StatementInvalid: PG::ReadOnlySqlTransaction: ERROR:  cannot execute INSERT in a read-only transaction`},
	{"tx-aborted", `ERROR: current transaction is aborted, commands ignored until end of transaction block (SQLSTATE 25P02)`},
	{"idle-in-tx", `FATAL:  terminating connection due to idle-in-transaction timeout`},
	{"statement-timeout", `asyncpg.exceptions.QueryCanceledError: canceling statement due to statement timeout`},
	{"lock-timeout", `ERROR:  canceling statement due to lock timeout`},
	{"user-cancel", `ERROR: canceling statement due to user request (SQLSTATE 57014)`},
	{"deadlock", `ERROR:  deadlock detected DETAIL:  Process 12 waits for ShareLock on transaction 7`},
	{"serialization", `ERROR: could not serialize access due to concurrent update (SQLSTATE 40001)`},
	{"recovery-conflict", `ERROR:  canceling statement due to conflict with recovery`},
	{"admin-shutdown", `psycopg2.errors.AdminShutdown: terminating connection due to administrator command`},
	{"crash-shutdown", `WARNING:  terminating connection because of crash of another server process`},
	{"starting-up", `FATAL:  the database system is starting up`},
	{"too-many", `FATAL: sorry, too many clients already (SQLSTATE 53300)`},
	{"too-many", `FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute`},
	{"role-connections", `FATAL:  too many connections for role "app"`},
	{"no-hba", `FATAL: no pg_hba.conf entry for host "10.0.0.7", user "app", database "shop", no encryption`},
	{"password", `password authentication failed for user "app"`},
	{"role-missing", `FATAL:  role "root" does not exist`},
	{"role-nologin", `FATAL:  role "poolproof_app" is not permitted to log in`},
	{"database-missing", `FATAL: database "shop" does not exist (SQLSTATE 3D000)`},
	{"permission-schema", `ERROR:  permission denied for table orders`},
	{"set-role", `ERROR:  permission denied to set role "tenant"`},
	{"scram-binding", `connection to server failed: channel binding required, but server did not offer an authentication method that supports channel binding`},
	{"unknown-auth", `psycopg2.OperationalError: SCRAM authentication requires libpq version 10 or above`},
	{"relation-missing", `error: relation "orders" does not exist at character 15`},
	{"column-missing", `UndefinedColumnError: column "features.display_order" does not exist`},
	{"ipv6", `connection to server at "db.abcdefghijklmnopqrst.supabase.co" (2a05:d014:1c06:5f00::1), port 5432 failed: Network is unreachable`},
	{"ipv6", `Error: connect ENETUNREACH 2a05:d014:1c06:5f00::1:5432 - Local (:::0)`},
	{"dns", `could not translate host name "db.example.invalid" to address: Name or service not known`},
	{"dns", `Error: getaddrinfo ENOTFOUND db.abcdefghijklmnopqrst.supabase.co`},
	{"refused", `failed to connect to 'user=app database=shop': 127.0.0.1:6432 (127.0.0.1): dial error: dial tcp 127.0.0.1:6432: connect: connection refused`},
	{"reset", `psycopg2.OperationalError: server closed the connection unexpectedly This probably means the server terminated abnormally`},
	{"timeout", `Error: connect ETIMEDOUT 10.1.2.3:5432`},
	{"self-signed", `ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain (_ssl.c:1006)`},
	{"wrong-host-cert", `server certificate for "*.pooler.example" does not match host name "10.0.0.5"`},
	{"no-tls", `failed to connect: server refused TLS connection`},
}

func TestExplain(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range spoken {
		e, ok := explain.Explain(s.text)
		if !ok || e.ID != s.id {
			t.Errorf("%q is %q, want %q", s.text, e.ID, s.id)
		}
		seen[s.id] = true
		wrapped := "2026-11-27 10:00:00 ERROR worker[7]: request failed\nTraceback (most recent call last):\n  File \"app.py\", line 7, in main\n" + strings.ReplaceAll(s.text, ": ", ":\n   ")
		if e, ok := explain.Explain(wrapped); !ok || e.ID != s.id {
			t.Errorf("%q in a log is %q, want %q", s.text, e.ID, s.id)
		}
	}
	ids := map[string]bool{}
	for _, e := range explain.All() {
		if ids[e.ID] {
			t.Errorf("%s is there twice", e.ID)
		}
		ids[e.ID] = true
		if !seen[e.ID] {
			t.Errorf("%s has no example", e.ID)
		}
		for what, text := range map[string]string{"speaker": e.Speaker, "cause": e.Cause, "consequence": e.Consequence, "next": e.Next} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s has no %s", e.ID, what)
			}
		}
	}
	if len(ids) < 80 {
		t.Errorf("%d messages are explained", len(ids))
	}
}

// What reads like one of the messages, and is none, is not explained.
func TestNearMisses(t *testing.T) {
	for _, text := range []string{
		"", "ok", "connection established", "SELECT 1", "the tenant was not found in the CRM", "tenant 42 not found", "user not found",
		"prepared statements are enabled", "prepared statement cache size is 100", `prepared statement "a1" was closed`,
		"the password must have 12 characters", "password changed for user app", "transaction committed", "the transaction is open",
		"pool size 5", "query took 30 s", "request timeout of the HTTP client: 504 Gateway Timeout", "statement_timeout = 30s", "idle_in_transaction_session_timeout is set",
		"SET LOCAL app.tenant = '1'", "listening on 127.0.0.1:8000", "listen failed", "invalid input syntax for type integer: \"x\"", `invalid input syntax for type uuid: "abc"`,
		"role renamed", "a role has members", "database created", "relation orders created", "column added", "certificate renewed", "TLS 1.3", "EOF of the file was reached",
		"bind to port 8000", "unbind", "unexpected token", "cancelled by the customer", "canceling the order due to user wishes", "too many redirects", "too many requests",
		"ENOTEMPTY: directory not empty", "(ENOENT) no such file or directory", "the pooler is healthy", "options: none", "unsupported media type",
	} {
		if e, ok := explain.Explain(text); ok {
			t.Errorf("%q is taken for %s", text, e.ID)
		}
	}
}

// A text of a megabyte without any of the words takes no time worth naming, and
// one with words is cut before they are looked for.
func TestLongTexts(t *testing.T) {
	if e, ok := explain.Explain(strings.Repeat("x ", 1<<20) + "deadlock detected"); ok {
		t.Errorf("got %s", e.ID)
	}
	if e, ok := explain.Explain("deadlock detected " + strings.Repeat("x", 1<<20)); !ok || e.ID != "deadlock" {
		t.Errorf("got %s", e.ID)
	}
}

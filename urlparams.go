package poolproof

import (
	"fmt"
	"maps"
	"slices"
)

// foreign are parameters of a URL that other drivers know, by whose they are. pgx would send them to the server as settings
// for the log-in: PostgreSQL and PgBouncer refuse that by name, Odyssey and Supavisor drop it without a word.
var foreign = map[string]string{
	"pgbouncer": "Prisma's", "schema": "Prisma's", "connection_limit": "Prisma's", "pool_timeout": "Prisma's", "socket_timeout": "Prisma's", "sslaccept": "Prisma's", "sslidentity": "Prisma's",
	"statement_cache_size": "asyncpg's", "max_cached_statement_lifetime": "asyncpg's", "command_timeout": "asyncpg's",
	"prepared_statement_cache_size": "SQLAlchemy's", "prepared_statement_name_func": "SQLAlchemy's", "async_fallback": "SQLAlchemy's",
	"prepare_threshold": "psycopg's", "server_side_binding": "Django's", "server_side_cursors": "Django's",
	"prepareThreshold": "pgjdbc's", "preparedStatementCacheQueries": "pgjdbc's", "currentSchema": "pgjdbc's", "ApplicationName": "pgjdbc's", "socketTimeout": "pgjdbc's",
	"uselibpqcompat": "node-postgres's", "binary_parameters": "lib/pq's", "statement-cache-capacity": "sqlx's", "prepare": "postgres.js's",
	"keepalives": "libpq's", "keepalives_idle": "libpq's", "keepalives_interval": "libpq's", "keepalives_count": "libpq's", "tcp_user_timeout": "libpq's", "gssencmode": "libpq's",
	"requirepeer": "libpq's", "sslcrl": "libpq's", "sslcompression": "libpq's", "hostaddr": "libpq's", "load_balance_hosts": "libpq's", "fallback_application_name": "libpq's",
	"raw_sql": "nobody's", "no_prepare": "nobody's",
}

// checkParameters refuses the parameters of a URL that are another driver's. Those that nobody has ever heard of are sent, as PostgreSQL has
// hundreds of settings and extensions more: the server refuses them by name.
func checkParameters(params map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if whose, ok := foreign[name]; ok {
			return &Error{Kind: ErrConfig, Op: "read the URL", Hint: "take " + name + " out of the URL", Err: fmt.Errorf("the parameter %s is %s, and unknown here", name, whose)}
		}
	}
	return nil
}

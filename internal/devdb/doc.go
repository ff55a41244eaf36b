// Package devdb runs a private PostgreSQL, and a PgBouncer in front of it, as
// children of this process: for "poolproof dev", for tests and for the bench.
//
//	this process
//	  ├── postgres   127.0.0.1:port   data in <Dir>/pgdata, log in <Dir>/postgres.log
//	  └── pgbouncer  127.0.0.1:port   <Dir>/pgbouncer.ini, pools to the above
//
// What it takes care of, so that callers need not:
//
//   - Binaries. The newest installed PostgreSQL is used; if there is none, one
//     is downloaded once into the user's cache ([FindPostgres]). PgBouncer must
//     be installed ([FindPgBouncer] says how), or fetched by "make setup".
//   - Root. PostgreSQL and PgBouncer refuse to run as root, so root's servers
//     run under the account postgres or nobody. Where that account cannot reach
//     Dir, the files live under /var/lib/poolproof and a note in Dir says so.
//   - Ends. Servers listen on loopback only and die with this process, however
//     it ends (on Linux). A server that a crashed run left behind in the same
//     Dir is stopped before the new one starts; a Dir in use by a living process
//     is refused with [ErrInUse].
//   - Readiness. Start functions return when a connection works, or with the
//     end of the server's log.
//
// Package relay below it has TCP relays that count messages or add latency.
package devdb

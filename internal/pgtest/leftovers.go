package pgtest

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// LeftoversInAMoment is Leftovers for a client that has just gone: a pooler hears of
// its end a moment later, and ends the transaction then. It looks again while one
// is open, up to 200 times.
func LeftoversInAMoment(t testing.TB, url string) (left string) {
	t.Helper()
	for range 200 {
		if left = Leftovers(t, url, 1); !strings.HasPrefix(left, "open") {
			break
		}
	}
	return left
}

// Leftovers is what the two server connections of a pool hold that fresh ones have not: statements, cursors, a role, settings, LISTEN, locks, tables and open
// transactions; "" if nothing. It looks a number of times.
func Leftovers(t testing.TB, url string, looks int) string {
	t.Helper()
	const look = `select pg_backend_pid(), concat_ws(' ',
		(select string_agg(name, ' ') from pg_prepared_statements where from_sql or name like 'poolproof%'),
		(select string_agg(name, ' ') from pg_cursors where is_holdable),
		(select 'role ' || current_user where current_user <> session_user),
		(select string_agg(name, ' ') from pg_settings where source = 'session' and name not in ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings', 'IntervalStyle')),
		(select string_agg(c, ' ') from pg_listening_channels() as c),
		(select string_agg('lock', ' ') from pg_locks where locktype = 'advisory'),
		(select string_agg(relname, ' ') from pg_class where relname like 'poolproof%' or relnamespace = pg_my_temp_schema()),
		(select string_agg('open ' || query, ' ') from pg_stat_activity where datname = current_database() and state like 'idle in%' and pid <> pg_backend_pid()),
		(select string_agg(name, ' ') from unnest('{poolproof.startup,poolproof.probe,app.t,app.current_tenant_id}'::text[]) name where current_setting(name, true) <> ''))`
	var clients [2]*pgx.Conn
	for i := range clients {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = conn
	}
	a, b := clients[0], clients[1]
	defer func() { _, _ = a.Close(t.Context()), b.Close(t.Context()) }() // many calls
	seen := map[uint32]bool{}
	for range looks {
		held, err := a.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var pid uint32
		var left string
		if err := held.QueryRow(t.Context(), look, pgx.QueryExecModeExec).Scan(&pid, &left); err != nil {
			t.Fatal(err)
		}
		seen[pid] = true
		if left == "" {
			var other string
			if err := b.QueryRow(t.Context(), strings.Replace(look, "'open ' || query", "null::text", 1), pgx.QueryExecModeExec).Scan(&pid, &other); err != nil {
				t.Fatal(err)
			}
			seen[pid] = true
			left = other
		}
		if err := held.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left != "" {
			return left
		}
	}
	if len(seen) < 2 {
		t.Errorf("%d server connections were looked at", len(seen))
	}
	return ""
}

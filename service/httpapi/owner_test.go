package httpapi

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// owned is the service with a connection of the schema's owner, whom no policy
// binds, that is open as long as the test.
type owned struct {
	*service
	owner   *pgx.Conn
	digests string // the statement behind everywhere
}

func (s *service) withOwner(t *testing.T) owned {
	t.Helper()
	conn := s.connect(t)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return owned{service: s, owner: conn}
}

// exec is the service's, on the one connection.
func (o *owned) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := o.owner.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one returns a statement's one text.
func (o *owned) one(t *testing.T, sql string, args ...any) string {
	t.Helper()
	var text string
	if err := o.owner.QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// pairs returns the rows of a statement with two columns of text.
func (o *owned) pairs(t *testing.T, sql string) map[string]string {
	t.Helper()
	rows, err := o.owner.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	var key, value string
	if _, err := pgx.ForEachRow(rows, []any{&key, &value}, func() error { all[key] = value; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// everywhere is what every table of the schema holds, by table, in texts that
// change with it.
func (o *owned) everywhere(t *testing.T) map[string]string {
	t.Helper()
	if o.digests == "" {
		o.digests = o.one(t, `select string_agg(format(
				'select %L, count(*) || '' '' || coalesce(md5(string_agg(r::text, '','' order by r::text)), '''') from poolproof.%I r', c.relname, c.relname), ' union all ')
			from pg_class c where c.relnamespace = 'poolproof'::regnamespace and c.relkind in ('r', 'p')`)
	}
	return o.pairs(t, o.digests)
}

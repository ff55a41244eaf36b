package hostile

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A process is cancelled by a number from a transaction that is over: the number
// may be in the text, or a parameter in either format.
func TestPIDOfAnEarlierTransaction(t *testing.T) {
	pidOf := func(c *pgx.Conn) (pid int32) {
		t.Helper()
		if err := c.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	for name, cancel := range map[string]func(c *pgx.Conn, pid int32) error{
		"in the text": func(c *pgx.Conn, pid int32) error {
			_, err := c.Exec(t.Context(), fmt.Sprintf("select PG_Cancel_Backend ( %d )", pid))
			return err
		},
		"binary": func(c *pgx.Conn, pid int32) error {
			_, err := c.Exec(t.Context(), "select pg_cancel_backend($1)", pid)
			return err
		},
		"text": func(c *pgx.Conn, pid int32) error {
			return c.PgConn().ExecParams(t.Context(), "select 1, pg_terminate_backend($2) where $1::text is not null", [][]byte{[]byte("x"), fmt.Append(nil, pid)}, nil, nil, nil).Read().Err
		},
	} {
		for _, cfg := range []Config{{}, {Observe: true}, {Profile: "pgbouncer-1.24"}} {
			t.Run(name+" "+cfg.Profile, func(t *testing.T) {
				p, url, _ := testPooler(t, cfg)
				_ = cancel(connect(t, url, "exec"), pidOf(connect(t, url, "exec"))) // it may be its own by now
				wantFound(t, p, "PP021")
			})
		}
	}
	p, url, _ := testPooler(t, Config{})
	worker := connect(t, url, "exec")
	exec(t, worker, "begin")
	exec(t, connect(t, url, "exec"), "select pg_cancel_backend($1)", pidOf(worker)) // in the transaction that asked
	exec(t, worker, "commit")
	wantFound(t, p, "PP014 "+whileAnotherWaits) // one thread for both
	p, url, _ = testPooler(t, Config{})
	c := connect(t, url, "exec")
	pidOf(c)
	exec(t, c, "select pg_cancel_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and query = 'nobody says this'")
	exec(t, c, "select pg_cancel_backend($1)", 1_000_000_000)
	exec(t, c, "select 'pg_cancel_backend(1)'")
	wantFound(t, p)
}

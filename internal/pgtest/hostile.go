package pgtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pace of the clients of Hostile: often enough to be met all the time, seldom
// enough to leave the two server connections to others.
const pace = 2 * time.Millisecond

// Hostile runs two clients beside a test, through the same pooler and login.
// One leaves `SET app.current_tenant_id` to victim on the server connections,
// again and again. The other never makes a setting and fails the test when it
// reads one that is not the victim's: then the test's subject left it there.
// Both end with the function that is returned, each after its step: a query that
// is cancelled at the wrong moment ends PgBouncer 1.18 (measured: "server_proto:
// server in bad state: 11").
func Hostile(t testing.TB, url, victim string) (stop func()) {
	t.Helper()
	ctx := context.Background() // of the steps
	stopped, cancel := context.WithCancel(ctx)
	var clients sync.WaitGroup
	run := func(name string, step func(*pgx.Conn) error) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Errorf("the %s: %v", name, err)
			return
		}
		defer func() { _ = conn.Close(context.Background()) }()
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			if err := step(conn); err != nil {
				t.Errorf("the %s: %v", name, err)
				return
			}
			select {
			case <-tick.C:
			case <-stopped.Done():
				return
			}
		}
	}
	clients.Go(func() {
		run("hostile client", func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "SET app.current_tenant_id = '"+victim+"'", pgx.QueryExecModeSimpleProtocol)
			return err
		})
	})
	clients.Go(func() {
		run("bystander", func(conn *pgx.Conn) error {
			var left string
			err := conn.QueryRow(ctx, `select coalesce(nullif(current_setting('app.current_tenant_id', true), $1), '') || coalesce(current_setting('app.current_user_id', true), '')`,
				pgx.QueryExecModeExec, victim).Scan(&left)
			if left != "" {
				t.Errorf("%q was left on a server connection", left)
			}
			return err
		})
	})
	return func() {
		cancel()
		clients.Wait()
	}
}

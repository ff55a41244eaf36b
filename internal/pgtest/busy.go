package pgtest

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Busy runs n clients that ask without a pause until the function that it
// returns. It returns when each has had an answer.
func Busy(t testing.TB, url string, n int) (stop func()) {
	t.Helper()
	stopped, cancel := context.WithCancel(context.Background())
	var clients, asked sync.WaitGroup
	for range n {
		asked.Add(1)
		clients.Go(func() {
			first := sync.OnceFunc(asked.Done)
			defer first()
			conn, err := pgx.Connect(context.Background(), url)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			for stopped.Err() == nil {
				if _, err := conn.Exec(context.Background(), "select 1", pgx.QueryExecModeExec); err != nil {
					t.Error(err)
					return
				}
				first()
			}
		})
	}
	asked.Wait()
	return func() {
		cancel()
		clients.Wait()
	}
}

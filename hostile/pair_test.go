package hostile

import (
	"sync"
	"testing"
	"time"
)

// One connection's transaction is idle until another connection has done
// something: found once, as an error. Connections that work at the same time are
// not accused, nor is anybody who is only observed.
func TestTransactionThatWaitsForAnotherConnection(t *testing.T) {
	bound := Config{IdleBound: 500 * time.Millisecond}
	t.Run("pair", func(t *testing.T) {
		p, url, _ := testPooler(t, bound)
		guard, work := connect(t, url, "exec"), connect(t, url, "exec")
		for range 3 {
			exec(t, guard, "begin")
			exec(t, guard, "select pg_advisory_xact_lock(7)")
			exec(t, work, "begin")
			exec(t, work, "select 1")
			exec(t, work, "commit")
			exec(t, guard, "commit")
		}
		wantFound(t, p, "PP014 "+whileAnotherWaits)
		if f := p.Report().Findings; len(f) != 1 || f[0].Severity != Error || f[0].Count != 1 || f[0].First.SQL != "select pg_advisory_xact_lock(7)" {
			t.Errorf("%+v", f)
		}
	})
	t.Run("observed", func(t *testing.T) {
		p, url, _ := testPooler(t, Config{Observe: true})
		guard, work := connect(t, url, "exec"), connect(t, url, "exec")
		exec(t, guard, "begin")
		exec(t, work, "select 1")
		exec(t, guard, "commit")
		wantFound(t, p)
	})
	t.Run("one after the other", func(t *testing.T) {
		p, url, _ := testPooler(t, bound)
		one, two := connect(t, url, "exec"), connect(t, url, "exec")
		for range 5 {
			exec(t, one, "begin")
			exec(t, one, "commit")
			exec(t, two, "begin")
			exec(t, two, "commit")
		}
		wantFound(t, p)
	})
	t.Run("side by side", func(t *testing.T) {
		p, url, _ := testPooler(t, Config{})
		var wg sync.WaitGroup
		for range 6 {
			c := connect(t, url, "exec")
			wg.Go(func() {
				for range 60 {
					for _, sql := range []string{"begin", "select 1", "commit"} {
						if _, err := c.Exec(t.Context(), sql); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		wantFound(t, p)
		if n := p.idleTransactions.Load(); n != 0 {
			t.Errorf("%d transactions are said to be idle", n)
		}
	})
}

package hostile

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// footprint is what a process holds.
type footprint struct {
	heap        int // bytes that are reachable
	goroutines  int
	descriptors int
}

// footprintNow returns what this process holds. It waits until what has just
// ended is gone: no more than there was before, or the deadline.
func footprintNow(t *testing.T, most footprint) footprint {
	t.Helper()
	now := func() footprint {
		runtime.GC()
		runtime.GC() // what had a finalizer goes the second time
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return footprint{int(m.HeapAlloc), runtime.NumGoroutine(), len(fds)}
	}
	f := now()
	for deadline := time.Now().Add(20 * time.Second); most.heap > 0 && (f.heap > most.heap || f.goroutines > most.goroutines || f.descriptors > most.descriptors); f = now() {
		if time.Now().After(deadline) {
			t.Errorf("the process holds %+v, more than %+v", f, most)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return f
}

// A pooler that many clients use, each only shortly, and each with statements,
// names and settings that no other has, holds in the end no more than half way
// through.
func TestEndurance(t *testing.T) {
	clients := pgtest.Pick(200, 100_000) // the command's hour is cmd/poolproof's TestProxyEndures
	for _, tc := range []struct {
		name  string
		cfg   Config
		share int // of the clients: one in so many
	}{
		{"strict", Config{}, 1},
		{"tracking", Config{Profile: "pgbouncer-1.24"}, 5},
		{"observing", Config{Observe: true}, 20}, // each client costs a process of the server
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cfg.MaxServerConns = 4
			direct := pgtest.Database(t)
			tc.cfg.Upstream = direct
			p, pooled := StartWith(t, tc.cfg)
			for i := range maxStatementsLeft { // as after many clients
				p.claimStatement(fmt.Sprintf("earlier_%d", i), 1)
			}
			for i := range maxPIDs {
				p.rememberPID(uint32(1<<30+i), &transaction{})
			}
			n := clients / tc.share
			visit(t, pooled, 0, max(n/5, 100)) // what is made once is there
			slack := footprint{heap: 256 << 10, goroutines: 4, descriptors: 4}
			first := footprintNow(t, footprint{})
			for half := 1; half <= 2; half++ {
				visit(t, pooled, half*clients, n/2)
				most := footprint{first.heap + slack.heap, first.goroutines + slack.goroutines, first.descriptors + slack.descriptors}
				f := footprintNow(t, most)
				t.Logf("after half %d of %d clients: %d kB, %d goroutines, %d descriptors", half, n, f.heap>>10, f.goroutines, f.descriptors)
			}
			if !tc.cfg.Observe {
				c := connect(t, pooled, "simple_protocol")
				var left int
				if err := c.QueryRow(t.Context(), "select count(*) from pg_prepared_statements").Scan(&left); err != nil || left > maxOnServer+5 {
					t.Errorf("a server connection has %d statements, %v", left, err)
				}
			}
			if got := p.Report().Clients; got < n {
				t.Errorf("%d clients were let in, of %d", got, n)
			}
		})
	}
}

// visit connects n times, from a few goroutines. Each client says what no client
// has said, and leaves.
func visit(t *testing.T, url string, from, n int) {
	t.Helper()
	var next, failed atomic.Int64
	work := func() {
		ctx := context.WithoutCancel(t.Context())
		for {
			i := int(next.Add(1))
			if i > n {
				return
			}
			i += from
			err := func() error {
				c, err := pgconn.Connect(ctx, url)
				if err != nil {
					return err
				}
				defer c.Close(ctx) //nolint:errcheck // what it has said is answered
				if _, err := c.Prepare(ctx, fmt.Sprintf("named_%d", i), fmt.Sprintf("select %d, $1::int", i), nil); err != nil {
					return err
				}
				for _, sql := range []string{
					fmt.Sprintf("select %d as n /* route='r%d' */", i, i),
					fmt.Sprintf("select set_config('app.of_%d', '%s', true), pg_backend_pid()", i, strings.Repeat("x", 200)),
				} {
					if _, err := c.Exec(ctx, sql).ReadAll(); err != nil {
						return err
					}
				}
				if i%50 == 0 { // each costs a DISCARD ALL and questions
					_, err = c.Exec(ctx, fmt.Sprintf("set app.left_%d = '%s'", i, strings.Repeat("x", 200))).ReadAll()
				}
				return err
			}()
			if err != nil && failed.Add(1) < 5 {
				t.Errorf("client %d: %v", i, err)
			}
		}
	}
	done := make(chan struct{})
	const workers = 16
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			work()
		}()
	}
	for range workers {
		<-done
	}
}

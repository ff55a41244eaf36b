//go:build unix

package doctor_test

import (
	"net"
	"sync"
	"testing"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestCutAtAnyMoment ends all connections of a look at once, as a kill does, each time before another one of its messages, and then
// looks at what the server connections hold. What pooler.Examine does before is pooler.TestExamineCutAtAnyMoment's.
func TestCutAtAnyMoment(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement} {
		t.Run(kind.String(), func(t *testing.T) {
			pooled := pgtest.Pooled(t, app(t, sound), kind)
			cut := newCutter(t, pooled)
			look := func(limit int) (*doctor.Report, int) {
				cut.arm(limit)
				r := doctor.Examine(t.Context(), doctor.Config{URL: cut.url, Fast: true})
				return r, cut.count()
			}
			r, whole := look(0)
			if !r.Reached || whole < 10 {
				t.Fatalf("%s, %d messages", r.Verdict, whole)
			}
			reached := 0
			for limit := 1; limit <= whole; limit++ {
				r, _ := look(limit)
				if r.Reached {
					reached++
				}
				if kind == pgtest.PgBouncer118Statement {
					continue // no transaction outlives its Sync; what is left is looked at once
				}
				if left := pgtest.LeftoversInAMoment(t, pooled); left != "" {
					t.Fatalf("cut before message %d of %d, this is left: %s", limit, whole, left)
				}
			}
			if reached == whole {
				t.Error("nothing was cut")
			}
			t.Logf("%d cuts", whole)
			if kind == pgtest.PgBouncer118Transaction {
				if left := pgtest.Leftovers(t, pooled, 10); left != "" {
					t.Errorf("left behind: %s", left)
				}
			} else if got := findings(doctor.Examine(t.Context(), doctor.Config{URL: pooled, Fast: true})); got != "" {
				t.Errorf("after the cuts: %s", got)
			}
		})
	}
}

// cutter is a relay that ends all connections before message number limit is passed on; 0 never.
type cutter struct {
	url   string
	mu    sync.Mutex
	limit int
	sent  int
	conns []net.Conn
}

func newCutter(t *testing.T, raw string) *cutter {
	t.Helper()
	c := &cutter{}
	c.url = pgtest.Between(t, raw, func(client, server net.Conn) {
		c.mu.Lock()
		c.conns = append(c.conns, client, server)
		c.mu.Unlock()
		go c.pass(client, server, true)
		go c.pass(server, client, false)
	})
	t.Cleanup(func() { c.arm(0) })
	return c
}

// arm ends what is open and counts anew.
func (c *cutter) arm(limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	c.limit, c.sent = limit, 0
}

func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

func (c *cutter) end() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// pass copies one direction. The client's writes are counted.
func (c *cutter) pass(from, to net.Conn, counted bool) {
	defer func() { _, _ = from.Close(), to.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if counted {
			c.mu.Lock()
			c.sent++
			if c.limit > 0 && c.sent >= c.limit {
				c.end()
				c.mu.Unlock()
				return
			}
			c.mu.Unlock()
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

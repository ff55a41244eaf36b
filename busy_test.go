package poolproof_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// lateConn is a connection on which everything is said late.
type lateConn struct{ net.Conn }

func (c lateConn) Write(p []byte) (int, error) {
	time.Sleep(1100 * time.Millisecond) // longer than the probe's budget
	return c.Conn.Write(p)
}

// A pooler that is too busy for the probe's second is asked once more. If that
// does not help in statement mode, where an explicit transaction cannot, the
// first refusal is the last.
func TestOpenThroughABusyPooler(t *testing.T) {
	f := newFixture(t, 1)
	url := pgtest.Pooled(t, f.url, pgtest.PgBouncer118Statement)
	for late, undecided := range map[int32]bool{1: false, 2: true} {
		t.Run(fmt.Sprint(late, " connections are late"), func(t *testing.T) {
			var dialled atomic.Int32
			db := open(t, url, mode(poolproof.ModeExec), func(c *poolproof.Config) {
				c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
					if dialled.Add(1) <= late {
						conn = lateConn{conn}
					}
					return conn, err
				}
			})
			if r := db.Report(); r.Undecided != undecided || r.ImplicitScope == undecided {
				t.Fatalf("the probe: %+v", r)
			}
			for i := range 3 {
				_, err := db.Tenant(tenant(0)).Exec(t.Context(), "select count(*) from documents")
				if refused := errors.Is(err, poolproof.ErrStatementMode); refused != (undecided && i == 0) || err != nil && !refused {
					t.Errorf("statement %d: %v", i, err)
				}
			}
		})
	}
}

package hostile

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// What somebody may cost before they have said who they are. As many strangers
// are served at once; others wait in the listener's queue, until the one who has
// been a stranger longest has been that for patience, and must go.
const (
	maxStrangers   = 100
	patience       = 500 * time.Millisecond
	startupTimeout = 30 * time.Second
	maxStartup     = 10_000 // bytes of a startup packet: PostgreSQL's MAX_STARTUP_PACKET_LENGTH
	maxPassword    = 65_535 // and its PG_MAX_AUTH_TOKEN_LENGTH
)

// strangers are the connections that nobody has let in yet. Nothing of what they
// say is judged or kept.
type strangers struct {
	free chan struct{} // a token for each place that is taken
	mu   sync.Mutex
	all  []*stranger // the one who came first is first
}

// stranger is one of them.
type stranger struct {
	conn  net.Conn
	ctx   context.Context //nolint:containedctx // ends when the stranger must go, or is none any more
	since time.Time
	// end closes the connection, and ends what is done for it.
	end func()
	// known gives the place to others, and ends the time limit.
	done     func()
	admitted atomic.Bool // it was let in
}

func newStrangers() *strangers { return &strangers{free: make(chan struct{}, maxStrangers)} }

// enter waits for a place, and ends whoever holds one for too long. The only
// error is ctx's.
func (x *strangers) enter(ctx context.Context, conn net.Conn) (*stranger, error) {
	for taken := false; !taken; {
		select {
		case x.free <- struct{}{}:
			taken = true
			continue
		default:
		}
		wait := time.NewTimer(x.expel())
		select {
		case x.free <- struct{}{}:
			taken = true
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			_ = conn.Close() // nobody serves it
			return nil, ctx.Err()
		}
		wait.Stop()
	}
	st := &stranger{conn: conn, since: time.Now()}
	var cancel context.CancelFunc
	st.ctx, cancel = context.WithTimeout(ctx, startupTimeout)
	closing := context.AfterFunc(st.ctx, func() { _ = conn.Close() })
	st.end = cancel
	st.done = sync.OnceFunc(func() {
		closing()
		cancel()
		x.leave(st)
	})
	x.mu.Lock()
	x.all = append(x.all, st)
	x.mu.Unlock()
	return st, nil
}

// expel ends the one who has been a stranger longest, if that is long enough, and
// returns when to look again.
func (x *strangers) expel() time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.all) == 0 { // all were told to go
		return patience
	}
	eldest := x.all[0]
	if wait := patience - time.Since(eldest.since); wait > 0 {
		return wait
	}
	x.all = x.all[1:]
	eldest.end()
	return patience
}

func (x *strangers) leave(st *stranger) {
	x.mu.Lock()
	for i, other := range x.all {
		if other == st {
			x.all = append(x.all[:i:i], x.all[i+1:]...)
			break
		}
	}
	x.mu.Unlock()
	<-x.free
}

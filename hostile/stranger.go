package hostile

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// What clients may cost before they have said who they are. So many strangers
// are served at once. Others wait in the listener's queue until the stranger
// who came first has been one for as long as patience, and is expelled.
const (
	maxStrangers   = 100
	patience       = 500 * time.Millisecond
	startupTimeout = 30 * time.Second
	maxStartup     = 10_000 // bytes of a startup packet: PostgreSQL's MAX_STARTUP_PACKET_LENGTH
	maxPassword    = 65_535 // and its PG_MAX_AUTH_TOKEN_LENGTH
)

// strangers are the connections that have not been let in yet. Nothing of what
// they say is judged or kept.
type strangers struct {
	free chan struct{} // a token for each place that is taken
	mu   sync.Mutex
	all  []*stranger // in the order in which they came
}

// stranger is one of them.
type stranger struct {
	conn  net.Conn
	ctx   context.Context //nolint:containedctx // ends at the time limit, and when the login is over
	since time.Time
	// end closes the connection and cancels ctx.
	end func()
	// done frees the place for others and lifts the time limit. Further calls do nothing.
	done     func()
	admitted atomic.Bool // the client was let in
}

// newStrangers returns an empty set.
func newStrangers() *strangers { return &strangers{free: make(chan struct{}, maxStrangers)} }

// enter waits for a place, and meanwhile expels strangers who hold one for too
// long. The only error is ctx's.
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

// expel ends the stranger who came first, if that was long enough ago. It
// returns how long to wait for the next.
func (x *strangers) expel() time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.all) == 0 { // all have been expelled
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

// leave frees a stranger's place.
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

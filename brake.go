package poolproof

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// How long a pool does not connect after its login was refused: twice as long
// each time.
const (
	firstBrake = 5 * time.Second
	lastBrake  = 5 * time.Minute
)

// How many logins of a pool are under way at once. One at a time until one is let
// in: ten wrong passwords at once could lock the address out before the first of
// them is known to be wrong. A login that was let in speaks for the next ones,
// and only for a moment, as passwords change.
const (
	together = 4
	vouching = time.Second
)

// brake limits a pool's logins. It keeps the pool from trying a login that is
// refused with every statement that wants a connection: meanwhile each gets the
// same error at once. And it keeps the first of many from being tried all at
// once. It sees each attempt to connect, as pgx's ConnectTracer: that a statement
// got a connection that was there already says nothing about the login.
type brake struct {
	now     func() time.Time // time.Now, but in tests
	closing <-chan struct{}  // closed when the pool is to end; nil: never

	mu      sync.Mutex
	refusal error // nil: the last connection was let in
	wait    time.Duration
	until   time.Time

	underWay int       // attempts that were let through and have not ended
	vouched  time.Time // until then up to together attempts may be under way
	next     *attempt  // whose end those who wait hear of; nil: nobody waits
}

// attempt is whichever of those under way ends next.
type attempt struct {
	ended    chan struct{}
	timedOut error // not nil: it had no answer in time
}

// beforeConnect is pgxpool's hook. It waits until one more attempt may be under
// way. After a refusal it lets one through each time that the wait is over. For
// each nil that it returns, TraceConnectEnd must be called once, as pgx does on
// every path, with whatever error.
//
// Nobody waits longer than an attempt takes that fails: those who waited for one
// that had no answer in time get its error, as they would not have had one either.
func (b *brake) beforeConnect(ctx context.Context, _ *pgx.ConnConfig) error {
	for {
		other, err := b.enter()
		if other == nil {
			return err
		}
		select {
		case <-other.ended:
			if other.timedOut != nil {
				return other.timedOut
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-b.closing:
			return context.Canceled
		}
	}
}

// enter lets an attempt through, or returns the attempt to wait for, or why
// there is to be none.
func (b *brake) enter() (*attempt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusal != nil && b.now().Before(b.until) {
		return nil, &braked{b.refusal}
	}
	limit := 1
	if b.now().Before(b.vouched) {
		limit = together
	}
	if b.underWay >= limit {
		if b.next == nil {
			b.next = &attempt{ended: make(chan struct{})}
		}
		return b.next, nil
	}
	if b.refusal != nil {
		b.lengthen() // whoever comes meanwhile is told the last refusal
	}
	b.underWay++
	return nil, nil //nolint:nilnil // neither to wait for nor refused: let through
}

// braked is the last refusal, told again without a try.
type braked struct{ error }

func (e *braked) Unwrap() error { return e.error }

// TraceConnectStart does nothing.
func (b *brake) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

// TraceConnectEnd notes how an attempt ended, and wakes those who wait for it.
func (b *brake) TraceConnectEnd(_ context.Context, d pgx.TraceConnectEndData) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.underWay--
	if d.Err == nil {
		b.vouched = b.now().Add(vouching)
	} else {
		b.vouched = time.Time{}
	}
	switch {
	case d.Err == nil:
		b.refusal, b.wait = nil, 0
	case LoginRefused(d.Err):
		if b.refusal == nil { // of several at once the first counts
			b.lengthen()
		}
		b.refusal = d.Err
	case !errors.Is(d.Err, context.Canceled) && !errors.Is(d.Err, context.DeadlineExceeded): // the server is away: nobody counts that
		b.refusal, b.wait = nil, 0
	}
	if b.next == nil {
		return
	}
	if pgconn.Timeout(d.Err) || errors.Is(d.Err, context.DeadlineExceeded) {
		b.next.timedOut = d.Err
	}
	close(b.next.ended)
	b.next = nil
}

func (b *brake) lengthen() {
	b.wait = min(max(2*b.wait, firstBrake), lastBrake)
	b.until = b.now().Add(b.wait + rand.N(b.wait/5)) //nolint:gosec // spreads attempts; nothing secret
}

// TraceQueryStart does nothing. pgx.ConnConfig.Tracer asks for it.
func (b *brake) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd does nothing.
func (b *brake) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

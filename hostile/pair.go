package hostile

import (
	"context"
	"time"
)

// A program that leaves a transaction idle on one connection until another
// connection has done something waits for itself: where the idle transactions of
// several copies hold all server connections, no copy goes on. To tell this from
// connections that only happen to work at the same time, a client that wants a
// server connection is kept waiting while another one's transaction is idle. If
// that does not move meanwhile, but as soon as the other was served, it waited
// for it.

// What this may cost a run.
const (
	maxTrials     = 100 // how often a client is kept waiting
	maxLongTrials = 3   // how often to the end
)

// promptly is how soon after the other one was served an idle transaction moves
// that has waited for it.
const promptly = 500 * time.Millisecond

// whileAnotherWaits is the subject of an IdleInTransaction that waits for
// another connection.
const whileAnotherWaits = "while another connection of the program waits"

// longTrial is how long a client is kept waiting at most.
func (p *Pooler) longTrial() time.Duration { return p.cfg.IdleBound * 2 / 5 }

// waitForIdle waits until the transaction that has been idle longest moves on,
// or for a bounded time. It costs nothing while no transaction is idle.
func (s *session) waitForIdle(ctx context.Context) {
	p := s.p
	if p.idleTransactions.Load() == 0 || p.profile.Plain || p.trials.Load() <= 0 || p.longTrials.Load() <= 0 {
		return
	}
	idle, x, moved := p.longestIdle(s)
	if idle == nil {
		return
	}
	p.trials.Add(-1)
	bound := time.NewTimer(p.longTrial())
	defer bound.Stop()
	select {
	case <-moved:
		return
	case <-ctx.Done():
		return
	case <-bound.C:
	}
	p.longTrials.Add(-1)
	s.mu.Lock()
	s.waitedFor = true
	s.mu.Unlock()
	idle.mu.Lock()
	defer idle.mu.Unlock()
	if idle.tx == x {
		x.waiter = s
	}
}

// longestIdle returns the session whose transaction has been idle longest, of
// those that nobody has waited for, its transaction, and a channel that is
// closed when it moves. It returns nil if there is none but s.
func (p *Pooler) longestIdle(s *session) (idle *session, x *transaction, moved <-chan struct{}) {
	p.mu.Lock()
	sessions := make([]*session, 0, len(p.sessions))
	for _, o := range p.sessions {
		if o != s {
			sessions = append(sessions, o)
		}
	}
	p.mu.Unlock()
	var since time.Time
	for _, o := range sessions {
		o.mu.Lock()
		if o.waitsUntriedLocked() && (idle == nil || o.idleSince.Before(since)) {
			idle, since = o, o.idleSince
		}
		o.mu.Unlock()
	}
	if idle == nil {
		return nil, nil, nil
	}
	idle.mu.Lock()
	defer idle.mu.Unlock()
	if !idle.waitsUntriedLocked() { // it has just moved
		return nil, nil, nil
	}
	idle.tx.tried = true
	idle.moved = make(chan struct{})
	return idle, idle.tx, idle.moved
}

// waitsUntriedLocked reports whether the session's transaction is idle, and
// nobody has waited for it.
func (s *session) waitsUntriedLocked() bool {
	return !s.idleSince.IsZero() && s.idleIn == idleInTransaction && s.tx != nil && !s.tx.tried
}

// judgeWaiterLocked reports a transaction that moves when the session that was
// kept waiting for it has been served.
func (s *session) judgeWaiterLocked(x *transaction) {
	served := time.Unix(0, x.waiter.finished.Load())
	x.waiter = nil
	if time.Since(served) < promptly {
		x.idleReported = true
		s.p.longTrials.Store(0) // it is known now
		s.p.report(fault{code: IdleInTransaction, subject: whileAnotherWaits, first: s.occurrenceLocked(x.lastText(), nil), other: true})
	}
}

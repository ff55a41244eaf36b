package hostile

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/poolproof/poolproof/internal/protocol"
)

// idleKind is in what a server connection waits for its client.
type idleKind byte

const (
	idleInTransaction idleKind = iota
	idleInUnit                 // everything is answered, but the client has sent no Sync
	idleAfterRows              // rows of a COPY came after its error, and nothing after them
	idleInCopy                 // the server wants more rows of a COPY, or its end
)

// beginIdleLocked notes that the server waits for the client from now on.
func (s *session) beginIdleLocked(in idleKind) {
	s.endIdleLocked()
	s.idleSince, s.idleIn = time.Now(), in
	if in == idleInTransaction {
		s.p.idleTransactions.Add(1)
	}
}

// endIdleLocked notes that it does not, or that it does not matter any more.
func (s *session) endIdleLocked() {
	if s.idleSince.IsZero() {
		return
	}
	s.idleSince = time.Time{}
	if s.idleIn != idleInTransaction {
		return
	}
	s.p.idleTransactions.Add(-1)
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
	if x := s.tx; x != nil && x.waiter != nil {
		s.judgeWaiterLocked(x)
	}
}

// onFlushLocked handles a client's Flush: the server answers, and the unit goes
// on.
func (s *session) onFlushLocked() {
	s.flushed = true
	if s.owed == 0 {
		s.waitInUnitLocked()
	}
}

// onAnsweredLocked handles the answer to one of the messages that the server
// owes one.
func (s *session) onAnsweredLocked() {
	s.owed = max(s.owed-1, 0)
	if s.owed == 0 && s.flushed && s.unitOpen {
		s.waitInUnitLocked()
	}
}

// waitInUnitLocked notes that the server waits for the rest of a unit.
func (s *session) waitInUnitLocked() {
	if !s.copyingIn {
		s.beginIdleLocked(idleInUnit)
	}
}

// onRowsSent notes that the server has the client's rows of a COPY so far.
func (s *session) onRowsSent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copyingIn {
		s.beginIdleLocked(idleInCopy)
	}
}

// onLateRow handles what goes to no server connection.
func (s *session) onLateRow(f frame) {
	if f.typ == protocol.Flush {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onLateRowLocked()
}

// onLateRowLocked handles a message of a COPY. If none is under way, it comes
// after the COPY's error. A pooler may take it for the beginning of something,
// also if we have it before we have passed the ReadyForQuery on: the server
// sends that right after the error.
func (s *session) onLateRowLocked() {
	if s.copyFailed {
		s.lateRows = true
	}
	if s.p.profile.HeldByLateRows && !s.copyingIn && s.unanswered == 0 && !s.unitOpen && s.status == protocol.Idle {
		s.beginIdleLocked(idleAfterRows)
	}
}

// judgeHeldLocked reports a client that has waited longer than bound in
// something that has no end.
func (s *session) judgeHeldLocked(bound time.Duration) {
	if s.idleSince.IsZero() || s.idleIn == idleInTransaction || time.Since(s.idleSince) <= bound {
		return
	}
	s.endIdleLocked() // reported once
	switch s.idleIn {
	case idleAfterRows:
		s.reportLocked(HeldForGood, "rows of a COPY after its error", s.lastOfUnit, nil)
	case idleInCopy: // the next row may come
		s.p.report(fault{code: HeldForGood, subject: "COPY that waits for its rows", first: s.occurrenceLocked(s.lastTextLocked(), nil), other: true})
	default:
		s.reportLocked(HeldForGood, "pipeline without its Sync", s.lastTextLocked(), nil)
	}
}

// writes passes on what is written to a client, and says since when it does not
// read.
type writes struct {
	to    net.Conn
	since atomic.Int64 // when the write under way began, in Unix nanoseconds; 0: none is
}

// Write writes to the client.
func (w *writes) Write(b []byte) (int, error) {
	w.since.Store(time.Now().UnixNano())
	defer w.since.Store(0)
	return w.to.Write(b)
}

// judgeUnreadLocked reports a client that has not read its answer for longer
// than bound: the server waits to send the rest.
func (s *session) judgeUnreadLocked(bound time.Duration) {
	since := s.writes.since.Load()
	if since == 0 || since == s.unreadFor || s.backend == nil || time.Since(time.Unix(0, since)) <= bound {
		return
	}
	s.unreadFor = since
	s.p.report(fault{code: HeldForGood, subject: "answer that its client does not read", first: s.occurrenceLocked(s.lastTextLocked(), nil), other: true})
}

// judgeIdleLocked reports a transaction that has waited longer than bound.
func (s *session) judgeIdleLocked(bound time.Duration) {
	x := s.tx
	if x == nil || s.idleSince.IsZero() || s.idleIn != idleInTransaction || x.idleReported || time.Since(s.idleSince) <= bound {
		return
	}
	x.idleReported = true
	s.reportLocked(IdleInTransaction, "", x.lastText(), nil)
}

// lastText returns the transaction's last text, or nil.
func (t *transaction) lastText() *queryText {
	if len(t.texts) == 0 {
		return nil
	}
	return t.texts[len(t.texts)-1]
}

package hostile

import (
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/poolproof/poolproof/internal/protocol"
)

// stillness is a program of which nothing comes, and whose connections are all
// unused after a fault or held in a transaction.
type stillness struct {
	lost   map[uint32]bool // clients that are unused after a fault
	others bool            // since one of them met its fault, others were used
	lasted time.Duration
}

// leftClient is a client that has left.
type leftClient struct {
	at           int // turn
	hurt, inside bool
}

// has reports whether one of the text's words is this one.
func (t *queryText) has(word string) bool { return slices.Contains(t.words, word) }

// writes reports whether a text writes.
func (t *queryText) writes() bool {
	for _, st := range t.statements {
		switch st.kind {
		case "insert", "update", "delete", "merge":
			return true
		case "with":
			return t.has("insert") || t.has("update") || t.has("delete")
		}
	}
	return false
}

// countsUp matches an update that has another effect the second time.
var countsUp = regexp.MustCompile(`(?i)\bset\b[^;]*\b([a-z_]\w*)\s*=\s*\(?\s*(?:\w+\.)?([a-z_]\w*)\s*(?:[-+*/]|\|\|)`)

// addsUp reports whether a write has another effect the second time.
func (t *queryText) addsUp() bool {
	if t.has("insert") && !t.has("conflict") {
		return true
	}
	for _, m := range countsUp.FindAllStringSubmatch(t.sql, -1) {
		if strings.EqualFold(m[1], m[2]) {
			return true
		}
	}
	return false
}

// judgeSaid judges what a client is about to send to the server, and withholds
// the answer if that is planned.
func (s *session) judgeSaid(f frame, t *queryText) {
	if t == nil || f.typ == protocol.Parse {
		return // what is bound counts
	}
	o := &s.ordeal
	ends := false
	for _, st := range t.statements {
		switch st.kind {
		case "begin", "start":
			o.open, o.failedBegin, o.outside = true, false, nil
		case "commit", "end":
			s.judgeCommit()
			o.open, o.failedBegin, o.outside, ends = false, false, nil, true
		case "rollback", "abort":
			if st.words[1] == "to" {
				break
			}
			if o.failedBegin {
				s.judgeCommit()
			}
			o.open, o.failedBegin, o.outside = false, false, nil
		default:
			if !o.open && o.outside == nil {
				o.outside = t
			}
		}
	}
	o.locked = o.locked || slices.ContainsFunc(t.words, func(w string) bool { return strings.Contains(w, "advisory") && strings.Contains(w, "lock") })
	if t.writes() && f.complete() {
		s.judgeWrite(f, t)
	}
	if o.plan != FaultAnswer || len(o.writes) == 0 || o.open || !ends && !t.writes() {
		return
	}
	o.plan = ""
	s.mu.Lock()
	o.unsaid, o.claim = slices.Clone(o.writes), nil
	if !ends && t.has("skip") && t.has("locked") && t.has("returning") {
		o.claim = t
	}
	s.mu.Unlock()
	o.withholding.Store(true)
}

// judgeCommit reports the end of a transaction that did not begin, after one
// that was broken off: what was sent in between took effect without it.
func (s *session) judgeCommit() {
	d, o := s.p.badDay, &s.ordeal
	if o.open || o.outside == nil {
		return
	}
	d.mu.Lock()
	d.always = d.always || !d.broken
	ignore, locked, subject := d.always, d.lockHeld, ""
	if d.inMiddle {
		subject = "on another connection"
	}
	d.mu.Unlock()
	if ignore {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if locked {
		s.reportLocked(LockLost, "lock", o.outside, nil)
		return
	}
	s.reportLocked(GoesOn, subject, o.outside, nil)
}

// judgeWrite remembers a write, and notes whether it was lost before.
func (s *session) judgeWrite(f frame, t *queryText) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.sql))
	if f.typ == protocol.Bind {
		_, rest, _ := cutString(f.body())
		_, params, _ := cutString(rest)
		_, _ = h.Write(params)
	}
	hash := h.Sum64()
	d, o := s.p.badDay, &s.ordeal
	d.mu.Lock()
	again, often := d.lost[hash], d.sent[hash]
	delete(d.lost, hash)
	if len(d.sent) < maxWrites {
		d.sent[hash] = true
	}
	d.mu.Unlock()
	if often && !again { // the program says it again and again
		hash = 0
	}
	if len(o.writes) < maxOfUnit {
		o.writes = append(o.writes, hash)
	}
	if again && t.addsUp() {
		s.mu.Lock()
		o.again, o.text = true, t
		s.mu.Unlock()
	}
}

// afterAnswerLocked judges a write that was sent again, when its transaction is
// over.
func (s *session) afterAnswerLocked(status byte) {
	o := &s.ordeal
	if status != protocol.Idle || !o.again {
		return
	}
	if o.written {
		s.reportLocked(SentTwice, "", o.text, nil)
	}
	o.again, o.written = false, false
}

// afterCommandLocked notes whether a write that was sent again had an effect.
func (s *session) afterCommandLocked(tag string) {
	o := &s.ordeal
	switch {
	case !o.again:
	case tag == "ROLLBACK":
		o.again = false
	case (strings.HasPrefix(tag, "INSERT") || strings.HasPrefix(tag, "UPDATE")) && !strings.HasSuffix(tag, " 0"):
		o.written = true
	}
}

// judgeUnusedLocked reports a client that left and was not used after a fault,
// although the program opened another connection since and used it: the one
// that met the fault was never given back to the program's pool.
func (s *session) judgeUnusedLocked() {
	d, o := s.p.badDay, &s.ordeal
	if d == nil || s.pool == nil {
		return
	}
	s.judgeNeverGivenBackLocked()
	d.mu.Lock()
	if len(d.left) >= maxLeftKept {
		d.left = d.left[1:]
	}
	d.left = append(d.left, leftClient{d.turn, o.hurtAt > 0, s.status == protocol.InTransaction || s.status == protocol.FailedTransaction})
	d.mu.Unlock()
}

// judgeNeverGivenBackLocked reports a client that was not used after a fault,
// where the program's own pool would have handed it out.
func (s *session) judgeNeverGivenBackLocked() {
	never, certain := s.p.badDay.neverGivenBack(s)
	if !never || s.ordeal.told {
		return
	}
	s.ordeal.told = true
	s.p.report(fault{code: NeverGivenBack, first: s.occurrenceLocked(s.lastOfUnit, nil), other: !certain})
}

// finishTime is how long Finish waits for clients to leave.
const finishTime = time.Second

// Finish says that the program has ended. Its clients leave now; Finish waits a
// second for that, so that the report holds what is judged when they have left.
// Clients that remain, of processes that live on, are judged as if they left.
// Without faults it does nothing.
func (p *Pooler) Finish() {
	if p.badDay == nil {
		return
	}
	var sessions []*session
	for deadline := time.Now().Add(finishTime); ; time.Sleep(5 * time.Millisecond) {
		sessions = sessions[:0]
		p.mu.Lock()
		for _, s := range p.sessions {
			sessions = append(sessions, s)
		}
		p.mu.Unlock()
		if len(sessions) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, s := range sessions {
		s.mu.Lock()
		s.judgeNeverGivenBackLocked()
		s.mu.Unlock()
	}
}

// neverGivenBack reports whether a client was not used after a fault, although
// the program opened another one since, and used it; or although the program
// stood still since and had no other connection that it could have used. That is
// certain if others were used between, and else only likely: a program may have
// nothing to do, but then most say goodbye. The caller holds the session's lock.
func (d *badDay) neverGivenBack(s *session) (never, certain bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := s.ordeal.hurtAt
	switch {
	case at == 0:
		return false, false
	case d.logins[s.pool] > at && d.turn-at >= othersNeeded:
		return true, true
	case d.still == nil || !d.still.lost[s.id]:
		return false, false
	case d.still.others:
		return true, true
	}
	return !s.terminated && d.still.lasted > s.p.cfg.IdleBound, false
}

// watchStill notes whether the program stands still and has no connection left
// that it could use. Such a connection may have met its fault long before.
func (p *Pooler) watchStill() {
	d := p.badDay
	if d == nil {
		return
	}
	p.mu.Lock()
	sessions := make([]*session, 0, len(p.sessions))
	for _, s := range p.sessions {
		sessions = append(sessions, s)
	}
	p.mu.Unlock()
	d.mu.Lock()
	heard, turn := d.heard, d.turn
	d.mu.Unlock()
	st := &stillness{lost: map[uint32]bool{}, lasted: time.Since(heard)}
	if heard.IsZero() || st.lasted < p.cfg.IdleBound/5 {
		return
	}
	for _, s := range sessions {
		if !s.mu.TryLock() {
			return // it is busy
		}
		hurt, held := s.ordeal.hurtAt > 0, s.unanswered == 0 && !s.unitOpen && (s.status == protocol.InTransaction || s.status == protocol.FailedTransaction)
		if hurt {
			st.lost[s.id] = true
			st.others = st.others || turn-s.ordeal.hurtAt >= othersNeeded
		}
		s.mu.Unlock()
		if !hurt && !held {
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(st.lost) > 0 && d.heard.Equal(heard) {
		d.still = st
	}
}

// summary returns what was played.
func (p *Pooler) summary() *BadDay {
	d := p.badDay
	if d == nil {
		return nil
	}
	p.mu.Lock()
	sessions := make([]*session, 0, len(p.sessions))
	for _, s := range p.sessions {
		sessions = append(sessions, s)
	}
	p.mu.Unlock()
	day := &BadDay{Seed: d.seed, Played: map[FaultKind]int{}}
	for _, s := range sessions {
		s.mu.Lock()
		day.add(s.ordeal.hurtAt > 0, s.status == protocol.InTransaction || s.status == protocol.FailedTransaction)
		s.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.Copy(day.Played, d.played)
	if d.still != nil {
		day.StoodStill = d.still.lasted
	}
	for _, l := range d.left {
		if l.at == d.turn { // it left after the last transaction began
			day.add(l.hurt, l.inside)
		}
	}
	return day
}

// add counts a connection.
func (d *BadDay) add(unused, held bool) {
	d.Open++
	if unused {
		d.Unused++
	}
	if held {
		d.Held++
	}
}

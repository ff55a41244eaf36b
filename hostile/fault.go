package hostile

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// A pooler has bad days: it has no server connection to hand out, or the one
// that it hands out dies. Most programs have never seen one. With Config.Faults
// the pooler plays such days, and judges what the program does then.

// FaultKind is what goes wrong.
type FaultKind string

// What can go wrong. Where a client is hung up on, it is told why first.
const (
	FaultCheckout FaultKind = "checkout" // no server connection is free in time: query_wait_timeout, 08P01, and the client is hung up on
	FaultBegin    FaultKind = "begin"    // the first statement of a transaction fails (57014); the client's connection stays
	FaultEnded    FaultKind = "ended"    // the server connection is ended before the first statement (57P01); the client is hung up on
	FaultCut      FaultKind = "cut"      // the same in the middle of a transaction
	FaultAnswer   FaultKind = "answer"   // the same when a write is committed and its answer is on its way
	FaultCancel   FaultKind = "cancel"   // a cancel request comes late, and stops the first statement of a transaction that it was not meant for (57014)
	FaultFailover FaultKind = "failover" // all server connections end; the next two clients that want one are refused (57P03)
)

// FaultKinds returns all kinds.
func FaultKinds() []FaultKind {
	return []FaultKind{FaultCheckout, FaultBegin, FaultEnded, FaultCut, FaultAnswer, FaultCancel, FaultFailover}
}

// Faults says which bad days are played.
type Faults struct {
	Seed  uint64      // the same seed plays the same faults to a program that says the same
	Kinds []FaultKind // default: all
}

// BadDay is what was played, and what connections the program had at the end.
type BadDay struct {
	Seed   uint64            `json:"seed"`
	Played map[FaultKind]int `json:"played"` // how often each kind was
	// The program's connections when its last transaction began.
	Open   int `json:"open"`
	Unused int `json:"unused"` // of those: a fault was the last that happened on it
	Held   int `json:"held"`   // of those: in a transaction of which nothing more came
	// StoodStill is how long nothing came at the end, if by then all connections of the program were unused after a fault or
	// held in a transaction: its own pool may be used up.
	StoodStill time.Duration `json:"stood_still_ns,omitempty"`
}

// String says it in a sentence or two.
func (d BadDay) String() string {
	var played []string
	for _, k := range FaultKinds() {
		if n := d.Played[k]; n > 0 {
			played = append(played, fmt.Sprintf("%s %d", k, n))
		}
	}
	if played == nil {
		played = []string{"none: the program has too few transactions for it, or does nothing that the fault could hit"}
	}
	said := fmt.Sprintf("Faults played (seed %d): %s. The program's connections when its last transaction began: %d open, %d not used again after a fault, %d held in a transaction.",
		d.Seed, strings.Join(played, ", "), d.Open, d.Unused, d.Held)
	if d.StoodStill > 0 {
		said += fmt.Sprintf(" Then it stood still for %s: no connection was left that it could have used.", d.StoodStill.Round(100*time.Millisecond))
	}
	return said
}

// refused is what a client meets after a failover.
const refused FaultKind = "refused"

const (
	faultEvery   = 3 // one transaction in so many meets a fault
	calmAfter    = 3 // transactions after a fault that meet none: a program that tries again three times succeeds
	maxRefusals  = 2 // clients that are refused after a failover
	maxWrites    = 4096
	maxLeftKept  = 1000
	cutAt        = 2 // units of a transaction before the server connection dies: BEGIN and one more
	othersNeeded = 3 // transactions of other connections, before one that is not used counts as never given back
)

// badDay plays faults. It is safe for concurrent use.
type badDay struct {
	seed  uint64
	kinds []FaultKind

	mu       sync.Mutex
	turn     int               // transactions that have begun
	calm     int               // transactions until the next fault may be
	refusals int               // clients that are still to be refused
	played   map[FaultKind]int // how often
	broken   bool              // a transaction was broken off
	always   bool              // the program sent COMMIT without BEGIN before: it always does
	lockHeld bool              // the one that was broken off had a lock
	inMiddle bool              // it had begun
	logins   map[*pool]int     // the turn at which a client logged in last
	sent     map[uint64]bool   // hashes of writes that the program sent
	lost     map[uint64]bool   // hashes of writes that were committed and not answered
	left     []leftClient      // clients that have left
	heard    time.Time         // when a client said something last
	still    *stillness        // nil: the program does not stand still, or has a connection that it could use
}

// newBadDay returns nil if there are no faults.
func newBadDay(f *Faults) (*badDay, error) {
	if f == nil {
		return nil, nil //nolint:nilnil // a good day
	}
	kinds := f.Kinds
	if len(kinds) == 0 {
		kinds = FaultKinds()
	}
	for _, k := range kinds {
		if !slices.Contains(FaultKinds(), k) {
			return nil, fmt.Errorf("there is no fault %q; there are %v", k, FaultKinds())
		}
	}
	return &badDay{seed: f.Seed, kinds: kinds, played: map[FaultKind]int{}, logins: map[*pool]int{}, sent: map[uint64]bool{}, lost: map[uint64]bool{}}, nil
}

// ordeal is what a client has met of it. Its own goroutine alone uses it, but
// for what is said.
type ordeal struct {
	begun      int       // transactions
	plan       FaultKind // what is to come; "": nothing
	units      int       // of the transaction under way
	swallowing bool      // the unit has failed: everything up to its Sync goes nowhere

	open        bool       // its BEGIN has been sent
	failedBegin bool       // its BEGIN failed, and it has begun and ended none since
	outside     *queryText // what it sent first outside a transaction
	locked      bool       // the transaction has taken an advisory lock or locked a job
	writes      []uint64   // of the transaction under way

	late        atomic.Bool // a cancel request comes late
	withholding atomic.Bool // the answers of the unit under way are not passed on

	// session.mu guards these.
	hurtAt  int  // the turn of a fault after which nothing came; 0: none
	told    bool // it was reported as never given back
	again   bool // a write of the transaction was lost before, and is sent again
	written bool // it had an effect
	text    *queryText
	unsaid  []uint64   // the writes whose answers are withheld
	claim   *queryText // takes a job out of its table, with the answer that is withheld
}

// hear notes that a client says something.
func (d *badDay) hear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard, d.still = time.Now(), nil
}

// draw decides which fault the client's next transaction meets.
func (d *badDay) draw(client uint32, n int) FaultKind {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn++
	if d.refusals > 0 {
		d.refusals--
		return refused
	}
	if d.calm > 0 {
		d.calm--
		return ""
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %d %d", d.seed, client, n)
	r := mix(h.Sum64())
	if r%faultEvery != 0 {
		return ""
	}
	d.calm = calmAfter
	kind := d.kinds[(r>>8)%uint64(len(d.kinds))]
	if kind == FaultFailover {
		d.refusals = maxRefusals
	}
	return kind
}

// mix spreads a hash over all bits (the finisher of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// count counts a fault that is played. broken says that it broke a transaction
// off, and locked that the transaction had a lock.
func (d *badDay) count(k FaultKind, broken, locked bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.played[k]++
	d.calm = calmAfter
	if broken {
		d.broken, d.lockHeld, d.inMiddle = true, locked, k == FaultCut
	}
}

// refuseLogin reports whether a login is refused after a failover, and notes a
// login that is not.
func (d *badDay) refuseLogin(pl *pool) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusals > 0 {
		d.refusals--
		return true
	}
	if len(d.logins) >= maxPools {
		clear(d.logins)
	}
	d.logins[pl] = d.turn
	return false
}

// errHurt ends a session after a fault.
var errHurt = errors.New("the client met a fault (--faults)")

// suffer lets a client's message meet a fault. It reports whether the message
// is dealt with; the error ends the session.
func (s *session) suffer(f frame) (done bool, err error) {
	o := &s.ordeal
	s.p.badDay.hear()
	if o.swallowing {
		if f.typ == protocol.Sync {
			o.swallowing = false
			s.mu.Lock()
			send(s.w, &pgproto3.ReadyForQuery{TxStatus: protocol.Idle})
			err = s.flush()
			s.mu.Unlock()
		}
		if err == nil {
			err = s.discard(f)
		}
		return true, err
	}
	s.mu.Lock()
	for s.inspecting {
		s.changed.Wait()
	}
	t := s.textOfLocked(f)
	first := s.backend == nil && s.unanswered == 0 && !s.unitOpen
	unitBegins := s.unanswered == 0 && !s.unitOpen
	s.mu.Unlock()
	switch f.typ {
	case protocol.Query, protocol.Parse, protocol.Bind, protocol.FunctionCall:
	default:
		return false, nil
	}
	if unitBegins {
		s.mu.Lock()
		o.hurtAt = 0
		s.mu.Unlock()
		o.units++
	}
	kind := FaultKind("")
	if first {
		o.begun++
		o.units, o.open, o.locked, o.writes = 0, false, false, o.writes[:0]
		s.mu.Lock()
		o.again, o.written = false, false
		s.mu.Unlock()
		kind = s.p.badDay.draw(s.id, o.begun)
		if o.late.CompareAndSwap(true, false) {
			kind = FaultCancel
		}
		switch kind {
		case FaultCut, FaultAnswer:
			o.plan, kind = kind, ""
		}
	}
	if unitBegins && o.units >= cutAt && o.plan == FaultCut && !first {
		o.plan = ""
		s.p.badDay.count(FaultCut, o.open, o.locked)
		s.refuseAlone("57P01", "terminating connection due to administrator command")
		return true, errHurt
	}
	switch kind {
	case "":
	case FaultBegin, FaultCancel:
		if kind == FaultCancel && !slices.Contains(s.p.badDay.kinds, FaultCancel) {
			break
		}
		s.p.badDay.count(kind, startsTransaction(t), false)
		return true, s.failUnit(f, t)
	case FaultCheckout, FaultEnded, FaultFailover, refused:
		s.p.badDay.count(kind, startsTransaction(t), false)
		code, message := "08P01", "query_wait_timeout"
		switch kind {
		case FaultEnded:
			code, message = "57P01", "terminating connection due to administrator command"
		case FaultFailover:
			code, message = "57P01", "terminating connection due to administrator command"
			s.p.failOver()
		case refused:
			code, message = "57P03", "the database system is starting up"
		}
		s.history.addFault(s, t)
		s.refuse(code, message)
		return true, errHurt
	}
	s.judgeSaid(f, t)
	return false, nil
}

// failUnit answers the client's unit with an error.
func (s *session) failUnit(f frame, t *queryText) error {
	s.mu.Lock()
	s.ordeal.hurtAt = s.p.badDay.now()
	if startsTransaction(t) {
		s.ordeal.failedBegin, s.ordeal.outside = true, nil
	}
	if f.typ == protocol.Parse || f.typ == protocol.Bind {
		s.ordeal.swallowing = true
	}
	s.history.addFault(s, t)
	send(s.w, &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "57014", Message: "canceling statement due to user request"})
	if !s.ordeal.swallowing {
		send(s.w, &pgproto3.ReadyForQuery{TxStatus: protocol.Idle})
	}
	err := s.flush()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.discard(f)
}

// addFault records a step that is a fault of ours.
func (st *timeline) addFault(s *session, t *queryText) {
	st.ring[st.n%len(st.ring)] = step{time.Now(), s.id, 0, stepFault, t, ""}
	st.n++
}

// now returns the turn.
func (d *badDay) now() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.turn
}

// failOver ends all server connections.
func (p *Pooler) failOver() {
	p.mu.Lock()
	pools := make([]*pool, 0, len(p.pools))
	for _, pl := range p.pools {
		pools = append(pools, pl)
	}
	p.mu.Unlock()
	for _, pl := range pools {
		pl.closeAll()
	}
}

// textOfLocked returns the text that a message is about, or nil.
func (s *session) textOfLocked(f frame) *queryText {
	switch f.typ {
	case protocol.Query:
		sql, _, whole := bodyString(f)
		return s.p.texts.of(sql, !whole)
	case protocol.Parse:
		_, rest, _ := bodyString(f)
		sql, _, whole := cutString(rest)
		return s.p.texts.of(sql, !whole)
	case protocol.Bind:
		_, rest, _ := cutString(f.body())
		name, _, _ := cutString(rest)
		ps := s.prepared[string(name)]
		if len(name) == 0 {
			ps = s.unnamed
		}
		if ps != nil {
			return ps.text
		}
	}
	return nil
}

// startsTransaction reports whether a text begins a transaction.
func startsTransaction(t *queryText) bool {
	return t != nil && len(t.statements) > 0 && (t.statements[0].kind == "begin" || t.statements[0].kind == "start")
}

// withhold drops an answer that is withheld. When the transaction is over it
// ends the server connection and tells the client so: the write is committed,
// but the client does not know. It runs on the backend's goroutine.
func (s *session) withhold(b *backend, f frame) (done bool, err error) {
	o := &s.ordeal
	if !o.withholding.Load() {
		return false, nil
	}
	switch f.typ {
	case protocol.ErrorResponse:
		o.withholding.Store(false)
		return true, s.lose(b, f)
	case protocol.ReadyForQuery:
		o.withholding.Store(false)
		d := s.p.badDay
		d.mu.Lock()
		for _, hash := range o.unsaid {
			if hash != 0 && len(d.lost) < maxWrites {
				d.lost[hash] = true
			}
		}
		d.mu.Unlock()
		if o.claim != nil {
			s.mu.Lock()
			if o.claim.has("delete") {
				s.reportLocked(LockLost, "job", o.claim, nil)
			} else {
				s.p.ledger.note("a job whose taking was not answered", "the program marks a job as taken in a transaction of its own; if the answer is lost, only something that gives back what was taken long ago saves the job")
			}
			s.mu.Unlock()
		}
		return true, s.lose(b, f)
	}
	return true, b.discard(f)
}

// lose ends the server connection, and tells the client.
func (s *session) lose(b *backend, f frame) error {
	s.p.badDay.count(FaultAnswer, false, false)
	if err := b.discard(f); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	refuse(s.w, "57P01", "terminating connection due to administrator command", "")
	_ = s.flush()
	return errHurt
}

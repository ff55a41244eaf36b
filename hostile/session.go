package hostile

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// session is one client's connection. Its own goroutine reads the client's
// messages and forwards them. The goroutine of the server connection that it
// has at the moment forwards the answers.
//
// A unit is a run of messages that the server answers with one ReadyForQuery.
// It ends with a Sync, a Query or a FunctionCall.
type session struct {
	*stream
	p *Pooler

	// Who the client is. Set while it logs in.
	pool        *pool
	id, secret  uint32            // what its cancel requests name
	startup     map[string]string // parameters of its startup packet
	introducing bool              // it gets no server connection yet, only what one reports

	lastBackend *backend     // the server connection that it had last; pool.mu guards it
	finished    atomic.Int64 // when its last transaction ended, in Unix nanoseconds; kept once waitForIdle has waited on its behalf

	// The login of an observed client (observe.go).
	stranger      *stranger   // who it was until the server let it in
	authRequested bool        // the server asked who it is; the backend's goroutine alone uses it
	passwordAsked atomic.Bool // we asked for our own password: the next message is the answer
	passwords     chan string // takes that answer
	bindingHidden atomic.Bool // the server's offer of channel binding was kept from it

	mu      sync.Mutex // guards what follows; taken after backend.writing (doc.go)
	changed *sync.Cond // signals changes of backend, unanswered, inspecting, startingUp and gone

	// The server connection.
	backend    *backend          // nil: none is attached
	inspecting bool              // our own questions are under way on it: send nothing
	restoring  bool              // the answer of restoreLocked's query is still to come
	startingUp bool              // observed: the server has not let the client in yet
	gone       bool              // the client has left, or lost its server connection
	params     map[string]string // settings as they were reported to the client last

	// Where the conversation stands.
	unanswered int           // units sent and not answered
	unitOpen   bool          // a unit has begun and not ended
	copyingIn  bool          // the server wants rows: it ignores Sync
	copyAhead  bool          // the client has sent rows of a COPY before the server wanted any, or its end
	copyFailed bool          // the unit under way was a COPY that failed
	lateRows   bool          // rows of it came after its error
	owed       int           // messages of the extended protocol that the server has not answered
	flushed    bool          // the unit under way has had a Flush
	status     byte          // of the last ReadyForQuery
	idleSince  time.Time     // when the server began to wait for the client; zero: it does not, or it does not matter
	idleIn     idleKind      // in what it waits
	waitedFor  bool          // waitForIdle has waited in vain on its behalf
	moved      chan struct{} // closed when the client moves; nil: nobody waits for that
	fatal      string        // why the pooler that is played hangs up on the client; its own goroutine alone uses it

	writes     writes // to the client
	describes  bool   // a statement, not a result; the backend's goroutine alone uses it
	terminated bool   // it said goodbye
	unreadFor  int64  // the write that was reported as not read
	clientState
	ordeal ordeal // fault.go
}

// newSession returns a session for a client's connection. It has no pool yet.
func (p *Pooler) newSession(conn net.Conn) *session {
	s := &session{stream: newStream(conn), p: p, params: map[string]string{}}
	s.w = bufio.NewWriterSize(&s.writes, bufferSize)
	s.writes.to = conn
	s.changed = sync.NewCond(&s.mu)
	s.prepared = map[string]*preparedStatement{}
	return s
}

// run serves the client until it leaves.
func (s *session) run(ctx context.Context) {
	defer s.leave()
	for {
		f, err := s.peek()
		if err != nil {
			return
		}
		if f.typ == protocol.Terminate {
			s.mu.Lock()
			s.terminated = true
			s.mu.Unlock()
			s.onTerminate()
			return
		}
		if f.typ == protocol.Password && s.passwordAsked.CompareAndSwap(true, false) {
			password, _, _ := cstring(f.body())
			s.passwords <- password
			if s.discard(f) != nil {
				return
			}
			continue
		}
		if f.typ == protocol.Password && s.suspectsDowngrade(f) {
			s.refuseDowngrade()
			return
		}
		if s.p.badDay != nil {
			done, err := s.suffer(f)
			if err != nil {
				return
			}
			if done {
				continue
			}
		}
		b, err := s.backendFor(ctx, f)
		if errors.Is(err, io.EOF) {
			return // the server connection is gone, and with it the client's
		}
		if err != nil {
			s.refuse("53300", "poolproof: "+err.Error())
			return
		}
		if b == nil { // nothing to send: rows for a COPY that has failed, a Flush without a unit
			s.onLateRow(f)
			if s.discard(f) != nil {
				return
			}
			continue
		}
		err = s.forward(b, f)
		if s.fatal != "" {
			s.refuseAlone("08P01", s.fatal)
			return
		}
		if err != nil && !errors.Is(err, errTaken) {
			return
		}
	}
}

// errTaken says that a message could not be sent, because the server connection
// was taken away or is being inspected.
var errTaken = errors.New("the server connection was taken away meanwhile")

// forward sends the client's next message to b. It flushes at the end of a
// unit, or if the client has said no more so far. It holds b.writing to its
// end: the answer may arrive before Flush has returned, and then b may go to
// another session.
func (s *session) forward(b *backend, f frame) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if !s.onClientMessage(b, f) || s.fatal != "" {
		return errTaken
	}
	if err := s.relay(f, b.stream); err != nil {
		return err
	}
	if unitEnd := f.typ == protocol.Query || f.typ == protocol.Sync || f.typ == protocol.FunctionCall; s.nextBuffered() && !unitEnd {
		return nil
	}
	err := b.flush()
	if f.typ == protocol.CopyData {
		s.onRowsSent()
	}
	return err
}

// backendFor returns the server connection that a message goes to, and attaches
// one if there is none. It returns nil for a message that goes nowhere. While
// the last unit is unanswered it waits: no pooler promises that what was sent
// too early reaches the same server connection.
func (s *session) backendFor(ctx context.Context, f frame) (*backend, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copyData := f.typ == protocol.CopyData || f.typ == protocol.CopyDone || f.typ == protocol.CopyFail
	part := copyData || f.typ == protocol.Password // of a unit that was begun
	for {
		switch {
		case s.gone:
			return nil, io.EOF
		case s.startingUp && f.typ != protocol.Password:
			// What a client says before it is let in is not read. If a password was asked for, this is not one.
			if s.passwordAsked.CompareAndSwap(true, false) {
				s.passwords <- ""
			}
			s.changed.Wait()
		case f.typ == protocol.Flush && !s.unitOpen:
			return nil, nil //nolint:nilnil // psycopg sends one after its last Sync: no unit, and no answer to wait for
		case s.backend == nil && copyData:
			return nil, nil //nolint:nilnil // there is nowhere to send it, as PostgreSQL would ignore it
		case s.backend == nil:
			s.mu.Unlock()
			err := s.attach(ctx)
			s.mu.Lock()
			if err != nil {
				return nil, err
			}
		case s.inspecting:
			s.changed.Wait()
		case s.unanswered > 0 && !s.unitOpen && !part:
			s.noteEarlyLocked(f)
			if s.p.profile.FirstReady || s.p.cfg.Observe {
				return s.backend, nil
			}
			s.changed.Wait()
		default:
			return s.backend, nil
		}
	}
}

// attach waits for a server connection, and begins a transaction on it.
func (s *session) attach(ctx context.Context) error {
	s.waitForIdle(ctx)
	b, err := s.pool.acquire(ctx, s)
	if err != nil {
		return err
	}
	b.writing.Lock() // the session that had it before may still be in its last write
	defer b.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backend = b
	s.beginTransactionLocked(b)
	s.restoreLocked(b)
	return nil
}

// restoreLocked sends, ahead of the client's message, a query that sets the
// tracked settings and those that other clients left, so that the client never
// finds its own leftovers by luck. The query's answer is dropped. The caller
// also holds b.writing.
func (s *session) restoreLocked(b *backend) {
	var sql strings.Builder
	for reported, want := range s.params {
		if slices.Contains(s.p.profile.Tracked, strings.ToLower(reported)) && b.param(reported) != want {
			sql.WriteString("select pg_catalog.set_config('" + quote(reported) + "', '" + quote(want) + "', false);")
		}
	}
	for name, want := range s.p.foreignSettings(s.id) {
		if b.planted[name] == want {
			continue
		}
		sql.WriteString("select pg_catalog.set_config('" + quote(name) + "', '" + quote(want) + "', false);")
		b.planted[name] = want
		b.baselineGlance = ""
		if b.baseline.Custom != nil {
			delete(b.baseline.Custom, name)
			if want != "" {
				b.baseline.Custom[name] = want
			}
		}
	}
	if sql.Len() > 0 {
		send(b.w, &pgproto3.Query{String: sql.String()})
		s.restoring = true
	}
}

// quote escapes a string for a constant in SQL.
func quote(s string) string { return strings.ReplaceAll(s, "'", "''") }

// onClientMessage records a message that is about to be forwarded to b. It
// returns false if b has been taken away meanwhile, or is being inspected.
func (s *session) onClientMessage(b *backend, f frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inspecting || s.backend != b {
		return false
	}
	s.early = false
	s.endIdleLocked()
	switch f.typ {
	case protocol.Query:
		s.onQueryLocked(b, f)
		s.unanswered++
		s.unitOpen = false
	case protocol.FunctionCall:
		s.onFunctionCallLocked(b)
		s.unanswered++
		s.unitOpen = false
	case protocol.Flush:
		s.onFlushLocked()
	case protocol.Sync:
		s.onSyncLocked()
		if !s.copyingIn {
			s.unanswered++
			s.unitOpen = false
		}
	case protocol.CopyDone, protocol.CopyFail:
		s.onLateRowLocked()
		s.copyingIn, s.copyAhead = false, true
	case protocol.CopyData:
		s.copyAhead = s.copyAhead || !s.copyingIn
		s.onLateRowLocked()
	case protocol.Password:
	default:
		s.unitOpen = true
		s.owed++
		switch f.typ {
		case protocol.Parse:
			s.onParseLocked(b, f)
		case protocol.Bind:
			s.onBindLocked(b, f)
		case protocol.Describe:
			s.onDescribeLocked(b, f)
		case protocol.Close:
			s.onCloseLocked(b, f)
		}
	}
	return true
}

// onServerMessage forwards a message of the server to the client. It runs on
// the backend's goroutine. A writeError says that the client cannot be reached.
func (s *session) onServerMessage(b *backend, f frame) error {
	if s.answersRestore(b, f) {
		return b.discard(f)
	}
	if done, err := s.withhold(b, f); done || err != nil {
		return err
	}
	switch f.typ {
	case protocol.ReadyForQuery:
		if f.size != headerSize+1 {
			return fmt.Errorf("%w: ReadyForQuery", errMessageLength)
		}
		if b.startingUp {
			return s.onLoginComplete(b, f)
		}
		return s.onReadyForQuery(b, f)
	case protocol.Authentication:
		if s.admitsUnasked(f) {
			if err := s.askForPassword(); err != nil {
				return err
			}
		}
		if f.complete() {
			if err := b.replace(f, s.stripChannelBinding(b, f), s.stream); err != nil {
				return err
			}
			return s.flush()
		}
	case protocol.BackendKeyData:
		b.onBackendKeyData(f.body())
	case protocol.ParseComplete:
		s.mu.Lock()
		ours := s.onParseCompleteLocked()
		if !ours {
			s.onAnsweredLocked()
		}
		s.mu.Unlock()
		if ours {
			return b.discard(f)
		}
	case protocol.CloseComplete:
		s.mu.Lock()
		ours := s.onCloseCompleteLocked()
		if !ours {
			s.onAnsweredLocked()
		}
		s.mu.Unlock()
		if ours {
			return b.discard(f)
		}
	case protocol.ParameterStatus:
		b.onParameterStatus(f.body())
		s.mu.Lock()
		name, rest, _ := cstring(f.body())
		s.params[name], _, _ = cstring(rest)
		s.mu.Unlock()
	case protocol.CommandComplete:
		s.mu.Lock()
		s.onCommandCompleteLocked(b, f)
		s.onAnsweredLocked()
		s.mu.Unlock()
	case protocol.ParameterDescription:
		s.describes = true
	case protocol.RowDescription:
		if !s.describes { // of a statement it does not say in which form results will be
			s.p.onRowDescription(f)
		}
		s.describes = false
		s.mu.Lock()
		s.onAnsweredLocked()
		s.mu.Unlock()
	case protocol.NoData:
		s.describes = false
		s.mu.Lock()
		s.onAnsweredLocked()
		s.mu.Unlock()
	case protocol.BindComplete, protocol.PortalSuspended, protocol.EmptyQueryResponse:
		s.mu.Lock()
		s.onAnsweredLocked()
		s.mu.Unlock()
	case protocol.NoticeResponse:
		s.mu.Lock()
		s.onNoticeResponseLocked(f)
		s.mu.Unlock()
	case protocol.ErrorResponse:
		s.mu.Lock()
		s.onErrorResponseLocked(b, f)
		s.copyFailed = s.copyingIn && !s.extended
		if s.copyingIn {
			s.endIdleLocked()
		}
		s.copyingIn = false // the server ignores rows that still come, but no Sync
		s.owed = 0          // and whatever else comes before it
		s.onAnsweredLocked()
		s.mu.Unlock()
	case protocol.CopyInResponse, protocol.CopyBothResponse:
		s.mu.Lock()
		// In copy-in mode the server ignores a Sync that came along (its
		// documentation, "COPY Operations"); the client sends another.
		if s.extended && !s.unitOpen && s.unanswered > 0 {
			s.unanswered--
		}
		s.copyingIn = true
		if f.typ == protocol.CopyInResponse && !s.copyAhead {
			s.beginIdleLocked(idleInCopy)
		}
		s.mu.Unlock()
	}
	if err := b.relay(f, s.stream); err != nil {
		return err
	}
	if !b.nextBuffered() {
		return s.flush()
	}
	return nil
}

// answersRestore reports whether a message belongs to the answer of
// restoreLocked's query.
func (s *session) answersRestore(b *backend, f frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.restoring {
		return false
	}
	switch f.typ {
	case protocol.ParameterStatus:
		b.onParameterStatus(f.body())
	case protocol.ReadyForQuery:
		s.restoring = false
	}
	return true
}

// onReadyForQuery forwards ReadyForQuery. If the transaction is over, it first
// inspects the server connection and takes it away from the session.
func (s *session) onReadyForQuery(b *backend, f frame) error {
	status := f.body()[0]
	if status == protocol.Idle {
		s.holdBackReady()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backend != b {
		return errAbandoned // its client has left, and nobody else gets it
	}
	s.unanswered = max(s.unanswered-1, 0)
	s.copyingIn, s.copyAhead, s.status = false, false, status
	if s.unanswered == 0 && !s.unitOpen {
		s.owed, s.flushed = 0, false
	}
	over := status == protocol.Idle && s.unanswered == 0 && !s.unitOpen
	s.judgeUnitLocked(b, status)
	s.afterAnswerLocked(status)
	if err := b.discard(f); err != nil { // before inspecting reads from the connection
		return err
	}
	if over {
		if err := s.inspectLocked(b); err != nil {
			return err
		}
	}
	if over && s.waitedFor {
		s.finished.Store(time.Now().UnixNano())
	}
	send(s.w, &pgproto3.ReadyForQuery{TxStatus: status})
	err := s.flush()
	keep := status != protocol.Idle || s.p.cfg.Observe || !over && !s.p.profile.FirstReady
	switch {
	case keep && over:
		s.beginTransactionLocked(b)
	case keep && status != protocol.Idle && s.unanswered == 0:
		s.beginIdleLocked(idleInTransaction)
	case !keep:
		s.tx, s.backend = nil, nil
		b.session.Store(nil)
		b.pool.giveBack(b)
	}
	late := over && s.lateRows
	s.copyFailed, s.lateRows = false, false
	if late {
		s.onLateRowLocked()
	}
	s.changed.Broadcast()
	return err
}

// inspectLocked ends the transaction and inspects what it left. The client has
// its ReadyForQuery only afterwards, so what it says next meets the same state
// every time.
func (s *session) inspectLocked(b *backend) error {
	s.judgeLeftStatementsLocked(b)
	t := s.endTransactionLocked()
	return s.whileInspectingLocked(func() error {
		return cmp.Or(s.p.tolerateUnanswered(b, s.p.inspect(b, t)), s.p.forgetStatements(b))
	})
}

// whileInspectingLocked runs ask, which puts questions to the server
// connection, without the lock. Nothing else is sent to the connection
// meanwhile.
func (s *session) whileInspectingLocked(ask func() error) error {
	s.inspecting = true
	s.mu.Unlock()
	err := ask()
	s.mu.Lock()
	s.inspecting = false
	s.changed.Broadcast()
	return err
}

// onTerminate passes the client's Terminate on if a transaction is under way, so
// that the server first finishes what was sent before it. Nobody else gets the
// server connection.
func (s *session) onTerminate() {
	b := s.lockToWrite()
	if b == nil {
		return
	}
	defer b.writing.Unlock()
	defer s.mu.Unlock()
	s.backend = nil
	b.session.Store(nil)
	send(b.w, &pgproto3.Terminate{})
	if b.flush() != nil {
		b.kill()
	}
}

// lockToWrite locks the writing side of the session's server connection and the
// session, in this order (doc.go), at a moment when the connection is not being
// inspected. It returns nil, with nothing locked, if the session has none.
func (s *session) lockToWrite() *backend {
	for {
		s.mu.Lock()
		s.waitInspectedLocked()
		b := s.backend
		s.mu.Unlock()
		if b == nil {
			return nil
		}
		b.writing.Lock()
		s.mu.Lock()
		if s.backend == b && !s.inspecting {
			return b
		}
		s.mu.Unlock()
		b.writing.Unlock()
	}
}

// waitInspectedLocked waits until the server connection is not being inspected.
func (s *session) waitInspectedLocked() {
	for s.inspecting {
		s.changed.Wait()
	}
}

// leave ends the session. A server connection in the middle of a transaction is
// of no use to anybody else, so it ends too.
func (s *session) leave() {
	s.mu.Lock()
	if s.gone && s.tx != nil {
		s.tx.waiter = nil // the server ended it
	}
	s.gone = true
	s.judgeUnusedLocked()
	if s.idleIn != idleInCopy { // which ends with its client
		s.judgeHeldLocked(s.p.cfg.IdleBound / 5)
	}
	s.endIdleLocked()
	s.waitInspectedLocked()
	b := s.backend
	s.backend = nil
	atWork := s.unanswered > 0 && !s.copyingIn
	s.changed.Broadcast()
	s.mu.Unlock()
	_ = s.conn.Close()
	switch {
	case b == nil:
	case atWork && !s.p.cfg.Observe: // which leaves it to the server, as without a pooler
		b.session.Store(nil)
		b.abandon()
	default:
		b.kill()
	}
	s.p.unregister(s)
}

// hangUp closes the client's connection; the session's goroutine then ends it.
func (s *session) hangUp() { _ = s.conn.Close() }

// backendLost ends the session of a server connection that has ended.
func (s *session) backendLost(b *backend, err error) {
	s.mu.Lock()
	mine := s.backend == b
	s.gone = s.gone || mine
	s.changed.Broadcast()
	s.mu.Unlock()
	if !mine {
		return
	}
	if !errors.Is(err, net.ErrClosed) {
		_ = s.flush() // its farewell, if there was one
	}
	s.hangUp()
}

// refuseAlone is refuse for a client that has a server connection: it ends that
// first, so that nothing more is written to the client.
func (s *session) refuseAlone(code, message string) {
	s.mu.Lock()
	b := s.backend
	s.backend = nil
	s.mu.Unlock()
	if b != nil {
		b.session.Store(nil)
		b.kill()
		<-b.done
	}
	s.refuse(code, message)
}

// refuse sends the client a fatal error.
func (s *session) refuse(code, message string) {
	refuse(s.w, code, message, "")
	_ = s.flush()
}

package hostile

import (
	"context"
	"encoding/binary"
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
	"github.com/poolproof/poolproof/internal/residue"
)

// backend is one connection to PostgreSQL. While a session is attached, the
// session's goroutine writes to it and the backend's own goroutine reads from
// it. Otherwise the backend's goroutine does both.
type backend struct {
	*stream
	pool   *pool
	id     int    // counts the pooler's server connections, from 1
	pid    uint32 // with secret, what a cancel request must name
	secret []byte

	// Who has it.
	session     atomic.Pointer[session] // nil: nobody
	lastSession *session                // who had it last; pool.mu guards it
	startingUp  bool                    // observed: the server has not let its client in yet

	// What is on it.
	paramsMu        sync.Mutex
	params          map[string]string // settings as the server reported them last
	statementOwners map[string]uint32 // named statements, and the client whose each is
	unnamedOwner    *session          // who parsed the unnamed statement
	ownStatements   map[string]bool   // statements of our own questions
	planted         map[string]string // custom settings that we set to what another client left

	// What transactions are compared with.
	baseline       residue.State // what it held when it was last asked
	baselineGlance string        // glance's hash of that; "": there is none
	asked          []string      // the custom settings that it was asked for then
	suspect        Occurrence    // the last transaction that may have set any setting, for one that is asked for only later

	// How it is used, and how it ends.
	writing sync.Mutex    // held while something is written to it; taken before session.mu (doc.go)
	cancels atomic.Int32  // cancel requests on their way to it: nobody gets it meanwhile
	closed  atomic.Bool   // we closed it
	doomed  atomic.Bool   // it ends at the next ReadyForQuery
	done    chan struct{} // closed when it has ended
}

// ioTimeout bounds our own questions to a server connection, unless it is
// observed.
const ioTimeout = 30 * time.Second

// newBackend returns a backend on an open connection. Nobody reads from it yet.
func (pl *pool) newBackend(conn net.Conn) *backend {
	return &backend{
		stream: newStream(conn), pool: pl, id: int(pl.pooler.backends.Add(1)),
		params: map[string]string{}, statementOwners: map[string]uint32{}, planted: map[string]string{}, ownStatements: map[string]bool{}, done: make(chan struct{}),
	}
}

// inspectNew records what a new server connection holds, and reads the
// database's functions if nobody has yet.
func (b *backend) inspectNew() error {
	if b.pool.schema.Load() == nil {
		if err := b.readSchema(); err != nil {
			return err
		}
	}
	return b.snapshot()
}

// inspectObserved does the same for an observed client's connection. What it
// holds follows from the database, the user and the startup parameters, so within
// a second only the first of several is asked: a question takes the server longer
// than a connection.
func (b *backend) inspectObserved(startup map[string]string) error {
	key := poolKey("", "", startup)
	if known, ok := b.pool.newcomer(key); ok && b.pool.schema.Load() != nil {
		b.baseline, b.baselineGlance, b.asked = known.held, "", known.asked
		return nil
	}
	err := b.inspectNew()
	if err == nil {
		b.pool.rememberNewcomer(key, b)
	}
	return err
}

// serve reads from the server until the connection ends. It is the backend's
// own goroutine.
func (b *backend) serve() {
	defer close(b.done)
	err := b.relayAll()
	if !b.closed.Load() && !errors.Is(err, io.EOF) {
		b.pool.pooler.cfg.Logger.Debug("a server connection ended", "server", b.id, "cause", err)
	}
	b.closed.Store(true)
	_ = b.conn.Close() // whatever was wrong is in err
	b.pool.remove(b)
	if s := b.session.Load(); s != nil {
		s.backendLost(b, err)
	}
}

func (b *backend) relayAll() error {
	for {
		f, err := b.peek()
		if err != nil {
			return err
		}
		s := b.session.Load()
		if s == nil {
			if err := b.onUnattached(f); err != nil {
				return err
			}
			continue
		}
		if err := s.onServerMessage(b, f); err != nil {
			if _, ok := errors.AsType[*writeError](err); ok {
				s.hangUp() // its own goroutine then ends the backend
				continue
			}
			return err
		}
	}
}

// onUnattached handles what the server sends while no session is attached:
// notifications that a LISTEN left behind, changed settings, the server's
// farewell.
func (b *backend) onUnattached(f frame) error {
	switch f.typ {
	case protocol.ParameterStatus:
		b.onParameterStatus(f.body())
	case protocol.ReadyForQuery:
		if b.doomed.Load() {
			return errAbandoned
		}
	case protocol.ErrorResponse: // an ERROR is the end of something that its client left
		if text := errorText(f.body()); !strings.HasPrefix(text, "ERROR") {
			return errors.New("the server ended the connection: " + text)
		}
	}
	return b.discard(f)
}

// errAbandoned ends a server connection whose client left in the middle of
// something.
var errAbandoned = errors.New("abandoned by its client")

// abandon ends a connection whose client left while the server was at work.
// Closing it would not stop the server. A cancel request may arrive before the
// work has begun, so it is repeated until the server says that it is done.
func (b *backend) abandon() {
	b.doomed.Store(true)
	defer b.kill()
	ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
	defer cancel()
	for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
		if err := b.cancel(ctx); err != nil {
			b.pool.pooler.cfg.Logger.Debug("the query of a client that left could not be cancelled", "cause", err)
			return
		}
		select {
		case <-b.done:
			return
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// kill ends the connection, whatever it is doing.
func (b *backend) kill() {
	b.closed.Store(true)
	_ = b.conn.Close()
}

// onBackendKeyData keeps what a cancel request must name.
func (b *backend) onBackendKeyData(body []byte) {
	if len(body) > 4 {
		b.pid, b.secret = binary.BigEndian.Uint32(body), slices.Clone(body[4:])
	}
}

// onParameterStatus keeps a setting's value as the server reports it.
func (b *backend) onParameterStatus(body []byte) {
	name, rest, _ := cstring(body)
	value, _, _ := cstring(rest)
	b.paramsMu.Lock()
	defer b.paramsMu.Unlock()
	b.params[name] = value
}

// param returns a setting as the server reported it last, or "".
func (b *backend) param(name string) string {
	b.paramsMu.Lock()
	defer b.paramsMu.Unlock()
	return b.params[name]
}

// snapshot records what the connection holds now. The next transaction is
// compared with that.
func (b *backend) snapshot() error {
	now, err := b.residue()
	b.baseline, b.baselineGlance = now, ""
	return err
}

// reset makes the connection as good as a new one.
func (b *backend) reset() error {
	if _, err := b.runSimple("discard all"); err != nil {
		return fmt.Errorf("reset a server connection: %w", err)
	}
	clear(b.statementOwners)
	clear(b.planted)
	clear(b.ownStatements)
	b.unnamedOwner = nil
	return b.snapshot()
}

// errorText returns severity, SQLSTATE and message of an ErrorResponse's body.
func errorText(body []byte) string {
	var msg pgproto3.ErrorResponse
	if err := msg.Decode(body); err != nil {
		return "an error that could not be read"
	}
	severity := msg.SeverityUnlocalized
	if severity == "" {
		severity = msg.Severity
	}
	return severity + " " + msg.Code + " " + msg.Message
}

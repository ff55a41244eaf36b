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
)

// backend is one connection to PostgreSQL. While a session is attached, the
// session's goroutine writes to it and the backend's own reads from it; while
// none is, only its own does both.
type backend struct {
	*stream
	id     int
	pool   *pool
	pid    uint32
	secret []byte

	session     atomic.Pointer[session] // who has it; nil: nobody
	lastSession *session                // who had it last
	lastAt      int64                   // counts the pool's hand-outs

	paramsMu        sync.Mutex
	params          map[string]string // as the server reported them last
	statementOwners map[string]uint32 // named statements that are on it, and whose they are
	planted         map[string]string // custom settings that are on it for clients to find who did not make them
	baseline        residue           // what it held when it was last looked at
	baselineGlance  string            // the glance at that; "": none was taken
	ownStatements   map[string]bool   // our own statements that are on it
	unnamedOwner    *session          // whose unnamed statement it has

	startingUp bool // its client is not let in yet

	writing sync.Mutex   // held while something is written to it
	cancels atomic.Int32 // cancel requests under way to it: nobody gets it meanwhile
	closed  atomic.Bool
	doomed  atomic.Bool   // it ends at the next ReadyForQuery
	done    chan struct{} // closed when it has ended
}

// ioTimeout bounds our own questions to a server connection.
const ioTimeout = 30 * time.Second

func (pl *pool) newBackend(conn net.Conn) *backend {
	return &backend{
		stream: newStream(conn), pool: pl, id: int(pl.pooler.backends.Add(1)),
		params: map[string]string{}, statementOwners: map[string]uint32{}, planted: map[string]string{}, ownStatements: map[string]bool{}, done: make(chan struct{}),
	}
}

// first looks at a new server connection, and at the database if nobody has.
func (b *backend) inspectNew() error {
	if b.pool.schema.Load() == nil {
		if err := b.readSchema(); err != nil {
			return err
		}
	}
	return b.snapshot()
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
				s.hangUp() // its own goroutine gives the backend up
				continue
			}
			return err
		}
	}
}

// unasked takes what comes while nobody is attached: notifications that
// somebody's LISTEN left behind, changed parameters, the server's farewell.
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

var errAbandoned = errors.New("abandoned by its client")

// abandon ends a connection whose client left while the server was at work:
// closing it would not stop that. A request to cancel may come before the work
// has begun, so it is repeated until the server says that it is done.
func (b *backend) abandon() {
	b.doomed.Store(true)
	defer b.kill()
	ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
	defer cancel()
	for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
		if err := b.cancel(ctx); err != nil {
			b.pool.pooler.cfg.Logger.Debug("what a client left could not be cancelled", "cause", err)
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

// key takes BackendKeyData: what a request to cancel must name.
func (b *backend) onBackendKeyData(body []byte) {
	if len(body) > 4 {
		b.pid, b.secret = binary.BigEndian.Uint32(body), slices.Clone(body[4:])
	}
}

func (b *backend) onParameterStatus(body []byte) {
	name, rest, _ := cstring(body)
	value, _, _ := cstring(rest)
	b.paramsMu.Lock()
	defer b.paramsMu.Unlock()
	b.params[name] = value
}

func (b *backend) param(name string) string {
	b.paramsMu.Lock()
	defer b.paramsMu.Unlock()
	return b.params[name]
}

// look asks what the connection holds, from now on.
func (b *backend) snapshot() error {
	now, err := b.residue()
	b.baseline, b.baselineGlance = now, ""
	return err
}

// clean makes the connection as good as new.
func (b *backend) reset() error {
	if _, err := b.runSimple("discard all"); err != nil {
		return fmt.Errorf("clean a server connection: %w", err)
	}
	clear(b.statementOwners)
	clear(b.planted)
	clear(b.ownStatements)
	b.unnamedOwner = nil
	return b.snapshot()
}

// errorText is severity, code and message of an ErrorResponse.
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

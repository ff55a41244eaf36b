package hostile

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// pair is a session and a server connection, free or just starting up for the
// session, and the other ends of both. A test plays client and server.
type pair struct {
	p              *Pooler
	s              *session
	client, server net.Conn
	over, done     chan struct{} // the session has ended, the server connection has
}

func newPair(t *testing.T, cfg Config, starting bool) pair {
	t.Helper()
	cfg.Upstream, cfg.MaxServerConns, cfg.Logger = "postgres://u@127.0.0.1/d", 1, slog.New(slog.DiscardHandler)
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	clientConn, client := net.Pipe()
	serverConn, server := net.Pipe()
	pl := newPool(p, "", &pgconn.Config{})
	pl.users = 1
	pl.admittedAny.Store(true)
	pl.schema.Store(newSchema(nil))
	p.pools[""] = pl
	b := pl.newBackend(serverConn)
	pl.all[b], pl.idle, pl.opened = true, []*backend{b}, 1<<21
	s := p.newSession(clientConn)
	s.pool = pl
	if !starting {
		p.registerLocked(s)
	} else {
		if s.stranger, err = p.strangers.enter(t.Context(), clientConn); err != nil {
			t.Fatal(err)
		}
		b.startingUp, s.startingUp, pl.idle = true, true, nil
		s.backend, s.unanswered = b, 1
		b.session.Store(s)
	}
	go b.serve()
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.run(context.Background())
	}()
	return pair{p, s, client, server, over, b.done}
}

// ended asserts that both sides end, and that nothing is left.
func (x pair) ended(t *testing.T) {
	t.Helper()
	for what, ended := range map[string]chan struct{}{"session": x.over, "server connection": x.done} {
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("the %s does not end", what)
		}
	}
	if sessions, backends, _ := x.p.counts(); sessions != 0 || backends != 0 {
		t.Errorf("%d sessions and %d server connections are left", sessions, backends)
	}
}

// say writes messages at once.
func say(t *testing.T, conn net.Conn, msgs ...pgproto3.Message) {
	t.Helper()
	if _, err := conn.Write(wire(msgs...)); err != nil {
		t.Fatal(err)
	}
}

// hear reads one message.
func hear(t *testing.T, conn net.Conn) {
	t.Helper()
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, conn, int64(head[3])<<8+int64(head[4])-4); err != nil {
		t.Fatal(err)
	}
}

// A client goes while the server still sends to it: the server connection ends.
func TestClientGoneWhileTold(t *testing.T) {
	x := newPair(t, Config{}, false)
	say(t, x.client, &pgproto3.Query{String: "begin"})
	hear(t, x.server)
	sent := []pgproto3.Message{&pgproto3.ReadyForQuery{TxStatus: 'T'}}
	for range 10 {
		sent = append(sent, &pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "still there"})
	}
	say(t, x.server, sent...)
	_ = x.client.Close() // it has read nothing of it
	x.ended(t)
}

// The server goes when a transaction is over and about to be judged, and more was
// sent on it. Which comes first is chance, hence the rounds.
func TestServerGoneWhileJudged(t *testing.T) {
	for range 200 {
		x := newPair(t, Config{}, false)
		go func() { _, _ = io.Copy(io.Discard, x.client) }()
		x.s.gracesUsed = graceTimes // no answer is held back
		go func() {
			_, _ = x.client.Write(wire(&pgproto3.Query{String: "select 1"}, &pgproto3.Query{String: "select 2"}))
		}()
		hear(t, x.server)
		ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
		say(t, x.server, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, ready, ready)
		_ = x.server.Close()
		x.ended(t)
	}
}

// A client says goodbye while its last transaction is judged: nothing comes
// between our own question and its answer, and the server connection stays.
func TestFarewellWhileJudged(t *testing.T) {
	x := newPair(t, Config{}, false)
	say(t, x.client, &pgproto3.Query{String: "select 1"})
	hear(t, x.server)
	ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
	say(t, x.server, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, ready)
	hear(t, x.client) // CommandComplete; ReadyForQuery is held back
	hear(t, x.server) // the beginning of the question whether functions have changed
	go func() { _, _ = io.Copy(io.Discard, x.server) }()
	say(t, x.client, &pgproto3.Terminate{})
	go func() { _, _ = io.Copy(io.Discard, x.client) }()
	version := &pgproto3.DataRow{Values: [][]byte{nil}}
	say(t, x.server, version, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, ready)
	eventually(t, "the client has left, and the server connection is free", func() bool {
		sessions, backends, idle := x.p.counts()
		return sessions == 0 && backends == 1 && idle == 1
	})
	_ = x.server.Close()
	x.ended(t)
}

// A message that the other side does not take is consumed, also if it is larger
// than the buffer, and the next one is read right.
func TestRelayConsumes(t *testing.T) {
	for _, size := range []int{10, bufferSize + 10, 5 * bufferSize} {
		in := append(wire(&pgproto3.CopyData{Data: make([]byte, size)}), wire(&pgproto3.ReadyForQuery{TxStatus: 'I'})...)
		from := newStream(&readOnly{r: bytes.NewReader(in)})
		conn, other := net.Pipe()
		_ = other.Close()
		to := newStream(conn)
		_, _ = to.w.Write(make([]byte, bufferSize))
		if to.flush() == nil {
			t.Fatal("it was written to a closed connection")
		}
		f, err := from.peek()
		if err != nil {
			t.Fatal(err)
		}
		if err := from.relay(f, to); err == nil {
			t.Errorf("%d bytes: it was passed on to a closed connection", size)
		}
		if f, err = from.peek(); err != nil || f.typ != 'Z' {
			t.Errorf("after a message of %d bytes came %q, %v", size, f.typ, err)
		}
	}
}

// Locks are taken in the order of doc.go, so that no two goroutines can wait for
// each other: whoever waits for a server connection's writing side holds no
// session's lock.
func TestLockOrder(t *testing.T) {
	// waits reports whether a goroutine that serves a client waits for a lock.
	waits := func() bool {
		all := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
			state, frames, _ := strings.Cut(stack, "\n")
			if strings.Contains(state, "sync.Mutex.Lock") && strings.Contains(frames, "(*session).run(") {
				return true
			}
		}
		return false
	}
	unlocked := func(t *testing.T, s *session) {
		t.Helper()
		eventually(t, "the client's goroutine waits for the server connection", waits)
		if !s.mu.TryLock() {
			t.Fatal("it holds the session's lock meanwhile")
		}
		s.mu.Unlock()
	}
	writing := func(t *testing.T, x pair) *backend {
		t.Helper()
		for b := range x.s.pool.all {
			return b
		}
		t.Fatal("there is no server connection")
		return nil
	}
	t.Run("attaching", func(t *testing.T) {
		x := newPair(t, Config{}, false)
		x.p.leaks["app.tenant"] = []leak{{client: 99, value: "7"}} // something to restore
		b := writing(t, x)
		b.writing.Lock()
		say(t, x.client, &pgproto3.Query{String: "begin"})
		unlocked(t, x.s)
		b.writing.Unlock()
		hear(t, x.server) // the settings
		hear(t, x.server) // begin
		_, _ = x.client.Close(), x.server.Close()
		x.ended(t)
	})
	t.Run("saying goodbye", func(t *testing.T) {
		x := newPair(t, Config{}, false)
		say(t, x.client, &pgproto3.Query{String: "begin"})
		hear(t, x.server)
		say(t, x.server, &pgproto3.ReadyForQuery{TxStatus: protocol.InTransaction})
		hear(t, x.client)
		x.s.mu.Lock() // the server connection's goroutine held it while it answered
		b := writing(t, x)
		x.s.mu.Unlock()
		b.writing.Lock()
		say(t, x.client, &pgproto3.Terminate{})
		unlocked(t, x.s)
		b.writing.Unlock()
		hear(t, x.server) // Terminate
		_ = x.server.Close()
		x.ended(t)
	})
}

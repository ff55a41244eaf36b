package pgtest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Supavisor is a stand-in for Supabase's pooler, which cannot be had here. It
// does what was measured on the real one (main of August 2026) and is unlike
// other poolers: it introduces itself as application_name "Supavisor", fails in
// its own words, has cancel requests meet another client, and with named
// statements counts them and sends ParseCompletes that nobody asked for after a
// client's error. It does not pool: each client has its own server connection.
type Supavisor struct {
	// NamedStatements is its flag named_prepared_statements.
	NamedStatements atomic.Bool
	// Anonymous keeps it from introducing itself: it looks like PostgreSQL.
	Anonymous atomic.Bool

	upstream string
	refusal  atomic.Pointer[pgproto3.ErrorResponse]
	failure  atomic.Pointer[pgproto3.ErrorResponse]
	refused  atomic.Int64
	cancels  atomic.Int64
	clients  atomic.Uint32
	running  sync.WaitGroup
}

// LikeSupavisor returns a URL that leads to the same server through a stand-in
// for Supavisor, which ends with the test.
func LikeSupavisor(t testing.TB, url string) (string, *Supavisor) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start the stand-in for Supavisor: %v", err)
	}
	s := &Supavisor{upstream: url}
	t.Cleanup(func() {
		_ = listener.Close()
		s.running.Wait()
	})
	s.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			s.running.Go(func() {
				defer func() { _ = conn.Close() }()
				s.serve(conn)
			})
		}
	})
	return through(t, url, listener.Addr().(*net.TCPAddr).Port), s //nolint:forcetypeassert // a TCP listener's
}

// Refuse has every further client refused in the way of Supavisor: FATAL, with
// this code and message. An empty code lets clients in again.
func (s *Supavisor) Refuse(code, message string) {
	if code == "" {
		s.refusal.Store(nil)
		return
	}
	s.refusal.Store(fatal(code, message))
}

// FailNext has the next statement of any client fail with this code and message
// as the pooler's own, FATAL, before the server hears of it.
func (s *Supavisor) FailNext(code, message string) { s.failure.Store(fatal(code, message)) }

// Refused is how many clients were refused so far.
func (s *Supavisor) Refused() int64 { return s.refused.Load() }

func fatal(code, message string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Code: code, Message: message, Severity: "FATAL"}
}

// CancelNext has the next statement that any client executes stopped, as by a
// request of somebody who had that server connection before. The statement must
// take longer than that: one that has ended by itself uses the request up.
func (s *Supavisor) CancelNext() { s.cancels.Add(1) }

// takeCancel reports whether a statement is to be stopped, and uses that up.
func (s *Supavisor) takeCancel() bool {
	if s.cancels.Add(-1) >= 0 {
		return true
	}
	s.cancels.Add(1)
	return false
}

// statementLimit is how many statements a client may have named, its flag set.
const statementLimit = 100

// link is a client with its server connection.
type link struct {
	s      *Supavisor
	mu     sync.Mutex // held while something is sent to the client
	client *pgproto3.Backend
	named  map[string]bool
	failed atomic.Bool // a statement of the client failed: the queue of answers was not cleared
	readys atomic.Int64
}

func (s *Supavisor) serve(conn net.Conn) {
	client := pgproto3.NewBackend(conn, conn)
	var startup *pgproto3.StartupMessage
	for startup == nil {
		msg, err := client.ReceiveStartupMessage()
		if err != nil {
			return
		}
		switch msg := msg.(type) {
		case *pgproto3.StartupMessage:
			startup = msg
		case *pgproto3.SSLRequest:
			if _, err := conn.Write([]byte("N")); err != nil {
				return
			}
		default: // a cancel request
			return
		}
	}
	if refusal := s.refusal.Load(); refusal != nil {
		s.refused.Add(1)
		client.Send(refusal)
		_ = client.Flush()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := pgconn.Connect(ctx, s.upstream)
	if err != nil {
		client.Send(fatal("08006", "Failed to connect to database: {:error, :econnrefused}"))
		_ = client.Flush()
		return
	}
	client.Send(&pgproto3.AuthenticationOk{})
	for _, name := range []string{"client_encoding", "DateStyle", "integer_datetimes", "server_encoding", "server_version", "standard_conforming_strings", "TimeZone"} {
		client.Send(&pgproto3.ParameterStatus{Name: name, Value: server.ParameterStatus(name)})
	}
	pid := server.PID()
	if !s.Anonymous.Load() {
		client.Send(&pgproto3.ParameterStatus{Name: "application_name", Value: "Supavisor"})
		pid = s.clients.Add(1)
	}
	client.Send(&pgproto3.BackendKeyData{ProcessID: pid, SecretKey: []byte{0, 0, 0, 1}})
	client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if client.Flush() != nil {
		_ = server.Close(ctx)
		return
	}
	hijacked, err := server.Hijack()
	if err != nil {
		return
	}
	defer func() { _ = hijacked.Conn.Close() }()
	l := &link{s: s, client: client, named: map[string]bool{}}
	s.running.Go(func() {
		l.answer(hijacked.Frontend)
		_ = conn.Close()
	})
	l.ask(hijacked)
}

// ask passes on what the client says.
func (l *link) ask(server *pgconn.HijackedConn) {
	executes := false // something, since the last Sync
	for {
		msg, err := l.client.Receive()
		if err != nil {
			return
		}
		switch msg := msg.(type) {
		case *pgproto3.Terminate:
			return
		case *pgproto3.Parse:
			if !l.s.NamedStatements.Load() || msg.Name == "" {
				break
			}
			refusal := fatal("XX000", "(EMAXPREPARED) max prepared statements reached. Limit: 100 per connection")
			if l.named[msg.Name] {
				refusal = fatal("42P05", "(EPREPAREDDUP) prepared statement \""+msg.Name+"\" already exists")
			}
			if l.named[msg.Name] || len(l.named) >= statementLimit {
				l.mu.Lock()
				l.client.Send(refusal)
				_ = l.client.Flush()
				l.mu.Unlock()
				return
			}
			l.named[msg.Name] = true
		case *pgproto3.Close:
			delete(l.named, msg.Name)
		case *pgproto3.Execute:
			executes = true
		}
		answered := l.readys.Load()
		server.Frontend.Send(msg)
		switch msg.(type) {
		case *pgproto3.Sync, *pgproto3.Query, *pgproto3.Flush, *pgproto3.CopyDone, *pgproto3.CopyFail:
			if failure := l.s.failure.Swap(nil); failure != nil {
				l.mu.Lock()
				l.client.Send(failure)
				_ = l.client.Flush()
				l.mu.Unlock()
				return
			}
			// Asked before it is sent: who has the answer may call CancelNext for the next one.
			cancel := executes && l.s.takeCancel()
			executes = false
			if server.Frontend.Flush() != nil {
				return
			}
			if cancel {
				l.cancel(server, answered)
			}
		}
	}
}

// cancel has the server stop what it does for the client, and asks until that has
// ended: a request that comes before there is anything to stop is lost.
func (l *link) cancel(server *pgconn.HijackedConn, answered int64) {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	admin, err := pgx.Connect(ctx, l.s.upstream)
	if err != nil {
		return
	}
	defer func() { _ = admin.Close(ctx) }()
	for l.readys.Load() == answered {
		if _, err := admin.Exec(ctx, "select pg_cancel_backend($1)", int32(server.PID)); err != nil {
			return
		}
	}
}

// answer passes on what the server says, and what nobody asked for.
func (l *link) answer(server *pgproto3.Frontend) {
	for {
		msg, err := server.Receive()
		if err != nil {
			return
		}
		l.mu.Lock()
		switch msg.(type) {
		case *pgproto3.ErrorResponse:
			l.failed.Store(l.s.NamedStatements.Load())
		case *pgproto3.ParseComplete, *pgproto3.BindComplete:
			if l.failed.CompareAndSwap(true, false) {
				l.client.Send(&pgproto3.ParseComplete{})
			}
		}
		l.client.Send(msg)
		_, ready := msg.(*pgproto3.ReadyForQuery)
		if ready {
			l.readys.Add(1)
		}
		err = nil
		if ready || server.ReadBufferLen() == 0 {
			err = l.client.Flush()
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

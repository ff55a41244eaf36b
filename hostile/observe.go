package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// observe opens a server connection for the client alone and passes its startup
// packet on as it came: whatever version it speaks, however the server lets it
// in, and with the server's own key for cancel requests. To the session it is
// a unit like any other, which the first ReadyForQuery answers (see letIn).
func (s *session) observe(ctx context.Context, packet []byte) error {
	conn, err := s.p.reach(ctx)
	if err != nil {
		s.refuseAs(err)
		return err
	}
	version := binary.BigEndian.Uint32(packet)
	params, _, ok := startupParams(packet[4:])
	if version>>16 != protocol3 || !ok || replicates(params) { // a conversation that cannot be judged
		s.tunnel(ctx, newStream(conn), packet)
		return errRefused
	}
	user, database, _ := s.introduce(params, packet)
	s.pool = s.p.poolFor(user, database, nil) // it is dialled for nobody: what clients ask for at the start does not matter
	b := s.pool.adopt(s, conn)
	s.mu.Lock()
	s.backend, s.outstanding = b, 1
	s.mu.Unlock()
	_, _ = b.w.Write(startupMessage(packet)) // bufio keeps the error for Flush
	if err := b.flush(); err != nil {
		b.kill()
	}
	go b.serve()
	return nil
}

// startupMessage is a startup packet with its length before it.
func startupMessage(packet []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(packet)+4)), packet...)
}

// replicates tells whether a client asks for a replication connection.
func replicates(params map[string]string) bool {
	switch params["replication"] {
	case "", "false", "off", "no", "0":
		return false
	}
	return true
}

// introduce notes who a client is.
func (s *session) introduce(params map[string]string, packet []byte) (user, database string, runtime map[string]string) {
	s.startup = params
	s.client = Client{ApplicationName: params["application_name"], Driver: driverByStartup(params, bytes.HasPrefix(packet[4:], []byte("client_encoding\x00")))}
	user, database = params["user"], params["database"]
	if database == "" {
		database = user
	}
	s.p.register(s)
	s.judgeStartup()
	runtime = maps.Clone(params)
	delete(runtime, "user")
	delete(runtime, "database")
	delete(runtime, "replication")
	return user, database, runtime
}

// Kinds of the server's messages about authentication.
const (
	authenticationOk   = 0
	authenticationSASL = 10
)

// admits looks at the server's messages about authentication. One that lets a
// client in without a question trusts this machine, not the client: where others
// can reach the pooler, they are not let in.
func (s *session) admits(f frame) bool {
	ok := f.typ == 'R' && len(f.body()) >= 4 && binary.BigEndian.Uint32(f.body()) == authenticationOk
	if ok && !s.asked && s.p.cfg.Passwords {
		s.refuse("28000", "poolproof: "+errTrusted.Error())
		return false
	}
	s.asked = s.asked || !ok
	return true
}

// plus ends the names of SASL mechanisms that are bound to the TLS connection.
const plus = "-PLUS"

// offered gives a server's message about authentication for the client. SCRAM
// that is bound to the server's TLS connection cannot be done over another: it
// is left out of an offer, unless client and server see the same certificate.
func (s *session) offered(b *backend, f frame) []byte {
	body := f.body()
	if len(body) < 4 || binary.BigEndian.Uint32(body) != authenticationSASL || s.sameCertificate(b) {
		return f.raw
	}
	var msg pgproto3.AuthenticationSASL
	if msg.Decode(body) != nil {
		return f.raw
	}
	n := len(msg.AuthMechanisms)
	msg.AuthMechanisms = slices.DeleteFunc(msg.AuthMechanisms, func(m string) bool { return strings.HasSuffix(m, plus) })
	s.unbound.Store(len(msg.AuthMechanisms) < n)
	raw, err := msg.Encode(nil)
	if err != nil {
		return f.raw
	}
	return raw
}

// sameCertificate tells whether the client was shown the certificate that the server showed us.
func (s *session) sameCertificate(b *backend) bool {
	server, ok := b.conn.(*tls.Conn)
	if _, encrypted := s.conn.(*tls.Conn); !ok || !encrypted {
		return false
	}
	theirs := server.ConnectionState().PeerCertificates
	return len(theirs) > 0 && slices.ContainsFunc(s.p.cfg.TLS.Certificates, func(ours tls.Certificate) bool {
		return len(ours.Certificate) > 0 && bytes.Equal(ours.Certificate[0], theirs[0].Raw)
	})
}

// suspects tells whether a client's answer says that it knows channel binding
// and believes that the server does not (RFC 5802, section 6): to the server
// that would be an attack.
func (s *session) suspects(f frame) bool {
	var msg pgproto3.SASLInitialResponse
	return s.unbound.Swap(false) && f.whole() && msg.Decode(f.body()) == nil && bytes.HasPrefix(msg.Data, []byte("y"))
}

// refuseUnbound says so, once the server connection's goroutine writes nothing more.
func (s *session) refuseUnbound() {
	s.mu.Lock()
	b := s.backend
	s.backend = nil
	s.mu.Unlock()
	if b != nil {
		b.session.Store(nil)
		b.kill()
		<-b.done
	}
	s.refuse("28000", "poolproof: the server binds SCRAM to its own TLS certificate, and this is another: "+
		"give the proxy the server's (--tls-cert), or the client channel_binding=disable")
}

// letIn ends a startup: the server connection is looked at before its client
// knows that it may go on.
func (s *session) letIn(b *backend, f frame) error {
	b.starting = false
	raw := [6]byte(f.raw)
	if err := b.drop(f); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backend != b {
		return errAbandoned
	}
	if err := s.hold(func() error { return s.p.unseen(b, b.first()) }); err != nil {
		return err
	}
	s.outstanding, s.open = 0, false
	s.attached(b)
	s.changed.Broadcast()
	_, _ = s.w.Write(raw[:]) // bufio keeps the error for Flush
	return s.flush()
}

// unseen is err, unless it is the server's answer to a question of ours on a
// connection that is only observed, such as that it took longer than the
// client's statement_timeout: then something may have gone unseen.
func (p *Pooler) unseen(b *backend, err error) error {
	if _, ok := errors.AsType[*pgconn.PgError](err); ok && p.cfg.Observe {
		p.cfg.Logger.Debug("the server would not say what a connection holds", "server", b.id, "cause", err)
		return nil
	}
	return err
}

// tunnel passes a conversation through, byte by byte, to its end, if the server
// begins it with a question where admits wants one.
func (s *session) tunnel(ctx context.Context, server *stream, packet []byte) {
	end := func() {
		_ = s.conn.Close() // both: whichever side has ended
		_ = server.conn.Close()
	}
	defer context.AfterFunc(ctx, end)()
	defer end()
	_ = s.conn.SetDeadline(time.Time{})
	if _, err := server.conn.Write(startupMessage(packet)); err != nil {
		return
	}
	if first, _ := server.r.Peek(headerSize + 4); len(first) > headerSize && !s.admits(frame{typ: first[0], raw: first}) {
		return
	}
	go func() {
		defer end()
		_, _ = io.Copy(server.conn, s.r) // an error is an end, too
	}()
	_, _ = io.Copy(s.conn, server.r)
}

// cancelRequest passes a cancel request on as it came.
func (p *Pooler) cancelRequest(ctx context.Context, packet []byte) {
	conn, err := p.reach(ctx)
	if err == nil {
		err = sendCancel(conn, packet)
	}
	if err != nil {
		p.cfg.Logger.Warn("a cancel request could not be passed on", "cause", err)
	}
}

// reach connects to the server, encrypted as the upstream's URL says.
func (p *Pooler) reach(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.WaitTimeout)
	defer cancel()
	cfg := p.upstream
	conn, err := dialServer(ctx, cfg.Host, cfg.Port, cfg.TLSConfig, cfg.SSLNegotiation == "direct")
	for _, f := range cfg.Fallbacks {
		if err == nil {
			break
		}
		conn, err = dialServer(ctx, f.Host, f.Port, f.TLSConfig, cfg.SSLNegotiation == "direct")
	}
	return conn, err
}

func dialServer(ctx context.Context, host string, port uint16, secure *tls.Config, direct bool) (net.Conn, error) {
	network, addr := pgconn.NetworkAddress(host, port)
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil || secure == nil {
		return conn, err
	}
	encrypted, err := encrypt(ctx, conn, secure, direct)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("encrypt the connection: %w", err), conn.Close())
	}
	return encrypted, nil
}

// encrypt asks the server for TLS (PostgreSQL's documentation, "SSL Session
// Encryption") unless it is to begin directly.
func encrypt(ctx context.Context, conn net.Conn, secure *tls.Config, direct bool) (net.Conn, error) {
	if !direct {
		defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
		answer := []byte{0}
		if _, err := conn.Write(startupMessage(binary.BigEndian.AppendUint32(nil, sslCode))); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, answer); err != nil {
			return nil, err
		}
		if answer[0] != 'S' {
			return nil, errors.New("the server does not speak TLS")
		}
	}
	encrypted := tls.Client(conn, secure)
	return encrypted, encrypted.HandshakeContext(ctx)
}

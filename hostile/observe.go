package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// observe opens a server connection for the client alone and passes its startup
// packet on as it came. So the client may speak any version of the protocol,
// the server authenticates it in its own way, and the key for cancel requests
// is the server's. To the session the login is a unit like any other, which the
// first ReadyForQuery answers (see onLoginComplete).
func (p *Pooler) observe(ctx context.Context, st *stranger, conn net.Conn, packet []byte) *session {
	version := binary.BigEndian.Uint32(packet)
	params, _, ok := startupParams(packet[4:])
	user, database := userAndDatabase(params)
	server, err := p.dialUpstream(st.ctx)
	if err != nil {
		p.refuseAs(conn, user, err)
		return nil
	}
	if version>>16 != protocol3 || !ok || replicates(params) { // a conversation that cannot be judged
		p.tunnel(ctx, st, conn, newStream(server), packet)
		return nil
	}
	s := p.newSession(conn)
	s.stranger, s.passwords, s.startingUp = st, make(chan string, 1), true
	s.introduce(params, packet)
	s.pool = p.poolFor(user, database, nil) // never dialled from: the startup packet's settings do not matter
	b := s.pool.adopt(s, server)
	s.backend, s.unanswered = b, 1
	context.AfterFunc(st.ctx, func() {
		if !st.admitted.Load() {
			b.kill()
		}
	})
	_, _ = b.w.Write(startupMessage(packet)) // bufio keeps the error for Flush
	if err := b.flush(); err != nil {
		b.kill()
	}
	go b.serve()
	return s
}

// Kinds of the server's messages about authentication.
const (
	authenticationOk   = 0
	authenticationSASL = 10
)

// admitsUnasked reports whether a server's message lets a client in that the
// server has asked nothing. Then it trusts this machine, or our certificate,
// and not the client.
func (s *session) admitsUnasked(f frame) bool {
	ok := f.typ == protocol.Authentication && len(f.body()) >= 4 && binary.BigEndian.Uint32(f.body()) == authenticationOk
	trusted := ok && !s.authRequested
	s.authRequested = s.authRequested || f.typ == protocol.Authentication && !ok
	return trusted
}

// askForPassword asks a client that the server trusts for the pooler's own
// password. The client's goroutine reads the answer. The only error is
// errRefused. It ends the server connection, whose last message was not passed
// on.
func (s *session) askForPassword() error {
	if s.p.cfg.Password == "" {
		return s.refuseUnknown()
	}
	s.passwordAsked.Store(true) // before it can answer
	send(s.w, &pgproto3.AuthenticationCleartextPassword{})
	if s.flush() != nil {
		return errRefused // the client has gone
	}
	s.mu.Lock()
	s.changed.Broadcast() // what it may have sent already is no answer: see backendFor
	s.mu.Unlock()
	select {
	case password := <-s.passwords:
		if s.p.knowsPassword(password) {
			return nil
		}
	case <-s.stranger.ctx.Done():
		return errRefused
	}
	return s.refuseUnknown()
}

// refuseUnknown refuses a client that does not know the password.
func (s *session) refuseUnknown() error {
	s.p.refuseAs(s.w, s.startup["user"], errTrusted)
	_ = s.flush() // it may have gone
	return errRefused
}

// plus ends the names of SASL mechanisms that are bound to the TLS connection.
const plus = "-PLUS"

// stripChannelBinding returns a server's message about authentication as the
// client may see it. A client cannot use SCRAM that is bound to another TLS
// connection than its own, so such mechanisms are left out of an offer, unless
// client and server see the same certificate.
func (s *session) stripChannelBinding(b *backend, f frame) []byte {
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
	s.bindingHidden.Store(len(msg.AuthMechanisms) < n)
	raw, err := msg.Encode(nil)
	if err != nil {
		return f.raw
	}
	return raw
}

// sameCertificate reports whether the client was shown the certificate that the
// server showed us.
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

// suspectsDowngrade reports whether a client's answer says that it supports
// channel binding and believes that the server does not (RFC 5802, section 6).
// The server would take that for an attack.
func (s *session) suspectsDowngrade(f frame) bool {
	var msg pgproto3.SASLInitialResponse
	return s.bindingHidden.Swap(false) && f.complete() && msg.Decode(f.body()) == nil && bytes.HasPrefix(msg.Data, []byte("y"))
}

// refuseDowngrade refuses such a client.
func (s *session) refuseDowngrade() {
	s.refuseAlone("28000", "poolproof: the server binds SCRAM to its own TLS certificate, and this is another: "+
		"start the proxy with the server's (--tls-cert), or set channel_binding=disable in the client")
}

// onLoginComplete handles the ReadyForQuery that ends a login. It inspects the
// server connection before it passes the message on.
func (s *session) onLoginComplete(b *backend, f frame) error {
	b.startingUp = false
	raw := [6]byte(f.raw)
	if err := b.discard(f); err != nil {
		return err
	}
	s.stranger.admitted.Store(true)
	s.stranger.done()
	s.p.tellLetIn(s.conn)
	s.pool.admittedAny.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backend != b {
		return errAbandoned
	}
	s.p.registerLocked(s)
	s.judgeStartupLocked()
	if err := s.whileInspectingLocked(func() error { return s.p.tolerateUnanswered(b, b.inspectObserved(s.startup)) }); err != nil {
		return err
	}
	s.unanswered, s.unitOpen, s.startingUp = 0, false, false
	s.beginTransactionLocked(b)
	s.changed.Broadcast()
	_, _ = s.w.Write(raw[:]) // bufio keeps the error for Flush
	return s.flush()
}

// tolerateUnanswered returns err, or nil if the server refused to answer a
// question of ours on a connection that is only observed, for example because
// it took longer than the client's statement_timeout. A fault may then go
// unseen.
func (p *Pooler) tolerateUnanswered(b *backend, err error) error {
	if _, ok := errors.AsType[*pgconn.PgError](err); ok && p.cfg.Observe {
		p.cfg.Logger.Debug("the server did not answer a question about a connection; a finding may be missing", "server", b.id, "cause", err)
		return nil
	}
	return err
}

// tunnel passes a conversation through byte by byte, to its end. If the server
// asks the client nothing, the client must know the pooler's password.
func (p *Pooler) tunnel(ctx context.Context, st *stranger, conn net.Conn, server *stream, packet []byte) {
	end := func() {
		_ = conn.Close() // both: whichever side has ended
		_ = server.conn.Close()
	}
	defer end()
	stop := context.AfterFunc(st.ctx, end)
	if _, err := server.conn.Write(startupMessage(packet)); err != nil {
		return
	}
	first, _ := server.r.Peek(headerSize + 4)
	s := session{}
	if len(first) > headerSize && s.admitsUnasked(frame{typ: first[0], raw: first}) {
		password, err := "", error(nil)
		if p.cfg.Password != "" {
			password, err = askPassword(conn)
		}
		if err != nil || !p.knowsPassword(password) {
			params, _, _ := startupParams(packet[4:])
			p.refuseAs(conn, params["user"], errTrusted)
			return
		}
	}
	// From here on the server decides who may stay, and for how long.
	st.admitted.Store(len(first) > 0 && first[0] != protocol.ErrorResponse)
	stop()
	st.done()
	defer context.AfterFunc(ctx, end)()
	go func() {
		defer end()
		_, _ = io.Copy(server.conn, conn) // an error is an end, too
	}()
	_, _ = io.Copy(conn, server.r)
}

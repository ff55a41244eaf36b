package hostile

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/protocol"
)

// What the first message of a connection has in place of a protocol version.
const (
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104
	protocol3  = 3
)

// dial opens a server connection with the pool's startup parameters.
func (pl *pool) dial(ctx context.Context) (*backend, error) {
	cfg, _ := pl.config()
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h, err := takeOver(ctx, pg)
	if err != nil {
		return nil, err
	}
	b := pl.newBackend(h.Conn)
	b.pid, b.secret, b.params = h.PID, h.SecretKey, h.ParameterStatuses
	defer context.AfterFunc(ctx, b.kill)() // our own questions do not delay an end
	if err := b.inspectNew(); err != nil {
		return nil, errors.Join(err, h.Conn.Close())
	}
	if err := pl.pooler.plantTempTables(b); err != nil {
		return nil, errors.Join(err, h.Conn.Close())
	}
	return b, nil
}

// takeOver takes a connection away from pgconn. pgconn may still be reading
// from it, as it does if a write took longer than 15 ms (pgx 5.12), and what it
// reads would be lost. So takeOver waits for that to end.
func takeOver(ctx context.Context, pg *pgconn.PgConn) (*pgconn.HijackedConn, error) {
	if err := pg.SyncConn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("take over the connection: %w", err), pg.Close(ctx))
	}
	h, err := pg.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	return h, nil
}

// dialUpstream connects to the server, encrypted as the upstream's URL says,
// and sends nothing else. It gives up after WaitTimeout.
func (p *Pooler) dialUpstream(ctx context.Context) (net.Conn, error) {
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

// dialServer connects to one address, with TLS if secure is not nil. direct
// says that TLS begins at once, without a request for it.
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

// encrypt starts TLS. Unless it begins directly, the server is asked for it
// first (PostgreSQL's documentation, "SSL Session Encryption").
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
		if answer[0] != protocol.EncryptionAccepted {
			return nil, errors.New("the server does not speak TLS")
		}
	}
	encrypted := tls.Client(conn, secure)
	return encrypted, encrypted.HandshakeContext(ctx)
}

// startupMessage returns a startup packet with its length in front.
func startupMessage(packet []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(packet)+4)), packet...)
}

// forwardCancel passes a cancel request on to the server connection that the
// client has at the moment. A client without one has nothing to cancel.
func (p *Pooler) forwardCancel(ctx context.Context, id, secret uint32) {
	p.mu.Lock()
	s := p.sessions[id]
	p.mu.Unlock()
	if s == nil || subtle.ConstantTimeEq(int32(s.secret), int32(secret)) != 1 {
		return
	}
	s.mu.Lock()
	b := s.backend
	if b != nil {
		b.cancels.Add(1)
	}
	s.mu.Unlock()
	if b == nil {
		return
	}
	defer func() {
		b.cancels.Add(-1)
		b.pool.wakeOne()
	}()
	if err := b.cancel(ctx); err != nil {
		p.cfg.Logger.Warn("a cancel request could not be passed on", "cause", err)
	}
}

// forwardRawCancel passes an observed client's cancel request on as it came.
func (p *Pooler) forwardRawCancel(ctx context.Context, packet []byte) {
	conn, err := p.dialUpstream(ctx)
	if err == nil {
		err = sendCancel(conn, packet)
	}
	if err != nil {
		p.cfg.Logger.Warn("a cancel request could not be passed on", "cause", err)
	}
}

// cancel asks the server to stop what the connection is doing, and returns when
// the server has taken the request.
func (b *backend) cancel(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, b.conn.RemoteAddr().Network(), b.conn.RemoteAddr().String())
	if err != nil {
		return fmt.Errorf("connect to cancel: %w", err)
	}
	packet := binary.BigEndian.AppendUint32(nil, cancelCode)
	packet = binary.BigEndian.AppendUint32(packet, b.pid)
	return sendCancel(conn, append(packet, b.secret...))
}

// sendCancel sends a cancel request on a connection of its own. The server
// hangs up when it has sent the signal, and that is waited for.
func sendCancel(conn net.Conn, packet []byte) error {
	defer conn.Close() //nolint:errcheck // the request was sent
	_ = conn.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := conn.Write(startupMessage(packet)); err != nil {
		return fmt.Errorf("ask to cancel: %w", err)
	}
	_, _ = conn.Read(make([]byte, 1))
	return nil
}

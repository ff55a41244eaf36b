package hostile

import (
	"context"
	"crypto/subtle"
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

// What the first message of a connection can be, instead of a version.
const (
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104
	protocol3  = 3
)

// startupTimeout bounds how long a client may take to introduce itself, and
// maxStartup how much it may say (PostgreSQL's own MAX_STARTUP_PACKET_LENGTH).
const (
	startupTimeout = 30 * time.Second
	maxStartup     = 10_000
)

// welcome takes a client's introduction and serves it.
func (p *Pooler) welcome(ctx context.Context, conn net.Conn) {
	defer conn.Close() //nolint:errcheck // it is over
	_ = conn.SetDeadline(time.Now().Add(startupTimeout))
	conn, packet, err := p.introduction(ctx, conn)
	if err != nil || packet == nil {
		return
	}
	defer conn.Close() //nolint:errcheck // the one within may be TLS
	s := p.newSession(conn)
	begin := s.begin
	if p.cfg.Observe {
		begin = s.observe
	}
	if err := begin(ctx, packet); err != nil {
		return // the client was told
	}
	_ = conn.SetDeadline(time.Time{})
	s.run(ctx)
}

// introduction answers requests for encryption until the startup packet comes,
// and gives that. A cancel request is done with here: nil.
func (p *Pooler) introduction(ctx context.Context, conn net.Conn) (net.Conn, []byte, error) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return conn, nil, err
		}
		length := binary.BigEndian.Uint32(head[:])
		if length < 8 || length > maxStartup {
			return conn, nil, errMessageLength
		}
		packet := make([]byte, length-4)
		copy(packet, head[4:])
		if _, err := io.ReadFull(conn, packet[4:]); err != nil {
			return conn, nil, err
		}
		switch binary.BigEndian.Uint32(packet) {
		case sslCode:
			if _, encrypted := conn.(*tls.Conn); p.cfg.TLS == nil || encrypted {
				if _, err := conn.Write([]byte{'N'}); err != nil {
					return conn, nil, err
				}
				continue
			}
			if _, err := conn.Write([]byte{'S'}); err != nil {
				return conn, nil, err
			}
			conn = tls.Server(conn, p.cfg.TLS)
		case gssCode:
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return conn, nil, err
			}
		case cancelCode:
			if p.cfg.Observe {
				p.cancelRequest(ctx, packet)
			} else if len(packet) >= 12 {
				p.cancel(ctx, binary.BigEndian.Uint32(packet[4:]), binary.BigEndian.Uint32(packet[8:]))
			}
			return conn, nil, nil
		default:
			return conn, packet, nil
		}
	}
}

// begin reads the startup packet, authenticates the client and says hello.
func (s *session) begin(ctx context.Context, packet []byte) error {
	version := binary.BigEndian.Uint32(packet)
	if version>>16 != protocol3 {
		s.refuse("0A000", fmt.Sprintf("poolproof: protocol %d.%d is not spoken here", version>>16, version&0xffff))
		return errRefused
	}
	params, options, ok := startupParams(packet[4:])
	if !ok {
		s.refuse("08P01", "poolproof: the startup packet could not be read")
		return errRefused
	}
	if version&0xffff != 0 || len(options) > 0 {
		const newest = protocol3 << 16 // whole, as PostgreSQL sends it and libpq 18 wants it, whatever the field is called
		send(s.w, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: newest, UnrecognizedOptions: options})
	}
	if replicates(params) {
		s.refuse("0A000", "poolproof: replication needs a direct connection")
		return errRefused
	}
	user, database, runtime := s.introduce(params, packet)
	password, err := s.authenticate(user)
	if err != nil {
		s.p.left(s)
		return err
	}
	s.pool = s.p.poolFor(user, database, runtime)
	b, err := s.pool.enter(ctx, s, password)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && passwordWanted(pg) && password == "" {
		if password, err = s.askPassword(); err == nil {
			b, err = s.pool.enter(ctx, s, password)
		}
	}
	if err != nil {
		s.p.left(s)
		s.refuseAs(err)
		return err
	}
	s.hello(b)
	b.session.Store(nil)
	s.pool.giveBack(b)
	return s.flush()
}

// hello is what a server says to a client that it has let in.
func (s *session) hello(b *backend) {
	send(s.w, &pgproto3.AuthenticationOk{})
	b.paramsMu.Lock()
	for _, name := range slices.Sorted(maps.Keys(b.params)) {
		s.params[name] = b.params[name]
		send(s.w, &pgproto3.ParameterStatus{Name: name, Value: b.params[name]})
	}
	b.paramsMu.Unlock()
	send(s.w, &pgproto3.BackendKeyData{ProcessID: s.id, SecretKey: binary.BigEndian.AppendUint32(nil, s.secret)})
	send(s.w, &pgproto3.ReadyForQuery{TxStatus: 'I'})
}

// startupParams reads names and values; options are the protocol options
// (_pq_.…) that a newer client offers.
func startupParams(b []byte) (params map[string]string, options []string, ok bool) {
	params = map[string]string{}
	for {
		name, rest, ok := cstring(b)
		if !ok {
			return nil, nil, false
		}
		if name == "" {
			return params, options, params["user"] != ""
		}
		value, rest, ok := cstring(rest)
		if !ok {
			return nil, nil, false
		}
		if strings.HasPrefix(name, "_pq_.") {
			options = append(options, name)
		} else {
			params[name] = value
		}
		b = rest
	}
}

// authenticate lets a client in: the upstream URL's user without a password
// unless they are wanted, everybody else by what the server says to theirs.
func (s *session) authenticate(user string) (password string, err error) {
	own := user == s.p.upstream.User
	if own && !s.p.cfg.Passwords {
		return s.p.upstream.Password, nil
	}
	if !s.p.cfg.Passwords {
		return "", nil // asked for if the server does
	}
	if password, err = s.askPassword(); err != nil {
		return "", err
	}
	if own && subtle.ConstantTimeCompare([]byte(password), []byte(s.p.upstream.Password)) != 1 {
		s.refuse("28P01", fmt.Sprintf("password authentication failed for user %q", user))
		return "", errRefused
	}
	return password, nil
}

func (s *session) askPassword() (string, error) {
	send(s.w, &pgproto3.AuthenticationCleartextPassword{})
	if err := s.flush(); err != nil {
		return "", err
	}
	f, err := s.next()
	if err != nil {
		return "", err
	}
	if f.typ != 'p' || !f.whole() {
		s.refuse("08P01", "poolproof: expected a password")
		return "", errRefused
	}
	password, _, _ := cstring(f.body())
	return password, s.drop(f)
}

func passwordWanted(pg *pgconn.PgError) bool { return pg.Code == "28P01" || pg.Code == "28000" }

// refuseAs passes the server's refusal on, or says that it cannot be reached.
func (s *session) refuseAs(err error) {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		send(s.w, &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: pg.Code, Message: pg.Message, Detail: pg.Detail, Hint: pg.Hint})
		_ = s.flush()
		return
	}
	if errors.Is(err, errTrusted) {
		s.refuse("28000", "poolproof: "+err.Error())
		return
	}
	s.p.cfg.Logger.Warn("a server connection could not be opened", "cause", err)
	s.refuse("08006", "poolproof: the server cannot be reached: "+err.Error())
}

// judgeStartup reports startup parameters that poolers refuse or drop.
func (s *session) judgeStartup() {
	for _, name := range slices.Sorted(maps.Keys(s.startup)) {
		low := strings.ToLower(name)
		switch {
		case s.p.profile.Startup == nil && low != "options", slices.Contains(bouncerStartup, low):
		case low == "extra_float_digits":
			s.p.ledger.note("startup parameter "+low, "the driver sends it always: PgBouncer needs ignore_startup_parameters = "+low)
		default:
			s.mu.Lock()
			s.fault(StartupParameter, low, nil, nil)
			s.mu.Unlock()
		}
	}
}

package hostile

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// welcome lets a new client in, or refuses it, and serves it to its end.
func (p *Pooler) welcome(ctx context.Context, st *stranger) {
	defer st.conn.Close() //nolint:errcheck // the conversation is over
	defer st.done()
	conn, packet, err := p.readStartup(st)
	if err != nil || packet == nil {
		return
	}
	defer conn.Close() //nolint:errcheck // of TLS, if it is TLS
	begin := p.login
	if p.cfg.Observe {
		begin = p.observe
	}
	if s := begin(ctx, st, conn, packet); s != nil {
		s.run(ctx)
	}
	if !st.admitted.Load() {
		p.refused.Add(1)
	}
}

// readStartup answers requests for encryption, and returns the startup packet
// that follows and the connection to go on with. A cancel request is handled
// here: the packet is nil then.
func (p *Pooler) readStartup(st *stranger) (net.Conn, []byte, error) {
	conn := st.conn
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
				if _, err := conn.Write([]byte{protocol.EncryptionRefused}); err != nil {
					return conn, nil, err
				}
				continue
			}
			if _, err := conn.Write([]byte{protocol.EncryptionAccepted}); err != nil {
				return conn, nil, err
			}
			conn = tls.Server(conn, p.cfg.TLS)
		case gssCode:
			if _, err := conn.Write([]byte{protocol.EncryptionRefused}); err != nil {
				return conn, nil, err
			}
		case cancelCode:
			if p.cfg.Observe {
				p.forwardRawCancel(st.ctx, packet)
			} else if len(packet) >= 12 {
				p.forwardCancel(st.ctx, binary.BigEndian.Uint32(packet[4:]), binary.BigEndian.Uint32(packet[8:]))
			}
			return conn, nil, nil
		default:
			return conn, packet, nil
		}
	}
}

// login reads the startup packet, asks for the password and greets the client.
// It returns nil if the client was refused; the client has been told why.
func (p *Pooler) login(ctx context.Context, st *stranger, conn net.Conn, packet []byte) *session {
	version := binary.BigEndian.Uint32(packet)
	if version>>16 != protocol3 {
		refuse(conn, "0A000", fmt.Sprintf("poolproof: protocol %d.%d is not supported", version>>16, version&0xffff), "")
		return nil
	}
	params, options, ok := startupParams(packet[4:])
	if !ok {
		refuse(conn, "08P01", "poolproof: the startup packet could not be read", "")
		return nil
	}
	if version&0xffff != 0 || len(options) > 0 {
		const newest = protocol3 << 16 // with the major version, as PostgreSQL sends it and libpq 18 wants it, despite the field's name
		send(conn, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: newest, UnrecognizedOptions: options})
	}
	if replicates(params) {
		refuse(conn, "0A000", "poolproof: replication needs a direct connection", "")
		return nil
	}
	password, err := askPassword(conn)
	if err != nil {
		return nil
	}
	user, database := userAndDatabase(params)
	pl := p.poolFor(user, database, runtimeParams(params))
	if err := pl.admit(st.ctx, password); err != nil {
		p.release(pl)
		p.refuseAs(conn, user, err)
		return nil
	}
	if p.badDay.refuseLogin(pl) {
		p.release(pl)
		refuse(conn, "57P03", "the database system is starting up", "")
		return nil
	}
	st.admitted.Store(true)
	st.done()
	p.tellLetIn(conn)
	s := p.newSession(conn)
	s.pool = pl
	s.introduce(params, packet)
	s.mu.Lock()
	p.registerLocked(s)
	s.judgeStartupLocked()
	s.mu.Unlock()
	s.introducing = true
	b, err := pl.acquire(ctx, s)
	s.introducing = false
	if err == nil {
		s.greet(b)
		pl.giveBack(b)
		err = s.flush()
	} else {
		p.refuseAs(conn, user, err)
	}
	if err != nil {
		p.unregister(s)
		return nil
	}
	return s
}

// startupParams reads the names and values of a startup packet. options are the
// protocol options (_pq_.…) that a newer client offers.
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

// userAndDatabase returns the user and the database that a startup packet asks
// for.
func userAndDatabase(params map[string]string) (user, database string) {
	user, database = params["user"], params["database"]
	if database == "" {
		database = user
	}
	return user, database
}

// runtimeParams returns the settings among a startup packet's parameters.
func runtimeParams(params map[string]string) map[string]string {
	runtime := maps.Clone(params)
	for _, name := range []string{"user", "database", "replication"} {
		delete(runtime, name)
	}
	return runtime
}

// replicates reports whether a client asks for a replication connection.
func replicates(params map[string]string) bool {
	switch params["replication"] {
	case "", "false", "off", "no", "0":
		return false
	}
	return true
}

// introduce records who a client says it is.
func (s *session) introduce(params map[string]string, packet []byte) {
	s.startup = params
	s.client = Client{ApplicationName: params["application_name"], Driver: driverByStartup(params, bytes.HasPrefix(packet[4:], []byte("client_encoding\x00")))}
}

// judgeStartupLocked reports startup parameters that poolers refuse or drop.
func (s *session) judgeStartupLocked() {
	for _, name := range slices.Sorted(maps.Keys(s.startup)) {
		low := strings.ToLower(name)
		switch {
		case s.p.profile.Startup == nil && low != "options", slices.Contains(s.p.profile.Startup, low):
		case low == "extra_float_digits":
			s.p.ledger.note("startup parameter "+low, "the driver always sends it: PgBouncer needs ignore_startup_parameters = "+low)
		default:
			for _, setting := range settingsOfStartup(low, s.startup[name]) {
				s.reportLocked(StartupParameter, setting, nil, nil)
			}
		}
	}
}

// optionSetting is a setting in the startup parameter options: -c name=value, or
// --name=value.
var optionSetting = regexp.MustCompile(`(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_.-]*)\s*=`)

// settingsOfStartup returns what a startup parameter sets, as the subjects of
// findings: itself, or each setting in options.
func settingsOfStartup(name, value string) []string {
	if name != "options" {
		return []string{name}
	}
	var all []string
	for _, m := range optionSetting.FindAllStringSubmatch(value, maxOptions) {
		all = appendNew(all, strings.ReplaceAll(strings.ToLower(m[1]), "-", "_")+inOptions)
	}
	if all == nil {
		return []string{name}
	}
	return all
}

// maxOptions bounds the settings in options that are reported.
const maxOptions = 20

// greet sends what a server sends to a client that it has let in.
func (s *session) greet(b *backend) {
	send(s.w, &pgproto3.AuthenticationOk{})
	b.paramsMu.Lock()
	for _, name := range slices.Sorted(maps.Keys(b.params)) {
		s.params[name] = b.params[name]
		send(s.w, &pgproto3.ParameterStatus{Name: name, Value: b.params[name]})
	}
	b.paramsMu.Unlock()
	send(s.w, &pgproto3.BackendKeyData{ProcessID: s.id, SecretKey: binary.BigEndian.AppendUint32(nil, s.secret)})
	send(s.w, &pgproto3.ReadyForQuery{TxStatus: protocol.Idle})
}

// askPassword asks a stranger for a password. It must come in the clear,
// because it may be one that only the server knows.
func askPassword(conn net.Conn) (string, error) {
	send(conn, &pgproto3.AuthenticationCleartextPassword{})
	var head [headerSize]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return "", err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if head[0] != protocol.Password || length < 5 || length > maxPassword {
		refuse(conn, "08P01", "poolproof: expected a password", "")
		return "", errRefused
	}
	body := make([]byte, length-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return "", err
	}
	password, _, _ := cstring(body)
	return password, nil
}

// knowsPassword reports whether a client's password is the pooler's own.
func (p *Pooler) knowsPassword(password string) bool {
	return p.cfg.Password != "" && subtle.ConstantTimeCompare([]byte(password), []byte(p.cfg.Password)) == 1
}

// errRefused ends the login of a client that has been told why.
var errRefused = errors.New("refused")

// refuse sends a client a fatal error.
func refuse(w io.Writer, code, message, hint string) {
	send(w, &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message, Hint: hint})
}

// whoGetsIn is the hint for every client that is refused for its password.
const whoGetsIn = "send poolproof's own password (under prove it is in DATABASE_URL and PGPASSWORD), or a password that the server itself asks for"

// refuseAs sends a client the server's refusal, or says that the server cannot
// be reached.
func (p *Pooler) refuseAs(w io.Writer, user string, err error) {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		hint := pg.Hint
		if hint == "" && (pg.Code == "28P01" || pg.Code == "28000") {
			hint = whoGetsIn
		}
		send(w, &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: pg.Code, Message: pg.Message, Detail: pg.Detail, Hint: hint})
		return
	}
	if errors.Is(err, errTrusted) {
		refuse(w, "28P01", fmt.Sprintf("password authentication failed for user %q", user), whoGetsIn)
		return
	}
	if !errors.Is(err, context.Canceled) {
		p.cfg.Logger.Warn("a server connection could not be opened", "cause", err)
	}
	refuse(w, "08006", "poolproof: the server cannot be reached: "+err.Error(), "")
}

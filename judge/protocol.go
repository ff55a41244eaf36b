package judge

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

var protocolTrials = []Trial{
	{Name: "log-in", Group: Protocol, run: logIn, Right: "a log-in brings the parameters that drivers decode by, one key, and then ReadyForQuery"},
	{Name: "protocol-3.2", Group: Protocol, run: protocol32, Right: "a client that offers protocol 3.2 gets it, or is told of an older one: it is not turned away"},
	{Name: "protocol-options", Group: Protocol, run: protocolOptions, Right: "an unknown option of the protocol (_pq_.…) is named in NegotiateProtocolVersion, and the log-in goes on"},
	{Name: "unknown-parameter", Group: Protocol, run: unknownParameter, Right: "a startup parameter that does not exist is an error: else a slip of the pen goes unnoticed"},
	{Name: "unknown-database", Group: Protocol, run: unknownDatabase, Right: "a database that does not exist is 3D000: programs that make it then wait for that code"},
	{Name: "ssl-request", Group: Protocol, run: sslRequest, Right: "SSLRequest is answered by one byte, and the log-in can follow on the same connection"},
	{Name: "gssenc-request", Group: Protocol, run: gssRequest, Right: "GSSENCRequest is answered by one byte, and the log-in can follow: libpq asks so first where there is Kerberos"},
	{Name: "no-startup", Group: Protocol, run: noStartup, Right: "somebody who does not speak the protocol is hung up on, not waited for"},
	{Name: "unknown-message", Group: Protocol, run: unknownMessage, Right: "a message of an unknown type ends its client's connection, and nobody else's"},
	{Name: "length-too-small", Group: Protocol, run: lengthTooSmall, Right: "a message whose length cannot be ends its client's connection, and nobody else's"},
	{Name: "count-that-lies", Group: Protocol, run: countThatLies, Right: "a Bind that promises more parameters than it has is an error 08P01, and the connection goes on behind its Sync"},
	{Name: "function-call", Group: Protocol, run: functionCall, Right: "FunctionCall is answered: libpq's large objects use it"},
	{Name: "terminate", Group: Protocol, run: terminate, Right: "Terminate ends the connection without an error"},
}

// recorder keeps what a server says.
type recorder struct {
	net.Conn
	mu   sync.Mutex
	said bytes.Buffer
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said.Write(b[:n])
	return n, err
}

// startup is what was said at a log-in.
type startup struct {
	events     []string // types of messages; several of one in a row are one
	parameters map[string]string
	keys       int
	negotiated *pgproto3.NegotiateProtocolVersion
}

// loginHeard logs in and returns what was said. The client is nil if that failed.
func (h *hearing) loginHeard(change func(*pgx.ConnConfig)) (*client, startup, error) {
	config := h.config.Copy()
	change(config)
	var last *recorder
	before := config.AfterNetConnect
	config.AfterNetConnect = func(ctx context.Context, c *pgconn.Config, conn net.Conn) (net.Conn, error) {
		if before != nil {
			var err error
			if conn, err = before(ctx, c, conn); err != nil {
				return nil, err
			}
		}
		last = &recorder{Conn: conn}
		return last, nil
	}
	c, err := h.login(config)
	s := startup{parameters: map[string]string{}}
	if last == nil {
		return c, s, err
	}
	last.mu.Lock()
	defer last.mu.Unlock()
	for fe := pgproto3.NewFrontend(bytes.NewReader(last.said.Bytes()), io.Discard); ; {
		msg, err := fe.Receive()
		if err != nil {
			break
		}
		var e string
		switch msg := msg.(type) {
		case pgproto3.AuthenticationResponseMessage:
			e = "R"
		case *pgproto3.ParameterStatus:
			e = "S"
			s.parameters[msg.Name] = msg.Value
		case *pgproto3.BackendKeyData:
			e = "K"
			s.keys++
		case *pgproto3.NegotiateProtocolVersion:
			e = "v"
			kept := *msg
			kept.UnrecognizedOptions = slices.Clone(msg.UnrecognizedOptions)
			s.negotiated = &kept
		case *pgproto3.NoticeResponse:
			continue
		default:
			e = event(msg)
		}
		if len(s.events) == 0 || s.events[len(s.events)-1] != e {
			s.events = append(s.events, e)
		}
	}
	return c, s, err
}

func logIn(h *hearing) error {
	_, s, err := h.loginHeard(func(*pgx.ConnConfig) {})
	if err != nil {
		return err
	}
	got := strings.Join(s.events, " ")
	if s.keys != 1 || !slices.Contains([]string{"R S K Z(I)", "R K S Z(I)", "R S K S Z(I)"}, got) {
		return wrongf("the log-in was answered %s instead of R S K Z(I)", got)
	}
	for _, name := range []string{"server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings"} {
		if s.parameters[name] == "" {
			return wrongf("%s was not reported", name)
		}
	}
	return nil
}

func protocol32(h *hearing) error {
	c, s, err := h.loginHeard(func(config *pgx.ConnConfig) { config.MaxProtocolVersion = "3.2" })
	if err != nil {
		return err
	}
	if s.negotiated == nil && len(c.hijacked.SecretKey) == 4 {
		return wrongf("protocol 3.2 was accepted, but the key is one of protocol 3.0, and nobody was told")
	}
	return c.expect(queryAnswer("served"), query("select 'served'"))
}

func protocolOptions(h *hearing) error {
	const option = "_pq_.poolproof_judge"
	c, s, err := h.loginHeard(func(config *pgx.ConnConfig) { config.RuntimeParams[option] = "1" })
	if err != nil {
		return err
	}
	if s.negotiated == nil || !slices.Contains(s.negotiated.UnrecognizedOptions, option) {
		return wrongf("the log-in went on, but the option was not named as unknown")
	}
	return c.expect(queryAnswer("served"), query("select 'served'"))
}

func unknownParameter(h *hearing) error {
	c, s, err := h.loginHeard(func(config *pgx.ConnConfig) { config.RuntimeParams["poolproof_no_such_parameter"] = "1" })
	if err == nil {
		if err := c.expect(queryAnswer("served"), query("select 'served'")); c.err != nil {
			return nil //nolint:nilerr // it is told with the first statement
		} else if err != nil {
			return err
		}
		return wrongf("it was accepted without a word")
	}
	if len(s.events) > 0 && strings.HasPrefix(s.events[len(s.events)-1], "E(") {
		return nil
	}
	return err
}

func unknownDatabase(h *hearing) error {
	c, err := func() (*client, error) {
		config := h.config.Copy()
		config.Database = h.tag
		return h.login(config)
	}()
	if err == nil {
		if _, err = c.ask("select current_database()"); err == nil {
			return wrongf("the log-in went through")
		}
		if c.err != nil && c.err.Code == "3D000" {
			return nil
		}
		return err
	}
	if strings.Contains(err.Error(), " 3D000 ") {
		return nil
	}
	return err
}

// dial opens a connection on which nothing has been said, without TLS.
func (h *hearing) dial() (net.Conn, error) {
	network, address := pgconn.NetworkAddress(h.config.Host, h.config.Port)
	ctx, cancel := context.WithTimeout(h.ctx, h.patience)
	defer cancel()
	conn, err := h.config.DialFunc(ctx, network, address)
	if err != nil {
		return nil, refusal("connecting", err)
	}
	return patient{conn, h.patience}, nil
}

// Codes of requests in the place of a protocol version ("Message Formats").
const (
	sslCode    = 80877103
	gssEncCode = 80877104
)

// requested sends a request for encryption and returns the one byte of its
// answer.
func requested(conn net.Conn, code uint32) (byte, error) {
	if _, err := conn.Write(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, code)); err != nil {
		return 0, wrongf("sending the request: %v", err)
	}
	var b [1]byte
	if _, err := io.ReadFull(conn, b[:]); errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, hungf("no answer to the request")
	} else if err != nil {
		return 0, wrongf("the request was answered by hanging up")
	}
	return b[0], nil
}

// goesOn sends a log-in and looks whether its answer begins as one does.
func (h *hearing) goesOn(conn net.Conn) error {
	b, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": h.config.User, "database": h.config.Database}}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return wrongf("sending the log-in: %v", err)
	}
	var first [1]byte
	if _, err := io.ReadFull(conn, first[:]); errors.Is(err, os.ErrDeadlineExceeded) {
		return hungf("the log-in behind the request is not answered")
	} else if err != nil {
		return wrongf("the log-in behind the request was answered by hanging up")
	}
	// An error is an answer, too: a server may want encryption.
	if first[0] != protocol.Authentication && first[0] != protocol.ErrorResponse {
		return wrongf("the log-in behind the request was answered by %q", first[0])
	}
	return nil
}

func sslRequest(h *hearing) error {
	conn, err := h.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	answer, err := requested(conn, sslCode)
	if err != nil {
		return err
	}
	switch answer {
	case protocol.EncryptionRefused:
		return h.goesOn(conn)
	case protocol.EncryptionAccepted:
		encrypted := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // nothing secret is sent
		if err := encrypted.HandshakeContext(h.ctx); err != nil {
			return wrongf("TLS was accepted, but: %v", err)
		}
		return h.goesOn(encrypted)
	}
	return wrongf("the request was answered by %q", answer)
}

func gssRequest(h *hearing) error {
	conn, err := h.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	answer, err := requested(conn, gssEncCode)
	if err != nil {
		return err
	}
	switch answer {
	case protocol.EncryptionRefused:
		return h.goesOn(conn)
	case 'G':
		return nil
	case protocol.ErrorResponse: // libpq connects once more then
		return &verdict{Refused, "it was answered by an error"}
	}
	return wrongf("the request was answered by %q", answer)
}

// hungUpOn reads until the other side closes.
func hungUpOn(conn net.Conn) error {
	for buf := make([]byte, 4096); ; {
		_, err := conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return hungf("the connection stays open")
		case err != nil:
			return nil //nolint:nilerr // closed, in whatever way
		}
	}
}

func noStartup(h *hearing) error {
	conn, err := h.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		return wrongf("sending: %v", err)
	}
	return hungUpOn(conn)
}

// ends sends bytes that no client should send, behind a statement, and wants the
// connection closed, and others served.
func (h *hearing) ends(bad []byte) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect(queryAnswer("before"), query("select 'before'")); err != nil {
		return err
	}
	if err := c.sendRaw(bad); err != nil {
		return err
	}
	if err := hungUpOn(c.conn); err != nil {
		return err
	}
	return h.serves(2)
}

func unknownMessage(h *hearing) error { return h.ends([]byte{'!', 0, 0, 0, 4}) }

func lengthTooSmall(h *hearing) error { return h.ends([]byte{protocol.Query, 0, 0, 0, 3}) }

func countThatLies(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	b, err := encoded(&pgproto3.Parse{Query: "select $1::text"})
	if err != nil {
		return err
	}
	// No portal, no statement, no formats, 5 parameters, and that is all.
	b = append(b, protocol.Bind, 0, 0, 0, 10, 0, 0, 0, 0, 0, 5)
	rest, err := encoded(&pgproto3.Execute{}, syncNow)
	if err != nil {
		return err
	}
	if err := c.sendRaw(append(b, rest...)); err != nil {
		return err
	}
	if err := c.answers("1 E(08P01) Z(I)"); err != nil {
		return err
	}
	return c.expect(queryAnswer("next"), query("select 'next'"))
}

func functionCall(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	const int4pl = 177 // PostgreSQL's function of that name; its number does not change
	return c.expect("V(42) Z(I)", &pgproto3.FunctionCall{Function: int4pl, ArgFormatCodes: []uint16{0}, Arguments: [][]byte{[]byte("40"), []byte("2")}})
}

func terminate(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect(queryAnswer("before"), query("select 'before'")); err != nil {
		return err
	}
	if err := c.send(&pgproto3.Terminate{}); err != nil {
		return err
	}
	event, err := c.next()
	switch {
	case err == nil:
		return wrongf("it was answered by %s", event)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hungf("the connection stays open")
	}
	return h.serves(1)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

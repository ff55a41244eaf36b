package judge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/pooler"
)

// hearing is one trial under way: its clients, which end with it.
type hearing struct {
	ctx      context.Context
	config   *pgx.ConnConfig
	patience time.Duration
	mode     pooler.Mode
	capacity int    // how many clients are served side by side
	tag      string // a name that nobody else has

	mu      sync.Mutex
	clients []*client
}

func (h *hearing) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.clients {
		c.leave()
	}
}

// patient is a connection on which each read and write has its deadline.
type patient struct {
	net.Conn
	patience time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(p.patience)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// Write waits while any part of b is taken.
func (p patient) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		if err := p.SetWriteDeadline(time.Now().Add(p.patience)); err != nil {
			return n, err
		}
		var m int
		m, err = p.Conn.Write(b[n:min(n+64<<10, len(b))])
		n += m
	}
	return n, err
}

// client is a connection that a trial drives message by message.
type client struct {
	conn     net.Conn
	fe       *pgproto3.Frontend
	hijacked *pgconn.HijackedConn
	gone     bool
	unwatch  func() bool

	hears    bool              // notices are part of the answer
	params   map[string]string // what was reported since the log-in
	notified []string          // notifications, as channel and payload
	err      *pgconn.PgError   // the last one since something was sent
}

// maxMessage bounds what a client takes for a message.
const maxMessage = 64 << 20

// client logs a client in.
func (h *hearing) client() (*client, error) { return h.login(h.config.Copy()) }

func (h *hearing) login(config *pgx.ConnConfig) (*client, error) {
	ctx, cancel := context.WithTimeout(h.ctx, 2*h.patience)
	defer cancel()
	pg, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return nil, refusal("logging in", err)
	}
	hijacked, err := pg.Hijack()
	if err != nil { // [unexpected] it is idle
		return nil, err
	}
	conn := patient{hijacked.Conn, h.patience}
	c := &client{conn: conn, fe: pgproto3.NewFrontend(conn, conn), hijacked: hijacked, params: map[string]string{}}
	c.fe.SetMaxBodyLen(maxMessage)
	c.unwatch = context.AfterFunc(h.ctx, func() { _ = hijacked.Conn.Close() }) // whoever reads there learns it
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients = append(h.clients, c)
	return c, nil
}

// several logs n clients in, or as many as can be served.
func (h *hearing) several(n int) ([]*client, error) {
	clients := make([]*client, min(n, h.capacity))
	for i := range clients {
		var err error
		if clients[i], err = h.client(); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

// together has f run with n clients side by side, which leave then.
func (h *hearing) together(n int, f func(i int, c *client) error) error {
	clients, err := h.several(n)
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range clients {
			c.leave()
		}
	}()
	return each(clients, f)
}

// each has f run with all clients side by side, and returns the gravest verdict. A
// client that met something else than right hangs up, so that no other has to wait
// for what it holds.
func each(clients []*client, f func(i int, c *client) error) error {
	errs := make([]error, len(clients))
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			if errs[i] = f(i, c); errs[i] != nil && !c.gone {
				c.hangUp()
			}
		})
	}
	all.Wait()
	return gravest(errs)
}

// leave says good-bye, as a well-behaved client does.
func (c *client) leave() {
	if c.gone {
		return
	}
	c.fe.Send(&pgproto3.Terminate{})
	_ = c.fe.Flush() // it is given up either way
	c.hangUp()
}

// hangUp closes the connection without a word.
func (c *client) hangUp() {
	c.gone = true
	c.unwatch()
	_ = c.conn.Close() // it is given up
}

// statement are the messages of a statement: parsed, bound and executed without a
// name.
func statement(sql string, params ...string) []pgproto3.FrontendMessage {
	bind := &pgproto3.Bind{}
	for _, p := range params {
		bind.Parameters = append(bind.Parameters, []byte(p))
	}
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, bind, &pgproto3.Execute{}}
}

// statementAnswer is the answer to statement of a SELECT with one row.
func statementAnswer(value string) string { return "1 2 " + row(value) + " C(SELECT 1)" }

func row(value string) string { return "D(" + brief([]byte(value)) + ")" }

func query(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }

// syncNow ends a pipeline.
var syncNow = &pgproto3.Sync{}

// queryAnswer is the answer to a Query of a SELECT with one row.
func queryAnswer(value string) string { return "T " + row(value) + " C(SELECT 1) Z(I)" }

func (c *client) send(messages ...pgproto3.FrontendMessage) error {
	c.err = nil
	for _, m := range messages {
		c.fe.Send(m)
	}
	return c.failure(c.fe.Flush(), "while sending")
}

// sendRaw sends bytes as they are.
func (c *client) sendRaw(b []byte) error {
	_, err := c.conn.Write(b)
	return c.failure(err, "while sending")
}

// failure is the verdict on an error of the connection.
func (c *client) failure(err error, when string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hungf("no answer in time, %s", when)
	case c.err != nil:
		return refusal("the pooler hung up, "+when, c.err)
	case closed(err):
		return wrongf("the pooler hung up without a word, %s", when)
	}
	return wrongf("%v, %s", err, when)
}

// closed reports whether err is that of a connection that is no longer there.
func closed(err error) bool {
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// expect sends messages and compares the whole answer, up to the last of the
// ReadyForQuery that want has.
func (c *client) expect(want string, messages ...pgproto3.FrontendMessage) error {
	if err := c.send(messages...); err != nil {
		return err
	}
	return c.answers(want)
}

// answers compares what comes with want.
func (c *client) answers(want string) error {
	got, err := c.read(strings.Count(want, "Z("))
	if err != nil {
		return err
	}
	return c.compare(got, want)
}

func (c *client) compare(got, want string) error {
	if got == want {
		return nil
	}
	if c.err != nil && !strings.Contains(want, "E("+c.err.Code) {
		return refusal("an error", c.err)
	}
	got, want = difference(got, want)
	return wrongf("answered %s instead of %s", got, want)
}

// difference leaves out what two answers have in common at their begin.
func difference(got, want string) (string, string) {
	g, w := strings.Split(got, " "), strings.Split(want, " ")
	common := 0
	for common < len(g)-1 && common < len(w)-1 && g[common] == w[common] {
		common++
	}
	cut := func(parts []string) string {
		text := strings.Join(parts[max(0, common-2):], " ")
		if common > 2 {
			text = "… " + text
		}
		if len(text) > 160 {
			text = text[:160] + "…"
		}
		if text == "" {
			return "nothing"
		}
		return text
	}
	return cut(g), cut(w)
}

// read returns the answer up to the nth ReadyForQuery, in the notation of event.
func (c *client) read(n int) (string, error) {
	var got []string
	for n > 0 {
		event, err := c.next()
		if err != nil {
			seen := strings.Join(got, " ")
			if len(seen) > 160 {
				seen = "…" + seen[len(seen)-160:]
			}
			return strings.Join(got, " "), c.failure(err, fmt.Sprintf("after %q", seen))
		}
		if event == "" {
			continue
		}
		got = append(got, event)
		if strings.HasPrefix(event, "Z(") {
			n--
		}
	}
	return strings.Join(got, " "), nil
}

// until returns the answer up to the first event that begins with one of
// prefixes.
func (c *client) until(prefixes ...string) (string, error) {
	var got []string
	for {
		event, err := c.next()
		if err != nil {
			return strings.Join(got, " "), c.failure(err, fmt.Sprintf("after %q", strings.Join(got, " ")))
		}
		if event != "" {
			got = append(got, event)
		}
		for _, p := range prefixes {
			if event != "" && strings.HasPrefix(event, p) {
				return strings.Join(got, " "), nil
			}
		}
	}
}

// next reads a message and writes it down; "" is one that may come at any time.
func (c *client) next() (string, error) {
	msg, err := c.fe.Receive()
	if err != nil {
		return "", err
	}
	switch msg := msg.(type) {
	case *pgproto3.ParameterStatus:
		c.params[msg.Name] = msg.Value
		return "", nil
	case *pgproto3.NotificationResponse:
		c.notified = append(c.notified, msg.Channel+" "+msg.Payload)
		return "", nil
	case *pgproto3.NoticeResponse:
		if !c.hears {
			return "", nil
		}
	case *pgproto3.ErrorResponse:
		c.err = pgconn.ErrorResponseToPgError(msg)
	}
	return event(msg), nil
}

// event is a message from the server in short: its type as on the wire, and what is
// in it.
func event(msg pgproto3.BackendMessage) string {
	switch msg := msg.(type) {
	case *pgproto3.ParseComplete:
		return "1"
	case *pgproto3.BindComplete:
		return "2"
	case *pgproto3.CloseComplete:
		return "3"
	case *pgproto3.NoData:
		return "n"
	case *pgproto3.EmptyQueryResponse:
		return "I"
	case *pgproto3.PortalSuspended:
		return "s"
	case *pgproto3.ParameterDescription:
		return fmt.Sprintf("t%v", msg.ParameterOIDs)
	case *pgproto3.RowDescription:
		return "T"
	case *pgproto3.DataRow:
		values := make([]string, len(msg.Values))
		for i, v := range msg.Values {
			values[i] = brief(v)
		}
		return "D(" + strings.Join(values, ",") + ")"
	case *pgproto3.CommandComplete:
		return "C(" + string(msg.CommandTag) + ")"
	case *pgproto3.NoticeResponse:
		return "N(" + msg.Message + ")"
	case *pgproto3.ErrorResponse:
		return "E(" + msg.Code + ")"
	case *pgproto3.ReadyForQuery:
		return "Z(" + string(msg.TxStatus) + ")"
	case *pgproto3.CopyInResponse:
		return "G"
	case *pgproto3.CopyOutResponse:
		return "H"
	case *pgproto3.CopyData:
		return "d(" + brief(msg.Data) + ")"
	case *pgproto3.CopyDone:
		return "c"
	case *pgproto3.FunctionCallResponse:
		return "V(" + brief(msg.Result) + ")"
	}
	return fmt.Sprintf("%T", msg)
}

// brief is a value as it is, or a long one by its length and a hash.
func brief(v []byte) string {
	switch {
	case v == nil:
		return "NULL"
	case len(v) <= 48:
		return string(v)
	}
	return fmt.Sprintf("%d:%x", len(v), sha256.Sum256(v))[:24]
}

// notSupported are the words of those who refuse something.
var notSupported = regexp.MustCompile(`(?i)not (yet )?(supported|allowed|implemented|permitted)|unsupported|unrecognized|only supports|does not support|disabled`)

// mayNot are the SQLSTATEs of what the login may not do.
var mayNot = map[string]bool{"42501": true, "25006": true}

// refusal is the verdict on an error where an answer was due.
func refusal(when string, err error) error {
	var pgErr *pgconn.PgError
	switch {
	case !errors.As(err, &pgErr):
		if pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) {
			return hungf("%s: no answer in time", when)
		}
		if closed(err) {
			return wrongf("%s: the pooler hung up without a word", when)
		}
		return wrongf("%s: %v", when, err)
	case mayNot[pgErr.Code]:
		return &verdict{Untried, pgErr.Message}
	}
	text := fmt.Sprintf("%s: %s %s %s", when, pgErr.Severity, pgErr.Code, pgErr.Message)
	if pgErr.Code == "0A000" || notSupported.MatchString(pgErr.Message) {
		return &verdict{Refused, text}
	}
	return &verdict{Wrong, text}
}

// serves has n clients served side by side, each with its own answer.
func (h *hearing) serves(n int) error {
	return h.together(n, func(i int, c *client) error {
		for round := range 3 {
			value := fmt.Sprintf("served %d %d", i, round)
			if err := c.expect(queryAnswer(value), query("select '"+value+"'")); err != nil {
				return err
			}
		}
		return nil
	})
}

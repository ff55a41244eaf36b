package judge_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/protocol"
	"github.com/poolproof/poolproof/judge"
)

// harm is a relay before PostgreSQL that does one thing wrong.
type harm struct {
	name string
	// seen are the trials that must not be right.
	seen []string
	// fromServer and fromClient return what is passed on instead of a message; nil:
	// every message as it is.
	fromServer, fromClient func(l *line, m []byte) []byte
	// startup returns what is passed on instead of a first packet; nil hangs up.
	startup func(l *line, b []byte) []byte
	// handsOn: the server connection of a client that hung up is the next client's.
	handsOn bool
	// held: nothing reaches a client before the ReadyForQuery.
	held bool
}

// line is one client's way through a relay.
type line struct {
	relay          *relay
	client, server net.Conn
	ready          bool // the log-in is over

	mu sync.Mutex
}

// relay is a harm under way.
type relay struct {
	harm
	upstream string

	mu       sync.Mutex
	keys     [][]byte // BackendKeyData of every client
	lastRow  []byte
	lastFrom *line
	rows     int
	left     *line // whose client hung up
	welcome  []byte
}

// message is a whole message as on the wire, with its type.
func message(r io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return head[:0], err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > 64<<20 {
		return head, nil // it is passed on as it is
	}
	m := slices.Concat(head, make([]byte, n-4))
	read, err := io.ReadFull(r, m[5:])
	return m[:5+read], err
}

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	l := &line{relay: r, client: client}
	head := make([]byte, 8)
	if _, err := io.ReadFull(client, head); err != nil {
		return
	}
	first := head
	if n := binary.BigEndian.Uint32(head); n > 8 && n < 10000 {
		first = slices.Concat(head, make([]byte, n-8))
		if _, err := io.ReadFull(client, first[8:]); err != nil {
			return
		}
	}
	if r.startup != nil {
		if first = r.startup(l, first); first == nil {
			return
		}
	}
	r.mu.Lock()
	left := r.left
	r.left = nil
	r.mu.Unlock()
	if left != nil { // another client's server connection, whatever it is doing
		left.mu.Lock()
		left.client = client
		_, _ = client.Write(r.welcome)
		left.mu.Unlock()
		left.up(client)
		return
	}
	var err error
	if l.server, err = (&net.Dialer{}).Dial("tcp", r.upstream); err != nil {
		return
	}
	if _, err := l.server.Write(first); err != nil {
		return
	}
	go l.down()
	l.up(client)
}

// up passes on what the client sends.
func (l *line) up(client net.Conn) {
	for {
		m, err := message(client)
		if l.relay.fromClient != nil && err == nil {
			m = l.relay.fromClient(l, m)
		}
		_, _ = l.server.Write(m)
		if err == nil {
			if len(m) > 0 && m[0] == protocol.Terminate {
				return
			}
			continue
		}
		if l.relay.handsOn && l.ready {
			l.relay.mu.Lock()
			l.relay.left = l
			l.relay.mu.Unlock()
			return
		}
		if half, ok := l.server.(*net.TCPConn); ok && l.relay.name != "closes at half" {
			_ = half.CloseWrite()
			return
		}
		_ = l.server.Close()
		_ = client.Close()
		return
	}
}

// down passes on what the server says.
func (l *line) down() {
	var held, welcome []byte
	for {
		m, err := message(l.server)
		if err != nil {
			_ = l.client.Close()
			_ = l.server.Close()
			return
		}
		kind := m[0]
		if kind == protocol.BackendKeyData {
			l.relay.mu.Lock()
			l.relay.keys = append(l.relay.keys, bytes.Clone(m[5:]))
			l.relay.mu.Unlock()
		}
		if !l.ready {
			welcome = append(welcome, m...)
		}
		if l.relay.fromServer != nil {
			m = l.relay.fromServer(l, m)
		}
		if kind == protocol.ReadyForQuery && !l.ready {
			l.ready = true
			l.relay.mu.Lock()
			l.relay.welcome = welcome
			l.relay.mu.Unlock()
		}
		held = append(held, m...)
		if l.relay.held && kind != protocol.ReadyForQuery && l.ready {
			continue
		}
		l.mu.Lock()
		_, _ = l.client.Write(held)
		l.mu.Unlock()
		held = nil
	}
}

// without drops messages of a type, once the log-in is over.
func without(kind byte) func(*line, []byte) []byte {
	return func(l *line, m []byte) []byte {
		if m[0] == kind && l.ready {
			return nil
		}
		return m
	}
}

// changed changes messages of a type.
func changed(kind byte, change func(body []byte) []byte) func(*line, []byte) []byte {
	return func(l *line, m []byte) []byte {
		if m[0] != kind || !l.ready {
			return m
		}
		body := change(bytes.Clone(m[5:]))
		return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
	}
}

func replaced(kind byte, old, with string) func(*line, []byte) []byte {
	return changed(kind, func(body []byte) []byte { return bytes.ReplaceAll(body, []byte(old), []byte(with)) })
}

// fields returns an error's fields without those that keep does not have, with
// this SQLSTATE if it is not "".
func fields(body []byte, keep string, code string) []byte {
	var out []byte
	for f := range bytes.SplitSeq(body, []byte{0}) {
		switch {
		case len(f) == 0 || !strings.Contains(keep, string(f[0])):
		case f[0] == protocol.FieldCode && code != "":
			out = append(append(out, protocol.FieldCode), code+"\x00"...)
		default:
			out = append(append(out, f...), 0)
		}
	}
	return append(out, 0)
}

const allFields = "SVCMDHPpqWstcdnFLR"

var harms = []harm{
	{name: "no ParseComplete", fromServer: without(protocol.ParseComplete), seen: []string{"extended-query", "fifty-syncs", "hundred-statements", "unnamed-replaced", "name-in-one-sync", "byte-by-byte", "empty-query"}},
	{name: "no tags", fromServer: without(protocol.CommandComplete), seen: []string{"simple-query", "several-statements", "flush"}},
	{name: "no NoData", fromServer: without(protocol.NoData), seen: []string{"describe-statement", "describe-portal"}},
	{name: "no PortalSuspended", fromServer: without(protocol.PortalSuspended), seen: []string{"suspended-portal", "two-portals"}},
	{name: "no CloseComplete", fromServer: without(protocol.CloseComplete), seen: []string{"close-unknown"}},
	{name: "no notices", fromServer: without(protocol.NoticeResponse), seen: []string{"notices"}},
	{name: "no reports", fromServer: without(protocol.ParameterStatus), seen: []string{"parameter-status"}},
	{name: "answers late", held: true, seen: []string{"flush"}},
	{name: "rows in another order", seen: []string{"many-rows", "rows-before-error"}, fromServer: changed(protocol.DataRow, func(body []byte) []byte {
		return bytes.ReplaceAll(body, []byte("3"), []byte("6"))
	})},
	{name: "large messages broken", seen: []string{"at-4096-bytes", "16-mb-down", "1600-columns", "large-pipelines"}, fromServer: changed(protocol.DataRow, func(body []byte) []byte {
		if len(body) > 4000 {
			body[len(body)-1] ^= 1
		}
		return body
	})},
	{name: "large parameters broken", seen: []string{"16-mb-up"}, fromClient: changed(protocol.Bind, func(body []byte) []byte {
		if len(body) > 4096 {
			body[len(body)/2] ^= 1
		}
		return body
	})},
	{name: "NULL is empty", seen: []string{"null-and-empty"}, fromServer: replaced(protocol.DataRow, "\xff\xff\xff\xff", "\x00\x00\x00\x00")},
	{name: "seven bits", seen: []string{"binary"}, fromServer: changed(protocol.DataRow, func(body []byte) []byte {
		if len(body) > 1000 {
			for i := 6; i < 1000; i++ {
				body[i] &= 0x7f
			}
		}
		return body
	})},
	{
		name: "codes of its own", fromServer: changed(protocol.ErrorResponse, func(body []byte) []byte { return fields(body, allFields, "XX000") }),
		seen: []string{
			"sqlstate-and-position", "error-in-query", "error-in-parse", "error-in-bind", "error-in-execute", "failed-transaction", "deferred-at-commit", "deferred-at-sync", "statement-timeout",
			"copy-fail", "copy-out-error", "late-copy-data", "late-copy-holds", "count-that-lies",
		},
	},
	{name: "errors without fields", fromServer: changed(protocol.ErrorResponse, func(body []byte) []byte { return fields(body, "SVCM", "") }), seen: []string{"sqlstate-and-position", "error-fields"}},
	{name: "stray answers", seen: []string{"error-in-batch", "error-between-syncs"}, fromServer: func(l *line, m []byte) []byte {
		if m[0] == protocol.ErrorResponse && l.ready {
			return append(bytes.Clone(m), protocol.ParseComplete, 0, 0, 0, 4)
		}
		return m
	}},
	{name: "COMMIT for ROLLBACK", fromServer: replaced(protocol.CommandComplete, "ROLLBACK", "COMMIT"), seen: []string{"commit-of-failed", "cancel-in-transaction"}},
	{
		name: "others' rows", seen: []string{"tagged-queries", "tagged-batches", "tagged-pipelines", "interleaved-transactions", "unnamed-statement"},
		fromServer: func(l *line, m []byte) []byte {
			if m[0] != protocol.DataRow {
				return m
			}
			r := l.relay
			r.mu.Lock()
			defer r.mu.Unlock()
			r.rows++
			last, from := r.lastRow, r.lastFrom
			r.lastRow, r.lastFrom = bytes.Clone(m), l
			if r.rows%7 == 0 && from != nil && from != l {
				return last
			}
			return m
		},
	},
	{name: "SET LOCAL stays", fromClient: replaced(protocol.Query, "set local cursor", "set session cursor"), seen: []string{"set-local"}},
	{name: "set_config stays", fromClient: replaced(protocol.Parse, ", true)", ", false)"), seen: []string{"set-config-local", "one-sync-scope"}},
	{name: "hands on what was left", handsOn: true, seen: []string{
		"hang-up-in-transaction", "hang-up-in-failed-transaction", "hang-up-in-result", "hang-up-in-message", "hang-up-without-sync", "hang-up-in-copy-in", "hang-up-in-copy-out",
	}},
	{name: "closes at half", seen: []string{"half-closed"}},
	{name: "good-bye at once", seen: []string{"terminate-behind-query"}, fromClient: func(l *line, m []byte) []byte {
		if m[0] == protocol.Terminate {
			_ = l.client.Close()
		}
		return m
	}},
	{name: "drops data", fromClient: without(protocol.CopyData), seen: []string{"copy-in", "copy-in-extended"}},
	{name: "drops lines", fromServer: without(protocol.CopyData), seen: []string{"copy-out", "copy-out-large"}},
	{name: "no cancel requests", seen: []string{"cancel-own", "cancel-in-transaction"}, startup: cancels(func(*relay, []byte) []byte { return nil })},
	{name: "cancels anybody", seen: []string{"cancel-idle", "cancel-late"}, startup: cancels(func(r *relay, own []byte) []byte {
		// The key of a client that came later than the one that asks.
		if i := slices.IndexFunc(r.keys, func(k []byte) bool { return bytes.Equal(k, own) }); i >= 0 && i < len(r.keys)-1 {
			r.rows++
			return r.keys[i+1+r.rows%(len(r.keys)-1-i)]
		}
		return nil
	})},
	{name: "cancels without a key", seen: []string{"cancel-wrong-key"}, startup: cancels(func(r *relay, own []byte) []byte {
		for _, k := range r.keys {
			if bytes.Equal(k[:4], own[:4]) {
				return k
			}
		}
		return nil
	})},
	{name: "tells nothing", seen: []string{"log-in"}, fromServer: func(_ *line, m []byte) []byte {
		if m[0] == protocol.ParameterStatus && bytes.Contains(m, []byte("DateStyle")) {
			return nil
		}
		return m
	}},
	{name: "only 3.0", seen: []string{"protocol-3.2"}, startup: func(_ *line, b []byte) []byte {
		if bytes.Equal(b[4:8], []byte{0, 3, 0, 2}) {
			return nil
		}
		return b
	}},
	{
		name: "takes any log-in", seen: []string{"protocol-options", "unknown-parameter", "startup-parameter", "startup-options", "application-name", "unknown-database"},
		startup: func(_ *line, b []byte) []byte {
			if !bytes.Equal(b[4:6], []byte{0, 3}) {
				return b
			}
			out := bytes.Clone(b[4:8])
			parts := strings.Split(string(b[8:]), "\x00")
			for i := 0; i+1 < len(parts); i += 2 {
				switch parts[i] {
				case "user":
					out = append(out, parts[i]+"\x00"+parts[i+1]+"\x00"...)
				case "database":
					out = append(out, "database\x00postgres\x00"...)
				}
			}
			out = append(out, 0)
			return append(binary.BigEndian.AppendUint32(nil, uint32(len(out)+4)), out...)
		},
	},
	{name: "waits for more", seen: []string{"ssl-request", "gssenc-request", "no-startup"}, startup: func(l *line, b []byte) []byte {
		if !bytes.Equal(b[4:6], []byte{0, 3}) && !bytes.Equal(b[4:8], []byte{4, 210, 22, 46}) {
			_, _ = io.Copy(io.Discard, l.client) // until the client gives up
			return nil
		}
		return b
	}},
	{name: "swallows", seen: []string{"unknown-message", "length-too-small", "function-call", "terminate"}, fromClient: func(_ *line, m []byte) []byte {
		if m[0] == '!' || m[0] == protocol.FunctionCall || m[0] == protocol.Terminate || binary.BigEndian.Uint32(m[1:]) < 4 {
			return nil
		}
		return m
	}},
}

// cancels is a startup that passes a cancel request on with the key that choose
// returns, called with the relay's lock held; nil: it is dropped.
func cancels(choose func(r *relay, own []byte) []byte) func(*line, []byte) []byte {
	return func(l *line, b []byte) []byte {
		if !bytes.Equal(b[4:8], []byte{4, 210, 22, 46}) { // CancelRequest
			return b
		}
		l.relay.mu.Lock()
		defer l.relay.mu.Unlock()
		key := choose(l.relay, b[8:])
		if key == nil {
			return nil
		}
		return append(bytes.Clone(b[:8]), key...)
	}
}

// start runs the harm before the server at upstream, and returns its URL.
func (h harm) start(t *testing.T, upstream string) string {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{harm: h, upstream: u.Host}
	var (
		clients sync.WaitGroup
		mu      sync.Mutex
		open    []net.Conn
	)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			clients.Go(func() { r.serve(conn) })
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		clients.Wait()
	})
	u.Host = listener.Addr().String()
	return u.String()
}

// Each trial sees the harm that it is there for: it can fail. What no harm here is
// for fails through a real pooler.
func TestHarms(t *testing.T) {
	seen := map[string]bool{}
	for name, outcomes := range leaky {
		if !slices.Contains(outcomes, judge.Right) {
			seen[name] = true
		}
	}
	for _, h := range harms {
		for _, name := range h.seen {
			seen[name] = true
		}
	}
	for _, trial := range judge.Trials() {
		if !seen[trial.Name] {
			t.Errorf("nothing shows that %s can fail", trial.Name)
		}
	}
	upstream := pgtest.Database(t)
	t.Run("all", func(t *testing.T) {
		for _, h := range harms {
			t.Run(h.name, func(t *testing.T) {
				t.Parallel()
				r := judged(t, h.start(t, upstream), judge.Options{Only: h.seen, Patience: time.Second})
				for _, result := range r.Results {
					if result.Outcome == judge.Right || result.Outcome == judge.Untried && !strings.HasPrefix(result.Text, "nobody was served") {
						t.Errorf("%s is %s: %s", result.Name, result.Outcome, result.Text)
					} else {
						t.Logf("%s: %s %s", result.Name, result.Outcome, result.Text)
					}
				}
				if len(r.Results) != len(h.seen) {
					t.Errorf("%d trials for %d names", len(r.Results), len(h.seen))
				}
			})
		}
	})
}

package pgtest

import (
	"errors"
	"net"
	"sync"
	"testing"
)

// Cutter stands between clients and their server and acts before a chosen message
// of a client, as a signal or a network does at any moment, also in the middle of
// what a client wrote at once. Cancel requests and log-ins are messages, too.
type Cutter struct {
	mu    sync.Mutex
	limit int
	at    func()
	kill  bool
	sent  int
	conns []net.Conn
}

// Cut returns a URL that leads to the same server, without TLS, and what cuts the connections of its clients.
func Cut(t testing.TB, url string) (cut string, c *Cutter) {
	t.Helper()
	c = &Cutter{}
	t.Cleanup(func() { c.arm(0, true, nil) })
	return Between(t, url, func(client, server net.Conn) {
		c.mu.Lock()
		c.conns = append(c.conns, client, server)
		c.mu.Unlock()
		end := func() { _, _ = client.Close(), server.Close() }
		go func() {
			defer end()
			Messages(writer(func(message []byte) error { return c.pass(server, message) }), client, true, func(byte, int) {})
		}()
		go func() { defer end(); Messages(client, server, false, func(byte, int) {}) }()
	}), c
}

// KillAt ends all connections before the message with this number, counted from now, and whatever comes after it; then it calls at. With 0
// it only counts.
func (c *Cutter) KillAt(number int, at func()) { c.arm(number, true, at) }

// InterruptAt calls at before the message with this number, counted from now, and passes on everything.
func (c *Cutter) InterruptAt(number int, at func()) { c.arm(number, false, at) }

// arm ends what is open and counts anew.
func (c *Cutter) arm(number int, kill bool, at func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	c.limit, c.kill, c.at, c.sent = number, kill, at, 0
}

// Sent is how many messages there were.
func (c *Cutter) Sent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

func (c *Cutter) end() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

var errCut = errors.New("cut")

// pass counts a message, and passes it on unless it is cut.
func (c *Cutter) pass(server net.Conn, message []byte) error {
	c.mu.Lock()
	c.sent++
	if c.limit > 0 && c.sent == c.limit {
		if c.kill {
			c.end()
		}
		if c.at != nil {
			c.at()
		}
	}
	cut := c.kill && c.limit > 0 && c.sent >= c.limit
	c.mu.Unlock()
	if cut {
		return errCut
	}
	_, err := server.Write(message)
	return err
}

package pgtest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Holder stops what clients send at a chosen message, so that a test can look or
// act while a transaction is open.
type Holder struct {
	mu    sync.Mutex
	armed *Held
	ended chan struct{} // closed at the test's end
}

// Held is one stop.
type Held struct {
	// Reached gets the port from which the server's client connects (client_port
	// of pg_stat_activity) once the server has done all that came before.
	Reached <-chan int

	kind    byte
	reached chan int
	release chan struct{}
}

// Release lets the rest pass. It is called once.
func (h *Held) Release() { close(h.release) }

// Hold returns a URL that leads to the same server, without TLS, and what stops
// the messages of its clients.
func Hold(t testing.TB, url string) (held string, h *Holder) {
	t.Helper()
	h = &Holder{ended: make(chan struct{})}
	t.Cleanup(func() { close(h.ended) })
	return Between(t, url, func(client, server net.Conn) {
		c := &heldConn{holder: h, server: server}
		c.answered = sync.NewCond(&c.mu)
		end := func() {
			_, _ = client.Close(), server.Close()
			c.note(0)
		}
		go func() { defer end(); c.requests(client) }()
		go func() { defer end(); c.answers(client) }()
	}), h
}

// BeforeLast stops the next exchange of several statements before its last
// message of a kind: 'S' when all its statements have run and its transaction
// is still open, 'B' before the last statement is planned and sees anything.
func (h *Holder) BeforeLast(kind byte) *Held {
	reached := make(chan int, 1)
	held := &Held{Reached: reached, kind: kind, reached: reached, release: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.armed = held
	return held
}

// heldConn is one connection, and what its server has answered since the last
// ReadyForQuery.
type heldConn struct {
	holder *Holder
	server net.Conn

	mu              sync.Mutex
	answered        *sync.Cond
	bound, executed int
	over            bool // by an error, or the connection's end
}

func (c *heldConn) note(kind byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch kind {
	case '2':
		c.bound++
	case 'C', 'I', 's':
		c.executed++
	case 'E', 0:
		c.over = true
	case 'Z':
		c.bound, c.executed, c.over = 0, 0, false
	}
	c.answered.Broadcast()
}

func (c *heldConn) answers(client io.Writer) {
	Messages(client, c.server, false, func(kind byte, _ int) { c.note(kind) })
}

// requests passes on what a client sends: each message at once, or, while a stop
// is wanted, each exchange when its Sync has come.
func (c *heldConn) requests(client io.Reader) {
	var kind byte // of the message at hand; 0: the startup message
	var exchange [][]byte
	Messages(writer(func(message []byte) error {
		c.holder.mu.Lock()
		held := c.holder.armed
		c.holder.mu.Unlock()
		if kind == 0 || held == nil && exchange == nil {
			return c.send(message)
		}
		exchange = append(exchange, message)
		whole := exchange
		switch kind {
		case 'P', 'B', 'D', 'E', 'C':
			return nil
		case 'S':
			exchange = nil
		default: // it waits for an answer without a Sync
			exchange = nil
			return c.send(whole...)
		}
		return c.play(whole, held)
	}), client, true, func(k byte, _ int) { kind = k })
}

// play sends an exchange, and stops in it if it is one of several statements.
func (c *heldConn) play(exchange [][]byte, held *Held) error {
	last, count := -1, map[byte]int{}
	for i, message := range exchange {
		count[message[0]]++
		if held != nil && message[0] == held.kind {
			last = i
		}
	}
	c.holder.mu.Lock()
	stops := held != nil && c.holder.armed == held && last >= 0 && count['E'] > 1
	if stops {
		c.holder.armed = nil
	}
	c.holder.mu.Unlock()
	if !stops {
		return c.send(exchange...)
	}
	if err := c.send(exchange[:last]...); err != nil {
		return err
	}
	if err := c.send([]byte{'H', 0, 0, 0, 4}); err != nil { // Flush: the answers come now
		return err
	}
	bound, executed := 0, 0
	for _, message := range exchange[:last] {
		switch message[0] {
		case 'B':
			bound++
		case 'E':
			executed++
		}
	}
	c.mu.Lock()
	for !c.over && (c.bound < bound || c.executed < executed) {
		c.answered.Wait()
	}
	c.mu.Unlock()
	held.reached <- c.server.LocalAddr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP connection's
	select {
	case <-held.release:
	case <-c.holder.ended:
	}
	return c.send(exchange[last:]...)
}

func (c *heldConn) send(messages ...[]byte) error {
	for _, message := range messages {
		if _, err := c.server.Write(message); err != nil {
			return err
		}
	}
	return nil
}

// writer is what receives whole messages, one at a time.
type writer func(message []byte) error

func (w writer) Write(message []byte) (int, error) { return len(message), w(message) }

package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Relay is a listening TCP relay on 127.0.0.1.
type Relay struct {
	upstream string
	latency  time.Duration
	hold     bool
	messages counter
	listener net.Listener
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// Start listens on a free port and passes every connection on to upstream
// ("host:port"). A latency above zero makes a round trip that much longer (half
// of it each way) without limiting how much is under way. Close ends it.
func Start(upstream string, latency time.Duration) (*Relay, error) {
	return start(&Relay{upstream: upstream, latency: latency})
}

// StartHolding is Start for a relay that keeps back what a client sends of the
// extended protocol until its Sync, and that passes no Flush on: so a client gets
// no answer before its Sync, as with PgCat 1.3.
func StartHolding(upstream string) (*Relay, error) {
	return start(&Relay{upstream: upstream, hold: true})
}

func start(r *Relay) (*Relay, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.listener, r.stop = l, stop
	r.wg.Go(func() { r.accept(ctx) })
	return r, nil
}

// Addr is where clients connect, as "host:port".
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Messages is how many messages of a type (such as 'S' for Sync or 'Q' for
// Query) clients have sent so far. A message counts before it is passed on, so
// that a client that has an answer finds its question counted. The messages
// that open a connection (startup, cancel, a TLS request) have no type and do
// not count; a connection that goes over to TLS cannot be counted, and is
// refused.
func (r *Relay) Messages(kind byte) int { return r.messages.get(kind) }

// Close breaks all connections and stops listening.
func (r *Relay) Close() error {
	r.stop()
	err := r.listener.Close()
	r.wg.Wait()
	if err != nil {
		return fmt.Errorf("close the relay: %w", err)
	}
	return nil
}

func (r *Relay) accept(ctx context.Context) {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		r.wg.Go(func() { r.serve(ctx, client) })
	}
}

// serve passes one connection on until either side ends. Errors here are ends of
// connections, which each side sees for itself.
func (r *Relay) serve(ctx context.Context, client net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", r.upstream)
	if err != nil {
		_ = client.Close() // the client sees a connection that ends, as with a dead server
		return
	}
	context.AfterFunc(ctx, func() { _ = errors.Join(client.Close(), server.Close()) })

	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		frames := &framer{count: r.messages.add}
		var to io.Writer = server
		if r.hold {
			to = &holder{to: server}
		}
		r.pass(ctx, to, client, frames.see)
	})
	wg.Go(func() {
		defer cancel()
		r.pass(ctx, client, server, nil)
	})
	wg.Wait()
}

// chunk is bytes that may be written from a moment on.
type chunk struct {
	due   time.Time
	bytes []byte
}

// pass copies src to dst. see gets every byte before it is written, and ends the
// connection with an error.
func (r *Relay) pass(ctx context.Context, dst io.Writer, src io.Reader, see func([]byte) error) {
	write := func(b []byte) error { _, err := dst.Write(b); return err }
	if r.latency > 0 {
		// Reading goes on while earlier bytes wait: latency without a limit.
		queue := make(chan chunk, 4096)
		var wg sync.WaitGroup
		wg.Go(func() { r.deliver(ctx, dst, queue) })
		defer wg.Wait()
		defer close(queue)
		write = func(b []byte) error {
			select {
			case queue <- chunk{due: time.Now().Add(r.latency / 2), bytes: append([]byte(nil), b...)}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if see != nil && see(buf[:n]) != nil {
				return
			}
			if write(buf[:n]) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// deliver writes each chunk when it is due, and what is left when the queue ends.
func (r *Relay) deliver(ctx context.Context, dst io.Writer, queue <-chan chunk) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for c := range queue {
		timer.Reset(time.Until(c.due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if _, err := dst.Write(c.bytes); err != nil {
			return
		}
	}
}

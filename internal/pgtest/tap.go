package pgtest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// Tap returns a URL that leads to the same server, without TLS, and a function
// that returns and forgets what went over the wire in both directions: "> P 120"
// is a Parse of 120 bytes from the client, "< Z 6" a ReadyForQuery. A message is
// noted before it is passed on.
func Tap(t testing.TB, url string) (tapped string, said func() []string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start a tap: %v", err)
	}
	var (
		mu      sync.Mutex
		lines   []string
		running sync.WaitGroup
	)
	t.Cleanup(func() { _ = listener.Close() })
	note := func(direction string) func(kind byte, size int) {
		return func(kind byte, size int) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, fmt.Sprintf("%s %c %d", direction, kind, size))
		}
	}
	upstream := parse(t, url).Host
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", upstream)
			if err != nil {
				_ = client.Close()
				continue
			}
			end := func() { _, _ = client.Close(), server.Close() }
			running.Go(func() { defer end(); messages(server, client, true, note(">")) })
			running.Go(func() { defer end(); messages(client, server, false, note("<")) })
		}
	})
	return through(t, url, listener.Addr().(*net.TCPAddr).Port), func() []string { //nolint:forcetypeassert // a TCP listener's
		mu.Lock()
		defer mu.Unlock()
		all := lines
		lines = nil
		return all
	}
}

// messages passes messages on, and tells of each but the first of a client, which
// has no type.
func messages(to io.Writer, from io.Reader, startup bool, note func(kind byte, size int)) {
	for {
		head := make([]byte, 5)
		if startup {
			head = head[:4]
		}
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(head[len(head)-4:])
		if size < 4 || size > 1<<24 {
			return
		}
		message := slices.Concat(head, make([]byte, size-4))
		if _, err := io.ReadFull(from, message[len(head):]); err != nil {
			return
		}
		if !startup {
			note(head[0], int(size))
		}
		startup = false
		if _, err := to.Write(message); err != nil {
			return
		}
	}
}

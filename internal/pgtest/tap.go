package pgtest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Tap returns a URL that leads to the same server, without TLS, and a function
// that returns and forgets what went over the wire in both directions: "> P 120"
// is a Parse of 120 bytes from the client, "< Z 6" a ReadyForQuery. A message is
// noted before it is passed on.
func Tap(t testing.TB, url string) (tapped string, said func() []string) {
	t.Helper()
	var (
		mu    sync.Mutex
		lines []string
	)
	note := func(direction string) func(kind byte, size int) {
		return func(kind byte, size int) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, fmt.Sprintf("%s %c %d", direction, kind, size))
		}
	}
	tapped = Between(t, url, func(client, server net.Conn) {
		end := func() { _, _ = client.Close(), server.Close() }
		go func() { defer end(); Messages(server, client, true, note(">")) }()
		go func() { defer end(); Messages(client, server, false, note("<")) }()
	})
	return tapped, func() []string {
		mu.Lock()
		defer mu.Unlock()
		all := lines
		lines = nil
		return all
	}
}

// Errors returns a URL that leads to the same server, without TLS, and a function
// that returns and forgets the SQLSTATEs of the errors that clients were sent,
// each once and sorted.
func Errors(t testing.TB, url string) (tapped string, codes func() []string) {
	t.Helper()
	var (
		mu   sync.Mutex
		seen []string
	)
	note := func(message []byte) {
		var answer pgproto3.ErrorResponse
		if message[0] == 'E' && answer.Decode(message[5:]) == nil {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, answer.Code)
		}
	}
	tapped = Between(t, url, func(client, server net.Conn) {
		end := func() { _, _ = client.Close(), server.Close() }
		go func() { defer end(); _, _ = io.Copy(server, client) }()
		go func() { defer end(); messages(client, server, false, note) }()
	})
	return tapped, func() []string {
		mu.Lock()
		defer mu.Unlock()
		all := seen
		seen = nil
		slices.Sort(all)
		return slices.Compact(all)
	}
}

// Messages passes messages on, and tells of each but the first of a client, which
// has no type.
func Messages(to io.Writer, from io.Reader, startup bool, note func(kind byte, size int)) {
	messages(to, from, startup, func(message []byte) { note(message[0], len(message)-1) })
}

func messages(to io.Writer, from io.Reader, startup bool, note func(message []byte)) {
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
			note(message)
		}
		startup = false
		if _, err := to.Write(message); err != nil {
			return
		}
	}
}

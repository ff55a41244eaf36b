package pgtest

import (
	"net"
	"testing"
)

// Between returns a URL that leads to the same server, without TLS, through the
// test. serve gets each connection of a client with the one to the server that was
// made for it, returns at once, and sees that both are closed in the end. No
// connection is taken after the test.
func Between(t testing.TB, url string, serve func(client, server net.Conn)) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("stand between a client and its server: %v", err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	upstream := parse(t, url).Host
	go func() {
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
			serve(client, server)
		}
	}()
	return through(t, url, listener.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // a TCP listener's
}

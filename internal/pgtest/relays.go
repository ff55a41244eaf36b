package pgtest

import (
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/devdb/relay"
	"github.com/poolproof/poolproof/internal/protocol"
)

// CountSyncs returns a URL that leads to the same server, and a function that
// says how many round trips clients of that URL have asked for so far: the Sync
// messages of the extended protocol, and the Query messages of the simple one,
// each of which the server answers with one ReadyForQuery. Opening a connection
// counts nothing. A test takes the difference around what it measures.
func CountSyncs(t testing.TB, url string) (proxied string, count func() (syncs int)) {
	t.Helper()
	r, proxied := relayed(t, url, 0)
	return proxied, func() int { return r.Messages(protocol.Sync) + r.Messages(protocol.Query) }
}

// CountMessages is CountSyncs for any type of message that a client can send,
// such as protocol.Parse.
func CountMessages(t testing.TB, url string) (proxied string, count func(kind byte) int) {
	t.Helper()
	r, proxied := relayed(t, url, 0)
	return proxied, r.Messages
}

// WithLatency returns a URL that leads to the same server with round trips that
// take d longer, half of it each way. How much can be under way is not limited.
func WithLatency(t testing.TB, url string, d time.Duration) string {
	t.Helper()
	_, proxied := relayed(t, url, d)
	return proxied
}

// LikePgCat returns a URL that leads to the same server, through what a client
// sees of PgCat 1.3 that is unlike other poolers: no Flush is answered before its
// Sync. url is a pooler's.
func LikePgCat(t testing.TB, url string) string {
	t.Helper()
	r, err := relay.StartHolding(parse(t, url).Host)
	return inFront(t, url, r, err)
}

// relayed puts a relay in front of url until the test ends.
func relayed(t testing.TB, raw string, latency time.Duration) (*relay.Relay, string) {
	t.Helper()
	r, err := relay.Start(parse(t, raw).Host, latency)
	return r, inFront(t, raw, r, err)
}

// inFront is raw through a relay, which ends with the test.
func inFront(t testing.TB, raw string, r *relay.Relay, err error) string {
	t.Helper()
	if err != nil {
		t.Fatalf("start a relay: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("stop the relay: %v", err)
		}
	})
	u := parse(t, raw)
	u.Host = r.Addr()
	return u.String()
}

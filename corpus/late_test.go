package corpus

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"sync"
	"testing"

	"github.com/poolproof/poolproof/internal/protocol"
)

// late is a connection to the pooler on which a TCP segment ends before the last
// byte of a large message, and the next one is late: it comes when the test says.
// Any network does that to any message now and then. The message is the first
// after a Bind that has the padding, which stands in the text or in a parameter.
type late struct {
	pooled   string
	inFlight bool          // the segment begins with the first Bind
	rest     chan struct{} // the rest passes when it is closed

	mu     sync.Mutex
	now    sync.Cond // one of these has changed
	held   bool      // the segment has passed
	ended  bool      // the client has ended
	syncs  int       // that passed before
	readys int       // ReadyForQuery that have come, the login's too
}

// padding is how much a program adds to each query, so that PgBouncer passes it on
// in parts. Its buffer holds 4,096 bytes.
const padding = 4040

// newLate listens for one client of the pooler at pooled.
func newLate(t *testing.T, pooled string, inFlight bool) *late {
	t.Helper()
	u, err := url.Parse(pooled)
	if err != nil {
		t.Fatal(err)
	}
	server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	k := &late{pooled: u.String(), inFlight: inFlight, rest: make(chan struct{})}
	k.now.L = &k.mu
	var both sync.WaitGroup
	both.Go(func() {
		client, err := l.Accept()
		if err != nil {
			return // the test is over
		}
		// Each side sees for itself that the other has ended.
		both.Go(func() { _ = k.ask(server, client); _ = server.Close() })
		both.Go(func() { _ = k.answer(client, server); _ = client.Close() })
	})
	t.Cleanup(func() {
		_, _ = l.Close(), server.Close()
		both.Wait()
	})
	return k
}

// ask passes on what the client sends.
func (k *late) ask(server io.Writer, client io.Reader) error {
	startup := make([]byte, 4)
	if _, err := io.ReadFull(client, startup); err != nil {
		return err
	}
	segment := bufio.NewWriterSize(server, 64<<10)
	if err := pass(segment, startup, client, binary.BigEndian.Uint32(startup)-4); err != nil {
		return err
	}
	bound, syncs := false, 0
	for {
		if !bound || !k.inFlight {
			if err := segment.Flush(); err != nil {
				return err
			}
		}
		kind, head, size, err := header(client)
		if err != nil {
			return err
		}
		cut := bound && size > padding
		if cut {
			size--
		}
		if err := pass(segment, head, client, size); err != nil {
			return err
		}
		if cut {
			break
		}
		bound = bound || kind == protocol.Bind
		if kind == protocol.Sync {
			syncs++
		}
	}
	if err := segment.Flush(); err != nil {
		return err
	}
	k.change(func() { k.held, k.syncs = true, syncs })
	<-k.rest
	_, err := io.Copy(server, client)
	return err
}

// answer passes on what the pooler sends.
func (k *late) answer(client io.Writer, server io.Reader) error {
	for {
		kind, head, size, err := header(server)
		if err != nil {
			return err
		}
		if err := pass(client, head, server, size); err != nil {
			return err
		}
		if kind == protocol.ReadyForQuery {
			k.change(func() { k.readys++ })
		}
	}
}

func (k *late) change(what func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	what()
	k.now.Broadcast()
}

// wait waits until a condition holds or the client has ended, whose output then
// says why it does not.
func (k *late) wait(until func() bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.ended && !until() {
		k.now.Wait()
	}
}

func (k *late) isHeld() bool { return k.held }

// answered reports whether all that passed before the cut was answered.
func (k *late) answered() bool { return k.held && k.readys > k.syncs }

// mixedUp reports whether the late message, or what was taken for it, was answered too.
func (k *late) mixedUp() bool { return k.held && k.readys > k.syncs+1 }

func header(src io.Reader) (kind byte, head []byte, size uint32, err error) {
	head = make([]byte, 5)
	_, err = io.ReadFull(src, head)
	return head[0], head, binary.BigEndian.Uint32(head[1:]) - 4, err
}

func pass(dst io.Writer, head []byte, src io.Reader, size uint32) error {
	body := make([]byte, size)
	if _, err := io.ReadFull(src, body); err != nil {
		return err
	}
	_, err := dst.Write(append(head, body...))
	return err
}

// foreign is a program's word that it got an item of another ten than it asked for.
var foreign = regexp.MustCompile(`wrong: item (\d+)\d is item (\d+)\d\n`)

// foreignItem finds in what copies said, of which each asks for items of a ten of
// its own, that one was given another's.
func foreignItem(output string) string {
	for _, m := range foreign.FindAllStringSubmatch(output, -1) {
		if m[1] != m[2] {
			return m[0]
		}
	}
	return ""
}

// ownTen is the environment of a copy that asks for items 10 to 17, copy 1 for
// 20 to 27, and so on.
func ownTen(i int) string { return fmt.Sprint("CORPUS_FIRST=", 10*i+10) }

// crossed runs two copies, each with a late connection, and returns what they said.
// PgBouncer 1.18 releases a server connection when it has answered the Syncs
// that it has read, even if a part of the next message is under way. Then both
// server connections lack the rest of a message; and as they take turns, the second
// copy's goes to the one that has the first copy's.
func (b *bouncer) crossed() (said string) {
	b.Helper()
	var links [2]*late
	var outputs [2]string
	var both sync.WaitGroup
	faulty := len(b.row.want) > 0
	for i := range links {
		k := newLate(b.T, b.pooled, faulty)
		links[i] = k
		both.Go(func() {
			defer k.change(func() { k.ended = true })
			outputs[i] = execute(b.T, b.row.program, b.row.form, k.pooled, b.direct, ownTen(i), fmt.Sprint("CORPUS_BYTES=", padding), "CORPUS_PATIENCE=1000").output
		})
		if k.wait(k.isHeld); faulty {
			k.wait(k.answered)
		}
	}
	close(links[1].rest)
	if faulty {
		links[1].wait(links[1].mixedUp)
	}
	close(links[0].rest)
	both.Wait()
	return outputs[0] + outputs[1]
}

// foreignItems wants that a copy is given an item that the other asked for.
func foreignItems() consequence {
	return func(b *bouncer) {
		if said := b.crossed(); foreignItem(said) == "" {
			b.Errorf("nobody was given the other's item; they said\n%s", said)
		}
	}
}

// crossedWords wants that crossed copies say what matches. Where the rest of a Parse
// went astray, a server connection takes the next message's beginning for it, and ends.
func crossedWords(pattern string) consequence {
	re := regexp.MustCompile(pattern)
	return func(b *bouncer) {
		if said := b.crossed(); !re.MatchString(said) {
			b.Errorf("want output like %q, they said\n%s", pattern, said)
		}
	}
}

// ownItems wants that nothing is wrong where foreignItems finds that it is.
func ownItems() consequence {
	return func(b *bouncer) {
		if said := b.crossed(); said != "" {
			b.Errorf("they said\n%s", said)
		}
	}
}

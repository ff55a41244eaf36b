package poolproof_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// cutter passes bytes on between clients and a server. Once armed it cuts both
// connections of the client that uses it next behind a number of bytes of one
// direction.
type cutter struct {
	mu     sync.Mutex
	armed  bool
	link   *int   // the client that has used it first since; nil: none yet
	back   bool   // the direction that is counted: to the client
	left   int    // bytes until the cut
	passed [2]int // since armed, to the server and to the client
	hit    func() // what is done instead of cutting; nil: cut
	conns  map[net.Conn]bool
}

func startCutter(t *testing.T, raw string) (*cutter, string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := u.Host
	c := &cutter{conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed
			}
			server, err := net.Dial("tcp", upstream)
			if err != nil {
				_ = client.Close()
				continue
			}
			c.mu.Lock()
			c.conns[client], c.conns[server] = true, true
			c.mu.Unlock()
			link := new(int) // its address is the name of a client
			running.Go(func() { c.pass(server, client, link, false) })
			running.Go(func() { c.pass(client, server, link, true) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		c.mu.Lock()
		for conn := range c.conns {
			_ = conn.Close()
		}
		c.mu.Unlock()
		running.Wait()
	})
	u.Host = listener.Addr().String()
	return c, u.String()
}

// arm has the cut made behind n bytes; negative: none, the bytes are counted only.
func (c *cutter) arm(back bool, n int, hit func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.link, c.back, c.left, c.hit, c.passed = true, nil, back, n, hit, [2]int{}
}

// disarm returns the bytes that have passed since arm, to the server and to the client.
func (c *cutter) disarm() (out, back int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
	return c.passed[0], c.passed[1]
}

func (c *cutter) pass(to, from net.Conn, link *int, back bool) {
	defer func() {
		_, _ = to.Close(), from.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.conns, to)
		delete(c.conns, from)
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		piece, hit, cut := c.count(buf[:n], link, back)
		if _, err := to.Write(piece); err != nil {
			return
		}
		if cut {
			return
		}
		if hit != nil {
			hit()
		}
		if _, err := to.Write(buf[len(piece):n]); err != nil {
			return
		}
	}
}

// count returns what may pass, and what is done then: something else comes before
// the rest, or the connection is cut.
func (c *cutter) count(piece []byte, link *int, back bool) (passing []byte, hit func(), cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed && c.link == nil {
		c.link = link
	}
	if !c.armed || c.link != link { // such as a cancel request's
		return piece, nil, false
	}
	i := 0
	if back {
		i = 1
	}
	c.passed[i] += len(piece)
	if back != c.back || c.left < 0 {
		return piece, nil, false
	}
	if len(piece) < c.left {
		c.left -= len(piece)
		return piece, nil, false
	}
	piece, c.left = piece[:c.left], -1
	return piece, c.hit, c.hit == nil
}

// TestCutAtEveryByte cuts the connection, or cancels the context, behind each byte
// of either direction of a statement and of a transaction of two. Whoever was told
// nil finds everything stored, whoever was told of an error nothing or everything;
// rows are the tenant's own; the pool is whole afterwards.
func TestCutAtEveryByte(t *testing.T) { forForms(t, testCutAtEveryByte) }

func testCutAtEveryByte(t *testing.T, form option) {
	f := newFixture(t, 2)
	cut, tapped := startCutter(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction))
	db := open(t, tapped, form, func(c *poolproof.Config) { c.MaxConns = 1 })
	s := db.Tenant(tenant(0))
	const insert = "insert into documents (tenant_id, body) values ($1, $2) returning tenant_id::text"
	read := func(row pgx.Row) error {
		var owner string
		err := row.Scan(&owner)
		if err == nil && owner != tenant(0) {
			t.Errorf("a row of %s", owner)
		}
		return err
	}
	mark := func(what ...any) string { return fmt.Sprintf("%-40s", fmt.Sprint(what...)) } // of one length
	every := pgtest.Pick(197, 1)                                                          // bytes
	for name, work := range map[string]struct {
		rows int // that are stored
		run  func(ctx context.Context, mark string) error
	}{
		"a statement": {1, func(ctx context.Context, mark string) error {
			_, err := s.Exec(ctx, insert, tenant(0), mark)
			return err
		}},
		"a row": {1, func(ctx context.Context, mark string) error { return read(s.QueryRow(ctx, insert, tenant(0), mark)) }},
		"a transaction": {2, func(ctx context.Context, mark string) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				if err := read(tx.QueryRow(ctx, insert, tenant(0), mark)); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, insert, tenant(0), mark)
				return err
			})
		}},
	} {
		connect := func() { // anew, and with nothing but this known to the server
			cut.arm(false, 0, nil)
			_ = work.run(t.Context(), "cut at once")
			cut.disarm()
			if _, err := s.Exec(t.Context(), "select 1"); err != nil {
				t.Fatal(err)
			}
		}
		if err := work.run(t.Context(), "described"); err != nil {
			t.Fatal(err)
		}
		connect()
		cut.arm(false, -1, nil)
		if err := work.run(t.Context(), mark("measured")); err != nil {
			t.Fatal(err)
		}
		out, in := cut.disarm()
		told, runs := 0, 0
		for _, back := range []bool{false, true} {
			size := out
			if back {
				size = in
			}
			for n := size % every; n <= size; n += every { // the last is the whole
				for _, cancels := range []bool{false, true} {
					connect()
					runs++
					mark := mark(name, back, cancels, n)
					ctx, cancel := context.WithCancel(t.Context())
					var hit func()
					if cancels {
						hit = cancel
					}
					cut.arm(back, n, hit)
					err := work.run(ctx, mark)
					cut.disarm()
					if err == nil {
						told++
					}
					if err != nil && !errors.Is(err, poolproof.ErrUnavailable) && !errors.Is(err, context.Canceled) {
						t.Errorf("%s: %v", mark, err)
					}
					cancel()
					var stored int
					waitFor(t, mark+": rows", func() bool { // what was sent may be on its way yet
						stored = f.count(t, "select count(*) from documents where body = $1", mark)
						return err != nil || stored == work.rows
					})
					if stored != 0 && stored != work.rows {
						t.Errorf("%s: %d rows of %d", mark, stored, work.rows)
					}
					if db.Stat().AcquiredConns() != 0 {
						t.Fatalf("%s: a connection is lost", mark)
					}
					next := func() error {
						return read(s.QueryRow(t.Context(), "select distinct tenant_id::text from documents"))
					}
					nextErr := next()
					if err == nil && errors.Is(nextErr, poolproof.ErrUnavailable) { // cut behind the last answer: it is this one that meets it
						nextErr = next()
					}
					if nextErr != nil {
						t.Errorf("%s: the next statement: %v", mark, nextErr)
					}
				}
			}
		}
		t.Logf("%s: %d bytes out, %d back, %d runs, %d of them were told of success", name, out, in, runs, told)
	}
}

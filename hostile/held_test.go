package hostile

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A pipeline without its Sync holds the server connection: found while the client
// waits, and when it leaves. One that is only slow, or whose server is, does not.
func TestPipelineWithoutSync(t *testing.T) {
	const want = "PP022 pipeline without its Sync"
	ask := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{parse("", sql), bind(""), executing, flushing}
	}
	until := func(c raw) {
		c.Helper()
		for {
			msg, err := c.ReceiveMessage(c.Context())
			switch msg.(type) {
			case *pgproto3.CommandComplete, *pgproto3.ErrorResponse:
				return
			}
			if err != nil && msg == nil {
				c.Fatal(err)
			}
		}
	}
	for _, observe := range []bool{false, true} {
		t.Run("held", func(t *testing.T) {
			p, url, _ := testPooler(t, Config{IdleBound: 50 * time.Millisecond, Observe: observe})
			c := rawClient(t, url)
			c.send(ask("select 1")...)
			until(c)
			eventually(t, "it is found", func() bool { return slices.Equal(found(p), []string{want}) })
			if code := c.ask(syncing); code != "" {
				t.Error(code)
			}
			wantFound(t, p, want)
		})
		t.Run("held after an error", func(t *testing.T) {
			p, url, _ := testPooler(t, Config{IdleBound: 50 * time.Millisecond, Observe: observe})
			c := rawClient(t, url)
			c.send(ask("select 1/0")...)
			until(c)
			eventually(t, "it is found", func() bool { return slices.Equal(found(p), []string{want}) })
		})
		t.Run("the server is slow", func(t *testing.T) {
			p, url, _ := testPooler(t, Config{IdleBound: 50 * time.Millisecond, Observe: observe})
			c := rawClient(t, url)
			c.send(append(ask("select 1")[:3], ask("select pg_sleep(0.4)")...)...)
			until(c)
			until(c)
			if code := c.ask(syncing); code != "" {
				t.Error(code)
			}
			wantFound(t, p)
		})
		t.Run("it goes on", func(t *testing.T) {
			p, url, _ := testPooler(t, Config{Observe: observe})
			c := rawClient(t, url)
			for range 5 {
				c.send(parse("", "select 1"), &pgproto3.Describe{ObjectType: 'S'}, flushing)
				if msg, err := c.ReceiveMessage(t.Context()); err != nil {
					t.Errorf("%T %v", msg, err)
				}
				if code := c.ask(bind(""), executing, syncing); code != "" {
					t.Error(code)
				}
			}
			_ = c.Close(t.Context()) // it is over
			eventually(t, "it has left", func() bool { sessions, _, _ := p.counts(); return sessions == 0 })
			wantFound(t, p)
		})
	}
}

// Rows of a COPY that come after its error are found, unless the client goes on,
// or is in a transaction.
func TestRowsAfterTheError(t *testing.T) {
	const want = "PP022 rows of a COPY after its error"
	row := &pgproto3.CopyData{Data: []byte("1\n")}
	fail := func(c raw) {
		c.Helper()
		c.send(query("copy t from stdin"), &pgproto3.CopyData{Data: []byte("no number\n")})
		if code := c.answers(); code != "22P02" {
			c.Errorf("answered %q", code)
		}
		c.send(row, row, &pgproto3.CopyDone{})
	}
	for profile, found := range map[string]bool{"strict": true, "pgbouncer-1.18": true, "pgbouncer-1.24": true, "supavisor": false} {
		for _, observe := range []bool{false, true} {
			t.Run(profile, func(t *testing.T) {
				p, url, direct := testPooler(t, Config{Profile: profile, Observe: observe, IdleBound: 50 * time.Millisecond})
				exec(t, connect(t, direct, "exec"), "create table t (n int)")
				c := rawClient(t, url)
				fail(c)
				if found {
					eventually(t, "it is found", func() bool { return len(p.Report().Findings) > 0 })
					wantFound(t, p, want)
				}
				if code := c.ask(query("copy t from stdin"), row, &pgproto3.CopyDone{}); code != "" {
					t.Errorf("the next COPY is answered %q", code)
				}
				if !found {
					wantFound(t, p)
				}
			})
		}
	}
	for _, observe := range []bool{false, true} {
		p, url, direct := testPooler(t, Config{Observe: observe})
		exec(t, connect(t, direct, "exec"), "create table t (n int)")
		c := rawClient(t, url)
		for range 3 {
			fail(c)
			if code := c.ask(query("select 1")); code != "" {
				t.Error(code)
			}
		}
		c.ask(query("begin"))
		fail(c)
		if code := c.ask(query("rollback")); code != "" {
			t.Error(code)
		}
		_ = c.Close(t.Context()) // it is over
		eventually(t, "it has left", func() bool { sessions, _, _ := p.counts(); return sessions == 0 })
		wantFound(t, p)
	}
}

// An answer that its client does not read is a warning; the client still gets it
// whole.
func TestAnswerThatIsNotRead(t *testing.T) {
	for _, observe := range []bool{false, true} {
		p, url, _ := testPooler(t, Config{IdleBound: 50 * time.Millisecond, Observe: observe})
		const long = "select repeat('x', 1000) from generate_series(1, 100000)"
		c := rawClient(t, url)
		c.send(query(long))
		eventually(t, "it is found", func() bool { return slices.Equal(found(p), []string{"PP022 answer that its client does not read"}) })
		if f := p.Report().Findings[0]; f.Severity != Warning || f.First.SQL != long {
			t.Errorf("%+v", f)
		}
		if code := c.answers(); code != "" {
			t.Error(code)
		}
	}
}

// A COPY whose rows do not come is a warning; one whose rows come, or whose client
// leaves, is nothing.
func TestCopyThatWaits(t *testing.T) {
	for _, observe := range []bool{false, true} {
		p, url, direct := testPooler(t, Config{IdleBound: 50 * time.Millisecond, Observe: observe})
		exec(t, connect(t, direct, ""), "create table copied (n int)")
		c := rawClient(t, url)
		begin := func() {
			c.send(&pgproto3.Query{String: "copy copied from stdin"})
			for {
				msg, err := c.ReceiveMessage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := msg.(*pgproto3.CopyInResponse); ok {
					return
				}
			}
		}
		slow := &pgproto3.Query{String: "with slow as (select pg_sleep(0.3)) select from slow; copy copied from stdin"}
		if code := c.ask(slow, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}); code != "" {
			t.Error(code)
		}
		wantFound(t, p)
		begin()
		eventually(t, "it is found", func() bool { return slices.Equal(found(p), []string{"PP022 COPY that waits for its rows"}) })
		if f := p.Report().Findings[0]; f.Severity != Warning || f.First.SQL != "copy copied from stdin" {
			t.Errorf("%+v", f)
		}
		if code := c.ask(&pgproto3.CopyDone{}); code != "" {
			t.Error(code)
		}
	}
}

package hostile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// memory watches the heap while f runs. It returns the most that was in use beyond
// what was in use before, where garbage is collected as Go does by default.
func memory(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	var most uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
		}
	})
	f()
	close(done)
	wg.Wait()
	if most < before.HeapAlloc {
		return 0
	}
	return most - before.HeapAlloc
}

// rows is n lines of COPY text, of which it never holds all.
type rows struct {
	n, i int
	rest []byte
}

func (r *rows) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.i == r.n {
			return 0, io.EOF
		}
		var buf bytes.Buffer
		for range 1000 {
			if r.i < r.n {
				r.i++
				fmt.Fprintf(&buf, "%d\trow\n", r.i)
			}
		}
		r.rest = buf.Bytes()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// 60,000 rows go in by COPY (in the soak a million), 64 MiB come out (a gibibyte),
// in constant memory.
func TestLargeTransfers(t *testing.T) {
	p, url, _ := testPooler(t, Config{})
	c := connect(t, url, "exec")
	exec(t, c, "create table t (id int, v text)")
	n, size := pgtest.Pick(60_000, 1_000_000), pgtest.Pick(64<<20, 1<<30)
	const bound = 48 << 20 // of both sides, the client's buffers and the garbage between collections included
	used := memory(func() {
		tag, err := c.PgConn().CopyFrom(t.Context(), &rows{n: n}, "copy t from stdin")
		if err != nil || tag.RowsAffected() != int64(n) {
			t.Errorf("%v, %v", tag, err)
		}
	})
	if used > bound {
		t.Errorf("%d rows took %d MiB", n, used>>20)
	}
	var out counter
	used = memory(func() {
		if _, err := c.PgConn().CopyTo(t.Context(), &out, fmt.Sprintf("copy (select repeat('x', 1023) from generate_series(1, %d)) to stdout", size/1024)); err != nil {
			t.Error(err)
		}
	})
	if out != counter(size) || used > bound {
		t.Errorf("%d bytes took %d MiB", out, used>>20)
	}
	// One value larger than any buffer, and a statement that is.
	big := strings.Repeat("y", 20<<20)
	if err := c.QueryRow(t.Context(), "select length($1::text)", big).Scan(&n); err != nil || n != len(big) {
		t.Errorf("%d, %v", n, err)
	}
	if err := c.QueryRow(t.Context(), "select length('"+big+"')").Scan(&n); err != nil || n != len(big) {
		t.Errorf("%d, %v", n, err)
	}
	wantFound(t, p)
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// What programs do besides the plain things: notices, errors, COPY that fails
// on either side, rows by Flush without Sync, function calls, notifications in
// a transaction.
func TestProtocol(t *testing.T) {
	for _, observe := range []bool{false, true} {
		t.Run(fmt.Sprintf("observe %v", observe), func(t *testing.T) {
			p, url, _ := testPooler(t, Config{Observe: observe})
			cfg, err := pgx.ParseConfig(url + "&default_query_exec_mode=exec")
			if err != nil {
				t.Fatal(err)
			}
			var notices []string
			cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Message) }
			c, err := pgx.ConnectConfig(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(t.Context()) //nolint:errcheck // it is over
			exec(t, c, "create table t (id int primary key)")
			exec(t, c, "do $$begin raise notice 'hello'; end$$")
			if len(notices) != 1 || notices[0] != "hello" {
				t.Errorf("notices %q", notices)
			}
			var pg *pgconn.PgError
			if _, err := c.Exec(t.Context(), "select 1/0"); !errors.As(err, &pg) || pg.Code != "22012" {
				t.Errorf("%v", err)
			}
			if _, err := c.PgConn().CopyFrom(t.Context(), strings.NewReader("1\nx\n2\n"), "copy t from stdin"); !errors.As(err, &pg) || pg.Code != "22P02" {
				t.Errorf("copy of a wrong row: %v", err)
			}
			if _, err := c.PgConn().CopyFrom(t.Context(), io.MultiReader(strings.NewReader("1\n"), failing{}), "copy t from stdin"); err == nil {
				t.Error("copy from a source that fails")
			}
			if _, err := c.PgConn().CopyFrom(t.Context(), strings.NewReader("7\n8\n"), "copy t from stdin"); err != nil {
				t.Error(err)
			}
			batch := &pgx.Batch{}
			for i := range 100 {
				batch.Queue("insert into t values ($1)", 100+i)
			}
			if err := c.SendBatch(t.Context(), batch).Close(); err != nil {
				t.Error(err)
			}
			pipeline := c.PgConn().StartPipeline(t.Context())
			for range 3 {
				pipeline.SendQueryParams("select count(*) from t", nil, nil, nil, nil)
				pipeline.SendFlushRequest()
				if err := pipeline.Flush(); err != nil {
					t.Fatal(err)
				}
				result, err := pipeline.GetResults()
				if err != nil {
					t.Fatal(err)
				}
				if r := result.(*pgconn.ResultReader).Read(); r.Err != nil || string(r.Rows[0][0]) != "102" {
					t.Errorf("%+v", r)
				}
			}
			if err := errors.Join(pipeline.Sync(), pipeline.Close()); err != nil {
				t.Error(err)
			}
			if _, err := c.Exec(t.Context(), "begin"); err != nil {
				t.Error(err)
			}
			exec(t, c, "select 1")
			exec(t, c, "rollback")
			if rows, err := c.Query(t.Context(), "select generate_series(1, 100000)"); err != nil {
				t.Error(err)
			} else if got, err := pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || len(got) != 100000 {
				t.Errorf("%d rows, %v", len(got), err)
			}
			functionCall(t, c)
			wantFound(t, p)
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no more") }

// functionCall calls int4pl by its oid, as programs of old did.
func functionCall(t *testing.T, c *pgx.Conn) {
	t.Helper()
	fe := c.PgConn().Frontend()
	fe.Send(&pgproto3.FunctionCall{Function: 177, ArgFormatCodes: []uint16{0}, Arguments: [][]byte{[]byte("2"), []byte("40")}})
	if err := fe.Flush(); err != nil {
		t.Fatal(err)
	}
	answer := ""
	for {
		msg, err := c.PgConn().ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch msg := msg.(type) {
		case *pgproto3.FunctionCallResponse:
			answer = string(msg.Result)
		case *pgproto3.ReadyForQuery:
			if answer != "42" {
				t.Errorf("2 + 40 is %q", answer)
			}
			return
		}
	}
}

// A cancel request reaches the query of the client that sent it, and nobody
// else's, also when it comes as the query ends.
func TestCancel(t *testing.T) {
	_, url, _ := testPooler(t, Config{MaxServerConns: 2})
	c := connect(t, url, "exec")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	other, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background()) //nolint:errcheck // it is over
	if _, err := c.Exec(ctx, "select pg_sleep(30)"); err == nil {
		t.Error("it slept")
	}
	_ = c

	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		bystander := connect(t, url, "exec")
		wg.Go(func() {
			for !stop.Load() {
				if _, err := bystander.Exec(t.Context(), "select 1"); err != nil {
					t.Errorf("a bystander: %v", err)
					return
				}
			}
		})
	}
	for range 100 { // a query that ends about when the request comes
		result := other.ExecParams(t.Context(), "select pg_sleep(0.001)", nil, nil, nil, nil)
		wg.Go(func() { _ = other.CancelRequest(t.Context()) })
		result.Read()
	}
	stop.Store(true)
	wg.Wait()
}

// counts returns how many sessions and server connections there are.
func (p *Pooler) counts() (sessions, backends, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sessions = len(p.sessions)
	for _, pl := range p.pools {
		pl.mu.Lock()
		backends += len(pl.all)
		idle += len(pl.idle)
		pl.mu.Unlock()
	}
	return sessions, backends, idle
}

// eventually waits until another goroutine makes f true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came: %s", what)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

// A client that vanishes, in a transaction, in the middle of a COPY, while it
// waits, while it is answered, leaves nothing: no session, no server connection
// that is held, no transaction; and nobody else notices.
func TestClientsThatVanish(t *testing.T) {
	p, url, direct := testPooler(t, Config{MaxServerConns: 4})
	watcher := connect(t, direct, "exec")
	exec(t, watcher, "create table t (id int)")
	bystander := connect(t, url, "exec")
	for name, leave := range map[string]func(c *pgconn.PgConn){
		"in a transaction": func(c *pgconn.PgConn) {
			_, _ = c.Exec(t.Context(), "begin; insert into t values (1)").ReadAll()
		},
		"in the middle of a COPY": func(c *pgconn.PgConn) {
			c.Frontend().Send(&pgproto3.Query{String: "copy t from stdin"})
			_ = c.Frontend().Flush()
			_, _ = c.ReceiveMessage(t.Context())
			c.Frontend().Send(&pgproto3.CopyData{Data: []byte("1\n2\n")})
			_ = c.Frontend().Flush()
		},
		"while it waits": func(c *pgconn.PgConn) {
			c.Frontend().Send(&pgproto3.Query{String: "insert into t select 1 from pg_sleep(20)"})
			_ = c.Frontend().Flush()
		},
		"while it is answered": func(c *pgconn.PgConn) {
			c.Frontend().Send(&pgproto3.Query{String: "select repeat('x', 1000) from generate_series(1, 1000000)"})
			_ = c.Frontend().Flush()
			_, _ = c.ReceiveMessage(t.Context())
		},
		"in a message": func(c *pgconn.PgConn) {
			_, _ = c.Conn().Write([]byte{'P', 0, 0, 1, 0, 'x'})
		},
		"between a Parse and its Sync": func(c *pgconn.PgConn) {
			c.Frontend().Send(&pgproto3.Parse{Query: "select 1"})
			_ = c.Frontend().Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := pgconn.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			leave(c)
			_ = c.Conn().Close()
			eventually(t, "one session is left, and every server connection is idle", func() bool {
				sessions, backends, idle := p.counts()
				return sessions == 1 && backends == idle
			})
			exec(t, bystander, "select 1")
			eventually(t, "no transaction is left on the server", func() bool {
				var n int
				if err := watcher.QueryRow(t.Context(), `select count(*) from pg_stat_activity
					where datname = current_database() and pid <> pg_backend_pid() and (state <> 'idle' or xact_start is not null)`).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n == 0
			})
		})
	}
	var n int
	if err := watcher.QueryRow(t.Context(), "select count(*) from t").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows were left, %v", n, err)
	}
}

// A server connection that dies takes its client along, if it has one; others
// go on.
func TestServerConnectionsThatDie(t *testing.T) {
	p, url, direct := testPooler(t, Config{})
	watcher := connect(t, direct, "exec")
	bystander, victim := connect(t, url, "exec"), connect(t, url, "exec")
	exec(t, bystander, "select 1")
	exec(t, victim, "begin")
	exec(t, watcher, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'")
	if _, err := victim.Exec(t.Context(), "select 1"); err == nil {
		t.Error("the victim goes on")
	}
	for range 5 {
		exec(t, bystander, "select 1")
	}
	// All that are idle: nobody has them, so nobody notices.
	exec(t, watcher, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	eventually(t, "the pooler knows", func() bool { _, backends, _ := p.counts(); return backends == 0 })
	for range 5 {
		exec(t, bystander, "select 1")
	}
	wantFound(t, p)
}

// Many clients at once, each in transactions of its own, on few server
// connections: everybody gets their own answers.
func TestManyClients(t *testing.T) {
	p, url, _ := testPooler(t, Config{MaxServerConns: 3})
	var wg sync.WaitGroup
	for i := range 16 {
		c := connect(t, url, "exec")
		wg.Go(func() {
			for n := range 40 {
				var mine, in int
				tx, err := c.Begin(t.Context())
				if err == nil {
					err = tx.QueryRow(t.Context(), "select $1::int, $2::int", i, n).Scan(&mine, &in)
				}
				if err == nil {
					err = tx.Commit(t.Context())
				}
				if err != nil || mine != i || in != n {
					t.Errorf("client %d, %d: got %d, %d, %v", i, n, mine, in, err)
					return
				}
			}
		})
	}
	wg.Wait()
	wantFound(t, p)
}

// slow is a connection on which the first write returns late, when the answer is
// there.
type slow struct {
	net.Conn
	once sync.Once
}

func (c *slow) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.once.Do(func() { time.Sleep(100 * time.Millisecond) })
	return n, err
}

// Nothing of what a server answers is lost on a busy machine: pgconn reads ahead
// when a write takes more than 15 ms.
func TestSlowWriting(t *testing.T) {
	p, url, _ := testPooler(t, Config{MaxServerConns: 1})
	p.upstream.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &slow{Conn: conn}, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), ioTimeout/2)
	defer cancel()
	c := connect(t, url, "exec")
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
}

package hostile

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// forms are the two forms of the pooler, strict and observing.
var forms = map[string]Config{"strict": {}, "observe": {Observe: true}}

// conversation is a connection on which a test writes the client's bytes.
type conversation struct {
	*stream
	t *testing.T
}

func converse(t *testing.T, to string) *conversation {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &conversation{newStream(conn), t}
}

// request sends a packet without a type.
func (c *conversation) request(packet []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(startupMessage(packet)); err != nil {
		c.t.Fatal(err)
	}
}

// starts sends a startup packet of a version, with names and values.
func (c *conversation) starts(version uint32, params ...string) {
	c.t.Helper()
	packet := binary.BigEndian.AppendUint32(nil, version)
	for _, p := range params {
		packet = append(append(packet, p...), 0)
	}
	c.request(append(packet, 0))
}

// sendPassword answers the pooler's request for a password.
func (c *conversation) sendPassword(password string) {
	c.t.Helper()
	if got := c.until("RE"); got['R'] != "\x00\x00\x00\x03" {
		c.t.Fatalf("it does not ask for a password: %q", got)
	}
	msg := binary.BigEndian.AppendUint32([]byte{'p'}, uint32(4+len(password)+1))
	if _, err := c.conn.Write(append(append(msg, password...), 0)); err != nil {
		c.t.Fatal(err)
	}
}

// until reads messages up to one of these types. It returns the last of each type,
// except ParameterStatus.
func (c *conversation) until(types string) map[byte]string {
	c.t.Helper()
	got := map[byte]string{}
	for {
		f, err := c.peek()
		if err != nil {
			c.t.Fatalf("%v, after %q", err, got)
		}
		body, err := c.readBody(f)
		if err != nil {
			c.t.Fatal(err)
		}
		if f.typ != 'S' {
			got[f.typ] = string(body)
		}
		if strings.IndexByte(types, f.typ) >= 0 {
			return got
		}
	}
}

// A client that asks for encryption of either kind and for a newer protocol is
// answered as by the server.
func TestIntroduction(t *testing.T) {
	introduce := func(t *testing.T, to string, codes ...uint32) string {
		c := converse(t, to)
		for _, code := range codes {
			c.request(binary.BigEndian.AppendUint32(nil, code))
			answer := make([]byte, 1)
			if _, err := io.ReadFull(c.conn, answer); err != nil || answer[0] != 'N' {
				t.Errorf("%d: %q, %v", code, answer, err)
			}
		}
		c.starts(3<<16|2, "user", userOf(t, to), "database", databaseOf(t, to), "_pq_.poolproof", "1", "_pq_.other", "")
		offered := ""
		if password := passwordOf(t, to); password != "" {
			offered = c.until("v")['v']
			c.sendPassword(password)
		}
		got := c.until("ZE")
		got['v'] += offered
		if _, ok := got['Z']; !ok || len(got['K']) < 8 {
			t.Errorf("%q", got)
		}
		if _, err := c.conn.Write(wireQuery("select 42")); err != nil {
			t.Fatal(err)
		}
		if row := c.until("ZE")['D']; !strings.HasSuffix(row, "42") {
			t.Errorf("the row %q", row)
		}
		if err := c.conn.Close(); err != nil {
			t.Error(err)
		}
		return got['v']
	}
	for form, cfg := range forms {
		t.Run(form, func(t *testing.T) {
			p, pooled, direct := testPooler(t, cfg)
			if want, got := introduce(t, direct, sslCode), introduce(t, pooled, sslCode, gssCode, sslCode); got != want || want == "" {
				t.Errorf("the server offers %q, the pooler %q", want, got)
			}
			old := converse(t, pooled)
			old.starts(2<<16, "user", "x")
			if got, _ := io.ReadAll(old.conn); len(got) == 0 || got[0] != 'E' || !strings.Contains(string(got), "protocol 2.0") {
				t.Errorf("protocol 2: %q", got)
			}
			eventually(t, "the sessions are gone", func() bool { sessions, backends, idle := p.counts(); return sessions == 0 && backends == idle })
		})
	}
}

func wireQuery(sql string) []byte {
	msg := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(4+len(sql)+1))
	return append(append(msg, sql...), 0)
}

func userOf(t *testing.T, to string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(to)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.User
}

func passwordOf(t *testing.T, to string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(to)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Password
}

func databaseOf(t *testing.T, to string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(to)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Database
}

// Bytes that are no startup packet end the connection, and nothing else.
func TestIntroductionsThatAreNone(t *testing.T) {
	for form, cfg := range forms {
		t.Run(form, func(t *testing.T) {
			p, pooled, _ := testPooler(t, cfg)
			for what, raw := range map[string][]byte{
				"a length of nothing": {0, 0, 0, 0, 0, 3, 0, 0}, "too long": {0x7f, 0, 0, 0, 0, 3, 0, 0}, "a browser": []byte("GET / HTTP/1.1\r\n\r\n"),
				"no user":          startupMessage([]byte{0, 3, 0, 0, 0}),
				"a name that ends": startupMessage([]byte{0, 3, 0, 0, 'u', 's'}),
				"a short cancel":   startupMessage(binary.BigEndian.AppendUint32(nil, cancelCode)),
			} {
				c := converse(t, pooled)
				if _, err := c.conn.Write(raw); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(c.conn)
				if err != nil && !errors.Is(err, syscall.ECONNRESET) || len(answer) > 0 && answer[0] != 'E' {
					t.Errorf("%s: %q, %v", what, answer, err)
				}
			}
			exec(t, connect(t, pooled, "exec"), "select 1")
			eventually(t, "only one session is left", func() bool { sessions, _, _ := p.counts(); return sessions == 1 })
		})
	}
}

// Replication needs the server itself: the strict form says so, the observing
// one passes the conversation through.
func TestReplication(t *testing.T) {
	for form, cfg := range forms {
		t.Run(form, func(t *testing.T) {
			p, pooled, direct := testPooler(t, cfg)
			c, err := pgconn.Connect(t.Context(), pooled+"&replication=database")
			if !cfg.Observe {
				if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "0A000" {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			results, err := c.Exec(t.Context(), "IDENTIFY_SYSTEM").ReadAll()
			if err != nil || len(results) != 1 || string(results[0].Rows[0][3]) != databaseOf(t, direct) {
				t.Errorf("%v, %v", results, err)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if sessions, backends, _ := p.counts(); sessions != 0 || backends != 0 {
				t.Errorf("%d sessions and %d server connections that are judged", sessions, backends)
			}
			watcher := connect(t, direct, "exec")
			eventually(t, "the server has no other connection", func() bool { return len(others(t, watcher)) == 0 })
		})
	}
}

// others are the applications on the server's other connections to this database.
func others(t *testing.T, c *pgx.Conn) []string {
	t.Helper()
	rows, err := c.Query(t.Context(), "select application_name from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() order by 1")
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Notifications come with the transaction that listens, and to a client that is
// observed whenever they are sent.
func TestNotifications(t *testing.T) {
	for form, cfg := range forms {
		t.Run(form, func(t *testing.T) {
			p, pooled, direct := testPooler(t, cfg)
			var heard []string
			pg, err := pgx.ParseConfig(pooled)
			if err != nil {
				t.Fatal(err)
			}
			pg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard = append(heard, n.Channel+" "+n.Payload) }
			c, err := pgx.ConnectConfig(t.Context(), pg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(t.Context()) //nolint:errcheck // it is over
			exec(t, c, "listen news; notify news, 'with it'")
			if !slices.Equal(heard, []string{"news with it"}) {
				t.Errorf("heard %q", heard)
			}
			wantFound(t, p, "PP008 news")
			if !cfg.Observe {
				return
			}
			exec(t, connect(t, direct, "exec"), "notify news, 'while it waits'")
			if err := c.PgConn().WaitForNotification(t.Context()); err != nil || !slices.Equal(heard, []string{"news with it", "news while it waits"}) {
				t.Errorf("heard %q, %v", heard, err)
			}
		})
	}
}

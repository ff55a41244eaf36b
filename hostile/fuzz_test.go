package hostile

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// wire returns messages as they go over the wire, one after another.
func wire(msgs ...pgproto3.Message) []byte {
	var all []byte
	for _, m := range msgs {
		var err error
		if all, err = m.Encode(all); err != nil {
			panic(err)
		}
	}
	return all
}

// readOnly is a connection from which these bytes come. It keeps what is written.
type readOnly struct {
	net.Conn
	r io.Reader
	w bytes.Buffer
}

func (c *readOnly) Read(b []byte) (int, error)  { return c.r.Read(b) }
func (c *readOnly) Write(b []byte) (int, error) { return c.w.Write(b) }

// Whatever comes, messages are passed on byte by byte, up to the first bytes that
// are no message.
func FuzzFrames(f *testing.F) {
	f.Add(wire(&pgproto3.Query{String: "select 1"}, &pgproto3.Terminate{}))
	f.Add(wire(&pgproto3.Parse{Name: "s", Query: "select $1", ParameterOIDs: []uint32{25}}, &pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte("x")}}, &pgproto3.Execute{}, &pgproto3.Sync{}))
	f.Add(wire(&pgproto3.CopyData{Data: bytes.Repeat([]byte("x"), bufferSize+100)}))
	f.Add([]byte{'Q', 0, 0, 0, 3})
	f.Add([]byte{'Q', 0xff, 0xff, 0xff, 0xff, 'x'})
	f.Add([]byte{'Q', 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		from, to := newStream(&readOnly{r: bytes.NewReader(in)}), newStream(&readOnly{})
		sent := 0
		for {
			msg, err := from.peek()
			if err != nil {
				break
			}
			if msg.size < headerSize || len(msg.raw) > msg.size || len(msg.raw) < headerSize {
				t.Fatalf("a message of %d bytes with %d at hand", msg.size, len(msg.raw))
			}
			bodyString(msg)
			size := msg.size
			if err := from.relay(msg, to); err != nil {
				break
			}
			sent += size
		}
		if err := to.flush(); err != nil {
			t.Fatal(err)
		}
		out := to.conn.(*readOnly).w.Bytes()
		if len(out) < sent || !bytes.HasPrefix(in, out) {
			t.Fatalf("%d bytes of messages, %d passed on, a beginning of the input: %v", sent, len(out), bytes.HasPrefix(in, out))
		}
	})
}

// Scanning any SQL ends, and finds the same a second time.
func FuzzScan(f *testing.F) {
	for _, sql := range []string{
		"select 1", "set app.x = 'y'; begin", `select "a""b".c, $tag$ x $tag$ /* /* */ */ -- end`, "select set_config('a.b', $1, true)",
		"E'\\'", "$$", "/*", "'", `"`, "select 1 /*route='%2Fx',file='a.py'*/", "(select 1)", ";;;", "create temp table t()", "\x00\xff",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		a, b := scan(sql, false), scan(sql, false)
		if a.mayLeaveState != b.mayLeaveState || len(a.statements) != len(b.statements) || len(a.words) > maxWords {
			t.Fatalf("%+v, then %+v", a, b)
		}
		scanFunctionBody(sql)
		newSchema([][]string{{"function", "f", sql}, {"policy", "t", sql}})
	})
}

// Whatever client and server say, in whatever order, a session ends when they
// have gone, and so does its server connection.
func FuzzSession(f *testing.F) {
	ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
	f.Add(wire(&pgproto3.Query{String: "select 1"}, &pgproto3.Terminate{}), wire(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, ready), uint8(0))
	f.Add(wire(&pgproto3.Parse{Query: "select $1"}, &pgproto3.Sync{}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}),
		wire(&pgproto3.ParseComplete{}, ready, &pgproto3.ParseComplete{}, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "08P01"}, ready), uint8(0))
	f.Add(wire(&pgproto3.Query{String: "copy t from stdin"}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}),
		wire(&pgproto3.CopyInResponse{}, &pgproto3.CommandComplete{CommandTag: []byte("COPY 1")}, ready), uint8(1))
	f.Add(wire(&pgproto3.Query{String: "set app.x = 1"}, &pgproto3.Query{String: "begin"}, &pgproto3.Query{String: "x"}),
		wire(ready, &pgproto3.ReadyForQuery{TxStatus: 'T'}, &pgproto3.NoticeResponse{Code: "25P01"}, &pgproto3.ReadyForQuery{TxStatus: 'E'}), uint8(2))
	f.Add(wire(&pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Describe{ObjectType: 'S', Name: "a"}, &pgproto3.Flush{}, &pgproto3.FunctionCall{}), wire(ready, ready, ready), uint8(3))
	f.Add(wire(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("y,,n=,r=x")}, &pgproto3.Query{String: "select 1"}),
		wire(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}}, &pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte("1234")}, ready, ready), uint8(0x41))
	f.Fuzz(func(t *testing.T, client, server []byte, flavour uint8) {
		x := newPair(t, Config{
			WaitTimeout: 20 * time.Millisecond, Observe: flavour&1 != 0, Profile: profiles[int(flavour>>1)%len(profiles)].Name,
		}, flavour&0x41 == 0x41)
		talk(x.client, client)
		talk(x.server, server)
		x.ended(t)
		if x.s.unanswered < 0 {
			t.Errorf("%d answers are wanted", x.s.unanswered)
		}
	})
}

// talk writes bytes and hangs up, and reads whatever comes meanwhile.
func talk(conn net.Conn, say []byte) {
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	go func() {
		_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		_, _ = conn.Write(say)
		_ = conn.Close()
	}()
}

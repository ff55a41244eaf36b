package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"
)

// letters are the messages that a server can send, each by a letter of its own.
// Rows are numbered, so that one shows where it came from.
const letters = "123ptTnDdFCISZezANKkcwbfva"

// message makes the message of a letter.
func message(letter byte, number int) pgproto3.BackendMessage {
	row := func(columns ...string) pgproto3.BackendMessage {
		m := &pgproto3.DataRow{}
		for _, c := range columns {
			m.Values = append(m.Values, []byte(c))
		}
		return m
	}
	switch letter {
	case '1':
		return &pgproto3.ParseComplete{}
	case '2':
		return &pgproto3.BindComplete{}
	case '3':
		return &pgproto3.CloseComplete{}
	case 'p':
		return &pgproto3.PortalSuspended{}
	case 't':
		return &pgproto3.ParameterDescription{ParameterOIDs: []uint32{25}}
	case 'T':
		return &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("n"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}}
	case 'n':
		return &pgproto3.NoData{}
	case 'D':
		return row(fmt.Sprint(number))
	case 'd':
		return row("too", "many")
	case 'F':
		return &pgproto3.FunctionCallResponse{Result: []byte("x")}
	case 'C':
		return &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}
	case 'I':
		return &pgproto3.EmptyQueryResponse{}
	case 'S':
		return &pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"}
	case 'Z':
		return &pgproto3.ReadyForQuery{TxStatus: 'I'}
	case 'z':
		return &pgproto3.ReadyForQuery{TxStatus: 'x'}
	case 'e':
		return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "22012", Message: "an error"}
	case 'A':
		return &pgproto3.NotificationResponse{PID: 1, Channel: "c", Payload: "p"}
	case 'N':
		return &pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "a notice"}
	case 'K':
		return &pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte{1, 2, 3, 4}}
	case 'k':
		return &pgproto3.ErrorResponse{} // without a code or anything else
	case 'c':
		return &pgproto3.CopyDone{}
	case 'w':
		return &pgproto3.CopyInResponse{OverallFormat: 0, ColumnFormatCodes: []uint16{0}}
	case 'b':
		return &pgproto3.CopyData{Data: []byte("data")}
	case 'f':
		return &pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "the end"}
	case 'v':
		return &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 0}
	case 'a':
		return &pgproto3.AuthenticationOk{}
	}
	panic("no such letter")
}

// reply is what the server of a test says to the next Sync.
type reply struct{ letters atomic.Pointer[string] }

// serve is a server that lets everybody in, and then says what reply holds to
// every Sync, well or not, and hangs up.
func serve(t testing.TB, r *reply) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				backend := pgproto3.NewBackend(conn, conn)
				startup, err := backend.ReceiveStartupMessage()
				if err != nil {
					return
				}
				if _, cancel := startup.(*pgproto3.CancelRequest); cancel {
					return
				}
				for _, letter := range "aKZ" {
					backend.Send(message(byte(letter), 0))
				}
				if backend.Flush() != nil {
					return
				}
				for {
					msg, err := backend.Receive()
					if err != nil {
						return
					}
					if _, sync := msg.(*pgproto3.Sync); !sync {
						continue
					}
					for i, letter := range *r.letters.Load() {
						backend.Send(message(byte(letter), i))
					}
					_ = backend.Flush()
					return
				}
			}()
		}
	}()
	return fmt.Sprintf("postgres://u@%s/d?sslmode=disable", listener.Addr())
}

// The answers that mean success to a call, a statement with a description and
// one without. It is written down here as a person reads the protocol, and
// not as script.go does it.
var (
	fine      = regexp.MustCompile(`^1 2 [Dd]* C 1 2 (T D*|n) [CI] 1 2 (D|d)* [CI] Z`)
	unasked   = strings.NewReplacer("S", "", "A", "", "N", "")
	fineIsOne = regexp.MustCompile(strings.ReplaceAll(fine.String(), " ", ""))
)

// checkAnswers sends a call and two statements, has the server say the letters, and
// holds what comes of it to the protocol: success only where every answer was
// there, in order; no row but those of the first statement; no panic; and
// a connection that lost step serves nobody.
func checkAnswers(t interface {
	Fatalf(string, ...any)
	Errorf(string, ...any)
}, url string, r *reply, said string) {
	r.letters.Store(&said)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pc, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer func() { _ = pc.Close(ctx) }()
	c := Of(pc, NewDescriptions(10))
	x, err := c.Run(ctx, Exec, []Call{{Fixed: NewFixed("select 1", 0)}}, Statement{SQL: "select n"}, Statement{SQL: "select m", NoRows: true})
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	var rows []string
	if _, _, err = x.Skip(); err == nil {
		if err = x.NextResult(); err == nil {
			result := x.Rows(nil)
			for result.Next() {
				var n string
				if err := result.Scan(&n); err != nil {
					t.Errorf("%q: scan: %v", said, err)
				}
				rows = append(rows, n)
			}
			if err = result.Err(); err == nil {
				err = x.NextResult()
			}
		}
	}
	if closeErr := x.Close(); err == nil {
		err = closeErr
	}
	asked := unasked.Replace(said)
	want := fineIsOne.FindString(asked)
	switch {
	case err == nil && want == "":
		t.Errorf("%q: success was told", said)
	case err != nil && want != "":
		t.Errorf("%q: %v", said, err)
	case err == nil:
		expected := 0
		if i := strings.IndexByte(want, 'T'); i >= 0 {
			expected = len(regexp.MustCompile(`^D*`).FindString(want[i+1:]))
		}
		if len(rows) != expected {
			t.Errorf("%q: %d rows instead of %d", said, len(rows), expected)
		}
	}
	var lost *LostStepError
	if errors.As(err, &lost) && c.Idle() {
		t.Errorf("%q: a connection that lost step may serve again", said)
	}
	if err == nil && len(asked) > len(want) && c.Idle() {
		t.Errorf("%q: a connection with answers that nobody asked for may serve again", said)
	}
	if !c.Idle() {
		if _, err := c.Run(ctx, Exec, nil, Statement{SQL: "select 1"}); err == nil && c.Broken() {
			t.Errorf("%q: a broken connection took another statement", said)
		}
	}
}

// Seeds: right ones, and what poolers were seen to do.
var seeds = []string{
	"12C12TDDC12CZ", "12DC12nC12dDCZ", "12C12TI12IZ", "12I12TI12IZ",
	"12C12TDSADNC12CZ",
	"112C12TDC12CZ",   // Supavisor's stray ParseComplete, before
	"12C12TDC12C1Z",   // … at the end
	"12C12TDC12CZ1",   // … and after
	"12C1eZ",          // an error
	"12C12TDe1Z",      // Odyssey: an answer after an error
	"12C12TDCZ",       // one result too few
	"12C12TDC12C12CZ", // one too many
	"12C12TdC12CZ",    // a row of another shape
	"12C12DC12CZ",     // a row without its description
	"12C12nDC12CZ",    // a row where there is none
	"12C12TDC12Cz", "12C12TDpC12CZ", "12C12TDC12CZZ", "f", "k", "12C1k", "w", "12Cb", "v", "aKZ", "", "33", "2", "Z", "t", "F", "c", "p",
}

func FuzzAnswers(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	r := &reply{}
	url := serve(f, r)
	f.Fuzz(func(t *testing.T, said string) {
		valid := strings.Map(func(letter rune) rune {
			if strings.ContainsRune(letters, letter) {
				return letter
			}
			return -1
		}, said)
		checkAnswers(t, url, r, valid[:min(len(valid), 200)])
	})
}

// TestAnswersInAnyOrder is FuzzAnswers over sequences near right ones: a letter
// left out, doubled, changed or moved.
func TestAnswersInAnyOrder(t *testing.T) {
	r := &reply{}
	url := serve(t, r)
	rapid.Check(t, func(rt *rapid.T) {
		said := []byte(rapid.SampledFrom(seeds).Draw(rt, "seed"))
		for range rapid.IntRange(0, 3).Draw(rt, "changes") {
			i := rapid.IntRange(0, len(said)).Draw(rt, "at")
			letter := rapid.SampledFrom([]byte(letters)).Draw(rt, "letter")
			switch rapid.IntRange(0, 2).Draw(rt, "change") {
			case 0:
				said = append(said[:i:i], append([]byte{letter}, said[i:]...)...)
			case 1:
				if i < len(said) {
					said = append(said[:i:i], said[i+1:]...)
				}
			case 2:
				if i < len(said) {
					said[i] = letter
				}
			}
		}
		checkAnswers(rt, url, r, string(said))
	})
}

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

// serve is a server that lets everybody in, and then says what reply holds, well
// or not: to each Sync what stands up to the next |. Then it hangs up.
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
				said := *r.letters.Load()
				for {
					msg, err := backend.Receive()
					if err != nil {
						return
					}
					switch msg.(type) {
					case *pgproto3.Sync:
					case *pgproto3.Terminate:
						return
					default:
						continue
					}
					answer, rest, more := strings.Cut(said, "|")
					for i, letter := range answer {
						backend.Send(message(byte(letter), i))
					}
					if said = rest; backend.Flush() != nil || !more || !strings.ContainsAny(answer, "Zz") { // else both would wait
						return
					}
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
	// After these the connection may serve on: all was well, or it was up to one error.
	serves = regexp.MustCompile(fineIsOne.String() + `$|^` + upTo("1", "2", "[Dd]*", "C", "1", "2", "(TD*|n)", "[CI]", "1", "2", "[Dd]*", "[CI]") + `eZ$`)
)

// upTo matches any beginning of these.
func upTo(parts ...string) string {
	return "(" + strings.Join(parts, "(") + strings.Repeat(")?", len(parts))
}

// tester is a test, of rapid's or Go's own.
type tester interface {
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// checkAnswers sends a call and two statements, has the server say the letters, and
// holds what comes of it to the protocol: success only where every answer was
// there, in order; no row but those of the first statement; no panic; and
// a connection that lost step serves nobody.
func checkAnswers(t tester, url string, r *reply, said string) {
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
		if _, after, described := strings.Cut(want, "T"); described {
			expected = len(regexp.MustCompile(`^D*`).FindString(after))
		}
		if len(rows) != expected {
			t.Errorf("%q: %d rows instead of %d", said, len(rows), expected)
		}
	}
	var lost *LostStepError
	if closeErr := x.Close(); c.Broken() && strings.Contains(asked, "e") && !strings.ContainsAny(asked, "fkw") && !errors.As(closeErr, &lost) && strings.HasSuffix(asked, "Z") {
		t.Errorf("%q: an error that may be anybody's was told as ours: %v", said, closeErr)
	}
	if errors.As(err, &lost) && c.Idle() {
		t.Errorf("%q: a connection that lost step may serve again", said)
	}
	if may := serves.MatchString(asked); c.Idle() && !may || !c.Idle() && may && strings.HasSuffix(said, "Z") {
		t.Errorf("%q: that the connection may serve again is %v, after %v", said, c.Idle(), err)
	}
	if !c.Idle() {
		if _, err := c.Run(ctx, Exec, nil, Statement{SQL: "select 1"}); err == nil && c.Broken() {
			t.Errorf("%q: a broken connection took another statement", said)
		}
	}
}

// What a statement is that has a name: described in a round trip of its own, and
// then executed, with a description where it has none yet.
var fineNamed = regexp.MustCompile(`^(1tTZ\|2D*[CI]Z|1tnZ\|2(TD*|n)[CI]Z)`)

// checkNamed is checkAnswers for a statement with a name.
func checkNamed(t tester, url string, r *reply, said string) {
	r.letters.Store(&said)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pc, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer func() { _ = pc.Close(ctx) }()
	c := Of(pc, NewDescriptions(10))
	rows := 0
	x, err := c.Run(ctx, CacheStatement, nil, Statement{SQL: "select n where $1", Args: []any{"a"}})
	if err == nil {
		if err = x.NextResult(); err == nil {
			for result := x.Rows(nil); result.Next(); rows++ {
				var n string
				if err := result.Scan(&n); err != nil {
					t.Errorf("%q: scan: %v", said, err)
				}
			}
		}
		if closeErr := x.Close(); err == nil {
			err = closeErr
		}
	}
	asked := unasked.Replace(said)
	want := fineNamed.FindString(asked)
	if (err == nil) != (want != "") {
		t.Errorf("%q: %v", said, err)
	}
	if n := strings.Count(want, "D"); err == nil && n != rows {
		t.Errorf("%q: %d rows instead of %d", said, rows, n)
	}
	var lost *LostStepError
	if (errors.As(err, &lost) || err == nil && len(asked) > len(want)) && c.Idle() {
		t.Errorf("%q: may serve again after %v", said, err)
	}
}

// Seeds of checkNamed.
var namedSeeds = []string{
	"1tTZ|2DDCZ", "1tnZ|2nCZ", "1tTZ|2IZ", "1tTZ|2TDCZ", "1tTZ|12DCZ", "1TZ|2DCZ", "1ttTZ|2DCZ", "1tTTZ|2DCZ", "11tTZ|2DCZ", "1t|2DCZ",
	"1tTZ|eZ", "eZ|eZ", "1tTZ|2DCz", "1tTZ|2dCZ", "1tTZ|2DCC", "1tTZ|3Z", "3Z|3Z", "1tTZZ|2DCZ",
	"1tTZ2|DCZ", "1tTZA|2DCZ", // what comes before it was asked for: an answer, and a notification
}

// Seeds: right ones, and what poolers were seen to do.
var seeds = []string{
	"12C12TDDC12CZ", "12DC12nC12dDCZ", "12C12TI12IZ", "12I12TI12IZ",
	"12C12TDSADNC12CZ",
	"112C12TDC12CZ",   // Supavisor's stray ParseComplete, before
	"12C12TDC12C1Z",   // … at the end
	"12C12TDC12CZ1",   // … and after
	"12C1eZ",          // an error
	"12C1eeZ",         // … and somebody else's, or the other way round
	"12C1kZ",          // … without a code
	"12C1e2Z",         // … and an answer, so that whose it was is unknown
	"12C12TDe1Z",      // Odyssey: an answer after an error
	"12C12TDCZ",       // one result too few
	"12C12TDC12C12CZ", // one too many
	"12C12TdC12CZ",    // a row of another shape
	"12C12DC12CZ",     // a row without its description
	"12C12nDC12CZ",    // a row where there is none
	"12C12TDC12Cz", "12C12TDpC12CZ", "12C12TDC12CZZ", "f", "k", "12C1k", "w", "12Cb", "v", "aKZ", "", "33", "2", "Z", "t", "F", "c", "p",
}

func FuzzAnswers(f *testing.F) {
	for _, s := range append(seeds, namedSeeds...) {
		f.Add(s)
	}
	r := &reply{}
	url := serve(f, r)
	f.Fuzz(func(t *testing.T, said string) {
		valid := strings.Map(func(letter rune) rune {
			if strings.ContainsRune(letters+"|", letter) {
				return letter
			}
			return -1
		}, said)
		valid = valid[:min(len(valid), 200)]
		if strings.Contains(valid, "|") {
			checkNamed(t, url, r, valid)
			return
		}
		checkAnswers(t, url, r, valid)
	})
}

// TestAnswersInAnyOrder is FuzzAnswers over sequences near right ones: a letter
// left out, doubled, changed or moved.
func TestAnswersInAnyOrder(t *testing.T) {
	r := &reply{}
	url := serve(t, r)
	for _, said := range seeds {
		checkAnswers(t, url, r, said)
	}
	for _, said := range namedSeeds {
		checkNamed(t, url, r, said)
	}
	for what, check := range map[string]struct {
		seeds []string
		run   func(tester, string, *reply, string)
	}{"unnamed": {seeds, checkAnswers}, "named": {namedSeeds, checkNamed}} {
		t.Run(what, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { check.run(rt, url, r, changed(rt, check.seeds)) })
		})
	}
}

// changed is one of the seeds with up to three changes.
func changed(rt *rapid.T, seeds []string) string {
	said := []byte(rapid.SampledFrom(seeds).Draw(rt, "seed"))
	for range rapid.IntRange(0, 3).Draw(rt, "changes") {
		i := rapid.IntRange(0, len(said)).Draw(rt, "at")
		letter := rapid.SampledFrom([]byte(letters)).Draw(rt, "letter")
		switch change := rapid.IntRange(0, 2).Draw(rt, "change"); {
		case change == 0:
			said = append(said[:i:i], append([]byte{letter}, said[i:]...)...)
		case i == len(said) || said[i] == '|': // the server's turn stays where it is
		case change == 1:
			said = append(said[:i:i], said[i+1:]...)
		default:
			said[i] = letter
		}
	}
	return string(said)
}

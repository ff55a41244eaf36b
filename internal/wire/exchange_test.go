package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// connect opens a connection to the server, and the package's view of it.
func connect(t *testing.T, url string, cached int) *Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return Of(conn, NewDescriptions(cached))
}

// run sends statements after calls, reads every result, and returns the rows'
// first columns of each statement, and the exchange's error.
func run(t *testing.T, c *Conn, mode Mode, calls []Call, statements ...Statement) (results [][]string, err error) {
	t.Helper()
	x, err := c.Run(t.Context(), mode, calls, statements...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := x.Close(); err == nil {
			err = closeErr
		}
	}()
	for range calls {
		if _, _, err := x.Skip(); err != nil {
			return nil, err
		}
	}
	for _, st := range statements {
		if err := x.NextResult(); err != nil {
			return results, err
		}
		var firsts []string
		rows := x.Rows(nil)
		for !st.NoRows && rows.Next() {
			var first string
			if err := rows.Scan(&first); err != nil {
				return results, err
			}
			firsts = append(firsts, first)
		}
		results = append(results, firsts)
	}
	return results, nil
}

// exec runs one statement that must succeed.
func exec(t *testing.T, c *Conn, sql string) {
	t.Helper()
	if _, err := run(t, c, Exec, nil, Statement{SQL: sql, NoRows: true}); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// letters of what went over the wire, by turns: ">PBES <12CZ".
func lettersOf(messages []string) string {
	var b strings.Builder
	for _, m := range messages {
		direction, letter := m[:1], m[2:3]
		if spoken := b.String(); !strings.Contains(spoken, direction) || lastTurn(spoken) != direction {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(direction)
		}
		b.WriteString(letter)
	}
	return b.String()
}

func lastTurn(spoken string) string { return spoken[strings.LastIndexAny(spoken, "<>"):][:1] }

// What goes over the wire in each mode, the first time that a connection sends
// a text and the second. There is one Sync to each round trip, and ReadyForQuery
// is the last that is read.
func TestWhatIsSent(t *testing.T) {
	url := pgtest.Database(t)
	scope := NewFixed("select set_config('app.current_tenant_id', $1, true)", 1)
	calls := []Call{{Fixed: scope, Params: [][]byte{[]byte("acme")}}}
	text := Statement{SQL: "select current_setting('app.current_tenant_id') || $1::text", Args: []any{"!"}}
	typed := Statement{SQL: "select $1::timestamptz::text", Args: []any{time.Unix(0, 0)}}
	for _, tt := range []struct {
		name          string
		mode          Mode
		statement     Statement
		first, second string
	}{
		{"exec", Exec, text, ">PBEPBDES <12DC12TDCZ", ">PBEPBDES <12DC12TDCZ"},
		{"exec, an argument whose text depends on its type", Exec, typed, ">PDS <1tTZ >PBEPBDES <12DC12TDCZ", ">PBEPBDES <12DC12TDCZ"},
		{"cache_describe", CacheDescribe, text, ">PDS <1tTZ >PBEPBDES <12DC12TDCZ", ">PBEPBDES <12DC12TDCZ"},
		{"cache_statement", CacheStatement, text, ">PDS <1tTZ >PBEBES <12DC2DCZ", ">BEBES <2DC2DCZ"},
		{"without rows", Exec, Statement{SQL: text.SQL, Args: text.Args, NoRows: true}, ">PBEPBES <12DC12DCZ", ">PBEPBES <12DC12DCZ"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tapped, said := pgtest.Tap(t, url)
			c := connect(t, tapped, 10)
			said()
			for i, want := range []string{tt.first, tt.second} {
				got, err := run(t, c, tt.mode, calls, tt.statement)
				if err != nil || !tt.statement.NoRows && (len(got) != 1 || len(got[0]) != 1) {
					t.Fatalf("%v, %v", got, err)
				}
				if spoken := lettersOf(said()); spoken != want {
					t.Errorf("time %d: %s, want %s", i+1, spoken, want)
				}
				if !c.Idle() {
					t.Errorf("time %d: the connection is not idle", i+1)
				}
			}
		})
	}
}

// The settings of a call hold for the statements of its exchange and are gone
// with it, through a pooler too: the exchange is one implicit transaction.
func TestAnExchangeIsOneTransaction(t *testing.T) {
	url := pgtest.Database(t)
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement} {
		t.Run(kind.String(), func(t *testing.T) {
			c := connect(t, pgtest.Pooled(t, url, kind), 10)
			scope := Call{Fixed: NewFixed("select set_config('app.x', $1, true)", 1), Params: [][]byte{[]byte("here")}}
			ask := Statement{SQL: "select coalesce(nullif(current_setting('app.x', true), ''), 'unset')"}
			got, err := run(t, c, Exec, []Call{scope}, ask, ask)
			if want := [][]string{{"here"}, {"here"}}; err != nil || !slices.EqualFunc(got, want, slices.Equal) {
				t.Errorf("%v, %v", got, err)
			}
			if got, err := run(t, c, Exec, nil, ask); err != nil || got[0][0] != "unset" {
				t.Errorf("after it: %v, %v", got, err)
			}
			// One that fails undoes those before it.
			exec(t, c, "create table if not exists kept (n int)")
			_, err = run(t, c, Exec, nil, Statement{SQL: "insert into kept values (1)", NoRows: true}, Statement{SQL: "select (1 / 0)::text"})
			if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "22012" {
				t.Errorf("division by zero: %v", err)
			}
			if got, err := run(t, c, Exec, nil, Statement{SQL: "select count(*)::text from kept"}); err != nil || got[0][0] != "0" {
				t.Errorf("rows of the failed exchange: %v, %v", got, err)
			}
		})
	}
}

// What fails at the Sync is told by Close, and by every later one.
func TestTheSyncFails(t *testing.T) {
	c := connect(t, pgtest.Database(t), 10)
	exec(t, c, "create table once (n int unique deferrable initially deferred)")
	exec(t, c, "insert into once values (1)")
	x, err := c.Run(t.Context(), Exec, nil, Statement{SQL: "insert into once values (1) returning n::text"})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.NextResult(); err != nil {
		t.Fatalf("the statement itself: %v", err)
	}
	for range 2 {
		if pg, ok := errors.AsType[*pgconn.PgError](x.Close()); !ok || pg.Code != "23505" {
			t.Errorf("%v", x.Close())
		}
	}
	if !c.Idle() {
		t.Error("the connection is not idle")
	}
}

// A connection holds no more named statements than its capacity, and closes
// those that were used longest ago; one that somebody else has closed is told
// as lost, and nothing of its exchange was done.
func TestNamedStatements(t *testing.T) {
	const capacity = 3
	c := connect(t, pgtest.Database(t), capacity)
	for i := range 2 * capacity {
		if _, err := run(t, c, CacheStatement, nil, Statement{SQL: fmt.Sprintf("select '%d'", i)}); err != nil {
			t.Fatal(err)
		}
	}
	held, err := run(t, c, Exec, nil, Statement{SQL: "select statement from pg_prepared_statements where name like 'poolproof%' order by prepare_time"})
	if want := []string{"select '3'", "select '4'", "select '5'"}; err != nil || !slices.Equal(held[0], want) {
		t.Errorf("held: %v, %v", held, err)
	}
	exec(t, c, "deallocate all")
	_, err = run(t, c, CacheStatement, nil, Statement{SQL: "select '5'"})
	if lost, ok := errors.AsType[*StatementLostError](err); !ok {
		t.Errorf("%v (%v)", err, lost)
	}
	if !c.Idle() {
		t.Error("the connection is not idle")
	}
}

// Requests and answers of any size pass: what is sent and what is read do not
// wait for each other.
func TestLargeOnBothSides(t *testing.T) {
	c := connect(t, pgtest.Database(t), 10)
	big := strings.Repeat("x", 1<<20)
	var statements []Statement
	for range 16 {
		statements = append(statements, Statement{SQL: "select $1::text", Args: []any{big}})
	}
	got, err := run(t, c, Exec, nil, statements...)
	if err != nil {
		t.Fatal(err)
	}
	for i, firsts := range got {
		if len(firsts) != 1 || firsts[0] != big {
			t.Errorf("result %d is not what was sent", i)
		}
	}
}

// Insert stores all rows or none: a source that fails, panics or ends its
// goroutine takes the connection with it.
func TestInsert(t *testing.T) {
	url := pgtest.Database(t)
	setUp := connect(t, url, 10)
	exec(t, setUp, "create table numbers (n int)")
	for _, tt := range []struct {
		name string
		end  func() ([]any, error) // after three rows
		want int64
		text string
	}{
		{"to the end", func() ([]any, error) { return nil, nil }, 3, ""},
		{"an error", func() ([]any, error) { return nil, errors.New("no more paper") }, 0, "no more paper"},
		{"a panic", func() ([]any, error) { panic("at the disco") }, 0, "at the disco"},
		{"a value that cannot be encoded", func() ([]any, error) { return []any{struct{}{}}, nil }, 0, "encode"},
		{"one value too many", func() ([]any, error) { return []any{1, 2}, nil }, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			exec(t, setUp, "truncate numbers")
			c := connect(t, url, 10)
			sent := 0
			x, err := c.Insert(t.Context(), Exec, nil, "insert into numbers values ($1)", func() ([]any, error) {
				if sent == 3 {
					return tt.end()
				}
				sent++
				return []any{sent}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			n, err := x.Count()
			if closeErr := x.Close(); err == nil {
				err = closeErr
			}
			if n != tt.want || (err == nil) != (tt.want > 0) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%d rows, %v", n, err)
			}
			if c.Broken() != (err != nil) {
				t.Errorf("that the connection is broken is %v, after %v", c.Broken(), err)
			}
			if got, err := run(t, setUp, Exec, nil, Statement{SQL: "select count(*)::text from numbers"}); err != nil || got[0][0] != fmt.Sprint(tt.want) {
				t.Errorf("stored: %v, %v", got, err)
			}
		})
	}
}

// What is being written belongs to who writes it. When reading fails meanwhile, the
// driver ends the connection in a goroutine of its own: it sends Terminate and
// nothing of ours, which would be there twice, or in pieces.
func TestOneWriter(t *testing.T) {
	var (
		mu       sync.Mutex
		client   *net.TCPConn // of the first connection; the second is the cancel request
		sent     []byte
		finished = make(chan struct{}) // the driver has sent Terminate
		finish   = sync.OnceFunc(func() { close(finished) })
	)
	through := pgtest.Between(t, pgtest.Database(t), func(from, to net.Conn) {
		mu.Lock()
		first := client == nil
		if first {
			client = from.(*net.TCPConn) //nolint:forcetypeassert // a TCP listener's
		}
		mu.Unlock()
		end := func() { _, _ = from.Close(), to.Close() }
		go func() { defer end(); _, _ = io.Copy(from, to) }()
		go func() {
			defer end()
			if !first {
				_, _ = io.Copy(to, from)
				return
			}
			pgtest.Messages(to, from, true, func(kind byte, _ int) {
				mu.Lock()
				defer mu.Unlock()
				if sent = append(sent, kind); kind == 'X' {
					finish()
				}
			})
		}()
	})
	c := connect(t, through, 10)
	exec(t, c, "create temporary table numbers (n int)")
	rows := 0
	x, err := c.Insert(t.Context(), Exec, nil, "insert into numbers values ($1)", func() ([]any, error) {
		switch rows++; rows {
		case 2: // the first one waits to be written
			mu.Lock()
			sent = nil
			err := client.CloseWrite()
			mu.Unlock()
			if err != nil {
				return nil, err
			}
			select {
			case <-finished:
			case <-t.Context().Done():
				return nil, t.Context().Err()
			}
		case 3:
			return nil, nil
		}
		return []any{rows}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := x.Count(); err == nil {
		t.Errorf("%d rows, though the server said nothing", n)
	}
	_ = x.Close()
	mu.Lock()
	defer mu.Unlock()
	if len(sent) == 0 || sent[0] != 'X' {
		t.Errorf("%q was sent when the connection ended, want X first", sent)
	}
}

// A rider is bound to a parameter that the text does not name. What is wrong
// with it fails the statement before it is planned, and is told from what is
// wrong with the statement.
func TestRider(t *testing.T) {
	c := connect(t, pgtest.Database(t), 10)
	exec(t, c, "create domain short as text check (length(value) < 4)")
	oids, err := run(t, c, Exec, nil, Statement{SQL: "select 'short'::regtype::oid::text"})
	if err != nil {
		t.Fatal(err)
	}
	var oid uint32
	if _, err := fmt.Sscan(oids[0][0], &oid); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Mode{Exec, CacheDescribe, CacheStatement} {
		for _, tt := range []struct {
			name, sql, rider, code string
			riding                 bool // when it failed
		}{
			{"fits", "select $1::text", "abc", "", false},
			{"does not fit", "select $1::text", "abcd", "23514", true},
			{"the statement fails", "select (1 / (n - 7))::text from generate_series($1::text::int, 7) n", "abc", "22012", false},
		} {
			t.Run(fmt.Sprint(mode, " ", tt.name), func(t *testing.T) {
				x, err := c.Run(t.Context(), mode, nil, Statement{SQL: tt.sql, Args: []any{"7"}, Rider: Rider{OID: oid, Value: []byte(tt.rider)}})
				if err != nil {
					t.Fatal(err)
				}
				_ = x.NextResult()
				_ = x.Rows(nil).Next()
				riding := x.Riding()
				err = x.Close()
				pg, _ := errors.AsType[*pgconn.PgError](err)
				if tt.code == "" && err != nil || tt.code != "" && (pg == nil || pg.Code != tt.code) || riding != tt.riding {
					t.Errorf("riding %v, %v", riding, err)
				}
				if !c.Idle() {
					t.Error("the connection is not idle")
				}
			})
		}
	}
}

// An exchange whose context ends is over at once, with the context's error; its
// connection serves nobody any more. While one is open no other begins.
func TestContextEnds(t *testing.T) {
	c := connect(t, pgtest.Database(t), 10)
	ctx, cancel := context.WithCancel(t.Context())
	x, err := c.Run(ctx, Exec, nil, Statement{SQL: "select pg_sleep(60)::text"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(t.Context(), Exec, nil, Statement{SQL: "select 1"}); err == nil || !strings.Contains(err.Error(), "still open") {
		t.Errorf("a second exchange: %v", err)
	}
	cancel()
	if err := x.NextResult(); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := x.Close(); !errors.Is(err, context.Canceled) || !c.Broken() || c.Idle() {
		t.Errorf("%v, broken %v", err, c.Broken())
	}
	if _, err := c.Run(ctx, Exec, nil, Statement{SQL: "select 1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is over: %v", err)
	}
	c.Discard()
}

// Rows that are held when their exchange is given up answer why, not bytes of
// whoever has the connection next.
func TestRowsOfAnExchangeThatWasGivenUp(t *testing.T) {
	c := connect(t, pgtest.Database(t), 10)
	x, err := c.Run(t.Context(), Exec, nil, Statement{SQL: "select g::text from generate_series(1, 3) g"})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.NextResult(); err != nil {
		t.Fatal(err)
	}
	rows := x.Rows(nil)
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	over := errors.New("the transaction is over")
	if err := x.GiveUp(over); err != nil {
		t.Fatal(err)
	}
	var n string
	if err := rows.Scan(&n); !errors.Is(err, over) || n != "" || rows.RawValues() != nil {
		t.Errorf("Scan: %q, %v; raw %v", n, err, rows.RawValues())
	}
	if rows.Next() || !errors.Is(rows.Err(), over) {
		t.Errorf("Next: %v", rows.Err())
	}
	if got, err := run(t, c, Exec, nil, Statement{SQL: "select 'another'"}); err != nil || got[0][0] != "another" {
		t.Errorf("the connection serves on: %v, %v", got, err)
	}
}

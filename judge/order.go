package judge

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

var orderTrials = []Trial{
	{Name: "simple-query", Group: Order, run: simpleQuery, Right: "a Query is answered by its rows, its tag and one ReadyForQuery: everything else rests on it"},
	{Name: "several-statements", Group: Order, run: severalStatements, Right: "each statement of one Query has its own answer, in order, before one ReadyForQuery"},
	{Name: "empty-query", Group: Order, run: emptyQuery, Right: "an empty Query is answered as empty: drivers ping with it"},
	{Name: "extended-query", Group: Order, run: extendedQuery, Right: "Parse, Bind, Describe, Execute and Sync are each answered once, in order"},
	{Name: "fifty-syncs", Group: Order, run: fiftySyncs, Right: "fifty Syncs that are sent without waiting have fifty answers, in order: pipelining drivers do that"},
	{Name: "hundred-statements", Group: Order, run: hundredStatements, Right: "a hundred statements before one Sync are answered in order: batches do that"},
	{Name: "flush", Group: Order, run: flush, Right: "what came before a Flush is answered before there is a Sync: a client that waits for it waits for good otherwise"},
	{Name: "describe-statement", Group: Order, run: describeStatement, Right: "Describe of a statement names its parameters and columns: drivers encode by it"},
	{Name: "describe-portal", Group: Order, run: describePortal, Right: "Describe of a portal names its columns, or says that there are none"},
	{Name: "suspended-portal", Group: Order, run: suspendedPortal, Right: "Execute with a limit stops there and the next one goes on: drivers read large results so"},
	{Name: "two-portals", Group: Order, run: twoPortals, Right: "two portals that are read in turns each go on where they were"},
	{Name: "close-unknown", Group: Order, run: closeUnknown, Right: "Close of a name that is not there is no error"},
	{Name: "unnamed-replaced", Group: Order, run: unnamedReplaced, Right: "a second Parse without a name replaces the first"},
	{Name: "name-in-one-sync", Group: Order, run: nameInOneSync, Right: "a named statement can be made, used and closed before one Sync"},
	{Name: "byte-by-byte", Group: Order, run: byteByByte, Right: "messages that arrive one byte at a time are the same messages"},
	{Name: "at-4096-bytes", Group: Order, run: atBorders, Right: "messages that end around multiples of 4,096 bytes pass whole: buffers end there"},
	{Name: "16-mb-up", Group: Order, run: bigUp, Right: "a parameter of 16 MB arrives whole"},
	{Name: "16-mb-down", Group: Order, run: bigDown, Right: "a value of 16 MB arrives whole"},
	{Name: "1600-columns", Group: Order, run: manyColumns, Right: "a row of 1,600 columns, the most that PostgreSQL has, arrives whole"},
	{Name: "many-rows", Group: Order, run: manyRows, Right: "50,000 rows arrive, each once, in order"},
	{Name: "notices", Group: Order, run: notices, Right: "notices arrive, each where it was raised"},
	{Name: "parameter-status", Group: Order, run: parameterStatus, Right: "a setting that is reported is reported when it changes, and when it changes back: drivers read dates by it"},
	{Name: "null-and-empty", Group: Order, run: nullAndEmpty, Right: "NULL is NULL and an empty string is empty, in both directions"},
	{Name: "binary", Group: Order, run: binaryValues, Right: "binary parameters and results pass as they are, each of the 256 bytes"},
}

func simpleQuery(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect(queryAnswer(h.tag), query("select '"+h.tag+"'"))
}

func severalStatements(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect("T D(1) C(SELECT 1) T D(2) D(3) C(SELECT 2) T C(SELECT 0) Z(I)", query("select 1; select generate_series(2, 3); select 4 where false"))
}

func emptyQuery(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("I Z(I)", query("")); err != nil {
		return err
	}
	return c.expect("1 2 n I Z(I)", &pgproto3.Parse{}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, syncNow)
}

func extendedQuery(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect("1 2 T "+row(h.tag)+" C(SELECT 1) Z(I)",
		&pgproto3.Parse{Query: "select $1::text"}, &pgproto3.Bind{Parameters: [][]byte{[]byte(h.tag)}}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, syncNow)
}

func fiftySyncs(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	var messages []pgproto3.FrontendMessage
	var want []string
	for i := range 50 {
		value := fmt.Sprint("answer", i)
		messages = append(append(messages, statement("select $1::text", value)...), syncNow)
		want = append(want, statementAnswer(value), "Z(I)")
	}
	return c.expect(strings.Join(want, " "), messages...)
}

func hundredStatements(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	var messages []pgproto3.FrontendMessage
	var want []string
	for i := range 100 {
		value := fmt.Sprint("answer", i)
		messages = append(messages, statement("select $1::text", value)...)
		want = append(want, statementAnswer(value))
	}
	return c.expect(strings.Join(want, " ")+" Z(I)", append(messages, syncNow)...)
}

func flush(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.send(append(statement("select 'flushed'"), &pgproto3.Flush{})...); err != nil {
		return err
	}
	got, err := c.until("C(", "E(", "Z(")
	if err != nil {
		return err
	}
	if err := c.compare(got, statementAnswer("flushed")); err != nil {
		return err
	}
	return c.expect("Z(I)", syncNow)
}

func describeStatement(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("1 t[23 25] T Z(I)", &pgproto3.Parse{Query: "select $1::int4, $2::text"}, &pgproto3.Describe{ObjectType: 'S'}, syncNow); err != nil {
		return err
	}
	return c.expect("1 t[] n Z(I)", &pgproto3.Parse{Query: "do $$ begin end $$"}, &pgproto3.Describe{ObjectType: 'S'}, syncNow)
}

func describePortal(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect("1 2 T 1 2 n Z(I)",
		&pgproto3.Parse{Query: "select 1, 2"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'},
		&pgproto3.Parse{Query: "do $$ begin end $$"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, syncNow)
}

func suspendedPortal(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect("1 2 D(1) D(2) s D(3) D(4) s D(5) C(SELECT 1) Z(I)",
		&pgproto3.Parse{Query: "select generate_series(1, 5)"}, &pgproto3.Bind{}, &pgproto3.Execute{MaxRows: 2}, &pgproto3.Execute{MaxRows: 2}, &pgproto3.Execute{MaxRows: 2}, syncNow)
}

func twoPortals(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect("1 2 2 D(1) s D(101) s D(2) s D(102) s 3 3 Z(I)",
		&pgproto3.Parse{Query: "select generate_series($1::int4, $1::int4 + 9)"},
		&pgproto3.Bind{DestinationPortal: "one", Parameters: [][]byte{[]byte("1")}}, &pgproto3.Bind{DestinationPortal: "two", Parameters: [][]byte{[]byte("101")}},
		&pgproto3.Execute{Portal: "one", MaxRows: 1}, &pgproto3.Execute{Portal: "two", MaxRows: 1}, &pgproto3.Execute{Portal: "one", MaxRows: 1}, &pgproto3.Execute{Portal: "two", MaxRows: 1},
		&pgproto3.Close{ObjectType: 'P', Name: "one"}, &pgproto3.Close{ObjectType: 'P', Name: "two"}, syncNow)
}

func closeUnknown(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("3 3 Z(I)", &pgproto3.Close{ObjectType: 'S', Name: h.tag}, &pgproto3.Close{ObjectType: 'P', Name: h.tag}, syncNow); err != nil {
		return err
	}
	return c.expect(queryAnswer("after"), query("select 'after'"))
}

func unnamedReplaced(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect("1 1 2 D(second) C(SELECT 1) Z(I)",
		&pgproto3.Parse{Query: "select 'first'"}, &pgproto3.Parse{Query: "select 'second'"}, &pgproto3.Bind{}, &pgproto3.Execute{}, syncNow)
}

func nameInOneSync(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect("1 2 "+row(h.tag)+" C(SELECT 1) 3 Z(I)",
		&pgproto3.Parse{Name: h.tag, Query: "select $1::text"}, &pgproto3.Bind{PreparedStatement: h.tag, Parameters: [][]byte{[]byte(h.tag)}}, &pgproto3.Execute{},
		&pgproto3.Close{ObjectType: 'S', Name: h.tag}, syncNow)
}

// encoded are messages as on the wire.
func encoded(messages ...pgproto3.FrontendMessage) ([]byte, error) {
	var b []byte
	for _, m := range messages {
		var err error
		if b, err = m.Encode(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func byteByByte(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	b, err := encoded(append(append(statement("select $1::text", h.tag), syncNow), query("select 'slow'"))...)
	if err != nil {
		return err
	}
	for i := range b {
		if err := c.sendRaw(b[i : i+1]); err != nil {
			return err
		}
	}
	return c.answers(statementAnswer(h.tag) + " Z(I) " + queryAnswer("slow"))
}

func atBorders(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	for _, border := range []int{4096, 8192, 16384, 65536} {
		for size := border - 3; size <= border+3; size++ {
			const around = len("Q....select ''\x00")
			value := strings.Repeat("q", size-around)
			if err := c.expect(queryAnswer(value), query("select '"+value+"'")); err != nil {
				return fmt.Errorf("a Query of %d bytes: %w", size, err)
			}
			if err := c.expect(statementAnswer(value)+" Z(I)", append(statement("select $1::text", value), syncNow)...); err != nil {
				return fmt.Errorf("a parameter of %d bytes: %w", len(value), err)
			}
		}
	}
	return nil
}

const big = 16 << 20

func bigUp(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	value := strings.Repeat("0123456789abcdef", big/16)
	return c.expect("1 2 D(16777216,t) C(SELECT 1) Z(I)",
		append(statement("select length($1::text), $1::text = repeat('0123456789abcdef', 1048576)", value), syncNow)...)
}

func bigDown(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect(queryAnswer(strings.Repeat("0123456789abcdef", big/16)), query("select repeat('0123456789abcdef', 1048576)"))
}

func manyColumns(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	var columns []string
	for i := range 1600 {
		columns = append(columns, fmt.Sprint(i))
	}
	all := strings.Join(columns, ",")
	return c.expect("T D("+all+") C(SELECT 1) Z(I)", query("select "+all))
}

func manyRows(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	const rows = 50_000
	want := make([]string, 0, rows+3)
	want = append(want, "T")
	for i := range rows {
		want = append(want, fmt.Sprintf("D(%d)", i))
	}
	want = append(want, fmt.Sprintf("C(SELECT %d)", rows), "Z(I)")
	return c.expect(strings.Join(want, " "), query(fmt.Sprintf("select generate_series(0, %d)", rows-1)))
}

func notices(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	c.hears = true
	return c.expect("N(one) N(two) N(three) C(DO) T D(row) C(SELECT 1) N(four) C(DO) Z(I)", query(
		"do $$ begin raise notice 'one'; raise notice 'two'; raise warning 'three'; end $$; select 'row'; do $$ begin raise notice 'four'; end $$"))
}

func parameterStatus(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	before := c.hijacked.ParameterStatuses["TimeZone"]
	if err := c.expect("C(BEGIN) Z(T)", query("begin")); err != nil {
		return err
	}
	if err := c.expect("C(SET) Z(T)", query("set local timezone = 'Antarctica/Troll'")); err != nil {
		return err
	}
	if got := c.params["TimeZone"]; got != "Antarctica/Troll" {
		return wrongf("the new time zone was not reported")
	}
	if err := c.expect("C(ROLLBACK) Z(I)", query("rollback")); err != nil {
		return err
	}
	if got := c.params["TimeZone"]; got != before {
		return wrongf("after ROLLBACK the time zone was reported as %q instead of %q", got, before)
	}
	return nil
}

func nullAndEmpty(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	for _, format := range []int16{0, 1} {
		if err := c.expect("1 2 D(NULL,,t,f) C(SELECT 1) Z(I)",
			&pgproto3.Parse{Query: "select $1::text, $2::text, ($1 is null)::text::char(1)::text, ($2 is null)::text::char(1)::text"},
			&pgproto3.Bind{ParameterFormatCodes: []int16{format}, Parameters: [][]byte{nil, {}}, ResultFormatCodes: []int16{format}}, &pgproto3.Execute{}, syncNow); err != nil {
			return err
		}
	}
	return nil
}

func binaryValues(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	value := make([]byte, 0, 1024)
	for i := range 1024 {
		value = append(value, byte(i))
	}
	return c.expect("1 2 D("+brief(value)+","+string([]byte{0, 0, 4, 0})+") C(SELECT 1) Z(I)",
		&pgproto3.Parse{Query: "select $1::bytea, length($1::bytea)"},
		&pgproto3.Bind{ParameterFormatCodes: []int16{1}, Parameters: [][]byte{bytes.Clone(value)}, ResultFormatCodes: []int16{1}}, &pgproto3.Execute{}, syncNow)
}

package judge

import (
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

var copyTrials = []Trial{
	{Name: "copy-out", Group: Copy, run: copyOut, Right: "COPY TO STDOUT brings each row, its tag and one ReadyForQuery"},
	{Name: "copy-out-large", Group: Copy, run: copyOutLarge, Right: "20,000 lines of COPY arrive, each once, in order"},
	{Name: "copy-out-error", Group: Copy, run: copyOutError, Right: "an error in the middle of COPY TO comes behind the rows before it"},
	{Name: "copy-in", Group: Copy, run: copyIn, Right: "the data of COPY FROM STDIN arrive whole, and the statements behind it in the same Query are run"},
	{Name: "copy-in-extended", Group: Copy, run: copyInExtended, Right: "COPY FROM in the extended protocol has one ReadyForQuery, although libpq sends a Sync before the data and one behind them"},
	{Name: "copy-fail", Group: Copy, run: copyFail, Right: "CopyFail ends COPY FROM with an error, and the connection goes on"},
	{Name: "late-copy-data", Group: Copy, run: lateCopyData, Right: "data of COPY that are under way when it fails are dropped: the next statement is answered"},
	{Name: "late-copy-holds", Group: Copy, run: lateCopyHolds, harmful: true, Right: "such a client holds no server connection: eight of them do not use a pool up"},
}

// copyInto makes a table that goes with its transaction.
func (h *hearing) copyInto() string {
	return "create temporary table " + h.tag + " (n int) on commit drop"
}

func data(lines string) *pgproto3.CopyData { return &pgproto3.CopyData{Data: []byte(lines)} }

func copyOut(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("H d(1\n) d(2\n) d(3\n) c C(COPY 3) Z(I)", query("copy (select generate_series(1, 3)) to stdout")); err != nil {
		return err
	}
	return c.expect("1 2 H d(1\n) d(2\n) c C(COPY 2) Z(I)", append(statement("copy (select generate_series(1, 2)) to stdout"), syncNow)...)
}

func copyOutLarge(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	want := []string{"H"}
	for i := range 20_000 {
		want = append(want, "d("+brief([]byte(lineOf(i)))+")")
	}
	want = append(want, "c C(COPY 20000) Z(I)")
	return c.expect(strings.Join(want, " "), query("copy (select lpad(n::text, 100, '.') from generate_series(0, 19999) as n) to stdout"))
}

func lineOf(i int) string {
	digits := []byte{}
	for n := i; len(digits) == 0 || n > 0; n /= 10 {
		digits = append([]byte{byte('0' + n%10)}, digits...)
	}
	return strings.Repeat(".", 100-len(digits)) + string(digits) + "\n"
}

func copyOutError(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("H d(3\n) d(6\n) E(22012) Z(I)", query("copy (select 6 / (3 - n) from generate_series(1, 5) as n) to stdout")); err != nil {
		return err
	}
	return c.expect(queryAnswer("next"), query("select 'next'"))
}

// begin sends a Query with a COPY FROM STDIN, and reads up to its CopyInResponse.
func (h *hearing) beginCopy(c *client, behind string) error {
	if err := c.send(query(h.copyInto() + "; copy pg_temp." + h.tag + " from stdin" + behind)); err != nil {
		return err
	}
	got, err := c.until("G", "E(")
	if err != nil {
		return err
	}
	return c.compare(got, "C(CREATE TABLE) G")
}

func copyIn(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := h.beginCopy(c, "; select sum(n) from pg_temp."+h.tag); err != nil {
		return err
	}
	// The border between two messages is not one between lines.
	return c.expect("C(COPY 3) T D(60) C(SELECT 1) Z(I)", data("10\n2"), data("0\n30\n"), &pgproto3.CopyDone{})
}

func copyInExtended(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.send(append(append(statement(h.copyInto()), statement("copy pg_temp."+h.tag+" from stdin")...), syncNow)...); err != nil {
		return err
	}
	got, err := c.until("G", "E(", "Z(")
	if err != nil {
		return err
	}
	if err := c.compare(got, "1 2 C(CREATE TABLE) 1 2 G"); err != nil {
		return err
	}
	if err := c.expect("C(COPY 2) Z(I)", data("1\n2\n"), &pgproto3.CopyDone{}, syncNow); err != nil {
		return err
	}
	for _, value := range []string{"next", "and next"} {
		if err := c.expect(statementAnswer(value)+" Z(I)", append(statement("select $1::text", value), syncNow)...); err != nil {
			return err
		}
	}
	c.leave()
	return h.serves(2)
}

func copyFail(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := h.beginCopy(c, ""); err != nil {
		return err
	}
	if err := c.expect("E(57014) Z(I)", data("1\n"), &pgproto3.CopyFail{Message: "changed my mind"}); err != nil {
		return err
	}
	if !strings.Contains(c.err.Message, "changed my mind") {
		return wrongf("the client's words are not in the error: %s", c.err.Message)
	}
	return c.expect(queryAnswer("next"), query("select 'next'"))
}

// late lets COPY fail by its data, and then sends more of them.
func (h *hearing) late(c *client) error {
	if err := h.beginCopy(c, ""); err != nil {
		return err
	}
	if err := c.expect("E(22P02) Z(I)", data("no number\n"), data("1\n")); err != nil {
		return err
	}
	return c.send(data("2\n"), &pgproto3.CopyDone{})
}

func lateCopyData(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := h.late(c); err != nil {
		return err
	}
	for _, value := range []string{"next", "and next"} {
		if err := c.expect(queryAnswer(value), query("select '"+value+"'")); err != nil {
			return err
		}
	}
	return nil
}

func lateCopyHolds(h *hearing) error {
	clients, err := h.several(crowd)
	if err != nil {
		return err
	}
	for i, c := range clients {
		if err := h.late(c); err != nil {
			if i > 0 {
				err = prefixed("after "+plural(i, "client")+" that sent late data, the next", err)
			}
			return err
		}
	}
	if h.capacity <= crowd { // each client has its own server connection
		return nil
	}
	if err := h.serves(1); err != nil {
		return prefixed("after eight clients that sent late data, another", err)
	}
	return nil
}

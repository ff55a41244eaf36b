package judge

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

var errorTrials = []Trial{
	{Name: "sqlstate-and-position", Group: Errors, run: sqlstateAndPosition, Right: "an error keeps its SQLSTATE and the position in the text: programs decide by the one, people find it by the other"},
	{Name: "error-fields", Group: Errors, run: errorFields, Right: "an error keeps detail, hint, schema, table, column and constraint: programs say by them which key was taken"},
	{Name: "error-in-query", Group: Errors, run: errorInQuery, Right: "an error ends its Query: what came before is answered, what comes after is not run"},
	{Name: "error-in-parse", Group: Errors, run: errorInParse, Right: "an error in Parse skips what follows up to the Sync, and nothing else"},
	{Name: "error-in-bind", Group: Errors, run: errorInBind, Right: "an error in Bind skips what follows up to the Sync, and nothing else"},
	{Name: "error-in-execute", Group: Errors, run: errorInExecute, Right: "an error in Execute skips what follows up to the Sync, and nothing else"},
	{Name: "error-in-batch", Group: Errors, run: errorInBatch, Right: "an error in the middle of a batch skips its rest, with Parses of names in it, without a stray answer"},
	{Name: "error-between-syncs", Group: Errors, run: errorBetweenSyncs, Right: "of several pipelines that are under way at once, only the one with an error fails"},
	{Name: "rows-before-error", Group: Errors, run: rowsBeforeError, Right: "rows that were sent before an error arrive before it"},
	{Name: "failed-transaction", Group: Errors, run: failedTransaction, Right: "a failed transaction has the status E and refuses statements with 25P02 until it is rolled back"},
	{Name: "commit-of-failed", Group: Errors, run: commitOfFailed, Right: "COMMIT of a failed transaction says ROLLBACK: a program that asks knows that nothing was saved"},
	{Name: "deferred-at-commit", Group: Errors, run: deferredAtCommit, Right: "a deferred constraint fails at COMMIT, as an error of COMMIT"},
	{Name: "deferred-at-sync", Group: Errors, run: deferredAtSync, Right: "without BEGIN a deferred constraint fails at the Sync, after all statements have answered: a driver that stops reading there loses it"},
	{Name: "statement-timeout", Group: Errors, run: statementTimeout, Right: "statement_timeout ends a statement with 57014, and the connection goes on"},
}

// divides fails for 0 when it is executed, and not when it is planned.
const divides = "select 1 / n from generate_series($1::int4, $1::int4) as n"

func sqlstateAndPosition(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	for _, messages := range [][]pgproto3.FrontendMessage{{query("select nosuchcolumn")}, append(statement("select nosuchcolumn"), syncNow)} {
		if err := c.expect("E(42703) Z(I)", messages...); err != nil {
			return err
		}
		if c.err.Position != 8 {
			return wrongf("the position is %d instead of 8", c.err.Position)
		}
		if c.err.Severity != "ERROR" || !strings.Contains(c.err.Message, "nosuchcolumn") {
			return wrongf("the error is %s %q", c.err.Severity, c.err.Message)
		}
	}
	return nil
}

func errorFields(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("E(PJ001) Z(I)", query(`do $$ begin raise exception 'the message' using errcode = 'PJ001', detail = 'the detail', hint = 'the hint',
		schema = 'the schema', table = 'the table', column = 'the column', datatype = 'the type', constraint = 'the constraint'; end $$`)); err != nil {
		return err
	}
	e := c.err
	got := []string{e.Message, e.Detail, e.Hint, e.SchemaName, e.TableName, e.ColumnName, e.DataTypeName, e.ConstraintName}
	want := []string{"the message", "the detail", "the hint", "the schema", "the table", "the column", "the type", "the constraint"}
	if !slices.Equal(got, want) || e.Where == "" || e.Routine == "" {
		return wrongf("the fields are %q, where %q, routine %q", got, e.Where, e.Routine)
	}
	return nil
}

func errorInQuery(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	return c.expect("T D(before) C(SELECT 1) T E(22012) Z(I) T D(next) C(SELECT 1) Z(I)",
		query("select 'before'; select 1 / (random() * 0)::int; select 'after'"), query("select 'next'"))
}

// failsThen fails with code by messages, whose rest is skipped, and runs the next
// pipeline, both at once and one after the other.
func failsThen(h *hearing, want string, messages ...pgproto3.FrontendMessage) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	messages = append(append(messages, statement("select 'skipped'")...), syncNow)
	next := append(statement("select 'next'"), syncNow)
	after := statementAnswer("next") + " Z(I)"
	if err := c.expect(want+" Z(I)", messages...); err != nil {
		return err
	}
	if err := c.expect(after, next...); err != nil {
		return err
	}
	return c.expect(want+" Z(I) "+after, append(messages, next...)...)
}

func errorInParse(h *hearing) error {
	return failsThen(h, "E(42601)", &pgproto3.Parse{Query: "selec 1"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{})
}

func errorInBind(h *hearing) error {
	return failsThen(h, "1 E(22P02)", &pgproto3.Parse{Query: "select $1::int4"}, &pgproto3.Bind{Parameters: [][]byte{[]byte("no number")}}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{})
}

func errorInExecute(h *hearing) error {
	return failsThen(h, "1 2 E(22012)", &pgproto3.Parse{Query: divides}, &pgproto3.Bind{Parameters: [][]byte{[]byte("0")}}, &pgproto3.Execute{})
}

func errorInBatch(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	for range 3 {
		messages := append(statement("select 'first'"), &pgproto3.Parse{Query: divides}, &pgproto3.Bind{Parameters: [][]byte{[]byte("0")}}, &pgproto3.Execute{})
		for _, name := range []string{"a", "b", "c"} {
			name = h.tag + name
			messages = append(messages, &pgproto3.Parse{Name: name, Query: "select $1::text"}, &pgproto3.Describe{ObjectType: 'S', Name: name},
				&pgproto3.Bind{PreparedStatement: name, Parameters: [][]byte{[]byte("skipped")}}, &pgproto3.Execute{}, &pgproto3.Close{ObjectType: 'S', Name: name})
		}
		messages = append(append(messages, statement("select 'skipped'")...), syncNow)
		if err := c.expect(statementAnswer("first")+" 1 2 E(22012) Z(I)", messages...); err != nil {
			return err
		}
		if err := c.expect(statementAnswer("next")+" Z(I)", append(statement("select 'next'"), syncNow)...); err != nil {
			return err
		}
	}
	return c.expect(queryAnswer("last"), query("select 'last'"))
}

func errorBetweenSyncs(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	var messages []pgproto3.FrontendMessage
	var want []string
	for range 5 {
		messages = append(append(messages, statement("select 'right'")...), syncNow)
		messages = append(append(messages, statement(divides, "0")...), syncNow)
		want = append(want, statementAnswer("right"), "Z(I)", "1 2 E(22012) Z(I)")
	}
	return c.expect(strings.Join(want, " "), messages...)
}

func rowsBeforeError(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	const fails = "select 6 / (3 - n) from generate_series(1, 5) as n"
	if err := c.expect("T D(3) D(6) E(22012) Z(I)", query(fails)); err != nil {
		return err
	}
	return c.expect("1 2 D(3) D(6) E(22012) Z(I)", append(statement(fails), syncNow)...)
}

func failedTransaction(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	for _, step := range []struct{ sql, want string }{
		{"begin", "C(BEGIN) Z(T)"}, {"select 1 / 0", "E(22012) Z(E)"}, {"select 1", "E(25P02) Z(E)"}, {"rollback", "C(ROLLBACK) Z(I)"}, {"select 'after'", queryAnswer("after")},
	} {
		if err := c.expect(step.want, query(step.sql)); err != nil {
			return err
		}
	}
	return nil
}

func commitOfFailed(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	for _, step := range []struct{ sql, want string }{{"begin", "C(BEGIN) Z(T)"}, {"select 1 / 0", "E(22012) Z(E)"}, {"commit", "C(ROLLBACK) Z(I)"}} {
		if err := c.expect(step.want, query(step.sql)); err != nil {
			return err
		}
	}
	return nil
}

// deferred makes a table that goes with its transaction, whose constraint fails at
// the transaction's end.
func (h *hearing) deferred() (create, insert string) {
	return "create temporary table " + h.tag + " (n int unique deferrable initially deferred) on commit drop", "insert into pg_temp." + h.tag + " values (1), (1)"
}

func deferredAtCommit(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	create, insert := h.deferred()
	for _, step := range []struct{ sql, want string }{{"begin", "C(BEGIN) Z(T)"}, {create, "C(CREATE TABLE) Z(T)"}, {insert, "C(INSERT 0 2) Z(T)"}, {"commit", "E(23505) Z(I)"}} {
		if err := c.expect(step.want, query(step.sql)); err != nil {
			return err
		}
	}
	return nil
}

func deferredAtSync(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	create, insert := h.deferred()
	messages := append(append(append(statement(create), statement(insert)...), statement("select 'answered'")...), syncNow)
	return c.expect("1 2 C(CREATE TABLE) 1 2 C(INSERT 0 2) "+statementAnswer("answered")+" E(23505) Z(I)", messages...)
}

func statementTimeout(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	messages := append(append(statement("select set_config('statement_timeout', '100', true)"), statement("select pg_sleep(2)")...), syncNow)
	if err := c.expect(statementAnswer("100ms")+" 1 2 E(57014) Z(I)", messages...); err != nil {
		return err
	}
	return c.expect(queryAnswer("after"), query("select 'after'"))
}

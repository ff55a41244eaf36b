package judge

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

var strangerTrials = []Trial{
	{Name: "tagged-queries", Group: Strangers, run: taggedQueries, alone: true, Right: "eight clients that ask at the same time each get their own answers"},
	{Name: "tagged-batches", Group: Strangers, run: taggedBatches, alone: true, Right: "eight clients that send batches at the same time each get their own answers"},
	{Name: "tagged-pipelines", Group: Strangers, run: taggedPipelines, alone: true, Right: "eight clients with several Syncs under way each get their own answers: a pooler that hands on at the first ReadyForQuery mixes them"},
	{Name: "large-pipelines", Group: Strangers, run: largePipelines, harmful: true, Right: "so do they with messages of 4 and 8 kB, larger than a buffer"},
	{Name: "interleaved-transactions", Group: Strangers, run: interleavedTransactions, alone: true, Right: "a transaction is one client's alone, from BEGIN to COMMIT, on one server connection"},
	{Name: "set-local", Group: Strangers, run: setLocal, alone: true, Right: "SET LOCAL holds for its transaction and is gone after it, for everybody"},
	{Name: "set-config-local", Group: Strangers, run: setConfigLocal, alone: true, Right: "set_config(…, true) holds for its transaction and is gone after it: tenants are set so"},
	{Name: "one-sync-scope", Group: Strangers, run: oneSyncScope, alone: true, Right: "set_config(…, true) and its reader before one Sync are one transaction: this is the cheapest way to set a tenant"},
	{Name: "unnamed-statement", Group: Strangers, run: unnamedStatement, alone: true, Right: "Bind without a name runs what this client parsed, not another: a foreign statement may be a DELETE"},
	{Name: "hang-up-in-transaction", Group: Strangers, run: hangUpInTransaction, alone: true, Right: "a transaction ends with its client: its locks go, and nobody goes on in it"},
	{Name: "hang-up-in-failed-transaction", Group: Strangers, run: hangUpInFailed, alone: true, Right: "so does a failed one"},
	{Name: "hang-up-in-result", Group: Strangers, run: hangUpInResult, alone: true, Right: "nobody gets the rest of a large result whose client has hung up"},
	{Name: "hang-up-in-message", Group: Strangers, run: hangUpInMessage, alone: true, Right: "half a message of a client that has hung up is not the begin of another's"},
	{Name: "hang-up-without-sync", Group: Strangers, run: hangUpWithoutSync, alone: true, Right: "a pipeline without its Sync ends with its client: it is not committed by another's"},
	{Name: "hang-up-in-copy-in", Group: Strangers, run: hangUpInCopyIn, alone: true, Right: "COPY in ends with its client: another's statements are not its data"},
	{Name: "hang-up-in-copy-out", Group: Strangers, run: hangUpInCopyOut, alone: true, Right: "nobody gets the rest of a COPY out whose client has hung up"},
	{Name: "half-closed", Group: Strangers, run: halfClosed, Right: "a client that has closed its sending side after the Sync still gets the answer"},
	{Name: "terminate-behind-query", Group: Strangers, run: terminateBehindQuery, Right: "a Terminate right behind a Sync does not cut off its answer"},
}

const crowd = 8

// taggedQueries: the parameter of each answer says whose it is.
func taggedQueries(h *hearing) error {
	return h.together(crowd, func(i int, c *client) error {
		for round := range 60 {
			value := fmt.Sprintf("client %d round %d", i, round)
			if round%2 == 0 {
				if err := c.expect(queryAnswer(value), query("select '"+value+"'")); err != nil {
					return err
				}
			} else if err := c.expect(statementAnswer(value)+" Z(I)", append(statement("select $1::text", value), syncNow)...); err != nil {
				return err
			}
		}
		return nil
	})
}

func taggedBatches(h *hearing) error {
	return h.together(crowd, func(i int, c *client) error {
		for round := range 20 {
			var messages []pgproto3.FrontendMessage
			var want []string
			for n := range 10 {
				value := fmt.Sprintf("client %d round %d statement %d", i, round, n)
				messages = append(messages, statement("select $1::text", value)...)
				want = append(want, statementAnswer(value))
			}
			if err := c.expect(strings.Join(want, " ")+" Z(I)", append(messages, syncNow)...); err != nil {
				return err
			}
		}
		return nil
	})
}

// pipelines sends several Syncs at once, with parameters of a size.
func pipelines(h *hearing, rounds, syncs, size int) error {
	return h.together(crowd, func(i int, c *client) error {
		for round := range rounds {
			var messages []pgproto3.FrontendMessage
			var want []string
			for n := range syncs {
				value := fmt.Sprintf("client %d round %d sync %d", i, round, n)
				value += strings.Repeat(".", max(0, size-len(value)))
				messages = append(append(messages, statement("select $1::text", value)...), syncNow)
				want = append(want, statementAnswer(value), "Z(I)")
			}
			if err := c.expect(strings.Join(want, " "), messages...); err != nil {
				return err
			}
		}
		return nil
	})
}

func taggedPipelines(h *hearing) error { return pipelines(h, 20, 10, 0) }

func largePipelines(h *hearing) error {
	if err := pipelines(h, 40, 8, 4<<10); err != nil {
		return err
	}
	return pipelines(h, 20, 8, 8<<10)
}

func interleavedTransactions(h *hearing) error {
	return h.together(crowd, func(i int, c *client) error {
		for round := range 5 {
			value := fmt.Sprintf("0.%d%d", i+1, round+1)
			if err := c.expect("C(BEGIN) Z(T)", query("begin")); err != nil {
				return err
			}
			if err := c.expect("T "+row(value)+" C(SELECT 1) Z(T)", query("select set_config('cursor_tuple_fraction', '"+value+"', true)")); err != nil {
				return err
			}
			var home string
			for range 4 {
				got, err := c.ask("select pg_backend_pid() || ' ' || current_setting('cursor_tuple_fraction') from pg_sleep(0.002)")
				if err != nil {
					return err
				}
				if pid, setting, _ := strings.Cut(got, " "); setting != value || home != "" && pid != home {
					return wrongf("within one transaction: server process %s, then %s; the setting is %s instead of %s", home, pid, setting, value)
				} else {
					home = pid
				}
			}
			if err := c.expect("C(COMMIT) Z(I)", query("commit")); err != nil {
				return err
			}
		}
		return nil
	})
}

// ask returns the value of a Query of one row with one column.
func (c *client) ask(sql string) (string, error) {
	if err := c.send(query(sql)); err != nil {
		return "", err
	}
	got, err := c.read(1)
	if err != nil {
		return "", err
	}
	value, ok := strings.CutPrefix(got, "T D(")
	if ok {
		value, _, ok = strings.Cut(value, ") C(SELECT 1) Z(")
	}
	if !ok {
		return "", c.compare(got, "T D(…) C(SELECT 1) Z(I)")
	}
	return value, nil
}

// The setting that the trials of transactions make: one of PostgreSQL's own, so that
// no placeholder stays, with a value that does no harm.
const (
	setting     = "cursor_tuple_fraction"
	readSetting = "select current_setting('" + setting + "')"
)

// scoped has a setting made for a transaction by one half of the clients, while
// the other half looks for it.
func scoped(h *hearing, transaction func(c *client, value string) error) error {
	first, err := h.client()
	if err != nil {
		return err
	}
	usual, err := first.ask(readSetting)
	if err != nil {
		return err
	}
	first.leave()
	return h.together(crowd, func(i int, c *client) error {
		for round := range 15 {
			value := fmt.Sprintf("0.0%d%02d1", i+1, round)
			if i%2 == 0 {
				if err := transaction(c, value); err != nil {
					return err
				}
			}
			got, err := c.ask(readSetting)
			if err != nil {
				return err
			}
			if got != usual {
				return leaksf("a setting was met after its transaction: %s instead of %s", got, usual)
			}
		}
		return nil
	})
}

func setLocal(h *hearing) error {
	return scoped(h, func(c *client, value string) error {
		for _, step := range []struct{ sql, want string }{
			{"begin", "C(BEGIN) Z(T)"}, {"set local " + setting + " = " + value, "C(SET) Z(T)"}, {readSetting, "T " + row(value) + " C(SELECT 1) Z(T)"}, {"commit", "C(COMMIT) Z(I)"},
		} {
			if err := c.expect(step.want, query(step.sql)); err != nil {
				return err
			}
		}
		return nil
	})
}

func setConfigLocal(h *hearing) error {
	return scoped(h, func(c *client, value string) error {
		if err := c.expect("C(BEGIN) Z(T)", query("begin")); err != nil {
			return err
		}
		if err := c.expect(statementAnswer(value)+" Z(T)", append(statement("select set_config('"+setting+"', $1, true)", value), syncNow)...); err != nil {
			return err
		}
		if err := c.expect(statementAnswer(value)+" Z(T)", append(statement(readSetting), syncNow)...); err != nil {
			return err
		}
		return c.expect("C(COMMIT) Z(I)", query("commit"))
	})
}

func oneSyncScope(h *hearing) error {
	return scoped(h, func(c *client, value string) error {
		messages := append(append(statement("select set_config('"+setting+"', $1, true)", value), statement(readSetting)...), syncNow)
		return c.expect(statementAnswer(value)+" "+statementAnswer(value)+" Z(I)", messages...)
	})
}

// unnamedStatement: each client parses in one Sync and executes in the next, as some
// drivers do.
func unnamedStatement(h *hearing) error {
	return h.together(crowd, func(i int, c *client) error {
		own := fmt.Sprintf("statement of client %d", i)
		for range 30 {
			if err := c.expect("1 Z(I)", &pgproto3.Parse{Query: "select '" + own + "'"}, syncNow); err != nil {
				return err
			}
			if err := c.send(&pgproto3.Bind{}, &pgproto3.Execute{}, syncNow); err != nil {
				return err
			}
			got, err := c.read(1)
			if err != nil {
				return err
			}
			switch {
			case strings.Contains(got, "statement of client") && !strings.Contains(got, own):
				return leaksf("client %d ran another client's statement: %s", i, got)
			case strings.Contains(got, "E(26000)"):
				return lostf("the statement was gone after its Sync: %s", c.err.Message)
			}
			if err := c.compare(got, "2 "+row(own)+" C(SELECT 1) Z(I)"); err != nil {
				return err
			}
		}
		return nil
	})
}

// lock is an advisory lock of this trial's own, which a transaction takes.
func (h *hearing) lock() string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(h.tag)) // it never fails
	return fmt.Sprint(int64(hash.Sum64()))
}

// undisturbed has others served, none of whom may find itself in a transaction, or
// hear of what the client that hung up did; then the lock must be free.
func (h *hearing) undisturbed() error {
	if err := h.together(crowd-1, func(i int, c *client) error {
		for round := range 5 {
			value := fmt.Sprintf("undisturbed %d %d", i, round)
			if err := c.expect(queryAnswer(value), query("select '"+value+"'")); err != nil {
				return err
			}
			if err := c.expect(statementAnswer(value)+" Z(I)", append(statement("select $1::text", value), syncNow)...); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return prefixed("after it others", err)
	}
	c, err := h.client()
	if err != nil {
		return err
	}
	for until := time.Now().Add(h.patience); ; {
		free, err := c.ask("select pg_try_advisory_xact_lock(" + h.lock() + ")")
		if err != nil {
			return prefixed("after it others", err)
		}
		if free == "t" {
			return nil
		}
		if time.Now().After(until) {
			return wrongf("its transaction is still open: its lock is still held")
		}
		if err := h.pause(20 * time.Millisecond); err != nil {
			return err
		}
	}
}

// pause waits for something that cannot be waited for otherwise.
func (h *hearing) pause(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-h.ctx.Done():
		return hungf("the trial took too long")
	}
}

// prefixed is a verdict with words before its text.
func prefixed(words string, err error) error { return fmt.Errorf("%s: %w", words, err) }

func hangUpInTransaction(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("C(BEGIN) Z(T)", query("begin")); err != nil {
		return err
	}
	if err := c.expect("T D() C(SELECT 1) Z(T)", query("select pg_advisory_xact_lock("+h.lock()+")")); err != nil {
		return err
	}
	c.hangUp()
	return h.undisturbed()
}

func hangUpInFailed(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("C(BEGIN) Z(T)", query("begin")); err != nil {
		return err
	}
	if err := c.expect("E(22012) Z(E)", query("select 1 / 0")); err != nil {
		return err
	}
	c.hangUp()
	return h.undisturbed()
}

func hangUpInResult(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.send(query("select repeat('x', 1000), pg_advisory_xact_lock(" + h.lock() + ") from generate_series(1, 50000)")); err != nil {
		return err
	}
	if _, err := c.until("D(", "E("); err != nil {
		return err
	}
	c.hangUp()
	return h.undisturbed()
}

func hangUpInMessage(h *hearing) error {
	for _, whole := range [][]pgproto3.FrontendMessage{
		{query("select 'half a message of " + h.tag + "'")},
		append(statement("select $1::text", strings.Repeat("x", 20000)), syncNow),
	} {
		c, err := h.client()
		if err != nil {
			return err
		}
		b, err := encoded(whole...)
		if err != nil {
			return err
		}
		if err := c.sendRaw(b[:len(b)*2/3]); err != nil {
			return err
		}
		c.hangUp()
	}
	return h.undisturbed()
}

func hangUpWithoutSync(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	// Not every pooler passes this on before the Sync: then there is nothing to undo.
	if err := c.send(append(statement("select pg_advisory_xact_lock("+h.lock()+")"), &pgproto3.Flush{})...); err != nil {
		return err
	}
	if err := h.pause(20 * time.Millisecond); err != nil {
		return err
	}
	c.hangUp()
	return h.undisturbed()
}

func hangUpInCopyIn(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.send(query(h.copyInto() + "; select pg_advisory_xact_lock(" + h.lock() + "); copy pg_temp." + h.tag + " from stdin")); err != nil {
		return err
	}
	if got, err := c.until("G", "E("); err != nil || c.err != nil {
		if err == nil {
			err = c.compare(got, "G")
		}
		return err
	}
	if err := c.send(&pgproto3.CopyData{Data: []byte("1\n2\n")}); err != nil {
		return err
	}
	c.hangUp()
	return h.undisturbed()
}

func hangUpInCopyOut(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.send(query("copy (select repeat('x', 1000), pg_advisory_xact_lock(" + h.lock() + ") from generate_series(1, 50000)) to stdout")); err != nil {
		return err
	}
	if _, err := c.until("d(", "E("); err != nil {
		return err
	}
	c.hangUp()
	return h.undisturbed()
}

func halfClosed(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	conn, ok := c.hijacked.Conn.(interface{ CloseWrite() error })
	if !ok {
		return &verdict{Untried, "this kind of connection has no half that could be closed"}
	}
	if err := c.send(append(statement("select 'still here' from pg_sleep(0.05)"), syncNow)...); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return wrongf("closing: %v", err)
	}
	return c.answers(statementAnswer("still here") + " Z(I)")
}

func terminateBehindQuery(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.send(append(statement("select 'answered' from pg_sleep(0.05)"), syncNow, &pgproto3.Terminate{})...); err != nil {
		return err
	}
	return c.answers(statementAnswer("answered") + " Z(I)")
}

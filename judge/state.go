package judge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/pooler"
)

var stateTrials = []Trial{
	{Name: "session-set", Group: State, run: sessionSet, alone: true, Right: "SET holds for its session, and nobody else has it"},
	{Name: "session-set-config", Group: State, run: sessionSetConfig, alone: true, Right: "so does set_config(…, false), which tenants are set by where nobody knows of poolers"},
	{Name: "set-in-transaction", Group: State, run: setInTransaction, alone: true, Right: "so does SET in a transaction that commits"},
	{Name: "startup-parameter", Group: State, run: startupParameter, alone: true, Right: "a setting in the log-in holds for its session, and nobody else has it"},
	{Name: "startup-options", Group: State, run: startupOptions, alone: true, Right: "so does one in the log-in's options"},
	{Name: "application-name", Group: State, run: applicationName, alone: true, Right: "each session has its own application_name: people look for it when something hangs"},
	{Name: "listen", Group: State, run: listen, alone: true, Right: "who listens gets the notifications, and nobody else does"},
	{Name: "advisory-lock", Group: State, run: advisoryLock, alone: true, Right: "an advisory lock of one session is refused to every other, and can be given back"},
	{Name: "temporary-table", Group: State, run: temporaryTable, alone: true, Right: "a temporary table is there for its session, and for nobody else"},
	{Name: "cursor-with-hold", Group: State, run: cursorWithHold, alone: true, Right: "so is a cursor WITH HOLD"},
	{Name: "sql-prepare", Group: State, run: sqlPrepare, alone: true, Right: "so is a statement of SQL's PREPARE"},
	{Name: "named-statement", Group: State, run: namedStatement, alone: true, Right: "so is a named statement of the protocol"},
	{Name: "same-name", Group: State, run: sameName, alone: true, Right: "clients that give different statements the same name each run their own"},
}

// watchers is how many strangers look for what a client left.
const watchers = 4

// meetings is how often all look.
const meetings = 6

// residue is what a client leaves in its session.
type residue struct {
	leave string // a Query
	seen  string // an expression: is it here?
	clean string // a statement that takes it away where it is, and does nothing elsewhere
}

// kept leaves it by one client, and has this one and strangers look for it, side by
// side, so that they move between server connections.
func (h *hearing) kept(r residue) (err error) {
	clients, err := h.several(1 + watchers)
	if err != nil {
		return err
	}
	owner := clients[0]
	home, err := h.left(owner, r)
	if err != nil {
		return err
	}
	defer func() {
		if left := h.cleaned(r.clean, map[string]bool{home: true}); left != nil && err == nil {
			err = left
		}
	}()
	lost, err := met(clients, r.seen)
	if lost {
		return lostf("its client did not find it again")
	}
	return err
}

// met has all clients look for what the first one left, side by side. lost reports
// whether that one did not find it again. The error is that another met it, or that
// one could not look.
func met(clients []*client, seen string) (lost bool, err error) {
	for range meetings {
		if err := each(clients, func(i int, c *client) error {
			got, err := c.ask("select " + seen + " from pg_sleep(0.02)")
			switch {
			case err != nil:
				return err
			case i == 0 && got != "t":
				lost = true
			case i > 0 && got == "t":
				return leaksf("another client met it")
			}
			return nil
		}); err != nil {
			return false, err
		}
	}
	return lost, nil
}

// left leaves something by owner, and returns the number of the server process
// that has it. What may have been left when the run was stopped meanwhile is
// taken away.
func (h *hearing) left(owner *client, r residue) (home string, err error) {
	home, err = owner.lastValue(r.leave + "; select pg_backend_pid()")
	if err != nil && h.ctx.Err() != nil {
		err = errors.Join(err, h.cleaned(r.clean, map[string]bool{}))
	}
	return home, err
}

// lastValue is the value of the last statement of a Query, whose answer is a row with
// one column.
func (c *client) lastValue(sql string) (string, error) {
	if err := c.send(query(sql)); err != nil {
		return "", err
	}
	got, err := c.read(1)
	if err != nil {
		return "", err
	}
	if c.err != nil {
		return "", c.compare(got, "no error")
	}
	_, value, _ := strings.Cut(got[max(0, strings.LastIndex(got, "T D(")):], "T D(")
	value, _, ok := strings.Cut(value, ") C(SELECT 1) Z(")
	if !ok {
		return "", c.compare(got, "a row")
	}
	return value, nil
}

// cleaned takes away what was left on server connections, wherever it meets them:
// on those of homes, or, when it is not known where, on all that it comes to.
// One that it does not meet any more is ended if it is idle, which a pooler that
// passes server connections on takes for what happens every day. With session
// pooling it was cleaned when its client left; and pgpool-II takes its end for
// that of the server.
func (h *hearing) cleaned(clean string, homes map[string]bool) error {
	if h.mode == pooler.None {
		return nil // it went with its session
	}
	// Also when the run was stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), 2*h.patience)
	defer cancel()
	fresh := &hearing{ctx: ctx, config: h.config, patience: h.patience, capacity: h.capacity, mode: h.mode, tag: h.tag} // its clients may be gone
	h.close()
	defer fresh.close()
	clients, err := fresh.several(1 + watchers)
	if err != nil {
		return prefixed("cleaning up", err)
	}
	var mu sync.Mutex
	unknown := len(homes) == 0 || h.mode == pooler.Session
	for round := 0; round < meetings || round < 4*meetings && !unknown; round++ {
		if err := each(clients, func(_ int, c *client) error {
			pid, err := c.lastValue(clean + "; select pg_backend_pid() from pg_sleep(0.01)")
			if err != nil {
				return prefixed("cleaning up", err)
			}
			mu.Lock()
			defer mu.Unlock()
			delete(homes, pid)
			return nil
		}); err != nil {
			return err
		}
		if len(homes) == 0 && !unknown {
			return nil
		}
	}
	if h.mode == pooler.Session {
		return nil
	}
	for pid := range homes {
		if err := clients[0].send(query("select pg_terminate_backend(pid) from pg_stat_activity where pid = " + pid + " and state = 'idle' and usename = current_user")); err != nil {
			return err
		}
		if _, err := clients[0].read(1); err != nil {
			return prefixed("cleaning up", err)
		}
	}
	return nil
}

func sessionSet(h *hearing) error {
	return h.kept(residue{"set " + setting + " = 0.0417", "current_setting('" + setting + "') = '0.0417'", "reset " + setting})
}

func sessionSetConfig(h *hearing) error {
	return h.kept(residue{"select set_config('" + setting + "', '0.0418', false)", "current_setting('" + setting + "') = '0.0418'", "reset " + setting})
}

func setInTransaction(h *hearing) error {
	return h.kept(residue{"begin; set " + setting + " = 0.0419; commit", "current_setting('" + setting + "') = '0.0419'", "reset " + setting})
}

// logged logs one client in with a setting, and others without, and has all look for
// it.
func (h *hearing) logged(change func(*pgx.ConnConfig), seen string) error {
	config := h.config.Copy()
	change(config)
	owner, err := h.login(config)
	if err != nil {
		return err
	}
	others, err := h.several(min(watchers, h.capacity-1))
	if err != nil {
		return err
	}
	lost, err := met(append([]*client{owner}, others...), seen)
	if lost {
		return lostf("it was accepted, but does not hold")
	}
	return err
}

func startupParameter(h *hearing) error {
	return h.logged(func(config *pgx.ConnConfig) { config.RuntimeParams[setting] = "0.0421" }, "current_setting('"+setting+"') = '0.0421'")
}

func startupOptions(h *hearing) error {
	return h.logged(func(config *pgx.ConnConfig) {
		config.RuntimeParams["options"] = strings.TrimSpace(config.RuntimeParams["options"] + " -c " + setting + "=0.0422")
	}, "current_setting('"+setting+"') = '0.0422'")
}

func applicationName(h *hearing) error {
	return h.logged(func(config *pgx.ConnConfig) { config.RuntimeParams["application_name"] = h.tag }, "current_setting('application_name') = '"+h.tag+"'")
}

func listen(h *hearing) error {
	clients, err := h.several(1 + watchers)
	if err != nil {
		return err
	}
	home, err := h.left(clients[0], residue{leave: "listen " + h.tag, clean: "unlisten " + h.tag})
	if err != nil {
		return err
	}
	err = heard(h, clients)
	if left := h.cleaned("unlisten "+h.tag, map[string]bool{home: true}); left != nil && err == nil {
		err = left
	}
	return err
}

func heard(h *hearing, clients []*client) error {
	for round := range meetings {
		if _, err := clients[1+round%(len(clients)-1)].ask(fmt.Sprintf("select pg_notify('%s', '%d')", h.tag, round)); err != nil {
			return err
		}
		if err := each(clients, func(_ int, c *client) error {
			_, err := c.ask("select 1 from pg_sleep(0.02)")
			return err
		}); err != nil {
			return err
		}
	}
	for _, c := range clients[1:] {
		if len(c.notified) > 0 {
			return leaksf("another client got %q", c.notified[0])
		}
	}
	// The last ones may come on their own.
	for until := time.Now().Add(h.patience / 5); len(clients[0].notified) < meetings && time.Now().Before(until); {
		if _, err := clients[0].ask("select 1 from pg_sleep(0.02)"); err != nil {
			return err
		}
	}
	if n := len(clients[0].notified); n != meetings {
		return lostf("who listens got %d of %s", n, plural(meetings, "notification"))
	}
	return nil
}

func advisoryLock(h *hearing) error {
	clients, err := h.several(1 + watchers)
	if err != nil {
		return err
	}
	// Each time that it was got counts.
	clean := "do $$ begin while exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and objsubid = 1 and (classid::bigint << 32 | objid::bigint) = " +
		h.lock() + ") loop perform pg_advisory_unlock(" + h.lock() + "); end loop; end $$"
	home, err := h.left(clients[0], residue{leave: "select pg_advisory_lock(" + h.lock() + ")", clean: clean})
	if err != nil {
		return err
	}
	err = locked(h, clients)
	if left := h.cleaned(clean, map[string]bool{home: true}); left != nil && err == nil {
		err = left
	}
	return err
}

func locked(h *hearing, clients []*client) error {
	var free atomic.Bool
	for range meetings {
		if err := each(clients[1:], func(_ int, c *client) error {
			// For its transaction only: nothing stays.
			got, err := c.ask("select pg_try_advisory_xact_lock(" + h.lock() + ") from pg_sleep(0.02)")
			if err != nil {
				return err
			}
			if got == "t" {
				free.Store(true)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if free.Load() {
		got, err := clients[0].ask("select exists (select from pg_locks where locktype = 'advisory' and objsubid = 1 and (classid::bigint << 32 | objid::bigint) = " + h.lock() + ")")
		if err != nil {
			return err
		}
		if got == "t" {
			return leaksf("another client got the lock as well")
		}
		return lostf("the lock was gone")
	}
	got, err := clients[0].ask("select pg_advisory_unlock(" + h.lock() + ")")
	if err != nil {
		return err
	}
	if got != "t" {
		return lostf("its client could not give the lock back")
	}
	return nil
}

func temporaryTable(h *hearing) error {
	return h.kept(residue{"create temporary table " + h.tag + " ()", "to_regclass('pg_temp." + h.tag + "') is not null", "drop table if exists pg_temp." + h.tag})
}

// unless is a statement that runs another where a catalogue has the trial's name.
func (h *hearing) unless(catalogue, statement string) string {
	return "do $$ begin if exists (select from " + catalogue + " where name = '" + h.tag + "') then execute '" + statement + " " + h.tag + "'; end if; end $$"
}

func cursorWithHold(h *hearing) error {
	return h.kept(residue{"begin; declare " + h.tag + " cursor with hold for select 1; commit", "exists (select from pg_cursors where name = '" + h.tag + "')", h.unless("pg_cursors", "close")})
}

func sqlPrepare(h *hearing) error {
	return h.kept(residue{"prepare " + h.tag + " as select 1", "exists (select from pg_prepared_statements where name = '" + h.tag + "')", h.unless("pg_prepared_statements", "deallocate")})
}

// named has clients prepare statements under one name, and execute them again and
// again.
func named(h *hearing, owners int) (err error) {
	clients, err := h.several(1 + watchers)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	homes := map[string]bool{}
	defer func() {
		_ = each(clients, func(_ int, c *client) error { // a pooler that tracks it forgets it; the others are cleaned by SQL
			if c.gone {
				return nil
			}
			if err := c.send(&pgproto3.Close{ObjectType: 'S', Name: h.tag}, syncNow); err != nil {
				return err
			}
			_, err := c.read(1)
			return err
		})
		if left := h.cleaned(h.unless("pg_prepared_statements", "deallocate"), homes); left != nil && err == nil {
			err = left
		}
	}()
	own := func(i int) string { return fmt.Sprintf("statement of client %d", i) }
	if err := each(clients[:min(owners, len(clients))], func(i int, c *client) error {
		// Where it was prepared is asked in the same pipeline.
		messages := append([]pgproto3.FrontendMessage{&pgproto3.Parse{Name: h.tag, Query: "select '" + own(i) + "'::text from pg_sleep(0.005)"}}, statement("select pg_backend_pid()")...)
		if err := c.send(append(messages, syncNow)...); err != nil {
			return err
		}
		got, err := c.read(1)
		if err != nil {
			return err
		}
		if c.err != nil {
			return absent(c.compare(got, "1"), c)
		}
		_, pid, _ := strings.Cut(got, "D(")
		pid, _, _ = strings.Cut(pid, ")")
		mu.Lock()
		defer mu.Unlock()
		homes[pid] = true
		return nil
	}); err != nil {
		return err
	}
	return each(clients, func(i int, c *client) error {
		for range 2 * meetings {
			if i >= owners { // it only keeps server connections from their owners
				if _, err := c.ask("select 1 from pg_sleep(0.005)"); err != nil {
					return err
				}
				continue
			}
			if err := c.send(&pgproto3.Bind{PreparedStatement: h.tag}, &pgproto3.Execute{}, syncNow); err != nil {
				return absent(err, c)
			}
			got, err := c.read(1)
			if err != nil {
				return absent(err, c)
			}
			if strings.Contains(got, "statement of client") && !strings.Contains(got, own(i)) {
				return leaksf("client %d ran another client's statement", i)
			}
			if err := absent(c.compare(got, "2 "+row(own(i))+" C(SELECT 1) Z(I)"), c); err != nil {
				return err
			}
		}
		return nil
	})
}

// absent makes lost what an error says is not there, or is another's.
func absent(err error, c *client) error {
	if err != nil && c.err != nil && (c.err.Code == "26000" || c.err.Code == "42P05" || strings.Contains(c.err.Message, "prepared statement")) {
		return lostf("%s %s", c.err.Code, c.err.Message)
	}
	return err
}

func namedStatement(h *hearing) error { return named(h, 1) }

func sameName(h *hearing) error { return named(h, 1+watchers) }

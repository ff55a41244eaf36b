package pooler

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Budget is how long a probe may take after its first connection stands.
const Budget = time.Second

// attempts bounds how often the probe tries to be moved to another server
// connection. PgBouncer hands out the one that was given back last, so that the
// first attempt decides there; server_round_robin and others need some.
const attempts = 6

// Probe connects to what config names and finds out what a [Report] says. It
// uses two connections, a third only to clean up after a pooler that
// disconnects, executes nothing but SELECTs, an empty transaction and a named
// statement of its own, and leaves nothing behind that it can reach.
//
// An error means that the first connection failed. What could not be found out
// within [Budget] is left unproven, with a note.
func Probe(ctx context.Context, config *pgx.ConnConfig) (Report, error) {
	start := time.Now()
	a, err := connect(ctx, config)
	if err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, Budget-min(time.Since(start), Budget/2))
	defer cancel()
	p := &probe{config: config, a: a, report: Report{ServerVersion: a.pg.ParameterStatus("server_version")}}
	defer p.close()
	p.run(ctx)
	p.report.Elapsed = time.Since(start)
	return p.report, nil
}

type probe struct {
	config *pgx.ConnConfig
	a, b   *client
	report Report
}

func (p *probe) notef(format string, args ...any) {
	p.report.Notes = append(p.report.Notes, fmt.Sprintf(format, args...))
}

func (p *probe) close() {
	for _, c := range []*client{p.a, p.b} {
		if c != nil {
			c.close()
		}
	}
}

// run fills the report in. It stops at the first thing that fails for another
// reason than the one it asks about.
func (p *probe) run(ctx context.Context) {
	p.report.Mode = Unknown
	pid, err := p.a.backendPID(ctx)
	if err != nil {
		p.report.Present, p.report.Undecided = true, ctx.Err() != nil
		p.notef("the first query failed: %v", err)
		return
	}
	if p.report.ImplicitScope, err = p.a.implicitScope(ctx); err != nil {
		p.report.Undecided = ctx.Err() != nil
		p.notef("the one-Sync scope could not be tried: %v", err)
	}
	// pgpool-II passes the pid on, but not the pipeline (4.3: measured).
	p.report.Present = pid != p.a.pg.PID() || !p.report.ImplicitScope
	if !p.report.Present {
		p.report.Mode, p.report.NamedStatements = None, true
		return
	}
	if p.b, err = connect(ctx, p.config); err != nil {
		p.notef("a second connection failed, so nothing is known of named statements: %v", err)
		return
	}
	p.namedStatements(ctx)
}

// namedStatements prepares a statement on one server connection and tries to
// execute it on another, and tells the mode from what happens.
func (p *probe) namedStatements(ctx context.Context) {
	name := "poolproof_probe_" + randomHex()
	home, err := p.a.prepareAndRun(ctx, name)
	if err != nil {
		p.notef("a named statement could not be prepared: %v", err)
		return
	}
	outcome, err := p.runElsewhere(ctx, name, home)
	p.closeNamed(ctx, name, home) // before BEGIN, for which a pooler in statement mode disconnects
	switch {
	case err != nil:
		p.notef("whether named statements are tracked could not be told, as with a pool of one server connection: %v", err)
	case outcome == ranElsewhere, outcome == lost:
		p.report.NamedStatements = outcome == ranElsewhere
		p.report.Mode = p.transactionOrStatement(ctx)
	case outcome == neverMoved:
		p.report.Mode = Session
	default:
		p.notef("the pooler never changed the server connection, so nothing is known of named statements")
	}
}

// outcome is how the attempts to execute a statement away from its home ended.
type outcome int

const (
	undecided    outcome = iota
	ranElsewhere         // it was executed on another server connection
	lost                 // it was not known there
	neverMoved           // each client kept a server connection of its own
)

func (p *probe) runElsewhere(ctx context.Context, name string, home uint32) (outcome, error) {
	others := map[uint32]bool{}
	for range attempts {
		held, err := p.b.hold(ctx)
		if err != nil {
			return undecided, err
		}
		others[held] = true
		if held != home { // give it back: most poolers hand out next what came back last
			if err := p.b.letGo(ctx); err != nil {
				return undecided, err
			}
		}
		at, runErr := p.a.runNamed(ctx, name)
		if held == home {
			if err := p.b.letGo(ctx); err != nil {
				return undecided, err
			}
		}
		_, refused := errors.AsType[*pgconn.PgError](runErr)
		switch {
		case refused && ctx.Err() == nil:
			return lost, nil
		case runErr != nil:
			return undecided, runErr
		case at != home:
			return ranElsewhere, nil
		}
	}
	if len(others) == 1 && !others[home] {
		return neverMoved, nil
	}
	return undecided, nil
}

// transactionOrStatement asks whether BEGIN is let through. A pooler in
// statement mode disconnects for it.
func (p *probe) transactionOrStatement(ctx context.Context) Mode {
	_, err := p.b.pg.Exec(ctx, "begin").ReadAll()
	if err == nil {
		_, err = p.b.pg.Exec(ctx, "rollback").ReadAll()
	}
	switch pgErr, refused := errors.AsType[*pgconn.PgError](err); {
	case err == nil:
		return Transaction
	case refused && strings.Contains(pgErr.Message, "statement pooling"):
		return Statement
	default:
		p.notef("BEGIN failed: %v", err)
		return Unknown
	}
}

// closeNamed closes the probe's statement where it was prepared. A pooler that
// tracks statements does so itself; through another the probe has to come by
// that server connection again.
func (p *probe) closeNamed(ctx context.Context, name string, home uint32) {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), Budget/4)
		defer cancel()
	}
	for range attempts {
		if p.a.pg.IsClosed() {
			fresh, err := connect(ctx, p.config)
			if err != nil {
				break
			}
			p.a = fresh
		}
		at, err := p.a.closeNamed(ctx, name)
		if err == nil && (at == home || p.report.NamedStatements) {
			return
		}
	}
	p.notef("the named statement %s was left on the server connection with pid %d", name, home)
}

// client is a connection that the probe drives message by message.
type client struct{ pg *pgconn.PgConn }

func connect(ctx context.Context, config *pgx.ConnConfig) (*client, error) {
	pg, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return nil, err
	}
	return &client{pg}, nil
}

func (c *client) close() {
	ctx, cancel := context.WithTimeout(context.Background(), Budget)
	defer cancel()
	_ = c.pg.Close(ctx) // it is given up either way
}

const selectPID = "select pg_backend_pid()"

func (c *client) backendPID(ctx context.Context) (uint32, error) {
	return c.pid(ctx, c.run("", selectPID), &pgproto3.Sync{})
}

// run are the messages of a statement, parsed under name.
func (c *client) run(name, sql string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{
		&pgproto3.Parse{Name: name, Query: sql}, &pgproto3.Bind{PreparedStatement: name}, &pgproto3.Execute{},
	}
}

func (c *client) prepareAndRun(ctx context.Context, name string) (uint32, error) {
	return c.pid(ctx, c.run(name, selectPID), &pgproto3.Sync{})
}

func (c *client) runNamed(ctx context.Context, name string) (uint32, error) {
	return c.pid(ctx, c.run(name, selectPID)[1:], &pgproto3.Sync{})
}

func (c *client) closeNamed(ctx context.Context, name string) (uint32, error) {
	messages := append([]pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: name}}, c.run("", selectPID)...)
	return c.pid(ctx, messages, &pgproto3.Sync{})
}

// hold takes a server connection and keeps it: a Flush instead of the Sync
// brings the answer without the ReadyForQuery at which a pooler takes it back.
func (c *client) hold(ctx context.Context) (uint32, error) {
	return c.pid(ctx, c.run("", selectPID), &pgproto3.Flush{})
}

func (c *client) letGo(ctx context.Context) error {
	_, err := c.exchange(ctx, nil, &pgproto3.Sync{})
	return err
}

// implicitScope tries a transaction-local setting in one pipeline with its
// reader. The setting is one of PostgreSQL's own, so that no placeholder stays.
func (c *client) implicitScope(ctx context.Context) (bool, error) {
	const setting, value = "cursor_tuple_fraction", "0.123"
	messages := append(c.run("", "select set_config('"+setting+"', '"+value+"', true)"), c.run("", "select current_setting('"+setting+"')")...)
	within, err := c.exchange(ctx, messages, &pgproto3.Sync{})
	if err != nil {
		return false, err
	}
	after, err := c.exchange(ctx, c.run("", "select current_setting('"+setting+"')"), &pgproto3.Sync{})
	if err != nil {
		return false, err
	}
	return len(within) == 2 && within[1] == value && len(after) == 1 && after[0] != value, nil
}

func (c *client) pid(ctx context.Context, messages []pgproto3.FrontendMessage, end pgproto3.FrontendMessage) (uint32, error) {
	values, err := c.exchange(ctx, messages, end)
	if err != nil {
		return 0, err
	}
	if len(values) != 1 {
		return 0, fmt.Errorf("%d rows instead of one", len(values))
	}
	pid, err := strconv.ParseUint(values[0], 10, 32)
	return uint32(pid), err
}

// exchange sends messages with a Sync or Flush at their end and gives the
// first column of every row: up to ReadyForQuery, or after a Flush up to the
// last statement's CommandComplete.
func (c *client) exchange(ctx context.Context, messages []pgproto3.FrontendMessage, end pgproto3.FrontendMessage) (values []string, err error) {
	fe := c.pg.Frontend()
	for _, m := range messages {
		fe.Send(m)
	}
	fe.Send(end)
	if err := fe.Flush(); err != nil {
		return nil, err
	}
	_, flush := end.(*pgproto3.Flush)
	for {
		msg, receiveErr := c.pg.ReceiveMessage(ctx)
		if receiveErr != nil {
			if err == nil {
				err = receiveErr
			}
			c.close() // what is still to come cannot be told from the next answer
			return nil, err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if len(msg.Values) > 0 {
				values = append(values, string(msg.Values[0]))
			}
		case *pgproto3.CommandComplete:
			if flush {
				return values, err
			}
		case *pgproto3.ErrorResponse:
			if err == nil {
				err = pgconn.ErrorResponseToPgError(msg)
			}
			if flush {
				fe.Send(&pgproto3.Sync{}) // the server waits for it
				if err := fe.Flush(); err != nil {
					return nil, err
				}
				flush = false
			}
		case *pgproto3.ReadyForQuery:
			return values, err
		}
	}
}

func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

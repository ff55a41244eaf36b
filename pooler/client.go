package pooler

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// client is a connection that the probe drives message by message.
type client struct {
	pg     *pgconn.PgConn
	broken bool // nothing can be asked any more

	// What has come of the answer under way.
	values []string
	err    error
	flush  bool // it ends with CommandComplete, as a Flush asked for it
	held   bool // a server connection is kept for this client
}

func connect(ctx context.Context, config *pgx.ConnConfig) (*client, error) {
	pg, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return nil, err
	}
	return &client{pg: pg}, nil
}

// close hands back what is held and says good-bye. A client that left in the
// middle of a transaction would cost the pooler its server connection.
func (c *client) close() {
	ctx, cancel := context.WithTimeout(context.Background(), Budget)
	defer cancel()
	if err := c.letGo(ctx); err != nil || c.broken {
		c.breakOff()
		return
	}
	_ = c.pg.Close(ctx) // it is given up either way
	c.broken = true
}

func (c *client) breakOff() {
	_ = c.pg.Conn().Close() // it is given up
	c.broken = true
}

// place is where a statement ran.
type place struct {
	pid uint32
	// stays: the probe's named statement is on that server connection.
	stays bool
	// gone: the server connection that was asked about is no more.
	gone bool
}

// selectPID is what the named statement says. Operators are PostgreSQL's own here,
// whatever search_path the login has.
const selectPID = "select pg_catalog.pg_backend_pid()"

// selectPlace is a place, of the named statement $1.
const selectPlace = selectPID + ` operator(pg_catalog.||) case when exists (
	select from pg_catalog.pg_prepared_statements where name operator(pg_catalog.=) $1) then ' stays' else '' end`

// selectGone is a place, and whether the server connection $1 is gone.
const selectGone = selectPID + ` operator(pg_catalog.||) case when exists (
	select from pg_catalog.pg_stat_activity where pid operator(pg_catalog.=) $1::pg_catalog.int4) then '' else ' gone' end`

// statement are the messages of a statement, parsed under name.
func statement(name, sql string, params ...string) []pgproto3.FrontendMessage {
	bind := &pgproto3.Bind{PreparedStatement: name}
	for _, param := range params {
		bind.Parameters = append(bind.Parameters, []byte(param))
	}
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Name: name, Query: sql}, bind, &pgproto3.Execute{}}
}

func (c *client) backendPID(ctx context.Context) (uint32, error) {
	at, err := c.place(ctx, statement("", selectPID), &pgproto3.Sync{})
	return at.pid, err
}

func (c *client) prepareAndRun(ctx context.Context, name string) (uint32, error) {
	at, err := c.place(ctx, statement(name, selectPID), &pgproto3.Sync{})
	return at.pid, err
}

// sendNamed asks for the named statement; the answer is to be received.
func (c *client) sendNamed(name string) error {
	return c.send(statement(name, selectPID)[1:], &pgproto3.Sync{})
}

// pgpoolVersion is what pgpool-II answers for itself, "" of anybody else.
func (c *client) pgpoolVersion(ctx context.Context) string {
	version, err := c.ask(ctx, nil, &pgproto3.Query{String: "show pool_version"})
	if err != nil || len(version) != 1 {
		return ""
	}
	return version[0]
}

// closeNamed closes the named statement wherever that is, and asks whether the
// server connection home is gone, to which a pooler in statement mode puts an
// end for a BEGIN.
func (c *client) closeNamed(ctx context.Context, name string, home uint32) (place, error) {
	messages := append([]pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: name}},
		statement("", selectGone, strconv.FormatUint(uint64(home), 10))...)
	return c.place(ctx, messages, &pgproto3.Sync{})
}

// hold takes a server connection and keeps it, by a transaction.
func (c *client) hold(ctx context.Context, name string) (place, error) {
	at, err := c.place(ctx, append(statement("", "begin"), statement("", selectPlace, name)...), &pgproto3.Sync{})
	c.held = err == nil
	return at, err
}

// errNoFlush says that a Flush brought no answer.
var errNoFlush = errors.New("a Flush is not answered before its Sync")

// holdByFlush is hold where BEGIN is refused: a Flush instead of the Sync brings
// the answer without the ReadyForQuery at which a pooler takes the server
// connection back. One that keeps the answer back as well is waited for no longer
// than for patience.
func (c *client) holdByFlush(ctx context.Context, name string) (place, error) {
	if err := c.send(statement("", selectPlace, name), &pgproto3.Flush{}); err != nil {
		return place{}, err
	}
	brief, cancel := context.WithTimeout(ctx, patience)
	at, err := readPlace(c.receive(brief))
	cancel()
	c.held = true
	if !errors.Is(err, errWaiting) {
		return at, err
	}
	if err := c.letGo(ctx); err != nil { // with its Sync the answer comes
		return place{}, err
	}
	return place{}, errNoFlush
}

// letGo hands back what hold or holdByFlush took.
func (c *client) letGo(ctx context.Context) error {
	if !c.held {
		return nil
	}
	c.held = false
	var messages []pgproto3.FrontendMessage
	if c.pg.TxStatus() != 'I' {
		messages = statement("", "rollback")
	}
	_, err := c.ask(ctx, messages, &pgproto3.Sync{})
	return err
}

// implicitScope tries a transaction-local setting in one pipeline with its
// reader. The setting is one of PostgreSQL's own, so that no placeholder stays.
func (c *client) implicitScope(ctx context.Context) (bool, error) {
	const setting, value = "cursor_tuple_fraction", "0.123"
	read := statement("", "select pg_catalog.current_setting('"+setting+"')")
	within, err := c.ask(ctx, append(statement("", "select pg_catalog.set_config('"+setting+"', '"+value+"', true)"), read...), &pgproto3.Sync{})
	if err != nil {
		return false, err
	}
	after, err := c.ask(ctx, read, &pgproto3.Sync{})
	if err != nil {
		return false, err
	}
	return len(within) == 2 && within[1] == value && len(after) == 1 && after[0] != value, nil
}

func (c *client) place(ctx context.Context, messages []pgproto3.FrontendMessage, end pgproto3.FrontendMessage) (place, error) {
	return readPlace(c.ask(ctx, messages, end))
}

func readPlace(values []string, err error) (place, error) {
	if err != nil {
		return place{}, err
	}
	if len(values) != 1 {
		return place{}, fmt.Errorf("%d rows instead of one", len(values))
	}
	number, state, _ := strings.Cut(values[0], " ")
	pid, err := strconv.ParseUint(number, 10, 32)
	return place{pid: uint32(pid), stays: state == "stays", gone: state == "gone"}, err
}

// ask sends messages with a Sync or Flush at their end and returns the first
// column of every row of the answer.
func (c *client) ask(ctx context.Context, messages []pgproto3.FrontendMessage, end pgproto3.FrontendMessage) ([]string, error) {
	if err := c.send(messages, end); err != nil {
		return nil, err
	}
	return c.receiveLast(ctx)
}

// receiveLast is receive for whoever does not wait any longer: the connection is
// broken off then, as what is still to come could not be told from the next
// answer.
func (c *client) receiveLast(ctx context.Context) ([]string, error) {
	values, err := c.receive(ctx)
	if errors.Is(err, errWaiting) {
		c.breakOff()
	}
	return values, err
}

func (c *client) send(messages []pgproto3.FrontendMessage, end pgproto3.FrontendMessage) error {
	if c.broken {
		return errors.New("the connection is broken")
	}
	fe := c.pg.Frontend()
	for _, m := range messages {
		fe.Send(m)
	}
	fe.Send(end)
	_, c.flush = end.(*pgproto3.Flush)
	c.values, c.err = nil, nil
	if err := fe.Flush(); err != nil {
		c.breakOff()
		return err
	}
	return nil
}

// errWaiting says that an answer has not come within the time given. It can be
// received later.
var errWaiting = errors.New("no answer in time")

// receive reads the answer up to ReadyForQuery, or after a Flush up to the last
// statement's CommandComplete.
func (c *client) receive(ctx context.Context) ([]string, error) {
	for {
		msg, err := c.pg.ReceiveMessage(ctx)
		switch {
		case err != nil && ctx.Err() != nil && !c.pg.IsClosed():
			return nil, fmt.Errorf("%w: %w", errWaiting, ctx.Err())
		case err != nil:
			c.breakOff()
			if c.err != nil { // why it was closed
				return nil, c.err
			}
			return nil, err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if len(msg.Values) > 0 {
				c.values = append(c.values, string(msg.Values[0]))
			}
		case *pgproto3.CommandComplete:
			if c.flush {
				return c.values, c.err
			}
		case *pgproto3.ErrorResponse:
			if c.err == nil {
				c.err = pgconn.ErrorResponseToPgError(msg)
			}
			if c.flush { // the server waits for it
				c.flush = false
				fe := c.pg.Frontend()
				fe.Send(&pgproto3.Sync{})
				if err := fe.Flush(); err != nil {
					c.breakOff()
					return nil, c.err
				}
			}
		case *pgproto3.ReadyForQuery:
			return c.values, c.err
		}
	}
}

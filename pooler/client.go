package pooler

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// client is a connection that the probe drives message by message.
type client struct {
	pg     *pgconn.PgConn
	broken bool // nothing can be asked any more

	// What has come of the answer under way.
	values  []string   // the first column of each row
	rows    [][]string // all of them
	columns []string   // names, of the last description
	trace   []byte     // the type of each message, as on the wire
	copying []byte     // what is sent when the server asks for the data of a COPY
	err     error
	flush   bool // it ends with CommandComplete, as a Flush asked for it
	held    bool // a server connection is kept for this client
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

// selectPID is what the probe asks. Operators and functions are PostgreSQL's own
// here, whatever search_path the login has.
const selectPID = "select pg_catalog.pg_backend_pid()"

// statement are the messages of a statement, parsed under name.
func statement(name, sql string, params ...string) []pgproto3.FrontendMessage {
	bind := &pgproto3.Bind{PreparedStatement: name}
	for _, param := range params {
		bind.Parameters = append(bind.Parameters, []byte(param))
	}
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Name: name, Query: sql}, bind, &pgproto3.Execute{}}
}

func (c *client) backendPID(ctx context.Context) (uint32, error) {
	return readPID(c.ask(ctx, statement("", selectPID), &pgproto3.Sync{}))
}

// sendPID asks for the server connection's pid; the answer is to be received.
func (c *client) sendPID() error { return c.send(statement("", selectPID), &pgproto3.Sync{}) }

// tracksNamed prepares a statement and, in the same pipeline, has the server drop
// whatever it has under that very name, so that nothing is left behind even if the
// probe ends here. Then it executes the statement: that works only if the pooler
// knows it and has prepared it under a name of its own. known says that the server
// had the client's own name.
func (c *client) tracksNamed(ctx context.Context, name string) (tracked, known bool, err error) {
	const is = "exists (select from pg_catalog.pg_prepared_statements where name operator(pg_catalog.=) "
	messages := []pgproto3.FrontendMessage{&pgproto3.Parse{Name: name, Query: selectPID}}
	messages = append(messages, statement("", "select "+is+"$1)", name)...)
	messages = append(messages, statement("", "do $$ begin if "+is+"'"+name+"') then execute 'deallocate "+name+"'; end if; end $$")...)
	values, err := c.ask(ctx, messages, &pgproto3.Sync{})
	defer func() {
		_, _ = c.ask(ctx, []pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: name}}, &pgproto3.Sync{})
	}() // the pooler forgets it; what is not there may be closed
	if err != nil {
		return false, false, err
	}
	known = len(values) == 1 && values[0] == "t"
	_, err = c.ask(ctx, statement(name, selectPID)[1:], &pgproto3.Sync{})
	if err != nil && !statementLost(err) {
		return false, known, err
	}
	return err == nil, known, nil
}

// pgpoolVersion is what pgpool-II answers for itself, "" of anybody else.
func (c *client) pgpoolVersion(ctx context.Context) string {
	version, err := c.ask(ctx, nil, &pgproto3.Query{String: "show pool_version"})
	if err != nil || len(version) != 1 {
		return ""
	}
	return version[0]
}

// hold takes a server connection and keeps it, by a transaction.
func (c *client) hold(ctx context.Context) (uint32, error) {
	pid, err := readPID(c.ask(ctx, append(statement("", "begin"), statement("", selectPID)...), &pgproto3.Sync{}))
	c.held = err == nil
	return pid, err
}

// errNoFlush says that a Flush brought no answer.
var errNoFlush = errors.New("a Flush is not answered before its Sync")

// holdByFlush is hold where BEGIN is refused: a Flush instead of the Sync brings
// the answer without the ReadyForQuery at which a pooler takes the server
// connection back. One that keeps the answer back as well is waited for no longer
// than for patience.
func (c *client) holdByFlush(ctx context.Context) (uint32, error) {
	if err := c.send(statement("", selectPID), &pgproto3.Flush{}); err != nil {
		return 0, err
	}
	brief, cancel := context.WithTimeout(ctx, patience)
	pid, err := readPID(c.receive(brief))
	cancel()
	c.held = true
	if !errors.Is(err, errWaiting) {
		return pid, err
	}
	if err := c.letGo(ctx); err != nil { // with its Sync the answer comes
		return 0, err
	}
	return 0, errNoFlush
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

func readPID(values []string, err error) (uint32, error) {
	if err != nil {
		return 0, err
	}
	if len(values) != 1 {
		return 0, fmt.Errorf("%d rows instead of one", len(values))
	}
	pid, err := strconv.ParseUint(values[0], 10, 32)
	return uint32(pid), err
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
	c.values, c.rows, c.columns, c.trace, c.err = nil, nil, nil, nil, nil
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
		case *pgproto3.ParseComplete:
			c.trace = append(c.trace, '1')
		case *pgproto3.BindComplete:
			c.trace = append(c.trace, '2')
		case *pgproto3.NoData:
			c.trace = append(c.trace, 'n')
		case *pgproto3.CopyOutResponse:
			c.trace = append(c.trace, 'H')
		case *pgproto3.CopyData:
			c.trace = append(c.trace, 'd')
		case *pgproto3.CopyInResponse:
			c.trace = append(c.trace, 'G')
			fe := c.pg.Frontend()
			fe.Send(&pgproto3.CopyData{Data: c.copying})
			fe.Send(&pgproto3.CopyDone{})
			if err := fe.Flush(); err != nil {
				c.breakOff()
				return nil, err
			}
		case *pgproto3.RowDescription:
			c.trace = append(c.trace, 'T')
			for _, field := range msg.Fields {
				c.columns = append(c.columns, string(field.Name))
			}
		case *pgproto3.DataRow:
			c.trace = append(c.trace, 'D')
			row := make([]string, len(msg.Values))
			for i, value := range msg.Values {
				row[i] = string(value)
			}
			c.rows = append(c.rows, row)
			if len(row) > 0 {
				c.values = append(c.values, row[0])
			}
		case *pgproto3.CommandComplete:
			c.trace = append(c.trace, 'C')
			if c.flush {
				return c.values, c.err
			}
		case *pgproto3.ErrorResponse:
			c.trace = append(c.trace, 'E')
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

package wire

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// Conn is this package's view of a pgx connection. Like the connection itself
// it serves one goroutine at a time.
type Conn struct {
	pgx      *pgx.Conn
	pg       *pgconn.PgConn
	out      *pgproto3.Frontend // writes only; pg's own one writes too, when it ends the connection, while we may be writing
	shared   *Descriptions
	builder  pgx.ExtendedQueryBuilder
	named    map[string]*list.Element // by statement name; values are *description
	recent   *list.List               // of *description, most recently used first
	capacity int
	oids     []uint32                  // scratch of inferred
	plain    description               // of a statement alone that is not described before it is sent
	fields   []pgconn.FieldDescription // of the result that was described last
	stop     func()                    // interrupts reading and writing
	closing  []string                  // names that the server may still hold and that are to be closed
	broken   bool                      // an exchange ended in the middle
	retired  atomic.Bool
	current  *Exchange // not closed yet; nil if there is none

	last        atomic.Pointer[string] // SQL of the last exchange's first statement
	interrupted atomic.Bool
}

const customDataKey = "poolproof"

// Of returns the Conn that belongs to a pgx connection, making it at first use.
func Of(conn *pgx.Conn, shared *Descriptions) *Conn {
	data := conn.PgConn().CustomData()
	if c, ok := data[customDataKey].(*Conn); ok {
		return c
	}
	c := &Conn{
		pgx: conn, pg: conn.PgConn(), out: pgproto3.NewFrontend(nil, conn.PgConn().Conn()), shared: shared,
		named: map[string]*list.Element{}, recent: list.New(), capacity: shared.capacity,
	}
	c.stop = func() { _ = c.pg.Conn().SetDeadline(longAgo) }
	data[customDataKey] = c
	return c
}

// Pgx is the connection itself.
func (c *Conn) Pgx() *pgx.Conn { return c.pgx }

// TxStatus is the transaction status of the last ReadyForQuery: 'I', 'T' or 'E'.
func (c *Conn) TxStatus() byte { return c.pg.TxStatus() }

// Broken reports whether the connection must be given up, because an exchange
// did not reach its ReadyForQuery, or because it was retired.
func (c *Conn) Broken() bool { return c.broken || c.retired.Load() || c.pg.IsClosed() }

// Ready reports whether an exchange can be begun: the connection is whole, and
// none is open.
func (c *Conn) Ready() bool { return !c.Broken() && c.current == nil }

// Idle reports whether the connection may serve somebody else: it is ready, the
// server says that no transaction is open, and nothing has come that nobody
// asked for.
func (c *Conn) Idle() bool {
	return c.Ready() && c.TxStatus() == protocol.Idle && c.pg.Frontend().ReadBufferLen() == 0
}

// Retire keeps anything further from being sent: whatever asks for it gets an
// error. Unlike all other methods it may be called while another goroutine uses
// the connection.
func (c *Conn) Retire() { c.retired.Store(true) }

// remember marks a description as held by the server under its name.
func (c *Conn) remember(d *description) {
	if el, ok := c.named[d.name]; ok {
		el.Value = d
		c.recent.MoveToFront(el)
		return
	}
	c.named[d.name] = c.recent.PushFront(d)
}

func (c *Conn) unremember(name string) {
	if el, ok := c.named[name]; ok {
		c.recent.Remove(el)
		delete(c.named, name)
	}
}

// holds reports whether the server holds exactly this description, and notes the use.
func (c *Conn) holds(d *description) bool {
	el, ok := c.named[d.name]
	if !ok || el.Value.(*description) != d { //nolint:forcetypeassert // the list holds nothing else
		return false
	}
	c.recent.MoveToFront(el)
	return true
}

// parse sends what is needed for d to be bound next and returns the name to bind.
func (x *Exchange) parse(d *description) string {
	c, out := x.conn, x.conn.out
	if x.mode != CacheStatement {
		out.SendParse(&pgproto3.Parse{Query: d.sql, ParameterOIDs: d.paramOIDs})
		x.parsing, x.script = append(x.parsing, nil), append(x.script, parsed)
		return ""
	}
	if c.holds(d) {
		return d.name
	}
	if _, stale := c.named[d.name]; stale {
		c.closing = append(c.closing, d.name)
		c.unremember(d.name)
	}
	for c.recent.Len() >= c.capacity {
		oldest := c.recent.Back().Value.(*description) //nolint:forcetypeassert // the list holds nothing else
		if x.uses(oldest) {
			break // more statements in one pipeline than the cache holds
		}
		c.closing = append(c.closing, oldest.name)
		c.unremember(oldest.name)
	}
	x.sendCloses()
	out.SendParse(&pgproto3.Parse{Name: d.name, Query: d.sql, ParameterOIDs: d.paramOIDs})
	x.parsing, x.script = append(x.parsing, d), append(x.script, parsed)
	c.remember(d)
	return d.name
}

// sendCloses closes the names that are not wanted any more; each stays on the
// list until the server has said that it is closed.
func (x *Exchange) sendCloses() {
	for _, name := range x.conn.closing[x.closesSent:] {
		x.conn.out.SendClose(&pgproto3.Close{ObjectType: 'S', Name: name})
		x.closesSent++
		x.script = append(x.script, closed)
	}
}

func (x *Exchange) uses(d *description) bool {
	return slices.Contains(x.parsing, d)
}

// inferred returns the types of n parameters that are left to the server, and the
// rider's. It is valid until the next call.
func (c *Conn) inferred(n int, r Rider) []uint32 {
	c.oids = slices.Grow(c.oids[:0], n+1)[:n+1]
	clear(c.oids)
	c.oids[n] = r.OID
	return c.oids
}

// CallError says that a call failed before the statement that it goes with was
// described.
type CallError struct{ Err error }

// Error is the cause's text.
func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *CallError) Unwrap() error { return e.Err }

// describe learns a statement's types in a round trip of its own. The statement
// is not executed; the calls on which the resolving of names depends are. In CacheStatement mode the
// statement is named, and held, from then on.
func (c *Conn) describe(ctx context.Context, mode Mode, calls []Call, st Statement) (*description, error) {
	sql := st.SQL
	d := &description{sql: sql, name: StatementName(sql)}
	sent := d
	if st.Rider.OID != 0 { // so that it is held under the name that will be bound
		sent = &description{sql: sql, name: RiddenName(sql, st.Rider.OID), paramOIDs: slices.Clone(c.inferred(len(st.Args), st.Rider))}
	}
	x, err := c.open(ctx, mode)
	if err != nil {
		return nil, err
	}
	calls = slices.DeleteFunc(slices.Clone(calls), func(call Call) bool { return !call.ChangesNames })
	x.sendCalls(calls)
	name := x.parse(sent)
	x.conn.out.SendDescribe(&pgproto3.Describe{ObjectType: 'S', Name: name})
	x.script = append(x.script, parameters, described)
	x.sync(0)
	done := 0 // calls
	for {
		msg, err := x.receive()
		if err != nil {
			if err = x.Close(); done < len(calls) {
				err = &CallError{err}
			}
			return nil, err
		}
		switch msg := msg.(type) {
		case *pgproto3.CommandComplete:
			done++
		case *pgproto3.ParameterDescription:
			sent.paramOIDs = append([]uint32{}, msg.ParameterOIDs...)
			if d.paramOIDs = sent.paramOIDs; sent != d {
				d.paramOIDs = slices.Clip(sent.paramOIDs[:min(len(st.Args), len(sent.paramOIDs))])
				d.ridden.Store(sent)
			}
		case *pgproto3.RowDescription:
			if fetches(sql) {
				continue // its result is the cursor's, another one each time
			}
			d.fields = fieldDescriptions(msg)
			for i := range d.fields { // the formats that will be asked for, so that the fields need no copy then
				d.fields[i].Format = c.pgx.TypeMap().FormatCodeForOID(d.fields[i].DataTypeOID)
			}
			sent.fields = d.fields
		case *pgproto3.ReadyForQuery:
			if err := x.Close(); err != nil {
				return nil, err
			}
			if st.Rider.OID != 0 && len(sent.paramOIDs) != len(st.Args)+1 {
				return nil, countError(len(sent.paramOIDs), len(st.Args)) // the text names the rider, too
			}
			c.shared.put(d)
			return d, nil
		}
	}
}

func countError(parameters, arguments int) error {
	return fmt.Errorf("the statement has %d parameters, %d arguments were given", parameters, arguments)
}

func fetches(sql string) bool {
	const word = "fetch"
	sql = strings.TrimSpace(sql)
	return len(sql) >= len(word) && strings.EqualFold(sql[:len(word)], word)
}

// LastSQL is the text of the statement that was sent last, of the first where
// there were several; "" if there was none. It may be called at any time, by any
// goroutine.
func (c *Conn) LastSQL() string {
	if sql := c.last.Load(); sql != nil {
		return *sql
	}
	return ""
}

func (c *Conn) note(sql string) { c.last.Store(&sql) }

// ErrInterrupted is the error of an exchange that Interrupt or Abandon has ended.
var ErrInterrupted = errors.New("the database was being closed")

// Interrupt has the exchange that is under way, and any later one, fail. It may be
// called at any time, by any goroutine; the connection's user gives it up then.
func (c *Conn) Interrupt() {
	c.interrupted.Store(true)
	_ = c.pg.Conn().SetDeadline(longAgo)
}

// Abandon closes the socket under a user who does not use it, so that the server
// rolls back. It may be called at any time, by any goroutine.
func (c *Conn) Abandon() {
	c.interrupted.Store(true)
	_ = c.pg.Conn().Close()
}

// cancelTime bounds a cancel request. PgBouncer 1.18 ends itself when one is hung up
// that the server has not answered yet (pgbouncer's issue 801), so ours stays for
// longer than a server takes that is merely slow.
const cancelTime = time.Minute

// Discard ends a connection that must not be used again: it asks the server to
// stop what it is doing for it, again if the first request came before there was
// anything to stop, and closes the socket. It is meant to run in a goroutine of
// its own and takes at most two seconds; a request that the pooler has not answered
// by then stays, for cancelTime at most.
func (c *Conn) Discard() {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	for wait := 100 * time.Millisecond; !c.pg.IsClosed() && ctx.Err() == nil; wait *= 2 {
		asked := make(chan error, 1)
		go func() {
			ctx, stop := context.WithTimeout(context.Background(), cancelTime)
			defer stop()
			asked <- c.pg.CancelRequest(ctx)
		}()
		var err error
		select {
		case err = <-asked:
		case <-ctx.Done():
		}
		if err != nil || ctx.Err() != nil || c.ended(wait) { // best effort: the connection is given up either way
			break
		}
	}
	_ = c.pgx.Close(ctx)
}

// ended reads on for a while and reports whether there is nothing left to stop: the
// server has come to its ReadyForQuery, or the connection cannot be read.
func (c *Conn) ended(wait time.Duration) bool {
	if c.pg.Conn().SetReadDeadline(time.Now().Add(wait)) != nil {
		return true
	}
	for {
		msg, err := c.pg.Frontend().Receive()
		if err != nil {
			timeout, ok := errors.AsType[net.Error](err)
			return !ok || !timeout.Timeout()
		}
		if _, ready := msg.(*pgproto3.ReadyForQuery); ready {
			return true
		}
	}
}

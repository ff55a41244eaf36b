package wire

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// Call is a fixed statement with the values of its parameters.
type Call struct {
	Fixed  *Fixed
	Params [][]byte
	// ChangesNames: the call changes how table and function names resolve (it sets the role), so it is also sent before a Describe.
	ChangesNames bool
}

// Exchange is one pipeline under way: sent, its Sync included, and not yet
// read up to ReadyForQuery. Its methods may be called from several goroutines,
// one after the other: whoever closes it waits for whoever reads.
type Exchange struct {
	mu sync.Mutex // held while anything below is read or changed; no caller's code runs meanwhile

	conn *Conn
	mode Mode
	ctx  context.Context

	script []answer   // what the server is to answer to what was sent, in order
	short  [16]answer // where script begins
	said   int        // how much of it has come
	early  bool       // what is read next came before anything was sent, so that it answers nothing of it

	parsing    []*description  // Parse messages not yet answered; nil for unnamed ones
	few        [4]*description // where parsing begins
	closesSent int             // of conn.closing
	inserting  bool            // rows are being inserted: any number of times bound and executed
	inserted   int             // how often something is executed, then; read after flushed
	executions int             // how often something was, so far
	sent       []outgoing      // statements whose results were not yet begun
	one        [1]outgoing     // where sent begins
	used       []string        // SQL of the statements sent, to forget on error
	oneUsed    [1]string       // where used begins
	rows       Rows            // of the first result

	unwatch  func() bool   // stops the watch over ctx
	flushed  chan struct{} // closed when writing in the background has ended; nil if there is none
	writeErr error         // why it ended early; read after flushed

	riding  bool             // a statement with a rider was sent and its BindComplete has not come
	notices []*pgconn.Notice // that came while riding

	result    int // the current result's number, from 1
	fields    []pgconn.FieldDescription
	columns   int      // of a row; anyNumber where no description is asked for
	row       [][]byte // where ahead: a row that was read already
	ahead     bool
	tag       pgconn.CommandTag
	concluded bool // the current result was read to its end

	err     error // the first error
	refused bool  // the server said that something failed: it answers nothing more before ReadyForQuery
	ready   bool  // ReadyForQuery has come
	closed  bool
	given   atomic.Pointer[error] // why results that somebody still holds answer nothing any more
}

// outgoing is a statement ready to be sent.
type outgoing struct {
	desc      *description // in Exec mode it holds the text only
	describe  bool         // a description comes with the answer
	values    [][]byte
	formats   []int16 // of the parameters
	resultFmt []int16
	fields    []pgconn.FieldDescription // of the result, where no description comes with the answer
}

// ride appends a rider to the parameters.
func (o *outgoing) ride(c *Conn, r Rider) {
	if o.desc.name == "" { // not described: the server infers the other types
		o.desc.paramOIDs = c.inferred(len(o.values), r)
	} else {
		o.desc = o.desc.withRider(r.OID)
	}
	for len(o.formats) < len(o.values) { // "all text" is written as none
		o.formats = append(o.formats, pgtype.TextFormatCode)
	}
	o.values = append(o.values, r.Value)
	o.formats = append(o.formats, pgtype.BinaryFormatCode)
}

// largeFlush is the size, in bytes of parameters and text, from which a
// pipeline is written while answers are already read, because the server may
// block on its answers before it has read all of ours.
const largeFlush = 32 << 10

// messageOverhead is about what a statement's messages take besides its text and values.
const messageOverhead = 100

// longAgo is a deadline that interrupts whatever is under way.
var longAgo = time.Unix(1, 0)

// open starts an exchange. It fails without having touched the connection when
// ctx is done.
func (c *Conn) open(ctx context.Context, mode Mode) (*Exchange, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.Broken() {
		return nil, net.ErrClosed
	}
	if c.current != nil {
		return nil, errors.New("the result of the statement before is still open: close its rows, or read them to their end")
	}
	x := &Exchange{conn: c, mode: mode, ctx: ctx, concluded: true}
	x.parsing, x.script, x.sent, x.used = x.few[:0], x.short[:0], x.one[:0], x.oneUsed[:0]
	x.early = x.conn.pg.Frontend().ReadBufferLen() > 0
	c.current = x
	x.sendCloses()
	return x, nil
}

// Run sends the calls and the statements, in this order, and one Sync. Where
// the mode needs a description that is not known yet, a round trip goes before
// it, in which nothing is executed. On error nothing was sent, or the
// connection is broken and closed.
func (c *Conn) Run(ctx context.Context, mode Mode, calls []Call, statements ...Statement) (*Exchange, error) {
	var one [1]outgoing
	out := one[:]
	if len(statements) != 1 {
		out = make([]outgoing, len(statements))
	}
	size := 0
	for i, st := range statements {
		o, err := c.encode(ctx, mode, calls, st, len(statements) == 1)
		if err != nil {
			return nil, err
		}
		if st.Rider.OID != 0 {
			o.ride(c, st.Rider)
		}
		out[i] = o
		size += len(st.SQL) + messageOverhead
		for _, v := range o.values {
			size += len(v)
		}
	}
	x, err := c.open(ctx, mode)
	if err != nil {
		return nil, err
	}
	if len(statements) > 0 {
		c.note(statements[0].SQL)
	}
	x.sendCalls(calls)
	for i := range out {
		o := &out[i]
		before := len(x.parsing)
		name := x.parse(o.desc)
		if o.fields != nil && len(x.parsing) > before {
			o.fields, o.describe = nil, true
		}
		x.conn.out.SendBind(&pgproto3.Bind{PreparedStatement: name, ParameterFormatCodes: o.formats, Parameters: o.values, ResultFormatCodes: o.resultFmt})
		x.script = append(x.script, bound)
		if o.describe {
			x.conn.out.SendDescribe(&pgproto3.Describe{ObjectType: 'P'})
			x.script = append(x.script, described)
		}
		x.conn.out.SendExecute(&pgproto3.Execute{})
		x.script = append(x.script, executed)
		if o.desc.name != "" {
			x.used = append(x.used, o.desc.sql)
		}
	}
	x.sent = append(x.sent, out...)
	x.riding = len(statements) > 0 && statements[0].Rider.OID != 0
	x.sync(size)
	return x, nil
}

// sendCalls sends fixed statements, whose results Skip reads.
func (x *Exchange) sendCalls(calls []Call) {
	for _, call := range calls {
		name := x.parse(&call.Fixed.description)
		x.conn.out.SendBind(&pgproto3.Bind{PreparedStatement: name, Parameters: call.Params})
		x.conn.out.SendExecute(&pgproto3.Execute{})
		x.script = append(x.script, bound, executed)
	}
}

// encode turns arguments into wire values. Alone, a statement may use the
// connection's own buffers; among others it gets its own.
func (c *Conn) encode(ctx context.Context, mode Mode, calls []Call, st Statement, alone bool) (outgoing, error) {
	b := &c.builder
	if !alone {
		b = &pgx.ExtendedQueryBuilder{}
	}
	b.ParamValues = slices.Grow(b.ParamValues[:0], len(st.Args)+1) // and a rider
	b.ParamFormats = slices.Grow(b.ParamFormats[:0], len(st.Args)+1)
	if mode == Exec && st.Formats == nil {
		if args, ok := untyped(st.Args); ok {
			if err := b.Build(c.pgx.TypeMap(), nil, args); err != nil {
				return outgoing{}, err
			}
			desc := &c.plain
			if !alone {
				desc = &description{}
			}
			desc.sql, desc.paramOIDs = st.SQL, nil
			return outgoing{desc: desc, describe: !st.NoRows, values: b.ParamValues, formats: b.ParamFormats}, nil
		}
	}
	d := c.shared.get(st.SQL)
	if d == nil {
		var err error
		if d, err = c.describe(ctx, mode, calls, st); err != nil {
			return outgoing{}, err
		}
	}
	if len(d.paramOIDs) != len(st.Args) {
		return outgoing{}, countError(len(d.paramOIDs), len(st.Args))
	}
	sd := &pgconn.StatementDescription{ParamOIDs: d.paramOIDs, Fields: d.fields}
	if err := b.Build(c.pgx.TypeMap(), sd, st.Args); err != nil {
		return outgoing{}, err
	}
	o := outgoing{desc: d, values: b.ParamValues, formats: b.ParamFormats, resultFmt: b.ResultFormats}
	switch {
	case st.Text:
		o.resultFmt = nil
	case st.Formats != nil:
		o.resultFmt = st.Formats(d.fields)
	}
	switch {
	case st.NoRows:
	case mode == CacheStatement && len(d.fields) > 0 && !st.Text && st.Formats == nil && inFormats(d.fields, o.resultFmt):
		o.fields = d.fields // and a description after all if Run has to parse it anew
	default: // the types may have changed since they were described, or were not known then
		o.describe = true
	}
	return o, nil
}

// inFormats reports whether results in these formats are what the fields say.
// The fields may come from another connection, whose map knows other types.
func inFormats(fields []pgconn.FieldDescription, formats []int16) bool {
	for i := range fields {
		if i >= len(formats) || fields[i].Format != formats[i] {
			return false
		}
	}
	return true
}

// sync sends the Sync, flushes and begins to watch ctx.
func (x *Exchange) sync(size int) {
	x.conn.out.SendSync(&pgproto3.Sync{})
	x.watch()
	if size < largeFlush {
		if err := x.conn.out.Flush(); err != nil {
			x.fail(err)
		}
		return
	}
	x.flushed = make(chan struct{})
	go func() {
		defer close(x.flushed)
		// A failure shows in reading as well: the server cannot answer what it did not get.
		if err := x.conn.out.Flush(); err != nil {
			x.writeErr = err
			_ = x.conn.pg.Conn().SetReadDeadline(longAgo)
		}
	}()
}

// causeOf returns why reading failed: the error of the background writer, if it
// failed, else err.
func (x *Exchange) causeOf(err error) error {
	if x.flushed == nil {
		return err
	}
	_ = x.conn.pg.Conn().SetDeadline(longAgo)
	<-x.flushed
	if x.writeErr != nil && x.ctx.Err() == nil {
		return x.writeErr
	}
	return err
}

// watch interrupts the connection when ctx is done.
func (x *Exchange) watch() {
	if x.ctx.Done() != nil {
		x.unwatch = context.AfterFunc(x.ctx, x.conn.stop)
	}
}

// fail notes that the connection is broken.
func (x *Exchange) fail(err error) {
	x.conn.broken = true
	if x.err != nil {
		return // what PostgreSQL said before the connection ended says more
	}
	if x.conn.interrupted.Load() {
		err = ErrInterrupted
	}
	if ctxErr := x.ctx.Err(); ctxErr != nil {
		err = ctxErr
	}
	x.err = err
}

// receive returns the next message that matters, or the first error of the
// exchange. ErrorResponse is noted and reading goes on, to ReadyForQuery.
func (x *Exchange) receive() (pgproto3.BackendMessage, error) {
	for !x.conn.broken && !x.ready {
		msg, err := x.conn.pg.ReceiveMessage(context.Background())
		if err != nil {
			if pgErr, fatal := errors.AsType[*pgconn.PgError](err); fatal && x.err == nil { // its last words
				if err = x.failure(pgErr); pgErr.Code == "" {
					err = &LostStepError{errors.New("an error without a code")}
				}
			}
			x.fail(x.causeOf(err))
			break
		}
		early := x.early
		x.early = early && x.conn.pg.Frontend().ReadBufferLen() > 0
		switch msg := msg.(type) {
		case *pgproto3.ParameterStatus, *pgproto3.NotificationResponse:
			continue
		case *pgproto3.NoticeResponse:
			if x.riding {
				x.notices = append(x.notices, (*pgconn.Notice)(pgconn.ErrorResponseToPgError((*pgproto3.ErrorResponse)(msg))))
			}
			continue
		}
		if early {
			_ = x.unexpected(msg)
			break
		}
		switch msg := msg.(type) {
		case *pgproto3.CopyInResponse, *pgproto3.CopyOutResponse, *pgproto3.CopyBothResponse:
			x.fail(errors.New("COPY cannot be part of a pipeline; use CopyFrom"))
			continue
		case *pgproto3.ErrorResponse:
			if x.refused || msg.Code == "" { // after one error the server says nothing but ReadyForQuery
				x.lose("a further error, or one without a code")
				continue
			}
			x.err = x.failure(pgconn.ErrorResponseToPgError(msg))
			x.refused = true
			continue
		}
		if !x.expected(msg) {
			_ = x.unexpected(msg)
			break
		}
		switch msg := msg.(type) {
		case *pgproto3.ParseComplete:
			x.parsing = x.parsing[1:]
		case *pgproto3.CloseComplete:
			x.conn.closing = x.conn.closing[1:]
			x.closesSent--
		case *pgproto3.BindComplete:
			x.riding = false
		case *pgproto3.ReadyForQuery:
			x.ready = true
			if x.err == nil {
				return msg, nil
			}
		default:
			if x.err == nil {
				return msg, nil
			}
		}
	}
	if x.err == nil {
		x.err = errors.New("the pipeline has no further result")
	}
	return nil, x.err
}

// Riding reports whether a rider was not yet bound. What failed then, if anything
// did, is parsing the statement, converting one of its parameters or planning it.
func (x *Exchange) Riding() bool { return x.riding }

// Notices are the server's notices from before the rider was bound.
func (x *Exchange) Notices() []*pgconn.Notice { return x.notices }

// Err is the first error so far.
func (x *Exchange) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// GiveUp is Close for an owner who ends the exchange while somebody may still
// hold its results: they answer with reason from now on.
func (x *Exchange) GiveUp(reason error) error {
	x.given.Store(&reason)
	return x.Close()
}

// gone is why the exchange's results answer nothing any more; nil if they do.
func (x *Exchange) gone() error {
	if reason := x.given.Load(); reason != nil {
		return *reason
	}
	return nil
}

// Close reads to ReadyForQuery and returns the exchange's first error, that of
// the Sync included: a deferred constraint fails there. Further calls return the
// same.
func (x *Exchange) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.close()
}

func (x *Exchange) close() error {
	if x.closed {
		return x.err
	}
	x.closed, x.concluded, x.ahead = true, true, false
	for !x.ready && !x.conn.broken {
		if _, err := x.receive(); err != nil && !x.ready && !x.conn.broken {
			break // receive reads on past errors itself; this cannot loop
		}
	}
	if x.flushed != nil {
		if x.conn.broken {
			_ = x.conn.pg.Conn().SetDeadline(longAgo)
		}
		<-x.flushed
	}
	if x.unwatch != nil && !x.unwatch() {
		x.conn.broken = true // the deadline was set, or is being set
	}
	x.conn.current = nil
	for _, d := range x.parsing { // not acknowledged, so not there
		if d != nil {
			x.conn.unremember(d.name)
		}
	}
	if x.err != nil && forgettable(x.err) {
		for _, sql := range x.used {
			x.conn.shared.forget(sql)
		}
	}
	return x.err
}

// forgettable reports whether an error may come from a description that is out
// of date. Errors about data and concurrency do not.
func forgettable(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pgErr.Code) < 2 {
		return true
	}
	switch pgErr.Code[:2] {
	case "22":
		return pgErr.Code == "22P03" // invalid_binary_representation: a type has changed
	case "23", "40", "55", "57", "P0":
		return false
	}
	return true
}

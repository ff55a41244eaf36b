package wire

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// flushEvery is how many bytes of rows are gathered before they are written.
const flushEvery = 64 << 10

// Insert sends the calls and then one statement again and again, for each set
// of arguments that next returns until its args are nil, all under one Sync. It
// writes while it reads, so that any number of rows passes in constant memory.
// If next fails, no Sync is sent, the connection is given up, and with it the
// transaction. The exchange is returned with the calls' results to be Skipped
// and then Count to be called.
func (c *Conn) Insert(ctx context.Context, mode Mode, calls []Call, sql string, next func() ([]any, error)) (*Exchange, error) {
	desc := c.shared.get(sql) // in every mode: what the rows hold is not known yet
	if desc == nil {
		var err error
		if desc, err = c.describe(ctx, mode, calls, Statement{SQL: sql}); err != nil {
			return nil, err
		}
	}
	types := &pgconn.StatementDescription{ParamOIDs: desc.paramOIDs}
	x, err := c.open(ctx, mode)
	if err != nil {
		return nil, err
	}
	c.note(sql)
	x.sendCalls(calls)
	name := x.parse(desc)
	x.used = append(x.used, sql)
	x.inserting, x.inserted = true, len(calls)
	x.watch()
	x.flushed = make(chan struct{})
	go func() {
		err := errors.New("the source of rows ended its goroutine") // as t.Fatal does
		defer func() {
			if err != nil {
				x.writeErr = err
				_ = c.pg.Conn().SetReadDeadline(longAgo)
			}
			close(x.flushed)
		}()
		err = x.writeRows(name, types, next)
	}()
	return x, nil
}

// writeRows writes the rows that next returns, and the Sync.
func (x *Exchange) writeRows(name string, types *pgconn.StatementDescription, next func() ([]any, error)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the source of rows panicked: %v", p)
		}
	}()
	var b pgx.ExtendedQueryBuilder
	pending := 0
	for {
		args, err := next()
		if err != nil {
			return err
		}
		if args == nil {
			break
		}
		if err := b.Build(x.conn.pgx.TypeMap(), types, args); err != nil {
			return err
		}
		x.conn.out.SendBind(&pgproto3.Bind{PreparedStatement: name, ParameterFormatCodes: b.ParamFormats, Parameters: b.ParamValues})
		x.conn.out.SendExecute(&pgproto3.Execute{})
		x.inserted++
		for _, v := range b.ParamValues {
			pending += len(v) + 4
		}
		if pending += 32; pending >= flushEvery {
			pending = 0
			if err := x.conn.out.Flush(); err != nil {
				return err
			}
		}
	}
	x.conn.out.SendSync(&pgproto3.Sync{})
	return x.conn.out.Flush()
}

// Count reads the results of Insert to the end and sums up their rows.
func (x *Exchange) Count() (int64, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var n int64
	for {
		msg, err := x.receive()
		if err != nil {
			return 0, err
		}
		switch msg := msg.(type) {
		case *pgproto3.CommandComplete:
			n += pgconn.NewCommandTag(string(msg.CommandTag)).RowsAffected()
		case *pgproto3.ReadyForQuery:
			if <-x.flushed; x.executions != x.inserted {
				return 0, x.unexpected(msg)
			}
			return n, nil
		case *pgproto3.DataRow, *pgproto3.EmptyQueryResponse:
		default:
			return 0, x.unexpected(msg)
		}
	}
}

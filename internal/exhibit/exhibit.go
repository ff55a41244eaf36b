package exhibit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Rows is how many there are at first, with ids from 1 on.
const Rows = 500

// missing is the first id that no row has.
const missing = 100_000

// Program is one of the two.
type Program struct {
	Name string
	SQL  string
	id   func() int
}

// The two programs.
var (
	Reader  = Program{"reader", "select id, body from things where id = $1", func() int { return 1 + rand.IntN(Rows) }}        //nolint:gosec // no secret
	Deleter = Program{"deleter", "delete from things where id = $1", func() int { return missing + rand.IntN(1_000_000_000) }} //nolint:gosec // no secret
)

// Result is what became of a program's queries.
type Result struct {
	Queries int
	Wrong   int // answered, but not with what was asked for
	Failed  int
}

// Fill makes the table, or makes it whole again.
func Fill(ctx context.Context, url string) error {
	return on(ctx, url, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, `create table if not exists things (id int primary key, body text not null);
			truncate things; insert into things select n, 'thing ' || n from generate_series(1, `+strconv.Itoa(Rows)+`) n`, pgx.QueryExecModeSimpleProtocol)
		return err
	})
}

// Left counts the rows.
func Left(ctx context.Context, url string) (n int, err error) {
	err = on(ctx, url, func(c *pgx.Conn) error { return c.QueryRow(ctx, "select count(*) from things").Scan(&n) })
	return n, err
}

func on(ctx context.Context, url string, do func(*pgx.Conn) error) (err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("the exhibit: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }()
	if err := do(c); err != nil {
		return fmt.Errorf("the exhibit: %w", err)
	}
	return nil
}

// Run runs the program with so many connections for a while, each of which asks
// at least once. oneSync sends each query under one Sync, as lib/pq does with
// binary_parameters=yes.
func (p Program) Run(ctx context.Context, url string, connections int, d time.Duration, oneSync bool) (Result, error) {
	var queries, wrong, failed atomic.Int64
	errs := make([]error, connections)
	var all sync.WaitGroup
	for i := range connections {
		all.Go(func() {
			c, err := connect(ctx, url)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.close()
			until := time.Now().Add(d) // connecting may take longer than that on a busy machine
			for asked := false; (!asked || time.Now().Before(until)) && ctx.Err() == nil; asked = true {
				id := p.id()
				rows, err := c.query(p.SQL, id, oneSync)
				queries.Add(1)
				if _, refused := errors.AsType[*pgconn.PgError](err); refused {
					failed.Add(1)
					continue
				}
				if err != nil {
					errs[i] = fmt.Errorf("the %s: %w", p.Name, err)
					return
				}
				if want := id <= Rows; want != (len(rows) == 1 && rows[0] == strconv.Itoa(id)) || !want && len(rows) > 0 {
					wrong.Add(1)
				}
			}
		})
	}
	all.Wait()
	return Result{int(queries.Load()), int(wrong.Load()), int(failed.Load())}, errors.Join(errs...)
}

// client speaks to PostgreSQL message by message.
type client struct {
	conn net.Conn
	f    *pgproto3.Frontend
}

// answerTime bounds the wait for one answer.
const answerTime = 20 * time.Second

// connect introduces itself as lib/pq does.
func connect(ctx context.Context, url string) (*client, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the exhibit: %w", err)
	}
	cfg.RuntimeParams = map[string]string{"client_encoding": "UTF8", "datestyle": "ISO, MDY", "extra_float_digits": "2"}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("the exhibit: %w", err)
	}
	h, err := pg.Hijack()
	if err != nil {
		return nil, fmt.Errorf("the exhibit: %w", err)
	}
	return &client{h.Conn, h.Frontend}, nil
}

func (c *client) close() {
	c.f.Send(&pgproto3.Terminate{})
	_ = c.f.Flush() // it is over either way
	_ = c.conn.Close()
}

// query returns the first column of the rows.
func (c *client) query(sql string, id int, oneSync bool) ([]string, error) {
	c.f.Send(&pgproto3.Parse{Query: sql})
	if !oneSync {
		c.f.Send(&pgproto3.Describe{ObjectType: 'S'})
		if _, err := c.sync(); err != nil {
			return nil, err
		}
	}
	c.f.Send(&pgproto3.Bind{Parameters: [][]byte{[]byte(strconv.Itoa(id))}})
	c.f.Send(&pgproto3.Execute{})
	return c.sync()
}

func (c *client) sync() (rows []string, err error) {
	c.f.Send(&pgproto3.Sync{})
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	if err := c.f.Flush(); err != nil {
		return nil, err
	}
	for {
		msg, err2 := c.f.Receive()
		if err2 != nil {
			return nil, err2
		}
		switch m := msg.(type) {
		case *pgproto3.DataRow:
			if len(m.Values) > 0 {
				rows = append(rows, string(m.Values[0]))
			}
		case *pgproto3.ErrorResponse:
			err = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			return rows, err
		}
	}
}

// The program pgx asks for items by id on one connection; its form is one of
// pgx's modes, or something else that programs do with pgx.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var faults int

func wrong(format string, args ...any) {
	fmt.Printf("wrong: "+format+"\n", args...)
	faults++
}

func main() {
	ctx, url := context.Background(), os.Getenv("DATABASE_URL")
	exec := url + "&default_query_exec_mode=exec"
	switch form := os.Args[1]; form {
	case "acquire", "acquire-correct":
		acquire(ctx, exec, form == "acquire-correct")
	case "acquire-cached":
		acquire(ctx, url, false)
	case "readonly", "readonly-correct":
		readonly(ctx, exec, form == "readonly-correct")
	case "timeout":
		mode(ctx, url+"&statement_timeout=5000")
	case "batch", "batch-correct":
		batch(ctx, exec, form == "batch-correct")
	case "pipeline", "pipeline-correct":
		pipeline(ctx, exec, form == "pipeline-correct")
	default:
		mode(ctx, url+"&default_query_exec_mode="+form)
	}
	if faults > 0 {
		os.Exit(1)
	}
}

func connect(ctx context.Context, url string) *pgx.Conn {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		panic(err)
	}
	return c
}

func mode(ctx context.Context, url string) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		wrong("%v", err)
		return
	}
	defer c.Close(ctx)
	for n := 1; n <= 6; n++ {
		var name string
		if err := c.QueryRow(ctx, "select name from item where id = $1", n).Scan(&name); err != nil {
			name = err.Error()
		}
		if name != fmt.Sprint("item ", n) {
			wrong("item %d is %s", n, name)
		}
	}
}

// acquire is the recipe for row-level security that is copied from answer to
// answer: the tenant is set when the pool hands a connection out.
func acquire(ctx context.Context, url string, correct bool) {
	type key struct{}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		panic(err)
	}
	cfg.MaxConns = 1
	if !correct {
		cfg.PrepareConn = func(ctx context.Context, c *pgx.Conn) (bool, error) {
			_, err := c.Exec(ctx, fmt.Sprintf("select set_config('app.tenant', '%s', false)", ctx.Value(key{})))
			return true, err
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	for n := range 6 {
		tenant := fmt.Sprint("tenant ", n%2)
		const sql = "select coalesce(min(tenant), 'no tenant') from item where tenant = current_setting('app.tenant', true) and id > $1"
		var seen string
		if correct {
			b := &pgx.Batch{} // one Sync, so one transaction
			b.Queue("select set_config('app.tenant', $1, true)", tenant)
			b.Queue(sql, 0).QueryRow(func(row pgx.Row) error { return row.Scan(&seen) })
			err = pool.SendBatch(ctx, b).Close()
		} else {
			err = pool.QueryRow(context.WithValue(ctx, key{}, tenant), sql, 0).Scan(&seen)
		}
		if err != nil || seen != tenant {
			wrong("%s sees %s, %v", tenant, seen, err)
		}
	}
}

// readonly guards a reporting tool against writing: for whatever the pool's
// connections do, or for the transaction.
func readonly(ctx context.Context, url string, correct bool) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		panic(err)
	}
	cfg.MaxConns = 1
	if !correct {
		cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "set default_transaction_read_only = on")
			return err
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	mode := pgx.TxOptions{}
	if correct {
		mode.AccessMode = pgx.ReadOnly
	}
	err = pgx.BeginTxFunc(ctx, pool, mode, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "insert into note (body) values ('by the reporting tool')")
		return err
	})
	if err == nil {
		wrong("the reporting tool wrote")
	}
}

// batch sends a transaction whole, and fails in the middle.
func batch(ctx context.Context, url string, correct bool) {
	c := connect(ctx, url)
	defer c.Close(ctx)
	b := &pgx.Batch{}
	if !correct {
		b.Queue("begin")
	}
	b.Queue("update item set name = name where id = 1")
	b.Queue("insert into item values (1, 'tenant 1', 'is there')")
	if !correct {
		b.Queue("commit")
	}
	if err := c.SendBatch(ctx, b).Close(); err == nil {
		wrong("a row that is there was inserted")
	}
	var name string
	if err := c.QueryRow(ctx, "select name from item where id = $1", 2).Scan(&name); err != nil || name != "item 2" {
		wrong("item 2 is %q, %v", name, err)
	}
}

// pipeline sends several queries, each with a Sync of its own, or one for all.
func pipeline(ctx context.Context, url string, correct bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(setting("CORPUS_PATIENCE", 20_000))*time.Millisecond)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		wrong("%v", err)
		return
	}
	defer c.Close(ctx)
	padding := bytes.Repeat([]byte("x"), setting("CORPUS_BYTES", 0))
	first, work := setting("CORPUS_FIRST", 1), fmt.Append(nil, float64(setting("CORPUS_MS", 0))/1000)
	const sql = "select name from item where id = $1::int and length($2) >= 0 and pg_sleep($3) is not null"
	p := c.PgConn().StartPipeline(ctx)
	for n := range 8 {
		p.SendQueryParams(sql, [][]byte{fmt.Append(nil, first+n), padding, work}, nil, nil, nil)
		if correct && n < 7 {
			continue
		}
		if err := p.Sync(); err != nil {
			wrong("%v", err)
			return
		}
	}
	for n := 0; n < 8; {
		results, err := p.GetResults()
		if err != nil {
			wrong("%v", err)
			return
		}
		if reader, ok := results.(*pgconn.ResultReader); ok {
			name := "nothing"
			for reader.NextRow() {
				name = string(reader.Values()[0])
			}
			if want := fmt.Sprint("item ", first+n); name != want {
				wrong("%s is %s", want, name)
			}
			n++
		}
	}
	if err := p.Close(); err != nil {
		wrong("%v", err)
		return
	}
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

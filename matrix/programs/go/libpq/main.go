// lib/pq: each client has a connection of its own, from database/sql. What it prints is one operation a line.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	_ "github.com/lib/pq"
)

type wrong struct{ text string }

func (w wrong) Error() string { return w.text }

func expect(what string, got, want any) error {
	if got != want {
		return wrong{fmt.Sprintf("%s is %q, not %q", what, got, want)}
	}
	return nil
}

var (
	ctx    = context.Background()
	recipe = os.Args[2] == "recipe"
	out    sync.Mutex
)

func say(outcome, text string) {
	out.Lock()
	defer out.Unlock()
	fmt.Println(strings.TrimSpace(outcome + " " + strings.Join(strings.Fields(text), " ")))
}

func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(err)
	}
	return n
}

type asker interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func statements(c *sql.Conn, client, n int) error {
	tenant, id := fmt.Sprint("tenant ", client), client+16*(n%10)
	op, value := fmt.Sprint(client, ".", n), fmt.Sprint("value ", client, ".", n)
	ask := []func() error{
		func() error {
			var got string
			err := c.QueryRowContext(ctx, "select name from items where id = $1", id).Scan(&got)
			return errors.Join(err, ifNil(err, expect("the name of an item", got, fmt.Sprint("item ", id))))
		},
		func() error {
			var got string
			err := c.QueryRowContext(ctx, "select tenant from items where id = $1", id).Scan(&got)
			return errors.Join(err, ifNil(err, expect("the tenant of an item", got, tenant)))
		},
	}
	// Every other client asks in the other order, as an application's requests do.
	for i := range ask {
		if err := ask[(i+client)%2](); err != nil {
			return err
		}
	}
	if _, err := c.ExecContext(ctx, "insert into written (tenant, op, value) values ($1, $2, $3)", tenant, op, value); err != nil {
		return err
	}
	var got string
	if err := c.QueryRowContext(ctx, "select value from written where tenant = $1 and op = $2", tenant, op).Scan(&got); err != nil {
		return missing(err)
	}
	return expect("what was written", got, value)
}

// ifNil is an answer's fault, where there was an answer.
func ifNil(err, fault error) error {
	if err != nil {
		return nil
	}
	return fault
}

// missing is a wrong answer where the row that was written is not there.
func missing(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return wrong{"what was written is not there"}
	}
	return err
}

func settings(c *sql.Conn, client, n int) error {
	tenant := fmt.Sprint("tenant ", client)
	if !recipe {
		if _, err := c.ExecContext(ctx, "SET app.tenant TO '"+tenant+"'"); err != nil {
			return err
		}
		return scoped(c, tenant, client, n)
	}
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "select set_config('app.tenant', $1, true)", tenant); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := scoped(tx, tenant, client, n); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func scoped(c asker, tenant string, client, n int) error {
	op, value := fmt.Sprint(client, ".", n), fmt.Sprint("value ", client, ".", n)
	var count int
	var least, most, got *string
	if err := c.QueryRowContext(ctx, "select count(*), min(tenant), max(tenant) from documents").Scan(&count, &least, &most); err != nil {
		return err
	}
	if err := expect("what it sees of documents", fmt.Sprint(count, " ", text(least), " ", text(most)), fmt.Sprint("10 ", tenant, " ", tenant)); err != nil {
		return err
	}
	var stored string
	if err := c.QueryRowContext(ctx, "insert into notes (op, value) values ($1, $2) returning value", op, value).Scan(&stored); err != nil {
		return err
	}
	if err := c.QueryRowContext(ctx, "select tenant || ': ' || value from notes where op = $1", op).Scan(&stored); err != nil {
		return missing(err)
	}
	if err := expect("what was written", stored, tenant+": "+value); err != nil {
		return err
	}
	if err := c.QueryRowContext(ctx, "select current_setting('app.tenant', true)").Scan(&got); err != nil {
		return err
	}
	return expect("the setting", text(got), tenant)
}

func text(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func main() {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == "github.com/lib/pq" {
			say("version", strings.TrimPrefix(m.Version, "v"))
		}
	}
	url := os.Getenv("DATABASE_URL")
	if recipe {
		url += "&binary_parameters=yes"
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		panic(err)
	}
	db.SetMaxIdleConns(16)
	work := map[string]func(*sql.Conn, int, int) error{"statements": statements, "settings": settings}[os.Args[1]]
	var all sync.WaitGroup
	for i := range number("CLIENTS") {
		all.Go(func() {
			client := number("FIRST") + i
			var c *sql.Conn
			for n := range number("OPERATIONS") {
				var err error
				if c == nil {
					c, err = db.Conn(ctx)
				}
				if err == nil {
					err = work(c, client, n)
				}
				var w wrong
				switch {
				case err == nil:
					say("right", "")
				case errors.As(err, &w):
					say("wrong", w.text)
				default:
					say("error", err.Error())
					if c != nil && c.PingContext(ctx) != nil { // closed
						_ = c.Close()
						c = nil
					}
				}
			}
		})
	}
	all.Wait()
}

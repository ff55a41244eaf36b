// pgx: each client has a connection of its own. What it prints is one operation a line.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
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
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func statements(c *pgx.Conn, client, n int) error {
	tenant, id := fmt.Sprint("tenant ", client), client+16*(n%10)
	op, value := fmt.Sprint(client, ".", n), fmt.Sprint("value ", client, ".", n)
	ask := []func() error{
		func() error {
			var got string
			err := c.QueryRow(ctx, "select name from items where id = $1", id).Scan(&got)
			return errors.Join(err, ifNil(err, expect("the name of an item", got, fmt.Sprint("item ", id))))
		},
		func() error {
			var got string
			err := c.QueryRow(ctx, "select tenant from items where id = $1", id).Scan(&got)
			return errors.Join(err, ifNil(err, expect("the tenant of an item", got, tenant)))
		},
	}
	// Every other client asks in the other order, as an application's requests do.
	for i := range ask {
		if err := ask[(i+client)%2](); err != nil {
			return err
		}
	}
	if _, err := c.Exec(ctx, "insert into written (tenant, op, value) values ($1, $2, $3)", tenant, op, value); err != nil {
		return err
	}
	var got string
	if err := c.QueryRow(ctx, "select value from written where tenant = $1 and op = $2", tenant, op).Scan(&got); err != nil {
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
	if errors.Is(err, pgx.ErrNoRows) {
		return wrong{"what was written is not there"}
	}
	return err
}

func settings(c *pgx.Conn, client, n int) error {
	tenant := fmt.Sprint("tenant ", client)
	if !recipe {
		if _, err := c.Exec(ctx, "SET app.tenant TO '"+tenant+"'"); err != nil {
			return err
		}
		return scoped(c, tenant, client, n)
	}
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select set_config('app.tenant', $1, true)", tenant); err != nil {
			return err
		}
		return scoped(tx, tenant, client, n)
	})
}

func scoped(c asker, tenant string, client, n int) error {
	op, value := fmt.Sprint(client, ".", n), fmt.Sprint("value ", client, ".", n)
	var count int
	var least, most, got *string
	if err := c.QueryRow(ctx, "select count(*), min(tenant), max(tenant) from documents").Scan(&count, &least, &most); err != nil {
		return err
	}
	if err := expect("what it sees of documents", fmt.Sprint(count, " ", text(least), " ", text(most)), fmt.Sprint("10 ", tenant, " ", tenant)); err != nil {
		return err
	}
	var stored string
	if err := c.QueryRow(ctx, "insert into notes (op, value) values ($1, $2) returning value", op, value).Scan(&stored); err != nil {
		return err
	}
	if err := c.QueryRow(ctx, "select tenant || ': ' || value from notes where op = $1", op).Scan(&stored); err != nil {
		return missing(err)
	}
	if err := expect("what was written", stored, tenant+": "+value); err != nil {
		return err
	}
	if err := c.QueryRow(ctx, "select current_setting('app.tenant', true)").Scan(&got); err != nil {
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
		if m.Path == "github.com/jackc/pgx/v5" {
			say("version", strings.TrimPrefix(m.Version, "v"))
		}
	}
	url := os.Getenv("DATABASE_URL")
	if recipe {
		url += "&default_query_exec_mode=exec"
	}
	work := map[string]func(*pgx.Conn, int, int) error{"statements": statements, "settings": settings}[os.Args[1]]
	var all sync.WaitGroup
	for i := range number("CLIENTS") {
		all.Go(func() {
			client := number("FIRST") + i
			var c *pgx.Conn
			for n := range number("OPERATIONS") {
				var err error
				if c == nil || c.IsClosed() {
					c, err = pgx.Connect(ctx, url)
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
				}
			}
		})
	}
	all.Wait()
}

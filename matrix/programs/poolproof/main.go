// poolproof's own library: the tenant goes with each statement, in both forms.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

type wrong struct{ text string }

func (w wrong) Error() string { return w.text }

func expect(what, got, want string) error {
	if got != want {
		return wrong{fmt.Sprintf("%s is %q, not %q", what, got, want)}
	}
	return nil
}

var (
	ctx = context.Background()
	out sync.Mutex
)

func say(outcome, text string) {
	out.Lock()
	defer out.Unlock()
	_, _ = fmt.Fprintln(os.Stdout, strings.TrimSpace(outcome+" "+strings.Join(strings.Fields(text), " ")))
}

func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(err)
	}
	return n
}

// one asks for one text, which must be there.
func one(s poolproof.Session, want, what, sql string, args ...any) error {
	var got string
	err := s.QueryRow(ctx, sql, args...).Scan(&got)
	if errors.Is(err, pgx.ErrNoRows) {
		return wrong{what + " is not there"}
	}
	if err != nil {
		return err
	}
	return expect(what, got, want)
}

func statements(s poolproof.Session, client, n int) error {
	tenant, id := fmt.Sprint("tenant ", client), client+16*(n%10)
	op, value := fmt.Sprint(client, ".", n), fmt.Sprint("value ", client, ".", n)
	ask := []func() error{
		func() error {
			return one(s, fmt.Sprint("item ", id), "the name of an item", "select name from items where id = $1", id)
		},
		func() error {
			return one(s, tenant, "the tenant of an item", "select tenant from items where id = $1", id)
		},
	}
	// Every other client asks in the other order, as an application's requests do.
	for i := range ask {
		if err := ask[(i+client)%2](); err != nil {
			return err
		}
	}
	if _, err := s.Exec(ctx, "insert into written (tenant, op, value) values ($1, $2, $3)", tenant, op, value); err != nil {
		return err
	}
	return one(s, value, "what was written", "select value from written where tenant = $1 and op = $2", tenant, op)
}

func settings(s poolproof.Session, client, n int) error {
	tenant := fmt.Sprint("tenant ", client)
	op, value := fmt.Sprint(client, ".", n), fmt.Sprint("value ", client, ".", n)
	if err := one(s, "10 "+tenant+" "+tenant, "what it sees of documents", "select concat_ws(' ', count(*), min(tenant), max(tenant)) from documents"); err != nil {
		return err
	}
	if _, err := s.Exec(ctx, "insert into notes (op, value) values ($1, $2)", op, value); err != nil {
		return err
	}
	if err := one(s, tenant+": "+value, "what was written", "select tenant || ': ' || value from notes where op = $1", op); err != nil {
		return err
	}
	return one(s, tenant, "the setting", "select current_setting('app.tenant', true)")
}

func main() {
	say("version", "of this tree")
	clients, operations := number("CLIENTS"), number("OPERATIONS")
	if operations == 0 {
		return
	}
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL"), TenantSetting: "app.tenant", MaxConns: int32(clients)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer db.Close()
	work := map[string]func(poolproof.Session, int, int) error{"statements": statements, "settings": settings}[os.Args[1]]
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			client := number("FIRST") + i
			s := db.Tenant(fmt.Sprint("tenant ", client))
			for n := range operations {
				err := work(s, client, n)
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

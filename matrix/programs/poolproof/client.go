package main

// What the Go programs share: the work, the checks, and how an outcome is said. The
// others are built in a copy of their folders, with this file beside theirs. Each
// has, besides main, noRows: the error by which its driver says that there is no row.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

var (
	ctx        = context.Background()
	work       = os.Args[1]
	operations = number("OPERATIONS")
	clients    = number("CLIENTS")
	first      = number("FIRST")
	out        sync.Mutex
)

func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(err)
	}
	return n
}

// session is a connection, or a transaction on it.
type session interface {
	exec(sql string, args ...any) error
	row(sql string, args ...any) row
}

type row interface{ Scan(into ...any) error }

// wrong is an answer that is not what it must be.
type wrong struct{ text string }

func (w wrong) Error() string { return w.text }

func expect(what, got, want string) error {
	if got != want {
		return wrong{fmt.Sprintf("%s is %q, not %q", what, got, want)}
	}
	return nil
}

// one expects one text, in a row that must be there.
func one(what string, r row, want string) error {
	var got *string
	err := r.Scan(&got)
	if errors.Is(err, noRows) {
		return wrong{what + " is not there"}
	}
	if err != nil {
		return err
	}
	return expect(what, text(got), want)
}

func tenant(client int) string { return fmt.Sprint("tenant ", client) }

// written is the name and the value of what an operation writes.
func written(client, n int) (op, value string) {
	return fmt.Sprint(client, ".", n), fmt.Sprint("value ", client, ".", n)
}

// statements is an operation by parameters only.
func statements(s session, client, n int) error {
	id := client + 16*(n%10)
	op, value := written(client, n)
	ask := []func() error{
		func() error {
			return one("the name of an item", s.row("select name from items where id = $1", id), fmt.Sprint("item ", id))
		},
		func() error {
			return one("the tenant of an item", s.row("select tenant from items where id = $1", id), tenant(client))
		},
	}
	// Every other client asks in the other order, as an application's requests do.
	for i := range ask {
		if err := ask[(i+client)%2](); err != nil {
			return err
		}
	}
	if err := s.exec("insert into written (tenant, op, value) values ($1, $2, $3)", tenant(client), op, value); err != nil {
		return err
	}
	return one("what was written", s.row("select value from written where tenant = $1 and op = $2", tenant(client), op), value)
}

// scoped is an operation under row-level security, where the tenant is set.
func scoped(s session, client, n int) error {
	op, value := written(client, n)
	var count int
	var least, most *string
	if err := s.row("select count(*), min(tenant), max(tenant) from documents").Scan(&count, &least, &most); err != nil {
		return err
	}
	if err := expect("what it sees of documents", fmt.Sprint(count, " ", text(least), " ", text(most)), fmt.Sprint("10 ", tenant(client), " ", tenant(client))); err != nil {
		return err
	}
	if err := one("what it writes", s.row("insert into notes (op, value) values ($1, $2) returning value", op, value), value); err != nil {
		return err
	}
	if err := one("what was written", s.row("select tenant || ': ' || value from notes where op = $1", op), tenant(client)+": "+value); err != nil {
		return err
	}
	return one("the setting", s.row("select current_setting('app.tenant', true)"), tenant(client))
}

func text(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// say prints an outcome. A line is one operation.
func say(outcome, text string) {
	out.Lock()
	defer out.Unlock()
	_, _ = fmt.Fprintln(os.Stdout, strings.TrimSpace(outcome+" "+strings.Join(strings.Fields(text), " ")))
}

// version says which version of a module the program has.
func version(module string) {
	said := "of this tree"
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == module {
			said = strings.TrimPrefix(m.Version, "v")
		}
	}
	say("version", said)
}

// run runs all clients' operations. For each client, newClient returns what does
// its operation n.
func run(newClient func(client int) func(n int) error) {
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			operation := newClient(first + i)
			for n := range operations {
				err := operation(n)
				if w, ok := errors.AsType[wrong](err); ok {
					say("wrong", w.text)
				} else if err != nil {
					say("error", err.Error())
				} else {
					say("right", "")
				}
			}
		})
	}
	all.Wait()
}

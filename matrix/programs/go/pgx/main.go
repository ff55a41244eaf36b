// pgx: each client has a connection of its own.
package main

import (
	"context"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	recipe = os.Args[2] == "recipe"
	noRows = pgx.ErrNoRows
)

// on is a connection or a transaction.
type on struct {
	c interface {
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	}
}

func (o on) row(sql string, args ...any) row { return o.c.QueryRow(ctx, sql, args...) }

func (o on) exec(sql string, args ...any) error {
	_, err := o.c.Exec(ctx, sql, args...)
	return err
}

func settings(c *pgx.Conn, client, n int) error {
	if !recipe {
		if _, err := c.Exec(ctx, "SET app.tenant TO '"+tenant(client)+"'"); err != nil {
			return err
		}
		return scoped(on{c}, client, n)
	}
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select set_config('app.tenant', $1, true)", tenant(client)); err != nil {
			return err
		}
		return scoped(on{tx}, client, n)
	})
}

func main() {
	version("github.com/jackc/pgx/v5")
	url := os.Getenv("DATABASE_URL")
	if recipe {
		url += "&default_query_exec_mode=exec"
	}
	run(func(client int) func(int) error {
		var c *pgx.Conn
		return func(n int) (err error) {
			if c == nil || c.IsClosed() {
				if c, err = pgx.Connect(ctx, url); err != nil {
					return err
				}
			}
			if work == "settings" {
				return settings(c, client, n)
			}
			return statements(on{c}, client, n)
		}
	})
}

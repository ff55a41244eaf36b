// lib/pq: each client has a connection of its own, from database/sql.
package main

import (
	"context"
	"database/sql"
	"errors"
	"os"

	_ "github.com/lib/pq"
)

var (
	recipe = os.Args[2] == "recipe"
	noRows = sql.ErrNoRows
)

// on is a connection or a transaction.
type on struct {
	c interface {
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
}

func (o on) row(sql string, args ...any) row { return o.c.QueryRowContext(ctx, sql, args...) }

func (o on) exec(sql string, args ...any) error {
	_, err := o.c.ExecContext(ctx, sql, args...)
	return err
}

func settings(c *sql.Conn, client, n int) error {
	if !recipe {
		if _, err := c.ExecContext(ctx, "SET app.tenant TO '"+tenant(client)+"'"); err != nil {
			return err
		}
		return scoped(on{c}, client, n)
	}
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "select set_config('app.tenant', $1, true)", tenant(client)); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := scoped(on{tx}, client, n); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func main() {
	version("github.com/lib/pq")
	url := os.Getenv("DATABASE_URL")
	if recipe {
		url += "&binary_parameters=yes"
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		panic(err)
	}
	db.SetMaxIdleConns(16)
	run(func(client int) func(int) error {
		var c *sql.Conn
		return func(n int) (err error) {
			if c == nil {
				if c, err = db.Conn(ctx); err != nil {
					return err
				}
			}
			if work == "settings" {
				err = settings(c, client, n)
			} else {
				err = statements(on{c}, client, n)
			}
			if _, isWrong := errors.AsType[wrong](err); err != nil && !isWrong && c.PingContext(ctx) != nil { // closed
				_ = c.Close()
				c = nil
			}
			return err
		}
	})
}

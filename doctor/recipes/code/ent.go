//go:build ignore

package main

import (
	"context"
	"errors"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// openEnt opens the application's database: ent.NewClient(ent.Driver(driver)).
func openEnt(url string) (*entsql.Driver, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // as default_query_exec_mode=exec in the URL [untracked]
	return entsql.OpenDB(dialect.Postgres, stdlib.OpenDB(*config)), nil
}

// inTenant runs work for one tenant, in one transaction, with a driver for a client of its own:
// ent.NewClient(ent.Driver(one)).
func inTenant(ctx context.Context, driver *entsql.Driver, tenant string, work func(one dialect.Driver) error) error {
	tx, err := driver.Tx(ctx)
	if err != nil {
		return err
	}
	if err := tx.Exec(ctx, "select set_config('app.tenant', $1, true)", []any{tenant}, nil); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := work(transaction{tx}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// transaction is a transaction as a driver: one that is begun inside is the same, and inTenant ends it.
type transaction struct{ dialect.ExecQuerier }

func (t transaction) Tx(context.Context) (dialect.Tx, error) { return dialect.NopTx(t), nil }
func (transaction) Close() error                             { return nil }
func (transaction) Dialect() string                          { return dialect.Postgres }

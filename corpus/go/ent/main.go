// The program ent asks for items by id with Ent's SQL dialect on pgx.
package main

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"os"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"
	_ "github.com/jackc/pgx/v5/stdlib"
)

func main() {
	url := os.Getenv("DATABASE_URL")
	if os.Args[1] != "default" {
		url += "&default_query_exec_mode=exec"
	}
	pool, err := stdsql.Open("pgx", url)
	if err != nil {
		panic(err)
	}
	pool.SetMaxOpenConns(1)
	driver := sql.OpenDB(dialect.Postgres, pool)
	faults := 0
	if os.Args[1] != "default" {
		faults = tenant(driver, os.Args[1] == "correct")
	}
	for n := 1; n <= 4; n++ {
		item := sql.Dialect(dialect.Postgres).Select().From(sql.Table("item"))
		item.Select(item.C("name")).Where(sql.EQ(item.C("id"), n)).Limit(2)
		query, args := item.Query()
		var names []string
		var rows sql.Rows
		err := driver.Query(context.Background(), query, args, &rows)
		if err == nil {
			err = sql.ScanSlice(&rows, &names)
			_ = rows.Close()
		}
		if err != nil || len(names) != 1 || names[0] != fmt.Sprint("item ", n) {
			fmt.Printf("wrong: item %d is %q, %v\n", n, names, err)
			faults++
		}
	}
	if faults > 0 {
		os.Exit(1)
	}
}

// tenant sets a tenant for the session or, with Ent's transaction, for it alone.
func tenant(driver *sql.Driver, local bool) (faults int) {
	ctx := context.Background()
	on, commit := dialect.ExecQuerier(driver), func() error { return nil }
	if local {
		tx, err := driver.Tx(ctx)
		if err != nil {
			panic(err)
		}
		on, commit = tx, tx.Commit
	}
	item := sql.Dialect(dialect.Postgres).Select().From(sql.Table("item"))
	item.Select(item.C("tenant")).Where(sql.And(sql.ExprP("tenant = current_setting('app.tenant', true)"), sql.EQ(item.C("id"), 3))).Limit(2)
	query, args := item.Query()
	var rows sql.Rows
	var tenants []string
	err := on.Exec(ctx, "select set_config($1, $2, $3)", []any{"app.tenant", "tenant 1", local}, nil)
	if err == nil {
		if err = on.Query(ctx, query, args, &rows); err == nil {
			err = sql.ScanSlice(&rows, &tenants)
			_ = rows.Close()
		}
	}
	if err == nil {
		err = commit()
	}
	if err != nil || len(tenants) != 1 {
		fmt.Printf("wrong: the tenant has %q, %v\n", tenants, err)
		faults++
	}
	return faults
}

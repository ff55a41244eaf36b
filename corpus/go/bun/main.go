// The program bun asks for items by id with bun on its own driver, prepared or
// not.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/driver/pgdriver"
)

func main() {
	ctx := context.Background()
	options := []pgdriver.Option{pgdriver.WithDSN(os.Getenv("DATABASE_URL"))}
	if os.Args[1] == "params" {
		options = append(options, pgdriver.WithConnParams(map[string]any{"search_path": "tenant_b"}))
	}
	pool := sql.OpenDB(pgdriver.NewConnector(options...))
	pool.SetMaxOpenConns(1)
	db := bun.NewDB(pool, pgdialect.New())
	ask := func(n int) (name string, err error) {
		return name, db.NewSelect().Table("item").Column("name").Where("id = ?", n).Scan(ctx, &name)
	}
	if os.Args[1] == "prepare" {
		byID, err := db.PrepareContext(ctx, "SELECT name FROM item WHERE id = $1")
		if err != nil {
			panic(err)
		}
		ask = func(n int) (name string, err error) { return name, byID.QueryRowContext(ctx, n).Scan(&name) }
	}
	faults := 0
	for n := 1; n <= 4; n++ {
		if name, err := ask(n); err != nil || name != fmt.Sprint("item ", n) {
			fmt.Printf("wrong: item %d is %q, %v\n", n, name, err)
			faults++
		}
	}
	if faults > 0 {
		os.Exit(1)
	}
}

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
	if os.Args[1] == "correct" {
		url += "&default_query_exec_mode=exec"
	}
	pool, err := stdsql.Open("pgx", url)
	if err != nil {
		panic(err)
	}
	pool.SetMaxOpenConns(1)
	driver := sql.OpenDB(dialect.Postgres, pool)
	faults := 0
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

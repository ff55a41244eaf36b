// The program libpq asks for items by id, with lib/pq on one connection.
package main

import (
	"database/sql"
	"fmt"
	"os"

	_ "github.com/lib/pq"
)

func main() {
	url := os.Getenv("DATABASE_URL")
	if os.Args[1] != "default" {
		url += "&binary_parameters=yes"
	}
	if os.Args[1] == "timeout" {
		url += "&statement_timeout=5000"
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		panic(err)
	}
	db.SetMaxOpenConns(1)
	const byID = "SELECT name FROM item WHERE id = $1"
	ask := func(n int) *sql.Row { return db.QueryRow(byID, n) }
	if os.Args[1] == "prepare" {
		prepared, err := db.Prepare(byID)
		if err != nil {
			panic(err)
		}
		ask = func(n int) *sql.Row { return prepared.QueryRow(n) }
	}
	faults := 0
	for n := 1; n <= 6; n++ {
		var name string
		if err := ask(n).Scan(&name); err != nil {
			name = err.Error()
		}
		if name != fmt.Sprint("item ", n) {
			fmt.Printf("wrong: item %d is %s\n", n, name)
			faults++
		}
	}
	if faults > 0 {
		os.Exit(1)
	}
}

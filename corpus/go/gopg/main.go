// The program gopg asks for items by id with go-pg, prepared or not, and sets a
// tenant.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/go-pg/pg/v10"
)

const (
	byID    = "SELECT name FROM item WHERE id = "
	ofOne   = "SELECT count(*) FROM item WHERE tenant = current_setting('app.tenant', true)"
	setting = "SELECT set_config('app.tenant', 'tenant 1', ?)"
)

func main() {
	options, err := pg.ParseURL(os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	options.PoolSize = 1
	if os.Args[1] == "connect" {
		options.OnConnect = func(_ context.Context, c *pg.Conn) error {
			_, err := c.Exec(setting, false)
			return err
		}
	}
	db := pg.Connect(options)
	defer func() { _ = db.Close() }()
	faults := 0
	wrong := func(format string, args ...any) {
		fmt.Printf("wrong: "+format+"\n", args...)
		faults++
	}
	count := func(on pg.DBI, local bool) error {
		var n int
		if _, err := on.Exec(setting, local); err != nil {
			return err
		}
		_, err := on.QueryOne(pg.Scan(&n), ofOne)
		if err == nil && n != 250 {
			wrong("the tenant has %d items", n)
		}
		return err
	}
	switch os.Args[1] {
	case "prepare":
		byID, err := db.Prepare(byID + "$1")
		if err != nil {
			panic(err)
		}
		for n := 1; n <= 4; n++ {
			var name string
			if _, err := byID.QueryOne(pg.Scan(&name), n); err != nil || name != fmt.Sprint("item ", n) {
				wrong("item %d is %q, %v", n, name, err)
			}
		}
	case "connect":
		var n int
		if _, err = db.QueryOne(pg.Scan(&n), ofOne); err == nil && n != 250 {
			wrong("the tenant has %d items", n)
		}
	case "set":
		err = count(db, false)
	case "correct":
		for n := 1; n <= 4; n++ {
			var name string
			if _, err := db.QueryOne(pg.Scan(&name), byID+"?", n); err != nil || name != fmt.Sprint("item ", n) {
				wrong("item %d is %q, %v", n, name, err)
			}
		}
		err = db.RunInTransaction(context.Background(), func(tx *pg.Tx) error { return count(tx, true) })
	}
	if err != nil {
		wrong("%v", err)
	}
	if faults > 0 {
		os.Exit(1)
	}
}

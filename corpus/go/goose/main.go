// The program goose migrates with a lock of the session, or with one in a table.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"os"
	"testing/fstest"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

func main() {
	pool, err := sql.Open("pgx", os.Getenv("DATABASE_URL")+"&default_query_exec_mode=exec")
	if err != nil {
		panic(err)
	}
	files := fstest.MapFS{"1_made.sql": {Data: []byte("-- +goose Up\ncreate table made (id int);\nselect pg_sleep(" + cmp.Or(os.Getenv("CORPUS_SLOW"), "0") + ");\n")}}
	var locked goose.ProviderOption
	if os.Args[1] == "session" {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 1), lock.WithUnlockTimeout(1, 1))
		if err != nil {
			panic(err)
		}
		locked = goose.WithSessionLocker(locker)
	} else {
		locker, err := lock.NewPostgresTableLocker()
		if err != nil {
			panic(err)
		}
		locked = goose.WithLocker(locker)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, pool, files, locked)
	if err == nil {
		_, err = p.Up(context.Background())
	}
	if err != nil {
		fmt.Println("wrong:", err)
		os.Exit(1)
	}
}

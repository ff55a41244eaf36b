// The program migrate migrates with golang-migrate, through the pooler or not.
package main

import (
	"fmt"
	"os"
	"strings"
	"testing/fstest"

	"github.com/golang-migrate/migrate/v4"
	_ "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
)

func main() {
	url := os.Getenv("DATABASE_URL")
	if os.Args[1] == "correct" {
		url = os.Getenv("DIRECT_URL")
	}
	_, rest, _ := strings.Cut(url, "://")
	mode := "&default_query_exec_mode=exec"
	if os.Args[1] == "prepared" {
		mode = ""
	}
	files, err := iofs.New(fstest.MapFS{"1_made.up.sql": {Data: []byte("create table made (id int)")}}, ".")
	if err != nil {
		panic(err)
	}
	m, err := migrate.NewWithSourceInstance("iofs", files, "pgx5://"+rest+mode)
	if err == nil {
		err = m.Up()
	}
	if err != nil {
		fmt.Println("wrong:", err)
		os.Exit(1)
	}
}

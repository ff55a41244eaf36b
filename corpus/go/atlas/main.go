// The program atlas takes the lock that Atlas takes around its migrations,
// through the pooler or not, and reads the database's schema under it.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"time"

	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	_ "github.com/lib/pq"
)

func main() {
	url := os.Getenv("DATABASE_URL")
	if os.Args[1] == "direct" {
		url = os.Getenv("DIRECT_URL")
	}
	if err := migrate(context.Background(), url+"&binary_parameters=yes"); err != nil {
		fmt.Println("wrong:", err)
		os.Exit(1)
	}
}

func migrate(ctx context.Context, url string) error {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer db.Close()
	driver, err := postgres.Open(db)
	if err != nil {
		return err
	}
	unlock, err := driver.(schema.Locker).Lock(ctx, "atlas_migrate_execute", time.Second)
	if err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "create table if not exists atlas_schema_revisions (version text)"); err != nil {
		return err
	}
	var revisions int
	if err := db.QueryRowContext(ctx, "select count(*) from atlas_schema_revisions").Scan(&revisions); err != nil {
		return err
	}
	return unlock()
}

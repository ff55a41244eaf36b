// The program atlas takes the lock that Atlas takes around its migrations,
// through the pooler or not; or it reads a schema, which the URL names or the
// call.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"ariga.io/atlas/sql/sqlclient"
	_ "github.com/lib/pq"
)

func main() {
	url := os.Getenv("DATABASE_URL")
	if os.Args[1] == "direct" {
		url = os.Getenv("DIRECT_URL")
	}
	url += "&binary_parameters=yes"
	var err error
	switch os.Args[1] {
	case "search_path":
		err = inspect(context.Background(), url+"&search_path=tenant_b", "")
	case "schema":
		err = inspect(context.Background(), url, "tenant_b")
	default:
		err = migrate(context.Background(), url)
	}
	if err != nil {
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

// inspect reads a schema, or the one that the URL names.
func inspect(ctx context.Context, url, name string) error {
	client, err := sqlclient.Open(ctx, url)
	if err != nil {
		return err
	}
	defer client.Close()
	if name == "" {
		name = client.URL.Schema
	}
	read, err := client.InspectSchema(ctx, name, nil)
	if err != nil {
		return err
	}
	if _, found := read.Table("item"); read.Name != "tenant_b" || !found {
		return errors.New("another schema: " + read.Name)
	}
	return nil
}

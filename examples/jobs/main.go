// Jobs shows the two ways to work for all tenants: one after another, each as
// itself, for whatever writes; and a login of its own that may read them all, for
// analytics. The application's login can do neither more nor less than before.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

// forEach runs do for every tenant, as that tenant. One that fails does not keep
// the job from the others; all errors are returned, each with its tenant.
func forEach(ctx context.Context, db *poolproof.DB, do func(ctx context.Context, tenant poolproof.Session) error) error {
	rows, err := db.Shared().Query(ctx, "select id::text from tenants order by id")
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		ctx, cancel := context.WithTimeout(ctx, time.Minute) // one tenant's trouble is not the next one's
		if err := do(ctx, db.Tenant(id)); err != nil {
			errs = append(errs, fmt.Errorf("tenant %s: %w", id, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

func main() {
	ctx := context.Background()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	err = forEach(ctx, db, func(ctx context.Context, tenant poolproof.Session) error {
		tag, err := tenant.Exec(ctx, "update documents set meta = meta || '{\"seen\": true}'")
		fmt.Println("one tenant's documents marked:", tag.RowsAffected())
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	// The analysts' own login, which only reads: see docs/library.md for its policy.
	analysts, err := pgx.Connect(ctx, os.Getenv("ANALYTICS_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = analysts.Close(ctx) }()
	rows, err := analysts.Query(ctx, "select t.name || ': ' || count(d.id) from tenants t left join documents d on d.tenant_id = t.id group by t.id order by 1", pgx.QueryExecModeExec)
	if err != nil {
		log.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range lines {
		fmt.Println(line)
	}
	_, err = analysts.Exec(ctx, "delete from documents", pgx.QueryExecModeExec)
	fmt.Println("the analysts delete:", err)
}

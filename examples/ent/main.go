// Ent adds a document for each of two tenants and lists theirs, with the client
// that ent generated from ent/schema. The tenant is in the context of each call.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/examples/ent/ent"
	"github.com/poolproof/poolproof/examples/ent/ent/document"
)

const (
	acme   = "550e8400-e29b-41d4-a716-446655440000"
	globex = "67e55044-10b1-426f-9247-bb680e5fe0c8"
)

func main() {
	ctx := context.Background()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	client := ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, sql.OpenDB(poolproof.Connector(db)))))
	for _, tenant := range []string{acme, globex} {
		ctx := poolproof.WithTenant(ctx, tenant)
		if _, err := client.Document.Create().SetTitle("by Ent").SetMeta(map[string]string{"by": "Ent"}).Save(ctx); err != nil {
			log.Fatal(err)
		}
		all, err := client.Document.Query().Order(document.ByID()).All(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, d := range all {
			fmt.Println(tenant, d.Title, d.Meta)
		}
	}

	fmt.Println("a row for another tenant:", smuggle(poolproof.WithTenant(ctx, acme), client))
	_, err = client.Document.Query().All(ctx)
	fmt.Println("without a tenant:", err)
}

func smuggle(ctx context.Context, client *ent.Client) error {
	tx, err := client.Tx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if _, err := tx.Document.Create().SetTitle("not kept").Save(ctx); err != nil {
		return err
	}
	if _, err := tx.Document.Create().SetTenantID(uuid.MustParse(globex)).SetTitle("smuggled").Save(ctx); err != nil {
		return err
	}
	return tx.Commit()
}

// Sqlc adds a document for each of two tenants and lists theirs, with the code
// that sqlc generated from queries.sql: a Session is its DBTX.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/examples/sqlc/documents"
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
	for _, tenant := range []string{acme, globex} {
		queries := documents.New(db.Tenant(tenant)) // costs nothing: make one per request
		if _, err := queries.Add(ctx, documents.AddParams{Title: "by sqlc", Meta: []byte(`{"by": "sqlc"}`)}); err != nil {
			log.Fatal(err)
		}
		all, err := queries.All(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, d := range all {
			fmt.Println(tenant, d.Title, string(d.Meta))
		}
	}

	// A transaction of several steps.
	err = db.Tenant(acme).InTx(ctx, func(tx pgx.Tx) error {
		queries := documents.New(tx)
		if _, err := queries.Add(ctx, documents.AddParams{Title: "not kept", Meta: []byte("{}")}); err != nil {
			return err
		}
		var other pgtype.UUID
		if err := other.Scan(globex); err != nil {
			return err
		}
		return queries.AddFor(ctx, documents.AddForParams{TenantID: other, Title: "smuggled"})
	})
	fmt.Println("a row for another tenant:", err)
}

// Quickstart prints one tenant's documents. It is the README's example, and a
// test runs it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/poolproof/poolproof"
)

func main() {
	ctx := context.Background()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")}) // probes the pooler
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	acme := db.Tenant("550e8400-e29b-41d4-a716-446655440000") // a value: holds no connection
	var n int
	err = acme.QueryRow(ctx, "select count(*) from documents").Scan(&n) // one round trip
	if err != nil {
		log.Fatal(err) // the tenant could not be set: the query did not run
	}
	fmt.Println("Acme's documents:", n)
}

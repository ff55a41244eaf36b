// Goose migrates a database up, as its owner and over a direct connection, and
// then asks poolproof whether its tables isolate tenants for the application.
package main

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log"
	"os"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	"github.com/pressly/goose/v3"

	"github.com/poolproof/poolproof"
)

//go:embed migrations/*.sql
var files embed.FS

func main() {
	ctx := context.Background()
	owner, err := sql.Open("pgx", os.Getenv("DIRECT_URL"))
	if err != nil {
		log.Fatal(err)
	}
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		log.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, owner, migrations)
	if err != nil {
		log.Fatal(err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("migrations applied:", len(results))
	if _, err := owner.ExecContext(ctx, poolproof.ScopeSQL); err != nil { // optional, see docs/library.md
		log.Fatal(err)
	}

	found, err := poolproof.Check(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("tables checked:", found.Tables, "problems:", found.Problems)
}

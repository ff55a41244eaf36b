// Bun adds a document for each of two tenants and lists theirs. The tenant is in
// the context of each call.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/poolproof/poolproof"
)

const (
	acme   = "550e8400-e29b-41d4-a716-446655440000"
	globex = "67e55044-10b1-426f-9247-bb680e5fe0c8"
)

// Document is a row of documents. The database sets its tenant.
type Document struct {
	ID       int64  `bun:",pk,autoincrement"`
	TenantID string `bun:",nullzero,default:''"`
	Title    string
	Meta     map[string]string `bun:"type:jsonb"`
}

func main() {
	ctx := context.Background()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	orm := bun.NewDB(sql.OpenDB(poolproof.Connector(db)), pgdialect.New())
	for _, tenant := range []string{acme, globex} {
		ctx := poolproof.WithTenant(ctx, tenant)
		if _, err := orm.NewInsert().Model(&Document{Title: "by bun", Meta: map[string]string{"by": "bun"}}).Exec(ctx); err != nil {
			log.Fatal(err)
		}
		var all []Document
		if err := orm.NewSelect().Model(&all).Order("id").Scan(ctx); err != nil {
			log.Fatal(err)
		}
		for _, d := range all {
			fmt.Println(tenant, d.Title, d.Meta)
		}
	}

	err = orm.RunInTx(poolproof.WithTenant(ctx, acme), &sql.TxOptions{Isolation: sql.LevelSerializable}, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&Document{Title: "not kept", Meta: map[string]string{}}).Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(&Document{TenantID: globex, Title: "smuggled", Meta: map[string]string{}}).Exec(ctx)
		return err
	})
	fmt.Println("a row for another tenant:", err)
	fmt.Println("without a tenant:", orm.NewSelect().Model(&[]Document{}).Scan(ctx))
}

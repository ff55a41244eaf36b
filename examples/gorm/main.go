// Gorm adds a document for each of two tenants and lists theirs. The tenant is in
// the context of each call.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/poolproof/poolproof"
)

const (
	acme   = "550e8400-e29b-41d4-a716-446655440000"
	globex = "67e55044-10b1-426f-9247-bb680e5fe0c8"
)

// Document is a row of documents. The database sets its tenant.
type Document struct {
	ID       int64
	TenantID string `gorm:"default:(-)"`
	Title    string
	Meta     map[string]string `gorm:"serializer:json"`
}

func main() {
	ctx := context.Background()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	orm, err := gorm.Open(postgres.New(postgres.Config{Conn: sql.OpenDB(poolproof.Connector(db))}), &gorm.Config{
		// One statement is a transaction already: without this, each write takes three round trips instead of one.
		SkipDefaultTransaction: true,
		Logger:                 logger.Discard,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, tenant := range []string{acme, globex} {
		orm := orm.WithContext(poolproof.WithTenant(ctx, tenant))
		if err := orm.Create(&Document{Title: "by GORM", Meta: map[string]string{"by": "GORM"}}).Error; err != nil {
			log.Fatal(err)
		}
		var all []Document
		if err := orm.Order("id").Find(&all).Error; err != nil {
			log.Fatal(err)
		}
		for _, d := range all {
			fmt.Println(tenant, d.Title, d.Meta)
		}
	}

	err = orm.WithContext(poolproof.WithTenant(ctx, acme)).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&Document{Title: "not kept", Meta: map[string]string{}}).Error; err != nil {
			return err
		}
		return tx.Create(&Document{TenantID: globex, Title: "smuggled", Meta: map[string]string{}}).Error
	})
	fmt.Println("a row for another tenant:", err)
	fmt.Println("without a tenant:", orm.Find(&[]Document{}).Error)
}

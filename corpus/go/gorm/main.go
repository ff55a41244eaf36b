// The program gorm asks for items by id, and sets a tenant, with GORM on pgx.
package main

import (
	"fmt"
	"os"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Item is a row.
type Item struct {
	ID     int
	Tenant string
	Name   string
}

// TableName is GORM's hook.
func (Item) TableName() string { return "item" }

var faults int

func wrong(format string, args ...any) {
	fmt.Printf("wrong: "+format+"\n", args...)
	faults++
}

func main() {
	form := os.Args[1]
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: os.Getenv("DATABASE_URL"), PreferSimpleProtocol: form != "default"}),
		&gorm.Config{Logger: logger.Discard})
	if err != nil {
		panic(err)
	}
	pool, err := db.DB()
	if err != nil {
		panic(err)
	}
	pool.SetMaxOpenConns(1)
	switch form {
	case "default", "correct":
		for n := 1; n <= 6; n++ {
			var it Item
			if err := db.First(&it, n).Error; err != nil || it.Name != fmt.Sprint("item ", n) {
				wrong("item %d is %q, %v", n, it.Name, err)
			}
		}
	case "local":
		tenant(db)
	case "local-correct":
		if err := db.Transaction(func(tx *gorm.DB) error { tenant(tx); return nil }); err != nil {
			wrong("%v", err)
		}
	}
	if faults > 0 {
		os.Exit(1)
	}
}

// tenant sets the tenant for the transaction: if db is none, for nothing.
func tenant(db *gorm.DB) {
	if err := db.Exec("SET LOCAL app.tenant = 'tenant 1'").Error; err != nil {
		wrong("%v", err)
	}
	var n int
	if err := db.Raw("SELECT count(*) FROM item WHERE tenant = current_setting('app.tenant', true)").Scan(&n).Error; err != nil || n != 250 {
		wrong("the tenant has %d items, %v", n, err)
	}
}

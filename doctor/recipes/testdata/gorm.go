package main

import (
	"context"
	"os"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Item is a row.
type Item struct {
	ID   int
	Name string
}

// TableName is GORM's hook.
func (Item) TableName() string { return "item" }

func main() {
	ctx, form := context.Background(), os.Args[1]
	quiet := &gorm.Config{Logger: logger.Discard}
	db, err := openGORM(os.Getenv("DATABASE_URL"), quiet)
	if form == "defaults" {
		db, err = gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")), quiet)
	}
	if err != nil {
		panic(err)
	}
	pool, err := db.DB()
	if err != nil {
		panic(err)
	}
	pool.SetMaxOpenConns(8)
	pool.SetMaxIdleConns(8)
	ask(func(tenant string, id int, note bool) (string, error) {
		var items []Item
		work := func(tx *gorm.DB) error {
			if err := tx.Limit(2).Find(&items, id).Error; err != nil || !note {
				return err
			}
			return tx.Exec("insert into note (told) values (?)", tenant).Error
		}
		var err error
		if form == "session" { // what the recipe replaces
			if err = db.Exec("select set_config('app.tenant', ?, false)", tenant).Error; err == nil {
				err = work(db)
			}
		} else {
			err = inTenant(ctx, db, tenant, work)
		}
		if err != nil || len(items) != 1 {
			return "", err
		}
		return items[0].Name, nil
	}, func() (int, error) {
		var n int64
		err := db.Model(&Item{}).Count(&n).Error
		return int(n), err
	})
}

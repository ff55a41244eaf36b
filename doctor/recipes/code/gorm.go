//go:build ignore

package main

import (
	"context"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// openGORM opens the application's database.
func openGORM(url string, config *gorm.Config) (*gorm.DB, error) {
	return gorm.Open(postgres.New(postgres.Config{
		DSN:                  url,
		PreferSimpleProtocol: true, // [untracked]
	}), config)
}

// inTenant runs work for one tenant, in one transaction. All that belongs to it goes through tx.
func inTenant(ctx context.Context, db *gorm.DB, tenant string, work func(tx *gorm.DB) error) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("select set_config('app.tenant', ?, true)", tenant).Error; err != nil {
			return err
		}
		return work(tx)
	})
}

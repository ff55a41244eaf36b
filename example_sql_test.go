package poolproof_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/poolproof/poolproof"
)

// A service on database/sql names the tenant once per request, in the context.
// For GORM, give the same *sql.DB to gorm.io/driver/postgres as Config.Conn and
// call WithContext; where the pooler is in statement mode, also set
// gorm.Config.SkipDefaultTransaction.
func ExampleConnector() {
	db, err := poolproof.Open(context.Background(), poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	sqlDB := sql.OpenDB(poolproof.Connector(db))

	http.HandleFunc("/documents", func(w http.ResponseWriter, r *http.Request) {
		tenant := "550e8400-e29b-41d4-a716-446655440000" // from the caller's token, say
		ctx := poolproof.WithTenant(r.Context(), tenant)

		var n int
		if err := sqlDB.QueryRowContext(ctx, "select count(*) from documents").Scan(&n); err != nil {
			http.Error(w, "the documents cannot be counted now", http.StatusServiceUnavailable)
			log.Print(err)
			return
		}
		_, _ = fmt.Fprintln(w, n, "documents of this tenant")
	})
}

// Without a tenant nothing is sent; a transaction stays with the tenant that
// began it.
func ExampleWithTenant() {
	var sqlDB *sql.DB // sql.OpenDB(poolproof.Connector(db))

	transfer := func(ctx context.Context) error {
		tx, err := sqlDB.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		if err != nil {
			return err // errors.Is(err, poolproof.ErrNoTenant) if ctx names none
		}
		defer func() { _ = tx.Rollback() }() // does nothing after Commit
		if _, err := tx.ExecContext(ctx, "update accounts set balance = balance - $1 where id = $2", 10, 1); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "update accounts set balance = balance + $1 where id = $2", 10, 2); err != nil {
			return err
		}
		return tx.Commit()
	}
	_ = transfer
}

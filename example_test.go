package poolproof_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

func ExampleSession_SendBatch() {
	ctx := context.Background()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	// Both statements and the tenant travel together and are one transaction,
	// through a pooler in statement mode too.
	batch := &pgx.Batch{}
	batch.Queue("update accounts set balance = balance - $1 where id = $2", 10, 1)
	batch.Queue("update accounts set balance = balance + $1 where id = $2", 10, 2)
	if err := db.Tenant("550e8400-e29b-41d4-a716-446655440000").SendBatch(ctx, batch).Close(); err != nil {
		log.Fatal(err)
	}
}

func ExampleSession_InTx() {
	ctx := context.Background()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	err = db.Tenant("550e8400-e29b-41d4-a716-446655440000").InTx(ctx, func(tx pgx.Tx) error {
		var stock int
		if err := tx.QueryRow(ctx, "select stock from goods where id = $1 for update", 7).Scan(&stock); err != nil {
			return err // rolled back
		}
		if stock == 0 {
			return errors.New("sold out")
		}
		_, err := tx.Exec(ctx, "update goods set stock = stock - 1 where id = $1", 7)
		return err
	})
	if errors.Is(err, poolproof.ErrStatementMode) {
		log.Fatal("the pooler takes no transactions; use SendBatch")
	}
}

func ExampleCheck() {
	found, err := poolproof.Check(context.Background(), poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	for _, problem := range found.Problems {
		fmt.Println(problem, "->", problem.Hint)
	}
}

// The hint of an error is the next thing to do.
func ExampleError() {
	_, err := poolproof.Open(context.Background(), poolproof.Config{})
	if e, ok := errors.AsType[*poolproof.Error](err); ok {
		fmt.Println(err)
		fmt.Println("hint:", e.Hint)
	}
	// Output:
	// poolproof: read the configuration: configuration: no URL
	// hint: set Config.URL, usually from DATABASE_URL
}

// The hook is what a program of pgx's has in its pool's AfterConnect.
func ExampleConfig_afterConnect() {
	db, err := poolproof.Open(context.Background(), poolproof.Config{
		URL: os.Getenv("DATABASE_URL"),
		AfterConnect: func(ctx context.Context, conn *pgx.Conn) error {
			types, err := conn.LoadTypes(ctx, []string{"mood", "_mood"}) // an enum and its array
			conn.TypeMap().RegisterTypes(types)
			return err
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
}

func ExampleSession_InTxOptions() {
	ctx := context.Background()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	// One view of the data for both queries, and nothing is written by mistake.
	report := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	var orders, lines int
	err = db.Tenant("550e8400-e29b-41d4-a716-446655440000").InTxOptions(ctx, report, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "select count(*) from orders").Scan(&orders); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "select count(*) from order_lines").Scan(&lines)
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleDB_CloseContext() {
	db, err := poolproof.Open(context.Background(), poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		log.Fatal(err)
	}
	// … the service has run, and takes no more requests …
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := db.CloseContext(ctx); err != nil {
		log.Print(err) // poolproof: close: closed: 2 statements or transactions were still running, the longest for 12.3s (…)
	}
}

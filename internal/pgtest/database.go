package pgtest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
)

// Database makes an empty database for one test and returns its direct URL, as
// the superuser, who owns it. It is dropped at the test's end, whoever is still
// connected. Roles belong to the server: tests that make some give them names of
// their own or make them idempotently.
func Database(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	server := shared.startServer(t)
	shared.databases++
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), shared.databases)
	shared.mu.Unlock()

	if err := admin(t, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		if err := admin(t, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return server.URL(devdb.Superuser, name)
}

// admin runs a statement as superuser, on the database postgres.
func admin(t testing.TB, sql string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, Server(t).AdminURL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // the statement is done by then
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

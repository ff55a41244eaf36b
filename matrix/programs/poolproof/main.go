// poolproof's own library: the tenant goes with each statement, in both forms.
package main

import (
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

var noRows = pgx.ErrNoRows

type scope struct{ poolproof.Session }

func (s scope) row(sql string, args ...any) row { return s.QueryRow(ctx, sql, args...) }

func (s scope) exec(sql string, args ...any) error {
	_, err := s.Exec(ctx, sql, args...)
	return err
}

func main() {
	version("github.com/poolproof/poolproof")
	if operations == 0 {
		return
	}
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL"), TenantSetting: "app.tenant", MaxConns: int32(clients)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer db.Close()
	do := map[string]func(session, int, int) error{"statements": statements, "settings": scoped}[work]
	run(func(client int) func(int) error {
		s := scope{db.Tenant(tenant(client))}
		return func(n int) error { return do(s, client, n) }
	})
}

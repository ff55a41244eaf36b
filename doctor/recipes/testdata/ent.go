package main

import (
	"context"
	stdsql "database/sql"
	"os"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// names asks as a generated client does.
func names(ctx context.Context, on dialect.Driver, id int) (names []string, err error) {
	item := entsql.Dialect(dialect.Postgres).Select().From(entsql.Table("item"))
	item.Select(item.C("name"))
	if id > 0 {
		item.Where(entsql.EQ(item.C("id"), id)).Limit(2)
	}
	query, args := item.Query()
	var rows entsql.Rows
	if err := on.Query(ctx, query, args, &rows); err != nil {
		return nil, err
	}
	defer rows.Close()
	return names, entsql.ScanSlice(&rows, &names)
}

func main() {
	ctx, form := context.Background(), os.Args[1]
	driver, err := openEnt(os.Getenv("DATABASE_URL"))
	if form == "defaults" {
		var pool *stdsql.DB
		pool, err = stdsql.Open("pgx", os.Getenv("DATABASE_URL"))
		driver = entsql.OpenDB(dialect.Postgres, pool)
	}
	if err != nil {
		panic(err)
	}
	driver.DB().SetMaxOpenConns(8)
	driver.DB().SetMaxIdleConns(8)
	ask(func(tenant string, id int, note bool) (string, error) {
		var found []string
		work := func(on dialect.Driver) (err error) {
			if found, err = names(ctx, on, id); err != nil || !note {
				return err
			}
			tx, err := on.Tx(ctx) // as a client that begins one of its own
			if err != nil {
				return err
			}
			if err := tx.Exec(ctx, "insert into note (told) values ($1)", []any{tenant}, nil); err != nil {
				return err
			}
			return tx.Commit()
		}
		var err error
		if form == "session" { // what the recipe replaces
			if err = driver.Exec(ctx, "select set_config('app.tenant', $1, false)", []any{tenant}, nil); err == nil {
				err = work(driver)
			}
		} else {
			err = inTenant(ctx, driver, tenant, work)
		}
		if err != nil || len(found) != 1 {
			return "", err
		}
		return found[0], nil
	}, func() (int, error) {
		all, err := names(ctx, driver, 0)
		return len(all), err
	})
}

package poolproof_test

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

type mood string

type address struct {
	Street string
	Number int32
}

// card is a row with a column of each sort of type that pgx does not know by
// itself.
type card struct {
	Mood    mood
	Moods   []mood
	Home    address
	Others  []address
	Code    string
	Extras  pgtype.Hstore // of an extension, as pgvector's is
	Address string        // citext
}

const cardsSQL = `
	create extension hstore; create extension citext;
	create type mood as enum ('happy', 'sad');
	create type address as (street text, number int4);
	create domain code as text check (length(value) = 3);
	create table cards (tenant_id uuid not null, mood mood, moods mood[], home address, others address[], code code, extras hstore, address citext);
	alter table cards enable row level security; alter table cards force row level security;
	create policy tenant on cards using (` + tenantPolicy + `) with check (` + tenantPolicy + `);
	grant select, insert on cards to public`

// registerCards is what a program of pgx's does after connecting.
func registerCards(ctx context.Context, conn *pgx.Conn) error {
	types, err := conn.LoadTypes(ctx, []string{"mood", "_mood", "address", "_address", "code"})
	if err != nil {
		return err
	}
	conn.TypeMap().RegisterTypes(types)
	var hstore uint32
	if err := conn.QueryRow(ctx, "select to_regtype('hstore')::oid").Scan(&hstore); err != nil {
		return err
	}
	conn.TypeMap().RegisterType(&pgtype.Type{Name: "hstore", OID: hstore, Codec: pgtype.HstoreCodec{}})
	return nil
}

func TestAfterConnectRegistersTypes(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, cardsSQL)
	want := card{"sad", []mood{"happy", "sad"}, address{"Main, \"St\"", 1}, []address{{"a", 2}, {"b", 3}}, "abc", pgtype.Hstore{"k": new("v"), "n": nil}, "A@Example.org"}
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement, pgtest.PgBouncer124Transaction} {
		for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
			if m == poolproof.ModeCacheStatement && kind != pgtest.Direct && kind != pgtest.PgBouncer124Transaction {
				continue // refused
			}
			t.Run(kind.String()+"/"+string(m), func(t *testing.T) {
				db := open(t, pgtest.Pooled(t, f.url, kind), mode(m), func(c *poolproof.Config) { c.AfterConnect = registerCards })
				mine, ctx := db.Tenant(tenant(0)), t.Context()
				row := []any{tenant(0), want.Mood, want.Moods, want.Home, want.Others, want.Code, want.Extras, want.Address}
				columns := []string{"tenant_id", "mood", "moods", "home", "others", "code", "extras", "address"}
				if _, err := mine.Exec(ctx, "insert into cards values ($1, $2, $3, $4, $5, $6, $7, $8)", row...); err != nil {
					t.Fatal(err)
				}
				if _, err := mine.CopyFrom(ctx, pgx.Identifier{"cards"}, columns, pgx.CopyFromRows([][]any{row})); err != nil {
					t.Fatal(err)
				}
				b := &pgx.Batch{}
				b.Queue("insert into cards values ($1, $2, $3, $4, $5, $6, $7, $8)", row...)
				if err := mine.SendBatch(ctx, b).Close(); err != nil {
					t.Fatal(err)
				}
				rows, err := mine.Query(ctx, "select mood, moods, home, others, code, extras, address from cards where mood = any($1)", want.Moods)
				if err != nil {
					t.Fatal(err)
				}
				cards, err := pgx.CollectRows(rows, pgx.RowToStructByPos[card])
				if err != nil || len(cards) < 3 {
					t.Fatalf("%d cards, %v", len(cards), err)
				}
				for _, got := range cards {
					if !reflect.DeepEqual(got, want) {
						t.Errorf("got %+v, want %+v", got, want)
					}
				}
				var n int
				if err := db.Shared().QueryRow(ctx, "select (select count(*) from cards) + (select count(*) from pg_prepared_statements where name not like 'poolproof%' and name not like 'PGBOUNCER%')").Scan(&n); err != nil || n != 0 {
					t.Errorf("without a tenant, and prepared by the hook: %d, %v", n, err)
				}
			})
		}
	}
}

// Without the hook they fail, so that the test above shows something.
func TestWithoutAfterConnect(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, cardsSQL)
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe} {
		s := open(t, f.url, mode(m)).Tenant(tenant(0))
		if _, err := s.Exec(t.Context(), "select $1::address", address{"a", 1}); err == nil {
			t.Errorf("%s: a composite that nobody registered was sent", m)
		}
	}
}

func TestAfterConnectThatFails(t *testing.T) {
	f := newFixture(t, 1)
	own := errors.New("no such type here")
	hooks := map[string]func(context.Context, *pgx.Conn) error{
		"its own error": func(context.Context, *pgx.Conn) error { return own },
		"PostgreSQL's error": func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "select nothing")
			return err
		},
		"a transaction that is left open": func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "begin")
			return err
		},
		"one that does not end": func(ctx context.Context, _ *pgx.Conn) error { <-ctx.Done(); return ctx.Err() },
	}
	for name, hook := range hooks {
		db, err := poolproof.Open(t.Context(), poolproof.Config{URL: f.url + "&connect_timeout=1", AfterConnect: hook})
		if err == nil {
			db.Close()
		}
		if !errors.Is(err, poolproof.ErrConfig) || name == "its own error" && !errors.Is(err, own) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var calls atomic.Int32 // one that fails later on
	db := open(t, f.url, func(c *poolproof.Config) {
		c.AfterConnect = func(context.Context, *pgx.Conn) error {
			if calls.Add(1) > 1 {
				return own
			}
			return nil
		}
	})
	rows, err := db.Shared().Query(t.Context(), "select 1") // holds the one that succeeded
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Shared().Exec(t.Context(), "select 1"); !errors.Is(err, poolproof.ErrConfig) || !errors.Is(err, own) {
		t.Errorf("a later connection: %v", err)
	}
	rows.Close()
	if n := f.count(t, "select count(*) from pg_stat_activity where usename = $1 and state like 'idle in%'", loginOf(t, f.url)); n != 0 {
		t.Errorf("%d connections were left in a transaction", n)
	}
}

// Connections share what is known of a statement, and need not know the same
// types: a type may have been made between their beginnings.
func TestDescriptionsOfConnectionsThatKnowOtherTypes(t *testing.T) {
	forForms(t, testDescriptionsOfConnectionsThatKnowOtherTypes)
}

func testDescriptionsOfConnectionsThatKnowOtherTypes(t *testing.T, form option) {
	f := newFixture(t, 1)
	f.exec(t, "create type address as (street text, number int4)")
	var calls atomic.Int32
	db := open(t, f.url, form, mode(poolproof.ModeCacheStatement), func(c *poolproof.Config) {
		c.MaxConns = 2
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			if calls.Add(1) == 1 {
				return nil
			}
			types, err := conn.LoadTypes(ctx, []string{"address"})
			conn.TypeMap().RegisterTypes(types)
			return err
		}
	})
	s, ctx := db.Tenant(tenant(0)), t.Context()
	const sql = "select row('Main', 1)::address"
	var text string
	if err := s.QueryRow(ctx, sql).Scan(&text); err != nil || text != "(Main,1)" { // describes, as the first connection knows it
		t.Fatalf("%q, %v", text, err)
	}
	busy, err := s.Query(ctx, "select 1") // so that the other connection is used
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if _, err := s.Exec(ctx, sql); err != nil { // it holds the statement now, and has not seen how its result looks
		t.Fatal(err)
	}
	for range 3 {
		var home address
		if err := s.QueryRow(ctx, sql).Scan(&home); err != nil || home != (address{"Main", 1}) {
			t.Errorf("%+v, %v", home, err)
		}
	}
}

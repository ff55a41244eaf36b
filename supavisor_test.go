package poolproof_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// Behind Supavisor named statements are never used, and not to be asked for.
func TestSupavisorIsKnown(t *testing.T) {
	f := newFixture(t, 1)
	url, s := pgtest.LikeSupavisor(t, f.url)
	s.NamedStatements.Store(true)
	db := open(t, url)
	if r := db.Report(); !r.Supavisor || !r.Present || db.Mode() != poolproof.ModeExec {
		t.Errorf("found %s, Supavisor %v, mode %s", r, r.Supavisor, db.Mode())
	}
	_, err := poolproof.Open(t.Context(), poolproof.Config{URL: url, Mode: poolproof.ModeCacheStatement})
	wantKind(t, "cache_statement through Supavisor", err, poolproof.ErrConfig)
	s.Anonymous.Store(true)
	if r := open(t, url).Report(); r.Supavisor {
		t.Errorf("found Supavisor where nobody said so: %s", r)
	}
}

// Answers that nobody asked for, which Supavisor with its flag sends after a
// client's error, are a broken connection: no panic, no row of another tenant, and
// nothing told as stored that is not.
func TestStrayAnswers(t *testing.T) {
	f := newFixture(t, 2)
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
		t.Run(string(m), func(t *testing.T) {
			url, s := pgtest.LikeSupavisor(t, f.url)
			s.Anonymous.Store(true) // else cache_statement is refused
			db := open(t, url, mode(m), func(c *poolproof.Config) { c.MaxConns = 2 })
			s.NamedStatements.Store(true)
			ctx := t.Context()
			stray := 0
			for i := range 20 {
				who := tenant(i % 2)
				session := db.Tenant(who)
				if _, err := session.Exec(ctx, "select 1/$1::int", 0); err == nil {
					t.Fatal("a division by zero was told as done")
				}
				body := fmt.Sprintf("%s %d", t.Name(), i)
				_, err := session.Exec(ctx, "insert into documents (tenant_id, body) values ($1, $2)", who, body)
				there := f.count(t, "select count(*) from documents where body = $1 and tenant_id = $2", body, who)
				switch {
				case err == nil && there != 1:
					t.Errorf("%d rows of one that was told as stored", there)
				case err != nil:
					stray++
					wantKind(t, "after a stray answer", err, poolproof.ErrUnavailable)
				}
				rows, err := session.Query(ctx, "select tenant_id::text from documents")
				if err != nil {
					continue
				}
				for rows.Next() {
					var seen string
					if err := rows.Scan(&seen); err != nil || seen != who {
						t.Errorf("a row of %q, %v", seen, err)
					}
				}
			}
			if stray == 0 {
				t.Error("no stray answer came")
			}
			waitFor(t, "the connections are back", func() bool { return db.Stat().AcquiredConns() == 0 })
		})
	}
}

// A pooler's limit on named statements leads to exec mode, once, and loses nothing.
func TestLimitOfNamedStatements(t *testing.T) { forForms(t, testLimitOfNamedStatements) }

func testLimitOfNamedStatements(t *testing.T, form option) {
	f := newFixture(t, 1)
	url, s := pgtest.LikeSupavisor(t, f.url)
	s.Anonymous.Store(true)
	logs := &logged{}
	db := open(t, url, form, mode(poolproof.ModeCacheStatement), func(c *poolproof.Config) { c.MaxConns = 1; c.Logger = logs.logger() })
	s.NamedStatements.Store(true)
	session, ctx := db.Tenant(tenant(0)), t.Context()
	for i := range 150 {
		var got int
		if err := session.QueryRow(ctx, fmt.Sprintf("select $1::int + %d", i), 1).Scan(&got); err != nil || got != i+1 {
			t.Fatalf("statement %d: %d, %v", i, got, err)
		}
	}
	if db.Mode() != poolproof.ModeExec || logs.count("no statement is prepared (exec mode)") != 1 {
		t.Errorf("mode %s, %d fall-backs", db.Mode(), logs.count("no statement is prepared (exec mode)"))
	}
}

// A caller's own statement that fails with the code of a lost one ends no mode.
func TestOwnErrorsAreNoLostStatements(t *testing.T) {
	f := newFixture(t, 1)
	for _, code := range []string{"26000", "42P05"} {
		f.exec(t, fmt.Sprintf(`create function raises_%s() returns int language plpgsql as $$ begin raise 'not yours' using errcode = '%s'; end $$;
			create function at_once_%s() returns int immutable language plpgsql as $$ begin raise 'not yours' using errcode = '%s'; end $$`, code, code, code, code))
	}
	f.exec(t, "create function executes() returns int language plpgsql as $$ begin execute 'execute nope'; return 1; end $$")
	db := open(t, f.url, mode(poolproof.ModeCacheStatement))
	s, ctx := db.Tenant(tenant(0)), t.Context()
	for _, sql := range []string{"select raises_26000()", "select raises_42P05()", "select at_once_26000()", "select at_once_42P05()", "select executes()"} {
		_, err := s.Exec(ctx, sql)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "26000" && pgErr.Code != "42P05" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	_, err := s.Exec(ctx, "explain execute nope")
	wantKind(t, "explain execute", err, poolproof.ErrStatementRefused)
	err = s.InTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "do $$ begin execute 'execute nope'; end $$")
		return err
	})
	if err == nil {
		t.Error("executed what is not there")
	}
	if db.Mode() != poolproof.ModeCacheStatement {
		t.Errorf("mode %s", db.Mode())
	}
}

// A cancel request that was meant for somebody else is told as such: nothing is
// stored, and the same may be tried again. One's own, and a timeout, are not.
func TestCanceledByOther(t *testing.T) { forForms(t, testCanceledByOther) }

func testCanceledByOther(t *testing.T, form option) {
	f := newFixture(t, 1)
	url, sv := pgtest.LikeSupavisor(t, f.url)
	db := open(t, url, form, func(c *poolproof.Config) { c.MaxConns = 1; c.Logger = slog.New(slog.DiscardHandler) })
	s, ctx := db.Tenant(tenant(0)), t.Context()
	const insert = "with w as (insert into documents (tenant_id, body) values ($1, 'canceled')) select pg_sleep(10)"
	sv.CancelNext()
	_, err := s.Exec(ctx, insert, tenant(0))
	wantKind(t, "canceled by another", err, poolproof.ErrCanceledByOther)
	if !pgconn.SafeToRetry(err) {
		t.Errorf("%v is not safe to retry", err)
	}
	if n := f.count(t, "select count(*) from documents where body = 'canceled'"); n != 0 {
		t.Errorf("%d rows are there", n)
	}
	err = s.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "insert into documents (tenant_id, body) values ($1, 'canceled')", tenant(0)); err != nil {
			return err
		}
		sv.CancelNext()
		_, err := tx.Exec(ctx, "select pg_sleep(10)")
		return err
	})
	wantKind(t, "canceled by another in a transaction", err, poolproof.ErrCanceledByOther)
	if n := f.count(t, "select count(*) from documents where body = 'canceled'"); n != 0 {
		t.Errorf("%d rows are there", n)
	}
	f.exec(t, `create function sleeps() returns trigger language plpgsql as $$ begin perform pg_sleep(10); return null; end $$;
		create constraint trigger sleeps after insert on documents deferrable initially deferred for each row when (new.body = 'canceled') execute function sleeps()`)
	err = s.InTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "insert into documents (tenant_id, body) values ($1, 'canceled')", tenant(0))
		sv.CancelNext()
		return err
	})
	wantKind(t, "canceled by another at the COMMIT", err, poolproof.ErrCanceledByOther)
	if n := f.count(t, "select count(*) from documents where body = 'canceled'"); n != 0 {
		t.Errorf("%d rows are there", n)
	}
	err = s.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local statement_timeout = 5"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "select pg_sleep(10)")
		return err
	})
	if err == nil || errors.Is(err, poolproof.ErrCanceledByOther) {
		t.Errorf("a timeout of the server's: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := s.Exec(short, "select pg_sleep(10)"); err == nil || errors.Is(err, poolproof.ErrCanceledByOther) {
		t.Errorf("one's own: %v", err)
	}
}

// What Supavisor says when it lets nobody in, or fails in the middle, is ErrUnavailable
// with a hint at the cause. What was under way then is not stored, and once the
// cause is gone all goes on.
func TestSupavisorsWords(t *testing.T) {
	f := newFixture(t, 1)
	url, sv := pgtest.LikeSupavisor(t, f.url)
	db := open(t, url, func(c *poolproof.Config) { c.MaxConns = 1; c.Logger = slog.New(slog.DiscardHandler) })
	s, ctx := db.Tenant(tenant(0)), t.Context()
	for _, tt := range []struct{ code, message, hint string }{
		{"XX000", "(ENOTFOUND) tenant/user app.nosuch not found", "postgres.REF"},
		{"XX000", "(ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)", "postgres.REF"},
		{"28P01", `password authentication failed for user "app"`, "password"},
		{"XX000", "(ECIRCUITBREAKER) too many authentication failures, new connections are temporarily blocked", "wait"},
		{"XX000", "(EMAXCONN) max client connections reached, limit: 3", "MaxConns"},
		{"XX000", "(EMAXCONNSESSION) max clients reached in session mode - max clients are limited to pool_size: 2", "session mode"},
		{"XX000", "(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 1000ms in Transaction mode", "long transactions"},
		{"XX000", "(ECHECKOUTRETRIES) unable to check out connection from the pool", "long transactions"},
		{"XX000", "(ESETNOTALLOWED) session-level SET statements are not allowed in transaction mode", "Session.With"},
		{"08006", "Failed to connect to database: {:error, :econnrefused}", "cannot reach"},
	} {
		told := func(what string, err error) {
			t.Helper()
			wantKind(t, what+" "+tt.message, err, poolproof.ErrUnavailable)
			if e, ok := errors.AsType[*poolproof.Error](err); ok && !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("%s %s, hint: %s", what, tt.message, e.Hint)
			}
		}
		sv.Refuse(tt.code, tt.message)
		_, err := poolproof.Open(ctx, poolproof.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
		told("open", err)
		sv.Refuse("", "")
		if tt.code == "28P01" {
			continue // not in the middle
		}
		sv.FailNext(tt.code, tt.message)
		_, err = s.Exec(ctx, "insert into documents (tenant_id, body) values ($1, $2)", tenant(0), tt.message)
		told("insert", err)
		if n := f.count(t, "select count(*) from documents where body = $1", tt.message); n != 0 {
			t.Errorf("%s: %d rows are there", tt.message, n)
		}
		if _, err := s.Exec(ctx, "insert into documents (tenant_id, body) values ($1, $2)", tenant(0), tt.message); err != nil {
			t.Errorf("after %s: %v", tt.message, err)
		}
	}
}

// Each of a pooler's refusals of a named statement leads to exec mode, and the
// statement runs once.
func TestPoolersRefusalsOfNamedStatements(t *testing.T) {
	f := newFixture(t, 1)
	for i, refusal := range [][2]string{
		{"XX000", "(EMAXPREPARED) max prepared statements reached. Limit: 100 per connection"},
		{"XX000", "(EMAXPREPAREDMEM) max prepared statements memory reached"},
		{"42P05", `(EPREPAREDDUP) prepared statement "a" already exists`},
		{"26000", `(EPREPAREDNOTFOUND) prepared statement "a" does not exist`},
		{"08P01", "prepared statement did not exist"},
		{"08P01", "prepared statement name is already in use"},
	} {
		url, sv := pgtest.LikeSupavisor(t, f.url)
		sv.Anonymous.Store(true) // else no statement has a name
		db := open(t, url, mode(poolproof.ModeCacheStatement), func(c *poolproof.Config) { c.MaxConns = 1; c.Logger = slog.New(slog.DiscardHandler) })
		const insert = "insert into documents (tenant_id, body) values ($1, $2)"
		body := fmt.Sprint("refused ", i)
		sv.FailNext(refusal[0], refusal[1])
		if _, err := db.Tenant(tenant(0)).Exec(t.Context(), insert, tenant(0), body); err != nil {
			t.Errorf("%s: %v", refusal[1], err)
		}
		if n := f.count(t, "select count(*) from documents where body = $1", body); n != 1 || db.Mode() != poolproof.ModeExec {
			t.Errorf("%s: %d rows, mode %s", refusal[1], n, db.Mode())
		}
	}
}

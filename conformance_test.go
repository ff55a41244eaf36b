package poolproof_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestConformance runs every operation of a session from 16 goroutines of
// different tenants through every way to the database in every mode, with
// either form of the scope, beside a
// client that keeps leaving another tenant's id on the server connections, and
// beside a bystander that looks for ids that we left there.
func TestConformance(t *testing.T) {
	rounds := pgtest.Pick(1, 600) // of everything, by each of the 16
	f := newFixture(t, 16)
	f.exec(t, "insert into documents (tenant_id, body) select '"+victim+"', 'of tenant "+victim+"' from generate_series(1, 100)")
	for _, kind := range append(slices.Clone(pgtest.Kinds), pgtest.PgBouncer126Transaction, pgtest.PgBouncer126Statement,
		pgtest.Odyssey15, pgtest.Odyssey15NoDiscard, pgtest.Pgpool43, pgtest.Pgpool43Streaming) {
		for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
			for _, form := range forms {
				t.Run(kind.String()+"/"+string(m)+"/"+string(form), func(t *testing.T) {
					url := pgtest.Pooled(t, f.url, kind)
					if form == poolproof.ScopeParameter && kind == pgtest.Pgpool43 {
						cfg := poolproof.Config{URL: url, Mode: m, Scope: form}
						if _, err := poolproof.Open(t.Context(), cfg); !errors.Is(err, poolproof.ErrConfig) {
							t.Fatalf("the parameter was not refused where the one-Sync scope is broken: %v", err)
						}
						return
					}
					if m == poolproof.ModeCacheStatement && (kind == pgtest.PgBouncer118Transaction || kind == pgtest.PgBouncer118Statement) {
						cfg := poolproof.Config{URL: url, Mode: m}
						if _, err := poolproof.Open(t.Context(), cfg); !errors.Is(err, poolproof.ErrConfig) {
							t.Fatalf("cache_statement was not refused where statements are not tracked: %v", err)
						}
						return
					}
					conform(t, f, url, kind, rounds, mode(m), scoped(form))
				})
			}
		}
	}
}

// In session mode each client has a server connection of its own, and keeps
// named statements on it: what Open chooses there holds to the same suite.
func TestConformanceInSessionMode(t *testing.T) {
	f := newFixture(t, 16)
	f.exec(t, "insert into documents (tenant_id, body) select '"+victim+"', 'of tenant "+victim+"' from generate_series(1, 100)")
	url, _ := pgtest.PrivatePooler(t, f.url, pgtest.PgBouncer118Session, map[string]string{"default_pool_size": "40"})
	for _, form := range forms {
		t.Run(string(form), func(t *testing.T) {
			if db := open(t, url); db.Mode() != poolproof.ModeCacheStatement {
				t.Errorf("chose %s: %s", db.Mode(), db.Report())
			}
			conform(t, f, url, pgtest.PgBouncer118Session, pgtest.Pick(1, 4), scoped(form))
		})
	}
}

// victim is the tenant whose id the hostile client leaves behind. No session
// of the suite is ever its.
var victim = tenant(99)

func conform(t *testing.T, f *fixture, url string, kind pgtest.Kind, rounds int, options ...option) {
	registry := prometheus.NewRegistry()
	db := open(t, url, append(options, func(c *poolproof.Config) { c.Registerer = registry })...)
	ctx, stop := t.Context(), pgtest.Hostile(t, url, victim)
	var operations atomic.Int64
	var workers sync.WaitGroup
	for i := range 16 {
		workers.Go(func() {
			w := worker{t: t, db: db, tenant: tenant(i), transactions: kind != pgtest.PgBouncer118Statement && kind != pgtest.PgBouncer126Statement}
			for range rounds {
				if err := w.round(ctx); err != nil {
					t.Errorf("tenant %d: %v", i, err)
					return
				}
				operations.Add(1)
			}
		})
	}
	workers.Wait()
	stop()
	if n := operations.Load(); n != int64(16*rounds) {
		t.Errorf("%d rounds of %d", n, 16*rounds)
	}
	if got, want := f.count(t, "select count(*) from documents where body <> 'of tenant ' || tenant_id"), 0; got != want {
		t.Errorf("%d rows carry another tenant's body", got)
	}
	if got := f.count(t, "select count(*) from documents where tenant_id = $1", victim); got != 100 {
		t.Errorf("the victim has %d rows instead of 100", got)
	}
	leaks := poolproof.Counter(t, registry, "poolproof_leaked_settings_total")
	switch kind {
	case pgtest.Direct, pgtest.PgBouncer118Session, pgtest.Pgpool43, pgtest.Pgpool43Streaming, pgtest.Odyssey15: // Odyssey cleans a connection before it passes it on
		if leaks != 0 {
			t.Errorf("the canary saw %v leaks on connections that are ours alone, or clean", leaks)
		}
	default:
		if leaks == 0 {
			t.Error("the canary saw no leak, so the hostile client was not beside us")
		}
	}
	for _, name := range []string{"poolproof_mode_fallbacks_total", "poolproof_scope_fallbacks_total"} {
		if n := poolproof.Counter(t, registry, name); n != 0 {
			t.Errorf("%s is %v", name, n)
		}
	}
}

// worker is one tenant's user of the library.
type worker struct {
	t            *testing.T
	db           *poolproof.DB
	tenant       string
	transactions bool
}

// round does everything once and checks that nothing foreign is seen.
func (w worker) round(ctx context.Context) error {
	s := w.db.Tenant(w.tenant).As(tenant(50))
	steps := []struct {
		name string
		do   func(context.Context, poolproof.Session) error
	}{
		{"query", w.query}, {"query row", w.queryRow}, {"change", w.change}, {"batch", w.batch}, {"copy", w.copy}, {"foreign write", w.foreignWrite},
		{"shared", func(ctx context.Context, _ poolproof.Session) error { return w.shared(ctx) }},
		{"transaction", w.transaction},
	}
	rand.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		if err := step.do(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (w worker) own(body string) error {
	if body != "of tenant "+w.tenant {
		return fmt.Errorf("FOREIGN ROW: %q", body)
	}
	return nil
}

func (w worker) query(ctx context.Context, s poolproof.Session) error {
	rows, err := s.Query(ctx, "select tenant_id::text, body from documents where id > $1 order by id", 0)
	if err != nil {
		return err
	}
	n := 0
	for rows.Next() {
		var id, body string
		if err := rows.Scan(&id, &body); err != nil {
			return err
		}
		if err := w.own(body); err != nil {
			return err
		}
		n++
	}
	if rows.Err() == nil && n < 10 {
		return fmt.Errorf("%d rows", n)
	}
	return rows.Err()
}

func (w worker) queryRow(ctx context.Context, s poolproof.Session) error {
	var body, user string
	if err := s.QueryRow(ctx, "select min(body), current_setting('app.current_user_id') from documents").Scan(&body, &user); err != nil {
		return err
	}
	if user != tenant(50) {
		return fmt.Errorf("the user is %q", user)
	}
	return w.own(body)
}

func (w worker) change(ctx context.Context, s poolproof.Session) error {
	var id int64
	if err := s.QueryRow(ctx, "insert into documents (tenant_id, body) values ($1, 'of tenant ' || $1::uuid) returning id", w.tenant).Scan(&id); err != nil {
		return err
	}
	for _, sql := range []string{"update documents set body = body where id = $1", "delete from documents where id = $1"} {
		tag, err := s.Exec(ctx, sql, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != 1 {
			return fmt.Errorf("%s: %s", sql, tag)
		}
	}
	return nil
}

func (w worker) batch(ctx context.Context, s poolproof.Session) error {
	b := &pgx.Batch{}
	b.Queue("insert into documents (tenant_id, body) values ($1, 'of tenant ' || $1::uuid)", w.tenant)
	b.Queue("select distinct body from documents").Query(func(rows pgx.Rows) error {
		bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(bodies) != 1 {
			return fmt.Errorf("FOREIGN ROWS: %q", bodies)
		}
		return w.own(bodies[0])
	})
	b.Queue("delete from documents where id in (select max(id) from documents)")
	return s.SendBatch(ctx, b).Close()
}

func (w worker) copy(ctx context.Context, s poolproof.Session) error {
	rows := [][]any{{w.tenant, "of tenant " + w.tenant}, {w.tenant, "of tenant " + w.tenant}}
	n, err := s.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"}, pgx.CopyFromRows(rows))
	if err != nil {
		return err
	}
	if n != 2 {
		return fmt.Errorf("%d rows copied", n)
	}
	_, err = s.Exec(ctx, "delete from documents where id in (select id from documents order by id desc limit 2)")
	return err
}

// foreignWrite must be refused by the policy, and must not touch the victim.
func (w worker) foreignWrite(ctx context.Context, s poolproof.Session) error {
	_, err := s.Exec(ctx, "insert into documents (tenant_id, body) values ($1, 'smuggled')", victim)
	if err == nil || !strings.Contains(err.Error(), "row-level security") {
		return fmt.Errorf("a row for another tenant was not refused: %w", err)
	}
	tag, err := s.Exec(ctx, "delete from documents where tenant_id = $1", victim)
	if err == nil && tag.RowsAffected() != 0 {
		return fmt.Errorf("FOREIGN ROWS DELETED: %s", tag)
	}
	return err
}

func (w worker) shared(ctx context.Context) error {
	var documents, catalogue int
	if err := w.db.Shared().QueryRow(ctx, "select (select count(*) from documents), (select count(*) from catalogue)").Scan(&documents, &catalogue); err != nil {
		return err
	}
	if documents != 0 || catalogue != 1 {
		return fmt.Errorf("FOREIGN ROWS: a shared session sees %d documents and %d rows of the catalogue", documents, catalogue)
	}
	return nil
}

func (w worker) transaction(ctx context.Context, s poolproof.Session) error {
	err := s.InTx(ctx, func(tx pgx.Tx) error {
		var id int64
		if err := tx.QueryRow(ctx, "insert into documents (tenant_id, body) values ($1, 'of tenant ' || $1::uuid) returning id", w.tenant).Scan(&id); err != nil {
			return err
		}
		var body string
		if err := tx.QueryRow(ctx, "select max(body) from documents").Scan(&body); err != nil {
			return err
		}
		if err := w.own(body); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "delete from documents where id = $1", id)
		return err
	})
	if !w.transactions {
		if !errors.Is(err, poolproof.ErrStatementMode) || !strings.Contains(err.Error(), "statement mode") {
			return fmt.Errorf("in statement mode InTx must name the mode: %w", err)
		}
		return nil
	}
	return err
}

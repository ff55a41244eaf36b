package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof"
)

// way is how the database is reached and how statements are sent.
type way struct {
	title, name string
	mode        poolproof.Mode
	bouncer     string // version; "": direct
	far         bool   // latency is added
	gates       []gate
}

var pgxModes = map[poolproof.Mode]pgx.QueryExecMode{
	poolproof.ModeExec:           pgx.QueryExecModeExec,
	poolproof.ModeCacheStatement: pgx.QueryExecModeCacheStatement,
}

// The gates hold at as many clients as there are connections.
const gateClients = 16

func ways(a about, latency time.Duration) []way {
	near := []gate{{"unscoped", 0.7}, {"explicit", 2.3}}
	far := []gate{{"unscoped", 0.95}, {"explicit", 3}}
	return []way{
		{title: "direct, cache_statement", name: "direct cache_statement", mode: poolproof.ModeCacheStatement},
		{title: "direct, exec", name: "direct exec", mode: poolproof.ModeExec},
		{title: "PgBouncer " + a.old + ", exec", name: "pgbouncer-1.18 exec", mode: poolproof.ModeExec, bouncer: "1.18", gates: near},
		{title: "PgBouncer " + a.tracking + ", cache_statement", name: "pgbouncer-1.24 cache_statement",
			mode: poolproof.ModeCacheStatement, bouncer: "1.24", gates: near},
		{title: "PgBouncer " + a.old + ", exec, " + latency.String() + " further away", name: "pgbouncer-1.18 exec far",
			mode: poolproof.ModeExec, bouncer: "1.18", far: true, gates: far},
		{title: "PgBouncer " + a.tracking + ", cache_statement, " + latency.String() + " further away", name: "pgbouncer-1.24 cache_statement far",
			mode: poolproof.ModeCacheStatement, bouncer: "1.24", far: true, gates: far},
	}
}

// queryGroups makes the comparisons of the one query: each way with 1, 4 and
// 16 clients.
func (f *fixtures) queryGroups() []*group {
	var groups []*group
	for _, w := range ways(f.about, f.latency) {
		var ops *operations
		prepare := func(ctx context.Context) (err error) {
			if ops != nil {
				return nil
			}
			if err := f.fill(ctx); err != nil {
				return err
			}
			ops, err = f.open(ctx, w)
			return err
		}
		for _, clients := range []int{1, 4, gateClients} {
			g := &group{title: w.title, name: w.name, clients: clients, variants: []*variant{
				{name: "unscoped", op: func(c *worker) error { return ops.unscoped(c) }},
				{name: "scope", op: func(c *worker) error { return ops.scope(c) }},
				{name: "explicit", op: func(c *worker) error { return ops.explicit(c) }},
			}, subject: "scope", baseline: "unscoped", reach: 0.95, prepare: prepare}
			if clients == gateClients {
				g.gates = w.gates
				g.beside = "scope, as a statement"
				g.variants = append(g.variants, &variant{name: g.beside, op: func(c *worker) error { return ops.scopeAsStatement(c) }})
			}
			groups = append(groups, g)
		}
	}
	return groups
}

// url is the login's URL by a way.
func (f *fixtures) url(w way) string {
	if w.bouncer != "" {
		return f.bouncers[w.bouncer].URL(login, "", "postgres")
	}
	return f.postgres.URL(login, "postgres")
}

// operations are the variants' operations over the pools of one way.
type operations struct {
	plain, explicitly *pgxpool.Pool
	scoped, stated    *poolproof.DB
}

// open opens a pool for each variant.
func (f *fixtures) open(ctx context.Context, w way) (*operations, error) {
	u, o := f.url(w), &operations{}
	var err error
	if o.plain, err = f.pool(ctx, u, w); err != nil {
		return nil, err
	}
	if o.explicitly, err = f.pool(ctx, u, w); err != nil {
		return nil, err
	}
	if o.scoped, err = f.database(ctx, u, w, poolproof.ScopeParameter); err != nil {
		return nil, err
	}
	if o.stated, err = f.database(ctx, u, w, poolproof.ScopeStatement); err != nil {
		return nil, err
	}
	return o, nil
}

// pool is pgx's own pool, with the connections and the mode that all variants
// have, and otherwise its defaults.
func (f *fixtures) pool(ctx context.Context, u string, w way) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(u)
	if err != nil {
		return nil, fmt.Errorf("read the URL: %w", err)
	}
	cfg.MaxConns = clientConns
	cfg.ConnConfig.DefaultQueryExecMode = pgxModes[w.mode]
	if w.far {
		cfg.ConnConfig.DialFunc = farDialer(f.latency)
	}
	p, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open pgx's pool: %w", err)
	}
	f.closeLater(func() error { p.Close(); return nil })
	return p, nil
}

// database is poolproof's, as a program would open it, but for the log line. The
// form of the scope is the one that Open would choose, or the other one.
func (f *fixtures) database(ctx context.Context, u string, w way, form poolproof.ScopeForm) (*poolproof.DB, error) {
	cfg := poolproof.Config{URL: u, MaxConns: clientConns, Mode: w.mode, Scope: form, Logger: slog.New(slog.DiscardHandler)}
	if w.far {
		cfg.DialFunc = farDialer(f.latency)
	}
	db, err := poolproof.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	f.closeLater(func() error { db.Close(); return nil })
	if !db.Report().ImplicitScope {
		return nil, fmt.Errorf("the probe did not prove the one-Sync scope: %s", db.Report())
	}
	return db, nil
}

// item is the row that an operation reads.
type item struct {
	id        int64
	name      string
	createdAt time.Time
}

func (i *item) fields() []any { return []any{&i.id, &i.name, &i.createdAt} }

// choose picks the row to read.
func choose(w *worker) (tenant, id int) { return w.rng.IntN(tenants), 1 + w.rng.IntN(rowsPerTenant) }

// check is what makes a wrong answer end the bench.
func (i *item) check(tenant, id int) error {
	if want := rowName(tenant, id); i.id != int64(id) || i.name != want || i.createdAt.IsZero() {
		return fmt.Errorf("got the row %d, %q instead of %q", i.id, i.name, want)
	}
	return nil
}

func (o *operations) unscoped(w *worker) error {
	tenant, id := choose(w)
	var i item
	const sql = `select id, name, created_at from bench.plain where tenant_id = $1 and id = $2`
	if err := o.plain.QueryRow(w.ctx, sql, tenantID(tenant), id).Scan(i.fields()...); err != nil {
		return err
	}
	return i.check(tenant, id)
}

// isolatedQuery names no tenant: the policy does.
const isolatedQuery = `select id, name, created_at from bench.isolated where id = $1`

func (o *operations) scope(w *worker) error { return scoped(w, o.scoped) }

func (o *operations) scopeAsStatement(w *worker) error { return scoped(w, o.stated) }

func scoped(w *worker, db *poolproof.DB) error {
	tenant, id := choose(w)
	var i item
	if err := db.Tenant(tenantID(tenant)).QueryRow(w.ctx, isolatedQuery, id).Scan(i.fields()...); err != nil {
		return err
	}
	return i.check(tenant, id)
}

func (o *operations) explicit(w *worker) error {
	tenant, id := choose(w)
	tx, err := o.explicitly.Begin(w.ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(w.ctx) //nolint:errcheck // nothing to undo after Commit
	if _, err := tx.Exec(w.ctx, `select set_config('app.current_tenant_id', $1, true), set_config('app.current_user_id', $2, true)`, tenantID(tenant), ""); err != nil {
		return err
	}
	var i item
	if err := tx.QueryRow(w.ctx, isolatedQuery, id).Scan(i.fields()...); err != nil {
		return err
	}
	if err := tx.Commit(w.ctx); err != nil {
		return err
	}
	return i.check(tenant, id)
}

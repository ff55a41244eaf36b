package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/devdb"
)

// hostileForms are the ways in which the hostile pooler runs, and what each
// must reach of PgBouncer's throughput with the same load.
var hostileForms = []struct {
	name     string
	args     []string
	database string // sly: a function of it may leave anything behind, so that every transaction is inspected
	gates    map[string]float64
}{
	{"hostile", nil, "bench_plain", map[string]float64{"point SELECT": 0.6, "TPC-B-like": 0.6}},
	{"hostile, every transaction inspected", nil, "bench_sly", map[string]float64{"point SELECT": 0.12, "TPC-B-like": 0.25}},
	{"hostile, observing", []string{"--observe"}, "bench_plain", map[string]float64{"point SELECT": 0.7, "TPC-B-like": 0.7}},
}

// hostileGroups compares "poolproof proxy" with PgBouncer 1.18, each a process
// of its own, with loads like pgbench's.
func (f *fixtures) hostileGroups() []*group {
	var groups []*group
	for _, form := range hostileForms {
		var bouncer, hostile, direct tpcb
		prepare := func(ctx context.Context) (err error) {
			if hostile.pool == nil {
				bouncer, hostile, direct, err = f.loads(ctx, form.database, form.args)
			}
			return err
		}
		old := "PgBouncer " + f.about.old
		// What a pooler adds to a round trip is its p50 less the direct one's.
		groups = append(groups, &group{
			title: form.name + ", point SELECT", name: "hostile " + form.name + " round trip", clients: 1,
			variants: []*variant{
				{name: "direct", op: func(w *worker) error { return direct.point(w) }},
				{name: old, op: func(w *worker) error { return bouncer.point(w) }},
				{name: "hostile", op: func(w *worker) error { return hostile.point(w) }},
			},
			subject: "hostile", baseline: old, prepare: prepare,
		})
		for _, load := range []struct {
			name string
			op   func(tpcb, *worker) error
		}{{"point SELECT", tpcb.point}, {"TPC-B-like", tpcb.transaction}} {
			groups = append(groups, &group{
				title: form.name + ", " + load.name, name: "hostile " + form.name + " " + load.name, clients: gateClients,
				variants: []*variant{
					{name: old, op: func(w *worker) error { return load.op(bouncer, w) }},
					{name: "hostile", op: func(w *worker) error { return load.op(hostile, w) }},
				},
				subject: "hostile", baseline: old, gates: []gate{{old, form.gates[load.name]}}, prepare: prepare,
			})
		}
	}
	return groups
}

// loads makes pools to a database with pgbench's tables: through PgBouncer,
// through the hostile pooler, and none.
func (f *fixtures) loads(ctx context.Context, database string, args []string) (bouncer, hostile, direct tpcb, err error) {
	if err := f.fillTPCB(ctx, database); err != nil {
		return bouncer, hostile, direct, err
	}
	straight := f.postgres.URL(login, database)
	proxied, err := f.proxy(ctx, straight, args)
	if err != nil {
		return bouncer, hostile, direct, err
	}
	pooled, err := through(straight, f.bouncers[wideBouncer])
	if err != nil {
		return bouncer, hostile, direct, err
	}
	for u, load := range map[string]*tpcb{pooled: &bouncer, proxied: &hostile, straight: &direct} {
		if load.pool, err = f.pool(ctx, u, way{mode: poolproof.ModeExec}); err != nil {
			return bouncer, hostile, direct, err
		}
	}
	return bouncer, hostile, direct, nil
}

// fillTPCB makes a database with pgbench's tables, one branch. It does nothing
// the second time.
func (f *fixtures) fillTPCB(ctx context.Context, database string) error {
	if f.tpcb[database] {
		return nil
	}
	f.tpcb[database] = true
	if err := execute(ctx, f.postgres.AdminURL(), "create database "+database); err != nil {
		return err
	}
	statements := []string{
		`create table branches (bid int primary key, bbalance int not null)`,
		`create table tellers (tid int primary key, bid int not null, tbalance int not null)`,
		`create table accounts (aid int primary key, bid int not null, abalance int not null, filler char(84) not null default '')`,
		`create table history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))`,
		`insert into branches select g, 0 from generate_series(1, 100) g`,
		`insert into tellers select g, 1, 0 from generate_series(1, 100) g`,
		`insert into accounts select g, 1, 0 from generate_series(1, 100000) g`,
		`grant all on all tables in schema public to ` + login,
		`vacuum analyze`,
	}
	if database == "bench_sly" {
		statements = append(statements, `create function run(q text) returns void language plpgsql as $$begin execute q; end$$`)
	}
	return execute(ctx, f.postgres.URL(devdb.Superuser, database), statements...)
}

// proxy builds and starts "poolproof proxy" and returns its URL.
func (f *fixtures) proxy(ctx context.Context, upstream string, args []string) (string, error) {
	binary := filepath.Join(f.dir, "poolproof")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/poolproof")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build poolproof: %w\n%s", err, out)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary, append([]string{"proxy", "--listen", "127.0.0.1:0", "--upstream", upstream}, args...)...) //nolint:gosec // what was built above

	var told strings.Builder // read once it has ended
	cmd.Stderr = &told
	cmd.Env = append(os.Environ(), "POOLPROOF_PROXY_PASSWORD="+secret) // the server lets anybody in: the pooler must not
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("start the hostile pooler: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start the hostile pooler: %w", err)
	}
	f.closeLater(func() error {
		if err := cmd.Process.Signal(os.Interrupt); errors.Is(err, os.ErrProcessDone) {
			return nil // told already
		} else if err != nil {
			return fmt.Errorf("stop the hostile pooler: %w", err)
		}
		return cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	ready := make(chan string, 1)
	go func() {
		defer close(ready) // it has ended
		for lines.Scan() {
			if addr, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
				ready <- addr
			}
		}
	}()
	u, err := url.Parse(upstream)
	if err != nil {
		return "", fmt.Errorf("read a URL: %w", err)
	}
	select {
	case addr, up := <-ready:
		if !up {
			return "", errors.Join(errors.New("the hostile pooler has ended"), cmd.Wait(), errors.New(told.String()))
		}
		u.Host, u.User = addr, url.UserPassword(u.User.Username(), secret)
		return u.String(), nil
	case <-time.After(2 * time.Minute): // on a busy machine
		return "", errors.New("the hostile pooler did not get ready")
	}
}

// tpcb is pgbench's built-in load, by pgx in exec mode.
type tpcb struct{ pool *pgxpool.Pool }

func (l tpcb) point(w *worker) error {
	var balance int
	return l.pool.QueryRow(w.ctx, `select abalance from accounts where aid = $1`, 1+w.rng.IntN(100_000)).Scan(&balance)
}

func (l tpcb) transaction(w *worker) error {
	aid, tid, bid, delta := 1+w.rng.IntN(100_000), 1+w.rng.IntN(100), 1+w.rng.IntN(100), w.rng.IntN(10_000)-5000
	return pgx.BeginFunc(w.ctx, l.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(w.ctx, `update accounts set abalance = abalance + $1 where aid = $2`, delta, aid); err != nil {
			return err
		}
		var balance int
		if err := tx.QueryRow(w.ctx, `select abalance from accounts where aid = $1`, aid).Scan(&balance); err != nil {
			return err
		}
		for _, s := range []struct {
			sql  string
			args []any
		}{
			{`update tellers set tbalance = tbalance + $1 where tid = $2`, []any{delta, tid}},
			{`update branches set bbalance = bbalance + $1 where bid = $2`, []any{delta, bid}},
			{`insert into history (tid, bid, aid, delta, mtime) values ($1, $2, $3, $4, current_timestamp)`, []any{tid, bid, aid, delta}},
		} {
			if _, err := tx.Exec(w.ctx, s.sql, s.args...); err != nil {
				return err
			}
		}
		return nil
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/devdb"
)

const (
	tenants       = 100
	rowsPerTenant = 1000
	clientConns   = 16 // of each client pool: the largest number of clients
	serverConns   = 2  // of each PgBouncer: as many as the cores, so that server connections are what clients wait for
	// login is the role that all variants use: it owns nothing, so that
	// row-level security binds it.
	login = "bench_app"
)

// fixtures are the servers, and what is to be closed before they stop.
type fixtures struct {
	dir      string
	latency  time.Duration // of the ways that are far, each way
	postgres *devdb.Postgres
	bouncers map[string]*devdb.PgBouncer // by version asked for: "1.18"
	cpu      *cpuMeter
	causes   causes // why services could not answer

	serviceURL string          // of the demo service's login, direct; "": not made yet
	filled     bool            // the tables of the one query are there
	tpcb       map[string]bool // the databases with pgbench's tables
	about      about
	closers    []func() error // run last first
}

// about is what the report's header says.
type about struct{ postgres, old, tracking string }

// startFixtures starts PostgreSQL and the two PgBouncers in a temporary folder.
func startFixtures(ctx context.Context, latency time.Duration) (f *fixtures, err error) {
	dir, err := os.MkdirTemp("", "poolproof-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	f = &fixtures{dir: dir, latency: latency, bouncers: map[string]*devdb.PgBouncer{}, tpcb: map[string]bool{}}
	f.closeLater(func() error { return os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the servers' account must pass through
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	f.postgres, err = devdb.StartPostgres(ctx, devdb.PostgresConfig{
		Dir: filepath.Join(dir, "postgres"),
		Settings: map[string]string{
			"max_connections": "300",
			"autovacuum":      "off", // nothing changes while it is measured; fill analyses
		},
	})
	if err != nil {
		return nil, err
	}
	f.closeLater(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		return errors.Join(f.postgres.Stop(ctx), os.RemoveAll(f.postgres.Dir()))
	})
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	if f.about.old, err = f.startBouncer(ctx, "1.18", "1.18", serverConns); err != nil {
		return nil, err
	}
	if f.about.tracking, err = f.startBouncer(ctx, "1.24", "1.24", serverConns); err != nil {
		return nil, err
	}
	if _, err = f.startBouncer(ctx, wideBouncer, "1.18", gateClients); err != nil {
		return nil, err
	}
	return f, nil
}

// begin makes what all parts need, and asks for the version.
func (f *fixtures) begin(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, f.postgres.AdminURL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if err := conn.QueryRow(ctx, "show server_version").Scan(&f.about.postgres); err != nil {
		return fmt.Errorf("ask for the version: %w", err)
	}
	for _, sql := range []string{`create role ` + login + ` login`, `create schema bench`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("fill the database: %w", err)
		}
	}
	return nil
}

// wideBouncer is PgBouncer 1.18 with a server connection for each client, which
// is what the hostile pooler has.
const wideBouncer = "1.18-wide"

func (f *fixtures) startBouncer(ctx context.Context, name, version string, size int) (full string, err error) {
	binary, err := devdb.FindProgram(ctx, devdb.PgBouncerProgram, version)
	if err != nil {
		return "", err
	}
	if full, err = binary.Version(ctx); err != nil {
		return "", err
	}
	b, err := devdb.StartPgBouncer(ctx, devdb.PgBouncerConfig{
		Binary: binary, Dir: filepath.Join(f.dir, "pgbouncer-"+name), Mode: "transaction",
		PoolSize: size, Upstream: f.postgres,
	})
	if err != nil {
		return "", err
	}
	f.bouncers[name] = b
	f.closeLater(func() error { return errors.Join(b.Stop(), os.RemoveAll(b.Dir())) })
	return full, nil
}

// meterCPU makes f.cpu read from now on.
func (f *fixtures) meterCPU() (err error) {
	var dirs []string
	for _, b := range f.bouncers {
		dirs = append(dirs, b.Dir())
	}
	f.cpu, err = newCPUMeter(f.postgres.Dir(), dirs)
	return err
}

func (f *fixtures) closeLater(fn func() error) { f.closers = append(f.closers, fn) }

// stop closes and stops everything, last one first.
func (f *fixtures) stop() error {
	var errs []error
	for i := len(f.closers) - 1; i >= 0; i-- {
		errs = append(errs, f.closers[i]())
	}
	f.closers = nil
	return errors.Join(errs...)
}

// through returns a direct URL's way through a PgBouncer.
func through(raw string, b *devdb.PgBouncer) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("read a URL: %w", err)
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(b.Port()))
	return u.String(), nil
}

// tenantID is the id of tenant n.
func tenantID(n int) string { return fmt.Sprintf("7e4a9d20-0000-4000-8000-%012d", n) }

// rowName is what row id of tenant n is called: no two rows have the same.
func rowName(n, id int) string { return fmt.Sprintf("item %d of tenant %d", id, n) }

// fill makes two equal tables, one with row-level security. It does nothing the
// second time.
func (f *fixtures) fill(ctx context.Context) error {
	if f.filled {
		return nil
	}
	f.filled = true
	conn, err := pgx.Connect(ctx, f.postgres.AdminURL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // all is done by then, or has failed
	for _, sql := range []string{
		`create table bench.plain (tenant_id uuid, id bigint, name text not null, created_at timestamptz not null, primary key (tenant_id, id))`,
		`insert into bench.plain select ('7e4a9d20-0000-4000-8000-' || lpad(t::text, 12, '0'))::uuid, i,
			'item ' || i || ' of tenant ' || t, timestamptz '2026-01-01' + i * interval '1 minute'
			from generate_series(0, ` + strconv.Itoa(tenants-1) + `) t, generate_series(1, ` + strconv.Itoa(rowsPerTenant) + `) i`,
		`create table bench.isolated (like bench.plain including all)`,
		`insert into bench.isolated select * from bench.plain`,
		`alter table bench.isolated enable row level security`,
		`alter table bench.isolated force row level security`,
		poolproof.ScopeSQL,
		`create policy tenant on bench.isolated
			using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid))
			with check (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid))`,
		`grant usage on schema bench to ` + login,
		`grant select on all tables in schema bench to ` + login,
		`vacuum analyze bench.plain`,
		`vacuum analyze bench.isolated`,
	} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("fill the database: %w", err)
		}
	}
	return nil
}

// header is the report's first lines.
func (a about) header() string {
	return fmt.Sprintf("poolproof bench  %s\n%s, PostgreSQL %s, PgBouncer %s and %s, %d cores (GOMAXPROCS %d), %s/%s\n",
		time.Now().Format("2006-01-02 15:04"), runtime.Version(), a.postgres, a.old, a.tracking,
		runtime.NumCPU(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH)
}

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/service/checkup"
	"github.com/poolproof/poolproof/service/console"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/migrations"
)

const (
	devDatabase = "poolproof"
	devOwner    = "poolproof_owner" // owns the database and may make roles; no superuser, as on a managed platform
	devLogin    = "poolproof_app"
	devEmail    = "you@last-apple.example"
	devIssuer   = "poolproof-dev"
	devAudience = "authenticated"
	devTokenFor = 30 * 24 * time.Hour
	devStopTime = 20 * time.Second
)

// devCommand is poolproof dev.
type devCommand struct {
	Addr    string `env:"POOLPROOF_ADDR" default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Where to listen (default ${default})."`
	DataDir string `default:".poolproof" placeholder:"DIR" help:"Where the database, its secrets and dev.env are kept (default ${default})."`
}

// Help is the long help.
func (devCommand) Help() string {
	return `Runs everything that the service needs, on this machine only: a private PostgreSQL (an installed one, otherwise
downloaded once), a transaction pooler in front of it, the schema, demo data, the API and its pages. The pooler is the
hostile one of "poolproof prove": what your own program does through DATABASE_URL that works only by luck is logged. Writes DIR/dev.env for shells and then prints a line that starts with "ready". Ctrl-C stops all of it; the data stays. PostgreSQL runs with synchronous_commit off: a crash of the
machine may cost the last moments of data.

Example:
  poolproof dev
  . .poolproof/dev.env; curl -H "Authorization: Bearer $POOLPROOF_TOKEN" "$POOLPROOF_URL/api/v3/rbac/roles"`
}

// Run runs the whole until ctx ends or a part of it does.
func (c *devCommand) Run(ctx context.Context, p *program) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return failure("choose another address with --addr or POOLPROOF_ADDR", "listening: %w", err)
	}
	d := &devSystem{dir: c.DataDir, program: p}
	err = d.start(ctx)
	if err == nil {
		err = d.serve(ctx, listener)
	} else if closeErr := listener.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	stopped := d.stop() //nolint:contextcheck // ctx may have ended: that is why we stop
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return stopped // Ctrl-C, also while starting
	}
	return errors.Join(err, stopped)
}

// devSystem is what dev runs beside the service.
type devSystem struct {
	*program
	dir      string
	state    devState
	postgres *devdb.Postgres
	pooler   *standing
	owner    string // direct URL of the owner
	pooled   string // pooled URL of the runtime login
}

// start brings up PostgreSQL, the schema with its demo data, and the pooler.
func (d *devSystem) start(ctx context.Context) error {
	var err error
	if d.state, err = loadDevState(d.dir); err != nil {
		return err
	}
	if devdb.FindPostgres(ctx) == "" {
		d.log.Info("no PostgreSQL is installed: downloading one (about 20 MB), unless an earlier run did")
	}
	d.postgres, err = devdb.StartPostgres(ctx, devdb.PostgresConfig{
		Dir:      d.path("postgres"),
		Port:     freeOr0(d.state.PostgresPort),
		Password: d.state.SuperuserPassword,
		Fsync:    true,
		Settings: map[string]string{"synchronous_commit": "off"}, // a crash may cost the last moments, never the database
	})
	if errors.Is(err, devdb.ErrInUse) {
		return failure("stop the other poolproof dev, or give another --data-dir", "%w", err)
	}
	if err != nil {
		return err
	}
	// Only now: until here it may have been that of a poolproof dev that runs.
	if err := os.Remove(d.path("dev.env")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the last run's dev.env: %w", err)
	}
	d.state.PostgresPort = d.postgres.Port()
	direct, err := d.migrate(ctx)
	if err != nil {
		return err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(freeOr0(d.state.PoolerPort)))
	// No password of its own: clients need the login's, which PostgreSQL asks for (scram).
	d.pooler, err = startHostile(ctx, addr, hostile.Config{
		Upstream: direct.String(), Logger: d.log, Found: d.tell,
	})
	if err != nil {
		return err
	}
	d.state.PoolerPort = d.pooler.port
	d.pooled = d.pooler.url
	return d.state.save(d.dir)
}

// tell logs what somebody's program does that works only by luck, once each.
func (d *devSystem) tell(f hostile.Finding, first bool) {
	if first {
		d.log.Warn("through the pooler: "+f.Title, "code", string(f.Code), "subject", f.Subject, "sql", f.First.SQL, "fix", f.Fix)
	}
}

func (d *devSystem) path(name string) string { return filepath.Join(d.dir, name) }

func freeOr0(port int) int {
	if port != 0 && devdb.PortFree(port) {
		return port
	}
	return 0
}

// migrate makes the database and its owner, the schema, the login and the demo
// data, each only where it is missing. It returns the login's direct URL.
func (d *devSystem) migrate(ctx context.Context) (*url.URL, error) {
	if err := d.ensureDatabase(ctx); err != nil {
		return nil, fmt.Errorf("making the database: %w", err)
	}
	owner, err := url.Parse(d.postgres.URL(devOwner, devDatabase))
	if err != nil {
		return nil, fmt.Errorf("the database's URL: %w", err)
	}
	owner.User = url.UserPassword(devOwner, d.state.OwnerPassword)
	d.owner = owner.String()
	result, err := migrations.Up(ctx, d.owner, migrations.Options{Login: devLogin})
	if errors.Is(err, migrations.ErrSchemaForeign) {
		return nil, failure("remove "+d.dir+" to start afresh", "migrating: %w", err)
	}
	if err != nil {
		return nil, migrationFailure("migrating", err)
	}
	if len(result.Applied) > 0 {
		d.log.Info("migrated", "applied", len(result.Applied), "version", migrations.Version)
	}
	if err := migrations.Bootstrap(ctx, d.owner, d.state.User, devEmail); err != nil {
		return nil, fmt.Errorf("making the platform tenant: %w", err)
	}
	if err := migrations.Demo(ctx, d.owner, d.state.User); err != nil {
		return nil, fmt.Errorf("making the demo data: %w", err)
	}
	login, err := url.Parse(result.LoginURL)
	if err != nil {
		return nil, errors.New("the login's URL is malformed") // without the URL, which holds a password
	}
	return login, nil
}

// ensureDatabase makes the owner and the database as superuser.
func (d *devSystem) ensureDatabase(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, d.postgres.AdminURL())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	var owner, database bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_roles where rolname = $1),
		exists (select from pg_database where datname = $2)`, devOwner, devDatabase).Scan(&owner, &database); err != nil {
		return err
	}
	if !owner {
		// The password is 26 letters and digits of our own making: it needs no quoting.
		if _, err := conn.Exec(ctx, `create role `+devOwner+` login createrole password '`+d.state.OwnerPassword+`'`); err != nil {
			return err
		}
	}
	if !database {
		if _, err := conn.Exec(ctx, `create database `+devDatabase+` owner `+devOwner); err != nil {
			return err
		}
	}
	return nil
}

// serve runs the service until ctx ends, and fails when a server beneath it ends
// first.
func (d *devSystem) serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	base := "http://" + listener.Addr().String()
	tokens := token.Config{Issuer: devIssuer, Audience: devAudience, Secret: []byte(d.state.JWTSecret)}
	ready := make(chan struct{})
	go func() {
		for waiting := ready; ; {
			select {
			case <-waiting:
				waiting = nil
				if err := d.announce(base); err != nil {
					cancel(err)
				}
			case <-d.postgres.Done():
				cancel(failure("see "+filepath.Join(d.postgres.Dir(), "postgres.log"), "PostgreSQL has ended"))
				return
			case err := <-d.pooler.failed:
				cancel(fmt.Errorf("the pooler has ended: %w", err))
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	err := runServer(ctx, serverOptions{
		Listener: listener, DatabaseURL: d.pooled, Tokens: tokens, Pages: console.Handler(), Logger: d.log, CheckEvery: checkup.DefaultEvery,
		Ready: func() { close(ready) },
	})
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// announce writes dev.env and then says that all is ready.
func (d *devSystem) announce(base string) error {
	signed, err := token.Sign([]byte(d.state.JWTSecret), token.Request{
		Issuer: devIssuer, Audience: devAudience, Subject: d.state.User.String(),
		Tenant: migrations.DemoTenant.String(), Lifetime: devTokenFor,
	})
	if err != nil {
		return fmt.Errorf("signing the token: %w", err)
	}
	env := shellEnv([][2]string{
		{"POOLPROOF_URL", base},
		{"POOLPROOF_TOKEN", signed},
		{"POOLPROOF_TENANT", migrations.DemoTenant.String()},
		{"POOLPROOF_JWT_SECRET", d.state.JWTSecret},
		{"POOLPROOF_JWT_ISSUER", devIssuer},
		{"POOLPROOF_JWT_AUDIENCE", devAudience},
		{"DATABASE_URL", d.pooled},
		{"DIRECT_URL", d.owner},
	})
	if err := writePrivate(d.path("dev.env"), []byte(env)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.stdout, "ready %s  (. %s; the console: %s/)\n", base, d.path("dev.env"), base)
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// stop ends the pooler and PostgreSQL, in that order.
func (d *devSystem) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), devStopTime)
	defer cancel()
	var errs []error
	if d.pooler != nil {
		errs = append(errs, d.pooler.stop())
	}
	if d.postgres != nil {
		errs = append(errs, d.postgres.Stop(ctx))
	}
	return errors.Join(errs...)
}

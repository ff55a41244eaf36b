package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/httpapi"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/migrations"
)

const (
	drainTimeout   = 10 * time.Second // for requests under way when the server is stopped
	attemptTimeout = 8 * time.Second  // for one attempt to connect and verify
	firstRetry     = 50 * time.Millisecond
	lastRetry      = 500 * time.Millisecond // retries slow down to this: a database that comes is found within it
	firstRefused   = 10 * time.Second       // after a login that was refused: poolers lock addresses out that go on trying
	lastRefused    = 5 * time.Minute
	maxCauses      = 50 // distinct causes that are logged while waiting
)

// serverOptions is what [runServer] needs. Listener, DatabaseURL and Tokens
// are required.
type serverOptions struct {
	Listener    net.Listener
	DatabaseURL string
	Role        string
	MaxConns    int32
	PerTenant   int
	Origins     []string
	Tokens      token.Config
	Pages       http.Handler
	Logger      *slog.Logger
	// Ready, if not nil, is called once, when the API can be used for the first
	// time: database reached, schema and isolation verified. It is called from
	// another goroutine and must not block for long.
	Ready func()
}

// runServer serves the API on o.Listener until ctx ends, then finishes the
// requests under way (at most ten seconds) and returns nil. It closes the
// listener in any case.
//
// A database that cannot be reached is waited for. An error means that the
// configuration is wrong, or that the database was reached and must not be
// served from: its tenants are not isolated, or its schema is not this
// program's. poolproof dev calls it, too.
func runServer(ctx context.Context, o serverOptions) error {
	defer o.Listener.Close() //nolint:errcheck // http.Server has closed it, or nobody is connected
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	o.Tokens.Logger = o.Logger
	tokens, err := token.NewVerifier(ctx, o.Tokens)
	if err != nil {
		return usage("set POOLPROOF_JWT_ISSUER, POOLPROOF_JWT_AUDIENCE and one of POOLPROOF_JWT_SECRET (32 bytes or more) and POOLPROOF_JWKS_URL",
			"which tokens to accept: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	api, err := httpapi.New(httpapi.Config{Tokens: tokens, Pages: o.Pages, Logger: o.Logger, Registry: registry, Origins: o.Origins, PerTenant: o.PerTenant})
	if err != nil {
		return usage("see poolproof serve --help for an example", "%w", err)
	}
	server := &http.Server{
		Handler:           api,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
	o.Logger.Info("listening", "addr", o.Listener.Addr().String())

	failed := make(chan error, 2) // one from each goroutine
	connected := make(chan *poolproof.DB, 1)
	go func() {
		defer close(connected)
		db, err := waitForDatabase(ctx, o.Logger, poolproof.Config{
			URL: o.DatabaseURL, Role: o.Role, MaxConns: o.MaxConns, Logger: o.Logger, Registerer: registry,
		})
		if err != nil {
			failed <- err
			return
		}
		connected <- db
		api.SetDatabase(db)
		o.Logger.Info("ready", "addr", o.Listener.Addr().String())
		if o.Ready != nil {
			o.Ready()
		}
	}()
	go func() {
		if err := server.Serve(o.Listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving HTTP: %w", err)
		}
	}()

	var fault error
	select {
	case <-ctx.Done():
	case fault = <-failed:
	}
	cancel()
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer stop()
	if err := server.Shutdown(drain); err != nil {
		o.Logger.Warn("requests were still running at the end of the time for them, and were cut off", "after", drainTimeout, "error", err)
		if err := server.Close(); err != nil {
			o.Logger.Warn("the HTTP connections could not be closed", "error", err)
		}
	}
	if db, ok := <-connected; ok {
		if err := db.CloseContext(drain); err != nil {
			o.Logger.Warn("statements were still running at the end of the time for them, and were cancelled", "error", err)
		}
	}
	return fault
}

// waitForDatabase connects and verifies, again and again until it succeeds,
// ctx ends, or it finds what only an operator can change. Each distinct cause
// of waiting is logged once.
func waitForDatabase(ctx context.Context, log *slog.Logger, cfg poolproof.Config) (*poolproof.DB, error) {
	told := make(map[string]bool)
	for delay := time.Duration(0); ; {
		db, err := connect(ctx, cfg)
		if err == nil {
			return db, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if forOperator(err) {
			return nil, err
		}
		if cause := distinct(err); !told[cause] && len(told) < maxCauses {
			told[cause] = true
			attrs := []any{"cause", err.Error()}
			if known, ok := errors.AsType[*poolproof.Error](err); ok && known.Hint != "" {
				attrs = append(attrs, "hint", known.Hint)
			}
			log.Warn("waiting for the database", attrs...)
		}
		delay = retryAfter(delay, err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(delay + rand.N(delay/5)): //nolint:gosec // spreads attempts; nothing secret
		}
	}
}

// retryAfter is how long to wait after a failed attempt, the last wait being
// known: twice as long, within bounds that depend on what failed.
func retryAfter(last time.Duration, err error) time.Duration {
	if poolproof.LoginRefused(err) {
		return min(max(2*last, firstRefused), lastRefused)
	}
	return min(max(2*last, firstRetry), lastRetry)
}

// connect opens the database and verifies that it may be served from.
func connect(ctx context.Context, cfg poolproof.Config) (*poolproof.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	db, err := poolproof.Open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := verify(ctx, db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// verify asks whether the database may be served from: its schema is this
// program's, and the role that statements run as cannot see two tenants.
func verify(ctx context.Context, db *poolproof.DB) error {
	switch err := migrations.Verify(ctx, db); {
	case errors.Is(err, migrations.ErrSchemaOlder):
		return failure("run poolproof migrate up with the owner's DIRECT_URL", "%w", err)
	case errors.Is(err, migrations.ErrSchemaNewer):
		return failure("run the version of poolproof that migrated the database, or a later one", "%w", err)
	case isPrivilege(err):
		return failure("connect as a login that poolproof migrate up --login NAME made, or grant it "+migrations.RuntimeRole, "%w", err)
	case isNoRole(err):
		return failure("set POOLPROOF_ROLE to the role that poolproof migrate up made, "+migrations.RuntimeRole, "%w", err)
	case err != nil:
		return fmt.Errorf("verifying the schema: %w", err)
	}
	found, err := db.Check(ctx)
	if err != nil {
		return fmt.Errorf("verifying the isolation of tenants: %w", err)
	}
	return found.Err()
}

// forOperator reports whether waiting is useless: the error is one that only an
// operator's change will end.
func forOperator(err error) bool {
	if _, ok := errors.AsType[*hinted](err); ok {
		return true
	}
	return errors.Is(err, poolproof.ErrConfig)
}

// isPrivilege reports whether PostgreSQL refused for want of a privilege.
func isPrivilege(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "42501"
}

// isNoRole reports whether the role that transactions should take on is not
// there. The other settings of a scope take any text.
func isNoRole(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "22023" && errors.Is(err, poolproof.ErrTenantNotSet)
}

// ownAddress is the local end of a connection in an error's text. It differs
// every time, and says nothing.
var ownAddress = regexp.MustCompile(`\S+->`)

func distinct(err error) string { return ownAddress.ReplaceAllString(err.Error(), "") }

// jwtSecret reads the one setting that has no flag, because command lines can
// be seen by every user of a machine.
func jwtSecret() []byte { return []byte(os.Getenv("POOLPROOF_JWT_SECRET")) }

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/checkup"
	"github.com/poolproof/poolproof/service/httpapi"
	"github.com/poolproof/poolproof/service/httpapi/token"
)

const drainTimeout = 10 * time.Second // for requests under way when the server is stopped

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
	// CheckEvery is how often a database in use is looked at without another reason; 0: never.
	CheckEvery time.Duration
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
	record := &checkup.Record{}
	api, err := httpapi.New(httpapi.Config{Tokens: tokens, Pages: o.Pages, Logger: o.Logger, Registry: registry, Origins: o.Origins, PerTenant: o.PerTenant, Checkup: record})
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
	databases := &databases{
		cfg:   poolproof.Config{URL: o.DatabaseURL, Role: o.Role, MaxConns: o.MaxConns, Logger: o.Logger, Registerer: registry},
		api:   api,
		watch: &checkup.Watch{URL: o.DatabaseURL, Role: o.Role, Record: record, Logger: o.Logger, Every: o.CheckEvery},
		started: func() {
			o.Logger.Info("ready", "addr", o.Listener.Addr().String())
			if o.Ready != nil {
				o.Ready()
			}
		},
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if err := databases.serve(ctx); err != nil && ctx.Err() == nil {
			failed <- err
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
	<-watched
	databases.close(drain)
	return fault
}

// jwtSecret reads the one setting that has no flag, because command lines can
// be seen by every user of a machine.
func jwtSecret() []byte { return []byte(os.Getenv("POOLPROOF_JWT_SECRET")) }

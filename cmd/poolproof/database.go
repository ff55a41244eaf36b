package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/service/checkup"
	"github.com/poolproof/poolproof/service/httpapi"
	"github.com/poolproof/poolproof/service/migrations"
)

const (
	attemptTimeout = 8 * time.Second // for one attempt to connect and verify
	firstRetry     = 50 * time.Millisecond
	lastRetry      = 500 * time.Millisecond // retries slow down to this: a database that comes is found within it
	firstRefused   = 10 * time.Second       // after a login that was refused: poolers lock addresses out that go on trying
	lastRefused    = 5 * time.Minute
	maxCauses      = 50 // distinct causes that are logged while waiting
)

// databases are what the API answers from: one at a time, and for a moment two, when what stands before it has changed.
type databases struct {
	cfg     poolproof.Config
	api     *httpapi.Server
	watch   *checkup.Watch
	started func() // the API can be used for the first time

	current  *poolproof.DB  // serve's own until it returns
	retiring sync.WaitGroup // those that were replaced
}

// serve waits for the database, answers from it, and watches it until ctx ends. An error means that only an operator can help.
func (d *databases) serve(ctx context.Context) error {
	db, report, err := waitForDatabase(ctx, d.cfg.Logger, d.cfg)
	if err != nil {
		return err
	}
	d.watch.Start(ctx, report)
	d.current = db
	d.api.SetDatabase(db)
	d.started()
	d.watch.Reopen = d.reopen
	return d.watch.Run(ctx, db)
}

// reopen opens the database anew and answers from it, or returns nil where it cannot be reached just now. What was asked of
// the one before is answered by that one. The schema was verified at the start: a running copy goes on with a newer one.
func (d *databases) reopen(ctx context.Context) (*poolproof.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	db, err := poolproof.Open(ctx, d.cfg)
	if err != nil {
		return nil, operatorsOnly(err)
	}
	if _, err := checkup.Isolates(ctx, db); err != nil {
		db.Close()
		return nil, operatorsOnly(err)
	}
	before := d.current
	d.current = db
	unused := d.api.SetDatabase(db)
	d.retiring.Go(func() {
		unused() // each request has an end
		before.Close()
	})
	return db, nil
}

// operatorsOnly is err if waiting is useless.
func operatorsOnly(err error) error {
	if forOperator(err) {
		return err
	}
	return nil
}

// close closes what is open, after serve has returned. What still runs when ctx ends is cancelled.
func (d *databases) close(ctx context.Context) {
	d.retiring.Wait()
	if d.current == nil {
		return
	}
	if err := d.current.CloseContext(ctx); err != nil {
		d.cfg.Logger.Warn("statements were still running at the end of the time for them, and were cancelled", "error", err)
	}
}

// waitForDatabase connects and verifies, again and again until it succeeds,
// ctx ends, or it finds what only an operator can change. Each distinct cause
// of waiting is logged once.
func waitForDatabase(ctx context.Context, log *slog.Logger, cfg poolproof.Config) (*poolproof.DB, *doctor.Report, error) {
	told := make(map[string]bool)
	for delay := time.Duration(0); ; {
		db, report, err := connect(ctx, cfg)
		if err == nil {
			return db, report, nil
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if forOperator(err) {
			return nil, nil, err
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
			return nil, nil, ctx.Err()
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

// connect opens the database and verifies that it may be served from. The report is the doctor's.
func connect(ctx context.Context, cfg poolproof.Config) (*poolproof.DB, *doctor.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	db, err := poolproof.Open(ctx, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the database: %w", err)
	}
	report, err := verify(ctx, db)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return db, report, nil
}

// verify asks whether the database may be served from: its schema is this
// program's, and the role that statements run as cannot see two tenants.
func verify(ctx context.Context, db *poolproof.DB) (*doctor.Report, error) {
	switch err := migrations.Verify(ctx, db); {
	case errors.Is(err, migrations.ErrSchemaOlder):
		return nil, failure("run poolproof migrate up with the owner's DIRECT_URL", "%w", err)
	case errors.Is(err, migrations.ErrSchemaNewer):
		return nil, failure("run the version of poolproof that migrated the database, or a later one", "%w", err)
	case isPrivilege(err):
		return nil, failure("connect as a login that poolproof migrate up --login NAME made, or grant it "+migrations.RuntimeRole, "%w", err)
	case isNoRole(err):
		return nil, failure("set POOLPROOF_ROLE to the role that poolproof migrate up made, "+migrations.RuntimeRole, "%w", err)
	case err != nil:
		return nil, fmt.Errorf("verifying the schema: %w", err)
	}
	return checkup.Isolates(ctx, db)
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

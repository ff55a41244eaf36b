package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/poolproof/poolproof/service/migrations"
)

// migrateCommand is poolproof migrate.
type migrateCommand struct {
	Up     migrateUpCommand     `cmd:"" help:"Apply the migrations that are missing."`
	Status migrateStatusCommand `cmd:"" help:"List the migrations and when they were applied."`
}

// Help is kong's.
func (migrateCommand) Help() string { return "Example:\n  poolproof migrate status" }

// ownerURL is the flag of commands that change the schema or need its owner.
type ownerURL struct {
	DirectURL string `env:"DIRECT_URL" placeholder:"URL" help:"The database as its owner; it may be pooled."`
}

// url refuses to fall back to DATABASE_URL: that is the runtime login's, which
// must not be able to change the schema.
func (o ownerURL) url() (string, error) {
	if o.DirectURL == "" {
		return "", usage("set DIRECT_URL to the URL of the database's owner, or give --direct-url; DATABASE_URL is the runtime login's and is not used here",
			"DIRECT_URL is not set")
	}
	return o.DirectURL, nil
}

type migrateUpCommand struct {
	ownerURL
	Login string `placeholder:"NAME" help:"Also make a login for the runtime role and print its DATABASE_URL. An existing one gets a new password."`
}

// Help is the long help.
func (migrateUpCommand) Help() string {
	return `Safe through a pooler in transaction or statement mode, and when several copies run at once.

Example:
  DIRECT_URL=postgres://owner@127.0.0.1:5432/app poolproof migrate up --login app`
}

// Run applies what is missing.
func (c *migrateUpCommand) Run(ctx context.Context, p *program) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	result, err := migrations.Up(ctx, url, migrations.Options{
		Login: c.Login,
		Log:   func(line string) { p.log.Info("migrate", "step", line) },
	})
	if err != nil {
		return migrationFailure("migrating", err)
	}
	for _, name := range result.Applied {
		if _, err := fmt.Fprintln(p.stdout, "applied", name); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	if len(result.Applied) == 0 {
		if _, err := fmt.Fprintf(p.stdout, "the schema is up to date (version %d)\n", migrations.Version); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	if result.LoginURL != "" {
		if _, err := fmt.Fprintf(p.stdout, "DATABASE_URL=%s\n", result.LoginURL); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	return nil
}

type migrateStatusCommand struct{ ownerURL }

// Help is the long help.
func (migrateStatusCommand) Help() string {
	return `Example:
  DIRECT_URL=postgres://owner@127.0.0.1:5432/app poolproof migrate status`
}

// Run lists the migrations.
func (c *migrateStatusCommand) Run(ctx context.Context, p *program) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	steps, err := migrations.Status(ctx, url)
	if err != nil {
		return migrationFailure("reading the migrations", err)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(w, "VERSION\tNAME\tAPPLIED"); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	for _, s := range steps {
		applied := "not yet"
		if s.AppliedAt != nil {
			applied = s.AppliedAt.UTC().Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(w, "%d\t%s\t%s\n", s.Version, s.Name, applied); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// migrationFailure adds the hint to an error whose remedy is known.
func migrationFailure(doing string, err error) error {
	switch {
	case errors.Is(err, migrations.ErrSchemaOlder):
		return failure("run: poolproof migrate up", "%s: %w", doing, err)
	case errors.Is(err, migrations.ErrNoPlatform):
		return failure("run: poolproof bootstrap --user ID --email ADDRESS", "%s: %w", doing, err)
	case errors.Is(err, migrations.ErrName):
		return usage("type it again: what was pasted may hold invisible characters", "%s: %w", doing, err)
	case errors.Is(err, migrations.ErrSchemaNewer):
		return failure("run the version of poolproof that migrated the database, or a later one", "%s: %w", doing, err)
	case errors.Is(err, migrations.ErrSchemaForeign):
		return failure("run the version of poolproof that migrated the database; if that was a build from before the first release, migrate a new database", "%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/platform"
)

// tenantCommand is poolproof tenant.
type tenantCommand struct {
	Create tenantCreateCommand `cmd:"" help:"Create a tenant with its four roles and its first SUPER_ADMIN."`
	List   tenantListCommand   `cmd:"" help:"List the tenants by name."`
}

// tenantCreateCommand is poolproof tenant create.
type tenantCreateCommand struct {
	ownerURL
	Name  string `arg:"" help:"The tenant's name."`
	Admin string `required:"" placeholder:"ID" help:"User id of its first SUPER_ADMIN: the sub of their tokens."`
	Email string `placeholder:"ADDRESS" help:"That user's email address."`
	Slug  string `placeholder:"SLUG" help:"Short name: small letters, digits and hyphens (default: made of the name)."`
}

// Help is the long help.
func (tenantCreateCommand) Help() string {
	return `Prints the new tenant's id. A slug that is taken is an error, so that nothing is made twice.

Example:
  DIRECT_URL=postgres://owner@127.0.0.1:5432/app \
  poolproof tenant create "Last Apple" --admin 5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10 --email ada@example.org`
}

// Run makes the tenant.
func (c *tenantCreateCommand) Run(ctx context.Context, p *program) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	admin, err := userID(c.Admin)
	if err != nil {
		return err
	}
	if c.Slug == "" {
		if c.Slug = platform.Slug(c.Name); c.Slug == "" {
			return usage("give one with --slug", "no slug can be made of the name %q", c.Name)
		}
	}
	id, err := migrations.CreateTenant(ctx, url, migrations.NewTenant{Name: c.Name, Slug: c.Slug, Admin: admin, Email: c.Email})
	if err != nil {
		return migrationFailure("making the tenant", err)
	}
	if _, err := fmt.Fprintln(p.stdout, id); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// tenantListCommand is poolproof tenant list.
type tenantListCommand struct {
	ownerURL
}

// Help is the long help.
func (tenantListCommand) Help() string {
	return `Example:
  DIRECT_URL=postgres://owner@127.0.0.1:5432/app poolproof tenant list`
}

// Run lists the tenants.
func (c *tenantListCommand) Run(ctx context.Context, p *program) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	tenants, err := migrations.Tenants(ctx, url)
	if err != nil {
		return migrationFailure("listing the tenants", err)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSLUG\tNAME\tCREATED") //nolint:errcheck // Flush tells
	for _, t := range tenants {
		name := t.Name
		if t.Platform {
			name += " (the platform)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.ID, t.Slug, name, t.CreatedAt.UTC().Format(time.DateOnly)) //nolint:errcheck // Flush tells
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

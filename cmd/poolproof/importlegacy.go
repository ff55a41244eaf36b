package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/legacy"
	"github.com/poolproof/poolproof/service/migrations"
)

// importCommand is poolproof import-legacy.
type importCommand struct {
	ownerURL
	From   string `required:"" env:"LEGACY_URL" placeholder:"URL" help:"The original's database, by a login that sees every row; it may be pooled."`
	Schema string `default:"public" placeholder:"NAME" help:"The schema of its tables (default ${default})."`
	Admin  string `placeholder:"ID" help:"User id of who becomes SUPER_ADMIN of each tenant that nobody could manage otherwise."`
	DryRun bool   `help:"Show what would be done, and do nothing."`
	Yes    bool   `help:"Do it without asking."`
	JSON   bool   `name:"json" help:"Print the whole plan as JSON, with every row that could not be mapped."`
}

// Help is the long help.
func (importCommand) Help() string {
	return `Reads the original application's tables, shows what it will do, asks, and adds to poolproof's own: tenants,
members, roles, permissions, features and the sidebar. What is in poolproof already stays as it is, so it can run again.
Nobody gets more than they had. Each tenant is one transaction. Both URLs may be of the same database.

Exit codes: 0 done, or nothing to do; 1 done, but the rows listed could not be mapped, or it failed, and what is done is
whole tenants; 2 it was not tried.

Examples:
  poolproof import-legacy --from postgres://owner@127.0.0.1:5432/original --dry-run
  LEGACY_URL=postgres://owner@127.0.0.1:5432/original poolproof import-legacy --yes`
}

// Run plans and imports.
func (c *importCommand) Run(ctx context.Context, p *program) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	opt := legacy.Options{}
	if c.Admin != "" {
		if opt.Admin, err = userID(c.Admin); err != nil {
			return err
		}
		if opt.Admin == uuid.Nil || opt.Admin == legacy.Actor {
			return usage("give the id of a person", "the user %q cannot be an administrator", c.Admin)
		}
	}
	if c.JSON && !c.DryRun && !c.Yes {
		return usage("give --dry-run to look, or --yes to do it", "--json does not ask")
	}
	src, err := legacy.Read(ctx, c.From, c.Schema)
	if err != nil {
		return legacyFailure("reading the original's tables", err)
	}
	dst, err := legacy.ReadDestination(ctx, url, src)
	if err != nil {
		return legacyFailure("reading poolproof's tables", err)
	}
	plan := legacy.NewPlan(src, dst, opt)
	if !c.JSON {
		if err := plan.WriteText(p.stdout); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	do := !c.DryRun && !plan.Empty()
	if do && !c.Yes {
		if err := confirm(ctx, p); err != nil {
			return err
		}
	}
	if do {
		if err := legacy.Apply(ctx, url, plan, progressOf(p)); err != nil {
			if errors.Is(err, legacy.ErrChanged) {
				return failure("run it again: it makes a new plan and completes what is left", "importing: %w", err)
			}
			return failure("whole tenants are done and the others untouched; run it again to complete them", "importing: %w", err)
		}
	}
	if err := c.done(p, plan, do); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if n := len(plan.Unmapped); n > 0 {
		return failure("look at what is listed as not mapped; the rest is not affected", "%d rows, or groups of rows, of the source cannot be mapped", n)
	}
	return nil
}

// done says what was done.
func (c *importCommand) done(p *program, plan legacy.Plan, applied bool) error {
	if c.JSON {
		out := json.NewEncoder(p.stdout)
		out.SetIndent("", "  ")
		return out.Encode(struct {
			Applied bool `json:"applied"`
			legacy.Plan
		}{applied, plan})
	}
	if applied {
		_, err := fmt.Fprintln(p.stdout, "Imported.")
		return err
	}
	return nil
}

// confirm asks on a terminal. Nobody there, or another answer than yes, is an
// error: nothing was done.
func confirm(ctx context.Context, p *program) error {
	noAnswer := usage("give --yes to do it, or --dry-run to only look", "there is nobody to ask")
	if f, ok := p.stdin.(*os.File); ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return noAnswer
		}
	} else {
		return noAnswer
	}
	if _, err := fmt.Fprint(p.stdout, "Do this? [y/N] "); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	answers := make(chan string, 1)
	go func() { // ends with the answer or the process
		line, err := bufio.NewReader(p.stdin).ReadString('\n')
		if err != nil && (!errors.Is(err, io.EOF) || line == "") {
			close(answers)
			return
		}
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return usage("run it again and answer y, or give --yes; nothing was changed", "stopped before an answer")
	case answer, ok := <-answers:
		switch {
		case !ok:
			return noAnswer
		case answer != "y" && answer != "yes":
			return usage("nothing was changed; answer y to do it", "not confirmed")
		}
		return nil
	}
}

// progressOf logs how far an import is, each two seconds.
func progressOf(p *program) func(done, total int) {
	last := time.Now()
	return func(done, total int) {
		if time.Since(last) < 2*time.Second {
			return
		}
		last = time.Now()
		p.log.Info("import-legacy", "tenants", done, "of", total)
	}
}

// legacyFailure returns the exit code 2, because nothing was tried, and the hint.
func legacyFailure(doing string, err error) error {
	hint := "check the URL, that the server is up, and that the login may read the tables; nothing was changed"
	switch {
	case errors.Is(err, migrations.ErrSchemaOlder):
		hint = "run: poolproof migrate up"
	case errors.Is(err, migrations.ErrNoPlatform):
		hint = "run: poolproof bootstrap --user ID --email ADDRESS"
	case errors.Is(err, migrations.ErrSchemaNewer):
		hint = "run the version of poolproof that migrated the database, or a later one"
	case errors.Is(err, legacy.ErrHidden):
		hint = "give the URL of the tables' owner, or of a role with BYPASSRLS"
	case errors.Is(err, legacy.ErrNoSource):
		hint = "name the schema with --schema, and check that the URL is the original's database"
	case errors.Is(err, legacy.ErrSplit):
		hint = "give the server's own address, or one through PgBouncer or Supavisor"
	}
	return usage(hint, "%s: %w", doing, err)
}

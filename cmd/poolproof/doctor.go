//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/poolproof/poolproof/docs"
	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/doctor/explain"
	"github.com/poolproof/poolproof/internal/visible"
)

// doctorCommand is poolproof doctor.
type doctorCommand struct {
	URL           string         `arg:"" optional:"" help:"The database, as the application reaches it (default $$DATABASE_URL)."`
	Role          string         `env:"POOLPROOF_ROLE" placeholder:"NAME" help:"Look as this role, which the application takes on in each transaction."`
	TenantSetting string         `placeholder:"NAME" help:"The setting that policies read (default: the one that most of them do)."`
	TenantColumn  []string       `placeholder:"NAME" help:"A column that names a tenant (repeatable; default: inferred)."`
	Tenant        string         `placeholder:"ID" help:"A tenant that has rows: does it see them?"`
	Statements    string         `placeholder:"FILE" help:"SQL that the application sends: PostgreSQL parses each statement, and runs none. Do they fit the schema?"`
	Instances     int            `placeholder:"N" help:"How many instances of the application run."`
	PoolSize      int            `placeholder:"M" help:"How many connections each of them opens."`
	Driver        string         `placeholder:"NAME[@VERSION]" help:"The application's driver or framework: print its settings for this pooler, and the framework's code that keeps tenants apart."`
	Option        []string       `placeholder:"KEY=VALUE" sep:"none" help:"An option of the driver as it stands in code: refused by name if it is unknown to that version or contradicts the pooler (repeatable)."`
	Error         string         `placeholder:"TEXT" help:"Explain an error message; needs no URL and no network."`
	Within        *time.Duration `placeholder:"TIME" help:"How long it may look (default 5s; with --watch until it is interrupted): more for a server that is far away."`
	Residue       bool           `help:"Meet the pooler's server connections, and say what each holds that a fresh one has not."`
	Watch         bool           `help:"As --residue, again and again, with a line for each thing that comes and goes; ends when it is interrupted, or after --within."`
	Connections   int            `placeholder:"N" help:"How many clients --residue and --watch may open at once (default 20)."`
	Intrusive     bool           `help:"Try also what stays on a server connection until it is cleaned up: session settings, LISTEN, session locks, temporary tables."`
	Fast          bool           `help:"Look only at what keeps tenants apart, not at the pooler's kind: for doctor --fast && exec CMD."`
	Only          []string       `placeholder:"CODE" help:"Report only this code (repeatable)."`
	FailOn        string         `enum:"warn,fail,never" default:"warn" placeholder:"warn|fail|never" help:"What makes the exit status 1 (default ${default})."`
	Verbose       bool           `short:"v" help:"Show also what is right, and what was not looked at."`
	JSON          bool           `name:"json" xor:"form" help:"Print the report as JSON."`
	Markdown      bool           `xor:"form" help:"Print the report for a bug report."`
	SARIF         string         `name:"sarif" placeholder:"FILE" help:"Write the report as SARIF 2.1.0, for code scanning."`
	Pgrls         string         `placeholder:"FILE" help:"SARIF of pgrls lint, to be shown with the report; the exit status is the doctor's."`
	Output        string         `placeholder:"FILE" help:"Write the SQL that mends what was found. It is never run."`
	Baseline      string         `placeholder:"FILE" help:"Findings that are known: by code and object, with a reason and an expiry."`
}

// Help is the long help.
func (doctorCommand) Help() string {
	return `Looks at a database through the application's own URL and role: which pooler answers and what works through it, does
row-level security keep tenants apart, which settings does the driver need, and what has to be done. It only reads, in read-only transactions, takes at most 5 seconds (--within) and 4 connections, and leaves
nothing behind. The exit status is 0 if nothing is wrong, 1 if something is, and 2 if the database could not be asked.

Example:
  poolproof doctor
  poolproof doctor postgres://app:secret@db.example:6432/app
  poolproof doctor --tenant-setting app.tenant --tenant-column org_id --instances 12 --pool-size 20
  poolproof doctor --driver asyncpg@0.30 --option statement_cache_size=0
  poolproof doctor --error 'prepared statement "__asyncpg_stmt_1__" does not exist'
  poolproof doctor --only PD019
  poolproof doctor --baseline doctor-baseline.json --sarif doctor.sarif --fail-on fail
  poolproof doctor --output fix.sql
  poolproof doctor --tenant 550e8400-e29b-41d4-a716-446655440000 --statements queries.sql
  poolproof doctor --residue
  poolproof doctor --watch --within 10m
  poolproof doctor --fast --fail-on fail && exec my-program`
}

// Run looks, and reports.
func (c *doctorCommand) Run(ctx context.Context, p *program) error {
	if c.Error != "" {
		return printExplanation(p, c.Error)
	}
	if c.URL == "" {
		c.URL = os.Getenv("DATABASE_URL")
	}
	if c.URL == "" {
		return usage("poolproof doctor URL, or set DATABASE_URL", "there is no database to look at")
	}
	cfg := doctor.Config{
		URL: c.URL, Role: c.Role, TenantSetting: c.TenantSetting, TenantColumns: c.TenantColumn, Instances: c.Instances, PoolSize: c.PoolSize,
		Fast: c.Fast, Intrusive: c.Intrusive, Driver: c.Driver, Options: c.Option, Connections: c.Connections, Tenant: c.Tenant,
	}
	if c.Statements != "" {
		raw, err := os.ReadFile(c.Statements)
		if err != nil {
			return usage("name a file of SQL, with semicolons between the statements", "--statements: %w", err)
		}
		cfg.Statements = string(raw)
	}
	if c.Within != nil {
		if cfg.Within = *c.Within; cfg.Within <= 0 {
			return usage("say how long it may look: --within 20s", "--within must be more than 0")
		}
	}
	if c.Connections < 0 || c.Connections > 0 && !c.Residue && !c.Watch {
		return usage("poolproof doctor URL --residue --connections 40", "--connections takes a number of clients, and goes with --residue or --watch")
	}
	if (c.Residue || c.Watch) && (c.Fast || c.Intrusive || c.Driver != "" || c.Instances > 0 || c.Tenant != "" || c.Statements != "") {
		return usage("run them one after the other", "--residue and --watch look at nothing else")
	}
	if c.Driver == "" && len(c.Option) > 0 {
		return usage("say whose: --driver asyncpg@0.30", "--option needs --driver")
	}
	if c.Driver != "" {
		if err := doctor.CheckDriver(c.Driver); err != nil {
			return usage("see poolproof doctor --help", "--driver: %w", err)
		}
	}
	for _, code := range c.Only {
		code := doctor.Code(strings.ToUpper(code))
		if title, _ := doctor.Describe(code); title == "" {
			return usage("poolproof explain lists the codes", "--only: there is no code %s", code)
		}
		cfg.Only = append(cfg.Only, code)
	}
	if c.Instances < 0 || c.PoolSize < 0 || (c.Instances > 0) != (c.PoolSize > 0) {
		return usage("say both: --instances 12 --pool-size 20", "--instances and --pool-size go together")
	}
	var known []doctor.Known
	if c.Baseline != "" {
		var err error
		if known, err = doctor.ReadBaseline(c.Baseline); err != nil {
			return usage(`write it as {"known":[{"code":"PD005","object":"public.t","reason":"…","expires":"2027-01-31"}]}`, "%w", err)
		}
	}
	report := c.look(ctx, p, cfg)
	if err := context.Cause(ctx); err != nil && !c.Watch {
		return usage("run it again", "%w", err)
	}
	report.Mark(known, time.Now())
	if c.Pgrls != "" {
		if err := addStatic(report, c.Pgrls); err != nil {
			return usage("pgrls lint --format sarif > pgrls.sarif", "--pgrls: %w", err)
		}
	}
	if err := c.write(p, report); err != nil {
		return failure("see that the folder is there and may be written to", "%w", err)
	}
	switch worst := report.Worst(); {
	case !report.Reached:
		return exitStatus(exitUsage)
	case worst == doctor.Fail && c.FailOn != "never", worst == doctor.Warn && c.FailOn == "warn":
		return exitStatus(exitFailure)
	}
	return nil
}

// addStatic adds a linter's results to the report.
func addStatic(report *doctor.Report, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	return report.AddSARIF(f)
}

// look looks, as the flags say.
func (c *doctorCommand) look(ctx context.Context, p *program, cfg doctor.Config) *doctor.Report {
	if c.Watch {
		return doctor.Watch(ctx, cfg, func(e doctor.Event) { c.tell(p, e) })
	}
	most := cfg.Within
	if most == 0 {
		most = doctor.Budget
	}
	defer time.AfterFunc(2*time.Second, func() { p.log.Info("still looking", "at most", most) }).Stop()
	if c.Residue {
		return doctor.Audit(ctx, cfg)
	}
	return doctor.Examine(ctx, cfg)
}

// tell prints what --watch saw: a line each, of JSON with --json, whose last one is the report.
func (c *doctorCommand) tell(p *program, e doctor.Event) {
	if c.JSON {
		if line, err := json.Marshal(e); err == nil { // [unexpected] otherwise: it is made of texts and times
			_, _ = fmt.Fprintf(p.stdout, "%s\n", visible.JSON(line)) // a reader that has gone is told by the report
		}
		return
	}
	_, _ = fmt.Fprintln(p.stdout, visible.Line(e.String())) // as above
}

// write prints the report, and writes the files that the flags name.
func (c *doctorCommand) write(p *program, report *doctor.Report) error {
	var errs []error
	switch {
	case c.JSON && c.Watch:
		errs = append(errs, report.JSONLine(p.stdout))
	case c.JSON:
		errs = append(errs, report.JSON(p.stdout))
	case c.Markdown:
		errs = append(errs, report.Markdown(p.stdout))
	default:
		errs = append(errs, report.Text(p.stdout, c.Verbose))
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{c.SARIF, func(w io.Writer) error { return report.SARIF(w, programVersion()) }},
		{c.Output, report.FixSQL},
	} {
		if f.name != "" {
			errs = append(errs, writeFile(f.name, os.O_TRUNC, f.write))
		}
	}
	return errors.Join(errs...)
}

// explainCommand is poolproof explain.
type explainCommand struct {
	Code []string `arg:"" optional:"" help:"PD… of doctor, PP… of prove, or an error message. Without one, all codes are listed."`
}

// Help is the long help.
func (explainCommand) Help() string {
	return `Prints the page of a code: what it means in production, how to see it, and what to do. Of an error message it says
who says it, why, and what to run next. It needs no network.

Example:
  poolproof explain PD004
  poolproof explain 'unsupported startup parameter: options'`
}

// aCode is what looks like a code, whether or not there is one.
var aCode = regexp.MustCompile(`^(?i)P[DP][0-9]+$`)

// printExplanation prints what an error message means.
func printExplanation(p *program, text string) error {
	e, ok := explain.Explain(text)
	if !ok {
		return usage("poolproof doctor URL looks at the database itself", "no message that is known here has these words")
	}
	_, err := fmt.Fprintf(p.stdout, "%s says so (%s)\n  why: %s\n  so:  %s\n  do:  %s\n", e.Speaker, e.ID, e.Cause, e.Consequence, e.Next)
	return err
}

// Run prints a page, or the titles of all.
func (c *explainCommand) Run(p *program) error {
	asked := strings.Join(c.Code, " ")
	if asked != "" && !aCode.MatchString(asked) {
		return printExplanation(p, asked)
	}
	code := strings.ToUpper(asked)
	var text strings.Builder
	for _, dir := range []string{"doctor", "prove"} {
		entries, err := docs.Pages.ReadDir(dir)
		if err != nil { // [unexpected] they are part of the program
			return fmt.Errorf("reading the pages: %w", err)
		}
		for _, e := range entries {
			raw, err := fs.ReadFile(docs.Pages, dir+"/"+e.Name())
			if err != nil { // [unexpected] as above
				return fmt.Errorf("reading the pages: %w", err)
			}
			if e.Name() == code+".md" {
				text.Reset()
				text.Write(raw)
				_, err := io.WriteString(p.stdout, text.String())
				return err
			}
			title, _, _ := strings.Cut(strings.TrimPrefix(string(raw), "# "), "\n")
			fmt.Fprintln(&text, title)
		}
	}
	if code != "" {
		return usage("poolproof explain lists them", "there is no code %s", code)
	}
	_, err := io.WriteString(p.stdout, text.String())
	return err
}

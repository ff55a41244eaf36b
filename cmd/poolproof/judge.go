package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/visible"
	"github.com/poolproof/poolproof/judge"
)

// judgeCommand is poolproof judge.
type judgeCommand struct {
	URL  string   `arg:"" optional:"" env:"DATABASE_URL" placeholder:"URL" help:"The pooler's URL. Default: DATABASE_URL."`
	JSON bool     `name:"json" help:"Write the report as JSON."`
	Only []string `placeholder:"NAME" help:"Make only this trial. Can be given several times, or with names between commas."`
	List bool     `help:"List the trials, and what each holds to be right, without a connection."`
}

// Help is the long help.
func (judgeCommand) Help() string {
	return `Makes about a hundred trials of a pooler, each against the answer that PostgreSQL itself gives: order of answers, errors, strangers,
COPY, cancel requests, the protocol, state of a session. It uses at most ten connections and 20 seconds on a machine that has nothing
else to do, names of its own, and leaves nothing behind. Do not judge a pooler that is serving others: a faulty one may stop to.

Each trial is right, refused (a clean error says that it is not supported), lost (a session did not find again what it left), leaks (another
client met it), wrong, hung, or untried (the login may not do what it needs).

Exit: 0 all right, 1 something is not, 2 there was no connection.

Example:
  poolproof judge postgres://app:secret@127.0.0.1:6432/app
  poolproof judge postgres://app:secret@127.0.0.1:6432/app --json > report.json
  poolproof judge postgres://app:secret@127.0.0.1:6432/app --only cancel-own --only one-sync-scope
  poolproof judge --list`
}

// Run makes the trials.
func (c *judgeCommand) Run(ctx context.Context, p *program) error {
	if c.List {
		return c.list(p.stdout)
	}
	if c.URL == "" {
		return usage("name the pooler: poolproof judge postgres://user:password@host:port/database", "neither a URL nor DATABASE_URL is given")
	}
	config, err := pgx.ParseConfig(c.URL)
	if err != nil { // its text may contain the password
		return usage("write it as postgres://user:password@host:port/database", "the URL cannot be read")
	}
	opts := judge.Options{Only: c.Only}
	if isTerminal(p.stderr) {
		opts.Told = func(done, of int, r judge.Result) {
			_, _ = fmt.Fprintf(p.stderr, "\r\x1b[K%d of %d  %s", done, of, r.Name) // a terminal that is gone is noticed at the end
			if done == of {
				_, _ = io.WriteString(p.stderr, "\r\x1b[K")
			}
		}
	}
	report, err := judge.Run(ctx, config, opts)
	switch {
	case errors.Is(err, judge.ErrNoTrial):
		return usage("poolproof judge --list has the names", "--only: %w", err)
	case err != nil:
		return usage("see that the pooler is running, and that the URL has its host, port and password", "connecting: %w", err)
	}
	if c.JSON {
		if err := writeJSON(p.stdout, report); err != nil {
			return err
		}
	} else if err := judgement(p.stdout, report); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return failure("run it again", "%w: the trials that were left are untried", context.Cause(ctx))
	}
	if !report.AllRight() {
		return exitStatus(exitFailure)
	}
	return nil
}

// list writes the trials.
func (c *judgeCommand) list(w io.Writer) error {
	if c.JSON {
		return writeJSON(w, judge.Trials())
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, t := range judge.Trials() {
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\n", t.Group, t.Name, t.Right); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	return flushed(table)
}

func flushed(table *tabwriter.Writer) error {
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // [unexpected] it is made of strings and numbers
		return err
	}
	if _, err := w.Write(append(visible.JSON(text), '\n')); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// judgement writes a report for people: the verdict first and last, a table of what is
// not right, and in each group how many are.
func judgement(w io.Writer, r judge.Report) error {
	var counts []string
	for _, o := range judge.Outcomes {
		if n := r.Counts[o]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, o))
		}
	}
	verdict := fmt.Sprintf("%s: of %d trials %s, in %.1f s\n", visible.Line(r.Pooler.String()), len(r.Results), strings.Join(counts, ", "), r.Elapsed.Round(100*time.Millisecond).Seconds())
	if _, err := io.WriteString(w, verdict); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if r.AllRight() {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var group judge.Group
	for i, result := range r.Results {
		if result.Group != group {
			group = result.Group
			right, of := 0, 0
			for _, other := range r.Results[i:] {
				if other.Group == group {
					of++
					if other.Outcome == judge.Right {
						right++
					}
				}
			}
			if _, err := fmt.Fprintf(table, "%s\t%d of %d right\t\n", group, right, of); err != nil {
				return fmt.Errorf("printing: %w", err)
			}
		}
		if result.Outcome == judge.Right {
			continue
		}
		if _, err := fmt.Fprintf(table, "  %s\t%s\t%s\n", result.Outcome, result.Name, visible.Line(strings.Join(strings.Fields(result.Text), " "))); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	if err := flushed(table); err != nil {
		return err
	}
	_, err := io.WriteString(w, verdict)
	return err
}

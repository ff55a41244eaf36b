//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/report"
	"github.com/poolproof/poolproof/internal/exhibit"
)

// demoCommand is poolproof demo.
type demoCommand struct{}

// Help is the long help.
func (demoCommand) Help() string {
	return `Plays, on a private PostgreSQL that is gone afterwards, how two harmless programs lose rows behind a transaction pooler, and
what prove says of each of them alone. Needs nothing but PostgreSQL; the pooler is one of our own that does what PgBouncer
does: it gives the server connection back after each transaction.

Example:
  poolproof demo`
}

// How long each act takes, and with how many connections per program and server
// connections the first is played.
const (
	demoAct         = time.Second
	demoProof       = 300 * time.Millisecond
	demoConnections = 4
	demoServers     = 2
)

// Run plays the exhibit.
func (demoCommand) Run(ctx context.Context, p *program) (err error) {
	defer func() {
		if err != nil && ctx.Err() != nil { // the error is only that this ended
			err = failure("run it again", "%w", context.Cause(ctx))
		}
	}()
	d := &demo{program: p}
	d.introduce() // while the server starts
	if d.up, err = privatePostgres(ctx, p); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.up.stop()) }()
	if err := d.play(ctx); err != nil {
		return failure("run it again; if it fails again, report it as a fault of poolproof", "%w", err)
	}
	return nil
}

type demo struct {
	*program
	up  *upstream
	err error // of writing
}

func (d *demo) sayf(format string, args ...any) {
	if _, err := fmt.Fprintf(d.stdout, format+"\n", args...); err != nil && d.err == nil {
		d.err = fmt.Errorf("printing: %w", err)
	}
}

func (d *demo) introduce() {
	d.sayf("Two programs and a table of %d rows:", exhibit.Rows)
	d.sayf("  the %-8s %-45s ids 1 to %d, which are there", exhibit.Reader.Name, exhibit.Reader.SQL, exhibit.Rows)
	d.sayf("  the %-8s %-45s ids that no row has", exhibit.Deleter.Name, exhibit.Deleter.SQL)
	d.sayf("Both talk as Go's lib/pq does by default: Parse, Describe, Sync; then Bind, Execute, Sync.")
	d.sayf("")
}

func (d *demo) play(ctx context.Context) error {
	for _, act := range []struct {
		through string
		pooled  bool
		oneSync bool
	}{
		{"PostgreSQL itself", false, false},
		{"a transaction pooler", true, false},
		{"the pooler, with binary_parameters=yes", true, true},
	} {
		if err := d.together(ctx, act.through, act.pooled, act.oneSync); err != nil {
			return err
		}
	}
	for _, program := range []exhibit.Program{exhibit.Reader, exhibit.Deleter} {
		for _, oneSync := range []bool{false, true} {
			if err := d.prove(ctx, program, oneSync); err != nil {
				return err
			}
		}
	}
	d.sayf("")
	d.sayf("Your program: poolproof prove -- CMD")
	return d.err
}

// together runs both programs at once and says what is left.
func (d *demo) together(ctx context.Context, through string, pooled, oneSync bool) (err error) {
	if err := exhibit.Fill(ctx, d.up.url); err != nil {
		return err
	}
	url := d.up.url
	if pooled {
		flags := hostileFlags{As: "plain"}
		h, err2 := flags.listen(ctx, d.program, d.up, hostile.Config{MaxServerConns: demoServers, Password: flags.passwordFor(d.up)}, "127.0.0.1:0")
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, h.stop()) }()
		url = h.url
	}
	type outcome struct {
		exhibit.Result
		err error
	}
	deleted := make(chan outcome, 1)
	go func() {
		r, err := exhibit.Deleter.Run(ctx, url, demoConnections, demoAct, oneSync)
		deleted <- outcome{r, err}
	}()
	read, err := exhibit.Reader.Run(ctx, url, demoConnections, demoAct, oneSync)
	other := <-deleted
	if err := errors.Join(err, other.err, ctx.Err()); err != nil {
		return err
	}
	left, err := exhibit.Left(ctx, d.up.url)
	if err != nil {
		return err
	}
	verdict := "all rows are there"
	if left < exhibit.Rows {
		verdict = fmt.Sprintf("only %d of %d rows are left", left, exhibit.Rows)
	}
	d.sayf("Through %s, both at once for %v: %s; %d of the reader's %d queries were answered wrongly, %d errors.",
		through, demoAct, verdict, read.Wrong, read.Queries, read.Failed+other.Failed)
	return nil
}

// prove runs one program alone through the hostile pooler.
func (d *demo) prove(ctx context.Context, program exhibit.Program, oneSync bool) (err error) {
	if err := exhibit.Fill(ctx, d.up.url); err != nil {
		return err
	}
	flags := hostileFlags{As: "strict"}
	h, err := flags.listen(ctx, d.program, d.up, hostile.Config{Password: flags.passwordFor(d.up)}, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	if _, err := program.Run(ctx, h.url, 1, demoProof, oneSync); err != nil {
		return err
	}
	r := h.pooler.Report()
	r.Notes = nil
	with := ""
	if oneSync {
		with = " with binary_parameters=yes"
	}
	d.sayf("")
	d.sayf("poolproof prove -- %s%s, alone:", program.Name, with)
	if oneSync != (len(r.Findings) == 0) {
		return fmt.Errorf("the %s%s: %d findings", program.Name, with, len(r.Findings))
	}
	var text strings.Builder
	if err := report.Text(&text, r, nil, coloured(d.stdout)); err != nil {
		return err
	}
	d.sayf("%s", strings.Trim(text.String(), "\n"))
	return ctx.Err()
}

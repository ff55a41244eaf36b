//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/poolproof/poolproof/hostile/report"
)

// proxyCommand is poolproof proxy.
type proxyCommand struct {
	Listen string `required:"" placeholder:"ADDR" help:"Where to listen, such as 127.0.0.1:6432."`
	hostileFlags
}

// Help is the long help.
func (proxyCommand) Help() string {
	return `The hostile pooler of "poolproof prove", standing: for programs that are started elsewhere, and with --observe for a staging
system. Reports when it is stopped (Ctrl-C), and so far on SIGUSR1. Clients need the upstream user's password.

Examples:
  poolproof proxy --listen 127.0.0.1:6432 --upstream postgres://app:secret@127.0.0.1:5432/app
  poolproof proxy --listen 127.0.0.1:6432 --upstream postgres://app:secret@db:5432/app --observe --json report.json`
}

// Run serves until ctx ends.
func (c *proxyCommand) Run(ctx context.Context, p *program) error {
	baseline, err := report.ReadBaseline(c.Baseline)
	if err != nil {
		return usage("give a file that prove --write-baseline wrote", "%w", err)
	}
	upstream, done, err := c.findUpstream(ctx, p)
	if err != nil {
		return err
	}
	h, err := c.listen(ctx, p, upstream, c.Listen, true)
	if err != nil {
		return errors.Join(err, done())
	}
	if _, err := fmt.Fprintf(p.stdout, "ready %s\n", h.addr); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	write := func() error {
		r := h.pooler.Report()
		baseline.Mark(&r)
		return errors.Join(report.Text(p.stderr, r, isTerminal(p.stderr)), writeReports(c.hostileFlags, r, nil))
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	for {
		select {
		case <-asked:
			if err := write(); err != nil {
				p.log.Warn("the report could not be written", "cause", err)
			}
			continue
		case <-ctx.Done():
		}
		return errors.Join(write(), h.stop(), done())
	}
}

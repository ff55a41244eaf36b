//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/report"
)

// proxyCommand is poolproof proxy.
type proxyCommand struct {
	Listen  string `required:"" placeholder:"ADDR" help:"Where to listen, such as 127.0.0.1:6432."`
	TLSCert string `name:"tls-cert" and:"tls" placeholder:"FILE" help:"Offer TLS to clients: the certificate, as PEM."`
	TLSKey  string `name:"tls-key" and:"tls" placeholder:"FILE" help:"The certificate's key, as PEM."`
	hostileFlags
}

// Help is the long help.
func (proxyCommand) Help() string {
	return `The hostile pooler of "poolproof prove", standing: for programs that are started elsewhere, and with --observe for a staging
system. Prints "ready ADDR", reports when it is stopped (Ctrl-C), and so far on SIGUSR1. Clients need the upstream user's
password; of a server that wants none, only this machine's can be served.

Example:
  poolproof proxy --listen 127.0.0.1:6432 --upstream postgres://app:secret@127.0.0.1:5432/app
  poolproof proxy --listen 0.0.0.0:6432 --upstream postgres://app:secret@db:5432/app --observe --json report.json`
}

// Run serves until ctx ends.
func (c *proxyCommand) Run(ctx context.Context, p *program) (err error) {
	baseline, err := c.check(p, "")
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usage("write it as --listen 127.0.0.1:6432", "reading the address: %w", err)
	}
	var cfg hostile.Config
	if c.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return usage("give a certificate and its key, each as PEM", "reading the certificate: %w", err)
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert} // asked for as by a server, for nothing
	}
	up, err := c.findUpstream(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.stop()) }()
	cfg.Passwords = up.password && (!c.Observe || !onThisMachine(host))
	if !up.password && (host == "" || !onThisMachine(host)) {
		return usage("listen on 127.0.0.1, or use a login with a password", "the upstream wants no password, and others could reach %s", c.Listen)
	}
	h, err := c.listen(ctx, p, up, cfg, c.Listen)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	if _, err := fmt.Fprintf(p.stdout, "ready %s\n", h.addr); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	write := func() error {
		r := h.pooler.Report()
		baseline.Mark(&r)
		return errors.Join(report.Text(p.stderr, r, nil, coloured(p.stderr)), c.writeReports(r, up, nil))
	}
	for {
		select {
		case <-asked:
			if err := write(); err != nil {
				p.log.Warn("the report could not be written", "cause", err)
			}
		case <-h.failed: //nolint:errcheck // stop says why
			return write()
		case <-ctx.Done():
			return write()
		}
	}
}

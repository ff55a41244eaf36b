//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/report"
)

// proxyCommand is poolproof proxy.
type proxyCommand struct {
	Listen       string `required:"" placeholder:"ADDR" help:"Where to listen, such as 127.0.0.1:6432."`
	TLSCert      string `name:"tls-cert" and:"tls" placeholder:"FILE" help:"Offer TLS to clients: the certificate, as PEM."`
	TLSKey       string `name:"tls-key" and:"tls" placeholder:"FILE" help:"The certificate's key, as PEM."`
	PasswordFile string `placeholder:"FILE" help:"The password of clients whom the server itself does not ask for one; a file that is missing is made, with a new one."`
	hostileFlags
}

// proxyPasswordVariable holds the same instead of a file.
const proxyPasswordVariable = "POOLPROOF_PROXY_PASSWORD"

// Help is the long help.
func (proxyCommand) Help() string {
	return `The hostile pooler of "poolproof prove", standing: for programs that are started elsewhere, and with --observe for a staging
system. Prints "ready ADDR", reports when it is stopped (Ctrl-C), and so far on SIGUSR1.

Clients give the password that the server wants of them. One that the server asks for nothing (trust, peer, a certificate)
would get in as whoever runs this: it needs the pooler's own password, from --password-file or POOLPROOF_PROXY_PASSWORD. At a
terminal one is made up and shown. Of a server that asks for none, only this machine's clients can be served.

Example:
  poolproof proxy --listen 127.0.0.1:6432 --upstream postgres://app:secret@127.0.0.1:5432/app
  poolproof proxy --listen 127.0.0.1:6432 --upstream postgres://postgres@127.0.0.1:5432/app --password-file .proxy-password
  poolproof proxy --listen 0.0.0.0:6432 --upstream postgres://app:secret@db:5432/app --observe --json report.json`
}

// password is what clients must give whom the server does not ask for one. Where
// it asks everybody there need be none; where it does not, one is made up and
// shown to a person, but written to no pipe and no log.
func (c *proxyCommand) password(p *program, up *upstream) (string, error) {
	const hint = "give --password-file FILE, which is made if it is missing, or set " + proxyPasswordVariable
	if c.PasswordFile == "" {
		given := os.Getenv(proxyPasswordVariable)
		switch {
		case given != "" || up.asks:
			return given, nil
		case !isTerminal(p.stdout):
			return "", usage(hint, "the upstream lets this program in without a password, so clients need one of the pooler's own")
		}
		given = rand.Text()
		_, err := fmt.Fprintf(p.stdout, "password %s\n", given)
		return given, err
	}
	content, err := os.ReadFile(c.PasswordFile)
	if errors.Is(err, os.ErrNotExist) {
		given := rand.Text()
		if err := writePrivate(c.PasswordFile, []byte(given+"\n")); err != nil {
			return "", usage("see that the folder is there and may be written to", "--password-file: %w", err)
		}
		p.log.Info("made up the password of clients", "file", c.PasswordFile)
		return given, nil
	}
	if err != nil {
		return "", usage(hint, "--password-file: %w", err)
	}
	given := strings.TrimRight(string(content), "\r\n")
	if given == "" || strings.ContainsRune(given, 0) {
		return "", usage(hint, "--password-file: there is no password in %s", c.PasswordFile)
	}
	return given, nil
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
	if !up.asks && (host == "" || !onThisMachine(host)) {
		return usage("listen on 127.0.0.1, or use a login with a password", "the upstream wants no password, and others could reach %s", c.Listen)
	}
	if cfg.Password, err = c.password(p, up); err != nil {
		return err
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

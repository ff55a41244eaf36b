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
	PasswordFile string `placeholder:"FILE" help:"The password for clients that the server itself does not ask for one. A missing file is created, with a new password."`
	hostileFlags
}

// proxyPasswordVariable is the environment variable that can hold that password
// instead of a file.
const proxyPasswordVariable = "POOLPROOF_PROXY_PASSWORD"

// Help is the long help.
func (proxyCommand) Help() string {
	return `Runs the hostile pooler of "poolproof prove" until it is stopped: for programs that are started elsewhere, and with --observe
for a staging system. Prints "ready ADDR" when it listens. Writes its report when it is stopped (Ctrl-C), and at any time on SIGUSR1.

Clients send the password that the server wants from them. If the server asks a client for nothing (trust, peer, a
certificate), the client would get in as whoever runs this, so it must send the pooler's own password, which is in
--password-file or POOLPROOF_PROXY_PASSWORD. At a terminal, one is made up and shown. In front of a server that asks for no
password, the pooler serves only clients on this machine.

Example:
  poolproof proxy --listen 127.0.0.1:6432 --upstream postgres://app:secret@127.0.0.1:5432/app
  poolproof proxy --listen 127.0.0.1:6432 --upstream postgres://postgres@127.0.0.1:5432/app --password-file .proxy-password
  poolproof proxy --listen 0.0.0.0:6432 --upstream postgres://app:secret@db:5432/app --observe --json report.json`
}

// password returns the password for clients that the server does not ask for one.
// If the server asks everybody, it may be "". Otherwise one is made up and shown
// to a person at a terminal, and never written to a pipe or a log.
func (c *proxyCommand) password(p *program, up *upstream) (string, error) {
	const hint = "use --password-file FILE, which is created if it is missing, or set " + proxyPasswordVariable
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
		p.log.Info("wrote a new password for clients", "file", c.PasswordFile)
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
			return usage("use a certificate and its key, each as PEM", "reading the certificate: %w", err)
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert} // a server may ask for one, so clients are asked as well; it is not checked
	}
	up, err := c.findUpstream(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.stop()) }()
	if !up.asks && (host == "" || !onThisMachine(host)) {
		return usage("listen on 127.0.0.1, or use a login with a password", "the upstream wants no password, and other machines could reach %s", c.Listen)
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
		case <-h.failed: //nolint:errcheck // stop returns the error
			return write()
		case <-ctx.Done():
			return write()
		}
	}
}

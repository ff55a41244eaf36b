//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/report"
	"github.com/poolproof/poolproof/hostile/repro"
)

// hostileFlags are the flags that prove and proxy share.
type hostileFlags struct {
	Upstream string `placeholder:"URL" help:"The PostgreSQL server itself, not a pooler."`
	As       string `default:"strict" placeholder:"PROFILE" help:"Which pooler to play: ${profiles} (default ${default})."`
	Observe  bool   `help:"Break nothing: keep a server connection for each client, and report the same hazards."`
	JSON     string `placeholder:"FILE" help:"Write the report as JSON."`
	SARIF    string `placeholder:"FILE" help:"Write the report as SARIF 2.1.0, for code scanning."`
	JUnit    string `name:"junit" placeholder:"FILE" help:"Write the report as JUnit XML."`
	HTML     string `placeholder:"FILE" help:"Write the report as one page, with what led to each finding."`
	Repro    string `placeholder:"DIR" help:"Write a script for each finding, which shows it against a stock PgBouncer."`
	Baseline string `placeholder:"FILE" help:"Known findings, which are listed but not counted."`
}

// standing is a running hostile pooler.
type standing struct {
	pooler *hostile.Pooler
	url    string // for clients
	addr   string
	port   int
	failed <-chan error // receives the error if the pooler ends by itself
	stop   func() error // ends it, and returns that error or nil
}

// check reports what is wrong with the flags, before anything is started, and
// returns the baseline. writeBaseline is a file that will be written as well.
func (c *hostileFlags) check(p *program, writeBaseline string) (report.Baseline, error) {
	var none report.Baseline
	if _, err := hostile.ProfileNamed(c.As); err != nil {
		return none, usage("choose one of them with --as PROFILE", "%w", err)
	}
	baseline, err := report.ReadBaseline(c.Baseline)
	if err != nil {
		return none, usage("use a file that prove --write-baseline wrote", "%w", err)
	}
	if _, err := os.Stat(c.Baseline); c.Baseline != "" && err != nil {
		p.log.Info("the baseline is not there yet, so every finding counts; prove --write-baseline writes one", "file", c.Baseline)
	}
	for _, f := range [][2]string{{"--json", c.JSON}, {"--sarif", c.SARIF}, {"--junit", c.JUnit}, {"--html", c.HTML}, {"--write-baseline", writeBaseline}} {
		if err := canWrite(f[1]); err != nil {
			return none, usage("see that the folder is there and may be written to", "%s: %w", f[0], err)
		}
	}
	if c.Repro != "" {
		if err := os.MkdirAll(c.Repro, 0o755); err != nil { //nolint:gosec // as the reports
			return none, usage("name a folder that exists or can be created", "--repro: %w", err)
		}
	}
	return baseline, nil
}

// canWrite returns an error if a report cannot be written. It leaves the file as
// it is.
func canWrite(name string) error {
	if name == "" {
		return nil
	}
	_, before := os.Stat(name)
	if err := writeFile(name, 0, func(io.Writer) error { return nil }); err != nil {
		return err
	}
	if errors.Is(before, os.ErrNotExist) {
		return os.Remove(name)
	}
	return nil
}

// startHostile starts a pooler that listens at addr.
func startHostile(ctx context.Context, addr string, cfg hostile.Config) (*standing, error) {
	pl, err := hostile.New(cfg)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, usage("choose another address", "listening: %w", err)
	}
	pooled, err := pl.URL(l.Addr().String())
	if err != nil { // its text holds the password
		return nil, errors.Join(errors.New("the upstream's URL is malformed"), l.Close())
	}
	port := 0
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		port = tcp.Port
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	failed, served := make(chan error, 1), make(chan struct{})
	var fault error
	go func() {
		defer close(served)
		if fault = pl.Serve(ctx, l); fault != nil {
			failed <- fault
		}
	}()
	return &standing{pl, pooled, l.Addr().String(), port, failed, func() error {
		cancel()
		<-served
		return fault
	}}, nil
}

// passwordFor returns the password for a run's clients. It is made up, so that
// nobody else on this machine gets in. But observed clients that the server asks
// for a password need the server's.
func (c *hostileFlags) passwordFor(up *upstream) string {
	if c.Observe && up.asks {
		return up.password
	}
	return rand.Text()
}

// listen starts the pooler as the flags say. cfg holds what they do not say.
func (c *hostileFlags) listen(ctx context.Context, p *program, up *upstream, cfg hostile.Config, addr string) (*standing, error) {
	cfg.Upstream, cfg.Profile, cfg.Observe, cfg.Logger = up.url, c.As, c.Observe, p.log
	return startHostile(ctx, addr, cfg)
}

// writeReports writes the files that the flags name, and a summary if a CI wants
// one (GitHub's GITHUB_STEP_SUMMARY).
func (c *hostileFlags) writeReports(r hostile.Report, up *upstream, command *report.Command) error {
	var errs []error
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{c.JSON, func(w io.Writer) error { return report.JSON(w, r, command) }},
		{c.SARIF, func(w io.Writer) error { return report.SARIF(w, r, programVersion(), sourceTree()) }},
		{c.JUnit, func(w io.Writer) error { return report.JUnit(w, r, command) }},
		{c.HTML, func(w io.Writer) error { return report.HTML(w, r, command) }},
	} {
		if f.name != "" {
			errs = append(errs, writeFile(f.name, os.O_TRUNC, f.write))
		}
	}
	if summary := os.Getenv("GITHUB_STEP_SUMMARY"); summary != "" && command != nil {
		errs = append(errs, writeFile(summary, os.O_APPEND, func(w io.Writer) error { return report.Markdown(w, r, command) }))
	}
	if c.Repro != "" {
		errs = append(errs, repro.Write(c.Repro, r, up.server))
	}
	return errors.Join(errs...)
}

// sourceTree returns the repository that the program runs in.
func sourceTree() report.Tree {
	dir, err := os.Getwd()
	if err != nil {
		return report.Tree{}
	}
	return report.FindTree(dir, os.Getenv("GITHUB_WORKFLOW_REF"))
}

func writeFile(name string, how int, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|how, 0o644) //nolint:gosec // others may read reports
	if err != nil {
		return fmt.Errorf("write a report: %w", err)
	}
	return errors.Join(write(f), f.Close())
}

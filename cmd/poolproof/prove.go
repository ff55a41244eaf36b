//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/report"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/pooler"
)

// proveCommand is poolproof prove.
type proveCommand struct {
	Command       []string `arg:"" passthrough:"" placeholder:"-- CMD" help:"The program to run, and its arguments."`
	Env           []string `placeholder:"NAME=TEMPLATE" sep:"none" help:"A further variable for it, with {url} {host} {port} {user} {password} {database} (repeatable)."`
	ExitCode      int      `default:"66" placeholder:"N" help:"What to exit with if there are findings (default ${default})."`
	WriteBaseline string   `placeholder:"FILE" help:"Write all findings of this run as the new baseline."`
	hostileFlags
}

// hostileFlags are those of prove and proxy.
type hostileFlags struct {
	Upstream string `placeholder:"URL" help:"The PostgreSQL server; no pooler."`
	As       string `default:"strict" placeholder:"PROFILE" help:"Which pooler to play: ${profiles} (default ${default})."`
	Observe  bool   `help:"Break nothing: keep a server connection for each client and report the same hazards."`
	JSON     string `placeholder:"FILE" help:"Write the report as JSON."`
	Baseline string `placeholder:"FILE" help:"Known findings: listed, not counted."`
}

// Help is the long help.
func (proveCommand) Help() string {
	return `Runs a program against a pooler that is as hostile as the protocol allows, and says what it does that only works by luck.
The program gets DATABASE_URL and PG* of the pooler, and DIRECT_URL of the server itself, for its migrations.

The server is --upstream; else DATABASE_URL if it is on this machine; else a private PostgreSQL that is gone afterwards.
Exits as the program did if nothing is found, with 66 if something is, with 2 if it could not be run.

Examples:
  poolproof prove -- go test ./...
  poolproof prove --upstream postgres://app@127.0.0.1:5432/app_test -- npm test
  poolproof prove --env 'SPRING_DATASOURCE_URL=jdbc:postgresql://{host}:{port}/{database}?user={user}&password={password}' -- mvn test`
}

// Run runs the program and judges what it did.
func (c *proveCommand) Run(ctx context.Context, p *program) (err error) {
	if len(c.Command) > 0 && c.Command[0] == "--" {
		c.Command = c.Command[1:]
	}
	if len(c.Command) == 0 {
		return usage("say which program to run: poolproof prove -- go test ./...", "there is nothing to run")
	}
	baseline, err := report.ReadBaseline(c.Baseline)
	if err != nil {
		return usage("give a file that --write-baseline wrote", "%w", err)
	}
	upstream, done, err := c.findUpstream(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	h, err := c.listen(ctx, p, upstream, "127.0.0.1:0", false)
	if err != nil {
		return err
	}
	env, err := c.environment(upstream, h.url)
	if err != nil {
		return errors.Join(err, h.stop())
	}
	exit, runErr := runProgram(ctx, p, c.Command, env)
	r := h.pooler.Report()
	if err := errors.Join(runErr, h.stop()); err != nil {
		return err
	}
	unknown := baseline.Mark(&r)
	if err := report.Text(p.stderr, r, isTerminal(p.stderr)); err != nil {
		return err
	}
	if err := writeReports(c.hostileFlags, r, &report.Command{Exit: exit}); err != nil {
		return failure("", "%w", err)
	}
	if c.WriteBaseline != "" {
		if err := report.WriteBaseline(c.WriteBaseline, r); err != nil {
			return failure("", "%w", err)
		}
	}
	switch {
	case unknown > 0:
		return exitStatus(c.ExitCode)
	case exit != 0:
		return exitStatus(exit)
	}
	return nil
}

// standing is a hostile pooler that runs.
type standing struct {
	pooler *hostile.Pooler
	url    string
	addr   string
	port   int
	failed <-chan error // why it ended by itself
	stop   func() error
}

// startHostile starts a pooler at an address.
func startHostile(ctx context.Context, addr string, cfg hostile.Config) (*standing, error) {
	pl, err := hostile.New(cfg)
	if err != nil {
		return nil, usage("see --help for the profiles", "%w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, usage("choose another address", "listening: %w", err)
	}
	pooled, err := hostile.URLAt(cfg.Upstream, l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
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

// listen starts the pooler as the flags say.
func (c *hostileFlags) listen(ctx context.Context, p *program, upstream, addr string, passwords bool) (*standing, error) {
	return startHostile(ctx, addr, hostile.Config{Upstream: upstream, Profile: c.As, Observe: c.Observe, Passwords: passwords, Logger: p.log})
}

// writeReports writes the files that were asked for.
func writeReports(c hostileFlags, r hostile.Report, command *report.Command) error {
	if c.JSON == "" {
		return nil
	}
	f, err := os.Create(c.JSON)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return errors.Join(report.JSON(f, r, command), f.Close())
}

// findUpstream chooses the server and refuses one that is a pooler itself, or
// that only a variable names on another machine, before anything but the probe
// was sent to it.
func (c *hostileFlags) findUpstream(ctx context.Context, p *program) (string, func() error, error) {
	nothing := func() error { return nil }
	raw, named := c.Upstream, true
	if raw == "" {
		raw, named = os.Getenv("DATABASE_URL"), false
	}
	if raw == "" {
		return privatePostgres(ctx, p)
	}
	cfg, err := pgx.ParseConfig(raw)
	if err != nil {
		return "", nil, usage("write it as postgres://user:password@host:port/database", "the upstream's URL cannot be read")
	}
	if !named && !onThisMachine(cfg.Host) {
		return "", nil, usage("name it if you mean it: --upstream URL; or unset DATABASE_URL for a private PostgreSQL",
			"DATABASE_URL names a server on another machine (%s), which nobody should make hostile because a variable was set", cfg.Host)
	}
	found, err := pooler.Probe(ctx, cfg)
	if err != nil {
		return "", nil, usage("see whether it answers at all: psql URL -c 'select 1'", "reaching the upstream: %w", redacted(err))
	}
	if found.Present {
		return "", nil, usage("give the server's own address, behind the pooler", "the upstream is itself a pooler (%s): what it breaks could not be told from what is broken here", found)
	}
	return raw, nothing, nil
}

// redacted leaves out what pgconn says of the URL.
func redacted(err error) error {
	if c, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return errors.Unwrap(c)
	}
	return err
}

func onThisMachine(host string) bool {
	if strings.HasPrefix(host, "/") || host == "localhost" || host == "" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// privatePostgres starts a server in a temporary folder.
func privatePostgres(ctx context.Context, p *program) (string, func() error, error) {
	dir, err := os.MkdirTemp("", "poolproof-prove-")
	if err != nil {
		return "", nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the server's account must pass through
		return "", nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	p.log.Info("starting a private PostgreSQL: neither --upstream nor DATABASE_URL names one")
	pg, err := devdb.StartPostgres(ctx, devdb.PostgresConfig{Dir: filepath.Join(dir, "postgres"), Settings: map[string]string{"max_connections": "200"}})
	if err != nil {
		return "", nil, errors.Join(failure("install PostgreSQL, or name a server with --upstream", "%w", err), os.RemoveAll(dir))
	}
	return pg.AdminURL(), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), devStopTime)
		defer cancel()
		return errors.Join(pg.Stop(ctx), os.RemoveAll(pg.Dir()), os.RemoveAll(dir))
	}, nil
}

// environment is the program's: ours, with the pooler's address in every
// variable by which programs find PostgreSQL.
func (c *proveCommand) environment(upstream, pooled string) ([]string, error) {
	u, err := url.Parse(pooled)
	if err != nil {
		return nil, fmt.Errorf("the pooler's URL: %w", err)
	}
	password, _ := u.User.Password()
	database := strings.TrimPrefix(u.Path, "/")
	if database == "" {
		database = u.User.Username()
	}
	set := [][2]string{
		{"DATABASE_URL", pooled}, {"DIRECT_URL", upstream},
		{"PGHOST", u.Hostname()}, {"PGPORT", u.Port()}, {"PGUSER", u.User.Username()}, {"PGPASSWORD", password}, {"PGDATABASE", database}, {"PGSSLMODE", "disable"},
	}
	fill := strings.NewReplacer("{url}", pooled, "{host}", u.Hostname(), "{port}", u.Port(), "{user}", u.User.Username(), "{password}", password, "{database}", database)
	for _, e := range c.Env {
		name, template, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return nil, usage("write it as --env NAME=TEMPLATE", "--env %q has no name", e)
		}
		set = append(set, [2]string{name, fill.Replace(template)})
	}
	var env []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if !overridden(name, set) {
			env = append(env, e)
		}
	}
	for _, s := range set {
		env = append(env, s[0]+"="+s[1])
	}
	return env, nil
}

// overridden tells whether a variable of ours must not reach the program.
func overridden(name string, set [][2]string) bool {
	switch name {
	case "PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY":
		return true
	}
	for _, s := range set {
		if s[0] == name {
			return true
		}
	}
	return false
}

// runProgram runs a program to its end and gives its exit status. Ctrl-C
// reaches it too; it may finish, and is ended after a while if it does not.
func runProgram(ctx context.Context, p *program, command, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // what it is for
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, p.stdin, p.stdout, p.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, usage("see that the program is there and may be run", "running %s: %w", command[0], err)
	}
	return 0, nil
}

// isTerminal tells whether a person reads along.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

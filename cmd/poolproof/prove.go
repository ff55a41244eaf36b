//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/report"
	"github.com/poolproof/poolproof/hostile/source"
)

// proveCommand is poolproof prove.
type proveCommand struct {
	Command       []string   `arg:"" optional:"" passthrough:"" help:"The program to run, and its arguments."`
	Env           []string   `placeholder:"NAME=TEMPLATE" sep:"none" help:"A further variable for it, with {url} {host} {port} {user} {password} {database} (repeatable)."`
	ExitCode      int        `default:"66" placeholder:"N" help:"Exit status if there are findings (default ${default})."`
	WriteBaseline string     `placeholder:"FILE" help:"Write all findings of this run as the new baseline."`
	NoSource      bool       `help:"Do not look for files and lines in Node and Python programs."`
	Faults        faultsFlag `placeholder:"SEED,FAULT,…" help:"Play a pooler's bad day, too. --faults means seed 1 and all faults; --faults=7,cut,answer a seed, or some of ${faults}, or both."`
	Minutes       float64    `placeholder:"N" help:"For a service: stop the program after so many minutes."`
	UntilQuiet    quietFlag  `placeholder:"TIME" help:"For a service: stop the program when it has run no transaction for 10 s after its first; --until-quiet=30s for another time."`
	Listen        string     `default:"127.0.0.1:0" placeholder:"ADDR" help:"Where the pooler listens (default ${default}); for containers the bridge's address."`
	hostileFlags
}

// Help is the long help.
func (proveCommand) Help() string {
	return `Runs a program against a pooler that is as hostile as the protocol allows, and reports what the program does that works
only by luck. The program gets DATABASE_URL and PG* that lead to the pooler, and for its migrations DIRECT_URL, which leads to
the server itself. Flags come before the program; everything after it belongs to the program.

The server is --upstream, or DATABASE_URL if that is on this machine, or else a private PostgreSQL that is removed afterwards.
The exit status is 66 if something is found, 2 if the program could not be run, and otherwise the program's own.

Other users of this machine cannot connect: the password in DATABASE_URL and PGPASSWORD is made up for the run. A client that
connects as another user sends that user's password, or the run's if the server does not ask for one.
If a program fails only under prove, compare with --as plain: an ordinary pooler that a program reaches in the same way.

With --faults some transactions fail as they do on a pooler's bad day: no server connection is free, the connection dies before,
in the middle of or right after a transaction, a cancel request comes late, the server fails over. Tests of yours may fail for it;
what counts is what the program does then (PP024 to PP027).

A service does not end by itself: --minutes or --until-quiet stops it and what it started (SIGTERM, and SIGKILL after 10 s), and its
exit status then does not count. The report says which processes connected, and which of the started ones did not.

DATABASE_URL keeps the form of the one that is set: its scheme, such as postgresql+asyncpg://, and its parameters.
If a --env template is a URL (with "://"), user, password and database are percent-encoded in it.

Example:
  poolproof prove -- go test ./...
  poolproof prove --upstream postgres://app@127.0.0.1:5432/app_test -- npm test
  poolproof prove --env 'SPRING_DATASOURCE_URL=jdbc:postgresql://{host}:{port}/{database}?user={user}&password={password}' -- mvn test
  poolproof prove --env 'DATABASE_URL=postgresql+asyncpg://{user}:{password}@{host}:{port}/{database}' -- pytest
  poolproof prove --sarif prove.sarif --baseline prove-baseline.json -- pytest
  poolproof prove --faults -- npm test
  poolproof prove --faults=7,cut,answer -- go test ./...
  poolproof prove --minutes 5 -- node server.js
  poolproof prove --until-quiet=30s -- sh -c 'node server.js & node load.js; wait'
  poolproof prove --listen 172.17.0.1:0 --until-quiet -- docker compose up`
}

// Run runs the program and reports what was found.
func (c *proveCommand) Run(ctx context.Context, p *program) (err error) {
	baseline, err := c.check(p)
	if err != nil {
		return err
	}
	up, err := c.findUpstream(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.stop()) }()
	cfg := hostile.Config{Password: c.passwordFor(up)}
	if c.Faults.given {
		cfg.Faults = &c.Faults.Faults
	}
	who := newPeers()
	if c.service() {
		cfg.LetIn = who.letIn
	}
	h, err := c.listen(ctx, p, up, cfg, c.Listen)
	if err != nil {
		return err
	}
	r, ran, err := c.run(ctx, p, up, h, who)
	if err := errors.Join(err, h.stop()); err != nil {
		return err
	}
	unknown := baseline.Mark(&r)
	ran.PrivateServer = up.private
	if err := report.Text(p.stderr, r, ran, coloured(p.stderr)); err != nil {
		return err
	}
	if err := c.writeReports(r, up, ran); err != nil {
		return failure("see that the folder is there and may be written to", "%w", err)
	}
	if c.WriteBaseline != "" {
		if err := report.WriteBaseline(c.WriteBaseline, r); err != nil {
			return failure("see that the folder is there and may be written to", "%w", err)
		}
	}
	switch {
	case unknown > 0:
		return exitStatus(c.ExitCode)
	case ran.Exit != 0:
		return exitStatus(ran.Exit)
	}
	return nil
}

// check reports what is wrong with the command line, before anything is started:
// a long run must not end with a report that cannot be written. It returns the
// baseline.
func (c *proveCommand) check(p *program) (report.Baseline, error) {
	var none report.Baseline
	switch {
	case len(c.Command) > 0 && c.Command[0] == "--":
		c.Command = c.Command[1:]
	case len(c.Command) > 0 && strings.HasPrefix(c.Command[0], "-"): // the first argument that is no known flag begins the program's command line
		flag, _, _ := strings.Cut(c.Command[0], "=")
		return none, usage("see poolproof prove --help; the program comes after --: poolproof prove --json FILE -- go test ./...", "unknown flag %s", flag)
	}
	if len(c.Command) == 0 {
		return none, usage("say which program to run: poolproof prove -- go test ./...", "there is nothing to run")
	}
	if _, err := exec.LookPath(c.Command[0]); err != nil {
		return none, usage("see that the program is there and may be run", "running %s: %w", c.Command[0], err)
	}
	if c.ExitCode < 0 || c.ExitCode > 255 {
		return none, usage("choose one from 0 to 255", "--exit-code %d is not an exit status", c.ExitCode)
	}
	if _, err := c.environment(nil, "postgres://", "postgres://"); err != nil {
		return none, err
	}
	if c.Faults.given && c.Observe {
		return none, usage("leave one of them out", "--observe breaks nothing, and --faults does")
	}
	if c.Minutes < 0 {
		return none, usage("choose a number above 0", "--minutes %v is no time", c.Minutes)
	}
	if err := c.checkListen(); err != nil {
		return none, err
	}
	return c.hostileFlags.check(p, c.WriteBaseline)
}

// run runs the program to its end, or until it has run for long enough, and
// returns the report and how the program ended.
func (c *proveCommand) run(ctx context.Context, p *program, up *upstream, h *standing, who *peers) (r hostile.Report, ran *report.Command, err error) {
	ran = &report.Command{}
	env, err := c.environment(os.Environ(), up.url, h.url)
	if err != nil {
		return r, ran, err
	}
	var calls *source.Recorder
	if !c.NoSource {
		if calls, err = source.New(); err != nil {
			return r, ran, err
		}
		defer func() { err = errors.Join(err, calls.Close()) }()
		env = calls.Environ(env)
	}
	quiet := inTitle(p.stderr, func() string {
		r := h.pooler.Report()
		return fmt.Sprintf("poolproof: %d transactions, %d findings", r.Transactions, len(r.Findings))
	})
	var watch func(root int)
	if c.service() {
		var stop func()
		ctx, stop = c.enough(ctx, h.pooler)
		defer stop()
		watch = func(root int) { go who.watch(ctx, root) }
	}
	ran.Exit, err = runProgram(ctx, p, c.Command, env, watch)
	quiet()
	if err != nil {
		return r, ran, err
	}
	h.pooler.Finish()
	if errors.Is(context.Cause(ctx), errEnough) {
		ran.Exit, ran.Stopped = 0, true
	}
	if c.service() {
		ran.Service = true
		ran.Connected, ran.Silent, ran.Unknown = who.report()
	}
	r = h.pooler.Report()
	if calls != nil {
		if dir, err := os.Getwd(); err == nil {
			err = calls.Locate(&r, dir)
			return r, ran, err
		}
	}
	return r, ran, nil
}

// The placeholders of a --env template, and a pattern for whatever looks like one.
var (
	placeholders = []string{"{url}", "{host}", "{port}", "{user}", "{password}", "{database}"}
	placeholder  = regexp.MustCompile(`\{[a-z_]+\}`)
)

// environment returns the program's environment: ours, with the pooler's address
// in every variable from which programs take PostgreSQL's.
func (c *proveCommand) environment(ours []string, direct, pooled string) ([]string, error) {
	u, err := url.Parse(pooled)
	if err != nil {
		return nil, errors.New("the pooler's URL is malformed") // without the URL, which holds a password
	}
	password, _ := u.User.Password()
	database := strings.TrimPrefix(u.Path, "/")
	theirs := form(ours, c.Upstream)
	pooled, direct = inForm(pooled, theirs), inForm(direct, theirs)
	set := [][2]string{
		{"DATABASE_URL", pooled}, {"DIRECT_URL", direct},
		{"PGHOST", u.Hostname()}, {"PGPORT", u.Port()}, {"PGUSER", u.User.Username()}, {"PGPASSWORD", password}, {"PGDATABASE", database}, {"PGSSLMODE", "disable"},
	}
	for _, e := range c.Env {
		name, template, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return nil, usage("write it as --env NAME=TEMPLATE", "--env %q has no name", e)
		}
		for _, written := range placeholder.FindAllString(template, -1) {
			if !slices.Contains(placeholders, written) {
				return nil, usage("there are "+strings.Join(placeholders, " "), "--env %s: there is no %s", name, written)
			}
		}
		inURL := func(s string) string { return s }
		if strings.Contains(template, "://") {
			inURL = func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
		}
		fill := strings.NewReplacer("{url}", pooled, "{host}", u.Hostname(), "{port}", u.Port(),
			"{user}", inURL(u.User.Username()), "{password}", inURL(password), "{database}", inURL(database))
		set = append(set, [2]string{name, fill.Replace(template)})
	}
	var env []string
	for _, e := range ours {
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

// overridden reports whether a variable of ours must not reach the program:
// because it is set for the program, or because libpq would connect elsewhere or
// want more than an unencrypted connection on this machine has (its
// documentation, "Environment Variables").
func overridden(name string, set [][2]string) bool {
	switch name {
	case "PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGPASSFILE", "PGREQUIREAUTH", "PGCHANNELBINDING", "PGREQUIRESSL", "PGSSLNEGOTIATION",
		"PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGSSLCRLDIR", "PGGSSENCMODE", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS":
		return true
	}
	for _, s := range set {
		if s[0] == name {
			return true
		}
	}
	return false
}

// How long a program may take to end after it was asked to, and after how long we
// say what we are waiting for.
const (
	programStopTime = 10 * time.Second
	programWaitTime = 2 * time.Second
)

// runProgram runs a program to its end and returns its exit status, or 128 plus
// the signal's number if a signal ended it. When ctx ends, the program gets the
// same signal. It may finish, and is killed after programStopTime if it does not.
// If started is not nil, the program is a service: it leads a process group of its
// own, which gets the signal and is gone in the end, and started is called with
// the program's number.
func runProgram(ctx context.Context, p *program, command, env []string, started func(pid int)) (int, error) {
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // ended below
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, p.stdin, p.stdout, p.stderr
	cmd.WaitDelay = 2 * time.Second                                        // its children may hold its output open
	signal, kill := tell, func(program *os.Process) { _ = program.Kill() } // it may have ended just now
	if started != nil {
		lead(cmd)
		signal, kill = tellGroup, func(program *os.Process) { _ = syscall.Kill(-program.Pid, syscall.SIGKILL) }
	}
	if err := cmd.Start(); err != nil {
		return 0, usage("see that the program is there and may be run", "running %s: %w", command[0], err)
	}
	if started != nil {
		started(cmd.Process.Pid)
		defer kill(cmd.Process) // what it started and left behind
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		signal(cmd.Process, context.Cause(ctx))
		waiting, killing := time.NewTimer(programWaitTime), time.NewTimer(programStopTime)
		defer waiting.Stop()
		defer killing.Stop()
		for over := false; !over; {
			select {
			case err = <-ended:
				over = true
			case <-waiting.C:
				p.log.Info("waiting for the program to end; it will be killed if it does not", "program", command[0], "in", programStopTime-programWaitTime)
			case <-killing.C:
				kill(cmd.Process)
			}
		}
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return 0, usage("see that the program is there and may be run", "running %s: %w", command[0], err)
	}
	return 0, nil
}

// tell sends the program the signal that we were sent. A Ctrl-C at a terminal has
// reached the program already, and some programs take a second one for impatience.
func tell(process *os.Process, cause error) {
	var sig os.Signal = syscall.SIGTERM
	if s, ok := errors.AsType[stoppedBy](cause); ok {
		sig = s.Signal
	}
	if sig == os.Interrupt && inForeground() {
		return
	}
	_ = process.Signal(sig) // it may have ended just now
}

// inForeground reports whether a terminal's keys reach this process group.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close() //nolint:errcheck // only read
	var group int32
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, tty.Fd(), syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group))) //nolint:gosec // ioctl's own form
	return errno == 0 && int(group) == syscall.Getpgrp()
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	rounds    int
	window    time.Duration
	only      *regexp.Regexp // nil: everything
	profile   string         // "": none
	serverCPU bool
	deadline  time.Duration // of an operation; 0: none
	latency   time.Duration // added in each direction on the ways that are far
}

// errGate says that the figures are there and not good enough.
var errGate = errors.New("a gate failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errGate):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	case errors.Is(err, errInvalid):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(3)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var only string
	var quick, deadline bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.rounds, "rounds", 10, "measured rounds; one to warm up comes before them")
	f.DurationVar(&o.window, "window", 400*time.Millisecond, "how long each variant is measured in each round, in four slices")
	f.DurationVar(&o.latency, "latency", time.Millisecond, "what the ways with added latency add in each direction")
	f.BoolVar(&quick, "quick", false, "three rounds of 100ms: to see that it works")
	f.StringVar(&only, "only", "", "measure only what matches this regular expression, as 'pgbouncer-1.24.*/16/scope', 'http' or 'neighbour'")
	f.StringVar(&o.profile, "profile", "", "write this process's CPU profile to NAME.pprof; choose a variant with -only")
	f.BoolVar(&o.serverCPU, "server-cpu", false, "print the CPU time per operation of each process")
	f.BoolVar(&deadline, "deadline", false, "give each operation a deadline of ten seconds, as a service would")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if quick {
		o.rounds, o.window = 3, 100*time.Millisecond
	}
	if deadline {
		o.deadline = 10 * time.Second
	}
	if o.rounds < 1 || o.window < 40*time.Millisecond || o.latency <= 0 {
		return o, errors.New("at least one round, a window of 40ms and some latency are needed")
	}
	if only != "" {
		var err error
		if o.only, err = regexp.Compile(only); err != nil {
			return o, fmt.Errorf("-only: %w", err)
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	fmt.Fprintln(stderr, "bench: starting PostgreSQL and the poolers")
	f, err := startFixtures(ctx, o.latency)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	groups := selected(slices.Concat(f.queryGroups(), f.httpGroups(), f.growthGroups(), f.neighbourGroups(), f.hostileGroups()), o.only)
	if len(groups) == 0 {
		return errors.New("-only matches nothing")
	}
	for _, g := range groups {
		if err := g.prepare(ctx); err != nil {
			return fmt.Errorf("prepare %s: %w", g.title, err)
		}
	}
	if o.serverCPU {
		if err := f.meterCPU(); err != nil {
			return err
		}
	}
	finish, err := profile(o.profile)
	if err != nil {
		return err
	}
	measureErr := measure(ctx, groups, o, f.cpu, stderr)
	if err := errors.Join(measureErr, finish()); err != nil {
		var b strings.Builder // what was refused may be why
		refused(&b, groups, f.causes.seen)
		fmt.Fprint(stderr, b.String())
		return err
	}
	return report(stdout, f.about, groups, f.causes.seen, o)
}

// profile starts a CPU profile of this process and returns what ends it.
func profile(name string) (finish func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(name + ".pprof")
	if err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("start the profile: %w", err), file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/poolproof/poolproof/hostile"
)

// faultsFlag is --faults: with nothing behind it, a seed, kinds of faults, or
// both: --faults=7,cut,answer.
type faultsFlag struct {
	given bool
	hostile.Faults
}

// IsBool says that the flag needs no value.
func (*faultsFlag) IsBool() bool { return true }

// Decode reads the flag.
func (f *faultsFlag) Decode(ctx *kong.DecodeContext) error {
	*f = faultsFlag{given: true, Faults: hostile.Faults{Seed: 1}}
	value, ok := optionalValue(ctx)
	if !ok {
		return nil
	}
	for part := range strings.SplitSeq(value, ",") {
		if seed, err := strconv.ParseUint(part, 10, 64); err == nil {
			f.Seed = seed
			continue
		}
		if !slices.Contains(hostile.FaultKinds(), hostile.FaultKind(part)) {
			return fmt.Errorf("there is no fault %q; write a seed, or some of %v with commas", part, hostile.FaultKinds())
		}
		f.Kinds = append(f.Kinds, hostile.FaultKind(part))
	}
	return nil
}

// quietFlag is --until-quiet: a time, or nothing for its default.
type quietFlag time.Duration

// quietDefault is how long a program is quiet before it is stopped.
const quietDefault = 10 * time.Second

// IsBool says that the flag needs no value.
func (*quietFlag) IsBool() bool { return true }

// Decode reads the flag.
func (q *quietFlag) Decode(ctx *kong.DecodeContext) error {
	*q = quietFlag(quietDefault)
	value, ok := optionalValue(ctx)
	if !ok {
		return nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is no time; write it as --until-quiet=30s", value)
	}
	*q = quietFlag(d)
	return nil
}

// optionalValue returns what stands behind a flag's "=", if there is one.
func optionalValue(ctx *kong.DecodeContext) (string, bool) {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return "", false
	}
	value, ok := ctx.Scan.Pop().Value.(string)
	return value, ok
}

// errEnough is the cause of a context that ends because the program has run for
// long enough.
var errEnough = errors.New("the program has run for long enough")

// service reports whether the program is one that does not end by itself.
func (c *proveCommand) service() bool { return c.Minutes > 0 || c.UntilQuiet > 0 }

// enough returns a context that ends when the program has run for --minutes, or
// has been quiet for --until-quiet after its first transaction.
func (c *proveCommand) enough(ctx context.Context, pl *hostile.Pooler) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if c.Minutes > 0 {
		t := time.AfterFunc(time.Duration(c.Minutes*float64(time.Minute)), func() { cancel(errEnough) })
		context.AfterFunc(ctx, func() { t.Stop() })
	}
	if quiet := time.Duration(c.UntilQuiet); quiet > 0 {
		go func() {
			tick := time.NewTicker(max(quiet/10, time.Millisecond))
			defer tick.Stop()
			last, since := 0, time.Now()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if n := pl.Transactions(); n != last || n == 0 || pl.AtWork() {
					last, since = n, time.Now()
				}
				if time.Since(since) >= quiet {
					cancel(errEnough)
				}
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// groupWaitDelay is how long what the program started may hold its output open
// after the program ended. Then it is killed.
const groupWaitDelay = 500 * time.Millisecond

// lead makes the program the leader of a process group of its own, so that what
// it starts ends with it. It does not read the terminal.
func lead(cmd *exec.Cmd) {
	cmd.WaitDelay = groupWaitDelay
	cmd.Stdin = nil
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// tellGroup sends the program's group the signal that we were sent, or SIGTERM.
func tellGroup(leader *os.Process, cause error) {
	sig := syscall.SIGTERM
	if s, ok := errors.AsType[stoppedBy](cause); ok {
		if own, ok := s.Signal.(syscall.Signal); ok {
			sig = own
		}
	}
	_ = syscall.Kill(-leader.Pid, sig) // it may have ended just now
}

// checkListen reports what is wrong with --listen.
func (c *proveCommand) checkListen() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usage("write it as --listen 127.0.0.1:0", "reading the address: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return usage("name the one address by which the program reaches this machine; for containers that is the bridge's, such as 172.17.0.1", "--listen %s says no address that could stand in DATABASE_URL", c.Listen)
	}
	return nil
}

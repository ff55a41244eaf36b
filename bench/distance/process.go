package distance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

// marker tells a process that it is a relay, and which: "upstream latency".
const marker = "POOLPROOF_BENCH_DISTANCE"

// Relay is a running relay process.
type Relay struct {
	addr  string
	cmd   *exec.Cmd
	stdin io.Closer
}

// Start starts a relay to upstream ("host:port") on a free port of 127.0.0.1
// that makes round trips longer by latency, half of it each way. The program
// must call RunIfChild first thing in main. The relay ends with Close or with
// this process.
func Start(upstream string, latency time.Duration) (*Relay, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start a relay: %w", err)
	}
	cmd := exec.Command(self) //nolint:gosec,noctx // ourselves; lives on after the call
	cmd.Env = append(os.Environ(), marker+"="+upstream+" "+latency.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a relay: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a relay: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a relay: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a relay: %w", err), stdin.Close(), cmd.Wait())
	}
	return &Relay{addr: strings.TrimSpace(line), cmd: cmd, stdin: stdin}, nil
}

// Addr is where clients connect, as "host:port".
func (r *Relay) Addr() string { return r.addr }

// PID is the relay's process.
func (r *Relay) PID() int { return r.cmd.Process.Pid }

// Close ends the relay and breaks its connections.
func (r *Relay) Close() error {
	if err := errors.Join(r.stdin.Close(), r.cmd.Wait()); err != nil {
		return fmt.Errorf("end a relay: %w", err)
	}
	return nil
}

// RunIfChild makes this process a relay, and ends it, if Start has started it
// as one; else it returns at once. A relay ends when its standard input does.
func RunIfChild() {
	task, ok := os.LookupEnv(marker)
	if !ok {
		return
	}
	signal.Ignore(os.Interrupt) // the terminal's Ctrl-C reaches us, too; our parent decides
	upstream, text, _ := strings.Cut(task, " ")
	latency, err := time.ParseDuration(text)
	if err == nil {
		err = run(upstream, latency)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(upstream string, latency time.Duration) error {
	l, err := newLoop(latency / 2)
	if err != nil {
		return err
	}
	addr, failed, err := l.listen(upstream)
	if err != nil {
		return err
	}
	fmt.Println(addr)
	go func() { failed <- l.run() }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin) // ends when the parent closes it, or is gone
		failed <- err
	}()
	return <-failed
}

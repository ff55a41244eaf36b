//go:build unix

package devdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Pooler is a running pooler of any kind: a process that listens on 127.0.0.1,
// with its configuration and log in a folder of its own.
type Pooler struct {
	recipe recipe
	home   string
	acc    *account
	port   int
	proc   *process
}

// recipe is how a pooler's program is run.
type recipe struct {
	name    string // as people call it
	program Program
	// files are its configuration, by file name, for the port and the folder that p has.
	files func(p *Pooler) map[string]string
	// args are the program's arguments.
	args func(p *Pooler) []string
	// ready fails until a client is served.
	ready func(ctx context.Context, p *Pooler) error
	// end is the signal that ends it at once.
	end syscall.Signal
}

// startPooler writes the configuration into dir, starts the program and returns
// when it serves a client. Port 0 asks the kernel for a free one. Errors carry
// the end of the pooler's log.
func startPooler(ctx context.Context, dir string, port int, r recipe) (*Pooler, error) {
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	p := &Pooler{recipe: r, acc: acc, port: port}
	if p.home, _, err = home(dir, acc); err != nil {
		return nil, err
	}
	if err := own(p.home, acc); err != nil { // some write their state there
		return nil, err
	}
	if port != 0 {
		return p, p.start(ctx)
	}
	for range 5 { // as in Postgres.Start: the port can be taken meanwhile
		if p.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = p.start(ctx); err == nil {
			return p, nil
		}
		if !strings.Contains(err.Error(), "ddress already in use") {
			break
		}
	}
	return nil, err
}

func (p *Pooler) start(ctx context.Context) error {
	for name, content := range p.recipe.files(p) {
		if err := writeFor(p.acc, p.path(name), []byte(content)); err != nil {
			return err
		}
	}
	log, err := os.Create(p.log())
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", p.recipe.name, err)
	}
	defer func() { _ = log.Close() }() // the pooler has its own descriptor
	args := append(slices.Clone(p.recipe.program.Args), p.recipe.args(p)...)
	cmd := exec.Command(p.recipe.program.Path, args...) //nolint:noctx // lives on after the call; Stop ends it
	cmd.Dir, cmd.Env = p.home, serverEnv()
	cmd.Stdout, cmd.Stderr = log, log
	p.proc, err = startProcess(cmd, p.acc, p.recipe.end)
	if err != nil {
		return err
	}
	if err := p.awaitReady(ctx); err != nil {
		stop := p.Stop()
		return errors.Join(fmt.Errorf("start %s: %w\n%s", p.recipe.name, err, tail(p.log())), stop)
	}
	return nil
}

func (p *Pooler) path(name string) string { return filepath.Join(p.home, name) }

func (p *Pooler) log() string { return p.path("pooler.log") }

func (p *Pooler) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.recipe.ready(ctx, p)
		if err == nil && !p.proc.exited() {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.proc.done:
			return fmt.Errorf("%s ended: %w", p.recipe.name, p.proc.err)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not ready: %w", ctx.Err()), err)
		}
	}
}

// serves is a recipe's ready for a pooler that lets the superuser in without a
// password.
func serves(ctx context.Context, p *Pooler) error {
	return ping(ctx, connURL(p.port, Superuser, "", "postgres"))
}

// URL is the pooled URL of a database for a user.
func (p *Pooler) URL(user, password, database string) string {
	return connURL(p.port, user, password, database)
}

// Port is the TCP port on 127.0.0.1.
func (p *Pooler) Port() int { return p.port }

// Dir is the folder that the pooler really uses: see Postgres.Dir.
func (p *Pooler) Dir() string { return p.home }

// Done is closed when the pooler ends, for whatever reason.
func (p *Pooler) Done() <-chan struct{} { return p.proc.done }

// Failure is nil while the pooler runs; once it has ended, how, with the end of
// its log.
func (p *Pooler) Failure() error {
	if !p.proc.exited() {
		return nil
	}
	return fmt.Errorf("%s ended: %w\n%s", p.recipe.name, p.proc.err, tail(p.log()))
}

// Restart ends the pooler as Stop does, starts it again on its port and returns when
// it serves a client. Nothing else may use it meanwhile but its clients.
func (p *Pooler) Restart(ctx context.Context) error {
	if err := p.Stop(); err != nil {
		return err
	}
	return p.start(ctx)
}

// Stop ends the pooler and its children; clients' connections break.
func (p *Pooler) Stop() error {
	if err := p.proc.signal(p.recipe.end); err != nil {
		return err
	}
	select {
	case <-p.proc.done:
	case <-time.After(5 * time.Second):
	}
	// Whatever is left of its process group.
	if err := syscall.Kill(-p.proc.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop %s: %w", p.recipe.name, err)
	}
	<-p.proc.done
	return nil
}

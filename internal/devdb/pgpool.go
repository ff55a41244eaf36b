//go:build unix

package devdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNoPgpool says that pgpool-II is not there; the error's text says how to get
// it.
var ErrNoPgpool = errors.New("pgpool-II is not installed")

// Pgpool is a running pgpool-II: a pooler that gives each client a server
// connection for its whole session, and that reads and rewrites the messages in
// between.
type Pgpool struct {
	home string
	mode string
	acc  *account
	port int
	proc *process
}

// StartPgpool starts the installed pgpool-II in front of upstream, which must
// trust all users, on a port of the kernel's choice. dir takes its configuration
// and log.
//
// The mode is its backend_clustering_mode. Seen with 4.3.5: in
// "streaming_replication" (its default) several statements before one Sync are
// one implicit transaction, as they should be. In "raw" they are not: a setting
// made for the transaction is gone after a SELECT; and an INSERT outside a
// transaction is answered while its transaction is still open, and committed no
// earlier than at the client's next statement.
func StartPgpool(ctx context.Context, dir, mode string, upstream *Postgres) (*Pgpool, error) {
	binary, err := findPgpool()
	if err != nil {
		return nil, err
	}
	p := &Pgpool{mode: mode}
	if p.acc, err = serverAccount(); err != nil {
		return nil, err
	}
	if p.home, _, err = home(dir, p.acc); err != nil {
		return nil, err
	}
	if err := own(p.home, p.acc); err != nil { // it writes its status there
		return nil, err
	}
	for range 5 { // as in Postgres.Start: the port can be taken meanwhile
		if p.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = p.start(ctx, binary, upstream.Port()); err == nil {
			return p, nil
		}
		if !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	return nil, err
}

func findPgpool() (string, error) {
	if path, err := exec.LookPath("pgpool"); err == nil {
		return path, nil
	}
	const debian = "/usr/sbin/pgpool" // not on an ordinary user's PATH
	if _, err := os.Stat(debian); err == nil {
		return debian, nil
	}
	return "", fmt.Errorf("%w: run \"make setup\"", ErrNoPgpool)
}

// path is a file in the folder that pgpool-II really uses.
func (p *Pgpool) path(name string) string { return p.home + "/" + name }

func (p *Pgpool) start(ctx context.Context, binary string, backend int) error {
	settings := []string{
		"backend_clustering_mode = '" + p.mode + "'",
		"listen_addresses = '" + loopback + "'",
		"port = " + strconv.Itoa(p.port),
		"socket_dir = '" + p.home + "'",
		"pcp_listen_addresses = ''",
		"pcp_socket_dir = '" + p.home + "'",
		"backend_hostname0 = '" + loopback + "'",
		"backend_port0 = " + strconv.Itoa(backend),
		"backend_flag0 = 'DISALLOW_TO_FAILOVER'", // there is one server: never give it up
		"failover_on_backend_error = off",
		"enable_pool_hba = off",
		"num_init_children = 32", // one client each
		"connection_cache = off", // so that a database can be dropped
		"health_check_period = 0",
		"sr_check_period = 0",
		"pid_file_name = '" + p.path("pgpool.pid") + "'",
		"logdir = '" + p.home + "'",
		"log_destination = 'stderr'",
	}
	for name, content := range map[string]string{
		"pgpool.conf": strings.Join(settings, "\n") + "\n", "pcp.conf": "", "pool_passwd": "",
	} {
		if err := writeFor(p.acc, p.path(name), []byte(content)); err != nil {
			return err
		}
	}
	log, err := os.Create(p.path("pgpool.log"))
	if err != nil {
		return fmt.Errorf("open pgpool-II's log: %w", err)
	}
	defer func() { _ = log.Close() }()                                                             // pgpool-II has its own descriptor
	cmd := exec.Command(binary, "-n", "-D", "-f", p.path("pgpool.conf"), "-F", p.path("pcp.conf")) //nolint:noctx // lives on after the call; Stop ends it
	cmd.Dir, cmd.Env = p.home, serverEnv()
	cmd.Stdout, cmd.Stderr = log, log
	p.proc, err = startProcess(cmd, p.acc, syscall.SIGINT) // fast shutdown, children included
	if err != nil {
		return err
	}
	if err := p.awaitReady(ctx); err != nil {
		stop := p.Stop()
		return errors.Join(fmt.Errorf("start pgpool-II: %w\n%s", err, tail(p.path("pgpool.log"))), stop)
	}
	return nil
}

func (p *Pgpool) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ping(ctx, connURL(p.port, Superuser, "", "postgres"))
		if err == nil && !p.proc.exited() {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.proc.done:
			return fmt.Errorf("pgpool-II ended: %w", p.proc.err)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not ready: %w", ctx.Err()), err)
		}
	}
}

// Port is the TCP port on 127.0.0.1.
func (p *Pgpool) Port() int { return p.port }

// Dir is the folder that pgpool-II really uses: see Postgres.Dir.
func (p *Pgpool) Dir() string { return p.home }

// Stop ends pgpool-II and its children; clients' connections break.
func (p *Pgpool) Stop() error {
	group := p.proc.cmd.Process.Pid
	if err := p.proc.signal(syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-p.proc.done:
	case <-time.After(5 * time.Second):
	}
	// Whatever is left of its process group.
	if err := syscall.Kill(-group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop pgpool-II: %w", err)
	}
	<-p.proc.done
	return nil
}

//go:build unix

package devdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Superuser is the name of every private server's superuser.
const Superuser = "postgres"

// startTimeout is how long a server may take until it accepts a connection.
const startTimeout = 30 * time.Second

// ErrInUse says that another living process runs a server in the same folder.
var ErrInUse = errors.New("the data folder is in use by another process")

// PostgresConfig says where and how a private PostgreSQL runs.
type PostgresConfig struct {
	// Dir holds the data, the log and a lock; it is made if it is missing, and
	// an existing one is used again. Required.
	Dir string
	// Port to listen on, on 127.0.0.1; 0 asks the kernel for a free one.
	Port int
	// BinDir holds initdb and postgres; "" takes the newest installed, and
	// downloads one if none is.
	BinDir string
	// Password of the superuser. With "" every user may log in without one
	// (trust); else all log in by scram-sha-256. It counts when the data folder
	// is made; later starts must name the same one.
	Password string
	// Template is a folder that keeps what initdb has made, for each version, so
	// that a later server begins with a copy of it, ten times as quickly. Such
	// servers have one system identifier; it is for tests. Default: none. With a
	// Password it is not used.
	Template string
	// Settings are given to the server as they are ("max_connections": "200").
	Settings map[string]string
	// Fsync makes commits survive a crash of the machine. Without it they
	// survive a crash of the server only, which is enough for tests, and faster.
	Fsync bool
}

// Postgres is a private PostgreSQL server, running or stopped.
type Postgres struct {
	cfg  PostgresConfig
	acc  *account
	home string // the folder really used: see home
	bin  string
	lock *os.File

	mu   sync.Mutex // guards port and proc
	port int
	proc *process // nil or exited: stopped
}

// StartPostgres makes the data folder if there is none, starts the server and
// returns when it accepts connections. A first start takes about two seconds
// (and a download, if no PostgreSQL is installed), a later one well under one.
// Errors: [ErrInUse]; a server that does not start, with the end of its log.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	p := &Postgres{cfg: cfg, acc: acc, bin: cfg.BinDir}
	if p.bin == "" {
		p.bin = FindPostgres(ctx)
	}
	if p.bin == "" {
		if p.bin, err = downloadPostgres(newest); err != nil {
			return nil, err
		}
	}
	var fresh bool
	if p.home, fresh, err = home(cfg.Dir, acc); err != nil {
		return nil, err
	}
	if p.lock, err = lockFile(filepath.Join(p.home, "lock")); err != nil {
		return nil, err
	}
	if err := p.prepare(ctx, fresh); err != nil {
		return nil, errors.Join(err, p.lock.Close())
	}
	if err := p.Start(ctx); err != nil {
		return nil, errors.Join(err, p.lock.Close())
	}
	return p, nil
}

// prepare stops a server that a crashed run left in the folder, and makes the
// data folder if there is none. What a fresh folder holds is removed first.
func (p *Postgres) prepare(ctx context.Context, fresh bool) error {
	if err := stopLeftover(ctx, p.dataDir()); err != nil {
		return err
	}
	if fresh {
		if err := os.RemoveAll(p.dataDir()); err != nil {
			return fmt.Errorf("remove the data of a folder that is gone: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(p.dataDir(), "PG_VERSION")); err == nil {
		return nil
	}
	return p.create(ctx)
}

// create makes the data folder under another name first, so that one that was
// interrupted is never mistaken for a whole one.
func (p *Postgres) create(ctx context.Context) error {
	fresh := p.dataDir() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("remove a half-made database: %w", err)
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return fmt.Errorf("make the database folder: %w", err)
	}
	if err := own(fresh, p.acc); err != nil {
		return err
	}
	var err error
	if p.cfg.Template != "" && p.cfg.Password == "" {
		err = p.copyTemplate(ctx, fresh)
	} else {
		err = p.initdb(ctx, fresh, "--no-sync")
	}
	if err != nil {
		return err
	}
	if err := os.Rename(fresh, p.dataDir()); err != nil {
		return fmt.Errorf("put the new database in place: %w", err)
	}
	return nil
}

// initdb fills an empty folder that the servers' account owns.
func (p *Postgres) initdb(ctx context.Context, dir string, options ...string) error {
	args := append([]string{"-D", dir, "-U", Superuser, "-E", "UTF8", "--no-locale"}, options...)
	if p.cfg.Password == "" {
		args = append(args, "-A", "trust")
	} else {
		pw := filepath.Join(p.home, "initdb-password")
		if err := writeFor(p.acc, pw, []byte(p.cfg.Password+"\n")); err != nil {
			return err
		}
		defer func() { _ = os.Remove(pw) }() // mode 0600 meanwhile; the same secret is in the caller's keeping
		args = append(args, "-A", "scram-sha-256", "--pwfile", pw)
	}
	return p.run(ctx, dir, filepath.Join(p.bin, "initdb"), args...)
}

// run runs a program in a folder under the servers' account, until it ends.
func (p *Postgres) run(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.Command(program, args...) //nolint:noctx // ended below
	cmd.Dir, cmd.Env = dir, serverEnv()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	proc, err := startProcess(cmd, p.acc, syscall.SIGKILL)
	if err != nil {
		return err
	}
	select {
	case <-proc.done:
	case <-ctx.Done():
		err := proc.signal(syscall.SIGKILL)
		<-proc.done
		return errors.Join(fmt.Errorf("%s: %w", filepath.Base(program), ctx.Err()), err)
	}
	if proc.err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), proc.err, out.String())
	}
	return nil
}

func (p *Postgres) dataDir() string { return filepath.Join(p.home, "pgdata") }
func (p *Postgres) logFile() string { return filepath.Join(p.home, "postgres.log") }

// serverEnv is the environment of the servers: no PG* variable of the caller's
// may reach them, and messages are in English because errors quote them.
func serverEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}

// Start starts a stopped server again, in the same folder and on the same port
// (which was the kernel's choice only at the very first start), and returns when
// it accepts connections. On a running server it does nothing.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != nil && !p.proc.exited() {
		return nil
	}
	if p.port != 0 {
		return p.startOn(ctx, p.port)
	}
	if p.cfg.Port != 0 {
		return p.startOn(ctx, p.cfg.Port)
	}
	// Between our asking for a free port and the server's taking it, somebody
	// else can take it: ask again then.
	var err error
	for range 5 {
		port, perr := freePort()
		if perr != nil {
			return perr
		}
		if err = p.startOn(ctx, port); err == nil || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
	}
	return err
}

func (p *Postgres) startOn(ctx context.Context, port int) error {
	log, err := os.Create(p.logFile())
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the server has its own descriptor
	settings := map[string]string{
		"listen_addresses":        loopback,
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": "",
		"logging_collector":       "off",
		"fsync":                   onOff(p.cfg.Fsync),
		"full_page_writes":        onOff(p.cfg.Fsync),
	}
	maps.Copy(settings, p.cfg.Settings)
	args := []string{"-D", p.dataDir()}
	for k, v := range settings {
		args = append(args, "-c", k+"="+v)
	}
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), args...) //nolint:noctx // lives on after the call; Stop ends it
	cmd.Dir, cmd.Env = p.dataDir(), serverEnv()
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := startProcess(cmd, p.acc, syscall.SIGINT) // SIGINT: fast shutdown
	if err != nil {
		return err
	}
	p.proc, p.port = proc, port
	if err := p.awaitReady(ctx); err != nil {
		p.port = 0
		stop := proc.signal(syscall.SIGQUIT)
		<-proc.done
		return errors.Join(fmt.Errorf("start PostgreSQL: %w\n%s", err, tail(p.logFile())), stop)
	}
	return nil
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// awaitReady waits until the server has written "ready" into its pid file, which
// says that it is ours that answers on the port, and then until it does answer.
func (p *Postgres) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if pid, ready := readPidFile(p.dataDir()); ready && pid == p.proc.cmd.Process.Pid {
			last = ping(ctx, p.urlAt(p.port, Superuser, "postgres"))
			if last == nil {
				return nil
			}
			if pg, ok := errors.AsType[*pgconn.PgError](last); ok && pg.Code == "28P01" {
				return fmt.Errorf("the data folder was made with another password than the one given now: %w", last)
			}
		}
		select {
		case <-tick.C:
		case <-p.proc.done:
			return fmt.Errorf("the server ended: %w", p.proc.err)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not ready: %w", ctx.Err()), last)
		}
	}
}

func ping(ctx context.Context, url string) error {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := conn.Close(ctx); err != nil {
		return fmt.Errorf("close the first connection: %w", err)
	}
	return nil
}

// Stop ends all connections, shuts the server down in order and hands the folder
// free. The data stays. A server that does not end before ctx does is killed.
func (p *Postgres) Stop(ctx context.Context) error {
	return errors.Join(p.end(ctx, syscall.SIGINT), p.lock.Close())
}

// Kill ends the whole cluster at once and without a checkpoint, as a crash does:
// connections break and the next Start recovers. It returns when the server has
// ended. Start may follow.
func (p *Postgres) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return p.end(ctx, syscall.SIGQUIT)
}

// Halt shuts the server down in order, as Stop does, but keeps the folder, so
// that Start may follow.
func (p *Postgres) Halt(ctx context.Context) error { return p.end(ctx, syscall.SIGINT) }

func (p *Postgres) end(ctx context.Context, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil || p.proc.exited() {
		return nil
	}
	if err := p.proc.signal(sig); err != nil {
		return err
	}
	select {
	case <-p.proc.done:
		return nil
	case <-ctx.Done():
		err := p.proc.signal(syscall.SIGQUIT) // the server's children would outlive a SIGKILL
		<-p.proc.done
		return errors.Join(fmt.Errorf("stop PostgreSQL: %w", ctx.Err()), err)
	}
}

// Done is closed when the running server ends, for whatever reason. After a
// Start it is another channel.
func (p *Postgres) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc.done
}

// Port is the TCP port on 127.0.0.1.
func (p *Postgres) Port() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.port
}

// Dir is the folder that the server really uses: PostgresConfig.Dir, or for root
// another one if the server's account could not enter that.
func (p *Postgres) Dir() string { return p.home }

// URL is the direct URL of a database for a user. It holds a password for the
// superuser only.
func (p *Postgres) URL(user, database string) string { return p.urlAt(p.Port(), user, database) }

// AdminURL is the superuser's direct URL of the database postgres.
func (p *Postgres) AdminURL() string { return p.URL(Superuser, "postgres") }

func (p *Postgres) urlAt(port int, user, database string) string {
	password := ""
	if user == Superuser {
		password = p.cfg.Password
	}
	return connURL(port, user, password, database)
}

func connURL(port int, user, password, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(user),
		Host: net.JoinHostPort(loopback, strconv.Itoa(port)), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// readPidFile returns the server's process id (0 without a file) and whether the
// file's last line says that it accepts connections.
func readPidFile(dataDir string) (pid int, ready bool) {
	b, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return 0, false
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return 0, false
	}
	return pid, strings.TrimSpace(lines[len(lines)-1]) == "ready"
}

// stopLeftover stops a server that runs in dataDir although nobody holds the
// folder's lock: its parent has crashed. A pid file whose process is gone, or is
// some other program by now, is removed, so that it cannot stop a new server.
func stopLeftover(ctx context.Context, dataDir string) error {
	pid, _ := readPidFile(dataDir)
	if pid == 0 {
		return nil
	}
	if !isServerOf(ctx, pid, dataDir) {
		if err := os.Remove(filepath.Join(dataDir, "postmaster.pid")); err != nil {
			return fmt.Errorf("remove a stale pid file: %w", err)
		}
		return nil
	}
	// After the polite request the deadline, then the immediate shutdown.
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the PostgreSQL that an earlier run left behind (process %d): %w", pid, err)
		}
		deadline := time.After(10 * time.Second)
		tick := time.NewTicker(20 * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case <-tick.C:
				if !isServerOf(ctx, pid, dataDir) {
					tick.Stop()
					return nil
				}
			case <-deadline:
				waiting = false
			case <-ctx.Done():
				tick.Stop()
				return fmt.Errorf("stop the PostgreSQL that an earlier run left behind (process %d): %w", pid, ctx.Err())
			}
		}
		tick.Stop()
	}
	return fmt.Errorf("the PostgreSQL that an earlier run left behind (process %d) does not stop", pid)
}

// isServerOf reports whether process pid is a living server with this data folder.
func isServerOf(ctx context.Context, pid int, dataDir string) bool {
	args, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err == nil {
		return slices.Contains(strings.Split(string(args), "\x00"), dataDir)
	}
	if _, statErr := os.Stat("/proc/self"); statErr == nil {
		return false // Linux, and no such process
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), dataDir)
}

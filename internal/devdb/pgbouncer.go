//go:build unix

package devdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// PgBouncerConfig says which PgBouncer runs and what it pools.
type PgBouncerConfig struct {
	// Binary is the PgBouncer to run: see FindPgBouncer. Required.
	Binary Pooler
	// Dir takes the configuration and the log. Required, one per PgBouncer.
	Dir string
	// Port to listen on, on 127.0.0.1; 0 asks the kernel for a free one.
	Port int
	// Mode is PgBouncer's pool_mode: "transaction" (also for ""), "statement" or
	// "session".
	Mode string
	// PoolSize is the number of server connections per database and user;
	// 0 means 2, so that a client's next transaction often meets another one.
	PoolSize int
	// Upstream is the server behind it. Required.
	Upstream *Postgres
	// Users may log in with these passwords. Nil accepts every user that the
	// upstream knows, without a password; the upstream must trust then too.
	Users map[string]string
	// Settings are added to the [pgbouncer] section, over the defaults.
	Settings map[string]string
}

// PgBouncer is a running PgBouncer.
type PgBouncer struct {
	cfg   PgBouncerConfig
	home  string
	acc   *account
	admin string            // the console's password
	users map[string]string // who may log in: cfg.Users, and AddUsers' own
	port  int
	proc  *process
}

// StartPgBouncer writes the configuration, starts PgBouncer and returns when its
// admin console answers. Errors carry the end of its log.
func StartPgBouncer(ctx context.Context, cfg PgBouncerConfig) (*PgBouncer, error) {
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{cfg: cfg, acc: acc, admin: rand.Text(), users: maps.Clone(cfg.Users)}
	if b.home, _, err = home(cfg.Dir, acc); err != nil {
		return nil, err
	}
	if cfg.Port != 0 {
		return b, b.startOn(ctx, cfg.Port)
	}
	for range 5 { // as in Postgres.Start: the port can be taken meanwhile
		port, perr := freePort()
		if perr != nil {
			return nil, perr
		}
		if err = b.startOn(ctx, port); err == nil {
			return b, nil
		}
		if !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	return nil, err
}

func (b *PgBouncer) path(name string) string { return filepath.Join(b.home, name) }

func (b *PgBouncer) startOn(ctx context.Context, port int) error {
	b.port = port
	if err := writeFor(b.acc, b.path("pgbouncer.ini"), []byte(b.config())); err != nil {
		return err
	}
	if err := writeFor(b.acc, b.path("users.txt"), []byte(b.userList())); err != nil {
		return err
	}
	log, err := os.Create(b.path("pgbouncer.log"))
	if err != nil {
		return fmt.Errorf("open PgBouncer's log: %w", err)
	}
	defer func() { _ = log.Close() }() // PgBouncer has its own descriptor
	args := append(slices.Clone(b.cfg.Binary.Args), b.path("pgbouncer.ini"))
	cmd := exec.Command(b.cfg.Binary.Path, args...) //nolint:noctx // lives on after the call; Stop ends it
	cmd.Dir, cmd.Env = "/", serverEnv()
	cmd.Stdout, cmd.Stderr = log, log
	// It keeps nothing that an orderly end would save, and what SIGTERM means
	// differs by version (from 1.23 on it waits for clients): always SIGKILL.
	b.proc, err = startProcess(cmd, b.acc, syscall.SIGKILL)
	if err != nil {
		return err
	}
	if err := b.awaitReady(ctx); err != nil {
		stop := b.Stop()
		return errors.Join(fmt.Errorf("start PgBouncer: %w\n%s", err, tail(b.path("pgbouncer.log"))), stop)
	}
	return nil
}

// config is pgbouncer.ini.
func (b *PgBouncer) config() string {
	mode, size := b.cfg.Mode, b.cfg.PoolSize
	if mode == "" {
		mode = "transaction"
	}
	if size == 0 {
		size = 2
	}
	settings := map[string]string{
		"listen_addr":        loopback,
		"listen_port":        strconv.Itoa(b.port),
		"unix_socket_dir":    "",
		"pool_mode":          mode,
		"default_pool_size":  strconv.Itoa(size),
		"max_client_conn":    "1000",
		"server_login_retry": "1", // seconds; the default of 15 keeps a restarted database away for so long
		"auth_type":          "scram-sha-256",
		"auth_file":          b.path("users.txt"),
		"admin_users":        adminUser,
		"log_connections":    "0",
		"log_disconnections": "0",
		// Drivers such as libpq's JDBC relatives send it; PgBouncer cannot track it.
		"ignore_startup_parameters": "extra_float_digits",
	}
	database := fmt.Sprintf("* = host=%s port=%d", loopback, b.cfg.Upstream.Port())
	if b.cfg.Users == nil {
		settings["auth_type"] = "trust"
		settings["auth_user"] = Superuser
		settings["auth_query"] = "SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1"
	}
	maps.Copy(settings, b.cfg.Settings)
	var sb strings.Builder
	sb.WriteString("[databases]\n" + database + "\n[pgbouncer]\n")
	for _, k := range sortedKeys(settings) {
		sb.WriteString(k + " = " + settings[k] + "\n")
	}
	return sb.String()
}

// adminUser may use the admin console; no server knows it.
const adminUser = "poolproof_admin"

// userList is PgBouncer's auth_file.
func (b *PgBouncer) userList() string {
	all := maps.Clone(b.users)
	if all == nil {
		all = map[string]string{}
	}
	all[adminUser] = b.admin
	if b.cfg.Users == nil {
		all[Superuser] = "" // runs auth_query
	}
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	var sb strings.Builder
	for _, name := range sortedKeys(all) {
		sb.WriteString(quote(name) + " " + quote(all[name]) + "\n")
	}
	return sb.String()
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func (b *PgBouncer) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := b.Admin(ctx, "SHOW VERSION")
		if err == nil && !b.proc.exited() {
			return nil
		}
		select {
		case <-tick.C:
		case <-b.proc.done:
			return fmt.Errorf("PgBouncer ended: %w", b.proc.err)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not ready: %w", ctx.Err()), err)
		}
	}
}

// Admin runs a command on PgBouncer's admin console and returns the rows of its
// answer, all values as text.
func (b *PgBouncer) Admin(ctx context.Context, command string) ([][]string, error) {
	conn, err := pgconn.Connect(ctx, connURL(b.port, adminUser, b.admin, "pgbouncer"))
	if err != nil {
		return nil, fmt.Errorf("connect to PgBouncer's console: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // the answer is complete by then
	results, err := conn.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("PgBouncer's console, %q: %w", command, err)
	}
	var rows [][]string
	for _, r := range results {
		for _, row := range r.Rows {
			values := make([]string, len(row))
			for i, v := range row {
				values[i] = string(v)
			}
			rows = append(rows, values)
		}
	}
	return rows, nil
}

// AddUsers makes more users known, with the passwords that clients must give
// (and that PgBouncer gives to the server), without a restart.
func (b *PgBouncer) AddUsers(ctx context.Context, users map[string]string) error {
	if b.users == nil {
		b.users = map[string]string{}
	}
	maps.Copy(b.users, users)
	if err := writeFor(b.acc, b.path("users.txt"), []byte(b.userList())); err != nil {
		return err
	}
	_, err := b.Admin(ctx, "RELOAD")
	return err
}

// URL is the pooled URL of a database for a user.
func (b *PgBouncer) URL(user, password, database string) string {
	return connURL(b.port, user, password, database)
}

// Port is the TCP port on 127.0.0.1.
func (b *PgBouncer) Port() int { return b.port }

// Dir is the folder that PgBouncer really uses: see Postgres.Dir.
func (b *PgBouncer) Dir() string { return b.home }

// Done is closed when PgBouncer ends, for whatever reason.
func (b *PgBouncer) Done() <-chan struct{} { return b.proc.done }

// Failure is nil while PgBouncer runs; once it has ended, how, with the end of its
// log.
func (b *PgBouncer) Failure() error {
	if !b.proc.exited() {
		return nil
	}
	return fmt.Errorf("PgBouncer ended: %w\n%s", b.proc.err, tail(b.path("pgbouncer.log")))
}

// Stop ends PgBouncer at once; clients' connections break.
func (b *PgBouncer) Stop() error {
	if err := b.proc.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-b.proc.done
	return nil
}

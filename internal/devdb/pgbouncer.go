//go:build unix

package devdb

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// PgBouncerConfig says which PgBouncer runs and what it pools.
type PgBouncerConfig struct {
	// Binary is the PgBouncer to run: see FindProgram. Required.
	Binary Program
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
	// Through is the port on 127.0.0.1 by which Upstream is reached, where something
	// stands between the two; 0 means Upstream's own.
	Through int
	// Users may log in with these passwords. Nil accepts every user that the
	// upstream knows, without a password; the upstream must trust then too.
	Users map[string]string
	// Settings are added to the [pgbouncer] section, over the defaults.
	Settings map[string]string
}

// PgBouncer is a running PgBouncer, with its console.
type PgBouncer struct {
	*Pooler
	cfg   PgBouncerConfig
	admin string            // the console's password
	users map[string]string // who may log in: cfg.Users, and AddUsers' own
}

// StartPgBouncer writes the configuration, starts PgBouncer and returns when its
// admin console answers. Errors carry the end of its log.
func StartPgBouncer(ctx context.Context, cfg PgBouncerConfig) (*PgBouncer, error) {
	b := &PgBouncer{cfg: cfg, admin: rand.Text(), users: maps.Clone(cfg.Users)}
	var err error
	b.Pooler, err = startPooler(ctx, cfg.Dir, cfg.Port, recipe{
		name: "PgBouncer", program: cfg.Binary,
		args: func(p *Pooler) []string { return []string{p.path(iniFile)} },
		files: func(p *Pooler) map[string]string {
			return map[string]string{iniFile: b.config(p), usersFile: b.userList()}
		},
		ready: func(ctx context.Context, p *Pooler) error {
			_, err := b.console(ctx, p.port, "SHOW VERSION")
			return err
		},
		// It keeps nothing that an orderly end would save, and what SIGTERM means
		// differs by version (from 1.23 on it waits for clients).
		end: syscall.SIGKILL,
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

const (
	iniFile   = "pgbouncer.ini"
	usersFile = "users.txt"
)

// config is pgbouncer.ini.
func (b *PgBouncer) config(p *Pooler) string {
	mode, size := b.cfg.Mode, b.cfg.PoolSize
	if mode == "" {
		mode = "transaction"
	}
	if size == 0 {
		size = 2
	}
	settings := map[string]string{
		"listen_addr":        loopback,
		"listen_port":        strconv.Itoa(p.port),
		"unix_socket_dir":    "",
		"pool_mode":          mode,
		"default_pool_size":  strconv.Itoa(size),
		"max_client_conn":    "1000",
		"server_login_retry": "1", // seconds; the default of 15 keeps a restarted database away for so long
		"auth_type":          "scram-sha-256",
		"auth_file":          p.path(usersFile),
		"admin_users":        adminUser,
		"log_connections":    "0",
		"log_disconnections": "0",
		// Drivers such as libpq's JDBC relatives send it; PgBouncer cannot track it.
		"ignore_startup_parameters": "extra_float_digits",
	}
	database := fmt.Sprintf("* = host=%s port=%d", loopback, cmp.Or(b.cfg.Through, b.cfg.Upstream.Port()))
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

// SetMode changes the pool mode in the configuration, which Restart, or RELOAD on the console, reads.
func (b *PgBouncer) SetMode(mode string) error {
	b.cfg.Mode = mode
	return writeFor(b.acc, b.path(iniFile), []byte(b.config(b.Pooler)))
}

// Admin runs a command on PgBouncer's admin console and returns the rows of its
// answer, all values as text.
func (b *PgBouncer) Admin(ctx context.Context, command string) ([][]string, error) {
	return b.console(ctx, b.port, command)
}

func (b *PgBouncer) console(ctx context.Context, port int, command string) ([][]string, error) {
	conn, err := pgconn.Connect(ctx, connURL(port, adminUser, b.admin, "pgbouncer"))
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
// (and that PgBouncer passes to the server), without a restart.
func (b *PgBouncer) AddUsers(ctx context.Context, users map[string]string) error {
	if b.users == nil {
		b.users = map[string]string{}
	}
	maps.Copy(b.users, users)
	if err := writeFor(b.acc, b.path(usersFile), []byte(b.userList())); err != nil {
		return err
	}
	_, err := b.Admin(ctx, "RELOAD")
	return err
}

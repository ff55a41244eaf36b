//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/hostile/repro"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/pooler"
)

// upstream is the PostgreSQL server behind the pooler.
type upstream struct {
	url      string // with user, password, server and database, wherever they were found
	server   repro.Server
	password bool // it has one
	stop     func() error
}

// findUpstream chooses the server and refuses one that is a pooler itself, or
// that only a variable names on another machine, before anything but the probe
// was sent to it.
func (c *hostileFlags) findUpstream(ctx context.Context, p *program) (*upstream, error) {
	raw, named := c.Upstream, true
	if raw == "" {
		raw, named = os.Getenv("DATABASE_URL"), false
	}
	if raw == "" {
		p.log.Info("starting a private PostgreSQL: neither --upstream nor DATABASE_URL names one")
		return privatePostgres(ctx)
	}
	cfg, err := pgx.ParseConfig(raw)
	if err != nil { // its text may hold the password
		return nil, usage("write it as postgres://user:password@host:port/database", "the upstream's URL cannot be read")
	}
	if len(hostsOf(cfg)) > 1 {
		return nil, usage("name one server", "the upstream's URL names several servers (%s)", strings.Join(hostsOf(cfg), ", "))
	}
	if !named && !onThisMachine(cfg.Host) {
		return nil, usage("name it if you mean it: --upstream URL; or unset DATABASE_URL for a private PostgreSQL",
			"DATABASE_URL names a server on another machine (%s), which nobody should make hostile because a variable was set", cfg.Host)
	}
	up := &upstream{server: repro.Server{Host: cfg.Host, Port: cfg.Port, User: cfg.User, Database: cfg.Database}, password: cfg.Password != "", stop: func() error { return nil }}
	if up.url, err = completeURL(raw, cfg); err != nil {
		return nil, usage("write it as postgres://user:password@host:port/database", "the upstream's URL cannot be read")
	}
	found, err := pooler.Probe(ctx, cfg)
	if err != nil {
		return nil, usage("see whether it answers at all: psql URL -c 'select 1'", "reaching the upstream: %w", redacted(err))
	}
	if found.Present {
		return nil, usage("give the server's own address, behind the pooler", "the upstream is itself a pooler (%s): what it breaks could not be told from what is broken here", found)
	}
	return up, nil
}

// hostsOf lists the servers that a connection may go to.
func hostsOf(cfg *pgx.ConnConfig) []string {
	hosts := []string{cfg.Host}
	for _, f := range cfg.Fallbacks { // also the same server, with and without TLS
		if f.Host != cfg.Host || f.Port != cfg.Port {
			hosts = append(hosts, f.Host)
		}
	}
	return hosts
}

// completeURL adds to a URL what PG* variables, a password file or the login's
// name said: whoever gets it has none of them.
func completeURL(raw string, cfg *pgx.ConnConfig) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", errors.New("no URL")
	}
	u.RawQuery = strings.ReplaceAll(u.RawQuery, "+", "%2B") // to libpq and pgx a plus sign is one
	q := u.Query()
	for _, name := range []string{"user", "password", "dbname", "database"} {
		q.Del(name)
	}
	u.User = url.User(cfg.User)
	if cfg.Password != "" {
		u.User = url.UserPassword(cfg.User, cfg.Password)
	}
	database := cfg.Database
	if database == "" {
		database = cfg.User
	}
	u.Path, u.RawPath = "/"+database, ""
	if strings.HasPrefix(cfg.Host, "/") { // a socket's folder
		u.Host = ""
		q.Set("host", cfg.Host)
		q.Set("port", strconv.Itoa(int(cfg.Port)))
	} else {
		u.Host = net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
		q.Del("host")
		q.Del("port")
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String(), nil
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
func privatePostgres(ctx context.Context) (*upstream, error) {
	dir, err := os.MkdirTemp("", "poolproof-prove-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the server's account must pass through
		return nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	pg, err := devdb.StartPostgres(ctx, devdb.PostgresConfig{Dir: filepath.Join(dir, "postgres"), Settings: map[string]string{"max_connections": "200"}})
	if err != nil {
		return nil, errors.Join(failure("install PostgreSQL, or name a server with --upstream", "%w", err), os.RemoveAll(dir))
	}
	return &upstream{
		url:    pg.AdminURL(),
		server: repro.Server{Host: "127.0.0.1", Port: 5432, User: devdb.Superuser, Database: devdb.Superuser}, // of one's own: this one is gone
		stop: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), devStopTime)
			defer cancel()
			return errors.Join(pg.Stop(ctx), os.RemoveAll(pg.Dir()), os.RemoveAll(dir))
		},
	}, nil
}

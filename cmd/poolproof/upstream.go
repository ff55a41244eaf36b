//go:build unix

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

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
	password string
	asks     bool // the server asks us for a password, and accepts this one
	private  bool // it was started for this run
	stop     func() error
}

// findUpstream returns the server to use. It refuses one that is a pooler
// itself, or that is on another machine and only named by a variable, before
// anything but the probe was sent to it.
func (c *hostileFlags) findUpstream(ctx context.Context, p *program) (_ *upstream, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil { // the error only says that ctx ended
			err = usage("run it again", "%w, before there was a server", context.Cause(ctx))
		}
	}()
	raw, by, or := c.Upstream, "--upstream", ""
	if raw == "" {
		raw, by, or = os.Getenv("DATABASE_URL"), "DATABASE_URL", "; or unset DATABASE_URL for a private PostgreSQL"
	}
	if raw == "" {
		p.log.Info("starting a private PostgreSQL: neither --upstream nor DATABASE_URL names one")
		return privatePostgres(ctx, p)
	}
	unreadable := usage("write it as postgres://user:password@host:port/database"+or, "%s cannot be read", by) // the parser's error may contain the password
	if !isPostgres(raw) {
		return nil, unreadable
	}
	_, raw, _ = strings.Cut(raw, "://")
	raw = urlScheme + "://" + strings.Replace(raw, "sslmode=no-verify", "sslmode=require", 1) // node-postgres calls it no-verify
	cfg, err := pgx.ParseConfig(raw)
	if err != nil {
		return nil, unreadable
	}
	if len(hostsOf(cfg)) > 1 {
		return nil, usage("name one server", "%s names several servers (%s)", by, strings.Join(hostsOf(cfg), ", "))
	}
	if c.Upstream == "" && !onThisMachine(cfg.Host) {
		return nil, usage("if you mean that server, name it with --upstream URL"+or,
			"DATABASE_URL names a server on another machine (%s), and a variable alone is no reason to test against it", cfg.Host)
	}
	up := &upstream{server: repro.Server{Host: cfg.Host, Port: cfg.Port, User: cfg.User, Database: cfg.Database}, password: cfg.Password, stop: func() error { return nil }}
	found, err := pooler.Probe(ctx, cfg)
	for name := refused(err, cfg); name != ""; name = refused(err, cfg) { // a driver's own parameter: only the program needs it
		delete(cfg.RuntimeParams, name)
		raw = without(raw, name)
		found, err = pooler.Probe(ctx, cfg)
	}
	for range 2 {
		if err != nil || !found.TimedOut { // a busy machine is no pooler
			break
		}
		found, err = pooler.Probe(ctx, cfg)
	}
	if err != nil {
		hint, cause := unreachable(err)
		return nil, usage(hint+or, "reaching the server of %s (%s): %w", by, net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), cause)
	}
	if found.Present && found.Mode == pooler.Unknown && found.TimedOut {
		return nil, usage("try again when it is less busy, or name another server: --upstream URL"+or,
			"the server of %s did not answer in time, so that it cannot be told whether it is a pooler", by)
	}
	if found.Present {
		return nil, usage("name the server behind the pooler: --upstream URL"+or,
			"the server of %s is itself a pooler (%s mode, in front of PostgreSQL %s): what it breaks could not be distinguished from what we break",
			by, found.Mode, found.ServerVersion)
	}
	if up.url, err = completeURL(raw, cfg); err != nil {
		return nil, unreadable
	}
	if up.asks, err = asksForPassword(ctx, &cfg.Config); err != nil {
		hint, cause := unreachable(err)
		return nil, usage(hint+or, "reaching the server of %s: %w", by, cause)
	}
	return up, nil
}

// asksForPassword reports whether a server that lets us in wants a password for
// that. A server that trusts this machine, an account or a certificate would
// let in everybody who connects through us.
func asksForPassword(ctx context.Context, cfg *pgconn.Config) (bool, error) {
	if cfg.Password == "" {
		return false, nil
	}
	cfg = cfg.Copy()
	cfg.RequireAuth = "!none"
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		if strings.Contains(err.Error(), "require_auth check failed") { // pgconn has no type for it
			return false, nil
		}
		return false, err
	}
	return true, c.Close(ctx)
}

// urlScheme is the scheme of the URLs that programs get: SQLAlchemy refuses
// postgres://, and nothing refuses this one.
const urlScheme = "postgresql"

// isPostgres reports whether a URL is one of PostgreSQL's, with or without a
// driver's name.
func isPostgres(raw string) bool {
	scheme, _, ok := strings.Cut(raw, "://")
	scheme, _, _ = strings.Cut(scheme, "+")
	return ok && (scheme == "postgresql" || scheme == "postgres")
}

// form returns the URL whose form a program's URLs take: the one that is set
// for the program, or else the one that we were given, in the scheme that every
// program takes.
func form(env []string, given string) string {
	for _, e := range slices.Backward(env) { // the last one counts
		if raw, ok := strings.CutPrefix(e, "DATABASE_URL="); ok && isPostgres(raw) {
			return raw
		}
	}
	if rest, ok := strings.CutPrefix(given, "postgres://"); ok {
		return urlScheme + "://" + rest
	}
	if isPostgres(given) {
		return given
	}
	return urlScheme + "://"
}

// inForm returns a URL in another one's form: with its scheme, such as
// SQLAlchemy's postgresql+asyncpg, and with those of its parameters that do not
// say how to reach the server, such as Prisma's schema=public. If the scheme
// names a driver, sslmode=disable is left out: asyncpg and pg8000 get every
// parameter as an argument, and have none of that name.
func inForm(raw, form string) string {
	scheme, theirs, _ := strings.Cut(form, "://")
	_, ours, _ := strings.Cut(raw, "://")
	address, query, _ := strings.Cut(ours, "?")
	_, theirs, _ = strings.Cut(theirs, "?")
	var params, names []string
	for i, p := range append(strings.Split(query, "&"), strings.Split(theirs, "&")...) {
		name, _, _ := strings.Cut(p, "=")
		added := i > strings.Count(query, "&")
		if p == "" || added && (reaches(name) || slices.Contains(names, name)) || p == "sslmode=disable" && strings.Contains(scheme, "+") {
			continue
		}
		params, names = append(params, p), append(names, name)
	}
	if len(params) > 0 {
		address += "?" + strings.Join(params, "&")
	}
	return scheme + "://" + address
}

// reaches reports whether a URL's parameter says how to reach the server.
func reaches(name string) bool {
	return strings.HasPrefix(name, "ssl") || slices.Contains([]string{
		"host", "hostaddr", "port", "user", "password", "passfile", "dbname", "database", "service", "servicefile", "uselibpqcompat",
		"channel_binding", "require_auth", "gssencmode", "krbsrvname", "target_session_attrs", "load_balance_hosts",
	}, name)
}

// refused returns the parameter of a URL that the server does not know, or "".
// The server's message may be in any language, but it has the name as it was
// sent.
func refused(err error, cfg *pgx.ConnConfig) string {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "42704" && pg.Code != "55P02" { // undefined_object, cant_change_runtime_param
		return ""
	}
	for name := range cfg.RuntimeParams {
		if regexp.MustCompile(`(^|[^\w.])` + regexp.QuoteMeta(name) + `([^\w.]|$)`).MatchString(pg.Message) {
			return name
		}
	}
	return ""
}

// without returns a URL without one of its parameters.
func without(raw, name string) string {
	address, query, _ := strings.Cut(raw, "?")
	params := slices.DeleteFunc(strings.Split(query, "&"), func(p string) bool { return p == name || strings.HasPrefix(p, name+"=") })
	return address + "?" + strings.Join(params, "&")
}

// unreachable returns what to do about a server that cannot be reached, and why
// it cannot, without what pgconn says about the URL and each of its attempts.
func unreachable(err error) (hint string, cause error) {
	const ask = "check whether it answers: psql URL -c 'select 1'"
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		hints := map[string]string{
			"28P01": "see that user and password are right",
			"28000": "see that this user may log in from here (pg_hba.conf)",
			"3D000": "make the database (createdb), or name another one",
			"53300": "close other clients, or raise max_connections",
			"57P03": "wait until the server has started",
		}
		return cmp.Or(hints[pg.Code], ask), pg
	}
	if c, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		err = errors.Unwrap(c)
	}
	for { // of several attempts, the last
		all, ok := err.(interface{ Unwrap() []error }) // this one, not what it wraps
		if !ok || len(all.Unwrap()) == 0 {
			break
		}
		err = all.Unwrap()[len(all.Unwrap())-1]
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return "see that the host's name is right", name
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "start the server, or see that address and port are right", syscall.ECONNREFUSED
	}
	return ask, err
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
// name said, because the program that gets the URL does not have them.
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

func onThisMachine(host string) bool {
	if strings.HasPrefix(host, "/") || host == "localhost" || host == "" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// privatePostgres starts a server in a temporary folder.
func privatePostgres(ctx context.Context, p *program) (*upstream, error) {
	if devdb.FindPostgres(ctx) == "" {
		p.log.Info("no PostgreSQL is installed: downloading one (about 20 MB), unless an earlier run did")
	}
	dir, err := os.MkdirTemp("", "poolproof-prove-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the server's account must pass through
		return nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	password := rand.Text() // others on this machine reach the port, too
	pg, err := devdb.StartPostgres(ctx, devdb.PostgresConfig{Dir: filepath.Join(dir, "postgres"), Password: password, Settings: map[string]string{"max_connections": "200"}})
	if err != nil {
		return nil, errors.Join(failure("install PostgreSQL, or name a server with --upstream", "%w", err), os.RemoveAll(dir))
	}
	return &upstream{
		url:      pg.AdminURL(),
		password: password,
		asks:     true,
		private:  true,
		server:   repro.Server{Host: "127.0.0.1", Port: 5432, User: devdb.Superuser, Database: devdb.Superuser}, // stands for a server of the reader's: the private one will be gone
		stop: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), devStopTime)
			defer cancel()
			return errors.Join(pg.Stop(ctx), os.RemoveAll(pg.Dir()), os.RemoveAll(dir))
		},
	}, nil
}

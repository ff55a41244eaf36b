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
	asks     bool // the server wants a password, and this is it
	private  bool // it was started for this run
	stop     func() error
}

// findUpstream chooses the server and refuses one that is a pooler itself, or
// that only a variable names on another machine, before anything but the probe
// was sent to it.
func (c *hostileFlags) findUpstream(ctx context.Context, p *program) (_ *upstream, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil { // the error is only that this ended
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
	unreadable := usage("write it as postgres://user:password@host:port/database"+or, "%s cannot be read", by) // what the parser says may hold the password
	if !isPostgres(raw) {
		return nil, unreadable
	}
	_, raw, _ = strings.Cut(raw, "://")
	raw = urlScheme + "://" + strings.Replace(raw, "sslmode=no-verify", "sslmode=require", 1) // node-postgres' word for it
	cfg, err := pgx.ParseConfig(raw)
	if err != nil {
		return nil, unreadable
	}
	if len(hostsOf(cfg)) > 1 {
		return nil, usage("name one server", "%s names several servers (%s)", by, strings.Join(hostsOf(cfg), ", "))
	}
	if c.Upstream == "" && !onThisMachine(cfg.Host) {
		return nil, usage("name it if you mean it: --upstream URL"+or,
			"DATABASE_URL names a server on another machine (%s), which nobody should make hostile because a variable was set", cfg.Host)
	}
	up := &upstream{server: repro.Server{Host: cfg.Host, Port: cfg.Port, User: cfg.User, Database: cfg.Database}, password: cfg.Password, stop: func() error { return nil }}
	found, err := pooler.Probe(ctx, cfg)
	for name := refused(err, cfg); name != ""; name = refused(err, cfg) { // a driver's own parameter: it is the program's alone
		delete(cfg.RuntimeParams, name)
		raw = without(raw, name)
		found, err = pooler.Probe(ctx, cfg)
	}
	if err != nil {
		hint, cause := unreachable(err)
		return nil, usage(hint+or, "reaching the server of %s (%s): %w", by, net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), cause)
	}
	if found.Present {
		return nil, usage("give the server's own address, behind the pooler: --upstream URL"+or,
			"the server of %s is itself a pooler (%s mode, before PostgreSQL %s): what it breaks could not be told from what is broken here",
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
// that. One that trusts this machine, an account or a certificate would let in
// everybody who reaches it by us.
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

// urlScheme is that of the URLs which programs are given: SQLAlchemy refuses
// postgres://, and nobody refuses this one.
const urlScheme = "postgresql"

// isPostgres reports whether a URL is one of PostgreSQL's, with or without a
// driver's name.
func isPostgres(raw string) bool {
	scheme, _, ok := strings.Cut(raw, "://")
	scheme, _, _ = strings.Cut(scheme, "+")
	return ok && (scheme == "postgresql" || scheme == "postgres")
}

// form is the URL after whose form a program's are made: the one that is set
// for it, or else the one that was given to us, which need not be what it takes.
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

// inForm is a URL in another one's form: with its scheme, as SQLAlchemy's
// postgresql+asyncpg, and with those of its parameters that do not say how the
// server is reached, as Prisma's schema=public. Where the scheme names a driver,
// what would only say again that there is no TLS is left out: asyncpg and pg8000
// get every parameter as an argument of their own, and know none of that name.
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

// reaches reports whether a URL's parameter says how the server is reached.
func reaches(name string) bool {
	return strings.HasPrefix(name, "ssl") || slices.Contains([]string{
		"host", "hostaddr", "port", "user", "password", "passfile", "dbname", "database", "service", "servicefile", "uselibpqcompat",
		"channel_binding", "require_auth", "gssencmode", "krbsrvname", "target_session_attrs", "load_balance_hosts",
	}, name)
}

// refused is the parameter of a URL that the server refuses to know, or "". Its
// message may be in any language; the name in it is as it was sent.
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

// without is a URL without one of its parameters.
func without(raw, name string) string {
	address, query, _ := strings.Cut(raw, "?")
	params := slices.DeleteFunc(strings.Split(query, "&"), func(p string) bool { return p == name || strings.HasPrefix(p, name+"=") })
	return address + "?" + strings.Join(params, "&")
}

// unreachable is what to do about a server that cannot be reached, and why it cannot,
// without what pgconn says of the URL and of each of its attempts.
func unreachable(err error) (hint string, cause error) {
	const ask = "see whether it answers at all: psql URL -c 'select 1'"
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
		p.log.Info("no PostgreSQL is installed: one is downloaded, some 20 MB, if it was not before")
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
		server:   repro.Server{Host: "127.0.0.1", Port: 5432, User: devdb.Superuser, Database: devdb.Superuser}, // of one's own: this one is gone
		stop: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), devStopTime)
			defer cancel()
			return errors.Join(pg.Stop(ctx), os.RemoveAll(pg.Dir()), os.RemoveAll(dir))
		},
	}, nil
}

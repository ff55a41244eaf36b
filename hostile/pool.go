package hostile

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// pool is the server connections for one user, database and set of startup
// parameters. It gives a client another connection than the one it had last,
// and prefers one that somebody else has had since.
type pool struct {
	pooler *Pooler
	schema atomic.Pointer[schema]

	mu       sync.Mutex
	upstream *pgconn.Config // replaced, never changed
	unproven bool           // the server was not asked yet whether its password is right
	idle     []*backend     // the one that was given back longest ago first
	all      map[*backend]bool
	opened   int // all, and those being opened
	given    int64
	free     chan struct{} // gets a token when a connection is given back or gone
	extra    []string      // names of custom settings that clients use
	looked   time.Time     // when functions and policies were looked at last
}

func newPool(p *Pooler, cfg *pgconn.Config) *pool {
	return &pool{pooler: p, upstream: cfg, all: map[*backend]bool{}, free: make(chan struct{}, 1)}
}

var errNoServerConnection = errors.New("no server connection became free in time")

// enter gives a client its first server connection. Whether its password is
// right the server says, once: what it said yes to last needs no question.
func (pl *pool) enter(ctx context.Context, s *session, password string) (*backend, error) {
	cfg, unproven := pl.config()
	if unproven || subtle.ConstantTimeCompare([]byte(cfg.Password), []byte(password)) != 1 {
		if err := pl.prove(ctx, cfg.Copy(), password); err != nil {
			return nil, err
		}
	}
	return pl.acquire(ctx, s)
}

// errTrusted says that the server asks this machine for no password.
var errTrusted = errors.New("the server lets this machine in without a password, and others can reach this pooler")

// prove tries a password by a connection of its own.
func (pl *pool) prove(ctx context.Context, cfg *pgconn.Config, password string) error {
	cfg.Password = password
	if pl.pooler.cfg.Passwords {
		cfg.RequireAuth = "!none"
	}
	ctx, cancel := context.WithTimeout(ctx, pl.pooler.cfg.WaitTimeout)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		if cfg.RequireAuth != "" && strings.Contains(err.Error(), "require_auth check failed") { // pgconn has no type for it
			return errTrusted
		}
		return err
	}
	pl.mu.Lock()
	pl.upstream, pl.unproven = cfg, false
	pl.mu.Unlock()
	return c.Close(ctx)
}

// config is how to connect to the server.
func (pl *pool) config() (cfg *pgconn.Config, unproven bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	return pl.upstream, pl.unproven
}

// acquire gives a session a server connection and attaches it.
func (pl *pool) acquire(ctx context.Context, s *session) (*backend, error) {
	ctx, cancel := context.WithTimeout(ctx, pl.pooler.cfg.WaitTimeout)
	defer cancel()
	for {
		b, open := pl.take(s)
		if b != nil {
			pl.tell() // there may be more
			return b, nil
		}
		if open {
			return pl.open(ctx, s)
		}
		select {
		case <-ctx.Done():
			return nil, errNoServerConnection
		case <-pl.free:
		}
	}
}

// take picks an idle connection, or says that one may be opened.
func (pl *pool) take(s *session) (b *backend, open bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pick := -1
	if n := len(pl.idle); pl.pooler.profile.Plain && n > 0 && pl.idle[n-1].cancels.Load() == 0 {
		b = pl.idle[n-1]
		pl.idle = pl.idle[:n-1]
		pl.hand(b, s)
		return b, false
	}
	for i, b := range pl.idle {
		if b == s.lastBackend || b.cancels.Load() > 0 {
			continue
		}
		if pick < 0 || b.last != s && pl.idle[pick].last == s {
			pick = i
		}
		if b.last != s {
			break
		}
	}
	if pick < 0 {
		if pl.opened < pl.pooler.cfg.MaxServerConns {
			pl.opened++
			return nil, true
		}
		// The one it had, then: a pooler with nothing else would do the same.
		pick = slices.IndexFunc(pl.idle, func(b *backend) bool { return b.cancels.Load() == 0 })
		if pick < 0 {
			return nil, false
		}
	}
	b = pl.idle[pick]
	pl.idle = slices.Delete(pl.idle, pick, pick+1)
	pl.hand(b, s)
	return b, false
}

// hand attaches; the pool is locked.
func (pl *pool) hand(b *backend, s *session) {
	pl.given++
	b.last, b.lastAt, s.lastBackend = s, pl.given, b
	b.session.Store(s)
}

func (pl *pool) open(ctx context.Context, s *session) (*backend, error) {
	b, err := pl.dial(ctx)
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if err != nil {
		pl.opened--
		pl.tell()
		return nil, err
	}
	pl.all[b] = true
	pl.hand(b, s)
	go b.serve()
	return b, nil
}

// adopt takes in a connection to the server that a client has for itself.
func (pl *pool) adopt(s *session, conn net.Conn) *backend {
	b := pl.newBackend(conn)
	b.starting = true
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.opened++
	pl.all[b] = true
	pl.hand(b, s)
	return b
}

// giveBack makes a connection free for others. It has no session any more.
func (pl *pool) giveBack(b *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.all[b] {
		pl.idle = append(pl.idle, b)
	}
	pl.tell()
}

// forget drops a connection that has ended.
func (pl *pool) forget(b *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.all[b] {
		delete(pl.all, b)
		pl.opened--
	}
	pl.idle = slices.DeleteFunc(pl.idle, func(x *backend) bool { return x == b })
	pl.tell()
}

// tell wakes one who waits.
func (pl *pool) tell() {
	select {
	case pl.free <- struct{}{}:
	default:
	}
}

// closeAll ends all connections.
func (pl *pool) closeAll() {
	pl.mu.Lock()
	all := slices.Collect(maps.Keys(pl.all))
	pl.mu.Unlock()
	for _, b := range all {
		b.kill()
	}
}

// learn adds names of custom settings that are asked for from now on.
func (pl *pool) learn(names []string) {
	if len(names) == 0 {
		return
	}
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for _, n := range names {
		if len(pl.extra) < 200 && isASCII(n) {
			pl.extra = appendNew(pl.extra, n)
		}
	}
}

// due tells whether functions and policies are to be looked at again: they may
// change behind the pooler's back, by a migration over a direct connection.
func (pl *pool) due() bool {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if time.Since(pl.looked) < time.Second {
		return false
	}
	pl.looked = time.Now()
	return true
}

// names are all custom settings that are known.
func (pl *pool) names() []string {
	pl.mu.Lock()
	names := slices.Clone(pl.extra)
	pl.mu.Unlock()
	if s := pl.schema.Load(); s != nil {
		for _, n := range s.names {
			if isASCII(n) {
				names = appendNew(names, n)
			}
		}
	}
	return names
}

// isASCII tells whether a name is the same in every encoding that a client may speak.
func isASCII(name string) bool {
	return strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// schemaSQL is the query for this server's version: bodies of SQL functions
// that are kept parsed are there since 14.
func (pl *pool) schemaSQL(version string) string {
	major, _ := strconv.Atoi(strings.SplitN(version, ".", 2)[0])
	if major >= 14 {
		return schemaSQL
	}
	return strings.ReplaceAll(schemaSQL, "|| ' ' || coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), '')", "")
}

// poolKey tells pools apart.
func poolKey(user, database string, params map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q", user, database)
	for _, k := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, " %q=%q", k, params[k])
	}
	return b.String()
}

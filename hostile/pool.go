package hostile

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
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
	pooler      *Pooler
	key         string
	schema      atomic.Pointer[schema]
	admittedAny atomic.Bool // somebody was let in

	users       int       // clients, and those who want to be one; the pooler's lock guards it
	unusedSince time.Time // when the last one left; likewise

	mu              sync.Mutex
	upstream        *pgconn.Config // replaced, never changed
	proof           loginProof     // why its password is good
	idle            []*backend     // the one that was given back longest ago first
	all             map[*backend]bool
	opened          int // all, and those being opened
	given           int64
	free            chan struct{} // gets a token when a connection is given back or gone
	learnedSettings []string      // names of custom settings that clients use
	schemaCheckedAt time.Time     // when functions and policies were looked at last
}

func newPool(p *Pooler, key string, cfg *pgconn.Config) *pool {
	return &pool{pooler: p, key: key, upstream: cfg, all: map[*backend]bool{}, free: make(chan struct{}, 1)}
}

// letIn says why a pool's password is good.
type loginProof int

const (
	unproven            loginProof = iota
	provenByOwnPassword            // its client knew the pooler's password, and the server let us in
	provenByServer                 // the server asked for it, and said yes
)

var errNoServerConnection = errors.New("no server connection became free in time")

// errTrusted says that the server asks this machine for no password.
var errTrusted = errors.New("the server lets this machine in without a password of the client's own")

// admit decides whether a client may use the pool. One that knows the pooler's
// own password is lent what the upstream's URL holds. From everybody else the
// server must want a password, and say yes to theirs; what it said yes to last
// needs no question.
func (pl *pool) admit(ctx context.Context, password string) error {
	p := pl.pooler
	cfg, why := pl.config()
	cfg = cfg.Copy()
	cfg.RequireAuth = p.upstream.RequireAuth
	switch {
	case p.knowsPassword(password):
		if why == provenByOwnPassword {
			break
		}
		cfg.Password = ""
		if own := cfg.User == p.upstream.User; own {
			cfg.Password = p.upstream.Password
			pl.settleLogin(cfg, provenByOwnPassword) // whether that is right shows when a server connection is opened
		} else if err := pl.tryLogin(ctx, cfg, provenByOwnPassword); err != nil {
			return err
		}
	case why == provenByServer && subtle.ConstantTimeCompare([]byte(cfg.Password), []byte(password)) == 1:
	default:
		cfg.Password = password
		if cfg.RequireAuth == "" || strings.Contains(cfg.RequireAuth, "none") {
			cfg.RequireAuth = "!none"
		}
		if err := pl.tryLogin(ctx, cfg, provenByServer); err != nil {
			return err
		}
	}
	pl.admittedAny.Store(true)
	return nil
}

// try asks the server, by a connection of its own, whether it lets us in.
func (pl *pool) tryLogin(ctx context.Context, cfg *pgconn.Config, why loginProof) error {
	ctx, cancel := context.WithTimeout(ctx, pl.pooler.cfg.WaitTimeout)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		if why == provenByServer && strings.Contains(err.Error(), "require_auth check failed") { // pgconn has no type for it
			return errTrusted
		}
		return err
	}
	pl.settleLogin(cfg, why)
	return c.Close(ctx)
}

func (pl *pool) settleLogin(cfg *pgconn.Config, why loginProof) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.upstream, pl.proof = cfg, why
}

// config is how to connect to the server, and why that is allowed.
func (pl *pool) config() (*pgconn.Config, loginProof) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	return pl.upstream, pl.proof
}

// acquire gives a session a server connection and attaches it.
func (pl *pool) acquire(ctx context.Context, s *session) (*backend, error) {
	ctx, cancel := context.WithTimeout(ctx, pl.pooler.cfg.WaitTimeout)
	defer cancel()
	for {
		b, open := pl.takeIdle(s)
		if b != nil {
			pl.wakeOne() // there may be more
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
func (pl *pool) takeIdle(s *session) (b *backend, open bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pick := -1
	if n := len(pl.idle); pl.pooler.profile.Plain && n > 0 && pl.idle[n-1].cancels.Load() == 0 {
		b = pl.idle[n-1]
		pl.idle = pl.idle[:n-1]
		pl.handOutLocked(b, s)
		return b, false
	}
	for i, b := range pl.idle {
		if b == s.lastBackend || b.cancels.Load() > 0 {
			continue
		}
		if pick < 0 || b.lastSession != s && pl.idle[pick].lastSession == s {
			pick = i
		}
		if b.lastSession != s {
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
	pl.handOutLocked(b, s)
	return b, false
}

// hand attaches, unless the session is only being introduced; the pool is locked.
func (pl *pool) handOutLocked(b *backend, s *session) {
	pl.given++
	b.lastSession, b.lastAt, s.lastBackend = s, pl.given, b
	if !s.introducing {
		b.session.Store(s)
	}
}

func (pl *pool) open(ctx context.Context, s *session) (*backend, error) {
	b, err := pl.dial(ctx)
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if err != nil {
		pl.opened--
		pl.wakeOne()
		return nil, err
	}
	pl.all[b] = true
	pl.handOutLocked(b, s)
	go b.serve()
	return b, nil
}

// adopt takes in a connection to the server that a client has for itself.
func (pl *pool) adopt(s *session, conn net.Conn) *backend {
	b := pl.newBackend(conn)
	b.startingUp = true
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.opened++
	pl.all[b] = true
	pl.handOutLocked(b, s)
	return b
}

// giveBack makes a connection free for others. It has no session any more.
func (pl *pool) giveBack(b *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.all[b] {
		pl.idle = append(pl.idle, b)
	}
	pl.wakeOne()
}

// forget drops a connection that has ended.
func (pl *pool) remove(b *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.all[b] {
		delete(pl.all, b)
		pl.opened--
	}
	pl.idle = slices.DeleteFunc(pl.idle, func(x *backend) bool { return x == b })
	pl.wakeOne()
}

// tell wakes one who waits.
func (pl *pool) wakeOne() {
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
		if len(pl.learnedSettings) < 200 && isASCII(n) {
			pl.learnedSettings = appendNew(pl.learnedSettings, n)
		}
	}
}

// names are all custom settings that are known.
func (pl *pool) settingNames() []string {
	pl.mu.Lock()
	names := slices.Clone(pl.learnedSettings)
	pl.mu.Unlock()
	if s := pl.schema.Load(); s != nil {
		for _, n := range s.settingNames {
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

// poolKey tells pools apart.
func poolKey(user, database string, params map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q", user, database)
	for _, k := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, " %q=%q", k, params[k])
	}
	return b.String()
}

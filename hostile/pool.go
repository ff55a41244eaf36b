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

	"github.com/poolproof/poolproof/internal/residue"
)

// pool holds the server connections for one user, database and set of startup
// parameters. It hands a client a connection other than the one it had last,
// and prefers one that another client has had since.
type pool struct {
	pooler      *Pooler
	key         string                 // poolKey's; the pooler's map has it
	schema      atomic.Pointer[schema] // nil: nobody has read the database's functions
	admittedAny atomic.Bool            // some client was let in

	users       int       // clients, and strangers who log in; Pooler.mu guards it
	unusedSince time.Time // when the last of them left; Pooler.mu guards it

	mu              sync.Mutex
	upstream        *pgconn.Config // replaced, never changed
	proof           loginProof     // why the password in upstream may be used
	idle            []*backend     // the one that was given back longest ago is first
	all             map[*backend]bool
	opened          int             // all, and those that are being opened
	free            chan struct{}   // gets a token when a connection is given back or has ended
	learnedSettings []string        // custom settings that clients' statements name
	maybeSettings   []string        // what could be one, in the strings and parameters of transactions that may set any
	constants       map[string]bool // custom settings that a new connection has
	schemaCheckedAt time.Time       // when we last asked whether functions and policies have changed
	newcomers       map[string]newcomer
}

// newcomer is what a new connection of an observed client held.
type newcomer struct {
	held  residue.State
	asked []string // the custom settings that it was asked for
	at    time.Time
}

// maxNewcomers bounds the sets of startup parameters for which that is kept.
const maxNewcomers = 32

// newcomer returns what a connection with these startup parameters held when it
// was new, if one was asked within a second.
func (pl *pool) newcomer(startup string) (newcomer, bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	n, known := pl.newcomers[startup]
	return n, known && time.Since(n.at) < time.Second
}

// rememberNewcomer keeps what a new connection holds.
func (pl *pool) rememberNewcomer(startup string, b *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.newcomers == nil || len(pl.newcomers) >= maxNewcomers {
		pl.newcomers = map[string]newcomer{}
	}
	pl.newcomers[startup] = newcomer{b.baseline, b.asked, time.Now()}
}

// newPool returns a pool without connections. cfg's password is not proven yet.
func newPool(p *Pooler, key string, cfg *pgconn.Config) *pool {
	return &pool{pooler: p, key: key, upstream: cfg, all: map[*backend]bool{}, free: make(chan struct{}, 1)}
}

// loginProof says why the password that a pool connects with may be used.
type loginProof int

const (
	unproven            loginProof = iota
	provenByOwnPassword            // a client knew the pooler's password, and the server let us in
	provenByServer                 // the server asked for it and accepted it
)

// errNoServerConnection is what a client is told after WaitTimeout.
var errNoServerConnection = errors.New("no server connection became free in time")

// errTrusted says that the server asks this machine for no password, so that a
// client's password proves nothing.
var errTrusted = errors.New("the server lets this machine in without asking for a password")

// admit decides whether a client with this password may use the pool. A client
// that knows the pooler's own password may connect with the password of the
// upstream's URL. Any other password counts only if the server asks for one and
// accepts it; the password that the server accepted last is not tried again.
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
			pl.settleLogin(cfg, provenByOwnPassword) // opening a server connection shows whether it is right
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

// tryLogin connects to the server to see whether it accepts cfg, and keeps cfg
// if it does.
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

// settleLogin keeps how to connect to the server from now on.
func (pl *pool) settleLogin(cfg *pgconn.Config, why loginProof) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.upstream, pl.proof = cfg, why
}

// config returns how to connect to the server, and why that is allowed.
func (pl *pool) config() (*pgconn.Config, loginProof) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	return pl.upstream, pl.proof
}

// acquire attaches a server connection to a session, and waits for one if none
// is free.
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

// takeIdle hands an idle connection to the session. If there is none that it
// should get, open reports whether a new one may be opened.
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
		// Only the connection that it had last is left. Any pooler would hand it out.
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

// handOutLocked attaches b to s, unless the session is only being introduced.
func (pl *pool) handOutLocked(b *backend, s *session) {
	b.lastSession, s.lastBackend = s, b
	if !s.introducing {
		b.session.Store(s)
	}
}

// open opens a server connection and attaches it to the session.
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

// adopt takes in a server connection that was opened for one observed client.
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

// giveBack makes a connection free for others. No session has it any more.
func (pl *pool) giveBack(b *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.all[b] {
		pl.idle = append(pl.idle, b)
	}
	pl.wakeOne()
}

// remove takes a connection that has ended out of the pool.
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

// wakeOne wakes one client that waits for a connection.
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

// learn adds names of custom settings, whose values are asked for from now on.
func (pl *pool) learn(names []string) {
	if len(names) == 0 {
		return
	}
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for _, n := range names {
		if len(pl.learnedSettings) < 200 && len(n) <= maxSettingName && isASCII(n) {
			pl.learnedSettings = appendNew(pl.learnedSettings, n)
		}
	}
}

// learnMaybe adds what could be names of custom settings.
func (pl *pool) learnMaybe(names []string) {
	if len(names) == 0 {
		return
	}
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for _, n := range names {
		if len(pl.maybeSettings) < maxMaybeAll && isASCII(n) {
			pl.maybeSettings = appendNew(pl.maybeSettings, n)
		}
	}
}

// learnConstants records custom settings that a new connection has.
func (pl *pool) learnConstants(names []string) {
	if len(names) == 0 {
		return
	}
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.constants == nil {
		pl.constants = map[string]bool{}
	}
	for _, n := range names {
		pl.constants[n] = true // one of settingNames, which are bounded
	}
}

// isConstant reports whether a new connection has a custom setting.
func (pl *pool) isConstant(name string) bool {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	return pl.constants[name]
}

// settingNames lists all custom settings that clients or functions are known to
// use.
func (pl *pool) settingNames() []string {
	pl.mu.Lock()
	names := slices.Clone(pl.learnedSettings)
	for _, n := range pl.maybeSettings {
		names = appendNew(names, n)
	}
	pl.mu.Unlock()
	if s := pl.schema.Load(); s != nil {
		for _, n := range slices.Concat(s.settingNames, s.maybeSettings) {
			if isASCII(n) {
				names = appendNew(names, n)
			}
		}
	}
	return names
}

// isASCII reports whether a name is the same in every encoding that a client
// may speak.
func isASCII(name string) bool {
	return strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// poolKey returns a key that differs for different users, databases and startup
// parameters.
func poolKey(user, database string, params map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q", user, database)
	for _, k := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, " %q=%q", k, params[k])
	}
	return b.String()
}

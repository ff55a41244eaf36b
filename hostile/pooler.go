package hostile

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Config is what a [Pooler] needs. Only Upstream is required.
type Config struct {
	// Upstream is the URL of the PostgreSQL server, not of a pooler.
	Upstream string
	// Password lets clients in whom the server would let in unasked because we are the ones who connect: as the user of
	// Upstream with what that URL holds, as others where the server trusts this machine. Everybody else needs a password
	// that the server itself asks for. With "" only those get in.
	Password string
	// Profile is the pooler that is played. Default: strict.
	Profile string
	// Observe keeps a server connection for each client, so that nothing breaks, and reports the same hazards. Startup and
	// authentication are the server's own.
	Observe bool
	// MaxServerConns bounds the connections to PostgreSQL for one user, database and set of startup parameters. Default 24.
	MaxServerConns int
	// WaitTimeout is how long a client waits for one of them. Default 20 s.
	WaitTimeout time.Duration
	// IdleBound is how long a transaction may wait for its client before it is reported. Default 5 s.
	IdleBound time.Duration
	// TLS, if not nil, is offered to clients.
	TLS *tls.Config
	// Found, if not nil, is called for each occurrence, first of its kind or not. It must not block.
	Found func(f Finding, first bool)
	// Logger gets what goes wrong in the pooler itself. Default slog.Default().
	Logger *slog.Logger
}

// Pooler is a transaction pooler that is as hostile as the protocol allows, and
// says what a client does that only works by luck.
type Pooler struct {
	cfg      Config
	profile  Profile
	upstream *pgconn.Config
	started  time.Time
	ledger   *ledger
	texts    *textCache

	backends     atomic.Int64
	clients      atomic.Int64
	refused      atomic.Int64 // connections that ended before they were let in
	strangers    *strangers
	transactions atomic.Int64

	mu              sync.Mutex
	pools           map[string]*pool
	sessions        map[uint32]*session
	statementOwners map[string]uint32 // statement names, and which client had them first
	agreedSettings  map[string]string // settings that drivers make, and the value that all agree on
	leaks           map[string][]leak // custom settings that were left behind, by the last two clients who did
	leftTempTables  []string          // temporary tables that were
	closing         bool
	wg              sync.WaitGroup
}

// leak is a setting's value that a client left.
type leak struct {
	client uint32
	value  string
}

// New makes a pooler. It does not connect.
func New(cfg Config) (*Pooler, error) {
	profile, err := ProfileNamed(cfg.Profile)
	if err != nil {
		return nil, fmt.Errorf("hostile: %w", err)
	}
	upstream, err := pgconn.ParseConfig(cfg.Upstream)
	if err != nil {
		return nil, fmt.Errorf("hostile: read the upstream's URL: %w", err)
	}
	if cfg.MaxServerConns <= 0 {
		cfg.MaxServerConns = 24
	}
	if cfg.Observe { // as many as there are clients: the server's own limit counts
		cfg.MaxServerConns = 1 << 20
	}
	if cfg.WaitTimeout <= 0 {
		cfg.WaitTimeout = 20 * time.Second
	}
	if cfg.IdleBound <= 0 {
		cfg.IdleBound = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	p := &Pooler{
		cfg: cfg, profile: profile, upstream: upstream, started: time.Now(), ledger: newLedger(), texts: newTexts(),
		strangers: newStrangers(),
		pools:     map[string]*pool{}, sessions: map[uint32]*session{}, statementOwners: map[string]uint32{}, agreedSettings: map[string]string{}, leaks: map[string][]leak{},
	}
	p.ledger.onFinding = cfg.Found
	return p, nil
}

// URL is what clients of a pooler that listens at addr use: the upstream's URL
// with that address, and with the pooler's password where it has one. Clients
// that are observed are asked by the server first: they need that one's.
func (p *Pooler) URL(addr string) (string, error) {
	raw, err := URLAt(p.cfg.Upstream, addr)
	if err != nil || p.cfg.Password == "" {
		return raw, err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", err
	}
	u.User = url.UserPassword(p.upstream.User, p.cfg.Password)
	return u.String(), nil
}

// URLAt is a server's URL with another address, unencrypted: the pooler's.
func URLAt(upstream, addr string) (string, error) {
	u, err := url.Parse(upstream)
	if err != nil {
		return "", err
	}
	u.Host = addr
	u.RawQuery = strings.ReplaceAll(u.RawQuery, "+", "%2B") // to libpq and pgx a plus sign is one
	q := u.Query()
	for _, name := range []string{"host", "port", "hostaddr", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslnegotiation", "channel_binding", "require_auth", "gssencmode", "target_session_attrs"} {
		q.Del(name)
	}
	q.Set("sslmode", "disable")
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String(), nil
}

// Serve takes clients from l until ctx ends, then ends all connections.
func (p *Pooler) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	go p.watchIdle(ctx)
	var fault error
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				fault = fmt.Errorf("hostile: accept: %w", err)
			}
			break
		}
		st, err := p.strangers.enter(ctx, conn)
		if err != nil {
			break // it is over
		}
		p.wg.Go(func() { p.welcome(ctx, st) })
	}
	cancel()
	p.closeAll()
	p.wg.Wait()
	return fault
}

func (p *Pooler) closeAll() {
	p.mu.Lock()
	p.closing = true
	var sessions []*session
	for _, s := range p.sessions {
		sessions = append(sessions, s)
	}
	var pools []*pool
	for _, pl := range p.pools {
		pools = append(pools, pl)
	}
	p.mu.Unlock()
	for _, s := range sessions {
		s.hangUp()
	}
	for _, pl := range pools {
		pl.closeAll()
	}
}

// Report says what was found so far.
func (p *Pooler) Report() Report {
	r := Report{
		Profile: p.profile.Name, Clients: int(p.clients.Load()), Refused: int(p.refused.Load()), Transactions: int(p.transactions.Load()), Statements: p.texts.count(),
	}
	if p.cfg.Observe {
		r.Profile += ", observing"
	}
	r.Findings, r.Notes, r.LeftOut = p.ledger.list()
	return r
}

func (p *Pooler) report(f fault) {
	if !p.profile.Plain {
		p.ledger.add(f)
	}
}

// maxPools bounds the pools that are kept while nobody uses them.
const maxPools = 128

// poolFor finds or makes the pool for a client, which must be released.
func (p *Pooler) poolFor(user, database string, params map[string]string) *pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := poolKey(user, database, params)
	pl := p.pools[key]
	if pl == nil {
		p.dropIdlePoolLocked()
		cfg := p.upstream.Copy()
		cfg.User, cfg.Database, cfg.RuntimeParams = user, database, params
		pl = newPool(p, key, cfg)
		p.pools[key] = pl
	}
	pl.users++
	return pl
}

// release ends a client's use of a pool. One that nobody was let into is forgotten.
func (p *Pooler) release(pl *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl.users--
	pl.unusedSince = time.Now()
	if pl.users == 0 && !pl.admittedAny.Load() {
		delete(p.pools, pl.key)
	}
}

// dropIdlePool makes room for another pool: of those that nobody uses, the one
// that was left longest ago goes. The pooler is locked.
func (p *Pooler) dropIdlePoolLocked() {
	if len(p.pools) < maxPools {
		return
	}
	var oldest *pool
	for _, pl := range p.pools {
		if pl.users == 0 && (oldest == nil || pl.unusedSince.Before(oldest.unusedSince)) {
			oldest = pl
		}
	}
	if oldest != nil {
		delete(p.pools, oldest.key)
		oldest.closeAll()
	}
}

// register gives a session that was let in its number, and its key for cancel
// requests. The session is locked.
func (p *Pooler) registerLocked(s *session) {
	var key [4]byte
	rand.Read(key[:])
	s.secret = binary.BigEndian.Uint32(key[:])
	s.id = uint32(p.clients.Add(1))
	s.client.ID = s.id
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[s.id] = s
	if p.closing {
		s.hangUp()
	}
}

func (p *Pooler) unregister(s *session) {
	p.mu.Lock()
	delete(p.sessions, s.id)
	p.mu.Unlock()
	p.release(s.pool)
}

// claim notes who uses a statement name, and tells whether another client of
// this run did before.
func (p *Pooler) claimStatement(name string, s *session) (taken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name = name[:min(len(name), 63)] // more of a name PostgreSQL does not keep either (NAMEDATALEN)
	owner, known := p.statementOwners[name]
	if !known && len(p.statementOwners) < 100_000 {
		p.statementOwners[name] = s.id
	}
	return known && owner != s.id
}

// watchIdle reports transactions that wait for their client.
func (p *Pooler) watchIdle(ctx context.Context) {
	tick := time.NewTicker(p.cfg.IdleBound / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		sessions := make([]*session, 0, len(p.sessions))
		for _, s := range p.sessions {
			sessions = append(sessions, s)
		}
		p.mu.Unlock()
		for _, s := range sessions {
			s.mu.Lock()
			if x := s.tx; x != nil && !s.idleSince.IsZero() && !x.idleReported && time.Since(s.idleSince) > p.cfg.IdleBound {
				x.idleReported = true
				var last *queryText
				if len(x.texts) > 0 {
					last = x.texts[len(x.texts)-1]
				}
				s.reportLocked(IdleInTransaction, "", last, nil)
			}
			s.mu.Unlock()
		}
	}
}

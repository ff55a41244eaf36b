package hostile

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
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

// Config configures a [Pooler]. Only Upstream is required.
type Config struct {
	// Upstream is the URL of the PostgreSQL server, not of a pooler.
	Upstream string
	// Password is the pooler's own password. A client that sends it connects as the user of Upstream with the password of
	// that URL, or as another user if the server trusts this machine. Any other client must send a password that the
	// server asks for and accepts. Default "": only such clients get in. With Observe only clients that the server asks for
	// nothing need it.
	Password string
	// Profile names the pooler to play; see Profiles. Default "strict".
	Profile string
	// Observe breaks nothing: each client keeps a server connection of its own, and the server itself authenticates it.
	// The same faults are reported. Default false.
	Observe bool
	// MaxServerConns limits the connections to PostgreSQL for one user, database and set of startup parameters.
	// Default 24; with Observe there is no limit.
	MaxServerConns int
	// WaitTimeout is how long a client waits for a server connection before it gets an error. Default 20 s.
	WaitTimeout time.Duration
	// IdleBound is how long an open transaction may wait for its client before it is reported. Default 5 s.
	IdleBound time.Duration
	// LetIn, if not nil, is called for each client that is let in, before it is told so: with the addresses of the two ends.
	LetIn func(local, remote net.Addr)
	// Faults, if not nil, says which bad days the pooler plays. Not with Observe. Default nil: none.
	Faults *Faults
	// TLS, if not nil, is offered to clients. Default nil: no encryption.
	TLS *tls.Config
	// Found, if not nil, is called for each occurrence of a fault; first reports whether it is a new finding. It must not
	// block or call the Pooler. Occurrences beyond MaxFindings are not passed to it.
	Found func(f Finding, first bool)
	// Logger receives what goes wrong in the pooler itself. Default slog.Default().
	Logger *slog.Logger
}

// Pooler is a transaction pooler that is as hostile as the protocol allows. It
// reports what its clients do that works only by luck. Create one with [New].
// Its methods are safe for concurrent use.
type Pooler struct {
	cfg      Config
	profile  Profile
	upstream *pgconn.Config
	started  time.Time
	ledger   *ledger
	texts    *textCache

	// Counts of this run.
	backends     atomic.Int64 // server connections
	clients      atomic.Int64 // connections that were let in
	refused      atomic.Int64 // connections that ended before they were let in
	transactions atomic.Int64

	// What waitForIdle may cost.
	idleTransactions atomic.Int64 // transactions that wait for their client now
	trials           atomic.Int64 // how often it may still wait
	longTrials       atomic.Int64 // how often it may still wait in vain

	strangers *strangers
	badDay    *badDay // nil: no faults are played

	mu              sync.Mutex
	pools           map[string]*pool
	sessions        map[uint32]*session
	statementOwners map[string]uint32       // names of statements that were left behind, and the client that left each first
	statementsLeft  atomic.Bool             // statementOwners is not empty
	askedPIDs       map[uint32]*atomic.Bool // server processes whose number a client has asked for, and whether the transaction that did last is over
	agreedSettings  map[string]string       // settings that drivers make when they connect, and the value that all clients agree on
	heldBack        map[Client]int          // by program: how many of its clients were looked at, see holdsBack
	unsetReads      map[string]Occurrence   // by custom setting: who first read it without setting it, as long as nobody has left it
	leaks           map[string][]leak       // custom settings that were left behind, by the last two clients that did
	intervalSet     fault                   // ActiveRecord set IntervalStyle, if watchIntervals
	watchIntervals  atomic.Bool             // somebody may read an interval that this changes
	intervalRead    bool                    // somebody has
	computedSet     *Occurrence             // who first set a setting for the session whose name is computed, if nobody knows which
	computedRead    bool                    // a transaction read one whose name is computed, and set none
	leftTempTables  []string                // names of temporary tables that were left behind
	closing         bool
	wg              sync.WaitGroup
}

// leak is a setting's value that a client left on a server connection.
type leak struct {
	client uint32
	value  string
}

// New returns a pooler, without connecting to the server. The error says what
// is wrong with Profile or Upstream.
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
		pools:     map[string]*pool{}, sessions: map[uint32]*session{}, statementOwners: map[string]uint32{}, askedPIDs: map[uint32]*atomic.Bool{}, agreedSettings: map[string]string{}, leaks: map[string][]leak{}, unsetReads: map[string]Occurrence{}, heldBack: map[Client]int{},
	}
	p.ledger.onFinding = cfg.Found
	if p.badDay, err = newBadDay(cfg.Faults); err != nil {
		return nil, fmt.Errorf("hostile: %w", err)
	}
	if p.badDay != nil && cfg.Observe {
		return nil, errors.New("hostile: a pooler that only observes plays no faults")
	}
	p.trials.Store(maxTrials)
	p.longTrials.Store(maxLongTrials)
	return p, nil
}

// URL returns the URL for clients of a pooler that listens at addr, a host and
// a port: the upstream's URL with that address, unencrypted, and with the
// pooler's own password if it has one. With Observe and a server that asks for
// passwords, the pooler's password should be the server's: the server sees it
// first. The error says that the upstream's URL is malformed, and may contain
// it.
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

// URLAt returns a server's URL with the host and port of addr instead of its
// own, without encryption. The error may contain the URL.
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

// Serve accepts clients from l until ctx ends, then ends all connections,
// closes l and returns nil. It returns an error if l fails before that.
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

// closeAll ends all clients and server connections, and those that are still to
// come.
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

// Report returns what was found so far. It may be called while clients are
// served.
func (p *Pooler) Report() Report {
	r := Report{
		Profile: p.profile.Name, Clients: int(p.clients.Load()), Refused: int(p.refused.Load()), Transactions: int(p.transactions.Load()), Statements: p.texts.count(),
	}
	if p.cfg.Observe {
		r.Profile += ", observing"
	}
	r.Findings, r.Notes, r.LeftOut = p.ledger.list()
	r.BadDay = p.summary()
	return r
}

// report adds an occurrence of a fault to the ledger, unless the profile is
// plain.
func (p *Pooler) report(f fault) {
	if !p.profile.Plain {
		p.ledger.add(f)
	}
}

// maxPools bounds the pools, as far as they are unused.
const maxPools = 128

// poolFor returns the pool for a client, and makes it if there is none. The
// caller must release it.
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

// release ends a client's use of a pool. A pool that never admitted a client is
// forgotten.
func (p *Pooler) release(pl *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl.users--
	pl.unusedSince = time.Now()
	if pl.users == 0 && !pl.admittedAny.Load() {
		delete(p.pools, pl.key)
	}
}

// dropIdlePoolLocked makes room for another pool: the one that has been unused
// longest goes.
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

// registerLocked gives a session that was let in its number and the key for its
// cancel requests. The caller holds s.mu.
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

// unregister forgets a session that has ended.
func (p *Pooler) unregister(s *session) {
	p.mu.Lock()
	delete(p.sessions, s.id)
	p.mu.Unlock()
	p.release(s.pool)
}

// watchIdle reports what waits too long for its client.
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
			if !s.mu.TryLock() { // it is busy, or its client does not read the end of an answer: it is asked again soon
				continue
			}
			s.judgeIdleLocked(p.cfg.IdleBound)
			s.judgeHeldLocked(p.cfg.IdleBound)
			s.judgeUnreadLocked(p.cfg.IdleBound)
			s.mu.Unlock()
		}
		p.watchStill()
	}
}

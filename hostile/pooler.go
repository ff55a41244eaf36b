package hostile

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
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

// cancel passes a cancel request on to whatever server connection the client
// has at the moment; one that has none has nothing to cancel.
func (p *Pooler) forwardCancel(ctx context.Context, id, secret uint32) {
	p.mu.Lock()
	s := p.sessions[id]
	p.mu.Unlock()
	if s == nil || subtle.ConstantTimeEq(int32(s.secret), int32(secret)) != 1 {
		return
	}
	s.mu.Lock()
	b := s.backend
	if b != nil {
		b.cancels.Add(1)
	}
	s.mu.Unlock()
	if b == nil {
		return
	}
	defer func() {
		b.cancels.Add(-1)
		b.pool.wakeOne()
	}()
	if err := b.cancel(ctx); err != nil {
		p.cfg.Logger.Warn("a cancel request could not be passed on", "cause", err)
	}
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

// inspect judges a transaction that is over: by what was said in it, and, where
// that leaves a doubt, by what the server connection now holds. It runs on the
// backend's goroutine, while nobody has the backend.
func (p *Pooler) inspect(b *backend, t *transaction) error {
	p.transactions.Add(1)
	if t == nil || p.profile.Plain {
		return nil
	}
	for _, name := range t.settingsRead {
		if !t.setsUnknown && !slices.Contains(t.settingsSet, name) {
			p.report(fault{SettingNotSet, name, t.occurrence(t.blame(SettingNotSet, name))})
		}
	}
	b.pool.learn(t.settingsSet)
	b.pool.learn(t.settingsRead)
	if t.ddl || b.pool.schemaCheckDue() {
		if err := p.tolerateUnanswered(b, b.readSchema()); err != nil {
			return err
		}
	}
	sc := b.pool.schema.Load()
	if !t.mayLeaveState && sc != nil {
		if !sc.functionsMayLeaveState {
			return nil
		}
		if b.baselineGlance != "" && t.leftNothingBefore(sc) {
			if glance, err := b.glance(); err != nil || glance == b.baselineGlance {
				return err
			}
		}
	}
	now, err := b.residue()
	if err != nil {
		return err
	}
	remains := now.since(b.baseline)
	b.baseline, b.baselineGlance = now, ""
	for _, l := range remains {
		p.reportLeftover(l, t)
	}
	if len(remains) == 0 && sc != nil && sc.functionsMayLeaveState {
		t.noteLeftNothing(sc)
		b.baselineGlance, err = b.glance()
	}
	if len(remains) == 0 || p.cfg.Observe {
		return err
	}
	if err := b.reset(); err != nil {
		return err
	}
	return p.plantTempTables(b)
}

// judge reports one thing that was left.
func (p *Pooler) reportLeftover(l leftover, t *transaction) {
	o := t.occurrence(t.blame(l.code, l.subject))
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.code == TempTable && len(p.leftTempTables) < 20 { // a name has at most 63 bytes
		p.leftTempTables = appendNew(p.leftTempTables, l.subject)
	}
	switch l.code {
	case HoldCursor, TempTable, SQLPrepared:
		l.subject = objectPattern(l.subject)
	}
	if l.code != SessionSetting {
		p.report(fault{l.code, l.subject, o})
		return
	}
	if strings.Contains(l.subject, ".") {
		p.rememberLeakLocked(l.subject, leak{t.client.ID, l.value})
	} else if benignSettings[strings.ToLower(l.subject)] {
		l.value = l.value[:min(len(l.value), maxLeak)]
		agreed, known := p.agreedSettings[l.subject]
		if !known {
			p.agreedSettings[l.subject] = l.value
		}
		if !known || agreed == l.value {
			p.ledger.note("SET "+l.subject, "drivers and frameworks set it when they connect, always to the same value; ALTER ROLE … SET "+l.subject+" does it for every server connection")
			return
		}
	}
	p.report(fault{l.code, l.subject, o})
}

// benignSettings are what drivers and frameworks set on every connection; as
// long as all clients agree on a value, it does not matter who set it.
var benignSettings = map[string]bool{
	"application_name": true, "bytea_output": true, "client_encoding": true, "client_min_messages": true, "datestyle": true,
	"extra_float_digits": true, "intervalstyle": true, "lc_messages": true, "standard_conforming_strings": true, "timezone": true,
}

// What is remembered of settings that were left behind: as many, none with a longer value.
const (
	maxLeaks = 200
	maxLeak  = 1000
)

// leaked remembers who left a custom setting; the pooler is locked.
func (p *Pooler) rememberLeakLocked(name string, l leak) {
	if _, known := p.leaks[name]; !known && len(p.leaks) >= maxLeaks || len(l.value) > maxLeak {
		return
	}
	others := slices.DeleteFunc(p.leaks[name], func(o leak) bool { return o.client == l.client })
	if len(others) > 1 {
		others = others[1:]
	}
	p.leaks[name] = append(others, l)
}

// foreign gives the custom settings that clients left, each with the value that
// another client than this left last; "" if nobody did, as on a server connection
// that nobody had.
func (p *Pooler) foreignSettings(client uint32) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.leaks) == 0 {
		return nil
	}
	all := map[string]string{}
	for name, leaks := range p.leaks {
		all[name] = ""
		for _, l := range leaks {
			if l.client != client {
				all[name] = l.value
			}
		}
	}
	return all
}

// taint leaves tables on a clean server connection, of the names of those that
// clients left on others.
func (p *Pooler) plantTempTables(b *backend) error {
	var sql strings.Builder
	p.mu.Lock()
	for _, name := range p.leftTempTables {
		sql.WriteString("create temporary table if not exists " + pgx.Identifier{name}.Sanitize() + " (of_another_client text);")
	}
	p.mu.Unlock()
	if sql.Len() == 0 {
		return nil
	}
	if _, err := b.runSimple(sql.String()); err != nil {
		return fmt.Errorf("taint a server connection: %w", err)
	}
	return b.snapshot()
}

// blame finds the statement that most likely did it.
func (t *transaction) blame(code Code, subject string) *queryText {
	kinds := map[Code][]string{
		SessionSetting: {"set"}, SessionRole: {"set"}, TempTable: {"create", "select"}, HoldCursor: {"declare"}, Listening: {"listen"}, SQLPrepared: {"prepare"},
	}[code]
	for _, x := range t.texts {
		if slices.Contains(x.settingsSet, subject) && code == SessionSetting || slices.Contains(x.settingsRead, subject) && code == SettingNotSet {
			return x
		}
	}
	for _, x := range t.texts {
		for _, st := range x.statements {
			if slices.Contains(kinds, st.kind) && !st.local() {
				return x
			}
		}
	}
	for _, x := range t.texts {
		if x.mayLeaveState {
			return x
		}
	}
	for _, x := range slices.Backward(t.texts) {
		if len(x.statements) > 0 && x.statements[0].kind != "commit" && x.statements[0].kind != "begin" {
			return x
		}
	}
	return nil
}

func (t *transaction) occurrence(x *queryText) Occurrence {
	o := Occurrence{Client: t.client, Trace: t.history()}
	if x != nil {
		o.SQL, o.Tags = shorten(x.sql), x.tags
	}
	return o
}

var errRefused = errors.New("refused")

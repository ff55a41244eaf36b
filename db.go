package poolproof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof/internal/wire"
	"github.com/poolproof/poolproof/pooler"
)

// DB is a pool of connections that is used through sessions only: a statement runs
// as a tenant or, explicitly, as none. It is safe for concurrent use.
type DB struct {
	pool    *pgxpool.Pool
	config  Config
	report  pooler.Report
	scope   *scope
	log     *slog.Logger
	metrics *metrics
	tracer  *otelpgx.Tracer // nil: no spans
	descs   *wire.Descriptions
	brake   *brake
	inScope *checked      // refuseInScope
	inTx    *checked      // refuseInTx
	mode    atomic.Int32  // a wire.Mode; only ever falls back to wire.Exec
	oneSync atomic.Bool   // the scope rides in the statement's own pipeline; else in an explicit transaction
	domain  atomic.Uint32 // the type that carries scopes, 0: a statement does; only ever falls back to 0

	discards sync.WaitGroup // connections being given up

	closing  context.Context // done when Close was called
	refuse   context.CancelFunc
	mu       sync.Mutex
	inUse    map[*wire.Conn]time.Time // connections that are out, and since when
	wanted   atomic.Int32             // connections that are out or asked for
	maxConns int32                    // the pool's limit
}

// Open connects, probes what stands before PostgreSQL, chooses the mode and how
// the scope travels, and logs its choice in one line. The probe takes at most
// three connections at a time and one second beside connecting; it is repeated
// once if that was too short.
//
// Errors: of kind ErrConfig if the configuration cannot work, or asks for what the
// database does not have; of kind ErrUnavailable if the database cannot be
// reached: call Open again later.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	poolConfig, err := poolConfig(cfg)
	if err != nil {
		return nil, err
	}
	report, err := probe(ctx, poolConfig.ConnConfig)
	if err != nil {
		return nil, unavailableOr(ctx, "open", err)
	}
	mode, why, err := chooseMode(cfg.Mode, report)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	db := &DB{
		config: cfg, report: report, scope: newScope(cfg), log: cfg.Logger, metrics: metrics,
		descs: wire.NewDescriptions(cfg.StatementCacheCapacity), brake: &brake{now: time.Now}, inScope: newChecked(refuseInScope), inTx: newChecked(refuseInTx), inUse: map[*wire.Conn]time.Time{},
	}
	db.closing, db.refuse = context.WithCancel(context.WithoutCancel(ctx))
	db.brake.closing = db.closing.Done()
	if cfg.TracerProvider != nil {
		db.tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(cfg.TracerProvider))
		poolConfig.ConnConfig.Tracer = multitracer.New(db.tracer, db.brake)
	} else {
		poolConfig.ConnConfig.Tracer = db.brake
	}
	db.mode.Store(int32(mode))
	db.oneSync.Store(report.ImplicitScope)
	poolConfig.BeforeConnect = db.brake.beforeConnect
	db.maxConns = poolConfig.MaxConns
	db.pool, err = pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, unavailableOr(ctx, "open", err)
	}
	err = db.tryHook(ctx)
	var scopeWhy string
	if err == nil {
		scopeWhy, err = db.chooseScope(ctx)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	db.log.LogAttrs(ctx, slog.LevelInfo, "poolproof: connected",
		slog.String("found", report.String()), slog.String("found_why", report.Why.Mode.String()),
		slog.String("mode", string(db.Mode())), slog.String("why", why),
		slog.String("scope", string(db.Scope())), slog.String("scope_why", scopeWhy),
		slog.Duration("probed_in", report.Elapsed.Round(time.Millisecond)))
	for _, note := range report.Notes {
		db.log.LogAttrs(ctx, slog.LevelWarn, "poolproof: the probe could not measure everything; the safe form is used where it matters", slog.String("note", note))
	}
	return db, nil
}

// poolConfig reads the URL and takes out what would send statements other than
// this package does.
func poolConfig(cfg Config) (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, &Error{Kind: ErrConfig, Op: "read the URL", Err: err, Hint: "write it as postgres://user:password@host:port/database"}
	}
	if err := checkParameters(pc.ConnConfig.RuntimeParams); err != nil {
		return nil, err
	}
	switch pc.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeDescribeExec, pgx.QueryExecModeSimpleProtocol:
		return nil, &Error{Kind: ErrConfig, Op: "read the URL", Hint: "take default_query_exec_mode out of the URL",
			Err: fmt.Errorf("mode %q is not safe here", pc.ConnConfig.DefaultQueryExecMode)}
	}
	// What pgx itself still sends (its pool's ping) needs no named statement.
	pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	pc.ConnConfig.StatementCacheCapacity = 0
	pc.ConnConfig.DescriptionCacheCapacity = 0
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if cfg.DialFunc != nil {
		pc.ConnConfig.DialFunc = dialApart(cfg.DialFunc)
	}
	if cfg.AfterConnect != nil {
		pc.AfterConnect = bounded(cfg.AfterConnect, pc.ConnConfig.ConnectTimeout)
	}
	if cfg.MaxConns > 0 {
		pc.MaxConns = cfg.MaxConns
		pc.MinConns = min(pc.MinConns, pc.MaxConns)
	}
	return pc, nil
}

// probe asks what is there, and once more where the time was over before all
// was told, as with a busy pooler.
func probe(ctx context.Context, config *pgx.ConnConfig) (pooler.Report, error) {
	report, err := pooler.Probe(ctx, config)
	if err != nil || !report.TimedOut {
		return report, err
	}
	second, err := pooler.Probe(ctx, config)
	if err == nil && (!second.TimedOut || report.Undecided) {
		report = second
	}
	return report, err
}

// chooseMode picks the mode from what the probe proved.
func chooseMode(asked Mode, report pooler.Report) (wire.Mode, string, error) {
	named := report.Why.NamedStatements
	switch asked {
	case ModeExec:
		return wire.Exec, "configured", nil
	case ModeCacheDescribe:
		return wire.CacheDescribe, "configured", nil
	case ModeCacheStatement:
		if report.Supavisor {
			return 0, "", &Error{Kind: ErrConfig, Op: "choose the mode", Hint: "leave Config.Mode out",
				Err: errors.New("behind Supavisor named statements are answered out of step after a client's error")}
		}
		if !report.NamedStatements {
			err := fmt.Errorf("cache_statement needs a pooler that tracks named statements, which was not proven (%s)", named)
			if report.TimedOut {
				return 0, "", &Error{Kind: ErrUnavailable, Op: "choose the mode", Hint: "open again when the pooler is less busy, or leave Config.Mode out", Err: err}
			}
			return 0, "", &Error{Kind: ErrConfig, Op: "choose the mode", Hint: "leave Config.Mode out, or set the pooler's max_prepared_statements (PgBouncer 1.21 and later)", Err: err}
		}
		return wire.CacheStatement, fmt.Sprintf("configured, and named statements are proven (%s)", named), nil
	}
	if report.Supavisor {
		return wire.Exec, "named statements are not used through Supavisor, which answers them out of step after a client's error", nil
	}
	if report.NamedStatements {
		return wire.CacheStatement, fmt.Sprintf("named statements are proven (%s)", named), nil
	}
	return wire.Exec, fmt.Sprintf("named statements are not proven through this pooler (%s)", named), nil
}

// unavailableOr wraps an error of connecting.
func unavailableOr(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil { // not the connection's own timeout
		return fmt.Errorf("poolproof: %s: %w", op, err)
	}
	return &Error{Kind: ErrUnavailable, Op: op, Err: err, Hint: hintFor(err)}
}

// Report returns what Open's probe saw. It is not refreshed later.
func (db *DB) Report() pooler.Report { return db.report }

// Config returns the configuration in use: defaults are filled in, and the URL, which may hold a password, is left out.
func (db *DB) Config() Config {
	c := db.config
	c.URL = ""
	c.Settings, c.TenantColumns = slices.Clone(c.Settings), slices.Clone(c.TenantColumns)
	return c
}

// Mode returns the mode in use, which changes once at most: to ModeExec, after a
// fall-back.
func (db *DB) Mode() Mode {
	switch wire.Mode(db.mode.Load()) {
	case wire.CacheStatement:
		return ModeCacheStatement
	case wire.CacheDescribe:
		return ModeCacheDescribe
	default:
		return ModeExec
	}
}

// Scope returns how scopes travel now: ScopeParameter or, also after a fall-back,
// ScopeStatement.
func (db *DB) Scope() ScopeForm {
	if db.domain.Load() != 0 {
		return ScopeParameter
	}
	return ScopeStatement
}

// Ping makes one round trip to the server, not only to the pooler. It needs no
// tenant. The error is of kind ErrUnavailable if the server cannot be reached.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.Shared().QueryRow(ctx, "select 1").Scan(&one)
}

// Stat returns the pool's statistics. The probe's connections are not in them.
func (db *DB) Stat() *pgxpool.Stat { return db.pool.Stat() }

// noteLost reports whether err says that a prepared statement, sent in this mode,
// was lost. If so, the database stays in exec mode from now on.
func (db *DB) noteLost(ctx context.Context, mode wire.Mode, err error) bool {
	if mode == wire.Exec || !statementLost(err) {
		return false
	}
	if db.mode.CompareAndSwap(int32(mode), int32(wire.Exec)) {
		db.metrics.fallbacks.Inc()
		db.log.LogAttrs(ctx, slog.LevelWarn, "poolproof: the pooler lost a prepared statement; from now on no statement is prepared (exec mode)",
			slog.String("cause", err.Error()), slog.String("hint", "see the pooler's max_prepared_statements: it has to be above 0 for named statements"))
	}
	return true
}

// acquire takes a connection from the pool.
func (db *DB) acquire(ctx context.Context) (*pgxpool.Conn, *wire.Conn, error) {
	waiting := ctx
	if db.wanted.Add(1) > db.maxConns { // closing the pool does not wake those who wait for another's connection
		var cancel context.CancelFunc
		waiting, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(db.closing, cancel)()
	}
	pc, err := db.pool.Acquire(waiting)
	if err != nil {
		db.wanted.Add(-1)
		if ctxErr := ctx.Err(); ctxErr != nil {
			return nil, nil, fmt.Errorf("poolproof: %s: %w", opAcquire, ctxErr)
		}
		if db.closing.Err() != nil {
			return nil, nil, &Error{Kind: ErrClosed, Op: opAcquire, Err: err, Hint: "close the database after everything that uses it has ended"}
		}
		if hook, ok := errors.AsType[*hookError](err); ok && !unreachable(hook.cause) {
			return nil, nil, &Error{Kind: ErrConfig, Op: opAcquire, Err: hook, Hint: "see Config.AfterConnect for what it may do"}
		}
		return nil, nil, unavailableOr(ctx, opAcquire, err)
	}
	conn := wire.Of(pc.Conn(), db.descs)
	db.mu.Lock()
	db.inUse[conn] = time.Now()
	db.mu.Unlock()
	return pc, conn, nil
}

// release gives a connection back, or up: one that is broken, or that is not
// idle after its Sync, must not serve anybody again.
func (db *DB) release(pc *pgxpool.Conn, c *wire.Conn) {
	db.mu.Lock()
	delete(db.inUse, c)
	db.mu.Unlock()
	defer db.wanted.Add(-1) // not before the pool knows
	if c.Idle() {
		pc.Release()
		return
	}
	db.metrics.discarded.Inc()
	db.discards.Add(1) // before the pool can be closed without it
	pc.Hijack()        // frees the pool's place at once
	go func() { defer db.discards.Done(); c.Discard() }()
}

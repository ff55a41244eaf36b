package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/audit"
	"github.com/poolproof/poolproof/service/checkup"
	"github.com/poolproof/poolproof/service/feature"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/platform"
	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

// DefaultTimeout is how long a request may take before it is answered by 503.
const DefaultTimeout = 10 * time.Second

// Config is what a [Server] needs. Only Tokens is required.
type Config struct {
	// Tokens verifies bearer tokens.
	Tokens *token.Verifier
	// Pages answers whatever is not the API's: the console. Default: nothing
	// is there.
	Pages http.Handler
	// Logger gets one line per request. Tokens and bodies are never in it.
	// Default slog.Default().
	Logger *slog.Logger
	// Registry is what /metrics shows; the server adds its own figures. Give
	// the same one to poolproof.Config.Registerer. Default: a new one.
	Registry *prometheus.Registry
	// Origins are the web origins, such as https://app.example.org, whose pages
	// may call the API from a browser; "*" stands for any. Default: none but
	// the service's own.
	Origins []string
	// Timeout bounds each request of the API. Default [DefaultTimeout].
	Timeout time.Duration
	// PerTenant bounds the requests of one tenant that are answered at a time; further ones wait, at most two seconds, and
	// are answered by 429 then. Default: half of the database's connections, at least two, so that no tenant can take all.
	PerTenant int
	// Checkup has the doctor's last report. Default: an empty one.
	Checkup *checkup.Record
}

// Server is the HTTP API. It is an http.Handler, safe for concurrent use.
type Server struct {
	cfg     Config
	vary    string // the header of that name, for answers of the API
	mux     *http.ServeMux
	table   map[string]methods // what is registered, by path
	metrics *metrics
	ready   readiness
	stores  atomic.Pointer[stores] // nil: no database yet
}

// stores is what endpoints work with.
type stores struct {
	use      sync.RWMutex // held for reading by whoever uses them
	db       *poolproof.DB
	roles    *rbac.Store
	features *feature.Store
	tenants  *platform.Store
	log      *audit.Store
	shares   *shares
}

// New makes a server that answers 503 until [Server.SetDatabase]. An error
// means that cfg cannot work.
func New(cfg Config) (*Server, error) {
	if cfg.Tokens == nil {
		return nil, errors.New("httpapi: no token verifier is configured")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.Checkup == nil {
		cfg.Checkup = &checkup.Record{}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	m, err := newMetrics(cfg.Registry)
	if err != nil {
		return nil, fmt.Errorf("httpapi: registering the metrics: %w", err)
	}
	if err := checkOrigins(cfg.Origins); err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	s := &Server{cfg: cfg, vary: "Authorization, X-Tenant-ID", mux: http.NewServeMux(), table: map[string]methods{}, metrics: m}
	if len(cfg.Origins) > 0 {
		s.vary += ", Origin"
	}
	s.routes()
	return s, nil
}

// SetDatabase makes the API answer from db, whose schema and isolation the
// caller has verified; nil makes it unavailable again. The server does not
// close db. What it returns waits until no request uses the database that was there before.
func (s *Server) SetDatabase(db *poolproof.DB) (unused func()) {
	var st *stores
	if db != nil {
		perTenant := s.cfg.PerTenant
		if perTenant <= 0 {
			perTenant = max(2, int(db.Stat().MaxConns())/2)
		}
		st = &stores{db: db, shares: newShares(perTenant),
			roles: rbac.NewStore(db), features: feature.NewStore(db), tenants: platform.NewStore(db), log: audit.NewStore(db)}
	}
	before := s.stores.Swap(st)
	return func() {
		if before != nil {
			before.use.Lock()
			before.use.Unlock() //nolint:staticcheck // nobody new comes: see connected
		}
	}
}

// ServeHTTP answers one request, logs and counts it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, id: requestID(r), start: time.Now(), parent: r.Context(), route: "unmatched"}
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), exchangeKey{}, x), s.cfg.Timeout)
	defer cancel()
	x.r = r.WithContext(ctx)
	w.Header().Set("X-Request-ID", x.id)
	s.metrics.inFlight.Inc()
	defer s.finish(x)
	if s.crossOrigin(x) {
		return
	}
	s.mux.ServeHTTP(x, x.r)
}

// finish counts and logs a request, also one whose handler panicked: that is
// answered by 500. If part of an answer is out already, the connection is cut,
// so that the client cannot take the part for the whole.
func (s *Server) finish(x *exchange) {
	cause := recover()
	if cause != nil && cause != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
		err := fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		if x.status == 0 {
			s.fail(x, err)
			cause = nil
		}
		x.err = err
	}
	if x.status == 0 {
		x.status = http.StatusOK // what net/http sends when a handler wrote nothing
	}
	s.metrics.inFlight.Dec()
	s.metrics.observe(x)
	s.log(x)
	if cause != nil {
		panic(http.ErrAbortHandler)
	}
}

// log writes the request's one line.
func (s *Server) log(x *exchange) {
	level := slog.LevelInfo
	switch {
	case x.status == http.StatusServiceUnavailable:
		level = slog.LevelWarn
	case x.status >= http.StatusInternalServerError, x.err != nil && codeOf(x.err) == tenancy.Internal && x.status != statusClientGone:
		level = slog.LevelError
	case x.route == routePages, x.route == "GET /healthz", x.route == "GET /health", x.route == "GET /readyz", x.route == "GET /metrics":
		level = slog.LevelDebug // asked all the time, and of little interest
	}
	ctx := x.r.Context()
	if !s.cfg.Logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs,
		slog.String("method", x.r.Method), slog.String("route", x.route), slog.Int("status", x.status),
		slog.Int64("bytes", x.bytes), slog.Duration("took", time.Since(x.start)), slog.String("request_id", x.id))
	if x.tenant != "" {
		attrs = append(attrs, slog.String("tenant", x.tenant))
	}
	if x.err != nil {
		if x.status != statusClientGone {
			attrs = append(attrs, slog.String("code", string(codeOf(x.err))))
		}
		attrs = append(attrs, slog.String("error", x.err.Error()))
	}
	s.cfg.Logger.LogAttrs(ctx, level, "request", attrs...)
}

// call is an authenticated request for one tenant.
type call struct {
	*exchange
	*stores
	caller tenancy.Caller
}

func (c *call) ctx() context.Context { return c.r.Context() }

// endpoint answers one method of one route.
type endpoint func(x *exchange) error

// forTenant makes an endpoint of a function that needs to know who is calling
// for which tenant. A read may ask for a state that it must have reached.
// Conditions that would be ignored are refused instead: what has no version
// takes no If-Match.
func (s *Server) forTenant(f func(*call) error, versioned bool) endpoint {
	return func(x *exchange) error {
		c, err := s.callOf(x)
		if err != nil {
			return err
		}
		if c.caller.Tenant == uuid.Nil {
			return &tenancy.Error{Code: tenancy.TenantRequired}
		}
		if !versioned && x.r.Header.Get("If-Match") != "" {
			return tenancy.Refuse(tenancy.Invalid, "If-Match works only on changes to one object that has an ETag.")
		}
		return s.inTurn(c, f)
	}
}

// inTurn answers a call when it is its tenant's turn.
func (s *Server) inTurn(c *call, f func(*call) error) (err error) {
	if c.stores, err = s.connected(); err != nil {
		return err
	}
	defer c.use.RUnlock()
	leave, err := c.shares.enter(c.ctx(), c.caller)
	if err != nil {
		return err
	}
	defer leave()
	err = f(c)
	c.shares.learn(c.caller, err)
	return err
}

// callOf finds out who is calling, for which tenant, the zero UUID if none is
// named, and which state they ask for. It does not connect.
func (s *Server) callOf(x *exchange) (*call, error) {
	id, err := s.identify(x.r)
	if err != nil {
		return nil, err
	}
	tenant, err := wantedTenant(x.r, id)
	if err != nil {
		return nil, err
	}
	c := tenancy.Caller{Tenant: tenant.UUID, User: id.User}
	if tenant.Valid {
		x.tenant = tenant.UUID.String()
		if tenant.UUID == uuid.Nil { // nobody's, as any other that is not there
			return nil, &tenancy.Error{Code: tenancy.NotAMember}
		}
		if err := sameQueryTenant(x.r, c); err != nil {
			return nil, err
		}
	}
	if text := x.r.Header.Get("Poolproof-At-Least"); text != "" {
		if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
			return nil, tenancy.Refuse(tenancy.Invalid, "Poolproof-At-Least works only on reads.")
		}
		if c.AtLeast, err = tenancy.ParseEpoch(text); err != nil {
			return nil, tenancy.Refuse(tenancy.Invalid, "Poolproof-At-Least must be the value of a Poolproof-Epoch header, such as 12.3.")
		}
	}
	return &call{exchange: x, caller: c}, nil
}

// sameQueryTenant refuses ?tenant_id= of another tenant, with which older
// clients asked for other tenants' rows: ignoring it would answer them with
// rows that they did not ask for.
func sameQueryTenant(r *http.Request, c tenancy.Caller) error {
	raw := r.URL.RawQuery
	if !strings.Contains(raw, "tenant_id") && !strings.Contains(raw, "%") { // its name may be encoded
		return nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return tenancy.Refuse(tenancy.Invalid, "The query string cannot be parsed.")
	}
	for _, text := range query["tenant_id"] {
		if id, err := parseUUID(text); err != nil || id != c.Tenant {
			return tenancy.Refuse(tenancy.Invalid, "The query's tenant_id is not the tenant of this request.")
		}
	}
	return nil
}

var errNoDatabase = errors.New("no database has been reached yet")

// connected returns the stores, for use until use.RUnlock, or unavailable before there are any.
func (s *Server) connected() (*stores, error) {
	for st := s.stores.Load(); st != nil; st = s.stores.Load() {
		if !st.use.TryRLock() {
			continue // another database has taken its place
		}
		if s.stores.Load() == st {
			return st, nil
		}
		st.use.RUnlock()
	}
	return nil, &tenancy.Error{Code: tenancy.Unavailable, Err: errNoDatabase}
}

package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/pooler"
)

// parse reads a URL in the form that any driver takes. Its errors hold nothing of the
// URL, which has a password.
func parse(raw string) (*pgx.ConnConfig, []string, error) {
	if raw == "" {
		return nil, nil, errors.New("there is no URL")
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	scheme, _, _ = strings.Cut(scheme, "+")
	if !ok || scheme != "postgres" && scheme != "postgresql" {
		return nil, nil, errors.New("the URL cannot be read: it does not begin with postgres:// or postgresql://")
	}
	config, err := pgx.ParseConfig("postgres://" + strings.Replace(rest, "sslmode=no-verify", "sslmode=require", 1)) // node-postgres calls it no-verify
	if err != nil {
		return nil, nil, errors.New("the URL cannot be read")
	}
	var dropped []string
	for _, name := range []string{"pgbouncer", "schema", "connection_limit", "pool_timeout", "statement_cache_size", "prepared_statement_cache_size", "prepareThreshold", "default_query_exec_mode", "uselibpqcompat"} {
		if _, ok := config.RuntimeParams[name]; ok {
			delete(config.RuntimeParams, name)
			dropped = append(dropped, name)
		}
	}
	return config, dropped, nil
}

// hangUpTime bounds how long hangUp waits.
const hangUpTime = 2 * time.Second

// hangUp closes connections that were only read. One that was given up in the middle of a statement has asked the server to
// stop it (pgconn does that), and hangUp waits for the end of that request: PgBouncer 1.18 ends itself when a cancel request
// is hung up that the server has not answered (pgbouncer's issue 801), as a program does that ends right after.
func hangUp(conns ...*pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), hangUpTime)
	defer cancel()
	for _, c := range conns {
		_ = c.Close(ctx) // only read
	}
	for _, c := range conns {
		select {
		case <-c.PgConn().CleanupDone():
		case <-ctx.Done():
		}
	}
}

// noteDials has config note whether any of its connections got through to the
// other side, whatever was answered there.
func noteDials(config *pgx.ConnConfig) *atomic.Bool {
	dialed := new(atomic.Bool)
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		dialed.Store(dialed.Load() || err == nil)
		return c, err
	}
	return dialed
}

// probe asks the pooler package, without the URL's parameters that the server refuses: they are a driver's own. If it is
// to be quick, it finds out the mode and not the kind.
func probe(ctx context.Context, config *pgx.ConnConfig, cfg Config) (seen pooler.Findings, _ *pgx.ConnConfig, dropped []string, err error) {
	look := func() (pooler.Findings, error) {
		if !cfg.Fast && len(cfg.Only) == 0 {
			opts := pooler.Options{Within: cfg.Within * 3 / 5, Intrusive: cfg.Intrusive}
			if cfg.NoCancels {
				opts.Cancels = -1
			}
			return pooler.Examine(ctx, config, opts)
		}
		report, err := pooler.Probe(ctx, config)
		return brief(report), err
	}
	seen, err = look()
	for name := refused(err, config); name != ""; name = refused(err, config) {
		config = config.Copy()
		delete(config.RuntimeParams, name)
		dropped = append(dropped, name)
		seen, err = look()
	}
	return seen, config, dropped, err
}

// brief is a probe's report as findings.
func brief(r pooler.Report) pooler.Findings {
	f := pooler.Fingerprint{Kind: pooler.UnknownKind, Mode: r.Mode}
	f.Why.Kind, f.Why.Mode = pooler.Reason{Basis: pooler.Untold, Text: "it was not looked at"}, r.Why.Mode
	f.Why.Version = f.Why.Kind
	switch {
	case !r.Present:
		f.Kind, f.Why.Kind = pooler.NoPooler, r.Why.Mode
	case r.Supavisor:
		f.Kind, f.Why.Kind = pooler.Supavisor, pooler.Reason{Basis: pooler.Measured, Text: "it introduces itself as application_name Supavisor"}
	}
	return pooler.Findings{Pooler: f, ServerVersion: r.ServerVersion, Report: r, Notes: r.Notes}
}

// refused returns the parameter that the server, or a pooler, does not take, or "".
func refused(err error, config *pgx.ConnConfig) string {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "42704" && pg.Code != "55P02" && pg.Code != "08P01" {
		return ""
	}
	for name := range config.RuntimeParams {
		if regexp.MustCompile(`(^|[^\w.])` + regexp.QuoteMeta(name) + `([^\w.]|$)`).MatchString(pg.Message) {
			return name
		}
	}
	return ""
}

// reach is an error of connecting, or of a first question, in words, with the next step.
// dialed: something took a connection; began: when it was first asked.
func reach(ctx context.Context, config *pgx.ConnConfig, err error, dialed bool, began time.Time) (cause error, hint string) { //nolint:staticcheck // the error is what is returned, the hint its second half
	at := net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	if strings.HasPrefix(config.Host, "/") {
		at = config.Host
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code != "57014" {
		return fmt.Errorf("%s answers: %s (SQLSTATE %s)", at, pg.Message, pg.Code), poolproof.Hint(err)
	}
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("the host %s has no address", config.Host), "see that the host's name is right, and that this machine can ask for names"
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s", at), "start the server, or see that host and port are right"
	case pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
		if dialed {
			return fmt.Errorf("%s takes a connection and gives no answer within %s", at, time.Since(began).Round(time.Second)),
				"a pooler does so when all its server connections are busy: look for long transactions (select pid, state, xact_start, query from pg_stat_activity order by xact_start), or enlarge its pool; " +
					"or when it cannot reach its PostgreSQL: see the pooler's log"
		}
		return fmt.Errorf("%s does not answer", at), "see that host and port are right and that no firewall is between: nc -vz " + cmp.Or(config.Host, "localhost") + " " + strconv.Itoa(int(config.Port))
	}
	return fmt.Errorf("%s cannot be reached: %s", at, last(err)), poolproof.Hint(err)
}

// last is the cause of the last attempt, without what pgconn says about the URL.
func last(err error) string {
	for {
		if several, ok := err.(interface{ Unwrap() []error }); ok && len(several.Unwrap()) > 0 {
			err = several.Unwrap()[len(several.Unwrap())-1]
			continue
		}
		if connect, ok := err.(*pgconn.ConnectError); ok { //nolint:errorlint // one layer at a time
			err = connect.Unwrap()
			continue
		}
		return err.Error()
	}
}

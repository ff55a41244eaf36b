package poolproof

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// LoginRefused reports whether err says that the server, or its pooler, does not
// accept this login: a wrong password, or a user that the pooler does not know.
// Trying again soon does not help, and may lock the address out: hosted
// Supavisor takes ten wrong passwords within two minutes, and then refuses the
// right one, too.
func LoginRefused(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	if pgErr.Code == "28P01" || pgErr.Code == "28000" {
		return true
	}
	for _, text := range []string{"(ENOTFOUND)", "(ENOIDENTIFIER)", "(ECIRCUITBREAKER)", "(EWRONGPASSWORD)", "Tenant or user not found"} {
		if strings.Contains(pgErr.Message, text) {
			return true
		}
	}
	return false
}

// How long a pool does not connect after its login was refused: twice as long
// each time.
const (
	firstBrake = 5 * time.Second
	lastBrake  = 5 * time.Minute
)

// brake keeps a pool from trying a login that is refused with every statement
// that wants a connection. Meanwhile each gets the same error at once. It sees
// each attempt to connect, as pgx's ConnectTracer: that a statement got a
// connection that was there already says nothing about the login.
type brake struct {
	now func() time.Time // time.Now, but in tests

	mu      sync.Mutex
	refusal error // nil: the last connection was let in
	wait    time.Duration
	until   time.Time
}

// beforeConnect is pgxpool's hook. After a refusal it lets one attempt through
// each time that the wait is over.
func (b *brake) beforeConnect(context.Context, *pgx.ConnConfig) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusal == nil {
		return nil
	}
	if b.now().Before(b.until) {
		return &braked{b.refusal}
	}
	b.lengthen() // whoever comes meanwhile waits for how this attempt ends
	return nil
}

// braked is the last refusal, told again without a try.
type braked struct{ error }

func (e *braked) Unwrap() error { return e.error }

// TraceConnectStart does nothing.
func (b *brake) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

// TraceConnectEnd notes how an attempt ended.
func (b *brake) TraceConnectEnd(_ context.Context, d pgx.TraceConnectEndData) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case d.Err == nil:
		b.refusal, b.wait = nil, 0
	case LoginRefused(d.Err):
		if b.refusal == nil { // of several at once the first counts
			b.lengthen()
		}
		b.refusal = d.Err
	case !errors.Is(d.Err, context.Canceled) && !errors.Is(d.Err, context.DeadlineExceeded): // the server is away: nobody counts that
		b.refusal, b.wait = nil, 0
	}
}

func (b *brake) lengthen() {
	b.wait = min(max(2*b.wait, firstBrake), lastBrake)
	b.until = b.now().Add(b.wait + rand.N(b.wait/5)) //nolint:gosec // spreads attempts; nothing secret
}

// TraceQueryStart does nothing. pgx.ConnConfig.Tracer asks for it.
func (b *brake) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd does nothing.
func (b *brake) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

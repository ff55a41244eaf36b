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
// that wants a connection. Meanwhile each gets the same error at once.
type brake struct {
	now func() time.Time // time.Now, but in tests

	mu      sync.Mutex
	refusal error // nil: the last connection was let in
	wait    time.Duration
	until   time.Time
}

// beforeConnect is pgxpool's hook.
func (b *brake) beforeConnect(context.Context, *pgx.ConnConfig) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusal != nil && b.now().Before(b.until) {
		return &braked{b.refusal}
	}
	return nil
}

// braked is the last refusal, told again without a try.
type braked struct{ error }

func (e *braked) Unwrap() error { return e.error }

// note is told how taking a connection ended.
func (b *brake) note(err error) {
	if _, again := errors.AsType[*braked](err); again {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.refusal, b.wait = nil, 0
	case LoginRefused(err) && !b.now().Before(b.until): // of several at once the first counts
		b.wait = min(max(2*b.wait, firstBrake), lastBrake)
		b.refusal, b.until = err, b.now().Add(b.wait+rand.N(b.wait/5))
	}
}

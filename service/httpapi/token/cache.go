package token

import (
	"sync"
	"time"
)

const (
	// rememberFor bounds how long a verified token is believed without looking
	// at its signature again: a key that its issuer has withdrawn is of no use
	// after this time and the one that reading the key set takes.
	rememberFor = time.Minute
	// rememberMost bounds the memory that this takes, to 8 MiB of tokens.
	rememberMost = 1 << 10
)

// memory remembers verified tokens, because a client sends the same one again
// and again, and verifying costs as much as everything else that is done about
// a request before the database is asked. Refusals are not remembered.
type memory struct {
	mu    sync.RWMutex
	known map[string]remembered // by the whole token, so that no other can pass for it
}

type remembered struct {
	Identity
	until time.Time
}

func (m *memory) recall(raw string, now time.Time) (Identity, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, ok := m.known[raw]
	if !ok || !now.Before(r.until) {
		return Identity{}, false
	}
	return r.Identity, true
}

// remember keeps a token that was verified at now and ends at expires. A full
// memory is emptied: filling it again is cheap, and bookkeeping is not.
func (m *memory) remember(raw string, id Identity, now, expires time.Time) {
	until := now.Add(rememberFor)
	if expires.Before(until) {
		until = expires
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= rememberMost {
		m.known = make(map[string]remembered)
	}
	m.known[raw] = remembered{id, until}
}

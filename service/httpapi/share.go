package httpapi

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/tenancy"
)

// How long a request waits for its tenant's turn, and how many of a tenant may
// wait at a time. Whoever comes on top is answered by 429 at once.
const (
	longestWait = 2 * time.Second
	mostWaiting = 64
)

// shares keep a tenant from taking all of the database's connections: each
// answers some requests at a time, and further ones wait for those of the same
// tenant only.
//
// Only a member's requests count as the tenant's. Whoever names a tenant and was
// not answered as its member before waits for themselves alone, so that
// strangers cannot use up a tenant's share.
type shares struct {
	slots int           // per share
	wait  time.Duration // for a turn, at most

	mu      sync.Mutex
	open    map[shareKey]*share
	members map[membership]struct{} // who was answered as a member of what
}

// membership is a user of a tenant.
type membership struct{ tenant, user uuid.UUID }

// shareKey is a tenant, or a user who is not known to be a member.
type shareKey struct{ tenant, user uuid.UUID }

// share is one tenant's, while it has requests.
type share struct {
	turns chan struct{} // a token for each request that is being answered
	here  int           // requests that are being answered, or wait
}

// knownMembers bounds what is remembered, at some 100 bytes each. A member who was
// forgotten is a stranger for one request.
const knownMembers = 20_000

func newShares(slots int) *shares {
	return &shares{slots: slots, wait: longestWait, open: map[shareKey]*share{}, members: map[membership]struct{}{}}
}

// enter waits for the caller's turn. leave must be called when the request is
// answered.
//
// Errors: too_many_requests when there was no turn in time; ctx's.
func (s *shares) enter(ctx context.Context, c tenancy.Caller) (leave func(), err error) {
	key := shareKey{user: c.User}
	s.mu.Lock()
	if _, member := s.members[membership{c.Tenant, c.User}]; member {
		key = shareKey{tenant: c.Tenant}
	}
	sh := s.open[key]
	if sh == nil {
		sh = &share{turns: make(chan struct{}, s.slots)}
		s.open[key] = sh
	}
	if sh.here >= s.slots+mostWaiting {
		s.mu.Unlock()
		return nil, &tenancy.Error{Code: tenancy.TooManyRequests}
	}
	sh.here++
	s.mu.Unlock()

	gone := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if sh.here--; sh.here == 0 {
			delete(s.open, key)
		}
	}
	select {
	case sh.turns <- struct{}{}:
	default:
		timer := time.NewTimer(s.wait)
		defer timer.Stop()
		select {
		case sh.turns <- struct{}{}:
		case <-timer.C:
			gone()
			return nil, &tenancy.Error{Code: tenancy.TooManyRequests}
		case <-ctx.Done():
			gone()
			return nil, ctx.Err()
		}
	}
	return func() { <-sh.turns; gone() }, nil
}

// learn remembers by a request's outcome whether the caller is a member of the
// tenant.
func (s *shares) learn(c tenancy.Caller, err error) {
	m := membership{c.Tenant, c.User}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && codeOf(err) == tenancy.NotAMember:
		delete(s.members, m)
	case err == nil && c.Tenant != uuid.Nil:
		if _, known := s.members[m]; !known && len(s.members) >= knownMembers {
			for other := range s.members { // any: a map's order is as good as a clock's here
				delete(s.members, other)
				break
			}
		}
		s.members[m] = struct{}{}
	}
}

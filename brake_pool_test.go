package poolproof

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
)

func braking(t *testing.T) (*DB, *pgtest.Supavisor) {
	url, pooler := pgtest.LikeSupavisor(t, pgtest.Database(t))
	db, err := Open(t.Context(), Config{URL: url, MaxConns: 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	now := time.Now()
	db.brake.now = func() time.Time { return now }
	return db, pooler
}

// Each round one statement has a connection that was there, and one wants a new one.
func TestIdleConnectionsDoNotReleaseTheBrake(t *testing.T) {
	db, pooler := braking(t)
	db.pool.Reset()
	if _, err := db.Shared().Exec(t.Context(), "select 1"); err != nil {
		t.Fatal(err)
	}
	pooler.Refuse("28P01", "password authentication failed")
	before := pooler.Refused()
	for range 50 {
		pc, c, err := db.acquire(t.Context()) // the idle one
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := db.acquire(t.Context()); !LoginRefused(err) {
			t.Fatal(err)
		}
		db.release(pc, c)
	}
	if n := pooler.Refused() - before; n > 2 {
		t.Errorf("50 statements beside an idle connection made %d tries", n)
	}
}

// The wait is over, and many come at once: one tries.
func TestOneTryWhenTheBrakeEnds(t *testing.T) {
	db, pooler := braking(t)
	db.pool.Reset()
	now := time.Now()
	var mu sync.Mutex
	db.brake.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pooler.Refuse("28P01", "password authentication failed")
	_, _ = db.Shared().Exec(t.Context(), "select 1")
	mu.Lock()
	now = now.Add(2 * lastBrake)
	mu.Unlock()
	before := pooler.Refused()
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() { _, _ = db.Shared().Exec(t.Context(), "select 1") })
	}
	wg.Wait()
	if n := pooler.Refused() - before; n < 1 || n > 2 {
		t.Errorf("%d tries", n)
	}
}

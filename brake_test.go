package poolproof

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// A login that is refused is not tried again with every statement: that would
// help to lock the address out. Each statement gets the reason and the hint.
func TestRefusedLoginsAreNotTriedAgainAndAgain(t *testing.T) {
	url, pooler := pgtest.LikeSupavisor(t, pgtest.Database(t))
	refusals := []struct{ code, message string }{
		{"28P01", `password authentication failed for user "app"`},
		{"XX000", "(ENOTFOUND) tenant/user app.nosuch not found"},
		{"XX000", "(ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)"},
		{"XX000", "(ECIRCUITBREAKER) too many authentication failures, new connections are temporarily blocked"},
	}
	for _, r := range refusals {
		t.Run(r.message[:16], func(t *testing.T) {
			db, err := Open(t.Context(), Config{URL: url, MaxConns: 2, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(db.Close)
			now := time.Now()
			db.brake.now = func() time.Time { return now }
			db.pool.Reset()
			pooler.Refuse(r.code, r.message)
			defer pooler.Refuse("", "")
			before := pooler.Refused()
			ask := func() {
				t.Helper()
				_, err := db.Shared().Exec(t.Context(), "select 1")
				known, ok := errors.AsType[*Error](err)
				if !ok || known.Kind != ErrUnavailable || known.Hint != hintFor(err) || !LoginRefused(err) {
					t.Fatalf("%v, hint %q", err, known.Hint)
				}
			}
			const perTry = 2 // with TLS and without it, where the URL leaves that open
			for range 50 {
				ask()
			}
			if n := pooler.Refused() - before; n < 1 || n > perTry {
				t.Errorf("50 statements made %d tries", n)
			}
			for range 10 { // over some twenty minutes
				now = now.Add(lastBrake / 2)
				ask()
			}
			if n := pooler.Refused() - before; n < 3 || n > 11*perTry {
				t.Errorf("%d tries in twenty-five minutes", n)
			}
			pooler.Refuse("", "")
			now = now.Add(2 * lastBrake)
			for range 2 {
				if _, err := db.Shared().Exec(t.Context(), "select 1"); err != nil {
					t.Errorf("let in again: %v", err)
				}
			}
		})
	}
	// Open itself tries once.
	pooler.Refuse("28P01", "password authentication failed")
	before := pooler.Refused()
	if _, err := Open(t.Context(), Config{URL: url}); !LoginRefused(err) {
		t.Errorf("open: %v", err)
	}
	if n := pooler.Refused() - before; n < 1 || n > 2 {
		t.Errorf("Open made %d tries", n)
	}
}

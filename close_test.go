package poolproof_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// busyIn waits until PostgreSQL runs n statements of the fixture's login that hold
// this text.
func (f *fixture) busyIn(t *testing.T, text string, n int) {
	t.Helper()
	waitFor(t, "PostgreSQL runs "+text, func() bool {
		return f.count(t, "select count(*) from pg_stat_activity where usename = $1 and state = 'active' and query like '%' || $2 || '%'", loginOf(t, f.url), text) == n
	})
}

func TestCloseContextWaitsForWhatEnds(t *testing.T) {
	f := newFixture(t, 1)
	db := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction), func(c *poolproof.Config) { c.MaxConns = 1 }) // work that waits for it is refused, too
	rows, err := db.Tenant(tenant(0)).Query(t.Context(), "select id from documents")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- db.CloseContext(t.Context()) }()
	waitFor(t, "new work is refused", func() bool {
		_, err := db.Tenant(tenant(0)).Exec(t.Context(), "select 1")
		return errors.Is(err, poolproof.ErrClosed)
	})
	select {
	case err := <-closed:
		t.Fatalf("did not wait for open rows: %v", err)
	default:
	}
	n := 0
	for rows.Next() {
		n++
	}
	if rows.Err() != nil || n != 10 {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	db.Close() // again
}

// At its deadline it stops a statement, and a transaction that does nothing, on
// the server too, and says what was running.
func TestCloseContextCancels(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction} {
		t.Run(kind.String(), func(t *testing.T) {
			f := newFixture(t, 1)
			db := open(t, pgtest.Pooled(t, f.url, kind))
			s := db.Tenant(tenant(0))
			written, goOn, inTx := make(chan struct{}), make(chan struct{}), make(chan error)
			go func() {
				inTx <- s.InTx(context.Background(), func(tx pgx.Tx) error {
					if _, err := tx.Exec(context.Background(), "insert into documents (tenant_id, body) values ($1, 'not kept')", tenant(0)); err != nil {
						return err
					}
					close(written)
					<-goOn
					_, err := tx.Exec(context.Background(), "select 1")
					return err
				})
			}()
			<-written
			asleep := make(chan error)
			go func() {
				_, err := s.Exec(context.Background(), "select pg_sleep(600), $1::text", "a secret")
				asleep <- err
			}()
			f.busyIn(t, "pg_sleep", 1)

			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("the deploy goes on")
			cancel(why)
			err := db.CloseContext(ctx)
			if !errors.Is(err, poolproof.ErrClosed) || !errors.Is(err, why) || !strings.Contains(err.Error(), "2 statements or transactions were still running") ||
				!strings.Contains(err.Error(), "insert into documents") || strings.Contains(err.Error(), "a secret") || strings.Contains(err.Error(), tenant(0)) {
				t.Errorf("CloseContext: %v", err)
			}
			if err := <-asleep; !errors.Is(err, poolproof.ErrUnavailable) || !strings.Contains(err.Error(), "being closed") {
				t.Errorf("the statement: %v", err)
			}
			waitFor(t, "nothing of it runs on the server, and nothing is in a transaction", func() bool {
				return f.count(t, "select count(*) from pg_stat_activity where usename = $1 and state <> 'idle'", loginOf(t, f.url)) == 0
			})
			close(goOn)
			if err := <-inTx; !errors.Is(err, poolproof.ErrUnavailable) {
				t.Errorf("the transaction: %v", err)
			}
			if n := f.count(t, "select count(*) from documents where body = 'not kept'"); n != 0 {
				t.Errorf("%d rows of it were kept", n)
			}
			db.Close() // has nothing to wait for any more
		})
	}
}

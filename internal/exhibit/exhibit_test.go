package exhibit

import (
	"testing"
	"time"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Rows vanish through real PgBouncers and through the demo's stand-in alike,
// not without a pooler, and not with one Sync for each query.
func TestRowsVanish(t *testing.T) {
	for _, through := range []string{"direct", "pgbouncer-1.18-transaction", "pgbouncer-1.24-transaction", "stand-in"} {
		for _, oneSync := range []bool{false, true} {
			name := through
			if oneSync {
				name += ", one Sync"
			}
			t.Run(name, func(t *testing.T) {
				direct := pgtest.Database(t)
				if err := Fill(t.Context(), direct); err != nil {
					t.Fatal(err)
				}
				url := direct
				var p *hostile.Pooler
				switch through {
				case "pgbouncer-1.18-transaction":
					url = pgtest.Pooled(t, direct, pgtest.PgBouncer118Transaction)
				case "pgbouncer-1.24-transaction":
					url = pgtest.Pooled(t, direct, pgtest.PgBouncer124Transaction)
				case "stand-in":
					p, url = hostile.StartWith(t, hostile.Config{Upstream: direct, Profile: "plain", MaxServerConns: 2}) // the demo's
				}
				deleted := make(chan error, 1)
				go func() {
					_, err := Deleter.Run(t.Context(), url, 4, time.Second, oneSync)
					deleted <- err
				}()
				read, err := Reader.Run(t.Context(), url, 4, time.Second, oneSync)
				if err != nil {
					t.Fatal(err)
				}
				if err := <-deleted; err != nil {
					t.Fatal(err)
				}
				left, err := Left(t.Context(), direct)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d rows left, %+v", left, read)
				if vanish := through != "direct" && !oneSync; vanish != (left < Rows) || vanish != (read.Wrong > 0) || read.Queries == 0 {
					t.Errorf("%d of %d rows are left, the reader: %+v", left, Rows, read)
				}
				if p != nil {
					if r := p.Report(); len(r.Findings) > 0 || r.Transactions == 0 {
						t.Errorf("an ordinary pooler reports nothing: %+v", r.Findings)
					}
				}
			})
		}
	}
}

// However short the time, each connection asks once.
func TestRunAsks(t *testing.T) {
	direct := pgtest.Database(t)
	if err := Fill(t.Context(), direct); err != nil {
		t.Fatal(err)
	}
	r, err := Reader.Run(t.Context(), direct, 3, 0, true)
	if err != nil || r != (Result{Queries: 3}) {
		t.Errorf("%+v, %v", r, err)
	}
}

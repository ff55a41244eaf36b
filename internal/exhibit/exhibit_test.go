package exhibit

import (
	"errors"
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
				vanish := through != "direct" && !oneSync
				left, read := Rows, Result{}
				// Where rows must vanish, a busy machine may need more rounds.
				for round := 0; round < pgtest.Pick(1, 4) || vanish && round < 20 && (left == Rows || read.Wrong == 0); round++ {
					var more Result
					left, more = both(t, url, direct, oneSync) // rows that are gone stay gone
					read.Queries += more.Queries
					read.Wrong += more.Wrong
				}
				t.Logf("%d rows left, %+v", left, read)
				if vanish != (left < Rows) || vanish != (read.Wrong > 0) || read.Queries == 0 {
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

// both runs the programs beside each other and returns the rows that are left, and
// how the reader fared.
func both(t *testing.T, url, direct string, oneSync bool) (left int, read Result) {
	t.Helper()
	const d = 250 * time.Millisecond
	deleted := make(chan error, 1)
	go func() {
		_, err := Deleter.Run(t.Context(), url, 4, d, oneSync)
		deleted <- err
	}()
	read, err := Reader.Run(t.Context(), url, 4, d, oneSync)
	if err = errors.Join(err, <-deleted); err != nil {
		t.Fatal(err)
	}
	if left, err = Left(t.Context(), direct); err != nil {
		t.Fatal(err)
	}
	return left, read
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

package hostile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// job is one piece of work of a program, on a connection. It returns the
// connection, or nil if that is of no more use.
type job func(ctx context.Context, c *pgx.Conn, i int) (*pgx.Conn, error)

// run does the job thirty times, each until it succeeds, and connects again
// where that is needed.
func (do job) run(t *testing.T, url string) {
	t.Helper()
	ctx := t.Context()
	var c *pgx.Conn
	for i := range 30 {
		for tries := 0; ; tries++ {
			if tries > 8 {
				t.Fatalf("job %d does not succeed", i)
			}
			var err error
			if c == nil {
				if c, err = pgx.Connect(ctx, url+"&default_query_exec_mode=exec"); err != nil {
					c = nil
					continue
				}
			}
			if c, err = do(ctx, c, i); c != nil && c.IsClosed() {
				c = nil
			}
			if err == nil {
				break
			}
		}
	}
	if c != nil {
		_ = c.Close(context.WithoutCancel(ctx))
	}
}

// inTx runs statements in a transaction.
func inTx(ctx context.Context, c *pgx.Conn, f func(tx pgx.Tx) error) (*pgx.Conn, error) {
	return c, pgx.BeginFunc(ctx, c, f)
}

// insist goes on after a BEGIN that failed.
func insist(ctx context.Context, c *pgx.Conn, i int) (*pgx.Conn, error) {
	_, err := c.Exec(ctx, "begin")
	if c.IsClosed() {
		return nil, err
	}
	_, err = c.Exec(ctx, "insert into ledger (n) values ($1)", i)
	_, err2 := c.Exec(ctx, "commit")
	return c, errors.Join(err, err2)
}

// Each fault: a program that takes it wrong is found, and one that takes it
// right is not accused.
func TestFaults(t *testing.T) {
	write := func(table string) job {
		return func(ctx context.Context, c *pgx.Conn, i int) (*pgx.Conn, error) {
			return inTx(ctx, c, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "insert into "+table+" (n) values ($1)", i)
				return err
			})
		}
	}
	right := write("unique_ledger") // which tells apart whether it was written before, see done
	done := func(ctx context.Context, c *pgx.Conn, i int) (*pgx.Conn, error) {
		c, err := right(ctx, c, i)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" {
			err = nil
		}
		return c, err
	}
	var kept []*pgx.Conn
	keep := func(ctx context.Context, c *pgx.Conn, _ int) (*pgx.Conn, error) {
		next, err := inTx(ctx, c, func(pgx.Tx) error { return nil })
		if err != nil && !c.IsClosed() {
			kept = append(kept, c)
			return nil, err
		}
		return next, err
	}
	reconnecting := func(begin string) job { // by a layer that connects again and tries only the statement again
		return func(ctx context.Context, c *pgx.Conn, i int) (*pgx.Conn, error) {
			url := c.Config().ConnString()
			exec := func(sql string, args ...any) error {
				var err error
				for range 6 {
					if c.IsClosed() {
						next, err := pgx.Connect(ctx, url)
						if err != nil {
							continue
						}
						c = next
					}
					if _, err = c.Exec(ctx, sql, args...); err == nil {
						return nil
					}
				}
				return err
			}
			if begin == "carelessly" {
				_, _ = c.Exec(ctx, "begin")
			} else if err := exec("begin"); err != nil {
				return c, err
			}
			second := "select pg_advisory_xact_lock(1)"
			if begin == "without a lock" {
				second = "select 1"
			}
			return c, errors.Join(exec(second), exec("insert into ledger (n) values ($1)", i), exec("commit"))
		}
	}
	take := func(sql string) job {
		return func(ctx context.Context, c *pgx.Conn, _ int) (*pgx.Conn, error) {
			_, err := c.Exec(ctx, sql)
			return c, err
		}
	}
	const claim = "delete from job where n in (select n from job order by n limit 1 for update skip locked) returning n"
	late := func(again job) job { // its cancel requests come when there is nothing to cancel
		return func(ctx context.Context, c *pgx.Conn, i int) (*pgx.Conn, error) {
			if i%5 == 0 {
				_, _ = c.Exec(ctx, "select 1")
				if err := c.PgConn().CancelRequest(ctx); err != nil {
					return nil, err
				}
			}
			return again(ctx, c, i)
		}
	}
	for _, tc := range []struct {
		name  string
		kinds []FaultKind
		do    job
		want  string
	}{
		{"goes on", []FaultKind{FaultBegin}, insist, "PP025"},
		{"begins again", []FaultKind{FaultBegin}, done, ""},
		{"goes on after a late cancel", []FaultKind{FaultCancel}, late(insist), "PP025"},
		{"begins again after a late cancel", []FaultKind{FaultCancel}, late(done), ""},
		{"writes twice", []FaultKind{FaultAnswer}, write("ledger"), "PP026"},
		{"has a key", []FaultKind{FaultAnswer}, done, ""},
		{"keeps the connection", []FaultKind{FaultBegin}, keep, "PP024"},
		{"goes on elsewhere", []FaultKind{FaultCut}, reconnecting("carefully"), "PP027 lock"},
		{"goes on elsewhere without a lock", []FaultKind{FaultCut}, reconnecting("without a lock"), "PP025 on another connection"},
		{"goes on after a checkout that failed", []FaultKind{FaultCheckout}, reconnecting("carelessly"), "PP025"},
		{"goes on after the connection was ended", []FaultKind{FaultEnded}, reconnecting("carelessly"), "PP025"},
		{"goes on after a failover", []FaultKind{FaultFailover}, reconnecting("carelessly"), "PP025"},
		{"does it all again", []FaultKind{FaultCut}, done, ""},
		{"loses jobs", []FaultKind{FaultAnswer}, take(claim), "PP027 job"},
		{"works in the transaction", []FaultKind{FaultAnswer}, func(ctx context.Context, c *pgx.Conn, _ int) (*pgx.Conn, error) {
			return inTx(ctx, c, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, claim)
				return err
			})
		}, ""},
		{"no server connection", []FaultKind{FaultCheckout}, done, ""},
		{"ended", []FaultKind{FaultEnded}, done, ""},
		{"failover", []FaultKind{FaultFailover}, done, ""},
		{"all", nil, done, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rounds := pgtest.Pick(1, 20)
			for range rounds {
				p, pooled, direct := testPooler(t, Config{Faults: &Faults{Seed: 1, Kinds: tc.kinds}, WaitTimeout: 10 * time.Second})
				exec(t, connect(t, direct, ""), "create table ledger (n int); create table unique_ledger (n int primary key); create table job as select n from generate_series(1, 200) n")
				tc.do.run(t, pooled)
				for _, c := range kept {
					_ = c.Close(context.WithoutCancel(t.Context()))
				}
				kept = nil
				p.Finish()
				if got := strings.Join(found(p), ", "); got != tc.want {
					t.Errorf("found %q, want %q", got, tc.want)
				}
				day := p.Report().BadDay
				for _, k := range tc.kinds {
					if day.Played[k] == 0 {
						t.Errorf("%s was not played: %v", k, day)
					}
				}
				t.Log(day)
			}
		})
	}
}

// A program whose own pool is used up stands still: it takes a connection out of
// its pool, meets a fault and does not give it back, until none is left.
func TestPoolThatIsUsedUp(t *testing.T) {
	rounds := pgtest.Pick(1, 20)
	for _, tc := range []struct {
		name      string
		size      int
		loses     bool // a connection after a fault
		goodbye   bool // it says so when it ends
		want      string
		stillness bool
		unused    int // connections at the end
	}{
		{"two, lost", 2, true, false, "PP024", true, 2},
		{"two, lost, and closed in the end", 2, true, true, "PP024", true, 2},
		{"the only one, lost", 1, true, false, "PP024, warning", true, 1},
		{"the only one, and nothing to do", 1, true, true, "", true, 1},
		{"two, given back", 2, false, false, "", false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range rounds {
				const bound = 100 * time.Millisecond
				p, pooled, _ := testPooler(t, Config{Faults: &Faults{Seed: 1, Kinds: []FaultKind{FaultBegin}}, IdleBound: bound, WaitTimeout: 10 * time.Second})
				var pool, all []*pgx.Conn // the last of pool is the next
				for range tc.size {
					pool = append(pool, connect(t, pooled, "exec"))
				}
				all = append(all, pool...)
				for i := 0; i < 40 && len(pool) > 0; i++ {
					c := pool[0]
					pool = pool[1:]
					if _, err := inTx(t.Context(), c, func(pgx.Tx) error { return nil }); err == nil || !tc.loses {
						pool = append(pool, c)
					}
				}
				for _, c := range pool { // it ends well
					for c.Ping(t.Context()) != nil { //nolint:revive // until it succeeds
					}
				}
				if tc.stillness {
					eventually(t, "it stands still", func() bool { return p.Report().BadDay.StoodStill > bound })
				} else {
					ended := time.Now()
					eventually(t, "it was looked at", func() bool { p.watchStill(); return time.Since(ended) > bound })
				}
				for _, c := range all {
					if tc.goodbye {
						_ = c.Close(context.WithoutCancel(t.Context()))
					} else {
						_ = c.PgConn().Conn().Close()
					}
				}
				p.Finish()
				if got := strings.Join(graded(p), ", "); got != tc.want {
					t.Errorf("found %q, want %q", got, tc.want)
				}
				day := p.Report().BadDay
				if day.Unused != tc.unused || tc.stillness != (day.StoodStill > 0) || strings.Contains(day.String(), "stood still") != tc.stillness {
					t.Error(day)
				}
			}
		})
	}
}

// The same seed plays the same.
func TestFaultsAreDeterministic(t *testing.T) {
	draws := func(seed uint64) string {
		d, err := newBadDay(&Faults{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for i := range 200 {
			all = append(all, string(d.draw(uint32(1+i/50), i%50)))
		}
		return fmt.Sprint(all)
	}
	if first := draws(1); first != draws(1) || first == draws(2) {
		t.Error("the seed does not decide")
	}
	for _, k := range FaultKinds() {
		if !strings.Contains(draws(1), string(k)) {
			t.Errorf("%s is never played", k)
		}
	}
	if _, err := New(Config{Upstream: "postgres://localhost/", Faults: &Faults{Kinds: []FaultKind{"no"}}}); err == nil {
		t.Error("an unknown fault is played")
	}
}

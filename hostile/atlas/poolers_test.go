package atlas

import (
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// measured are the poolers of the table that run here.
var measured = []struct {
	pooler Pooler
	kind   pgtest.Kind
}{
	{PgBouncer118, pgtest.PgBouncer118Transaction},
	{PgBouncer124, pgtest.PgBouncer124Transaction},
	{PgBouncer126, pgtest.PgBouncer126Transaction},
	{PgBouncerReset, pgtest.PgBouncer118ResetAlways},
	{Odyssey, pgtest.Odyssey15},
	{OdysseyKeep, pgtest.Odyssey15NoDiscard},
	{Pgpool, pgtest.Pgpool43Streaming},
}

// Behind real poolers with two server connections each row fares as the table
// says: the state that SQL makes. What becomes of statements of the protocol is
// measured by the corpus and by package pooler.
func TestFates(t *testing.T) {
	if !pgtest.Soak() {
		return // a minute
	}
	direct := pgtest.Database(t)
	for _, m := range measured {
		pooled := pgtest.Pooled(t, direct, m.kind)
		for _, r := range Rows() {
			if r.Documented != "" || r.Holds != "" || len(r.Make) == 0 {
				continue
			}
			t.Run(m.kind.String()+"/"+r.Name, func(t *testing.T) {
				r.prepare(t, direct)
				defer func() {
					resetDatabase(t, direct)
					emptyPool(t, direct, pooled)
				}()
				want := r.FateBehind(m.pooler)
				if want == Own || want == Pins {
					want = Tracked // what its clients see is the same
				}
				if got := r.fate(t, direct, pooled); got != want {
					t.Errorf("it is %s, the table says %s", got, want)
				}
			})
		}
	}
}

// fate makes the row through a pooler, and asks other clients and then its own
// what they see. Two other clients ask at once, so that both server connections
// are asked.
func (r Row) fate(t *testing.T, direct, pooled string) Fate {
	t.Helper()
	own, one, two := dial(t, pooled), dial(t, pooled), dial(t, pooled)
	defer own.close()
	defer one.close()
	defer two.close()
	for _, sql := range r.Make {
		own.must(t, sql)
	}
	// A witness may take what it sees with it: one is asked for each client.
	sees := func(c *client) bool {
		if r.Twin {
			return r.witness(t, c) == r.witness(t, r.made(t, direct))
		}
		return r.witness(t, c) != r.witness(t, dial(t, direct))
	}
	one.must(t, "begin")
	leaks := sees(one)
	leaks = sees(two) || leaks
	if _, err := one.query("rollback", ""); err != nil {
		t.Fatal(err)
	}
	switch {
	case leaks:
		return Leaks
	case sees(own):
		return Tracked
	}
	return Lost
}

// emptyPool ends the server connections of the database's poolers, with whatever
// is on them, and returns when the pooler has noticed: Odyssey hands out a
// connection that is gone.
func emptyPool(t *testing.T, direct, pooled string) {
	t.Helper()
	c := dial(t, direct)
	defer c.close()
	const others = " from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
	for c.must(t, "select count(pg_terminate_backend(pid))"+others).text() != "0" {
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		one, two := dial(t, pooled), dial(t, pooled)
		_, err1 := one.query("begin; select 1", "")
		_, err2 := two.query("begin; select 1", "")
		if err1 == nil && err2 == nil {
			one.must(t, "commit")
			two.must(t, "commit")
		}
		one.close()
		two.close()
		if err1 == nil && err2 == nil {
			return
		}
	}
	t.Error("the pooler does not find new server connections")
}

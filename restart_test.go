package poolproof_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// What an operator does to a pooler does not harm anybody's data: while three tenants
// write and read by every way there is, PgBouncer pauses, resumes, makes its server
// connections anew, kills them, reads its configuration, and is killed and started
// again. Every write that was acknowledged is there once, none of another tenant
// was seen, and no connection is lost.
func TestAPoolerThatIsOperatedOn(t *testing.T) {
	for _, way := range []struct {
		kind pgtest.Kind
		mode poolproof.Mode
	}{
		{pgtest.PgBouncer118Transaction, poolproof.ModeExec},
		{pgtest.PgBouncer124Transaction, poolproof.ModeCacheStatement},
	} {
		t.Run(way.kind.String(), func(t *testing.T) {
			t.Parallel() // each has a pooler of its own
			f := newFixture(t, 3)
			url, bouncer := pgtest.PrivatePooler(t, f.url, way.kind, nil)
			db := open(t, url, mode(way.mode), func(c *poolproof.Config) { c.MaxConns = 4 })
			work := &steadyWork{db: db, sql: sql.OpenDB(poolproof.Connector(db)), wrote: make(chan struct{}), acknowledged: map[string]string{}}
			t.Cleanup(func() { _ = work.sql.Close() })
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var workers sync.WaitGroup
			for n := range 9 {
				workers.Go(func() { work.run(ctx, t, n) })
			}
			operate(t, bouncer, work)
			stop()
			workers.Wait()
			if n := db.Stat().AcquiredConns(); n != 0 {
				t.Errorf("%d connections are still out", n)
			}
			work.check(t, f)
		})
	}
}

// operate does everything twice, each time once some more has been written.
func operate(t *testing.T, bouncer *devdb.PgBouncer, work *steadyWork) {
	t.Helper()
	command := func(text string) func() error {
		return func() error {
			_, err := bouncer.Admin(t.Context(), text)
			return err
		}
	}
	paused := func() error {
		return errors.Join(command("PAUSE")(), command("RESUME")())
	}
	killed := func() error { // KILL leaves the database paused
		pools, err := bouncer.Admin(t.Context(), "SHOW POOLS")
		if err != nil {
			return err
		}
		for _, pool := range pools {
			if name := pool[0]; name != "pgbouncer" {
				err = errors.Join(err, command("KILL "+name)(), command("RESUME "+name)())
			}
		}
		return err
	}
	restarted := func() error { return bouncer.Restart(t.Context()) }
	for range 2 {
		for name, act := range map[string]func() error{
			"PAUSE and RESUME": paused, "RECONNECT": command("RECONNECT"), "RELOAD": command("RELOAD"), "KILL and RESUME": killed, "restart": restarted,
		} {
			work.await(30) // somebody is in the middle of something
			if err := act(); err != nil {
				t.Fatalf("%s: %v; the pooler: %v", name, err, bouncer.Failure())
			}
		}
	}
	work.await(30) // it goes on by itself
}

// steadyWork is clients that write rows of which each is known by its text.
type steadyWork struct {
	db    *poolproof.DB
	sql   *sql.DB
	wrote chan struct{} // receives while somebody waits for it

	mu           sync.Mutex
	acknowledged map[string]string // tenant by text
}

// await waits for n writes.
func (w *steadyWork) await(n int) {
	for range n {
		<-w.wrote
	}
}

func (w *steadyWork) run(ctx context.Context, t *testing.T, n int) {
	id := tenant(n % 3)
	session := w.db.Tenant(id)
	const insert = "insert into documents (tenant_id, body) values ($1, $2)"
	inTx := func(body string) func(tx pgx.Tx) error {
		return func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, insert, id, body); err != nil {
				return err
			}
			return w.reads(tx.Query(ctx, "select tenant_id::text from documents limit 5"))(t, id)
		}
	}
	ways := []func(body string) error{
		func(body string) error { _, err := session.Exec(ctx, insert, id, body); return err },
		func(body string) error { return session.InTx(ctx, inTx(body)) },
		func(body string) error {
			return session.InTxOptions(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable}, inTx(body))
		},
		func(body string) error { return w.byConn(ctx, id, insert, body) },
		func(body string) error {
			b := &pgx.Batch{}
			b.Queue(insert, id, body)
			return session.SendBatch(ctx, b).Close()
		},
		func(body string) error {
			_, err := session.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"}, pgx.CopyFromRows([][]any{{id, body}}))
			return err
		},
	}
	for i := 0; ctx.Err() == nil; i++ {
		body := fmt.Sprintf("%d of %d", i, n)
		if ways[(i+n)%len(ways)](body) == nil {
			w.mu.Lock()
			w.acknowledged[body] = id
			w.mu.Unlock()
			select {
			case w.wrote <- struct{}{}:
			default:
			}
		}
		_ = w.reads(session.Query(ctx, "select tenant_id::text from documents limit 5"))(t, id)
	}
}

// byConn writes in a transaction of a database/sql connection that is kept for two.
func (w *steadyWork) byConn(ctx context.Context, id, insert, body string) error {
	ctx = poolproof.WithTenant(ctx, id)
	conn, err := w.sql.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.ExecContext(ctx, "select 1") // whatever it says, the connection is used again
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, insert, id, body); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// reads returns a function that reads the rows, which are all to be of a tenant.
func (w *steadyWork) reads(rows pgx.Rows, err error) func(t *testing.T, id string) error {
	return func(t *testing.T, id string) error {
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var of string
			if err := rows.Scan(&of); err != nil {
				return err
			}
			if of != id {
				t.Errorf("tenant %s read a row of %s", id, of)
			}
		}
		return rows.Err()
	}
}

// check holds what is stored to what was acknowledged. What was not may be there
// or not, but no more than once, and of its own tenant.
func (w *steadyWork) check(t *testing.T, f *fixture) {
	t.Helper()
	rows, err := f.owner.Query(context.WithoutCancel(t.Context()), "select body, array_agg(tenant_id::text) from documents where body like '% of _' group by body")
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]string{}
	var body string
	var tenants []string
	if _, err := pgx.ForEachRow(rows, []any{&body, &tenants}, func() error {
		var i, n int
		if _, err := fmt.Sscanf(body, "%d of %d", &i, &n); err != nil {
			return err
		}
		if len(tenants) != 1 || tenants[0] != tenant(n%3) {
			t.Errorf("%q is stored for %q", body, tenants)
		}
		stored[body] = tenants[0]
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	lost := slices.DeleteFunc(slices.Sorted(maps.Keys(w.acknowledged)), func(body string) bool { return stored[body] == w.acknowledged[body] })
	if len(lost) > 0 {
		t.Errorf("%d acknowledged writes of %d are not there: %.10q", len(lost), len(w.acknowledged), lost)
	}
	t.Logf("%d writes acknowledged, %d stored", len(w.acknowledged), len(stored))
}

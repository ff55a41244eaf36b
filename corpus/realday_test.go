package corpus

import (
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// realDay is a bad day of a real PgBouncer with two server connections: what
// prove plays with --faults is made here by holding, ending and cutting what is
// real.
type realDay struct {
	*testing.T
	direct, pooled string
	admin          *pgx.Conn // on the server itself
	log            *slowLog  // the server's, if it is one of the day's own

	mu     sync.Mutex
	links  []net.Conn // the program's connections to PgBouncer
	played int        // faults
}

// beside names the connections of the program and of the test that do not go
// through PgBouncer.
const beside = "application_name=beside"

// newRealDay starts a PgBouncer of its own before a database of the program's.
// Writes take a moment, so that something can happen meanwhile.
func newRealDay(t *testing.T, version pgtest.Kind, kind hostile.FaultKind) *realDay {
	t.Helper()
	d := &realDay{T: t}
	var direct string
	wait, user, port := "60", "", 0
	switch kind {
	case hostile.FaultCheckout:
		wait = "1" // it is what is waited for; else a busy machine would play it
		direct = database(t)
	case hostile.FaultBegin:
		d.log, direct = withSlowLog(t)
		user, port = app, d.log.server.Port()
	default:
		direct = database(t)
	}
	through := direct
	if user != "" {
		through = as(t, user, direct)
	}
	pooled, _ := pgtest.PoolerBefore(t, through, version, port, map[string]string{"query_wait_timeout": wait, "server_login_retry": "0"})
	d.direct, d.pooled = direct+"&"+beside, pgtest.Between(t, pooled, d.link)
	var err error
	if d.admin, err = pgx.Connect(t.Context(), d.direct); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.admin.Close(context.WithoutCancel(t.Context())) })
	return d
}

// link passes on what the program and PgBouncer say.
func (d *realDay) link(client, server net.Conn) {
	d.mu.Lock()
	d.links = append(d.links, client, server)
	d.mu.Unlock()
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1]) // either end is the end
			_ = client.Close()
			_ = server.Close()
		}()
	}
}

// cut ends the program's connections to PgBouncer, whatever is on its way.
func (d *realDay) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.links {
		_ = c.Close()
	}
	d.links = nil
}

// ask runs a statement on the server itself and returns its first value, a
// number. The error is the end of the test.
func (d *realDay) ask(ctx context.Context, sql string) (n int, ok bool) {
	return n, d.admin.QueryRow(ctx, sql, pgx.QueryExecModeSimpleProtocol).Scan(&n) == nil
}

// count counts faults, and returns how many there were.
func (d *realDay) count(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.played += n
	return d.played
}

// pooledOnes are PgBouncer's connections to the database.
const pooledOnes = " from pg_stat_activity where datname = current_database() and backend_type = 'client backend' and application_name <> 'beside'"

// ends returns what ends server connections: those that which says, and again
// after so many seconds.
func ends(which, seconds string) func(d *realDay, ctx context.Context, most int) {
	sql := "with once as (select pg_terminate_backend(pid)" + pooledOnes + " " + which + ") select count(*) from once, pg_sleep(" + seconds + ")"
	return func(d *realDay, ctx context.Context, most int) {
		for d.count(0) < most {
			n, ok := d.ask(ctx, sql)
			if !ok {
				return
			}
			d.count(n)
		}
	}
}

// realFaults are, by what prove plays, what makes it real. Each goes on until the
// program has ended, at most so many times.
var realFaults = map[hostile.FaultKind]func(d *realDay, ctx context.Context, most int){
	// Others hold both server connections for longer than query_wait_timeout.
	hostile.FaultCheckout: func(d *realDay, ctx context.Context, most int) {
		for range most {
			var held []*pgx.Conn
			for range 2 {
				c, err := pgx.Connect(ctx, d.pooled+"&default_query_exec_mode=exec")
				if err == nil {
					held = append(held, c)
					_, _ = c.Exec(ctx, "begin")
				}
			}
			c, err := pgx.Connect(ctx, d.pooled+"&default_query_exec_mode=exec")
			if err == nil { // it waits as long as the program, which came before
				if _, err := c.Exec(ctx, "select 1"); err != nil && strings.Contains(err.Error(), "query_wait_timeout") {
					d.count(1)
				}
				held = append(held, c)
			}
			for _, c := range held {
				_ = c.Close(context.WithoutCancel(ctx))
			}
			if _, ok := d.ask(ctx, "select 1 from pg_sleep(0.05)"); !ok {
				return
			}
		}
	},
	// The server's log stands still until a statement that waits for it is over its
	// time: statement_timeout stops a BEGIN, too.
	hostile.FaultBegin: func(d *realDay, ctx context.Context, most int) {
		const late = pooledOnes + " and state = 'active' and query_start < clock_timestamp() - interval '550 ms'"
		for range most {
			for n := 0; n == 0; { // it is about to begin a transaction, or has
				var ok bool
				if n, ok = d.ask(ctx, "select count(*)"+pooledOnes+" and query ~* '^(begin|commit|rollback)'"); !ok {
					return
				}
			}
			resume := d.log.stop(ctx)
			waiting, ok := 0, true
			for waiting == 0 && ok {
				waiting, ok = d.ask(ctx, "select count(*)"+late)
			}
			begins := 0
			if ok {
				begins, ok = d.ask(ctx, "select count(*)"+late+" and query ~* '^begin'")
			}
			d.count(begins)
			resume()
			if !ok {
				return
			}
		}
	},
	// A server connection ends.
	hostile.FaultCut: ends("order by random() limit 1", "0.05"),
	// All end at once, as in a failover.
	hostile.FaultFailover: ends("", "0.1"),
	// The network between program and PgBouncer is cut while a write runs, which PostgreSQL ends all the same.
	hostile.FaultAnswer: func(d *realDay, ctx context.Context, most int) {
		for _, table := range []string{"payment", "job"} { // writes take a moment
			for n := 0; n == 0; {
				var ok bool
				if n, ok = d.ask(ctx, "select count(*) from pg_class where relname = '"+table+"' and relkind = 'r'"); !ok {
					return
				}
			}
			_, err := d.admin.Exec(ctx, "create or replace function slow() returns trigger language plpgsql as $$begin perform pg_sleep(0.05); return coalesce(new, old); end$$;"+
				"create trigger slow before insert or delete on "+table+" for each row execute function slow()", pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				return
			}
		}
		const writing = "select count(*)" + pooledOnes + " and state = 'active' and query ~ '^(insert into payment|delete from job)' and query_start < clock_timestamp() - interval '10 ms'"
		for cuts := 0; cuts < most; {
			n, ok := d.ask(ctx, writing)
			if !ok {
				return
			}
			if n > 0 {
				d.cut()
				d.count(1)
				cuts++
				for n > 0 && ok { // one write is cut once
					n, ok = d.ask(ctx, writing)
				}
			}
		}
	},
}

// suffers runs a program on a real bad day.
func (d *realDay) suffers(r row, kind hostile.FaultKind, most int) run {
	d.Helper()
	ctx, cancel := context.WithCancel(d.Context())
	var fault sync.WaitGroup
	fault.Go(func() {
		for n := 0; n == 0; { // it is about to begin
			var ok bool
			if n, ok = d.ask(ctx, "select count(*) from pg_class where relname in ('badday', 'payment')"); !ok {
				return
			}
		}
		realFaults[kind](d, ctx, most)
	})
	ran := execute(d.T, r.program, r.form, d.pooled, d.direct)
	cancel()
	fault.Wait()
	return ran
}

// What prove says of a bad day is what programs suffer on one of a real PgBouncer:
// what is found with --faults does its harm, and what is right stays right.
func TestRealBadDays(t *testing.T) {
	rounds, versions := pgtest.Pick(1, 5), []pgtest.Kind{pgtest.PgBouncer118Transaction}
	if pgtest.Soak() {
		versions = append(versions, pgtest.PgBouncer124Transaction)
	}
	harmful := map[string][]hostile.FaultKind{
		"node/pg_badday.cjs leak":             {hostile.FaultCheckout, hostile.FaultBegin},
		"node/pg_badday.cjs goes-on":          {hostile.FaultBegin},
		"node/drizzle_badday.cjs transaction": {hostile.FaultCheckout, hostile.FaultBegin},
		"python/psycopg_badday.py twice":      {hostile.FaultAnswer}, "python/psycopg_badday.py job": {hostile.FaultAnswer},
	}
	for _, version := range versions {
		for _, r := range badDays {
			name := r.program + " " + r.form
			kinds := harmful[name]
			if len(r.want) == 0 {
				for _, kind := range []hostile.FaultKind{hostile.FaultCheckout, hostile.FaultBegin, hostile.FaultCut, hostile.FaultFailover, hostile.FaultAnswer} {
					if kind != hostile.FaultAnswer || strings.HasPrefix(r.program, "python") {
						kinds = append(kinds, kind)
					}
				}
			}
			for _, kind := range kinds {
				answer := kind == hostile.FaultAnswer && !strings.HasSuffix(name, "job")
				usedUp := kind == hostile.FaultCheckout && name == "node/drizzle_badday.cjs transaction"
				if !pgtest.Soak() && !answer && !usedUp {
					continue // a program of each language
				}
				t.Run(version.String()+" "+name+" "+string(kind), func(t *testing.T) {
					t.Parallel()
					for range rounds {
						if len(r.want) == 0 {
							played := 0
							for try := 0; try < tries && played == 0 && !t.Failed(); try++ { // it may come when it meets nothing
								d := newRealDay(t, version, kind)
								if ran := d.suffers(r.row, kind, 5); ran.exit != 0 {
									t.Errorf("after %d faults it exits with %d, and says\n%s", d.played, ran.exit, ran.output)
								}
								played = d.played
							}
							if played == 0 {
								t.Error("it met no fault")
							}
							continue
						}
						last := run{}
						for range tries {
							if last = newRealDay(t, version, kind).suffers(r.row, kind, 5); last.exit != 0 && regexp.MustCompile(r.says).MatchString(last.output) {
								break
							}
						}
						if !regexp.MustCompile(r.says).MatchString(last.output) {
							t.Errorf("want output like %q in %d tries; the last was\n%s", r.says, tries, last.output)
						}
					}
				})
			}
		}
	}
}

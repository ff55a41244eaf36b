package poolproof_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestPrograms runs random programs of three tenants side by side, on one
// server connection, or two, onto which another program leaves a fourth tenant's id, and
// holds them to a model: every statement that ran, ran as its tenant; every
// write that was told as stored is there, and none that was told as undone; no
// connection is lost. The programs do what careless ones do: they recover
// panics, use a transaction from within an argument or from a second goroutine,
// keep results, give up in the middle, and go on after errors.
func TestPrograms(t *testing.T) {
	steps := pgtest.Pick(2_000, 210_000) // 200,000 and a few more, as a program is a little shorter than that on average
	ways := []struct {
		kind pgtest.Kind
		mode poolproof.Mode
		form poolproof.ScopeForm
		size string // of the pool; where one server connection is there, nobody can prove that statements are tracked
	}{
		{pgtest.PgBouncer118Transaction, poolproof.ModeExec, poolproof.ScopeStatement, "1"},
		{pgtest.PgBouncer118Transaction, poolproof.ModeCacheDescribe, poolproof.ScopeParameter, "1"},
		{pgtest.PgBouncer124Transaction, poolproof.ModeCacheStatement, poolproof.ScopeParameter, "2"},
	}
	f := newFixture(t, 0)
	f.exec(t, `
		create table ledger (tenant_id uuid not null, entry text not null, touched_by text, primary key (tenant_id, entry));
		alter table ledger enable row level security;
		alter table ledger force row level security;
		create policy tenant on ledger using (`+tenantPolicy+`) with check (`+tenantPolicy+`);
		grant select, insert, update, delete on ledger to `+loginOf(t, f.url))
	checks := max(steps/len(ways)/(3*programLength/4), 1) // a program has a quarter of the length on average
	presetFlags(t, map[string]string{"rapid.checks": strconv.Itoa(checks), "rapid.nofailfile": "true", "rapid.shrinktime": "20s"})
	for _, way := range ways {
		t.Run(fmt.Sprintf("%v/%s/%s", way.kind, way.mode, way.form), func(t *testing.T) {
			g := &programs{f: f, start: func() (string, *poolproof.DB, *devdb.PgBouncer) {
				url, bouncer := pgtest.PrivatePooler(t, f.url, way.kind, map[string]string{"default_pool_size": way.size})
				return url, open(t, url, mode(way.mode), scoped(way.form), func(c *poolproof.Config) { c.MaxConns = 4 }), bouncer
			}}
			var done atomic.Int64
			rapid.Check(t, func(rt *rapid.T) { g.round(t, rt, &done) })
			t.Logf("%d steps", done.Load())
		})
	}
}

// programLength is how many steps a program has at the most.
const programLength = 24

// presetFlags sets flags that the command line may still override.
func presetFlags(t *testing.T, values map[string]string) {
	t.Helper()
	flag.Visit(func(f *flag.Flag) { delete(values, f.Name) })
	for name, value := range values {
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, old) })
	}
}

// stepKind is what a step does.
type stepKind int

const ( //nolint:iotamixing // the number of kinds stands with them
	insert stepKind = iota
	touch
	look
	batch
	copied
	keepRows                    // begin to read rows and keep them
	keepRow                     // do not scan a QueryRow
	readKept                    // read what was kept
	fails                       // a statement that PostgreSQL refuses
	panics                      // an argument that panics, recovered
	unencodable                 // an argument that cannot be encoded
	usesItself                  // an argument that uses the transaction
	cancelled                   // a context that ends in the middle of the statement
	secondGoroutine             // two statements at once
	outliving                   // a goroutine that is joined only after the program
	nested                      // a nested transaction of the steps that follow, up to its end
	nestedEnd                   //
	commitEarly                 // fn itself commits
	rollbackEarly               // fn itself rolls back
	kinds                       // how many there are
	lastOfSessions  = cancelled // what can be done outside a transaction comes first
)

func (k stepKind) String() string {
	return [...]string{"insert", "touch", "look", "batch", "copied", "keepRows", "keepRow", "readKept", "fails", "panics", "unencodable", "usesItself",
		"cancelled", "secondGoroutine", "outliving", "nested", "nestedEnd", "commitEarly", "rollbackEarly"}[k]
}

// program is what one tenant does in a round: its steps one by one, or in a transaction.
type program struct {
	InTx   bool
	Steps  []stepKind
	Ending int // of the transaction: 0 returns nil, 1 an error, 2 panics
}

func drawProgram(rt *rapid.T) program {
	p := program{InTx: rapid.Float64Range(0, 1).Draw(rt, "in a transaction") < 0.8}
	last := kinds - 1
	if !p.InTx {
		last = lastOfSessions
	}
	p.Steps = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) stepKind { return stepKind(rapid.IntRange(0, int(last)).Draw(rt, "step")) }), 1, programLength).Draw(rt, "steps")
	if p.InTx {
		p.Ending = rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(rt, "ending")
	}
	return p
}

// programs is the ground that rounds run on.
type programs struct {
	f       *fixture
	start   func() (url string, db *poolproof.DB, bouncer *devdb.PgBouncer)
	url     string
	db      *poolproof.DB
	bouncer *devdb.PgBouncer
	rounds  int
}

// died reports whether the pooler has ended by itself: PgBouncer 1.18 does when
// a cancel request comes at the wrong moment ("server_proto: server in bad state:
// 11"). What was under way then is of unknown fate.
func (g *programs) died(t *testing.T) bool {
	if err := g.bouncer.Failure(); err != nil {
		t.Logf("after %d rounds: %v", g.rounds, err)
		return true
	}
	return false
}

// round runs a program of each tenant and compares what is left with the model.
func (g *programs) round(t *testing.T, rt *rapid.T, done *atomic.Int64) {
	g.rounds++
	for g.bouncer == nil || tryLeave(t.Context(), g.url, victim) != nil {
		if g.bouncer != nil {
			waitFor(t, "the pooler has ended, as it lets nobody in", func() bool { return g.bouncer.Failure() != nil })
			g.died(t)
		}
		g.url, g.db, g.bouncer = g.start()
	}
	runs := make([]*programRun, 3)
	for i := range runs {
		runs[i] = &programRun{programs: g, tenant: tenant(i), program: rapid.Custom(drawProgram).Draw(rt, "program of "+tenant(i)),
			prefix: fmt.Sprintf("round %d of %s: ", g.rounds, tenant(i)), certain: map[string]bool{}}
	}
	var workers sync.WaitGroup
	for _, r := range runs {
		workers.Go(r.run)
	}
	workers.Wait()
	for _, r := range runs {
		done.Add(int64(len(r.program.Steps)))
		for _, fault := range r.faults {
			rt.Errorf("%s%s", r.prefix, fault)
		}
	}
	waitFor(t, "the connections are back", func() bool { return g.db.Stat().AcquiredConns() == 0 })
	if n := g.f.count(t, "select count(*) from ledger where touched_by <> tenant_id::text or tenant_id = $1", victim); n != 0 {
		rt.Errorf("%d rows were touched by another tenant", n)
	}
	there := map[string]bool{}
	rows, err := g.f.owner.Query(context.Background(), "select entry from ledger")
	if err != nil {
		rt.Fatal(err)
	}
	for rows.Next() {
		var entry string
		if err := rows.Scan(&entry); err != nil {
			rt.Fatal(err)
		}
		there[entry] = true
	}
	if rows.Err() != nil {
		rt.Fatal(rows.Err())
	}
	if g.died(t) {
		g.f.exec(t, "truncate ledger")
		return
	}
	for _, r := range runs {
		for entry, stored := range r.certain {
			if stored != there[entry] {
				rt.Errorf("%q is stored: %v, was told: %v", entry, there[entry], stored)
			}
		}
	}
	g.f.exec(t, "truncate ledger")
}

// programRun is a program under way and what its tenant was told.
type programRun struct {
	*programs
	tenant  string
	program program
	prefix  string

	mu      sync.Mutex
	faults  []string
	certain map[string]bool // by entry: told as stored, or as not stored; entries of unknown fate are absent
	entries int
}

func (r *programRun) faultf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func (r *programRun) tell(stored bool, entries ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		r.certain[e] = stored
	}
}

func (r *programRun) entry() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries++
	return r.prefix + strconv.Itoa(r.entries)
}

// kept is a result that was not read when it should have been.
type kept struct {
	rows pgx.Rows
	row  pgx.Row
}

// stepScope is what the steps of a program share: a session, or a transaction with
// the nested one that is open.
type stepScope struct {
	q       dbtx
	tx      pgx.Tx // nil outside a transaction
	kept    []kept
	pending []string // written in this transaction, and not undone
	joins   []func()
}

var errProgram = errors.New("the program failed")

func (r *programRun) run() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := r.db.Tenant(r.tenant)
	sc := &stepScope{q: s}
	defer func() {
		for _, join := range sc.joins {
			join()
		}
		r.readKept(sc)
	}()
	if !r.program.InTx {
		for _, k := range r.program.Steps {
			r.step(ctx, sc, k)
			r.readKept(sc) // else every connection would soon be held
		}
		return
	}
	early := ""
	var err error
	panicked := true
	func() {
		defer func() { _ = recover() }()
		err = s.InTx(ctx, func(tx pgx.Tx) error {
			sc.q, sc.tx = tx, tx
			early = r.transaction(ctx, sc, tx)
			switch r.program.Ending {
			case 1:
				return errProgram
			case 2:
				panic(errProgram)
			}
			return nil
		})
		panicked = false
	}()
	switch {
	case early == "committed":
		r.tell(true, sc.pending...)
	case early == "rolled back", panicked, err != nil && ctx.Err() == nil:
		r.tell(false, sc.pending...)
	case err == nil && early == "":
		r.tell(true, sc.pending...)
	}
	if err == nil && r.program.Ending == 1 {
		r.faultf("InTx swallowed an error")
	}
}

// transaction runs the steps inside tx and returns how fn itself ended it: "committed",
// "rolled back", "unknown", or "" if it did not.
func (r *programRun) transaction(ctx context.Context, sc *stepScope, tx pgx.Tx) (early string) {
	type level struct {
		tx     pgx.Tx
		before int // len(sc.pending) when it began
	}
	var levels []level
	current := func() pgx.Tx {
		if len(levels) > 0 {
			return levels[len(levels)-1].tx
		}
		return tx
	}
	undo := func(before int) {
		undone := sc.pending[before:]
		r.tell(false, undone...)
		sc.pending = sc.pending[:before:before]
	}
	for _, k := range r.program.Steps {
		switch k {
		case nested:
			inner, err := current().Begin(ctx)
			if err != nil {
				continue
			}
			levels = append(levels, level{inner, len(sc.pending)})
			sc.q, sc.tx = inner, inner
		case nestedEnd:
			if len(levels) == 0 {
				continue
			}
			l := levels[len(levels)-1]
			leave := l.tx.Rollback
			if len(sc.pending)%2 == 0 {
				leave = l.tx.Commit
			}
			if err := leave(ctx); err == nil {
				if len(sc.pending)%2 != 0 {
					undo(l.before)
				}
				levels = levels[:len(levels)-1]
				sc.q, sc.tx = current(), current()
			}
		case commitEarly, rollbackEarly:
			if early != "" || len(levels) > 0 {
				continue
			}
			end, told := tx.Commit, "committed"
			if k == rollbackEarly {
				end, told = tx.Rollback, "rolled back"
			}
			switch err := end(ctx); {
			case err == nil:
				early = told
			case errors.Is(err, pgx.ErrTxCommitRollback), errors.Is(err, pgx.ErrTxClosed):
				early = "rolled back"
			case errors.Is(err, poolproof.ErrTxInUse):
			default:
				early = "unknown"
			}
		default:
			r.step(ctx, sc, k)
		}
	}
	return early
}

const (
	insertEntry = "insert into ledger (tenant_id, entry) values ($1, $2) returning current_setting('app.current_tenant_id')"
	touchAll    = "update ledger set touched_by = current_setting('app.current_tenant_id')"
	lookAtAll   = "select tenant_id::text from ledger union all select current_setting('app.current_tenant_id') from generate_series(1, 50)"
)

// step does one thing and notes what was told of it.
func (r *programRun) step(ctx context.Context, sc *stepScope, k stepKind) {
	// wrote notes an entry whose statement was told as done: stored, or part of the transaction.
	wrote := func(err error, entries ...string) {
		switch {
		case err == nil && sc.tx != nil:
			sc.pending = append(sc.pending, entries...)
		case err == nil:
			r.tell(true, entries...)
		case ctx.Err() == nil && !errors.Is(err, poolproof.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded):
			r.tell(false, entries...)
		}
	}
	write := func(q dbtx, ctx context.Context, entry string, args ...any) error {
		var as string
		if len(args) == 0 {
			args = []any{r.tenant, entry}
		}
		err := q.QueryRow(ctx, insertEntry, args...).Scan(&as)
		if err == nil && as != r.tenant {
			r.faultf("a statement ran as %q", as)
		}
		return err
	}
	switch k {
	case insert:
		e := r.entry()
		wrote(write(sc.q, ctx, e), e)
	case touch:
		_, _ = sc.q.Exec(ctx, touchAll)
	case look:
		rows, err := sc.q.Query(ctx, lookAtAll)
		if err == nil {
			r.read(rows)
		}
	case batch:
		es := []string{r.entry(), r.entry()}
		b := &pgx.Batch{}
		for _, e := range es {
			b.Queue(insertEntry, r.tenant, e)
		}
		b.Queue(touchAll)
		wrote(sc.q.SendBatch(ctx, b).Close(), es...)
	case copied:
		es := []string{r.entry(), r.entry(), r.entry()}
		var rows [][]any
		for _, e := range es {
			rows = append(rows, []any{r.tenant, e})
		}
		_, err := sc.q.CopyFrom(ctx, pgx.Identifier{"ledger"}, []string{"tenant_id", "entry"}, pgx.CopyFromRows(rows))
		wrote(err, es...)
	case keepRows:
		if rows, err := sc.q.Query(ctx, lookAtAll); err == nil {
			rows.Next()
			sc.kept = append(sc.kept, kept{rows: rows})
		}
	case keepRow:
		sc.kept = append(sc.kept, kept{row: sc.q.QueryRow(ctx, lookAtAll)})
	case readKept:
		r.readKept(sc)
	case fails:
		if _, err := sc.q.Exec(ctx, "select 1/$1::int", 0); err == nil {
			r.faultf("a division by zero was told as done")
		}
	case panics:
		e := r.entry()
		recovered(func() { wrote(write(sc.q, ctx, e, r.tenant, panicking{}), e) })
	case unencodable:
		if _, err := sc.q.Exec(ctx, "select $1::text", make(chan int)); err == nil {
			r.faultf("a channel was encoded")
		}
	case usesItself:
		if sc.tx == nil {
			return
		}
		e, inner := r.entry(), r.entry()
		innerErr := errors.New("not begun")
		_, err := sc.q.Exec(ctx, "insert into ledger (tenant_id, entry) values ($1, $2 || $3)", r.tenant, e, valuer(func() { innerErr = write(sc.q, ctx, inner) }))
		wrote(err, e+"x")
		wrote(innerErr, inner)
		if innerErr == nil {
			r.faultf("a transaction was used from within an argument")
		}
	case cancelled:
		short, cancel := context.WithTimeout(ctx, 3*time.Millisecond)
		defer cancel()
		_, _ = sc.q.Exec(short, "select pg_sleep(0.006)")
	case secondGoroutine:
		if sc.tx == nil {
			return
		}
		e, second := r.entry(), r.entry()
		q, told := sc.q, make(chan error, 1)
		var once sync.Once
		_, err := q.Exec(ctx, "insert into ledger (tenant_id, entry) values ($1, $2 || $3)", r.tenant, e, valuer(func() {
			once.Do(func() {
				go func() { told <- write(q, ctx, second) }()
			})
		}))
		once.Do(func() { told <- errors.New("not begun") })
		secondErr := <-told
		wrote(err, e+"x")
		wrote(secondErr, second)
	case outliving:
		if sc.tx == nil {
			return
		}
		q, done := sc.q, make(chan struct{})
		e := r.entry()
		go func() {
			defer close(done)
			_ = write(q, ctx, e) // of unknown fate
		}()
		sc.joins = append(sc.joins, func() { <-done })
	}
}

// readKept reads results that were kept: own rows, or an error.
func (r *programRun) readKept(sc *stepScope) {
	for _, k := range sc.kept {
		if k.row != nil {
			var seen string
			switch err := k.row.Scan(&seen); {
			case err == nil && seen != r.tenant:
				r.faultf("a kept row holds %q", seen)
			case errors.Is(err, pgx.ErrNoRows):
				r.faultf("a kept row is said not to be there")
			}
			continue
		}
		var seen string
		if err := k.rows.Scan(&seen); err == nil && seen != r.tenant {
			r.faultf("kept rows hold %q", seen)
		}
		r.read(k.rows)
	}
	sc.kept = nil
}

// read reads rows to their end: all of them are the tenant's own.
func (r *programRun) read(rows pgx.Rows) {
	defer rows.Close()
	for rows.Next() {
		var seen string
		if err := rows.Scan(&seen); err == nil && seen != r.tenant {
			r.faultf("a row of %q was read", seen)
		}
		for _, raw := range rows.RawValues() {
			if s := string(raw); s != r.tenant && strings.HasPrefix(s, "00000000-") {
				r.faultf("raw bytes of %q were read", s)
			}
		}
	}
}

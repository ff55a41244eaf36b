package corpus

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// rounds bound what the comparison takes.
var (
	proveRounds = flag.Int("rounds", 20, "in each mode, how often the soak of TestCopies, and TestCases, ask prove about a program")
	crowdRounds = flag.Int("crowds", 3, "how often they run eight copies through each PgBouncer")
)

// judged are faulty programs of the table that TestCopies asks about too.
var judged = []string{
	"python/wire.py", "node/pg_claims.cjs", "node/pg_late.cjs", "node/pg_named.cjs", "node/pg_setting.cjs",
	"python/psycopg2_timeout.py", "python/psycopg_deallocate.py", "python/psycopg_helper.py",
}

// What prove says of one copy is what several at once suffer through real
// PgBouncers with two server connections: an error where one of them suffers,
// nothing worse than a warning where none does. What is strict, and PgBouncer
// 1.18, TestProve and TestBehindPgBouncer ask as well: here only the soak does. It
// asks about some faulty programs and all forms that are right; make test about one
// program. TestCases asks about a folder's.
func TestCopies(t *testing.T) {
	soak := pgtest.Soak()
	c := newComparison(t, pgtest.Server(t).AdminURL(), soak)
	for _, r := range table {
		if right := len(r.want) == 0; soak && (right || slices.Contains(judged, r.program)) || !soak && r.program == judged[0] {
			t.Run(r.program+" "+r.form, func(t *testing.T) {
				t.Parallel()
				c.compare(t, subject{
					faulty: !right, database: database,
					run: func(t *testing.T, pooled, direct string) run { //nolint:thelper // it is what is tested
						return execute(t, r.program, r.form, pooled, direct)
					},
				})
			})
		}
	}
}

// subject is a program of which several copies run.
type subject struct {
	faulty   bool // as its row says: asked where PgBouncer 1.18 is not; it may be wrong alone too, on a direct connection
	database func(t *testing.T) (direct string)
	run      func(t *testing.T, pooled, direct string) run
	more     []string // the modes in which prove rightly says an error although the copies suffer nothing
}

// comparison is how much is compared, and with what.
type comparison struct {
	copies       int // that run at once
	crowds       int // how often they do through each PgBouncer
	rounds       int // how often prove is asked in each mode
	modes        []mode
	on118, on124 func(direct string) (pooled string) // on118 is nil without the soak
}

// mode is one of the ways in which prove is asked.
type mode struct {
	name string
	cfg  hostile.Config
}

func newComparison(t *testing.T, url string, soak bool) comparison {
	t.Helper()
	c := comparison{copies: 3, crowds: 1, rounds: 1, on124: takingTurns(t, url, pgtest.PgBouncer124Transaction)}
	if soak {
		c = comparison{copies: 8, crowds: *crowdRounds, rounds: *proveRounds, on124: c.on124, on118: takingTurns(t, url, pgtest.PgBouncer118Transaction)}
		c.modes = append(c.modes, mode{"strict", hostile.Config{}})
	}
	c.modes = append(c.modes, mode{"observe", hostile.Config{Observe: true}}, mode{"as-1.24", hostile.Config{Profile: "pgbouncer-1.24"}})
	return c
}

// takingTurns starts a PgBouncer whose two server connections take turns: what a
// busy pool does by chance happens to a lone client too.
func takingTurns(t *testing.T, url string, kind pgtest.Kind) (at func(direct string) string) {
	t.Helper()
	pooled, _ := pgtest.PrivatePooler(t, url, kind, map[string]string{
		"server_round_robin": "1",
		"server_check_delay": "600", // one that it wants to try first does not take its turn
	})
	host := parsed(t, pooled).Host
	return func(direct string) string {
		u := parsed(t, direct)
		u.Host = host
		return u.String()
	}
}

// compare wants that prove's errors in each mode are what copies suffer: strict and
// observing it speaks of both PgBouncers, as pgbouncer-1.24 of that.
func (c comparison) compare(t *testing.T, s subject) {
	t.Helper()
	alone := s.alone(t)
	if t.Failed() {
		return
	}
	by124 := c.suffer(t, s, "1.24", c.on124, alone)
	either := by124 || s.faulty
	if c.on118 != nil {
		either = c.suffer(t, s, "1.18", c.on118, alone) || by124
	}
	for _, m := range c.modes {
		harmed := by124 || m.cfg.Profile == "" && either
		more := slices.Contains(s.more, m.name)
		if harmed && more {
			t.Errorf("%s: copies do suffer, so an error is no more than they do", m.name)
		}
		c.accuse(t, s, m, harmed || more)
	}
}

// alone is what is wrong with the program on a direct connection: nothing unless it
// is faulty there too. No pooler is to blame for that.
func (s subject) alone(t *testing.T) (how []string) {
	t.Helper()
	direct := s.database(t)
	lone, codes := pgtest.Errors(t, direct)
	if ran := s.run(t, lone, direct); ran.exit != 0 {
		how = append(how, complains(ran))
		if !s.faulty {
			t.Errorf("it is wrong alone, on a direct connection: exit %d\n%s", ran.exit, ran.output)
		}
	}
	for _, code := range codes() {
		how = append(how, isSent(code))
	}
	return how
}

// accuse wants that prove says an error of one copy at each of its runs, or at none.
func (c comparison) accuse(t *testing.T, s subject, m mode, want bool) {
	t.Helper()
	t.Run(m.name, func(t *testing.T) {
		direct, accused, said := s.database(t), 0, []string{}
		for round := range c.rounds {
			t.Run(fmt.Sprint(round+1), func(t *testing.T) { // its pooler ends with it
				cfg := m.cfg
				cfg.Upstream = direct
				p, pooled := pooler(t, cfg)
				ran := s.run(t, pooled, direct)
				errors := 0
				for _, f := range p.Report().Findings {
					said = append(said, fmt.Sprintf("%s %s %s", f.Severity, f.Code, f.Subject))
					if f.Severity == hostile.Error {
						errors++
					}
				}
				if errors > 0 {
					accused++
				}
				if (errors > 0) != want {
					t.Errorf("an error: %t, want %t; exit %d, it said\n%s", errors > 0, want, ran.exit, ran.output)
				}
			})
		}
		slices.Sort(said)
		t.Logf("%s: an error in %d of %d runs: %q", t.Name(), accused, c.rounds, slices.Compact(said))
	})
}

// suffer reports whether copies suffered at once through a PgBouncer: one was
// wrong, was sent an error that it is not sent alone, or left to strangers what a
// new connection has not.
func (c comparison) suffer(t *testing.T, s subject, name string, at func(string) string, alone []string) (suffered bool) {
	t.Helper()
	t.Run("copies-"+name, func(t *testing.T) {
		crowds, all := 0, []string{}
		for range c.crowds {
			how := s.crowd(t, c.copies, at, alone)
			if len(how) > 0 {
				crowds++
			}
			all = append(all, how...)
		}
		suffered = crowds > 0
		slices.Sort(all)
		t.Logf("%s: %d of %d crowds suffered: %q", t.Name(), crowds, c.crowds, slices.Compact(all))
	})
	return suffered
}

// crowd runs copies at once and returns what is wrong with them.
func (s subject) crowd(t *testing.T, copies int, at func(string) string, alone []string) (how []string) {
	t.Helper()
	direct := s.database(t)
	b := &bouncer{T: t, pooled: at(direct), direct: direct}
	b.strangers(func(*pgx.Conn) {}) // both server connections are there
	tapped, codes := pgtest.Errors(t, b.pooled)
	var mu sync.Mutex
	together(copies, func(int) run {
		ran := s.run(t, tapped, direct)
		if ran.exit != 0 {
			mu.Lock()
			defer mu.Unlock()
			how = append(how, complains(ran))
		}
		return ran
	})
	for _, code := range codes() {
		how = append(how, isSent(code))
	}
	how = slices.DeleteFunc(how, func(what string) bool { return slices.Contains(alone, what) })
	var fresh []string
	d := &bouncer{T: t, pooled: direct}
	d.strangers(func(c *pgx.Conn) { fresh = d.has(c) })
	b.strangers(func(c *pgx.Conn) {
		for _, left := range b.has(c) {
			if !slices.Contains(fresh, left) {
				how = append(how, "leaves "+left)
			}
		}
	})
	return how
}

// complains is the line in which a program says what is wrong, else its last one.
func complains(ran run) string {
	lines := strings.Split(strings.TrimSpace(ran.output), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, "wrong") || complaint.MatchString(line) {
			return "says " + line
		}
	}
	return "says " + lines[len(lines)-1]
}

func isSent(code string) string { return "is sent " + code }

// has is what a server connection keeps that its next client can find.
func (b *bouncer) has(c *pgx.Conn) []string {
	b.Helper()
	rows, err := c.Query(b.Context(), `
		select name || ' = ' || setting from pg_settings where setting <> reset_val and name <> 'application_name'
		union all select 'role ' || current_user
		union all select 'channel ' || pg_listening_channels()
		union all select 'advisory lock' from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
		union all select 'cursor ' || name from pg_cursors where is_holdable
		union all select 'temporary ' || relname from pg_class where relnamespace = pg_my_temp_schema()
		union all select 'temporary ' || proname from pg_proc where pronamespace = pg_my_temp_schema()`)
	if err != nil {
		b.Fatal(err)
	}
	has, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.Fatal(err)
	}
	return has
}

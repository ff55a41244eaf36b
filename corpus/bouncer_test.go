package corpus

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// bouncer is a real PgBouncer in transaction mode before a database of the
// row's own, with two server connections that take turns (server_round_robin):
// what a busy pool does by chance happens to a lone client too.
type bouncer struct {
	*testing.T
	row            row
	pooled, direct string
}

// newBouncer starts one for a test; at gives it a row's database.
func newBouncer(t *testing.T, version pgtest.Kind) (at func(*testing.T, row) *bouncer) {
	t.Helper()
	pooled, _ := pgtest.PrivatePooler(t, pgtest.Server(t).AdminURL(), version, map[string]string{
		"server_round_robin": "1", "query_wait_timeout": "2",
		"server_check_delay": "600", // one that it wants to try first does not take its turn
	})
	u, err := url.Parse(pooled)
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, r row) *bouncer {
		t.Helper()
		direct := database(t)
		pooled, err := hostile.URLAt(direct, u.Host)
		if err != nil {
			t.Fatal(err)
		}
		b := &bouncer{t, r, pooled, direct}
		b.strangers(func(*pgx.Conn) {}) // both server connections are there
		return b
	}
}

// run runs the row's program through PgBouncer.
func (b *bouncer) run(env ...string) run {
	b.Helper()
	return execute(b, b.row.program, b.row.form, b.pooled, b.direct, env...)
}

// strangers calls f with two clients of PgBouncer, who have one of the two
// server connections each.
func (b *bouncer) strangers(f func(c *pgx.Conn)) {
	b.Helper()
	ctx := context.WithoutCancel(b.Context())
	var both []*pgx.Conn
	for range 2 {
		c, err := pgx.Connect(ctx, b.pooled+"&default_query_exec_mode=exec")
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close(ctx) }()
		if _, err := c.Exec(ctx, "begin"); err != nil {
			b.Fatal(err)
		}
		both = append(both, c)
	}
	for _, c := range both {
		f(c)
		if _, err := c.Exec(ctx, "rollback"); err != nil {
			b.Error(err)
		}
	}
}

// consequence shows what a fault does behind a real PgBouncer.
type consequence func(b *bouncer)

// says wants the program's own words for it.
func says(pattern string) consequence {
	re := regexp.MustCompile(pattern)
	return func(b *bouncer) {
		if r := b.run(); !re.MatchString(r.output) || r.exit == 0 {
			b.Errorf("want output like %q; exit %d\n%s", pattern, r.exit, r.output)
		}
	}
}

// The bound on tries of what happens by chance.
const tries = 20

// crowd runs several copies of the program at once, again and again until one
// says it.
func crowd(copies int, pattern string, env ...string) consequence {
	re := regexp.MustCompile(pattern)
	return func(b *bouncer) {
		last := ""
		for try := range tries {
			last = together(copies, func(int) run { return b.run(env...) })
			if found := re.FindString(last); found != "" {
				b.Logf("at try %d: %s", try+1, found)
				return
			}
		}
		b.Errorf("want output like %q in %d tries; the last was\n%s", pattern, tries, last)
	}
}

// sends wants that copies of a program that tries again by itself, and so says
// nothing, are sent an error with one of these SQLSTATEs.
func sends(copies int, codes []string, env ...string) consequence {
	return func(b *bouncer) {
		url, sent := pgtest.Errors(b, b.pooled)
		tapped := &bouncer{b.T, b.row, url, b.direct}
		for range tries {
			together(copies, func(int) run { return tapped.run(env...) })
			if slices.ContainsFunc(sent(), func(code string) bool { return slices.Contains(codes, code) }) {
				return
			}
		}
		b.Errorf("none of %d copies was sent any of %q in %d tries", copies, codes, tries)
	}
}

// together runs copies of the program at once and returns what all of them said.
func together(copies int, f func(i int) run) string {
	outputs := make([]string, copies)
	var all sync.WaitGroup
	for i := range copies {
		all.Go(func() { outputs[i] = f(i).output })
	}
	all.Wait()
	return strings.Join(outputs, "")
}

// leaves wants that a client who never asked for it finds, by a query, what the
// program left, at one of several tries: a program that ends in the middle of an
// exchange takes its server connection with it.
func leaves(sql, want string) consequence {
	return func(b *bouncer) {
		var seen []string
		last := ""
		for range tries {
			last, seen = b.run().output, []string{}
			b.strangers(func(c *pgx.Conn) {
				var got *string
				if err := c.QueryRow(b.Context(), sql).Scan(&got); err != nil {
					b.Errorf("%s: %v", sql, err)
				} else if got != nil {
					seen = append(seen, *got)
				}
			})
			if slices.Contains(seen, want) {
				return
			}
		}
		b.Errorf("strangers read %q by %s in %d tries, want %q; the program said last\n%s", seen, sql, tries, want, last)
	}
}

// all wants each of several consequences, in this order.
func all(these ...consequence) consequence {
	return func(b *bouncer) {
		for _, c := range these {
			c(b)
		}
	}
}

// listens wants that a stranger is told what only the program asked to hear, at
// one of several tries: an UNLISTEN may meet the server connection that listens.
func listens(channel string) consequence {
	return func(b *bouncer) {
		last := ""
		for range tries {
			if last = b.run().output; b.strangerHears(channel) {
				return
			}
		}
		b.Errorf("no stranger heard anything in %d tries; the program said last\n%s", tries, last)
	}
}

// strangerHears reports whether one of two strangers is told of a notification.
func (b *bouncer) strangerHears(channel string) bool {
	b.Helper()
	heard := make(chan string, 10)
	cfg, err := pgx.ParseConfig(b.pooled + "&default_query_exec_mode=exec")
	if err != nil {
		b.Fatal(err)
	}
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard <- n.Payload }
	var both []*pgx.Conn
	for range 2 {
		c, err := pgx.ConnectConfig(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close(context.WithoutCancel(b.Context())) }()
		if _, err := c.Exec(b.Context(), "begin"); err != nil {
			b.Fatal(err)
		}
		both = append(both, c)
	}
	execAt(b.T, b.direct, "select pg_notify('"+channel+"', 'not for strangers')")
	for _, c := range both {
		if _, err := c.Exec(b.Context(), "commit"); err != nil {
			b.Error(err)
		}
	}
	for {
		select {
		case payload := <-heard:
			if payload == "not for strangers" {
				return true
			}
			b.Logf("a stranger heard %q", payload) // of the program's own
		default:
			return false
		}
	}
}

// starves wants that others wait in vain while two copies of the program do
// nothing.
func starves() consequence {
	return func(b *bouncer) {
		var copies sync.WaitGroup
		ended := make(chan struct{})
		for range 2 {
			copies.Go(func() { b.run("CORPUS_SLOW=6") })
		}
		go func() {
			copies.Wait()
			close(ended)
		}()
		defer func() { <-ended }()
		for {
			c, err := pgx.Connect(b.Context(), b.pooled+"&default_query_exec_mode=exec")
			if err == nil {
				_, err = c.Exec(b.Context(), "select 1")
				_ = c.Close(context.WithoutCancel(b.Context()))
			}
			if err != nil {
				if !strings.Contains(err.Error(), "query_wait_timeout") {
					b.Errorf("a client beside them got %v", err)
				}
				return
			}
			select {
			case <-ended:
				b.Error("a client beside them was served all the time")
				return
			case <-time.After(20 * time.Millisecond): // they have not got that far
			}
		}
	}
}

// besideAnother wants the program's own words for what happens when somebody
// else has one of the two server connections.
func besideAnother(pattern string) consequence {
	return func(b *bouncer) {
		c, err := pgx.Connect(b.Context(), b.pooled+"&default_query_exec_mode=exec")
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close(context.WithoutCancel(b.Context())) }()
		if _, err := c.Exec(b.Context(), "begin"); err != nil {
			b.Fatal(err)
		}
		says(pattern)(b)
	}
}

// holds wants that a server connection is still in the program's failed
// transaction when the program goes on, so that its next statement fails.
func holds() consequence { return says(`current transaction is aborted`) }

// resets wants that what others rely on is gone after the program ran: here
// their advisory lock of the session.
func resets() consequence {
	return func(b *bouncer) {
		b.strangers(func(c *pgx.Conn) {
			if _, err := c.Exec(b.Context(), "select pg_advisory_lock_shared(77)"); err != nil {
				b.Error(err)
			}
		})
		b.run()
		lost := 0
		b.strangers(func(c *pgx.Conn) {
			var held bool
			if err := c.QueryRow(b.Context(), "select pg_advisory_unlock_shared(77)").Scan(&held); err != nil {
				b.Error(err)
			} else if !held {
				lost++
			}
		})
		if lost == 0 {
			b.Error("both locks are still held")
		}
	}
}

// foretells wants that a stranger draws the number that follows from the
// program's seed.
func foretells(seed float64) consequence {
	return func(b *bouncer) {
		var want string
		if !b.directly(fmt.Sprintf("select (array[setseed(%g)::text, random()::text])[2]", seed), &want) {
			b.Fatal("no number follows from the seed")
		}
		leaves("select random()::text", want)(b)
	}
}

// locked wants that an advisory lock is held although the program has left.
func locked(key int64) consequence {
	return func(b *bouncer) {
		var got bool
		if !b.directly(fmt.Sprintf("select pg_try_advisory_lock(%d)", key), &got) || got {
			b.Errorf("nobody holds lock %d any more", key)
		}
	}
}

// failsBeside wants that what a client asks who has nothing to do with the program
// fails while it runs, at one of several tries. wants are pairs: a statement, and
// what its error is like.
func failsBeside(wants ...string) consequence {
	return func(b *bouncer) {
		c, err := pgx.Connect(b.Context(), b.pooled+"&default_query_exec_mode=exec")
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close(context.WithoutCancel(b.Context())) }()
		told, last := map[string]bool{}, ""
		for range tries {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				last = b.run().output
			}()
			for over := false; !over; {
				select {
				case <-ended:
					over = true
				default:
				}
				for i := 0; i < len(wants); i += 2 {
					_, err := c.Exec(b.Context(), wants[i])
					if err != nil && regexp.MustCompile(wants[i+1]).MatchString(err.Error()) {
						told[wants[i]] = true
					}
				}
			}
			if len(told) == len(wants)/2 {
				return
			}
		}
		b.Errorf("of %q only %v failed in %d tries; the program said last\n%s", wants, told, tries, last)
	}
}

// fails wants that a statement of clients who have nothing to do with the program
// fails after it ran.
func fails(sql, pattern string) consequence {
	re := regexp.MustCompile(pattern)
	return func(b *bouncer) {
		r, told := b.run(), false
		b.strangers(func(c *pgx.Conn) {
			_, err := c.Exec(b.Context(), sql)
			told = told || err != nil && re.MatchString(err.Error())
		})
		if !told {
			b.Errorf("strangers may ask %s; the program said\n%s", sql, r.output)
		}
	}
}

// sharesLock wants that a client who has nothing to do with the program is given
// the advisory lock that the program holds on the same server connection, at one
// of several tries.
func sharesLock(key int64) consequence {
	return func(b *bouncer) {
		c, err := pgx.Connect(b.Context(), b.pooled+"&default_query_exec_mode=exec")
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close(context.WithoutCancel(b.Context())) }()
		last := ""
		for range tries {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				last = b.run("CORPUS_SLOW=0.5").output
			}()
			for over := false; !over; {
				select {
				case <-ended:
					over = true
				default:
				}
				var given bool
				err := c.QueryRow(b.Context(), `
					with held as materialized (select exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as by_another)
					select by_another and pg_try_advisory_lock($1) from held`, key).Scan(&given)
				if err != nil {
					b.Error(err)
				}
				if given {
					<-ended
					return
				}
			}
			execAt(b.T, b.direct, "drop table if exists made, goose_db_version")
		}
		b.Errorf("nobody else was given lock %d in %d tries; the program said last\n%s", key, tries, last)
	}
}

// keepsLock wants that an advisory lock of the session is held when the program
// has left, at one of several tries: its unlock met the other server connection.
func keepsLock() consequence {
	return func(b *bouncer) {
		last := ""
		for range tries {
			last = b.run().output
			var held bool
			if !b.directly("select exists (select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database()))", &held) {
				b.Fatal("pg_locks cannot be read")
			}
			if held {
				return
			}
		}
		b.Errorf("no lock is left in %d tries; the last was\n%s", tries, last)
	}
}

// directly asks the server itself.
func (b *bouncer) directly(sql string, dest any) bool {
	b.Helper()
	c, err := pgx.Connect(b.Context(), b.direct)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(b.Context())) }()
	return c.QueryRow(b.Context(), sql).Scan(dest) == nil
}

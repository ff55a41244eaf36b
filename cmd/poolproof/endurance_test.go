//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// endurance is how long, and under what load, the command has to stay as it is.
type endurance struct {
	first, clients int           // short connections before the first look, and in all; each has three statements that no other has
	perSecond      int           // so many of them begin after the first look; before it as many at once as there can be, so that the pool is full
	trace          time.Duration // between two traces of the runtime
	collected      bool          // each look waits for a collection of garbage: one comes every two minutes by itself
	slack          held          // what it may hold more in the end
}

// held is what the kernel and Go's runtime say about a process from outside.
type held struct {
	rss         int // kB, of which pages of the binary's file are a part
	anonymous   int // kB: memory that the program asked for
	live        int // MB of heap that the last collection found reachable
	goroutines  int
	threads     int
	descriptors int
}

// traced keeps the last numbers of what Go's runtime writes under GODEBUG, and
// every other line.
type traced struct {
	mu         sync.Mutex
	live       int
	collected  int // how often
	goroutines int // of the trace that is complete
	counting   int
	other      []string
}

var (
	collection = regexp.MustCompile(`^gc \d+ @.* \d+->\d+->(\d+) MB,`)
	goroutine  = regexp.MustCompile(`^  G\d+: status=(\d+)`)
	schedule   = regexp.MustCompile(`^(SCHED \d+ms: |  [PM]\d+: )`)
)

// dead is the runtime's status of a goroutine that has ended.
const dead = "6"

func (r *traced) read(stderr *bufio.Scanner) {
	for stderr.Scan() {
		line := stderr.Text()
		r.mu.Lock()
		gc, g := collection.FindStringSubmatch(line), goroutine.FindStringSubmatch(line)
		switch {
		case gc != nil:
			r.live, _ = strconv.Atoi(gc[1]) // digits
			r.collected++
		case g != nil:
			if g[1] != dead {
				r.counting++
			}
		case schedule.MatchString(line):
			if strings.HasPrefix(line, "SCHED") {
				r.goroutines, r.counting = r.counting, 0
			}
		default:
			if r.other = append(r.other, line); len(r.other) > 1000 {
				r.other = slices.Clone(r.other[500:])
			}
		}
		r.mu.Unlock()
	}
}

// look reads what the process holds now.
func (r *traced) look(t *testing.T, pid int) held {
	t.Helper()
	status := readFile(t, fmt.Sprintf("/proc/%d/status", pid))
	number := func(name string) int {
		m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindStringSubmatch(status)
		if m == nil {
			t.Fatalf("no %s in %s", name, status)
		}
		n, _ := strconv.Atoi(m[1]) // digits
		return n
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return held{
		rss: number("VmRSS"), anonymous: number("RssAnon"), live: r.live, goroutines: r.goroutines,
		threads: number("Threads"), descriptors: len(fds),
	}
}

// poolproof proxy as it is built and run, in a process of its own, holds after
// many short connections, each of which says what none has said, what it held
// after the first: memory, goroutines, threads and file descriptors.
func TestProxyEndures(t *testing.T) {
	load := pgtest.Pick(
		endurance{125, 250, 400, 25 * time.Millisecond, false, held{rss: 12 << 10, anonymous: 12 << 10, live: 4, goroutines: 8, threads: 12, descriptors: 8}}, // it is still warming up
		endurance{42_000, 504_000, 140, 30 * time.Second, true, held{rss: 2 << 10, anonymous: 2 << 10, live: 1, goroutines: 4, threads: 4, descriptors: 4}})
	binary := pgtest.Program(t)
	direct := pgtest.Database(t)
	const password = "of clients"
	proxy := exec.CommandContext(t.Context(), binary, "proxy", "--listen", "127.0.0.1:0", "--upstream", direct) //nolint:gosec // ours
	proxy.Env = append(os.Environ(), "GOGC=", proxyPasswordVariable+"="+password, fmt.Sprintf("GODEBUG=gctrace=1,schedtrace=%d,scheddetail=1", load.trace.Milliseconds()))
	proxy.Cancel = func() error { return proxy.Process.Signal(syscall.SIGTERM) }
	stdout, err := proxy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := proxy.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	r, read := &traced{}, make(chan struct{})
	go func() {
		defer close(read)
		r.read(bufio.NewScanner(stderr))
	}()
	ended := sync.OnceFunc(func() {
		if err := proxy.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-read
		if err := proxy.Wait(); err != nil {
			t.Errorf("%v: %s", err, strings.Join(r.other, "\n"))
		}
	})
	defer ended()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	addr, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ready {
		t.Fatalf("%q, %v", line, err)
	}
	pooled, err := hostile.URLAt(direct, addr)
	if err != nil {
		t.Fatal(err)
	}
	config, err := pgconn.ParseConfig(pooled)
	if err != nil {
		t.Fatal(err)
	}
	config.Password = password

	began := time.Now()
	served := visit(t, config, time.Nanosecond, 0, load.first)
	early := r.atRest(t, proxy.Process.Pid, load)
	served += visit(t, config, time.Second/time.Duration(load.perSecond), load.first, load.clients)
	late := r.atRest(t, proxy.Process.Pid, load)
	t.Logf("it took %v", time.Since(began).Round(time.Second))
	if served != load.clients {
		t.Errorf("%d of %d clients were served", served, load.clients)
	}
	ended()
	late.within(t, early, load.slack)
}

// atRest looks at the process when all clients have gone, and what it held for them.
func (r *traced) atRest(t *testing.T, pid int, load endurance) held {
	t.Helper()
	var now held
	quiet := 0
	eventually(t, 2*time.Minute, "the process is at rest", func() bool {
		h := r.look(t, pid)
		if quiet++; h.goroutines != now.goroutines || h.descriptors != now.descriptors {
			quiet = 0
		}
		now = h
		return quiet > 20
	})
	if load.collected {
		before := r.collections()
		eventually(t, 3*time.Minute, "garbage is collected", func() bool { return r.collections() > before })
		now = r.look(t, pid)
	}
	t.Logf("at rest: %+v", now)
	return now
}

func (r *traced) collections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.collected
}

// within compares, number by number, with what was held early.
func (h held) within(t *testing.T, early, slack held) {
	t.Helper()
	for _, number := range []struct {
		name               string
		early, late, slack int
	}{
		{"kB resident", early.rss, h.rss, slack.rss},
		{"kB of its own", early.anonymous, h.anonymous, slack.anonymous},
		{"MB reachable", early.live, h.live, slack.live},
		{"goroutines", early.goroutines, h.goroutines, slack.goroutines},
		{"threads", early.threads, h.threads, slack.threads},
		{"descriptors", early.descriptors, h.descriptors, slack.descriptors},
	} {
		if number.late > number.early+number.slack {
			t.Errorf("%s grew from %d to %d", number.name, number.early, number.late)
		}
	}
}

// visit makes the visits of these clients, one each pace, 16 at once at most, and
// returns how many were served. Each says what no client has said: a named statement, a text, a
// setting. Some leave a setting or a table behind, some go without a word in the
// middle of a transaction.
func visit(t *testing.T, config *pgconn.Config, pace time.Duration, from, to int) int {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	turns := make(chan int)
	var served, failed atomic.Int64
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for i := range turns {
				if err := once(ctx, config, i); err == nil {
					served.Add(1)
				} else if failed.Add(1) < 5 {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := from; i < to; i++ {
		<-tick.C
		turns <- i
	}
	close(turns)
	workers.Wait()
	return int(served.Load())
}

// once is the visit of one client.
func once(ctx context.Context, config *pgconn.Config, i int) error {
	c, err := pgconn.ConnectConfig(ctx, config.Copy())
	if err != nil {
		return err
	}
	defer c.Close(ctx) //nolint:errcheck // what it has said is answered
	if _, err := c.Prepare(ctx, fmt.Sprintf("named_%d", i), fmt.Sprintf("select %d, $1::int", i), nil); err != nil {
		return err
	}
	statements := []string{
		fmt.Sprintf("select %d as n /* route='r%d' */", i, i),
		fmt.Sprintf("select set_config('app.of_%d', '%s', true), pg_backend_pid()", i, strings.Repeat("x", 200)),
	}
	switch i % 100 {
	case 0: // what is left costs a DISCARD ALL and questions
		statements = append(statements, fmt.Sprintf("set app.left_%d = '%s'", i, strings.Repeat("x", 200)))
	case 50:
		statements = append(statements, fmt.Sprintf("create temp table left_%d (n int)", i))
	}
	for _, sql := range statements {
		if _, err := c.Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
	if i%100 == 75 {
		if _, err := c.Exec(ctx, "begin").ReadAll(); err != nil {
			return err
		}
		return c.Conn().Close()
	}
	return nil
}

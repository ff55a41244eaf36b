package matrix

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config says what is run.
type Config struct {
	Root string // the repository's folder
	Out  string // the file of results, which a run adds to
	// Clients at once, 16 at most, which the data has tenants for, and the operations
	// of each.
	Clients, Operations int
	// Patience is how long a process may wait: without an operation that ends, and
	// without computing, so that a busy machine is not taken for a hang. What has not
	// ended then hangs. A cell takes ten times as long at most.
	Patience time.Duration
	// Drivers and Ways narrow the run, by the beginnings of names; nil is all.
	Drivers []string
	Ways    []string
	// Current leaves older versions out, Older the corpus's own.
	Current, Older bool
	// Again measures cells that the file has, too.
	Again bool
	// Until ends the run before a cell that would begin later; the zero time: never.
	Until time.Time
	// Elsewhere, if not nil, is a pooler that runs already: the one way of this run.
	Elsewhere *Elsewhere
	// Told is called for each cell, and for each version that cannot be had. May be nil.
	Told func(text string)
}

// place is where cells are measured.
type place interface {
	// ways are the names of what open takes.
	ways() []string
	// open makes what one cell needs and returns the URL for its programs, the way with
	// its version, and a function that removes it and returns what the hostile pooler
	// found.
	open(ctx context.Context, way string) (at string, found Way, end func() ([]string, error), err error)
	// about writes what is known of the place.
	about(ctx context.Context, r *Results) error
	close(ctx context.Context) error
}

// Today is the date that results of today have.
func Today() string { return time.Now().Format(time.DateOnly) }

// Run measures the cells that the file of results does not have yet and writes the
// file after each, so that a run that ends early is gone on with by the next. It returns an error for what is broken here, never for what a
// driver or a pooler does.
func Run(ctx context.Context, cfg Config) (_ *Results, err error) {
	if cfg.Root, err = filepath.Abs(cfg.Root); err != nil {
		return nil, err
	}
	r, err := Read(cfg.Out)
	if err != nil {
		return nil, err
	}
	told := cfg.Told
	if told == nil {
		told = func(string) {}
	}
	var l place
	if cfg.Elsewhere != nil {
		l, err = cfg.Elsewhere.start(ctx)
	} else {
		l, err = newLab(ctx)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close(context.WithoutCancel(ctx))) }()
	if err := l.about(ctx, r); err != nil {
		return nil, err
	}
	r.Clients = cfg.Clients
	if r.Date == "" {
		r.Date = Today()
	}
	for _, current := range []bool{true, false} { // current versions first
		if current && cfg.Older || !current && cfg.Current {
			continue
		}
		for _, d := range Drivers {
			if !chosen(cfg.Drivers, d.Name) {
				continue
			}
			versions := d.Older
			if current {
				versions = []string{""}
			}
			for _, older := range versions {
				p, err := prepare(ctx, cfg.Root, d, older)
				if err != nil {
					told("cannot be had: " + err.Error())
					continue
				}
				if err := measureAll(ctx, l, r, p, cfg, told); err != nil {
					return nil, err
				}
			}
		}
	}
	return r, nil
}

func chosen(among []string, name string) bool {
	if len(among) == 0 {
		return true
	}
	for _, part := range among {
		if strings.HasPrefix(name, part) {
			return true
		}
	}
	return false
}

// measureAll measures a program's cells that are not there yet.
func measureAll(ctx context.Context, l place, r *Results, p *program, cfg Config, told func(string)) error {
	version, err := p.version(ctx)
	if err != nil {
		told("cannot be had: " + err.Error())
		return nil //nolint:nilerr // it was told: the others are measured
	}
	for _, name := range l.ways() {
		if !chosen(cfg.Ways, name) {
			continue
		}
		for _, work := range []Work{Statements, Settings} {
			for _, form := range []Form{Default, Recipe} {
				k := Key{p.driver.Name, version, name, form, work}
				if r.Has(k) && !cfg.Again || !cfg.Until.IsZero() && time.Now().After(cfg.Until) {
					continue
				}
				c, err := measure(ctx, l, r, p, k, cfg)
				if err != nil {
					return fmt.Errorf("%s %s %s %s %s: %w", k.Driver, k.Version, k.Way, k.Form, k.Work, err)
				}
				r.Put(c)
				r.Date = Today()
				if err := r.Write(cfg.Out); err != nil {
					return err
				}
				told(fmt.Sprintf("%-28s %-10s %-27s %-10s %-8s %-6s %v %.1fs %s", k.Driver, k.Version, k.Way, k.Work, k.Form, c.Verdict, c.Counts, c.Seconds, strings.Join(c.Found, " ")))
			}
		}
	}
	return nil
}

// version is what the program says of its driver's version: it is run with nothing
// to do, so that it needs no database.
func (p *program) version(ctx context.Context) (string, error) {
	s := p.run(ctx, "postgres://nobody@127.0.0.1:1/none?sslmode=disable", Key{Form: Default, Work: Statements}, 1, 0, time.Minute)
	if s.version == "" {
		return "", fmt.Errorf("%s does not say its version: %s", p.driver.Name, s.stderr)
	}
	return s.version, nil
}

// measure measures one cell.
func measure(ctx context.Context, l place, r *Results, p *program, k Key, cfg Config) (Cell, error) {
	at, w, end, err := l.open(ctx, k.Way)
	if err != nil {
		return Cell{}, err
	}
	r.know(w)
	began := time.Now()
	s := p.run(ctx, at, k, cfg.Clients, cfg.Operations, cfg.Patience)
	took := time.Since(began)
	found, err := end()
	if err != nil {
		return Cell{}, err
	}
	if ctx.Err() != nil {
		return Cell{}, ctx.Err()
	}
	if s.version != k.Version && s.version != "" {
		return Cell{}, fmt.Errorf("the program says version %q", s.version)
	}
	c := Cell{Key: k, Basis: Measured, Counts: s.Counts, Verdict: s.Verdict(), FirstError: s.firstError, FirstWrong: s.firstWrong, Found: found}
	c.Seconds = float64(took.Round(100*time.Millisecond)) / float64(time.Second)
	return c, nil
}

// know notes a way that there are results of.
func (r *Results) know(w Way) {
	for i := range r.Ways {
		if r.Ways[i].Name == w.Name {
			r.Ways[i] = w
			return
		}
	}
	r.Ways = append(r.Ways, w)
}

// said is what the copies of a program said.
type said struct {
	Counts
	version, firstError, firstWrong, stderr string
}

// run runs the program with so many clients and counts their operations. What was
// not said by a process that ended is an error, what was not said by one that had
// to be ended hangs.
func (p *program) run(ctx context.Context, at string, k Key, clients, operations int, patience time.Duration) said {
	processes := 2
	if p.driver.Single {
		processes = clients
	}
	processes = min(processes, clients)
	share := clients / processes
	parts := make([]said, processes)
	var all sync.WaitGroup
	for i := range parts {
		all.Go(func() { parts[i] = p.process(ctx, at, k, i*share, share, operations, patience) })
	}
	all.Wait()
	var sum said
	for _, s := range parts {
		sum.Right += s.Right
		sum.Errors += s.Errors
		sum.Hung += s.Hung
		sum.Wrong += s.Wrong
		sum.version = first(sum.version, s.version)
		sum.firstError = first(sum.firstError, s.firstError)
		sum.firstWrong = first(sum.firstWrong, s.firstWrong)
		sum.stderr = first(sum.stderr, s.stderr)
	}
	return sum
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// process is one process of the program.
func (p *program) process(ctx context.Context, at string, k Key, firstClient, clients, operations int, patience time.Duration) said {
	ctx, cancel := context.WithTimeout(ctx, 10*patience)
	defer cancel()
	argv := append(append([]string{}, p.argv[1:]...), string(k.Work), string(k.Form))
	cmd := exec.CommandContext(ctx, p.argv[0], append(argv, p.driver.Args...)...)
	cmd.Dir = p.dir
	cmd.Env = append(environment(at), p.env...)
	cmd.Env = append(cmd.Env, "FIRST="+strconv.Itoa(firstClient), "CLIENTS="+strconv.Itoa(clients), "OPERATIONS="+strconv.Itoa(operations))
	var out, errout bytes.Buffer
	var lines atomic.Int64
	cmd.Stdout, cmd.Stderr = &counted{&out, &lines}, &errout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Start()
	if err == nil {
		ended := make(chan struct{})
		go func() {
			if waits(ended, patience, func() (int64, time.Duration) { return lines.Load(), computed(cmd.Process.Pid) }) {
				cancel()
			}
		}()
		err = cmd.Wait()
		close(ended)
	}
	s := said{stderr: short(strings.ReplaceAll(errout.String(), p.dir+"/", ""))}
	if err != nil && s.stderr == "" {
		s.stderr = err.Error()
	}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		s.take(strings.ReplaceAll(lines.Text(), p.dir+"/", "")) // results do not say where this machine has the program
	}
	missing := max(0, clients*operations-s.All())
	switch {
	case missing == 0:
	case ctx.Err() != nil:
		s.Hung += missing
	default:
		s.Errors += missing
		s.firstError = first(s.firstError, "the program ended: "+s.stderr)
	}
	return s
}

// counted is a buffer that counts what is written to it.
type counted struct {
	*bytes.Buffer
	writes *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Buffer.Write(b)
}

// waits reports whether a process hangs: it has waited so long, written nothing and
// hardly computed. It returns false when ended is closed. A virtual machine computes a
// little while it waits, so that four times as long is long enough for one that has
// written nothing.
func waits(ended <-chan struct{}, patience time.Duration, progress func() (int64, time.Duration)) bool {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	lines, used := progress()
	for quiet := 0; ; {
		select {
		case <-ended:
			return false
		case <-tick.C:
		}
		nowLines, nowUsed := progress()
		if nowLines != lines {
			quiet = 0
		} else if quiet++; nowUsed-used < 20*time.Millisecond || quiet == 4 && nowUsed-used < patience/100 {
			return true
		}
		lines, used = nowLines, nowUsed
	}
}

// computed is how long a process has computed; 0 where the system does not say.
func computed(pid int) time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may have spaces; user and system time are 14th and
	// 15th (proc(5)), in hundredths of a second.
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var sum time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

// take counts a line of a program.
func (s *said) take(line string) {
	outcome, text, _ := strings.Cut(line, " ")
	switch outcome {
	case "version":
		s.version = text
	case "right":
		s.Right++
	case "wrong":
		s.Wrong++
		s.firstWrong = first(s.firstWrong, short(text))
	case "error":
		s.Errors++
		s.firstError = first(s.firstError, short(text))
	}
}

// short is a text in one line, not too long, without what differs from run to run by the port.
func short(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[len(text)-300:], "")
	}
	return text
}

// environment is what every program has.
func environment(at string) []string {
	u, err := url.Parse(at)
	if err != nil {
		panic(err) // it was parsed before
	}
	password, _ := u.User.Password()
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1",
		"DATABASE_URL=" + at,
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=" + u.User.Username(), "PGPASSWORD=" + password,
		"PGDATABASE=" + strings.TrimPrefix(u.Path, "/"), "PGSSLMODE=disable",
		"JDBC_URL=jdbc:postgresql://" + u.Host + u.Path + "?user=" + u.User.Username() + "&password=" + password + "&sslmode=disable",
	}
}

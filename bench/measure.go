package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// group is variants that are compared with each other: one way, one number of
// clients.
type group struct {
	title    string // "PgBouncer 1.24.1, cache_statement"
	name     string // "pgbouncer-1.24 cache_statement", for -only
	clients  int
	variants []*variant

	subject  string  // the variant that is poolproof's
	baseline string  // the variant that it is to come close to
	reach    float64 // how close
	beside   string  // a variant that is compared with the baseline, too, for information; "": none
	gates    []gate

	prepare func(context.Context) error // makes what the operations need, if that is not there yet
	quiet   string                      // "": ratios are of operations per second; else of latencies to this variant's
	turns   int                         // how many slices a round has; 0: slicesPerRound
	stretch int                         // how many times as long as -window it is measured; 0: once
}

// gate is what the subject's ratio to another variant must be at least.
type gate struct {
	to    string
	least float64
}

// variant is one of the things compared, and what was measured of it.
type variant struct {
	name    string
	op      func(w *worker) error
	noise   *noise   // nil: nothing runs beside it
	samples []sample // one per round
	answers outcomes // of all rounds, the one that warms up included
	beside  outcomes // the noise's
}

// noise is what other clients do while a variant is measured.
type noise struct {
	clients int
	op      func(w *worker) error
}

// worker is one client.
type worker struct {
	ctx       context.Context
	id        int
	rng       *rand.Rand
	latencies []time.Duration
	ended     int // operations that ended within the slice
	answers   outcomes
	err       error
}

// sample is one variant's figures of one round.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       cpuTimes // per operation
	noise     float64  // answers per second that the noise got
}

// errStall says that no operation ended within a round's slices: the machine
// did something else. The round is tried again, because a ratio to nothing is none.
var errStall = errors.New("not one operation ended in time")

// slicesPerRound is in how many slices a variant's window of a round is cut.
// The variants of a comparison take turns, slice by slice, so that what the
// machine does beside them for a tenth of a second or longer meets all of them.
const slicesPerRound = 4

// lead is how long the clients go on before a slice is measured, once each has
// ended an operation: connections that were idle for a second are pinged first,
// caches get warm.
const lead = 10 * time.Millisecond

// patience is how long a client goes on for its first latency beside noise.
const patience = 20 * time.Second

// selected drops what -only does not match.
func selected(groups []*group, only *regexp.Regexp) []*group {
	if only == nil {
		return groups
	}
	var kept []*group
	for _, g := range groups {
		g.variants = slices.DeleteFunc(g.variants, func(v *variant) bool {
			return !only.MatchString(fmt.Sprintf("%s/%d/%s", g.name, g.clients, v.name))
		})
		if len(g.variants) > 0 {
			kept = append(kept, g)
		}
	}
	return kept
}

// measure runs a round to warm up and then the rounds, and keeps the samples
// in the variants.
func measure(ctx context.Context, groups []*group, o options, cpu *cpuMeter, progress io.Writer) error {
	begun := time.Now()
	var told time.Time
	for round := -1; round < o.rounds; round++ {
		for i, g := range groups {
			if time.Since(told) > 10*time.Second {
				told = time.Now()
				fmt.Fprintf(progress, "bench: %3.0fs  round %d of %d (0 warms up), %d of %d: %s, %s\n",
					time.Since(begun).Seconds(), round+1, o.rounds, i+1, len(groups), g.title, g.crowd())
			}
			samples, err := g.round(ctx, max(round, 0)+i, o, cpu)
			for try := 1; errors.Is(err, errStall) && try < 3; try++ {
				samples, err = g.round(ctx, max(round, 0)+i, o, cpu)
			}
			if err != nil {
				return fmt.Errorf("%s, %s: %w", g.title, g.crowd(), err)
			}
			if round < 0 {
				continue
			}
			for k, v := range g.variants {
				v.samples = append(v.samples, samples[k])
			}
		}
	}
	return nil
}

// round measures all variants once: they take turns, slice by slice, beginning
// with another one each time.
func (g *group) round(ctx context.Context, begin int, o options, cpu *cpuMeter) ([]sample, error) {
	measured := make([]slice, len(g.variants))
	turns := cmp.Or(g.turns, slicesPerRound)
	lasts := o.window * time.Duration(max(g.stretch, 1)) / time.Duration(turns)
	for turn := range turns {
		for k := range g.variants {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			n := (k + turn + begin) % len(g.variants)
			s, err := g.variants[n].run(g.clients, lasts, o, cpu)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", g.variants[n].name, err)
			}
			measured[n] = measured[n].and(s)
		}
	}
	samples := make([]sample, len(g.variants))
	for n, s := range measured {
		if len(s.latencies) == 0 || s.ended == 0 && g.quiet == "" {
			return nil, fmt.Errorf("%s: %w %v", g.variants[n].name, errStall, g.variants[n].answers.refusals())
		}
		samples[n] = s.sample()
	}
	return samples, nil
}

// slice is what was measured of a variant, in one go or in several.
type slice struct {
	latencies []time.Duration // of the operations that ended in it, or began in it where something runs beside it
	ended     int             // operations
	noise     int             // operations of the noise
	lasted    time.Duration
	cpu       cpuTimes
}

func (s slice) and(t slice) slice {
	return slice{append(s.latencies, t.latencies...), s.ended + t.ended, s.noise + t.noise, s.lasted + t.lasted, s.cpu.and(t.cpu)}
}

func (s slice) sample() sample {
	slices.Sort(s.latencies)
	return sample{
		perSecond: float64(s.ended) / s.lasted.Seconds(),
		p50:       percentile(s.latencies, 0.50),
		p99:       percentile(s.latencies, 0.99),
		cpu:       s.cpu.per(s.ended),
		noise:     float64(s.noise) / s.lasted.Seconds(),
	}
}

// window is when a slice is measured; zero until every client has ended an
// operation.
type window struct{ start, end time.Time }

func (w *window) holds(t time.Time) bool { return w != nil && t.After(w.start) && !t.After(w.end) }

// run lets the clients repeat the operation and measures a slice of it. What
// ends within the slice counts. The operations' context is plain
// context.Background(), which nobody watches, or has a deadline with -deadline.
func (v *variant) run(clients int, lasts time.Duration, o options, cpu *cpuMeter) (slice, error) {
	runtime.GC() // nobody pays for the garbage of the one before
	if err := cpu.refresh(); err != nil {
		return slice{}, err
	}
	var open atomic.Pointer[window]
	var quiet atomic.Bool // the noise may end
	var others []*worker
	var under, done, still sync.WaitGroup
	start := func(n int, op func(*worker) error, done *sync.WaitGroup, whole bool, over func(time.Time) bool) []*worker {
		workers := make([]*worker, n)
		seed := uint64(time.Now().UnixNano())
		under.Add(n)
		for i := range workers {
			w := &worker{
				ctx: context.Background(), id: i,
				rng:       rand.New(rand.NewPCG(seed, uint64(i))), //nolint:gosec // rows to read, no secret
				latencies: make([]time.Duration, 0, int(lasts/(20*time.Microsecond))),
				answers:   outcomes{},
			}
			workers[i] = w
			done.Go(func() { w.repeat(op, &open, under.Done, o.deadline, whole, over) })
		}
		under.Wait()
		return workers
	}
	if v.noise != nil {
		others = start(v.noise.clients, v.noise.op, &still, false, func(time.Time) bool { return quiet.Load() })
	}
	workers := start(clients, v.op, &done, v.noise != nil, func(now time.Time) bool { at := open.Load(); return at != nil && now.After(at.end) })
	begins := time.Now().Add(lead)
	ends := begins.Add(lasts)
	open.Store(&window{begins, ends})
	time.Sleep(time.Until(begins))
	before, err := cpu.read()
	time.Sleep(time.Until(ends))
	after, err2 := cpu.read()
	done.Wait()
	quiet.Store(true)
	still.Wait()
	s := slice{lasted: lasts, cpu: after.since(before)}
	for _, w := range workers {
		s.latencies = append(s.latencies, w.latencies...)
		s.ended += w.ended
		v.answers = v.answers.and(w.answers)
		err = errors.Join(err, w.err)
	}
	for _, w := range others {
		s.noise += w.ended
		v.beside = v.beside.and(w.answers)
		err = errors.Join(err, w.err)
	}
	return s, errors.Join(err, err2)
}

// repeat repeats the operation until it is over, and calls begun after the
// first. An operation that was answered by a refusal is counted as that, and
// has no latency. whole: an operation's latency counts where it began within the
// window, however long it took, and that of the first one after it if none did;
// else where it ended.
func (w *worker) repeat(op func(*worker) error, open *atomic.Pointer[window], begun func(), deadline time.Duration, whole bool, over func(time.Time) bool) {
	begin := time.Now()
	for first := true; ; first = false {
		before := time.Now()
		if over(before) && !(whole && len(w.latencies) == 0 && time.Since(begin) < patience) {
			return
		}
		err := w.once(op, deadline)
		refused, answered := errors.AsType[*refusal](err)
		if !answered {
			w.err = err
		}
		if first {
			begun()
		}
		if w.err != nil {
			return
		}
		w.answers.note(refused)
		if refused != nil {
			continue
		}
		after, at := time.Now(), open.Load()
		if at.holds(after) {
			w.ended++
		}
		none := whole && len(w.latencies) == 0 && at != nil && before.After(at.end)
		if whole && at.holds(before) || !whole && at.holds(after) || none {
			w.latencies = append(w.latencies, after.Sub(before))
		}
	}
}

func (w *worker) once(op func(*worker) error, deadline time.Duration) error {
	if deadline > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		w.ctx = ctx
	}
	return op(w)
}

// percentile is the smallest value that at least the share q of the sorted
// values does not exceed (nearest rank).
func percentile(sorted []time.Duration, q float64) time.Duration {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// median of values, which need no order; the mean of the middle two of an even
// number.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// spread is a ratio over all rounds.
type spread struct{ median, low, high float64 }

// ratio compares two variants round by round.
func ratio(of, to *variant) spread {
	return ratioOf(of, to, func(s sample) float64 { return s.perSecond })
}

// ratioOf is the ratio of another figure.
func ratioOf(of, to *variant, figure func(sample) float64) spread {
	rs := make([]float64, len(of.samples))
	for i := range rs {
		rs[i] = figure(of.samples[i]) / figure(to.samples[i])
	}
	return spread{median(rs), slices.Min(rs), slices.Max(rs)}
}

// crowd is "16 clients".
func (g *group) crowd() string {
	if g.clients == 1 {
		return "1 client"
	}
	return fmt.Sprintf("%d clients", g.clients)
}

// find returns the group's variant of that name, nil if -only left it out.
func (g *group) find(name string) *variant {
	for _, v := range g.variants {
		if v.name == name {
			return v
		}
	}
	return nil
}

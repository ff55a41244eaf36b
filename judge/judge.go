package judge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/pooler"
)

// Version is the version of a [Report] as JSON. It is raised when a field changes
// its meaning or goes; new ones may come at any time.
const Version = 1

// MaxConnections is how many connections a run has at a time, at most.
const MaxConnections = 10

// Outcome is how a trial ended.
type Outcome string

// The outcomes.
const (
	// Right: as PostgreSQL itself answers.
	Right Outcome = "right"
	// Refused: a clean error says that this is not supported.
	Refused Outcome = "refused"
	// Lost: the client did not find again what its session must keep; nobody else met it.
	Lost Outcome = "lost"
	// Leaks: another client met it.
	Leaks Outcome = "leaks"
	// Wrong: a wrong answer, somebody else's, or none that tells what happened.
	Wrong Outcome = "wrong"
	// Hung: there was no answer in time, and none the second time.
	Hung Outcome = "hung"
	// Untried: the login may not do what the trial needs, or the pooler served nobody any more.
	Untried Outcome = "untried"
)

// Outcomes are all of them, the best first.
var Outcomes = []Outcome{Right, Refused, Lost, Leaks, Wrong, Hung, Untried}

// Group is what a trial is about.
type Group string

// The groups, in the order in which they are tried.
const (
	Order     Group = "order"
	Errors    Group = "errors"
	Strangers Group = "strangers"
	Copy      Group = "copy"
	Cancel    Group = "cancel"
	Protocol  Group = "protocol"
	State     Group = "state"
)

// Trial is one question to a pooler.
type Trial struct {
	Name  string `json:"name"`
	Group Group  `json:"group"`
	// Right is one sentence: what is right, and why it matters.
	Right string `json:"right"`

	run func(*hearing) error
	// alone: no other trial runs meanwhile, as this one opens many connections,
	// or could meet others.
	alone bool
	// harmful: a faulty pooler may serve nobody after it, so it comes last.
	harmful bool
}

// Trials returns all trials, in the order of a report.
func Trials() []Trial {
	return slices.Concat(orderTrials, errorTrials, strangerTrials, copyTrials, cancelTrials, protocolTrials, stateTrials)
}

// Result is how one trial ended.
type Result struct {
	Trial
	Outcome Outcome `json:"outcome"`
	// Text is what was seen, where that is not simply right.
	Text string `json:"text,omitempty"`
	// Elapsed is how long it took.
	Elapsed time.Duration `json:"elapsed_ns"`
}

// Report is what a run found. It can be written as JSON.
type Report struct {
	Version int `json:"version"`
	// Pooler is what answered.
	Pooler pooler.Fingerprint `json:"pooler"`
	// ServerVersion is PostgreSQL's server_version as reported through the pooler.
	ServerVersion string   `json:"server_version"`
	Results       []Result `json:"results"`
	// Counts has every outcome.
	Counts map[Outcome]int `json:"counts"`
	// Elapsed is how long all of it took.
	Elapsed time.Duration `json:"elapsed_ns"`
}

// AllRight reports whether no trial ended otherwise than right.
func (r Report) AllRight() bool { return r.Counts[Right] == len(r.Results) }

// Options are how a run is made.
type Options struct {
	// Only are the names of the trials; empty: all.
	Only []string
	// Patience is how long an answer, or the next part of it, is waited for. 0 is 5 s.
	Patience time.Duration
	// Told is called after each trial, by one goroutine at a time; nil: nobody is told.
	Told func(done, of int, r Result)
}

// defaultPatience is longer than PostgreSQL or any pooler takes for what is
// asked here, even on a machine that has other things to do.
const defaultPatience = 5 * time.Second

// trialLimit bounds a trial, in units of the patience.
const trialLimit = 6

// ErrNoTrial says that Options.Only has a name that no trial has.
var ErrNoTrial = errors.New("there is no such trial")

// Run tries the pooler behind config. An error means that it could not begin: a
// name in opts is unknown, or the first connection failed. When ctx ends, so does
// the run, and the trials that are left are untried.
func Run(ctx context.Context, config *pgx.ConnConfig, opts Options) (Report, error) {
	start := time.Now()
	chosen, err := choose(opts.Only)
	if err != nil {
		return Report{}, err
	}
	if opts.Patience <= 0 {
		opts.Patience = defaultPatience
	}
	found, err := pooler.Examine(ctx, config, pooler.Options{})
	if err != nil {
		return Report{}, err
	}
	r := &run{config: config, opts: opts, of: len(chosen), capacity: MaxConnections, mode: found.Pooler.Mode}
	if found.Pooler.Mode == pooler.Session {
		r.capacity = r.measureCapacity(ctx)
	}
	r.free = newTokens(r.capacity)
	report := Report{Version: Version, Pooler: found.Pooler, ServerVersion: found.ServerVersion, Results: make([]Result, len(chosen)), Counts: map[Outcome]int{}}
	for _, harmful := range []bool{false, true} {
		var trials sync.WaitGroup
		for i, t := range chosen {
			if t.harmful != harmful {
				continue
			}
			connections := min(shared, r.capacity)
			if t.alone || t.harmful {
				connections = r.capacity
			}
			r.free.take(connections)
			trials.Go(func() {
				defer r.free.put(connections)
				report.Results[i] = r.try(ctx, t)
			})
		}
		trials.Wait()
	}
	for _, o := range Outcomes {
		report.Counts[o] = 0
	}
	for _, result := range report.Results {
		report.Counts[result.Outcome]++
	}
	report.Elapsed = time.Since(start)
	return report, nil
}

// shared is how many connections a trial has that others may run beside.
const shared = 3

func choose(names []string) ([]Trial, error) {
	all := Trials()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []Trial
	for _, t := range all {
		if slices.Contains(names, t.Name) {
			chosen = append(chosen, t)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(t Trial) bool { return t.Name == name }) {
			return nil, fmt.Errorf("%w: %q", ErrNoTrial, name)
		}
	}
	return chosen, nil
}

// tokens are the connections that are free. Whoever takes some waits in line.
type tokens struct {
	line  sync.Mutex
	count chan struct{}
}

func newTokens(n int) *tokens {
	t := &tokens{count: make(chan struct{}, n)}
	t.put(n)
	return t
}

func (t *tokens) take(n int) {
	t.line.Lock()
	defer t.line.Unlock()
	for range n {
		<-t.count
	}
}

func (t *tokens) put(n int) {
	for range n {
		t.count <- struct{}{}
	}
}

// run is one under way.
type run struct {
	config *pgx.ConnConfig
	opts   Options
	free   *tokens
	// capacity is how many clients are served side by side: with session pooling no
	// more than there are server connections, and whoever comes later waits.
	capacity int
	mode     pooler.Mode

	mu       sync.Mutex
	done, of int
	dead     string // the trial after which nobody was served any more, or ""
}

// try makes one trial, and sees after a bad one that the pooler still serves.
func (r *run) try(ctx context.Context, t Trial) Result {
	start := time.Now()
	result := Result{Trial: t, Outcome: Untried}
	r.mu.Lock()
	dead := r.dead
	r.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		result.Text = "the run was stopped before"
	case dead != "":
		result.Text = "nobody was served any more after " + dead
	default:
		result.Outcome, result.Text = r.hear(ctx, t.run)
		if result.Outcome == Hung { // a machine may stand still for as long, but not twice
			r.recover(ctx, t.Name)
			result.Outcome, result.Text = r.hear(ctx, t.run)
		}
		if ctx.Err() != nil {
			result.Outcome, result.Text = Untried, "the run was stopped meanwhile"
		} else if result.Outcome == Wrong || result.Outcome == Hung {
			r.recover(ctx, t.Name)
		}
	}
	result.Elapsed = time.Since(start)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if r.opts.Told != nil {
		r.opts.Told(r.done, r.of, result)
	}
	return result
}

// hear runs f with clients of its own, which end with it.
func (r *run) hear(ctx context.Context, f func(*hearing) error) (Outcome, string) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit*r.opts.Patience)
	defer cancel()
	h := &hearing{ctx: ctx, config: r.config, patience: r.opts.Patience, capacity: r.capacity, mode: r.mode, tag: "poolproof_judge_" + randomHex()}
	defer h.close()
	err := f(h)
	if v, ok := errors.AsType[*verdict](err); ok {
		return v.outcome, err.Error()
	}
	if err != nil {
		return Wrong, err.Error()
	}
	return Right, ""
}

// measureCapacity opens clients until one is not served.
func (r *run) measureCapacity(ctx context.Context) int {
	n := 0
	r.capacity = MaxConnections
	_, _ = r.hear(ctx, func(h *hearing) error {
		h.patience = min(h.patience, time.Second)
		for n < MaxConnections {
			c, err := h.client()
			if err != nil {
				return err
			}
			if _, err := c.ask("select 1"); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return max(n, 2)
}

// recoveries is how often a pooler that serves nobody is asked again.
const recoveries = 3

// recover waits until somebody is served again.
func (r *run) recover(ctx context.Context, name string) {
	for range recoveries {
		outcome, _ := r.hear(ctx, func(h *hearing) error { return h.serves(2) })
		if outcome == Right {
			return
		}
		select {
		case <-time.After(r.opts.Patience / 5):
		case <-ctx.Done():
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead == "" {
		r.dead = name
	}
}

func randomHex() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// verdict is an outcome that is not right.
type verdict struct {
	outcome Outcome
	text    string
}

func (v *verdict) Error() string { return v.text }

func wrongf(format string, args ...any) error { return &verdict{Wrong, fmt.Sprintf(format, args...)} }
func hungf(format string, args ...any) error  { return &verdict{Hung, fmt.Sprintf(format, args...)} }
func lostf(format string, args ...any) error  { return &verdict{Lost, fmt.Sprintf(format, args...)} }
func leaksf(format string, args ...any) error { return &verdict{Leaks, fmt.Sprintf(format, args...)} }

// gravest returns what weighs most among what clients met side by side.
func gravest(errs []error) error {
	weight := []Outcome{Untried, Refused, Lost, Hung, Leaks, Wrong}
	var worst error
	most := -1
	for _, err := range errs {
		if err == nil {
			continue
		}
		w := len(weight)
		if v, ok := errors.AsType[*verdict](err); ok {
			w = slices.Index(weight, v.outcome)
		}
		if w > most {
			worst, most = err, w
		}
	}
	return worst
}

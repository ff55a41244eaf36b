package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// tolerated is the share of operations that may be refused: with more, what was
// measured is the speed of something else.
const tolerated = 0.01

// errInvalid says that there are figures which say nothing.
var errInvalid = errors.New("a figure is invalid")

// refusal is an answer that is not the one asked for: it is counted, and does
// not end the bench. Anything else that goes wrong does.
type refusal struct {
	status int
	code   string // of the problem; "": the answer has none
}

func (r *refusal) Error() string { return "the answer is " + r.String() }

// String is "503 unavailable".
func (r *refusal) String() string { return strings.TrimSpace(fmt.Sprintf("%d %s", r.status, r.code)) }

// outcomes are numbers of operations, by how they ended: "" is well.
type outcomes map[string]int

// note counts one; nil ended well.
func (o outcomes) note(r *refusal) {
	if r == nil {
		o[""]++
		return
	}
	o[r.String()]++
}

// and adds up. The result may be o.
func (o outcomes) and(p outcomes) outcomes {
	if o == nil {
		o = outcomes{}
	}
	for how, n := range p {
		o[how] += n
	}
	return o
}

// share is how many of one were refused.
func (o outcomes) share() float64 {
	all := 0
	for _, n := range o {
		all += n
	}
	return float64(all-o[""]) / float64(max(all, 1))
}

// invalid reports whether too many were refused.
func (v *variant) invalid() bool { return v.answers.share() > tolerated }

// refusals are lines for the report: "3 of 4,012: 503 unavailable".
func (o outcomes) refusals() []string {
	all := 0
	for _, n := range o {
		all += n
	}
	var lines []string
	for _, how := range slices.Sorted(maps.Keys(o)) {
		if how != "" {
			lines = append(lines, fmt.Sprintf("%d of %d: %s", o[how], all, how))
		}
	}
	return lines
}

// causes are why services answered as they did, where they warn of it.
type causes struct {
	mu   sync.Mutex
	seen outcomes // by status, time taken and error
}

// mostCauses bounds how many are kept.
const mostCauses = 20

func (c *causes) note(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = outcomes{}
	}
	if len(c.seen) < mostCauses || c.seen[why] > 0 {
		c.seen[why]++
	}
}

// to is a log handler that keeps them beside what h does.
func (c *causes) to(h slog.Handler) slog.Handler { return &listening{h, c} }

type listening struct {
	slog.Handler
	causes *causes
}

// Handle keeps the error of a warning or worse.
func (l *listening) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var status, took, reason string
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "status":
				status = a.Value.String()
			case "took":
				took = a.Value.Duration().Round(time.Second).String()
			case "error":
				reason = a.Value.String()
			}
			return true
		})
		l.causes.note(fmt.Sprintf("%s after %s: %s", status, took, reason))
	}
	return l.Handler.Handle(ctx, r)
}

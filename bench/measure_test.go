package main

import (
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		of   []time.Duration
		q    float64
		want time.Duration
	}{
		{hundred, 0.50, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
		{[]time.Duration{7}, 0.99, 7},
		{[]time.Duration{1, 2, 3}, 0.50, 2},
	} {
		if got := percentile(c.of, c.q); got != c.want {
			t.Errorf("percentile of %d values, %v: %d, want %d", len(c.of), c.q, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	values := []float64{9, 1, 5}
	if got := median(values); got != 5 {
		t.Errorf("median of an odd number: %v", got)
	}
	if values[0] != 9 {
		t.Error("the values were put in another order")
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of an even number: %v", got)
	}
}

// A round's slices are one window: operations per second of all, percentiles of
// all, CPU time per operation.
func TestSlicesAreOneWindow(t *testing.T) {
	s := slice{[]time.Duration{4, 2}, 2, 30, time.Second, cpuTimes{client: 9}}.and(slice{[]time.Duration{1}, 1, 6, 2 * time.Second, cpuTimes{client: 3, postgres: 6}}).sample()
	if want := (sample{perSecond: 1, p50: 2, p99: 4, cpu: cpuTimes{client: 4, postgres: 2}, noise: 12}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

// rounds makes a variant that did so many operations in each round.
func rounds(name string, perSecond ...float64) *variant {
	v := &variant{name: name}
	for _, ops := range perSecond {
		v.samples = append(v.samples, sample{perSecond: ops, p50: time.Millisecond, p99: time.Millisecond})
	}
	return v
}

// The ratio is of each round, so that a slow moment of the machine, which meets
// both, does not count as a difference.
func TestRatioIsTakenWithinRounds(t *testing.T) {
	got := ratio(rounds("scope", 800, 80, 8), rounds("unscoped", 1000, 100, 16))
	if want := (spread{0.8, 0.5, 0.8}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGates(t *testing.T) {
	g := &group{
		title: "somewhere", clients: 16, subject: "scope", baseline: "unscoped", reach: 0.95,
		variants: []*variant{rounds("unscoped", 100, 100), rounds("scope", 68, 70), rounds("explicit", 30, 30)},
		gates:    []gate{{"unscoped", 0.7}, {"explicit", 2.3}},
	}
	var b strings.Builder
	if failed := judge(&b, []*group{g}); failed != 1 {
		t.Errorf("%d gates fail, want 1:\n%s", failed, b.String())
	}
	if s := b.String(); strings.Count(s, "FAIL") != 1 || strings.Count(s, "PASS") != 1 || !strings.Contains(s, "0.69 of 0.95: somewhere") {
		t.Errorf("the verdicts are\n%s", s)
	}
	g.beside = "explicit"
	if judge(&b, []*group{g}); !strings.Contains(b.String(), "explicit ÷ unscoped 0.30 (0.30 to 0.30): somewhere") {
		t.Errorf("what is beside is not told:\n%s", b.String())
	}
	g.gates[0].least = 0.65
	if failed := judge(&b, []*group{g}); failed != 0 {
		t.Errorf("%d gates fail, want none", failed)
	}
	g.variants = g.variants[1:] // -only left the baseline out: nothing to judge by, and no crash
	if failed := judge(&b, []*group{g}); failed != 0 {
		t.Errorf("%d gates fail without a baseline, want none", failed)
	}
}

package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A refused answer is counted by its status and code, and does not end a
// measurement; it counts as no operation.
func TestRefusalsAreCounted(t *testing.T) {
	f := &fixtures{}
	asked := 0
	e, err := f.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked%10 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"code":"unavailable"}`))
			return
		}
		_, _ = w.Write([]byte("ok"))
	}), [][]byte{request("GET", "/", "")})
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop() //nolint:errcheck // the test is over
	v := &variant{name: "a tenth refused", op: e.ask}
	s, err := v.run(1, 10*time.Millisecond, options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	well, refused := v.answers[""], v.answers["503 unavailable"]
	if all := well + refused; all != asked || refused != asked/10 || s.ended > well {
		t.Errorf("%d asked, %d counted, %v, %d ended in the slice", asked, all, v.answers, s.ended)
	}
	if asked >= 10 && !v.invalid() {
		t.Error("a tenth refused is valid")
	}
}

// What is no answer ends a measurement.
func TestABrokenConnectionEndsIt(t *testing.T) {
	v := &variant{name: "broken", op: func(*worker) error { return errors.New("broken") }}
	if _, err := v.run(2, 10*time.Millisecond, options{}, nil); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("the error is %v", err)
	}
}

// A figure is invalid with more than the tolerated share refused, and its gate
// is not judged; the report says how many, of what, and why.
func TestInvalidFigures(t *testing.T) {
	g := &group{
		title: "somewhere", clients: 16, subject: "poolproof", baseline: "bare",
		variants: []*variant{rounds("bare", 100), rounds("poolproof", 10)},
		gates:    []gate{{"bare", 0.6}},
	}
	g.find("bare").answers = outcomes{"": 1000}
	g.find("poolproof").answers = outcomes{"": 99, "503 unavailable": 1}
	var b strings.Builder
	if n := refused(&b, []*group{g}, nil); n != 0 || !strings.Contains(b.String(), "  1 of 100: 503 unavailable: poolproof") {
		t.Errorf("one of a hundred: %d invalid\n%s", n, b.String())
	}
	if failed := judge(&b, []*group{g}); failed != 1 {
		t.Errorf("%d gates fail, want 1", failed)
	}
	g.find("poolproof").answers["429 too_many_requests"] = 1
	b.Reset()
	if n := refused(&b, []*group{g}, outcomes{"503 after 10s: why": 2}); n != 1 || !strings.Contains(b.String(), "INVALID") || !strings.Contains(b.String(), "2 times: 503 after 10s: why") {
		t.Errorf("two of 101: %d invalid\n%s", n, b.String())
	}
	if failed := judge(&b, []*group{g}); failed != 0 || !strings.Contains(b.String(), "INVALID  poolproof ÷ bare") {
		t.Errorf("%d gates fail by invalid figures\n%s", failed, b.String())
	}
	b.Reset()
	if err := report(&b, about{}, []*group{g}, nil, options{rounds: 1}); !errors.Is(err, errInvalid) {
		t.Errorf("the error is %v\n%s", err, b.String())
	}
}

// The neighbour's latency counts where its operation began, and the noise goes on
// until then.
func TestLatencyBesideNoise(t *testing.T) {
	slow := func(*worker) error { <-time.After(time.Millisecond); return nil }
	v := &variant{name: "beside", op: slow, noise: &noise{clients: 3, op: slow}}
	s, err := v.run(1, time.Second, options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.latencies) == 0 || v.beside[""] < 3 {
		t.Errorf("%d latencies, the noise had %v", len(s.latencies), v.beside)
	}
	// One read that takes longer than the slice still has its latency.
	longer := func(*worker) error { <-time.After(50 * time.Millisecond); return nil }
	late := &variant{name: "late", op: longer, noise: &noise{clients: 1, op: slow}}
	if s, err := late.run(1, 5*time.Millisecond, options{}, nil); err != nil || len(s.latencies) == 0 || s.sample().p99 < 50*time.Millisecond {
		t.Errorf("%d latencies of a slow read, %v", len(s.latencies), err)
	}
	if _, err := (&variant{op: slow, noise: &noise{clients: 1, op: func(*worker) error { return errors.New("broken") }}}).run(1, 10*time.Millisecond, options{}, nil); err == nil {
		t.Error("a broken noise is not told")
	}
}

func TestCauses(t *testing.T) {
	var c causes
	log := slog.New(c.to(slog.NewTextHandler(io.Discard, nil)))
	log.Info("request", "status", 200)
	log.Warn("request", "status", 503, "took", 5100*time.Millisecond, "error", "no connection")
	log.Warn("request", "status", 503, "took", 4900*time.Millisecond, "error", "no connection")
	if len(c.seen) != 1 || c.seen["503 after 5s: no connection"] != 2 {
		t.Errorf("%v", c.seen)
	}
}

package hostile

import (
	"context"
	"crypto/rand"
	"net"
	"strings"
)

// TB is the part of testing.TB that Start uses. With it, a program that imports
// this package does not import testing.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// Start runs a pooler in front of the PostgreSQL server at url until the test
// is over, and returns the URL for the program under test. Each finding fails
// the test, with its fix. The pooler plays the profile "strict".
func Start(t TB, url string) string {
	t.Helper()
	p, pooled := StartWith(t, Config{Upstream: url})
	t.Cleanup(func() {
		for _, f := range p.Report().Findings {
			t.Errorf("%s %s\n\t%s\n\tfix: %s", f.Code, strings.TrimSpace(f.Title+" "+f.Subject), f.First.SQL, f.Fix)
		}
	})
	return pooled
}

// StartWith runs a pooler as cfg says until the test is over. It returns the
// pooler and the URL for the program under test. If cfg has no password, it
// makes one up. Findings do not fail the test: it can judge the pooler's Report
// itself.
func StartWith(t TB, cfg Config) (*Pooler, string) {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if p.cfg.Password == "" {
		p.cfg.Password = rand.Text()
		if cfg.Observe && p.upstream.Password != "" {
			p.cfg.Password = p.upstream.Password
		}
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pooled, err := p.URL(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p, pooled
}

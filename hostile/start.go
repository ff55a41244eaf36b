package hostile

import (
	"context"
	"net"
	"net/url"
	"strings"
)

// TB is what Start uses of testing.TB; so that a program that imports this
// package does not import testing.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// Start runs a pooler before the PostgreSQL server at url until the test is
// over, and gives the URL that the program under test should use. Findings fail
// the test, each with its fix.
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

// StartWith runs a pooler as cfg says until the test is over, and gives it and
// the URL that the program under test should use. What its Report says is for
// the test to judge.
func StartWith(t TB, cfg Config) (*Pooler, string) {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pooled, err := URLAt(cfg.Upstream, l.Addr().String())
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

// URLAt is a server's URL with another address, unencrypted: the pooler's.
func URLAt(upstream, addr string) (string, error) {
	u, err := url.Parse(upstream)
	if err != nil {
		return "", err
	}
	u.Host = addr
	u.RawQuery = strings.ReplaceAll(u.RawQuery, "+", "%2B") // to libpq and pgx a plus sign is one
	q := u.Query()
	for _, name := range []string{"host", "port", "hostaddr", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslnegotiation", "channel_binding", "require_auth", "gssencmode", "target_session_attrs"} {
		q.Del(name)
	}
	q.Set("sslmode", "disable")
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String(), nil
}

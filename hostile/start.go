package hostile

import (
	"context"
	"crypto/rand"
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
// the URL that the program under test should use; without a password in cfg it
// makes one up. What its Report says is for the test to judge.
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

// URL is what clients of a pooler that listens at addr use: the upstream's URL
// with that address, and with the pooler's password where it has one. Clients
// that are observed are asked by the server first: they need that one's.
func (p *Pooler) URL(addr string) (string, error) {
	raw, err := URLAt(p.cfg.Upstream, addr)
	if err != nil || p.cfg.Password == "" {
		return raw, err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", err
	}
	u.User = url.UserPassword(p.upstream.User, p.cfg.Password)
	return u.String(), nil
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

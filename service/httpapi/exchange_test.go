package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof/service/tenancy"
)

func TestPanic(t *testing.T) {
	s, log := newEdge(t, Config{})
	s.route("/api/test/panic", methods{"GET": func(*exchange) error { panic("boom in secret_function") }})
	s.route("/api/test/late", methods{"GET": func(x *exchange) error {
		x.Header().Set("Content-Length", "100")
		if _, err := x.Write([]byte("part")); err != nil {
			return err
		}
		panic("late")
	}})
	srv := httptest.NewServer(s)
	defer srv.Close()
	a := send(t, srv.URL, "GET", "/api/test/panic", nil)
	a.wantProblem(t, 500, tenancy.Internal)
	if strings.Contains(a.body, "boom") {
		t.Errorf("the answer tells of the panic: %s", a.body)
	}
	if got := log.String(); strings.Count(got, "boom in secret_function") != 1 || !strings.Contains(got, "TestPanic") {
		t.Errorf("the log has no panic with its stack, once: %s", got)
	}
	// A part of an answer must not look like the whole.
	res, err := http.Get(srv.URL + "/api/test/late")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		if closeErr := res.Body.Close(); closeErr != nil {
			t.Fatal(closeErr)
		}
	}
	if err == nil {
		t.Error("a half answer was read without an error")
	}
	if a := send(t, srv.URL, "GET", "/healthz", nil); a.StatusCode != 200 {
		t.Errorf("after the panics: %d", a.StatusCode)
	}
	if a := send(t, srv.URL, "GET", "/metrics", nil); !strings.Contains(a.body, "poolproof_http_requests_in_flight 1\n") {
		t.Errorf("in flight is not 1 (this request): %s", a.body)
	}
}

func TestTimeoutAndClientGone(t *testing.T) {
	s, _ := newEdge(t, Config{Timeout: 50 * time.Millisecond})
	entered := make(chan struct{}, 2)
	s.route("/api/test/slow", methods{"GET": func(x *exchange) error {
		entered <- struct{}{}
		<-x.r.Context().Done()
		return fmt.Errorf("query: %w", x.r.Context().Err())
	}})
	askOnce(t, s, "GET", "/api/test/slow", nil).wantProblem(t, 503, tenancy.Unavailable)
	<-entered

	s, log := newEdge(t, Config{Timeout: time.Minute})
	done := make(chan struct{})
	s.route("/api/test/slow", methods{"GET": func(x *exchange) error {
		entered <- struct{}{}
		<-x.r.Context().Done()
		defer close(done)
		return fmt.Errorf("query: %w", x.r.Context().Err())
	}})
	srv := httptest.NewServer(s)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/api/test/slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-entered
		cancel()
	}()
	if res, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("an answer: %d", res.StatusCode)
		res.Body.Close() //nolint:errcheck // the test has failed
	}
	<-done
	srv.Close() // waits for the handler
	if got := log.String(); !strings.Contains(got, `"status":499`) || !strings.Contains(got, `"level":"INFO"`) {
		t.Errorf("log of a client that hung up: %s", got)
	}
}

func TestRequestID(t *testing.T) {
	s, _ := newEdge(t, Config{})
	for name, tc := range map[string]struct {
		sent string
		kept bool
	}{
		"sane":          {"8f1c:req/7=~!", true},
		"longest":       {strings.Repeat("a", 128), true},
		"none":          {"", false},
		"too long":      {strings.Repeat("a", 129), false},
		"with a space":  {"a b", false},
		"not ASCII":     {"é", false},
		"with a tab":    {"a\tb", false},
		"only a hyphen": {"-", true},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if tc.sent != "" {
				headers = []string{"X-Request-ID", tc.sent}
			}
			got := askOnce(t, s, "GET", "/healthz", nil, headers...).Header.Get("X-Request-ID")
			if tc.kept != (got == tc.sent) || got == "" {
				t.Errorf("sent %q, got %q", tc.sent, got)
			}
		})
	}
	a, b := askOnce(t, s, "GET", "/healthz", nil), askOnce(t, s, "GET", "/healthz", nil)
	if a.Header.Get("X-Request-ID") == b.Header.Get("X-Request-ID") {
		t.Error("two requests have the same id")
	}
}

func TestETag(t *testing.T) {
	s, _ := newEdge(t, Config{})
	a, b := tenancy.Caller{Tenant: uuid.New(), User: uuid.New()}, tenancy.Caller{Tenant: uuid.New(), User: uuid.New()}
	caller := a
	var value any = map[string]int{"x": 1}
	s.route("/api/test/cached", methods{"GET": func(x *exchange) error { return x.sendCached(caller, value) }})
	srv := httptest.NewServer(s)
	defer srv.Close()
	get := func(headers ...string) answer { return send(t, srv.URL, "GET", "/api/test/cached", nil, headers...) }

	first := get()
	tag := first.Header.Get("ETag")
	if first.StatusCode != 200 || len(tag) < 10 || first.Header.Get("Cache-Control") != "private, no-cache" || first.body != `{"x":1}`+"\n" {
		t.Fatalf("%d %v %s", first.StatusCode, first.Header, first.body)
	}
	for _, match := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		again := get("If-None-Match", match)
		if again.StatusCode != 304 || again.body != "" || again.Header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: %d %q", match, again.StatusCode, again.body)
		}
	}
	if again := get("If-None-Match", `"x"`); again.StatusCode != 200 {
		t.Errorf("another tag: %d", again.StatusCode)
	}
	caller = tenancy.Caller{Tenant: b.Tenant, User: a.User}
	if again := get("If-None-Match", tag); again.StatusCode != 200 {
		t.Errorf("the same body of another tenant: %d, the tag must differ", again.StatusCode)
	}
	caller = tenancy.Caller{Tenant: a.Tenant, User: b.User}
	if again := get("If-None-Match", tag); again.StatusCode != 200 {
		t.Errorf("the same body of another user: %d, the tag must differ", again.StatusCode)
	}
	caller, value = a, map[string]int{"x": 2}
	if again := get("If-None-Match", tag); again.StatusCode != 200 {
		t.Errorf("another body: %d", again.StatusCode)
	}
	head := send(t, srv.URL, "HEAD", "/api/test/cached", nil)
	if head.StatusCode != 200 || head.body != "" || head.Header.Get("ETag") == "" || head.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v %q", head.StatusCode, head.Header, head.body)
	}
}

func TestMetricsNameNoTenant(t *testing.T) {
	registry := prometheus.NewRegistry()
	s, _ := newEdge(t, Config{Registry: registry})
	srv := httptest.NewServer(s)
	defer srv.Close()
	auth := []string{"Authorization", "Bearer " + signed(t, testUser, testTenant)}
	send(t, srv.URL, "GET", "/api/v3/rbac/roles/424242", nil, auth...)
	send(t, srv.URL, "GET", "/api/v3/rbac/roles", nil)
	send(t, srv.URL, "GET", "/api/"+testTenant+"/x", nil, auth...)
	send(t, srv.URL, "BREW", "/api/v4/me", nil, auth...)
	a := send(t, srv.URL, "GET", "/metrics", nil)
	for _, want := range []string{
		`poolproof_http_requests_total{class="5xx",route="GET /api/v3/rbac/roles/{id}"} 1`,
		`poolproof_http_requests_total{class="4xx",route="GET /api/v3/rbac/roles"} 1`,
		`poolproof_http_requests_total{class="4xx",route="unmatched"} 1`,
		`poolproof_http_requests_total{class="4xx",route="other /api/v4/me"} 1`,
		`poolproof_http_request_duration_seconds_count{route="GET /api/v3/rbac/roles/{id}"} 1`,
	} {
		if !strings.Contains(a.body, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, secret := range []string{testTenant, testUser.String(), "424242", "BREW"} {
		if strings.Contains(a.body, secret) {
			t.Errorf("/metrics shows %s", secret)
		}
	}
}

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/tenancy"
)

// These tests need no database: what happens before a store is asked.

const (
	testIssuer   = "https://issuer.test"
	testAudience = "authenticated"
	testTenant   = "550e8400-e29b-41d4-a716-446655440000"
)

var (
	testSecret = []byte("the-secret-of-httpapi's-tests-----------")
	testUser   = uuid.MustParse("5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10")
)

// logBuffer collects log lines of a server's goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testTokens(t testing.TB) *token.Verifier {
	t.Helper()
	v, err := token.NewVerifier(t.Context(), token.Config{Issuer: testIssuer, Audience: testAudience, Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func signed(t testing.TB, user uuid.UUID, tenant string) string {
	t.Helper()
	raw, err := token.Sign(testSecret, token.Request{
		Issuer: testIssuer, Audience: testAudience, Subject: user.String(), Tenant: tenant, Lifetime: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// newEdge is a server without a database. Endpoints may be added to it before
// it is asked.
func newEdge(t *testing.T, cfg Config) (*Server, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	cfg.Tokens = testTokens(t)
	cfg.Logger = slog.New(slog.NewJSONHandler(log, nil))
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

func askOnce(t *testing.T, s http.Handler, method, path string, body io.Reader, headers ...string) answer {
	t.Helper()
	srv := httptest.NewServer(s)
	defer srv.Close()
	return send(t, srv.URL, method, path, body, headers...)
}

// send makes one request, and holds what is answered against the API's
// document; headers alternate between name and value.
func send(t testing.TB, base, method, path string, body io.Reader, headers ...string) answer {
	t.Helper()
	sent := []byte{}
	switch text := body.(type) {
	case nil:
	case *strings.Reader:
		var err error
		if sent, err = io.ReadAll(text); err != nil {
			t.Fatal(err)
		}
		body = strings.NewReader(string(sent))
	default:
		sent = nil // it can be read once only
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: reading: %v", method, path, err)
	}
	a := answer{res, string(raw)}
	theContract().check(t, req, sent, a)
	return a
}

// wantProblem checks everything that each refusal has in common.
func (a answer) wantProblem(t *testing.T, status int, code tenancy.Code) problem {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("status %d, want %d; body %s", a.StatusCode, status, a.body)
	}
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("not JSON: %v: %s", err, a.body)
	}
	if p.Code != code || p.Status != status || p.Title == "" || p.Detail == "" || !strings.HasSuffix(p.Type, "#"+string(code)) {
		t.Errorf("problem %+v, want code %s and status %d", p, code, status)
	}
	id := a.Header.Get("X-Request-ID")
	if id == "" || strings.Contains(a.body, id) {
		t.Errorf("request id %q: it must be in the header and nowhere else", id)
	}
	if (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) != (a.Header.Get("Retry-After") == "1") {
		t.Errorf("status %d with Retry-After %q", status, a.Header.Get("Retry-After"))
	}
	if (status == http.StatusUnauthorized) != (a.Header.Get("WWW-Authenticate") != "") {
		t.Errorf("status %d with WWW-Authenticate %q", status, a.Header.Get("WWW-Authenticate"))
	}
	return p
}

func TestAuthentication(t *testing.T) {
	s, log := newEdge(t, Config{})
	good := signed(t, testUser, testTenant)
	plain := signed(t, testUser, "")
	badClaim := signed(t, testUser, "last-apple")
	for name, tc := range map[string]struct {
		headers   []string
		path      string
		status    int
		code      tenancy.Code
		challenge string
	}{
		// 503: everything about the request is in order, but there is no database.
		"tenant from the token":   {[]string{"Authorization", "Bearer " + good}, "", 503, tenancy.Unavailable, ""},
		"tenant from the header":  {[]string{"Authorization", "Bearer " + plain, "X-Tenant-ID", testTenant}, "", 503, tenancy.Unavailable, ""},
		"scheme in lower case":    {[]string{"Authorization", "bearer  " + good}, "", 503, tenancy.Unavailable, ""},
		"upper case tenant":       {[]string{"Authorization", "Bearer " + plain, "X-Tenant-ID", strings.ToUpper(testTenant)}, "", 503, tenancy.Unavailable, ""},
		"header mends the claim":  {[]string{"Authorization", "Bearer " + badClaim, "X-Tenant-ID", testTenant}, "", 503, tenancy.Unavailable, ""},
		"same tenant in query":    {[]string{"Authorization", "Bearer " + good}, "?tenant_id=" + testTenant, 503, tenancy.Unavailable, ""},
		"what old clients append": {[]string{"Authorization", "Bearer " + good}, "?raw_sql=true&no_prepare=true&statement_cache_size=0", 503, tenancy.Unavailable, ""},

		"no token":       {nil, "", 401, tenancy.Unauthenticated, `Bearer realm="poolproof"`},
		"basic":          {[]string{"Authorization", "Basic eDp5"}, "", 401, tenancy.Unauthenticated, `Bearer realm="poolproof"`},
		"two tokens":     {[]string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, "", 401, tenancy.Unauthenticated, `Bearer realm="poolproof"`},
		"token in query": {nil, "?access_token=" + good, 401, tenancy.Unauthenticated, `Bearer realm="poolproof"`},
		"empty token":    {[]string{"Authorization", "Bearer "}, "", 401, tenancy.Unauthenticated, `Bearer realm="poolproof", error="invalid_token", error_description="The token is not valid."`},
		"rubbish":        {[]string{"Authorization", "Bearer x"}, "", 401, tenancy.Unauthenticated, `Bearer realm="poolproof", error="invalid_token", error_description="The token is not valid."`},
		"huge":           {[]string{"Authorization", "Bearer " + good + strings.Repeat("x", token.MaxSize)}, "", 401, tenancy.Unauthenticated, `Bearer realm="poolproof", error="invalid_token", error_description="The token is not valid."`},
		"built-in dev token of the original": {[]string{"Authorization", "Bearer dev-admin-id"}, "", 401, tenancy.Unauthenticated,
			`Bearer realm="poolproof", error="invalid_token", error_description="The token is not valid."`},

		"no tenant":              {[]string{"Authorization", "Bearer " + plain}, "", 400, tenancy.TenantRequired, ""},
		"empty tenant":           {[]string{"Authorization", "Bearer " + good, "X-Tenant-ID", ""}, "", 400, tenancy.Invalid, ""},
		"tenant is a name":       {[]string{"Authorization", "Bearer " + good, "X-Tenant-ID", "last-apple"}, "", 400, tenancy.Invalid, ""},
		"tenant without hyphens": {[]string{"Authorization", "Bearer " + good, "X-Tenant-ID", strings.ReplaceAll(testTenant, "-", "")}, "", 400, tenancy.Invalid, ""},
		"tenant in braces":       {[]string{"Authorization", "Bearer " + good, "X-Tenant-ID", "{" + testTenant + "}"}, "", 400, tenancy.Invalid, ""},
		"tenant as URN":          {[]string{"Authorization", "Bearer " + good, "X-Tenant-ID", "urn:uuid:" + testTenant}, "", 400, tenancy.Invalid, ""},
		"tenant and a quote":     {[]string{"Authorization", "Bearer " + good, "X-Tenant-ID", testTenant[:35] + "'"}, "", 400, tenancy.Invalid, ""},
		"two tenants":            {[]string{"Authorization", "Bearer " + good, "X-Tenant-ID", testTenant, "X-Tenant-ID", testTenant}, "", 400, tenancy.Invalid, ""},
		"two tenants in one":     {[]string{"Authorization", "Bearer " + good, "X-Tenant-ID", testTenant + "," + testTenant}, "", 400, tenancy.Invalid, ""},
		"malformed claim":        {[]string{"Authorization", "Bearer " + badClaim}, "", 400, tenancy.Invalid, ""},
		"other tenant in query":  {[]string{"Authorization", "Bearer " + good}, "?tenant_id=" + uuid.NewString(), 400, tenancy.Invalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/api/v3/rbac/roles", "/api/v4/features/tenant"} {
				a := askOnce(t, s, http.MethodGet, path+tc.path, nil, tc.headers...)
				a.wantProblem(t, tc.status, tc.code)
				if got := a.Header.Get("WWW-Authenticate"); got != tc.challenge {
					t.Errorf("WWW-Authenticate %q, want %q", got, tc.challenge)
				}
			}
		})
	}
	for _, secret := range []string{good, plain, badClaim, good[:40], string(testSecret), "access_token"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}

func TestUnknownAddressesAndMethods(t *testing.T) {
	s, _ := newEdge(t, Config{})
	auth := []string{"Authorization", "Bearer " + signed(t, testUser, testTenant)}
	for _, tc := range []struct {
		method, path string
		status       int
		code         tenancy.Code
		allow        string
	}{
		{"GET", "/nothing", 404, tenancy.NotFound, ""},
		{"GET", "/api/v3/rbac/nothing", 404, tenancy.NotFound, ""},
		{"GET", "/api/v3/rbac/roles/1/2", 404, tenancy.NotFound, ""},
		{"DELETE", "/api/v5", 404, tenancy.NotFound, ""},
		{"PATCH", "/api/v3/rbac/roles", 405, methodNotAllowed, "GET, HEAD, POST"},
		{"DELETE", "/api/v3/rbac/roles/", 405, methodNotAllowed, "GET, HEAD, POST"},
		{"POST", "/api/v3/rbac/roles/1", 405, methodNotAllowed, "DELETE, GET, HEAD, PUT"},
		{"BREW", "/api/v4/sidebar", 405, methodNotAllowed, "GET, HEAD"},
		{"GET", "/api/v3/rbac-permissions/role/1/permission/x", 405, methodNotAllowed, "DELETE"},
		{"POST", "/healthz", 405, methodNotAllowed, "GET, HEAD"},
		// Both spellings are the route itself: no redirect that loses a body.
		{"GET", "/api/v3/rbac/roles/", 503, tenancy.Unavailable, ""},
		{"POST", "/api/v3/rbac/roles/", 503, tenancy.Unavailable, ""},
		{"POST", "/api/v4/features/tenant/", 503, tenancy.Unavailable, ""},
		{"PUT", "/api/v3/rbac/roles/7/", 503, tenancy.Unavailable, ""},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			a := askOnce(t, s, tc.method, tc.path, nil, auth...)
			a.wantProblem(t, tc.status, tc.code)
			if got := a.Header.Get("Allow"); got != tc.allow {
				t.Errorf("Allow %q, want %q", got, tc.allow)
			}
			if tc.path == "/nothing" {
				return
			}
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Vary": "Authorization, X-Tenant-ID",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			} {
				if got := a.Header.Get(name); got != want {
					t.Errorf("%s %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestWithoutDatabase(t *testing.T) {
	s, _ := newEdge(t, Config{})
	if a := askOnce(t, s, "GET", "/healthz", nil); a.StatusCode != 200 || a.body != `{"status":"ok"}`+"\n" {
		t.Errorf("/healthz: %d %s", a.StatusCode, a.body)
	}
	a := askOnce(t, s, "GET", "/readyz", nil)
	const want = `{"status":"unavailable","database":"unavailable","pooler":{"present":false,"mode":"unknown","scope":"unknown","exec_mode":"unknown"},"schema":"unknown","doctor":{"verdict":"unknown","codes":[],"changed":[]}}` + "\n"
	if a.StatusCode != 503 || a.body != want || a.Header.Get("Retry-After") != "1" {
		t.Errorf("/readyz: %d %s", a.StatusCode, a.body)
	}
	askOnce(t, s, "GET", "/api/v4/me", nil, "Authorization", "Bearer "+signed(t, testUser, "")).wantProblem(t, 503, tenancy.Unavailable)
	askOnce(t, s, "GET", "/api/v4/me", nil).wantProblem(t, 401, tenancy.Unauthenticated)
}

// readInto is an endpoint that only reads its body.
func readInto(c *call) error {
	var body struct {
		Name   *string `json:"name"`
		Nested struct {
			List []int `json:"list"`
		} `json:"nested"`
	}
	if err := c.readBody(&body); err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, body.Name)
}

func TestBody(t *testing.T) {
	s, _ := newEdge(t, Config{})
	s.route("/api/test/body", methods{"POST": s.forTenant(readInto, false)})
	s.stores.Store(&stores{shares: newShares(2)}) // there, and not asked by this endpoint
	auth := "Bearer " + signed(t, testUser, testTenant)
	long := `{"name":"` + strings.Repeat("x", maxBody) + `"}`
	for name, tc := range map[string]struct {
		contentType, body string
		status            int
		code              tenancy.Code
		pointer           string
	}{
		"object":              {"application/json", `{"name":"x"}`, 200, "", ""},
		"charset":             {"application/json; charset=utf-8", `{"name":"x"}`, 200, "", ""},
		"no content type":     {"", `{"name":"x"}`, 200, "", ""},
		"unknown fields":      {"", `{"name":"x","permission_ids":[1],"colour":{"a":[]}}`, 200, "", ""},
		"own tenant":          {"", `{"name":"x","tenant_id":"` + testTenant + `"}`, 200, "", ""},
		"null tenant":         {"", `{"name":"x","tenant_id":null}`, 200, "", ""},
		"braces in text":      {"", `{"name":"` + strings.Repeat("{[", 100) + `\"}"}`, 200, "", ""},
		"backslash, u0000":    {"", `{"name":"\\u0000"}`, 200, "", ""},
		"form":                {"application/x-www-form-urlencoded", `name=x`, 400, tenancy.Invalid, ""},
		"text":                {"text/plain", `{"name":"x"}`, 400, tenancy.Invalid, ""},
		"broken content type": {"application", `{"name":"x"}`, 400, tenancy.Invalid, ""},
		"empty":               {"application/json", ``, 400, tenancy.Invalid, ""},
		"list":                {"", `[{"name":"x"}]`, 400, tenancy.Invalid, ""},
		"null":                {"", `null`, 400, tenancy.Invalid, ""},
		"cut off":             {"", `{"name":"x"`, 400, tenancy.Invalid, ""},
		"two objects":         {"", `{"name":"x"}{"name":"y"}`, 400, tenancy.Invalid, ""},
		"not UTF-8":           {"", "{\"name\":\"\xff\"}", 400, tenancy.Invalid, ""},
		"U+0000":              {"", `{"name":"a\u0000b"}`, 400, tenancy.Invalid, ""},
		"wrong type":          {"", `{"name":7}`, 400, tenancy.Invalid, "/name"},
		"wrong type, deeper":  {"", `{"nested":{"list":"x"}}`, 400, tenancy.Invalid, "/nested/list"},
		"too deep":            {"", `{"name":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 400, tenancy.Invalid, ""},
		"other tenant":        {"", `{"name":"x","tenant_id":"` + uuid.NewString() + `"}`, 400, tenancy.Invalid, "/tenant_id"},
		"tenant is a number":  {"", `{"name":"x","tenant_id":1}`, 400, tenancy.Invalid, "/tenant_id"},
		"tenant is empty":     {"", `{"name":"x","tenant_id":""}`, 400, tenancy.Invalid, "/tenant_id"},
		"too long":            {"application/json", long, 413, tenancy.BodyTooLarge, ""},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Authorization", auth}
			if tc.contentType != "" {
				headers = append(headers, "Content-Type", tc.contentType)
			}
			a := askOnce(t, s, "POST", "/api/test/body", strings.NewReader(tc.body), headers...)
			if tc.code == "" {
				if a.StatusCode != tc.status {
					t.Fatalf("status %d: %s", a.StatusCode, a.body)
				}
				return
			}
			p := a.wantProblem(t, tc.status, tc.code)
			switch {
			case tc.pointer == "" && len(p.Errors) != 0:
				t.Errorf("errors %+v, want none", p.Errors)
			case tc.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != tc.pointer):
				t.Errorf("errors %+v, want one for %s", p.Errors, tc.pointer)
			}
		})
	}
	t.Run("too long and without a length", func(t *testing.T) {
		a := askOnce(t, s, "POST", "/api/test/body", io.MultiReader(strings.NewReader(long)), "Authorization", auth)
		a.wantProblem(t, 413, tenancy.BodyTooLarge)
	})
}

func TestEveryCodeIsMappedAndDescribed(t *testing.T) {
	docs, err := os.ReadFile("../../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	for code, k := range kinds {
		if k.title == "" || k.detail == "" || k.status < 400 {
			t.Errorf("%s: %+v is incomplete", code, k)
		}
		if !strings.Contains(string(docs), fmt.Sprintf("\n## %s\n%d", code, k.status)) {
			t.Errorf("problems.md does not describe %s as %d", code, k.status)
		}
	}
}

func TestErrorsBecomeProblems(t *testing.T) {
	const leak = `ERROR: relation "secret_table" at postgres://app:pw@db (SQLSTATE 42P01)`
	for name, tc := range map[string]struct {
		err    error
		status int
		code   tenancy.Code
		level  string
	}{
		"refusal":                   {tenancy.Refuse(tenancy.NameTaken, "taken"), 409, tenancy.NameTaken, "INFO"},
		"wrapped refusal":           {fmt.Errorf("creating: %w", tenancy.Refuse(tenancy.Cycle, "")), 409, tenancy.Cycle, "INFO"},
		"outage":                    {fmt.Errorf("x: %w", &poolproof.Error{Kind: poolproof.ErrUnavailable, Op: "query", Err: errors.New(leak)}), 503, tenancy.Unavailable, "WARN"},
		"outage inside a refusal":   {&tenancy.Error{Code: tenancy.Internal, Err: &poolproof.Error{Kind: poolproof.ErrUnavailable}}, 503, tenancy.Unavailable, "WARN"},
		"tenant not set":            {&poolproof.Error{Kind: poolproof.ErrTenantNotSet, Err: errors.New(leak)}, 503, tenancy.Unavailable, "WARN"},
		"deadline":                  {fmt.Errorf("query: %w", context.DeadlineExceeded), 503, tenancy.Unavailable, "WARN"},
		"statement refused":         {&poolproof.Error{Kind: poolproof.ErrStatementRefused, Err: errors.New(leak)}, 500, tenancy.Internal, "ERROR"},
		"anything":                  {errors.New(leak), 500, tenancy.Internal, "ERROR"},
		"internal with detail":      {&tenancy.Error{Code: tenancy.Internal, Detail: leak}, 500, tenancy.Internal, "ERROR"},
		"unknown code":              {&tenancy.Error{Code: "teapot", Detail: leak}, 500, tenancy.Internal, "ERROR"},
		"cancelled but client here": {context.Canceled, 500, tenancy.Internal, "ERROR"},
		"not found names nothing":   {tenancy.Refuse(tenancy.NotFound, "role 7 of %s", leak), 404, tenancy.NotFound, "INFO"},
		"no member names nothing":   {tenancy.Refuse(tenancy.NotAMember, "tenant %s", leak), 403, tenancy.NotAMember, "INFO"},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := newEdge(t, Config{})
			s.route("/api/test/fail", methods{"GET": func(*exchange) error { return tc.err }})
			a := askOnce(t, s, "GET", "/api/test/fail", nil)
			p := a.wantProblem(t, tc.status, tc.code)
			if strings.Contains(a.body, "secret_table") {
				t.Errorf("the answer tells what failed: %s", a.body)
			}
			if p.Errors != nil {
				t.Errorf("errors %v", p.Errors)
			}
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			if len(lines) != 1 {
				t.Fatalf("%d log lines, want 1: %s", len(lines), log)
			}
			var line map[string]any
			if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
				t.Fatal(err)
			}
			if line["level"] != tc.level || line["request_id"] != a.Header.Get("X-Request-ID") || line["route"] != "GET /api/test/fail" ||
				line["status"] != float64(tc.status) || line["error"] == nil {
				t.Errorf("log line %v", line)
			}
		})
	}
}

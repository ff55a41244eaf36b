package console_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	browserpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/poolproof/poolproof/service/console"
	"github.com/poolproof/poolproof/service/httpapi/token"
)

// startProvider builds and starts testdata/provider, a module of its own, and
// returns its issuer.
func startProvider(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "provider")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = "testdata/provider"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the provider: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program)
	stdin, err := cmd.StdinPipe() // it ends when this closes
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting the provider: %v", err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatalf("the provider did not start: %v\n%s", cmd.Wait(), said.String())
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("the provider ended: %v", err)
		}
		if t.Failed() {
			t.Logf("the provider said:\n%s", said.String())
		}
	})
	return lines.Text()
}

// lines is a log that several goroutines write to.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// answers fills in the provider's form.
func (p *page) answers(issuer, name, button string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`location.origin === %s && document.querySelector('#name')?.checkVisibility()`, quote(issuer)))
	p.fill("#name", name)
	p.fill("#password", "verysecure")
	p.click(button)
}

// history returns the addresses that the tab can go back to.
func (p *page) history() string {
	p.t.Helper()
	past, err := chromedp.Call(p.ctx, browserpage.GetNavigationHistory, cdp.Empty{})
	if err != nil {
		p.t.Fatalf("reading the history: %v", err)
	}
	var all []string
	for _, entry := range past.Entries {
		all = append(all, entry.URL)
	}
	return strings.Join(all, "\n")
}

// People sign in at a provider that is somebody else's program, and what comes
// back is used only if it answers what was asked.
func TestSigningInAtAProvider(t *testing.T) {
	op := startProvider(t)
	var ahead atomic.Int64 // how far the API's clock has gone, in nanoseconds
	log := &lines{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	pages := func(client string) http.Handler {
		handler, err := console.HandlerWith(console.OpenID{
			Issuer: op, ClientID: client, Audience: client, Scopes: "openid profile email offline_access", Logger: logger,
			Token: map[string]string{"console-jwt": console.AccessToken}[client],
		})
		if err != nil {
			t.Fatal(err)
		}
		return handler
	}
	accepted := func(client string) token.Config {
		return token.Config{
			Issuer: op, Audience: client, JWKSURL: op + "/keys", Logger: logger,
			Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		}
	}
	s := newServiceWith(t, accepted("console"), pages("console"), logger)
	user := token.UserID(op, "id1") // the provider's ids are no UUIDs
	s.exec(t, `insert into poolproof.profiles (tenant_id, user_id, email) values ($1, $2, 'test-user@zitadel.ch')`, s.tenant, user)
	s.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by)
		select $1, $2, id, $2 from poolproof.roles where tenant_id = $1 and name = 'SUPER_ADMIN'`, s.tenant, user)

	second, _ := s.serve(t, accepted("console-jwt"), pages("console-jwt"), logger)

	p := openBrowser(t)
	signIn := func(p *page, button string) {
		t.Helper()
		p.shows("#sign-in", "Sign in at "+strings.TrimPrefix(op, "http://"))
		p.click("#sign-in")
		p.answers(op, "test-user@127.0.0.1", button)
	}
	kept := func(p *page) string { return eval[string](p, `sessionStorage.getItem('poolproof.token') ?? ''`) }

	// In, to where the person wanted to go.
	p.visit(s.url + "/#members")
	p.size(1280, 860)
	p.accessible("the sign-in with a provider", everyRule)
	p.picture("console-sign-in-light.png")
	p.fingers("the sign-in with a provider")
	p.touch = false
	p.size(1280, 800)
	p.scheme("light")
	signIn(p, "#allow")
	p.ready("members")
	p.shows("#who", "test-user@zitadel.ch")
	p.section("roles")
	p.shows("#roles-matrix", "SUPER_ADMIN")
	first := kept(p)
	if strings.Count(first, ".") != 2 {
		t.Fatalf("the tab holds %q for a token", first)
	}

	// No secret is where it could be seen later.
	code := ""
	for _, asked := range p.asked {
		if _, rest, ok := strings.Cut(asked, s.url+"/?code="); ok {
			code, _, _ = strings.Cut(rest, "&")
		}
		if strings.Contains(asked, first) || strings.Contains(asked, "token=") {
			t.Errorf("a token is in the address %s", asked)
		}
	}
	if code == "" {
		t.Error("the provider did not come back with a code")
	}
	for what, text := range map[string]string{"history": p.history(), "service's log": log.String(), "storage of all tabs": eval[string](p, `JSON.stringify(localStorage) + document.cookie`)} {
		if strings.Contains(text, first) || strings.Contains(text, "code=") || strings.Contains(text, code) {
			t.Errorf("the %s holds a token or a code:\n%s", what, text)
		}
	}
	if here := eval[string](p, `location.href`); here != s.url+"/#roles" {
		t.Errorf("the address is %s", here)
	}
	if policy := header(t, s.url+"/", "Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self' "+op+";") {
		t.Errorf("the policy is %s", policy)
	}

	// Somebody else's answer, while signed in: nothing of it is used.
	p.visit(s.url + "/?code=theirs&state=forged")
	p.shows("#toast", "was not begun in this tab")
	p.ready("roles")
	if kept(p) != first || strings.Contains(p.history(), "theirs") {
		t.Error("a forged answer has changed the session, or stays in the history")
	}

	// The token is renewed before it ends.
	eval[bool](p, `(() => { const now = Date.now; Date.now = () => now() + 3570_000; return true; })()`)
	p.section("members")
	p.until(`sessionStorage.getItem('poolproof.token') !== ` + quote(first))
	if next := kept(p); strings.Count(next, ".") != 2 {
		t.Errorf("renewed, the tab holds %q", next)
	}
	p.reload()
	p.ready("members")

	// And where it cannot be renewed, the page says that it has ended, and when.
	p.expect(401)
	eval[bool](p, `(sessionStorage.removeItem('poolproof.renewal'), true)`)
	p.reload()
	p.ready("members")
	ahead.Store(int64(2 * time.Hour))
	last := kept(p)
	p.click(`#sections a[href="#features"]`)
	p.shows("#connect-problem", "Your sign-in has ended")
	p.shows("#connect-problem", "expired at")
	p.until(`document.activeElement.id === 'sign-in'`)
	if kept(p) != "" || strings.Contains(eval[string](p, `document.documentElement.outerHTML + document.querySelector('#token').value`), last) {
		t.Error("the refused token is still there")
	}
	p.accessible("a sign-in that has ended", everyRule)
	ahead.Store(0)

	// Refused there: in words, and nothing is kept.
	signIn(p, "#refuse")
	p.shows("#connect-problem", "said no there")
	p.shows("#connect-problem", "The person said no.")
	p.shows(`#connect-problem [data-fact="code"]`, "access_denied")
	if kept(p) != "" || eval[string](p, `location.href`) != s.url+"/#features" {
		t.Errorf("refused, the tab holds %q at %s", kept(p), eval[string](p, `location.href`))
	}

	// A forged state in the middle of a sign-in: no code is exchanged.
	p.click("#sign-in")
	p.until(fmt.Sprintf(`location.origin === %s`, quote(op)))
	before := len(p.asked)
	p.visit(s.url + "/?code=theirs&state=forged")
	p.shows(`#connect-problem [data-fact="code"]`, "state_mismatch")
	p.shows("#connect-problem", "does not belong to the sign-in that was begun here")
	for _, asked := range p.asked[before:] {
		if strings.HasPrefix(asked, op+"/oauth/token") {
			t.Error("a forged answer's code was sent to the provider")
		}
	}
	if kept(p) != "" {
		t.Error("a forged answer has signed somebody in")
	}

	// Two tabs share it if the person says so, and from then on it ends in both.
	p.click("#shared")
	signIn(p, "#allow")
	p.ready("features")
	other := p.tab()
	other.visit(s.url + "/#members")
	other.ready("members")
	if n := eval[int](other, `sessionStorage.getItem('poolproof.token') === null ? 0 : 1`); n != 0 {
		t.Error("a shared token is in a tab's own storage, too")
	}
	p.click("#sign-out")
	p.shows("#still-signed-in", "Sign out there, too")
	other.until(`document.querySelector('#signin').checkVisibility() && !document.querySelector('#section-members').checkVisibility()`)
	if left := eval[string](p, `JSON.stringify(localStorage) + JSON.stringify(sessionStorage)`); left != "{}{}" {
		t.Errorf("signed out, the browser still holds %s", left)
	}

	// From a page for trying the API, and back to it; with a JWT access token.
	p.visit(second + "/test-rbac-role.html")
	p.fill("#tenant", s.tenant)
	signIn(p, "#allow")
	p.shows("#tenant-name", "Last Apple")

	// Somebody whom no tenant knows learns what to send to whom.
	p.click("#forget")
	p.visit(s.url + "/")
	p.shows("#sign-in", "Sign in at")
	p.click("#sign-in")
	p.answers(op, "test-user2", "#allow")
	p.shows("#choose", "in no tenant yet")
	p.shows("#choose .own-id", token.UserID(op, "id2").String())
	p.accessible("somebody in no tenant", everyRule)
}

func header(t *testing.T, url, name string) string {
	t.Helper()
	answer, err := http.Get(url) //nolint:gosec,noctx // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // nothing of it is read
	return answer.Header.Get(name)
}

// The policy names the token endpoint's origin and nothing that a provider
// could smuggle in; what cannot work is refused at the start.
func TestAProviderIsCheckedBeforeItIsTrusted(t *testing.T) {
	metadata := map[string]any{}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/openid-configuration" || len(metadata) == 0 {
			http.NotFound(w, r)
			return
		}
		if err := json.NewEncoder(w).Encode(metadata); err != nil {
			t.Error(err)
		}
	}))
	defer provider.Close()
	good := func() map[string]any {
		return map[string]any{
			"issuer": provider.URL, "authorization_endpoint": provider.URL + "/auth", "token_endpoint": "https://tokens.example:8443/t",
			"end_session_endpoint": provider.URL + "/end", "code_challenge_methods_supported": []string{"plain", "S256"},
		}
	}
	tag := ""
	ask := func() (policy, document string) {
		handler, err := console.HandlerWith(console.OpenID{Issuer: provider.URL, ClientID: "c", Audience: "c"})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/sign-in.json", nil))
		document = w.Body.String()
		w = httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		tag = w.Header().Get("ETag")
		return w.Header().Get("Content-Security-Policy"), document
	}
	metadata = good()
	policy, document := ask()
	if !strings.Contains(policy, "connect-src 'self' https://tokens.example:8443;") {
		t.Errorf("the policy is %s", policy)
	}
	if !strings.Contains(document, `"token":"id_token"`) || !strings.Contains(document, provider.URL+"/auth") {
		t.Errorf("the page learns %s", document)
	}
	// Browsers keep the policy of a page that has not changed.
	known := tag
	metadata = nil
	if ask(); tag == known || known == "" {
		t.Errorf("the page's tag is %s, whatever it may ask", tag)
	}
	for name, wrong := range map[string]map[string]any{
		"another issuer":         {"issuer": "https://else.example"},
		"a policy in a host":     {"token_endpoint": "https://a;b.example/t"},
		"a policy in a host (2)": {"token_endpoint": "https://*/t"},
		"plain http":             {"token_endpoint": "http://tokens.example/t"},
		"a script":               {"authorization_endpoint": "javascript:alert(1)"},
		"a script at the end":    {"end_session_endpoint": "javascript:alert(1)"},
		"no PKCE":                {"code_challenge_methods_supported": []string{"plain"}},
		"no token endpoint":      {"token_endpoint": nil},
	} {
		metadata = good()
		maps.Copy(metadata, wrong)
		policy, document := ask()
		if !strings.Contains(document, `"provider":null`) || !strings.Contains(policy, "connect-src 'self' "+provider.URL+";") {
			t.Errorf("%s: the page learns %s and may ask %s", name, document, policy)
		}
	}
	for name, o := range map[string]console.OpenID{
		"no client":           {Issuer: "https://id.example", Audience: "a"},
		"plain http":          {Issuer: "http://id.example", ClientID: "c", Audience: "c"},
		"no openid":           {Issuer: "https://id.example", ClientID: "c", Audience: "c", Scopes: "profile"},
		"another token":       {Issuer: "https://id.example", ClientID: "c", Audience: "c", Token: "refresh_token"},
		"an ID token for api": {Issuer: "https://id.example", ClientID: "c", Audience: "api", Token: console.IDToken},
	} {
		if _, err := console.HandlerWith(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// What lies in static/assets/third_party/oauth4webapi is the npm package oauth4webapi,
// version 3.8.8, MIT, as published: build/index.js and LICENSE.md. To renew it,
// npm pack oauth4webapi@VERSION, copy these files and write their sums here.
func TestOauth4webapiIsAsPublished(t *testing.T) {
	checkSums(t, "static"+oauth4webapi, map[string]string{
		"LICENSE.txt": "81e7b4b0196e8caa43cf243131512e5e4ab04fc312623335e783abae6ff46d79",
		"index.js":    "72a5f6d84416e92b659c6b8fd837c5fa38d44b7f2e18f91daa1fe57da677c7ad",
	})
	text, err := os.ReadFile("static" + oauth4webapi + "index.js")
	if err != nil || !bytes.Contains(text, []byte("'v3.8.8'")) {
		t.Errorf("it does not say that it is version 3.8.8 (%v)", err)
	}
}

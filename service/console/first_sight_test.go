package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	browserpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// held is a service that keeps some of its answers back.
type held struct {
	next http.Handler

	mu   sync.Mutex
	back func(path string) bool
	wait chan struct{}
}

func (h *held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	back, wait := h.back, h.wait
	h.mu.Unlock()
	if back != nil && back(r.URL.Path) {
		<-wait
	}
	h.next.ServeHTTP(w, r)
}

// hold keeps back what it is told of until release.
func (h *held) hold(back func(path string) bool) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.back, h.wait = back, make(chan struct{})
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.back = nil
		close(h.wait)
	})
}

// goTo starts a visit. It does not wait for the page to be complete. What the
// last page still waits for is given up: it would hold all connections.
func (p *page) goTo(url string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for _, to := range []string{"about:blank", url} {
		if _, err := chromedp.Call(ctx, browserpage.Navigate, browserpage.NavigateParams{URL: to}); err != nil {
			p.t.Fatalf("going to %s: %v", to, err)
		}
	}
}

// seen waits until an element can be seen and holds a text.
func (p *page) seen(selector, text string) {
	p.t.Helper()
	p.until(`document.querySelector(` + quote(selector) + `)?.checkVisibility({ visibilityProperty: true }) && document.querySelector(` + quote(selector) + `).innerText.includes(` + quote(text) + `)`)
}

// A page says something before its scripts have come, and what it waits for
// where they or the API do not come.
func TestNoPageIsBlankWhileItWaits(t *testing.T) {
	s := newService(t)
	slow := &held{next: s.api}
	front := httptest.NewServer(slow)
	t.Cleanup(front.Close)
	p := openBrowser(t)
	pages := map[string]string{
		"/": "Loading the console", "/test-rbac-role.html": "Loading the roles",
		"/test-rbac-tenants.html": "Loading the features", "/docs": "Loading the API reference",
	}
	release := slow.hold(func(path string) bool { return strings.HasSuffix(path, ".js") })
	t.Cleanup(func() { release() }) // or the server cannot close
	for path, text := range pages {
		p.goTo(front.URL + path)
		p.until(`location.href === ` + quote(front.URL+path))
		p.seen("#starting", text)
	}
	p.seen("#starting .late", "waits for its scripts") // of the last one: it comes after some seconds
	release()
	for path := range pages {
		p.visit(front.URL + path)
		p.until(`!document.querySelector('#starting')?.checkVisibility() && document.querySelector('main, #reference').innerText.trim().length > 100`)
	}

	// The API does not answer.
	p.visit(front.URL + "/#members")
	p.connect(s.token, s.tenant)
	p.ready("members")
	release = slow.hold(func(path string) bool { return path == "/api/v4/me" })
	p.reload()
	p.seen("#starting", "Asking the service who you are")
	p.seen("#waiting", "Still waiting for the service: GET /api/v4/me")
	release()
	p.ready("members")
	p.until(`!document.querySelector('#waiting').checkVisibility() && !document.querySelector('#starting').checkVisibility()`)
	release = slow.hold(func(path string) bool { return path == "/api/v3/rbac/roles" })
	p.click(`#sections a[href="#roles"]`)
	p.seen("#section-roles .reading", "Reading roles")
	p.goTo(front.URL + "/test-rbac-role.html")
	p.seen("#waiting", "GET /api/v3/rbac/roles")
	release()
	p.until(`document.querySelectorAll('#rows tr[data-role-id]').length > 0`)
	release = slow.hold(func(path string) bool { return path == "/openapi.json" })
	p.goTo(front.URL + "/docs")
	p.seen("#starting-text", "Reading openapi.json")
	release()
	p.until(`document.querySelectorAll('.opblock').length > 0`)

	// Without scripts at all.
	if _, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	for path := range pages {
		p.visit(front.URL + path)
		p.seen("noscript", "needs JavaScript")
	}
}

// Every module is asked for at once, not when the one that needs it has come.
func TestModulesAreLoadedAtOnce(t *testing.T) {
	files := staticFiles(t)
	for _, path := range []string{"/", "/test-rbac-role.html", "/test-rbac-tenants.html"} {
		page := files[path]
		_, rest, _ := strings.Cut(page, `<script type="module" src="/assets/`)
		entry, _, _ := strings.Cut(rest, `"`)
		needed := map[string]bool{}
		var follow func(name string)
		follow = func(name string) {
			for line := range strings.Lines(files["/assets/"+name]) {
				if _, from, ok := strings.Cut(line, " from './"); ok && strings.HasPrefix(line, "import ") {
					if next, _, _ := strings.Cut(from, "'"); !needed[next] {
						needed[next] = true
						follow(next)
					}
				}
			}
		}
		follow(entry)
		if len(needed) < 10 {
			t.Errorf("%s needs %d modules", path, len(needed))
		}
		for name := range needed {
			if !strings.Contains(page, `<link rel="modulepreload" href="/assets/`+name+`">`) {
				t.Errorf("%s does not preload %s", path, name)
			}
		}
		if n := strings.Count(page, "modulepreload"); n != len(needed) {
			t.Errorf("%s preloads %d modules of %d", path, n, len(needed))
		}
	}
}

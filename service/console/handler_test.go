package console_test

import (
	"cmp"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/service/console"
)

func ask(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	console.Handler().ServeHTTP(w, r)
	return w.Result()
}

// staticFiles returns every file of the console by the path it is served at; a
// page as it is served.
func staticFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := os.DirFS("static")
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(root, name)
		url := "/" + name
		if folder, ok := strings.CutSuffix(url, "/index.html"); ok {
			url = cmp.Or(folder, "/")
		}
		files[url] = string(text)
		if path.Ext(name) == ".html" {
			files[url] = servedPage(t, url)
		}
		return err
	})
	if err != nil {
		t.Fatalf("reading static: %v", err)
	}
	return files
}

// servedPage returns a page in its layout, of which nothing may be left open.
func servedPage(t *testing.T, url string) string {
	t.Helper()
	body, err := io.ReadAll(ask(t, http.MethodGet, url).Body)
	if err != nil {
		t.Fatal(err)
	}
	page := string(body)
	if !strings.HasPrefix(page, "<!doctype html>") || !strings.HasSuffix(page, "</body>\n</html>\n") || strings.Contains(page, "{{") {
		t.Errorf("GET %s: not a whole page:\n%s", url, page)
	}
	return page
}

func TestEveryFileIsServedWithItsHeaders(t *testing.T) {
	types := map[string]string{
		"": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
		".txt": "text/plain; charset=utf-8",
	}
	files := staticFiles(t)
	if _, ok := files["/test-rbac-role.html"]; !ok || len(files) < 5 {
		t.Fatalf("static holds %d files and no roles page", len(files))
	}
	for url, text := range files {
		answer := ask(t, http.MethodGet, url)
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusOK || string(body) != text {
			t.Errorf("GET %s: status %d, %d bytes; want 200 and the file's %d bytes", url, answer.StatusCode, len(body), len(text))
		}
		if got := answer.Header.Get("Content-Type"); got != types[path.Ext(url)] {
			t.Errorf("GET %s: Content-Type %q, want %q", url, got, types[path.Ext(url)])
		}
		checkSecurityHeaders(t, url, answer.Header)
	}
}

func checkSecurityHeaders(t *testing.T, url string, got http.Header) {
	t.Helper()
	for name, value := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
			"font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              "no-referrer",
		"X-Content-Type-Options":       "nosniff",
	} {
		if got.Get(name) != value {
			t.Errorf("%s: %s is %q, want %q", url, name, got.Get(name), value)
		}
	}
	if got.Get("Permissions-Policy") == "" {
		t.Errorf("%s: no Permissions-Policy", url)
	}
	if got.Get("Set-Cookie") != "" {
		t.Errorf("%s sets a cookie", url)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	for _, url := range []string{
		"/index.html", "/assets", "/assets/", "/static/index.html", "/assets/../handler.go", "/favicon.ico",
		"/docs/", "/docs/index.html", "/test-rbac-role.html/", "/api/v3/rbac/roles", "//", "/assets/%2e%2e/test-rbac-role.html",
	} {
		answer := ask(t, http.MethodGet, url)
		if answer.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", url, answer.StatusCode)
		}
		checkSecurityHeaders(t, url, answer.Header)
	}
	answer := ask(t, http.MethodPost, "/test-rbac-role.html")
	if answer.StatusCode != http.StatusMethodNotAllowed || answer.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: status %d, Allow %q; want 405 and GET, HEAD", answer.StatusCode, answer.Header.Get("Allow"))
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	first := ask(t, http.MethodGet, "/assets/console.css")
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("ETag %q, Cache-Control %q: want a tag and no-cache", tag, first.Header.Get("Cache-Control"))
	}
	if again := ask(t, http.MethodGet, "/assets/console.css", "If-None-Match", tag); again.StatusCode != http.StatusNotModified {
		t.Errorf("the same tag answers %d, want 304", again.StatusCode)
	}
	if other := ask(t, http.MethodGet, "/assets/console.css", "If-None-Match", `"else"`); other.StatusCode != http.StatusOK {
		t.Errorf("another tag answers %d, want 200", other.StatusCode)
	}
	if page := ask(t, http.MethodGet, "/test-rbac-role.html"); page.Header.Get("ETag") == tag {
		t.Error("two files have one tag")
	}
}

// The policy would stop inline code in the browser; these stop it before.
var forbidden = map[string]*regexp.Regexp{
	"an inline script":      regexp.MustCompile(`(?i)<script[^>]*>\s*[^\s<]`),
	"an inline style":       regexp.MustCompile(`(?i)<style|\sstyle\s*=`),
	"an on… attribute":      regexp.MustCompile(`(?i)<[^>]*\son[a-z]+\s*=`),
	"a javascript: address": regexp.MustCompile(`(?i)javascript:`),
	"another host":          regexp.MustCompile(`(?i)(?:src|href|url|import|from)\s*[=(]?\s*["']?(?:https?:)?//`),
	"HTML made from text":   regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|setHTML|srcdoc`),
	"code made from text":   regexp.MustCompile(`\beval\(|new Function|setTimeout\(\s*["'` + "`" + `]`),
	"a token in storage that outlives the tab, or in an address": regexp.MustCompile(`localStorage|document\.cookie|indexedDB|location\.(?:href|search|hash)|history\.`),
}

// permitted are the two files that do what no other may: keep a token for all
// tabs if the person says so, and take a code out of the address.
var permitted = map[string]string{"/assets/session.js": "localStorage", "/assets/sign-in.js": "history."}

// asPublished are the folders of files that are not ours. What they do is for
// the policy to stop: TestReference, TestSigningInAtAProvider.
func asPublished(url string) bool {
	return strings.HasPrefix(url, swaggerUI) || strings.HasPrefix(url, oauth4webapi)
}

func TestNoFileHoldsInlineCode(t *testing.T) {
	for url, text := range staticFiles(t) {
		if asPublished(url) {
			continue
		}
		for what, pattern := range forbidden {
			if found := pattern.FindString(text); found != "" && found != permitted[url] {
				t.Errorf("%s holds %s: %q", url, what, found)
			}
		}
	}
}

func TestTheScanSeesInlineCode(t *testing.T) {
	for text, what := range map[string]string{
		`<script>alert(1)</script>`:                        "an inline script",
		`<script type="module">import "x"</script>`:        "an inline script",
		`<p style="color: red">`:                           "an inline style",
		`<style>p { color: red }</style>`:                  "an inline style",
		`<img src=x onerror = "f()">`:                      "an on… attribute",
		`<a href="javascript:f()">`:                        "a javascript: address",
		`<link rel="stylesheet" href="https://x.example">`: "another host",
		`import x from '//x.example/y.js'`:                 "another host",
		`el.innerHTML = name`:                              "HTML made from text",
		`setTimeout('f()', 1)`:                             "code made from text",
		`localStorage.setItem('token', t)`:                 "a token in storage that outlives the tab, or in an address",
	} {
		if !forbidden[what].MatchString(text) {
			t.Errorf("%q passes as free of %s", text, what)
		}
	}
}

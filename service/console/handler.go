package console

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed static
var static embed.FS

// layout is what the pages, the HTML files of static, have in common.
//
//go:embed layout.html
var layout string

// policy is the Content-Security-Policy of every answer. Pages may ask their own
// origin and, if it is not "", one more: that of the OpenID provider's tokens.
func policy(provider string) string {
	ask := "'self'"
	if provider != "" {
		ask += " " + provider
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; " +
		"img-src 'self' data:; connect-src " + ask + "; font-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// securityHeaders go with every answer, 404 included.
var securityHeaders = map[string]string{
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
}

// contentTypes names the type of each kind of file in static. The system's own
// table is not asked: it differs between machines, and a module script with a
// wrong type does not run.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// page is one embedded file, ready to be served.
type page struct {
	body        []byte
	contentType string
	sum         string
}

// tag returns the page's ETag. The policy counts, too: browsers keep the one
// that they had when they are told that a page has not changed.
func (p page) tag(provider string) string {
	if provider == "" {
		return `"` + p.sum + `"`
	}
	return `"` + p.sum + "-" + base64.RawURLEncoding.EncodeToString([]byte(provider)) + `"`
}

// Handler serves the console without an OpenID provider: people paste a token.
func Handler() http.Handler { return handler(nil) }

// HandlerWith serves the console where people can sign in at o, too. An error
// means that o cannot work; a provider that cannot be reached is no error.
func HandlerWith(o OpenID) (http.Handler, error) {
	s, err := newSignIn(o)
	if err != nil {
		return nil, err
	}
	return handler(s), nil
}

// handler serves the console: "/" is the console, "/docs" the API's reference,
// every other page has its file's name (/test-rbac-role.html), what the pages
// load is below /assets/ and /docs/, and /sign-in.json says how to sign in.
// Anything else is a plain 404, and methods other than GET and HEAD are 405.
//
// Answers need no token. They may be kept by caches but are asked for again
// each time (ETag of the content, Cache-Control: no-cache), so a new binary's
// pages are seen at the next visit.
func handler(signIn *signIn) http.Handler {
	pages := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range securityHeaders {
			w.Header().Set(name, value)
		}
		provider := signIn.origin(r)
		w.Header().Set("Content-Security-Policy", policy(provider))
		p, ok := pages[r.URL.Path]
		if !ok && r.URL.Path != signInPath {
			http.Error(w, "There is no such page.", http.StatusNotFound)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "This page can only be read.", http.StatusMethodNotAllowed)
			return
		}
		if r.URL.Path == signInPath {
			signIn.serve(w, r)
			return
		}
		w.Header().Set("Content-Type", p.contentType)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", p.tag(provider))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.body))
	})
}

// signInPath is where the page learns how to sign in.
const signInPath = "/sign-in.json"

// load returns the embedded files, and the pages in their layout, by the path they
// are served at. It reads them once. A file that it cannot read or has no type for
// is a fault of the build, found by the first test that calls Handler; it panics.
var load = sync.OnceValue(func() map[string]page {
	pages := map[string]page{}
	err := fs.WalkDir(static, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		contentType, ok := contentTypes[path.Ext(name)]
		if !ok {
			return fmt.Errorf("%s: no content type is known for this kind of file", name)
		}
		url := strings.TrimPrefix(name, "static")
		if folder, ok := strings.CutSuffix(url, "/index.html"); ok {
			url = cmp.Or(folder, "/")
		}
		if path.Ext(name) == ".html" {
			if body, err = render(url, string(body)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		sum := sha256.Sum256(body)
		pages[url] = page{
			body:        body,
			contentType: contentType,
			sum:         base64.RawURLEncoding.EncodeToString(sum[:12]),
		}
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("console: reading the embedded pages: %v", err))
	}
	return pages
})

// render puts a page's text into the layout.
func render(url, text string) ([]byte, error) {
	page, err := template.New("").Parse(layout)
	if err != nil {
		return nil, err
	}
	if page, err = page.Parse(text); err != nil {
		return nil, err
	}
	modules := map[string]bool{}
	if entry := entryModule.FindStringSubmatch(text); entry != nil {
		if err := addImports(modules, entry[1]); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	err = page.ExecuteTemplate(&out, "page", struct {
		Path    string
		Modules []string // what the entry module imports: browsers ask for all of them at once
	}{url, slices.Sorted(maps.Keys(modules))})
	return out.Bytes(), err
}

var (
	entryModule = regexp.MustCompile(`<script type="module" src="/assets/([^"]+)">`)
	imported    = regexp.MustCompile(`(?m)^import .* from '\./([^']+)';$`)
)

// addImports adds the modules that a module of static/assets imports, at any depth.
func addImports(modules map[string]bool, name string) error {
	text, err := static.ReadFile("static/assets/" + name)
	if err != nil {
		return err
	}
	for _, found := range imported.FindAllSubmatch(text, -1) {
		if next := string(found[1]); !modules[next] {
			modules[next] = true
			if err := addImports(modules, next); err != nil {
				return err
			}
		}
	}
	return nil
}

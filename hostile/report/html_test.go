package report

import (
	"context"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"

	"github.com/poolproof/poolproof/internal/chromium"
)

// The page in a browser: nothing that it shows is taken for markup, its own
// style is allowed by its policy, and it is readable in light and in dark.
func TestHTML(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.html")
	text := written(t, func(w io.Writer) error { return HTML(w, marked(t), &Command{Exit: 3}) })
	for _, bad := range []string{"<script", "http-equiv=\"refresh\"", "javascript:", "src=", "@import", "url("} {
		if strings.Contains(text, bad) {
			t.Errorf("there is %q in the page", bad)
		}
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), chromium.Options(t)...)
	defer stop()
	var mu sync.Mutex
	var faults []string
	ctx, closeTab := chromedp.NewContext(allocator, chromedp.WithListener(func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok {
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, e.Entry.Text)
		}
	}))
	defer closeTab()
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := chromedp.Run(bounded, chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String())); err != nil {
		t.Fatal(err)
	}
	look := func(script string) string {
		t.Helper()
		got, err := chromedp.Run(bounded, chromedp.Evaluate[string](script))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	contains(t, look(`document.body.innerText`), "<script>alert(1)</script>", "server connection 7", "Bind unnamed", "app/my db.py:12", "2 errors, 1 warning, 1 known",
		"known from the baseline", "startup parameter extra_float_digits")
	if got := look(`[...document.querySelectorAll('nav a')].map(a => document.querySelector(a.hash).querySelector('h2').innerText == a.innerText).join()`); got != "true,true,true,true" {
		t.Errorf("the list does not lead to the findings: %s", got)
	}
	if _, err := chromedp.Run(bounded, chromedp.EmulateViewport(360, 800)); err != nil {
		t.Fatal(err)
	}
	if got := look(`String(document.documentElement.scrollWidth)`); got != "360" {
		t.Errorf("at 360 pixels it is %s wide", got)
	}
	for scheme, want := range map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"} {
		params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		if _, err := chromedp.Call(bounded, emulation.SetEmulatedMedia, params); err != nil {
			t.Fatal(err)
		}
		if got := look(`getComputedStyle(document.body).backgroundColor`); got != want {
			t.Errorf("%s: the background is %s, want %s", scheme, got, want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(faults) > 0 {
		t.Errorf("the browser complains: %q", faults)
	}
}

func TestFlushLeft(t *testing.T) {
	for sql, want := range map[string]string{
		"select 1": "select 1", "": "", " \n": "",
		"\n            SET\n              app.x = 1\n            ": "SET\n  app.x = 1",
		"select a\n\n       from t\n         where b":              "select a\n\nfrom t\n  where b",
		"\n\t\tselect\n\tfrom t":                                   "select\nfrom t",
		"    select a,\n  b":                                       "select a,\nb",
	} {
		if got := flushLeft(sql); got != want {
			t.Errorf("%q: %q, want %q", sql, got, want)
		}
	}
}

package report

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
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
	ctx := chromium.OpenFile(t, file, 30*time.Second)
	look := func(script string) string {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](script))
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
	if _, err := chromedp.Run(ctx, chromedp.EmulateViewport(360, 800)); err != nil {
		t.Fatal(err)
	}
	if got := look(`String(document.documentElement.scrollWidth)`); got != "360" {
		t.Errorf("at 360 pixels it is %s wide", got)
	}
	for scheme, want := range map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"} {
		params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, params); err != nil {
			t.Fatal(err)
		}
		if got := look(`getComputedStyle(document.body).backgroundColor`); got != want {
			t.Errorf("%s: the background is %s, want %s", scheme, got, want)
		}
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

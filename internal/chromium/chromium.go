package chromium

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"

	"github.com/poolproof/poolproof/internal/devdb"
)

// Path is the browser's program. A machine without one fails the test, with the
// command that installs it.
func Path(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium is installed; install what the tests need: make setup")
	return ""
}

// Options start the browser without a window, as root too, with nothing that no
// test looks at. Its profile is a temporary folder that the allocator removes.
func Options(t testing.TB) []chromedp.ExecAllocatorOption {
	t.Helper()
	return []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(Path(t)), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en-US"),
		// No process waits for a page that no test opens.
		chromedp.Flag("disable-features", "SpareRendererForSitePerProcess,Translate,OptimizationHints,MediaRouter"),
		chromedp.Flag("disable-extensions", true), chromedp.Flag("disable-default-apps", true),
		// A tab behind another is as fast as that.
		chromedp.Flag("disable-background-timer-throttling", true), chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
	}
}

// OpenFile shows a file, an absolute path, in a tab of a browser of its own, which
// ends with the test or after that time. At the end the test fails if the browser
// logged anything.
func OpenFile(t testing.TB, path string, within time.Duration) context.Context {
	t.Helper()
	allocator, stop := chromedp.NewExecAllocator(context.Background(), Options(t)...)
	var mu sync.Mutex
	var faults []string
	ctx, closeTab := chromedp.NewContext(allocator, chromedp.WithListener(func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok {
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, e.Entry.Text)
		}
	}))
	ctx, cancel := context.WithTimeout(ctx, within)
	t.Cleanup(func() {
		cancel()
		closeTab()
		stop()
		mu.Lock()
		defer mu.Unlock()
		if len(faults) > 0 {
			t.Errorf("the browser says %q", faults)
		}
	})
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Navigate((&url.URL{Scheme: "file", Path: path}).String())); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// axeVersion is the one that scripts/setup puts into the cache.
const axeVersion = "4.14.1"

// Axe returns the text of axe-core, which looks for faults of accessibility.
func Axe(t testing.TB) string {
	t.Helper()
	cache, err := devdb.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(cache, "axe-core-"+axeVersion, "axe.min.js"))
	if err != nil {
		t.Fatalf("axe-core is not there; install what the tests need: make setup (%v)", err)
	}
	return string(text)
}

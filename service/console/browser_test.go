package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/poolproof/poolproof/internal/chromium"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// patience bounds every wait for the page.
const patience = 20 * time.Second

// page is one tab of the tests' headless Chromium, in a browser context of its
// own: it shares no storage, cookie or cache with other tests. When the test ends
// it fails if the browser reported an error that the test did not expect.
type page struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	faults   []string            // what console, policy and script engine complained of
	refusals []*network.Response // answers of 400 and above
	expected []int64
	asked    []string // the address of every request
	touch    bool     // it is a phone's
}

// oneBrowser is the only Chromium of this test process.
var oneBrowser struct {
	sync.Mutex
	ctx context.Context
}

// sharedBrowser starts Chromium, the first time.
func sharedBrowser(t *testing.T) context.Context {
	t.Helper()
	oneBrowser.Lock()
	defer oneBrowser.Unlock()
	if oneBrowser.ctx != nil {
		return oneBrowser.ctx
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), chromium.Options(t)...)
	ctx, closeTab := chromedp.NewContext(allocator)
	if err := enable(ctx, runtime.Enable, cdp.Empty{}); err != nil { // the first command starts it, and it lives as long as its context
		closeTab()
		stop()
		t.Fatalf("starting the browser: %v", err)
	}
	pgtest.AtEnd(func() error {
		defer stop()
		defer closeTab()
		return chromedp.Cancel(ctx)
	})
	oneBrowser.ctx = ctx //nolint:fatcontext // kept once, for all tests
	return ctx
}

func openBrowser(t *testing.T) *page {
	t.Helper()
	p := &page{t: t}
	ctx, closeTab := chromedp.NewContext(sharedBrowser(t), chromedp.WithNewBrowserContext(), chromedp.WithListener(p.listen))
	p.ctx = ctx
	t.Cleanup(func() {
		if t.Failed() {
			p.describe()
		}
		p.checkFaults()
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("closing the tab: %v", err)
		}
		closeTab()
	})
	p.start()
	return p
}

// start opens the tab, sizes it and asks the browser to report.
func (p *page) start() {
	p.t.Helper()
	size := emulation.SetDeviceMetricsOverrideParams{Width: 1280, Height: 800, DeviceScaleFactor: 1}
	for _, err := range []error{
		enable(p.ctx, emulation.SetDeviceMetricsOverride, size), enable(p.ctx, runtime.Enable, cdp.Empty{}), enable(p.ctx, log.Enable, cdp.Empty{}), enable(p.ctx, network.Enable, network.EnableParams{}),
	} {
		if err != nil {
			p.t.Fatalf("opening a tab: %v", err)
		}
	}
}

// tab opens another tab of the same browser, which shares what it keeps.
func (p *page) tab() *page {
	p.t.Helper()
	other := &page{t: p.t}
	ctx, closeTab := chromedp.NewContext(p.ctx, chromedp.WithListener(other.listen))
	other.ctx = ctx
	p.t.Cleanup(func() {
		other.checkFaults()
		closeTab()
	})
	other.start()
	return other
}

// enable asks the browser to report one domain's events.
func enable[P any](ctx context.Context, command cdp.Command[P, cdp.Empty], params P) error {
	_, err := chromedp.Call(ctx, command, params)
	return err
}

// listen collects what the browser reports. That a request was answered by
// 400 or above is logged as an error, too; those are compared by status.
func (p *page) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			text, err := json.Marshal(e.Args)
			p.faults = append(p.faults, fmt.Sprintf("console.%s %s %v", e.Type, text, err))
		}
	case *runtime.EventExceptionThrown:
		p.faults = append(p.faults, "exception: "+(&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *log.EventEntryAdded:
		refused := e.Entry.Source == log.EntrySourceNetwork && strings.Contains(e.Entry.Text, "responded with a status of")
		if !refused && (e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning) {
			p.faults = append(p.faults, fmt.Sprintf("%s %s: %s", e.Entry.Source, e.Entry.Level, e.Entry.Text))
		}
	case *network.EventRequestWillBeSent:
		p.asked = append(p.asked, e.Request.URL+e.Request.URLFragment)
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 {
			p.refusals = append(p.refusals, e.Response)
		}
	}
}

// expect says that answers of these statuses belong to the test.
func (p *page) expect(statuses ...int64) { p.expected = append(p.expected, statuses...) }

func (p *page) checkFaults() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fault := range p.faults {
		p.t.Errorf("the browser reported: %s", fault)
	}
	for _, r := range p.refusals {
		if !slices.Contains(p.expected, r.Status) {
			p.t.Errorf("%s answered %d", r.URL, r.Status)
		}
	}
}

// describe says what the page shows, for the reader of a failed test.
func (p *page) describe() {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		p.t.Logf("the page cannot be read: %v", err)
		return
	}
	p.t.Logf("the page shows:\n%s", text)
}

// requestIDOf returns the X-Request-ID header of the last answer of a status.
func (p *page) requestIDOf(status int64) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range slices.Backward(p.refusals) {
		if r.Status != status {
			continue
		}
		for name, value := range r.Headers {
			if strings.EqualFold(name, "X-Request-ID") {
				return fmt.Sprint(value)
			}
		}
	}
	return ""
}

// run performs steps, within patience, again if the page drew their element anew
// meanwhile.
func (p *page) run(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	err := chromedp.Do(ctx, steps...)
	for err != nil && ctx.Err() == nil && strings.Contains(err.Error(), drawnAnew) {
		err = chromedp.Do(ctx, steps...)
	}
	if err != nil {
		p.t.Fatalf("in the browser: %v", err)
	}
}

// drawnAnew is what the browser says of an element that was found, and replaced
// before anything was done with it.
const drawnAnew = "Could not find node with given id"

// eval returns the value of a JavaScript expression, or of the promise that it is.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("evaluating %s: %v", expression, err)
	}
	return value
}

// until waits for a JavaScript condition, also across pages. The page's policy
// allows no eval, so it is asked from outside.
func (p *page) until(condition string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for {
		holds, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+condition+")", chromedp.EvalAwaitPromise))
		switch {
		case err == nil && holds:
			return
		case ctx.Err() != nil:
			p.t.Fatalf("not within %v: %s (%v)", patience, condition, err)
		case err != nil && !strings.Contains(err.Error(), movedOn):
			p.t.Fatalf("evaluating %s: %v", condition, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// movedOn is what the browser says to a question about a page that is being left.
const movedOn = "Inspected target navigated or closed"

// answered waits until a request whose URL ends so was answered.
func (p *page) answered(path string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`performance.getEntriesByType('resource').some((asked) => asked.name.endsWith(%s) && asked.responseEnd > 0)`, quote(path)))
}

// shows waits until an element's text holds want.
func (p *page) shows(selector, want string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`document.querySelector(%s)?.checkVisibility() && document.querySelector(%s).innerText.includes(%s)`,
		quote(selector), quote(selector), quote(want)))
}

func (p *page) click(selector string) {
	p.t.Helper()
	p.run(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// fill replaces what a field holds, as typing does.
func (p *page) fill(selector, text string) {
	p.t.Helper()
	p.focus(selector)
	eval[bool](p, fmt.Sprintf(`(document.querySelector(%s).select(), true)`, quote(selector)))
	p.press(kb.Backspace)
	if text != "" {
		if _, err := chromedp.Call(p.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
			p.t.Fatalf("filling %s: %v", selector, err)
		}
	}
}

// press sends keys to whatever has the focus.
func (p *page) press(keys string) {
	p.t.Helper()
	p.run(chromedp.KeyEvent(keys))
}

// focus moves the focus to an element.
func (p *page) focus(selector string) {
	p.t.Helper()
	p.run(chromedp.Focus(chromedp.CSS(selector), chromedp.NodeVisible))
}

// reload visits the page again.
func (p *page) reload() {
	p.t.Helper()
	p.run(chromedp.Reload())
}

// visit goes to an address.
func (p *page) visit(url string) {
	p.t.Helper()
	p.run(chromedp.Navigate(url))
}

func (p *page) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf(`document.querySelector(%s)?.textContent ?? ''`, quote(selector)))
}

// focused returns the id of the element that has the focus.
func (p *page) focused() string {
	p.t.Helper()
	return eval[string](p, `document.activeElement?.id ?? ''`)
}

// size makes the tab that many CSS pixels wide and high.
func (p *page) size(width, height int64) {
	p.t.Helper()
	var options []chromedp.EmulateViewportOption
	if p.touch {
		options = append(options, chromedp.EmulateTouch)
	}
	p.run(chromedp.EmulateViewport(width, height, options...))
}

// scheme makes the tab prefer light or dark.
func (p *page) scheme(name string) {
	p.t.Helper()
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, params); err != nil {
		p.t.Fatalf("preferring %s: %v", name, err)
	}
}

// open visits the roles page and connects as the service's user.
func (p *page) open(s *service) {
	p.t.Helper()
	p.visit(s.url + "/test-rbac-role.html")
	p.connect(s.token, s.tenant)
	p.until(`document.querySelectorAll('#rows tr[data-role-id]').length > 0`)
	p.shows("#who", "@")
}

func (p *page) connect(token, tenant string) {
	p.t.Helper()
	p.fill("#token", token)
	p.fill("#tenant", tenant)
	p.click("#connect-submit")
}

// row selects something in the row of a role.
func row(role int, rest string) string {
	return fmt.Sprintf(`#rows tr[data-role-id="%d"] %s`, role, rest)
}

func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return string(quoted)
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// event is one line of go test -json; see "go doc test2json".
type event struct {
	Action      string  `json:"Action"`
	Package     string  `json:"Package"`
	Test        string  `json:"Test"`
	Output      string  `json:"Output"`
	Elapsed     float64 `json:"Elapsed"` // seconds
	FailedBuild string  `json:"FailedBuild"`
}

// test names a test of a package.
type test struct{ pkg, name string }

// taken is how long a test or a package (a test without a name) ran. Of a package
// whose result was in go test's cache it is nearly nothing.
type taken struct {
	test
	time.Duration
}

// progress is what is known so far.
type progress struct {
	out     io.Writer
	now     func() time.Time
	began   time.Time
	running map[test]time.Time // when it started; the package itself has no name
	output  map[test]*strings.Builder
	passed  int
	failed  int
	cut     int            // tests that ended with their package, not by themselves
	failing map[string]int // failed tests of a package
	took    []taken        // top-level tests and packages that have ended
	broken  []string       // packages that failed, or did not build, and why
	skipped []string
	damaged int   // lines that look like events and are none
	err     error // the first that writing met
}

func newProgress(out io.Writer, now func() time.Time) *progress {
	return &progress{
		out: out, now: now, began: now(),
		running: map[test]time.Time{}, output: map[test]*strings.Builder{}, failing: map[string]int{},
	}
}

// sayf writes what a person reads. An error is kept for the end.
func (p *progress) sayf(format string, args ...any) {
	if _, err := fmt.Fprintf(p.out, format, args...); err != nil && p.err == nil {
		p.err = fmt.Errorf("write: %w", err)
	}
}

// line takes one line of input. What is not an event (the compiler's complaints,
// for one) is passed on.
func (p *progress) line(line []byte) {
	var e event
	if len(line) == 0 || line[0] != '{' {
		p.sayf("%s\n", line)
		return
	}
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		p.damaged++
		p.sayf("%s\n", line)
		return
	}
	key := test{e.Package, e.Test}
	if e.Elapsed > 0 && !strings.Contains(e.Test, "/") {
		p.took = append(p.took, taken{key, time.Duration(e.Elapsed * float64(time.Second))})
	}
	switch e.Action {
	case "start", "run":
		p.running[key] = p.now()
	case "build-output":
		p.sayf("%s", e.Output)
	case "output":
		p.keep(key, e.Output)
	case "fail":
		if key.name == "" {
			p.packageFailed(e)
			return
		}
		fallthrough
	case "pass", "skip":
		p.end(key, e.Action)
	}
}

// keep holds a test's output back until it is known whether it is wanted. A
// package's own is its closing line, or why it could not run: that goes out.
func (p *progress) keep(key test, text string) {
	if key.name == "" {
		if text != "PASS\n" {
			p.sayf("%s", text)
		}
		return
	}
	if p.output[key] == nil {
		p.output[key] = &strings.Builder{}
	}
	p.output[key].WriteString(text) //nolint:gosec // a Builder does not fail
}

func (p *progress) end(key test, action string) {
	held := p.output[key]
	delete(p.output, key)
	delete(p.running, key)
	switch {
	case action == "fail":
		p.failed++
		p.failing[key.pkg]++
		if held != nil {
			p.sayf("%s", held.String())
		}
	case key.name == "": // a package that passed, or that has no tests
	case action == "skip":
		p.skipped = append(p.skipped, path.Base(key.pkg)+"."+key.name)
	default:
		p.passed++
	}
}

// heartbeat says how far the tests are and which have been running longest.
func (p *progress) heartbeat() {
	slow := make([]test, 0, len(p.running))
	for key := range p.running {
		slow = append(slow, key)
	}
	slices.SortFunc(slow, func(a, b test) int {
		if c := p.running[a].Compare(p.running[b]); c != 0 {
			return c
		}
		return strings.Compare(a.pkg+a.name, b.pkg+b.name)
	})
	var names []string
	for _, key := range slow {
		if key.name == "" && slices.ContainsFunc(slow, func(t test) bool { return t.pkg == key.pkg && t.name != "" }) {
			continue // its tests say more
		}
		if len(names) == 4 {
			names = append(names, "…")
			break
		}
		names = append(names, strings.TrimSpace(path.Base(key.pkg)+" "+key.name)+" "+p.since(p.running[key]))
	}
	doing := "building"
	if len(names) > 0 {
		doing = "running " + strings.Join(names, ", ")
	}
	p.sayf("... %s: %d tests passed, %d failed; %s\n", p.since(p.began), p.passed, p.failed, doing)
}

func (p *progress) since(t time.Time) string { return p.now().Sub(t).Round(time.Second).String() }

// packageFailed takes the end of a package that did not pass. Tests of it that
// are still running ended with it: their process was killed, panicked or left.
func (p *progress) packageFailed(e event) {
	why := ""
	switch {
	case e.FailedBuild != "":
		why = "it was not built"
	case p.failing[e.Package] == 0 && len(p.under(e.Package)) == 0:
		why = "no test of it failed; see what it wrote"
	}
	p.finish(e.Package, why)
}

// under are the tests of a package that are running, the longest first.
func (p *progress) under(pkg string) []test {
	var all []test
	for key := range p.running {
		if key.pkg == pkg && key.name != "" {
			all = append(all, key)
		}
	}
	slices.SortFunc(all, func(a, b test) int {
		return cmp.Or(p.running[a].Compare(p.running[b]), strings.Compare(a.name, b.name))
	})
	return all
}

// maxOutput is how much is shown of a test that did not end: what follows is what
// all goroutines were doing.
const maxOutput = 16 << 10

// finish notes that a package failed: why, and which tests it took along.
func (p *progress) finish(pkg, why string) {
	running := p.under(pkg)
	var names []string
	for _, key := range running {
		names = append(names, key.name+" ("+p.since(p.running[key])+")")
		if held := p.output[key]; held != nil {
			text := held.String()
			if why == "" {
				why = causeOf(text)
			}
			if len(text) > maxOutput {
				text = text[:maxOutput] + fmt.Sprintf("\n… and %d bytes more\n", len(text)-maxOutput)
			}
			p.sayf("%s", text)
		}
		delete(p.output, key)
		delete(p.running, key)
	}
	delete(p.running, test{pkg, ""})
	p.cut += len(running)
	if why == "" && len(running) > 0 {
		why = "its process ended"
	}
	line := pkg
	if why != "" {
		line += ": " + why
	}
	if len(names) > 0 {
		line += ", while these tests were running: " + strings.Join(names, ", ")
	}
	p.broken = append(p.broken, line)
}

// causeOf is the line of a test's output that says why its process ended, or "".
func causeOf(output string) string {
	for line := range strings.Lines(output) {
		for _, begin := range []string{"panic: ", "fatal error: ", "signal: ", "exit status "} {
			if strings.HasPrefix(line, begin) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

// summary is the last word, and whether all is well. What is running when there
// is no more input did not end.
func (p *progress) summary() bool {
	var open []string
	for key := range p.running {
		if !slices.Contains(open, key.pkg) {
			open = append(open, key.pkg)
		}
	}
	slices.Sort(open)
	for _, pkg := range open {
		p.finish(pkg, "the output ended before it did")
	}
	p.slowest("packages", func(t taken) bool { return t.name == "" })
	p.slowest("tests", func(t taken) bool { return t.name != "" })
	p.sayf("%d tests passed, %d failed, %d skipped, %d did not end in %s\n", p.passed, p.failed, len(p.skipped), p.cut, p.since(p.began))
	for _, line := range p.broken {
		p.sayf("FAIL\t%s\n", line)
	}
	for _, name := range p.skipped {
		p.sayf("FAIL: %s was skipped; a test that did not run has proved nothing\n", name)
	}
	if p.damaged > 0 {
		p.sayf("FAIL: %d lines of go test's output could not be read\n", p.damaged)
	}
	if p.passed == 0 {
		p.sayf("FAIL: no test has passed\n")
	}
	return p.failed == 0 && p.cut == 0 && len(p.broken) == 0 && len(p.skipped) == 0 && p.damaged == 0 && p.passed > 0
}

// named is how many packages, and tests, the last lines name as the slowest.
const named = 10

// slowest names the ones that ran longest, so that a person knows where the time
// of a run went. Those that ran less than a second took none of it.
func (p *progress) slowest(what string, is func(taken) bool) {
	var of []taken
	for _, t := range p.took {
		if is(t) && t.Duration >= time.Second {
			of = append(of, t)
		}
	}
	slices.SortFunc(of, func(a, b taken) int {
		return cmp.Or(cmp.Compare(b.Duration, a.Duration), strings.Compare(a.pkg+a.name, b.pkg+b.name))
	})
	var names []string
	for _, t := range of[:min(named, len(of))] {
		names = append(names, strings.TrimSpace(path.Base(t.pkg)+" "+t.name)+" "+t.Round(time.Second).String())
	}
	if len(names) > 0 {
		p.sayf("the slowest %s: %s\n", what, strings.Join(names, ", "))
	}
}

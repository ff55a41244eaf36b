package main

import (
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
	Action  string `json:"Action"`
	Package string `json:"Package"`
	Test    string `json:"Test"`
	Output  string `json:"Output"`
}

// test names a test of a package.
type test struct{ pkg, name string }

// progress is what is known so far.
type progress struct {
	out     io.Writer
	now     func() time.Time
	began   time.Time
	running map[test]time.Time // when it started; the package itself has no name
	output  map[test]*strings.Builder
	passed  int
	failed  int
	broken  []string // packages that failed, or did not build
	skipped []string
	err     error // the first that writing met
}

func newProgress(out io.Writer, now func() time.Time) *progress {
	return &progress{
		out: out, now: now, began: now(),
		running: map[test]time.Time{}, output: map[test]*strings.Builder{},
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
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &e) != nil {
		p.sayf("%s\n", line)
		return
	}
	key := test{e.Package, e.Test}
	switch e.Action {
	case "start", "run":
		p.running[key] = p.now()
	case "build-output":
		p.sayf("%s", e.Output)
	case "output":
		p.keep(key, e.Output)
	case "pass", "fail", "skip":
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
	case action == "fail" && key.name == "":
		p.broken = append(p.broken, key.pkg)
	case action == "fail":
		p.failed++
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

// summary is the last word, and whether all is well.
func (p *progress) summary() bool {
	p.sayf("%d tests passed, %d failed, %d skipped in %s\n", p.passed, p.failed, len(p.skipped), p.since(p.began))
	for _, pkg := range p.broken {
		p.sayf("FAIL\t%s\n", pkg)
	}
	for _, name := range p.skipped {
		p.sayf("FAIL: %s was skipped; a test that did not run has proved nothing\n", name)
	}
	return p.failed == 0 && len(p.broken) == 0 && len(p.skipped) == 0 && p.passed > 0
}

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	started = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestOne"}
{"Action":"output","Package":"m/a","Test":"TestOne","Output":"what TestOne wrote\n"}
`
	passed = `{"Action":"pass","Package":"m/a","Test":"TestOne"}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.1s\n"}
{"Action":"pass","Package":"m/a"}
`
	failed = `{"Action":"fail","Package":"m/a","Test":"TestOne"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a"}
`
	skipped = `{"Action":"run","Package":"m/a","Test":"TestTwo"}
{"Action":"skip","Package":"m/a","Test":"TestTwo"}
`
	noTests = `{"Action":"output","Package":"m/b","Output":"?   \tm/b\t[no test files]\n"}
{"Action":"skip","Package":"m/b"}
`
	noBuild = `{"ImportPath":"m/c","Action":"build-output","Output":"c.go:1: undefined: x\n"}
{"ImportPath":"m/c","Action":"build-fail"}
{"Action":"start","Package":"m/c"}
{"Action":"fail","Package":"m/c","FailedBuild":"m/c"}
`
)

func TestStatusAndOutput(t *testing.T) {
	for name, c := range map[string]struct {
		in        string
		ok        bool
		want, not []string
	}{
		"all pass":     {started + passed + noTests, true, []string{"ok  \tm/a\t0.1s\n", "1 tests passed, 0 failed, 0 skipped, 0 did not end"}, []string{"what TestOne wrote", "PASS"}},
		"one fails":    {started + failed, false, []string{"what TestOne wrote\n", "FAIL\tm/a\t0.1s\n"}, nil},
		"one skipped":  {started + skipped + passed, false, []string{"a.TestTwo was skipped"}, nil},
		"not built":    {started + passed + noBuild, false, []string{"undefined: x", "FAIL\tm/c: it was not built\n"}, nil},
		"not an event": {"go: broken\n" + started + passed, true, []string{"go: broken\n"}, nil},
		"nothing ran":  {noTests, false, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(c.in), &out, nil, time.Now)
			if err != nil || ok != c.ok {
				t.Errorf("ok = %v, %v; want %v", ok, err, c.ok)
			}
			for _, s := range c.want {
				if !strings.Contains(out.String(), s) {
					t.Errorf("%q is missing in:\n%s", s, out.String())
				}
			}
			for _, s := range c.not {
				if strings.Contains(out.String(), s) {
					t.Errorf("%q stands in:\n%s", s, out.String())
				}
			}
		})
	}
}

// What go test itself wrote (Go 1.26, go test -json -timeout 1s) of packages that
// end in each way: the last lines say which, why, and what was running.
func TestRecorded(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	good := read("ok")
	for name, c := range map[string]struct {
		in        string
		ok        bool
		want, not []string
	}{
		"fine, and one without tests": {good + read("none"), true, []string{"1 tests passed, 0 failed, 0 skipped, 0 did not end"}, []string{"FAIL"}},
		"out of time": {good + read("slow"), false, []string{
			"about to wait", "goroutine 5 [running]", "2 tests passed, 0 failed, 0 skipped, 2 did not end",
			"FAIL\texample.com/m/slow: panic: test timed out after 1s, while these tests were running: TestStuck (0s), TestStuck/inner (0s)\n",
		}, []string{"TestAlso", "TestQuick ("}},
		"a panic":      {good + read("panics"), false, []string{"assignment to entry in nil map", "2 tests passed, 1 failed", "FAIL\texample.com/m/panics\n"}, nil},
		"it leaves":    {good + read("exits"), false, []string{"leaving\n", "FAIL\texample.com/m/exits: its process ended, while these tests were running: TestLeaves (0s)\n"}, nil},
		"it is killed": {good + read("killed"), false, []string{"FAIL\texample.com/m/killed: signal: killed, while these tests were running: TestKilled (0s)\n"}, nil},
		"not built":    {good + read("broken"), false, []string{"undefined: undefined", "FAIL\texample.com/m/broken: it was not built\n"}, nil},
		"skipped":      {good + read("skips"), false, []string{"skips.TestSkips was skipped"}, nil},
		"truncated": {good + before(t, read("slow"), `{"Action":"run","Package":"example.com/m/slow","Test":"TestStuck/inner"`), false, []string{
			"FAIL\texample.com/m/slow: the output ended before it did, while these tests were running: TestStuck (0s)\n",
		}, nil},
		"truncated before the first test": {good + strings.SplitAfter(read("slow"), "\n")[0], false, []string{"FAIL\texample.com/m/slow: the output ended before it did\n"}, nil},
		"cut in the middle of a line":     {good + read("slow")[:200], false, []string{"1 lines of go test's output could not be read"}, nil},
		"garbage":                         {good + "{\"x\":1}\n", false, []string{`{"x":1}`, "1 lines of go test's output could not be read"}, nil},
		"the process fails, no test does": {started + strings.ReplaceAll(passed, `{"Action":"pass","Package":"m/a"}`, `{"Action":"fail","Package":"m/a"}`), false, []string{"FAIL\tm/a: no test of it failed; see what it wrote\n"}, nil},
		"nothing at all":                  {"", false, []string{"no test has passed"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(c.in), &out, nil, time.Now)
			if err != nil || ok != c.ok {
				t.Errorf("ok = %v, %v; want %v", ok, err, c.ok)
			}
			for _, s := range c.want {
				if !strings.Contains(out.String(), s) {
					t.Errorf("%q is missing in:\n%s", s, out.String())
				}
			}
			for _, s := range c.not {
				if strings.Contains(out.String(), s) {
					t.Errorf("%q stands in:\n%s", s, out.String())
				}
			}
		})
	}
}

func TestHeartbeatNamesTheSlowest(t *testing.T) {
	in, feed := io.Pipe()
	said, out := io.Pipe()
	tick := make(chan time.Time)
	begin := time.Now()
	clock := begin
	done := make(chan bool, 1)
	go func() {
		ok, err := run(in, out, tick, func() time.Time { return clock })
		done <- ok && err == nil
		_ = out.Close()
	}()
	if _, err := io.WriteString(feed, started); err != nil {
		t.Fatal(err)
	}
	// The line after the events is written only when they have been taken.
	go func() { _, _ = io.WriteString(feed, "taken\n") }()
	buf := make([]byte, 1000)
	if _, err := said.Read(buf); err != nil {
		t.Fatal(err)
	}
	clock = begin.Add(31 * time.Second)
	go func() { tick <- clock }()
	n, err := said.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(buf[:n]), "... 31s: 0 tests passed, 0 failed; running a TestOne 31s\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	go func() {
		_, _ = io.WriteString(feed, passed)
		_ = feed.Close()
	}()
	if _, err := io.ReadAll(said); err != nil {
		t.Fatal(err)
	}
	if !<-done {
		t.Error("not all is well at the end")
	}
}

// before is what stands before the first mark, which must be there.
func before(t *testing.T, text, mark string) string {
	t.Helper()
	head, _, ok := strings.Cut(text, mark)
	if !ok {
		t.Fatalf("no %q", mark)
	}
	return head
}

// The slowest come last, longest first: packages by themselves, tests without
// their subtests, and nothing that took no time.
func TestTheSlowestAreNamed(t *testing.T) {
	var in strings.Builder
	for i, pkg := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"} {
		fmt.Fprintf(&in, `{"Action":"pass","Package":"m/%s","Test":"TestOne/inner","Elapsed":900}
{"Action":"pass","Package":"m/%[1]s","Test":"TestOne","Elapsed":%[2]d.4}
{"Action":"pass","Package":"m/%[1]s","Elapsed":%[3]d.2}
`, pkg, i, 100+i)
	}
	in.WriteString(`{"Action":"fail","Package":"m/last","Test":"TestTwo","Elapsed":300}
{"Action":"fail","Package":"m/last","Elapsed":301}
`)
	var out strings.Builder
	if ok, err := run(strings.NewReader(in.String()), &out, nil, time.Now); ok || err != nil {
		t.Errorf("ok = %v, %v", ok, err)
	}
	for _, want := range []string{
		"the slowest packages: last 5m1s, k 1m50s, j 1m49s, i 1m48s, h 1m47s, g 1m46s, f 1m45s, e 1m44s, d 1m43s, c 1m42s\n",
		"the slowest tests: last TestTwo 5m0s, k TestOne 10s, j TestOne 9s, i TestOne 8s, h TestOne 7s, g TestOne 6s, f TestOne 5s, e TestOne 4s, d TestOne 3s, c TestOne 2s\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
}

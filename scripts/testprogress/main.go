// Testprogress reads what "go test -json" prints and says what a person, or a
// build with a watchdog, wants to know while it runs:
//
//	go test -race -json ./... | go run ./scripts/testprogress
//
//	ok  	example.com/mod/a	1.234s                       go test's own closing lines
//	... 40s: 120 tests passed; running b (TestSlow 31s)     at least every 20 seconds
//	--- FAIL: TestOther (0.01s)                             all output of a failed test
//
// Output of tests that pass is left out. The last lines name the slowest packages
// and tests, and each package that
// failed and why: a package that was killed, by its time limit or a panic, with
// the tests that were running. The status is 1 if a test or package failed or did
// not end, if a line of the output was damaged, and also if a test was skipped: a
// test that did not run has proved nothing.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"time"
)

const heartbeat = 20 * time.Second

func main() {
	ok, err := run(os.Stdin, os.Stdout, time.NewTicker(heartbeat).C, time.Now)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testprogress:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run reports whether every test ran and passed. A tick makes it say where the
// tests are.
func run(in io.Reader, out io.Writer, tick <-chan time.Time, now func() time.Time) (bool, error) {
	lines := make(chan []byte)
	failed := make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 16<<20)
		for scanner.Scan() {
			lines <- append([]byte(nil), scanner.Bytes()...)
		}
		failed <- scanner.Err()
	}()
	p := newProgress(out, now)
	for {
		select {
		case <-tick:
			p.heartbeat()
		case line, more := <-lines:
			if !more {
				if err := <-failed; err != nil {
					return false, fmt.Errorf("read the tests' output: %w", err)
				}
				ok := p.summary()
				return ok, p.err
			}
			p.line(line)
		}
	}
}

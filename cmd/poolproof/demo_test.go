//go:build unix

package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/exhibit"
)

// The demo, as a person runs it: rows vanish through the pooler and nowhere
// else, and prove says why of either program alone.
func TestDemo(t *testing.T) {
	begin := time.Now()
	r := command(t, "demo")
	took := time.Since(begin)
	t.Logf("it took %v", took)
	if r.code != 0 {
		t.Fatalf("exit status %d: %s", r.code, r.stderr)
	}
	if took > 20*time.Second {
		t.Errorf("it took %v, and is to take less than 20 s", took)
	}
	left := regexp.MustCompile(`(?m)^Through a transaction pooler, .*: only (\d+) of 500 rows are left; (\d+) of the reader's`).FindStringSubmatch(r.stdout)
	if left == nil {
		t.Fatalf("no row has vanished: %s", r.stdout)
	}
	if n, err := strconv.Atoi(left[1]); err != nil || n >= exhibit.Rows || left[2] == "0" {
		t.Errorf("%q", left[0])
	}
	for text, want := range map[string]int{
		"all rows are there; 0 of the reader's": 2, "✗ PP001": 2, "binary_parameters=yes to the connection string": 2, "nothing found": 2, "(strict): 1 error": 2,
	} {
		if n := strings.Count(r.stdout, text); n != want {
			t.Errorf("%q is said %d times, want %d:\n%s", text, n, want, r.stdout)
		}
	}
	if r.stderr != "" {
		t.Errorf("standard error: %s", r.stderr)
	}
}

// Stopped before it has begun, it has said what it is about, and blames nobody.
func TestDemoStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stoppedBy{os.Interrupt})
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"demo"}, strings.NewReader(""), &stdout, &stderr)
	if want := "poolproof: stopped by signal: interrupt\nhint: run it again\n"; code != exitFailure || stderr.String() != want || !strings.HasPrefix(stdout.String(), "Two programs") {
		t.Errorf("exit status %d: %s%s", code, &stdout, &stderr)
	}
}

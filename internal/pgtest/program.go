package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Program builds poolproof, without the race detector unless flags has "-race",
// and returns its path. Tests of all packages share it: it is linked again only
// where the source has changed.
func Program(t testing.TB, flags ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	binary := filepath.Join(root, "bin", "test", strings.Join(append([]string{"poolproof"}, flags...), ""))
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil { //nolint:gosec // it is run under other accounts, too
		t.Fatal(err)
	}
	// One at a time: another test process may be about to run it.
	lock, err := os.Create(binary + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }() // which unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("wait for another test's build: %v", err)
	}
	args := append(append([]string{"build"}, flags...), "-o", binary, "./cmd/poolproof")
	build := exec.CommandContext(t.Context(), "go", args...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return binary
}

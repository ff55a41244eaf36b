package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// programs are the paths of what this test process has built, by its flags.
var programs struct {
	sync.Mutex
	built map[string]string
}

// Program builds poolproof, once for each test process, without the race detector
// unless flags has "-race", and returns its path. Tests of all packages share it:
// it is linked again only where the source has changed.
func Program(t testing.TB, flags ...string) string {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	name := "poolproof" + strings.Join(flags, "")
	if path := programs.built[name]; path != "" {
		return path
	}
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	binary := filepath.Join(root, "bin", "test", name)
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
	if programs.built == nil {
		programs.built = map[string]string{}
	}
	programs.built[name] = binary
	return binary
}

package chromium

import (
	"os/exec"
	"testing"
)

// Path is the browser's program: Debian's chromium, or another that is the same.
// A machine without one fails the test, with the command that installs it.
func Path(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium is installed; install what the tests need: make setup")
	return ""
}

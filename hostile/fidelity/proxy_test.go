//go:build unix

package fidelity

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// program is poolproof.
func program(t *testing.T) string {
	t.Helper()
	if pgtest.Soak() {
		return pgtest.Program(t, "-race") // a race is then its exit status, 66
	}
	return pgtest.Program(t)
}

// proxy is a poolproof proxy under way.
type proxy struct {
	port     int
	password string // of clients whom the server does not ask
}

// startProxy runs poolproof proxy until the test is over. It must end well then.
// Nothing of a developer's settings reaches it.
func startProxy(t *testing.T, binary string, args ...string) proxy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	ctx := context.WithoutCancel(t.Context()) // it is stopped below
	cmd := exec.CommandContext(ctx, binary, append([]string{"proxy", "--listen", "127.0.0.1:0", "--password-file", file}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // one that has ended already: Wait says how
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("poolproof proxy: %v: %s", err, &stderr)
		}
	})
	addr, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ready {
		t.Fatalf("poolproof proxy says %q, %v", line, err)
	}
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file of the password: %v, %v", info, err)
	}
	password, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return proxy{port, strings.TrimSpace(string(password))}
}

//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// certificate writes a certificate and its key to files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	certPEM, keyPEM := pgtest.Certificate(t)
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, content := range map[string][]byte{cert: certPEM, key: keyPEM} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// proxyRun is a running poolproof proxy.
type proxyRun struct {
	addr     string
	port     int
	password string // of clients whom the server does not ask
	stderr   *logBuffer
	stop     func() // ends it, and fails the test if that did not go well
}

// startProxy runs poolproof proxy until it is stopped or the test is over.
func startProxy(t *testing.T, args ...string) *proxyRun {
	t.Helper()
	ctx, cancel := interruptible(context.WithoutCancel(t.Context()))
	out, stdout := io.Pipe()
	p := &proxyRun{stderr: &logBuffer{}}
	file := filepath.Join(t.TempDir(), "password")
	exit := make(chan int, 1)
	go func() {
		code := run(ctx, append([]string{"proxy", "--listen", "127.0.0.1:0", "--password-file", file}, args...), strings.NewReader(""), stdout, p.stderr)
		_ = stdout.Close() // a pipe's Close does not fail
		exit <- code
	}()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if code := <-exit; code != 0 {
			t.Errorf("exit status %d: %s", code, p.stderr)
		}
	})
	t.Cleanup(p.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ready {
		t.Fatalf("%q, %v: %s", line, err, p.stderr)
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		p.port, err = strconv.Atoi(port)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.addr = addr
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file of the password: %v, %v", info, err)
	}
	p.password = strings.TrimSpace(readFile(t, file))
	return p
}

// pooled returns the URL of a database through the proxy.
func (p *proxyRun) pooled(t *testing.T, direct string) string {
	t.Helper()
	raw, err := hostile.URLAt(direct, p.addr)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), p.password)
	return u.String()
}

// proxy says when it is ready, serves TLS, and reports on SIGUSR1 and at its end.
func TestProxy(t *testing.T) {
	up := pgtest.Database(t)
	cert, key := certificate(t)
	file := filepath.Join(t.TempDir(), "report.json")
	proxy := startProxy(t, "--upstream", up, "--json", file, "--tls-cert", cert, "--tls-key", key)
	pooled := proxy.pooled(t, up)
	leave := func(url, setting string) {
		t.Helper()
		c, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Exec(t.Context(), "set "+setting+" = 'x'"); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	leave(pooled, "app.first")
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	found := func() string {
		text, err := os.ReadFile(file)
		if err != nil || !json.Valid(text) { // being written
			return ""
		}
		return string(text)
	}
	eventually(t, 10*time.Second, "the report of SIGUSR1", func() bool { return strings.Contains(found(), "app.first") })
	leave(strings.Replace(pooled, "sslmode=disable", "sslmode=verify-full&sslrootcert="+cert, 1), "app.second")
	proxy.stop()
	if text := found(); !strings.Contains(text, "app.second") || strings.Contains(text, `"command"`) {
		t.Errorf("the last report: %s", text)
	}
	if strings.Count(proxy.stderr.String(), "app.first, once") != 2 || strings.Count(proxy.stderr.String(), "app.second, once") != 1 {
		t.Errorf("the reports: %s", proxy.stderr)
	}
}

// If the server wants no password, proxy serves this machine only.
func TestProxyIsNotOpenToOthers(t *testing.T) {
	up := pgtest.Database(t)
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		command(t, "proxy", "--listen", addr, "--upstream", up).wantError(t, exitUsage, "wants no password", "127.0.0.1")
	}
}

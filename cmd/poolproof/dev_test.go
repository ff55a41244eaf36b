//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// runningDev is a poolproof dev within this process.
type runningDev struct {
	cancel context.CancelFunc
	exit   chan int
	stderr *bytes.Buffer // only after exit
	ready  time.Duration
}

// startDev runs poolproof dev and returns when it says that it is ready.
func startDev(t *testing.T, dir string) *runningDev {
	t.Helper()
	ctx, cancel := interruptible(context.Background())
	out, stdout := io.Pipe()
	d := &runningDev{cancel: cancel, exit: make(chan int, 1), stderr: &bytes.Buffer{}}
	begin := time.Now()
	go func() {
		code := run(ctx, []string{"dev", "--addr", "127.0.0.1:0", "--data-dir", dir}, strings.NewReader(""), stdout, d.stderr)
		_ = stdout.Close() // a pipe's Close does not fail
		d.exit <- code
	}()
	line := make(chan string, 1)
	go func() {
		said, _ := bufio.NewReader(out).ReadString('\n') // "" if dev ends first
		line <- said
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(cancel)
	select {
	case said := <-line:
		if !strings.HasPrefix(said, "ready http://127.0.0.1:") {
			t.Fatalf("dev said %q and exited with %d:\n%s", said, <-d.exit, d.stderr)
		}
	case <-time.After(time.Minute):
		cancel()
		<-d.exit
		t.Fatalf("dev was not ready within a minute:\n%s", d.stderr)
	}
	d.ready = time.Since(begin)
	return d
}

// stop is Ctrl-C.
func (d *runningDev) stop(t *testing.T) {
	t.Helper()
	d.cancel()
	select {
	case code := <-d.exit:
		if code != exitOK {
			t.Fatalf("after Ctrl-C the exit code is %d:\n%s", code, d.stderr)
		}
	case <-time.After(40 * time.Second):
		t.Fatal("dev does not stop")
	}
}

// sourced is what a shell has after sourcing dev.env.
func sourced(t *testing.T, dir string) map[string]string {
	t.Helper()
	path := filepath.Join(dir, "dev.env")
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("dev.env: %v, %v; want mode 0600", st, err)
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", `. "$1"; env`, "sh", path)
	shell.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("source dev.env: %v", err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			env[name] = value
		}
	}
	return env
}

// call sends a request with dev.env's token and returns the status and the body.
func call(t *testing.T, env map[string]string, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, env["POOLPROOF_URL"]+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+env["POOLPROOF_TOKEN"])
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(got)
}

func roleNames(t *testing.T, env map[string]string) string {
	t.Helper()
	status, body := call(t, env, http.MethodGet, "/api/v3/rbac/roles", "")
	var answer struct{ Data []struct{ Name string } }
	if err := json.Unmarshal([]byte(body), &answer); status != http.StatusOK || err != nil {
		t.Fatalf("GET roles answers %d, %v: %s", status, err, body)
	}
	var names strings.Builder
	for _, role := range answer.Data {
		names.WriteString(role.Name + ";")
	}
	return names.String()
}

func TestDev(t *testing.T) {
	parent, err := os.MkdirTemp("", "poolproof-dev-") //nolint:usetesting // t.TempDir is closed to the account that root's servers run under
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(parent); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(parent, 0o711); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, ".poolproof")

	// On a machine to itself the first start takes 3 to 6 seconds of the 10 that
	// the contract allows, a later one 0.4 of 3. Here other tests run as well.
	first := startDev(t, dir)
	t.Logf("first start: %v", first.ready)
	if first.ready > 20*time.Second {
		t.Errorf("the first start took %v", first.ready)
	}
	env := sourced(t, dir)
	for _, path := range []string{"/api/v3/rbac/roles", "/api/v4/features/tenant", "/api/v4/sidebar", "/api/v4/me", "/readyz", "/test-rbac-role.html"} {
		if status, body := call(t, env, http.MethodGet, path, ""); status != http.StatusOK || len(body) < 3 {
			t.Errorf("GET %s answers %d: %s", path, status, body)
		}
	}
	if names := roleNames(t, env); !strings.Contains(names, "SUPER_ADMIN;") || strings.Contains(names, "Made in the first run") {
		t.Errorf("the roles are %s", names)
	}
	if status, body := call(t, env, http.MethodPost, "/api/v3/rbac/roles", `{"name":"Made in the first run"}`); status != http.StatusCreated {
		t.Errorf("POST a role answers %d: %s", status, body)
	}
	checkURLs(t, env)

	// A second one in the same folder says so, and does not disturb the first.
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"dev", "--addr", "127.0.0.1:0", "--data-dir", dir}, strings.NewReader(""), io.Discard, &stderr); code != exitFailure ||
		!strings.Contains(stderr.String(), "in use") || !strings.Contains(stderr.String(), "\nhint: ") {
		t.Errorf("a second dev exits with %d:\n%s", code, stderr.String())
	}
	roleNames(t, env)
	first.stop(t)
	for _, name := range []string{"POOLPROOF_JWT_SECRET", "POOLPROOF_TOKEN"} {
		if strings.Contains(first.stderr.String(), env[name]) {
			t.Errorf("the log shows %s", name)
		}
	}
	for _, name := range []string{"DATABASE_URL", "DIRECT_URL"} {
		if conn, err := pgx.Connect(t.Context(), env[name]); err == nil {
			_ = conn.Close(t.Context())
			t.Errorf("%s still answers after Ctrl-C", name)
		}
	}

	second := startDev(t, dir)
	t.Logf("later start: %v", second.ready)
	again := sourced(t, dir)
	if names := roleNames(t, again); !strings.Contains(names, "Made in the first run;") {
		t.Errorf("after a restart the roles are %s", names)
	}
	for _, name := range []string{"POOLPROOF_JWT_SECRET", "POOLPROOF_TENANT", "DIRECT_URL"} {
		if again[name] != env[name] || env[name] == "" {
			t.Errorf("%s changed with a restart", name)
		}
	}

	// As a folder that a build from before the first release made.
	owner, err := pgx.Connect(t.Context(), again["DIRECT_URL"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Exec(t.Context(), `alter table poolproof.schema_migrations disable row level security;
		update poolproof.schema_migrations set checksum = 'another' where version = 3`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	if err := owner.Close(t.Context()); err != nil {
		t.Error(err)
	}
	second.stop(t)
	stderr.Reset()
	if code := run(t.Context(), []string{"dev", "--addr", "127.0.0.1:0", "--data-dir", dir}, strings.NewReader(""), io.Discard, &stderr); code != exitFailure ||
		!strings.Contains(stderr.String(), "0003_functions") || !strings.Contains(stderr.String(), "\nhint: remove "+dir) {
		t.Errorf("a folder of another schema: dev exits with %d:\n%s", code, stderr.String())
	}
}

// checkURLs looks at what the two URLs lead to: the runtime login through a
// transaction pooler, and the owner at the server itself, neither a superuser.
func checkURLs(t *testing.T, env map[string]string) {
	t.Helper()
	for name, want := range map[string]string{
		"DATABASE_URL": "poolproof_app pooled=true super=false",
		"DIRECT_URL":   "poolproof_owner pooled=false super=false",
	} {
		conn, err := pgx.Connect(t.Context(), env[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var user string
		var pid uint32
		var super bool
		err = conn.QueryRow(t.Context(), "select current_user::text, pg_backend_pid(), rolsuper from pg_roles where rolname = current_user",
			pgx.QueryExecModeExec).Scan(&user, &pid, &super)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// A pooler makes the process id of the connection up.
		if got := fmt.Sprintf("%s pooled=%t super=%t", user, pid != conn.PgConn().PID(), super); got != want {
			t.Errorf("%s leads to %s, want %s", name, got, want)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

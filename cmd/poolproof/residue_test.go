//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/sarif"
)

// TestDoctorResidue: a clean pool is one line and status 0; what a client leaves is in each form of the report, and --watch
// tells of it when it comes.
func TestDoctorResidue(t *testing.T) {
	pooled := pgtest.Pooled(t, faultyDatabase(t), pgtest.PgBouncer118Transaction)
	r := command(t, "doctor", pooled, "--residue")
	if r.code != exitOK || strings.Count(r.stdout, "\n") != 1 || !strings.HasPrefix(r.stdout, "clean: nothing was left; ") || complaints(r) != "" {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := command(t, "doctor", pooled, "--residue", "--fast"); r.code != exitUsage {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	cmd := exec.CommandContext(t.Context(), self(t), "doctor", pooled, "--watch", "--json")
	cmd.Env = append(os.Environ(), asPoolproof+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sql(t, pooled, "set app.t = 'secret-tenant'")
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	var event struct {
		Code, Object, Fix string
		PID               int
	}
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &event) != nil || event.Code != "PD025" || event.Object != "app.t" || event.PID == 0 || event.Fix == "" {
		t.Errorf("%s", lines.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var report struct {
		Version int
		Residue struct{ Met int }
	}
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &report) != nil || report.Version != 1 || report.Residue.Met == 0 || lines.Scan() {
		t.Errorf("%s", lines.Text())
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailure {
		t.Errorf("%v", cmd.ProcessState)
	}

	dir := t.TempDir()
	r = command(t, "doctor", pooled, "--residue", "-v", "--sarif", filepath.Join(dir, "r.sarif"), "--output", filepath.Join(dir, "fix.sql"))
	var log sarif.Log
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dir, "r.sarif"))), &log); err != nil || len(log.Runs[0].Results) != 1 || log.Runs[0].Results[0].RuleID != "PD025" {
		t.Errorf("%v: %+v", err, log)
	}
	if r.code != exitFailure || !strings.Contains(r.stdout, "PD025 fail ") || !strings.Contains(r.stdout, "PD028 ok ") || !strings.Contains(r.stdout, "\nserver connections: ") || strings.Contains(r.stdout, "secret-tenant") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if fix, err := os.ReadFile(filepath.Join(dir, "fix.sql")); err != nil || !strings.Contains(string(fix), "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle' and ") {
		t.Errorf("%v: %s", err, fix)
	}
}

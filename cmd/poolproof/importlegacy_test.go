package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// legacyDatabase is the original's, as package legacy's tests know it.
func legacyDatabase(t *testing.T) string {
	t.Helper()
	url := pgtest.Database(t)
	fixture, err := os.ReadFile("../../service/legacy/testdata/original.sql")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is lost
	if _, err := conn.PgConn().Exec(t.Context(), string(fixture)).ReadAll(); err != nil {
		t.Fatal(err)
	}
	return url
}

// TestImportLegacyDocs runs the commands of docs/import-legacy.md.
func TestImportLegacyDocs(t *testing.T) {
	owner := pgtest.Database(t)
	t.Setenv("DIRECT_URL", pgtest.Pooled(t, pgtest.Owned(t, owner), pgtest.PgBouncer118Statement))
	t.Setenv("LEGACY_URL", pgtest.Pooled(t, legacyDatabase(t), pgtest.PgBouncer118Transaction))
	doc, err := os.ReadFile("../../docs/import-legacy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(doc), "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	const tenants = `select count(*)::text from poolproof.tenants`
	var seen []string
	for line := range strings.Lines(block) {
		args := strings.Fields(line)
		if len(args) == 0 || args[0] != "poolproof" {
			if !strings.HasPrefix(line, "export ") {
				t.Errorf("what is this command? %s", line)
			}
			continue
		}
		r := command(t, args[1:]...)
		seen = append(seen, strings.Join(args[1:], " "))
		if args[1] != "import-legacy" {
			if r.code != 0 {
				t.Fatalf("%s: %d %s", line, r.code, r.stderr)
			}
			continue
		}
		// The fixture has rows that cannot be mapped.
		if r.code != exitFailure || !strings.Contains(r.stderr, "cannot be mapped") {
			t.Fatalf("%s: %d %s", line, r.code, r.stderr)
		}
		switch n := scalar(t, owner, tenants); {
		case strings.HasSuffix(line, "--dry-run\n"):
			if n != "1" || strings.Contains(r.stdout, "Imported.") || !strings.Contains(r.stdout, "Tenant Voice Automated") {
				t.Errorf("%s made %s tenants: %s", line, n, r.stdout)
			}
			t.Log(r.stdout)
		case strings.HasSuffix(line, "--yes\n"):
			if n != "3" || !strings.Contains(r.stdout, "Imported.") || !strings.Contains(r.stdout, "--admin") {
				t.Errorf("%s made %s tenants: %s", line, n, r.stdout)
			}
		case strings.Contains(line, "--admin"):
			if n != "4" || !strings.Contains(r.stdout, "will manage roles, as SUPER_ADMIN by --admin") {
				t.Errorf("%s made %s tenants: %s", line, n, r.stdout)
			}
		default:
			var plan struct {
				Applied  bool
				Tenants  []struct{ Create bool }
				Unmapped []struct{ Table, Row, Reason string }
			}
			if err := json.Unmarshal([]byte(r.stdout), &plan); err != nil || plan.Applied || len(plan.Tenants) != 3 || plan.Tenants[0].Create || len(plan.Unmapped) < 10 {
				t.Errorf("%s: %v %+v", line, err, plan)
			}
		}
	}
	if len(seen) != 6 {
		t.Errorf("the document has %d commands: %q", len(seen), seen)
	}
}

func TestImportLegacyRefuses(t *testing.T) {
	if r := command(t, "import-legacy", "--help"); r.code != 0 || !strings.Contains(r.stdout, "poolproof import-legacy --from") || !strings.Contains(r.stdout, "Exit codes:") {
		t.Errorf("--help: %d %s", r.code, r.stdout)
	}
	const secret = "postgres://me:pa55word@127.0.0.1:1/x"
	owner := pgtest.Database(t)
	legacy := legacyDatabase(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{}, "--from"},
		{[]string{"--from", secret}, "DIRECT_URL"},
		{[]string{"--from", secret, "--direct-url", owner}, "reading the original's tables"},
		{[]string{"--from", legacy, "--direct-url", secret}, "reading poolproof's tables"},
		{[]string{"--from", legacy, "--direct-url", owner}, "migrate up"},
		{[]string{"--from", owner, "--direct-url", owner}, "--schema"},
		{[]string{"--from", legacy, "--direct-url", owner, "--json"}, "--yes"},
		{[]string{"--from", legacy, "--direct-url", owner, "--admin", "ada"}, "not a UUID"},
	} {
		r := command(t, append([]string{"import-legacy"}, tc.args...)...)
		r.wantError(t, exitUsage, tc.want)
		if strings.Contains(r.stderr, "pa55word") {
			t.Errorf("a secret is shown: %s", r.stderr)
		}
	}
	t.Setenv("DIRECT_URL", pgtest.Owned(t, owner))
	if r := command(t, "migrate", "up"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	command(t, "import-legacy", "--from", legacy).wantError(t, exitUsage, "poolproof bootstrap")
	if r := command(t, "bootstrap", "--user", testUser, "--email", "a@b.example"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	// Nobody to ask: the plan is shown, and nothing is done.
	r := command(t, "import-legacy", "--from", legacy)
	if r.code != exitUsage || !strings.Contains(r.stderr, "hint: give --yes") || !strings.Contains(r.stdout, "Tenant Last Apple") {
		t.Errorf("%d %s %s", r.code, r.stdout, r.stderr)
	}
	if n := scalar(t, owner, `select count(*)::text from poolproof.tenants`); n != "1" {
		t.Errorf("%s tenants", n)
	}
	if r := command(t, "import-legacy", "--from", legacy, "--yes", "--json"); r.code != exitFailure || !strings.Contains(r.stdout, `"applied": true`) {
		t.Errorf("%d %s", r.code, r.stderr)
	}
	if n := scalar(t, owner, `select count(*)::text from poolproof.tenants`); n != "3" {
		t.Errorf("%s tenants", n)
	}
}

// On a terminal it asks: script(1) makes one.
func TestImportLegacyAsks(t *testing.T) {
	owner := pgtest.Database(t)
	t.Setenv("DIRECT_URL", pgtest.Owned(t, owner))
	t.Setenv("LEGACY_URL", legacyDatabase(t))
	for _, args := range [][]string{{"migrate", "up"}, {"bootstrap", "--user", testUser, "--email", "a@b.example"}} {
		if r := command(t, args...); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	for _, tc := range []struct {
		answer        string
		code, tenants string
		says          string
	}{
		{"n\n", "2", "1", "not confirmed"},
		{"\n", "2", "1", "not confirmed"},
		{"y\n", "1", "3", "Imported."},
	} {
		cmd := exec.CommandContext(t.Context(), "script", "--quiet", "--return", "--command", self(t)+" import-legacy", "/dev/null")
		cmd.Env = append(os.Environ(), asPoolproof+"=1")
		cmd.Stdin = strings.NewReader(tc.answer)
		out, err := cmd.CombinedOutput()
		if code := strconv.Itoa(cmd.ProcessState.ExitCode()); code != tc.code || !strings.Contains(string(out), "Do this? [y/N]") || !strings.Contains(string(out), tc.says) {
			t.Errorf("answer %q: %v, exit code %s, want %s\n%s", tc.answer, err, code, tc.code, out)
		}
		if n := scalar(t, owner, `select count(*)::text from poolproof.tenants`); n != tc.tenants {
			t.Errorf("answer %q: %s tenants", tc.answer, n)
		}
	}
}

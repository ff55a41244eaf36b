package poolproof_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestREADMEExample runs the README's example as the program that it is,
// through a pooler, and holds the README to its text.
func TestREADMEExample(t *testing.T) {
	const acme = "550e8400-e29b-41d4-a716-446655440000"
	f := newFixture(t, 3)
	f.exec(t, "insert into documents (tenant_id, body) values ($1, 'first'), ($1, 'second')", acme)
	cmd := exec.CommandContext(t.Context(), "go", "-C", "examples", "run", "./quickstart")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Acme's documents: 2\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	code, err := os.ReadFile("examples/quickstart/main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(code), "func main() {")
	for line := range strings.SplitSeq(body, "\n") {
		if !strings.Contains(string(readme), line) {
			t.Errorf("the README's example lacks %q", line)
		}
	}
}

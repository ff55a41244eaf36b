//go:build unix

package docs

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestREADMEExample runs the README's example, behind the README's policy, as
// the program that it is, through a pooler. The README has the program's text.
func TestREADMEExample(t *testing.T) {
	t.Parallel()
	const acme, other = "550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440001"
	readme := readFile(t, "../README.md")
	policy := regexp.MustCompile("(?ms)^```sql\n(.*?)^```$").FindStringSubmatch(readme)
	if policy == nil {
		t.Fatal("the README shows no policy")
	}
	superuser := pgtest.Database(t)
	direct := pgtest.Owned(t, superuser)
	sql(t, direct, "create table documents (tenant_id uuid not null, body text not null)")
	for tenant, bodies := range map[string][]string{acme: {"first", "second"}, other: {"third"}} {
		for _, body := range bodies { // before the policy, which binds the owner, too
			sql(t, direct, fmt.Sprintf("insert into documents (tenant_id, body) values ('%s', '%s')", tenant, body))
		}
	}
	sql(t, direct, policy[1]+poolproof.ScopeSQL)
	cmd := exec.CommandContext(t.Context(), "go", "-C", "../examples", "run", "./quickstart")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+pgtest.Pooled(t, direct, pgtest.PgBouncer118Transaction))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Acme's documents: 2\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	_, body, _ := strings.Cut(readFile(t, "../examples/quickstart/main.go"), "func main() {")
	for line := range strings.SplitSeq(body, "\n") {
		if !strings.Contains(readme, line) {
			t.Errorf("the README's example lacks %q", line)
		}
	}
}

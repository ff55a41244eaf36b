//go:build unix

package docs

import (
	"strings"
	"testing"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestProveGuide runs docs/prove.md and holds what it shows, and the README's
// copy of the demo, to what is printed.
func TestProveGuide(t *testing.T) {
	t.Parallel()
	direct := pgtest.Database(t)
	printed := runDoc(t, "prove.md", map[string]string{"DATABASE_URL": direct, "DIRECT_URL": direct})
	for _, want := range []string{"of 500 rows are left", "jdbc:postgresql://127.0.0.1:", "user=postgres&password=", "r.sarif\n", "nothing found, 1 known", "strict, observing"} {
		if !strings.Contains(printed, want) {
			t.Errorf("the commands do not print %q:\n%s", want, printed)
		}
	}
	guide := readFile(t, "prove.md")
	_, shown, _ := strings.Cut(guide, "```\n✗ ")
	shown, _, _ = strings.Cut(shown, "```")
	for line := range strings.Lines(shown) {
		if !strings.Contains(printed, line) {
			t.Errorf("the guide shows what is not printed: %q", line)
		}
	}
	_, demo, found := strings.Cut(readFile(t, "../README.md"), "poolproof prove -- deleter, alone:\n")
	demo, _, _ = strings.Cut(demo, "```")
	for line := range strings.Lines(demo) {
		if !strings.Contains(printed, line) && !strings.Contains(line, " times") {
			t.Errorf("the README shows what is not printed: %q", line)
		}
	}
	if !found {
		t.Error("the README does not show the demo")
	}
	for _, p := range hostile.Profiles() {
		if !strings.Contains(guide, "| "+p.Name+" | "+p.About) && p.Name != "plain" {
			t.Errorf("the guide does not say what %s is: %s", p.Name, p.About)
		}
	}
}

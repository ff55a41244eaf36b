//go:build unix

package docs

import (
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestJudgeGuide runs docs/judge.md on PostgreSQL itself, where all is right.
func TestJudgeGuide(t *testing.T) {
	t.Parallel()
	printed := runDoc(t, "judge.md", map[string]string{"DATABASE_URL": pgtest.Database(t)})
	for _, want := range []string{"no pooler: of 95 trials 95 right", "no pooler: of 2 trials 2 right", "late-copy-holds", `"version": 1`} {
		if !strings.Contains(printed, want) {
			t.Errorf("the commands do not print %q:\n%s", want, printed)
		}
	}
}

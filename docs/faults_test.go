//go:build unix

package docs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Cells of faults.md that name tests: `package.TestName`, perhaps with a
// subtest behind a slash.
var (
	faultRow  = regexp.MustCompile(`(?m)^\| ([FJ]\d+) \|(.*)\|(.*)\|(.*)\|$`)
	faultTest = regexp.MustCompile("`([a-z./0-9_-]+)\\.(Test\\w+)(?:/([^`]+))?`")
)

// diagnosed are the faults that occur in other people's installations: the doctor names each in a test that builds it.
var diagnosed = []string{"F2", "F4", "F5", "F6", "F8", "F9", "F17", "F24", "F27", "F31"}

// TestFaultList holds faults.md to the tests that it names: each row of
// the original's two lists is there once, and says by which test it is shown,
// or that it has no counterpart here. Each test exists in its package,
// and its subtest's name, too.
func TestFaultList(t *testing.T) {
	const none = "n/a"
	list := readFile(t, "faults.md")
	sources := map[string]string{}
	source := func(pkg string) string {
		if _, ok := sources[pkg]; !ok {
			dir := filepath.Join("..", pkg)
			if pkg == "poolproof" {
				dir = ".."
			}
			files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, file := range files {
				all.WriteString(readFile(t, file))
			}
			sources[pkg] = all.String()
		}
		return sources[pkg]
	}
	seen := map[string]bool{}
	for _, row := range faultRow.FindAllStringSubmatch(list, -1) {
		id, shown := row[1], strings.TrimSpace(row[4])
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		tests := faultTest.FindAllStringSubmatch(shown, -1)
		if rest := strings.Trim(faultTest.ReplaceAllString(shown, ""), ", ;"); rest != "" && rest != none {
			t.Errorf("%s: what is %q?", id, rest)
		} else if len(tests) == 0 && rest == "" {
			t.Errorf("%s: no test", id)
		}
		if slices.Contains(diagnosed, id) && !slices.ContainsFunc(tests, func(test []string) bool { return strings.HasPrefix(test[1], "doctor") }) {
			t.Errorf("%s: no test says that the doctor names it", id)
		}
		for _, test := range tests {
			body := source(test[1])
			_, body, ok := strings.Cut(body, "func "+test[2]+"(")
			if !ok {
				t.Errorf("%s: %s has no %s", id, test[1], test[2])
				continue
			}
			for part := range strings.SplitSeq(test[3], "/") {
				if !strings.Contains(body, part) {
					t.Errorf("%s: %s.%s has no %q", id, test[1], test[2], part)
				}
			}
		}
	}
	for name, n := range map[string]int{"F": 31, "J": 21} {
		for i := 1; i <= n; i++ {
			if id := fmt.Sprintf("%s%d", name, i); !seen[id] {
				t.Errorf("%s is missing", id)
			}
		}
	}
	if len(seen) != 31+21 {
		t.Errorf("%d rows", len(seen))
	}
}

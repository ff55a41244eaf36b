//go:build unix

package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/hostile"
)

// tree are the repository's files by their paths from its root, without what
// git does not keep and what belongs to other programs.
func tree(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, "../")
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", ".poolproof", "node_modules"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		files = append(files, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var (
	inBackticks = regexp.MustCompile("`([^`\n]+)`")
	aPath       = regexp.MustCompile(`^\.?[\w-]+(/[\w.-]+)*(/|\.\w+)$|^(cmd|corpus|docs|examples|hostile|internal|pooler|scripts|service)(/[\w-]+)*$`)
	aTest       = regexp.MustCompile(`\bTest[A-Z]\w+`)
	testFunc    = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// CONTRIBUTING's paths and tests exist, and its maps have each package with
// tests and each test file of the root.
func TestContributing(t *testing.T) {
	guide := readFile(t, "../CONTRIBUTING.md")
	named := map[string]bool{}
	for _, m := range inBackticks.FindAllStringSubmatch(guide, -1) {
		named[m[1]] = true
	}
	tests, packages := map[string]bool{}, map[string]bool{}
	for _, file := range tree(t) {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range testFunc.FindAllStringSubmatch(readFile(t, "../"+file), -1) {
			tests[m[1]] = true
		}
		dir := filepath.Dir(file)
		if dir == "." && !named[file] {
			t.Errorf("the map of the root's test files lacks %s", file)
		}
		if !regexp.MustCompile(`^(examples|bench)\b|testdata`).MatchString(dir) {
			packages[dir] = true
		}
	}
	_, table, _ := strings.Cut(guide, "## A map of the tests\n")
	table, _, _ = strings.Cut(table, "\n### ")
	for dir := range packages {
		if !strings.Contains(table, "| `"+dir+"` ") {
			t.Errorf("the map of the tests lacks %s", dir)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` ").FindAllStringSubmatch(table, -1) {
		if !packages[m[1]] {
			t.Errorf("the map of the tests has %s, which has none", m[1])
		}
	}
	paths := 0
	for name := range named {
		if aPath.MatchString(name) && !strings.Contains(name, "NNNN") && !strings.Contains(name, "nnn") && !strings.Contains(name, "LANGUAGE") {
			paths++
			_, here := os.Stat("../" + name)
			_, atRoot := os.Stat("../" + strings.TrimSuffix(name, "/"))
			if here != nil && atRoot != nil {
				t.Errorf("there is no %s", name)
			}
		}
	}
	if paths < 40 {
		t.Errorf("only %d paths were looked for", paths)
	}
	for _, test := range aTest.FindAllString(guide, -1) {
		if !tests[test] {
			t.Errorf("there is no %s", test)
		}
	}
}

var (
	mdLink   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	notInIDs = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
	fenced   = regexp.MustCompile("(?ms)^```.*?^```")
)

// anchors are the ids that GitHub makes of a document's headings.
func anchors(text string) map[string]bool {
	ids := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		id := strings.ReplaceAll(notInIDs.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		ids[id] = true
	}
	return ids
}

// Links of the documents to files here, and to their headings, lead somewhere.
func TestLinks(t *testing.T) {
	links := 0
	for _, file := range tree(t) {
		if !strings.HasSuffix(file, ".md") || strings.Contains(file, "testdata/") || strings.Contains(file, "repro/scripts/") {
			continue
		}
		text := readFile(t, "../"+file)
		for _, m := range mdLink.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			path, id, _ := strings.Cut(m[1], "#")
			target := filepath.Join("..", filepath.Dir(file), path)
			if path == "" {
				target = "../" + file
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", file, m[1])
			} else if id != "" && strings.HasSuffix(target, ".md") && !anchors(readFile(t, target))[id] {
				t.Errorf("%s: %s has no heading %q", file, target, id)
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links were followed", links)
	}
}

// The README counts what there is, and is short.
func TestCounts(t *testing.T) {
	readme := readFile(t, "../README.md")
	for _, want := range []string{
		fmt.Sprint(len(hostile.Codes()), " codes"),
		fmt.Sprint(len(hostile.Libraries()), " drivers and libraries"),
	} {
		if !strings.Contains(readme, want) {
			t.Errorf("the README does not say %q", want)
		}
	}
	if n := strings.Count(readme, "\n"); n >= 150 {
		t.Errorf("the README has %d lines", n)
	}
	for _, command := range []string{"`make dev`", "`make test`", "`make soak`", "`make bench`"} {
		if !strings.Contains(readme, command) {
			t.Errorf("the README does not name %s", command)
		}
	}
	makefile := readFile(t, "../Makefile")
	for _, m := range regexp.MustCompile("(?m)(?:`|^)make ([a-z]+)").FindAllStringSubmatch(readme+readFile(t, "../CONTRIBUTING.md"), -1) {
		if !strings.Contains(makefile, "\n"+m[1]+": ## ") {
			t.Errorf("the Makefile has no target %s", m[1])
		}
	}
}

package hostile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each code has a page, and the pages say what the catalogue says.
func TestPages(t *testing.T) {
	guide, err := os.ReadFile("../docs/prove.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Codes() {
		k := catalogue[c]
		raw, err := os.ReadFile("../docs/prove/" + string(c) + ".md")
		if err != nil {
			t.Error(err)
			continue
		}
		page := strings.Join(strings.Fields(string(raw)), " ")
		for what, want := range map[string]string{
			"its title": "# " + string(c) + ": " + k.title, "the consequence": strings.TrimSpace(k.consequence[1:]), "the fix": strings.TrimSpace(k.fix[1:]),
			"how to see it": "## How to see it", "production": "## In production",
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %s: %q", c, what, want)
			}
		}
		for driver, fix := range k.byDriver {
			if !strings.Contains(page, "| "+driver+" | "+fix+" |") && !strings.Contains(page, "| "+driver+" | `"+fix+"` |") {
				t.Errorf("%s lacks the fix for %s: %q", c, driver, fix)
			}
		}
		if row := "| [" + string(c) + "](prove/" + string(c) + ".md) | " + k.title + " |"; !strings.Contains(string(guide), row) {
			t.Errorf("the guide lacks %q", row)
		}
	}
	pages, err := filepath.Glob("../docs/prove/PP*.md")
	if err != nil || len(pages) != len(Codes()) {
		t.Errorf("%d pages for %d codes, %v", len(pages), len(Codes()), err)
	}
}

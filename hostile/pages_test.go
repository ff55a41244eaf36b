package hostile

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// write makes TestPages write the tables of libraries' fixes into the pages.
var write = flag.Bool("write", false, "write what comes from tables in the code into the docs")

// libraryTable is what the libraries' users do about a code; "" if no library has
// something of its own.
func libraryTable(c Code) string {
	var table strings.Builder
	for _, l := range Libraries() {
		for _, a := range l.Fixes {
			if !slices.Contains(a.Codes, c) {
				continue
			}
			name := l.Name
			if a.Setting != "" {
				name += ", " + a.Setting
			}
			table.WriteString("| " + name + " | " + strings.ReplaceAll(a.Text(), "|", `\|`) + " |\n")
		}
	}
	if table.Len() == 0 {
		return ""
	}
	return "| library | fix |\n|---|---|\n" + table.String()
}

// writeTable puts the table in the place of the one that the page has, or before
// its last line.
func writeTable(t *testing.T, name, page, table string) {
	t.Helper()
	old := regexp.MustCompile(`(?m)^\| (driver|library) \| fix \|\n(\|.*\n)+`)
	if at := old.FindStringIndex(page); at != nil {
		page = page[:at[0]] + table + page[at[1]:]
	} else {
		page = strings.Replace(page, "\nAll codes: ", "\n"+table+"\nAll codes: ", 1)
	}
	if err := os.WriteFile(name, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each code has a page, and the pages say what the catalogue says.
func TestPages(t *testing.T) {
	guide, err := os.ReadFile("../docs/prove.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Codes() {
		k := catalogue[c]
		name := "../docs/prove/" + string(c) + ".md"
		raw, err := os.ReadFile(name)
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
		if table := libraryTable(c); !strings.Contains(string(raw), table) {
			if *write {
				writeTable(t, name, string(raw), table)
			} else {
				t.Errorf("%s lacks the fixes of libraries, which go test ./hostile -run TestPages -write writes:\n%s", c, table)
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

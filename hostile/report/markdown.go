package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/poolproof/poolproof/hostile"
)

// Markdown writes a report for a CI's summary page. command is nil if the
// report is not of a program that was run.
func Markdown(w io.Writer, r hostile.Report, command *Command) error {
	r = shown(r)
	var b strings.Builder
	fmt.Fprintf(&b, "### poolproof (%s): %s\n\n", r.Profile, verdict(r))
	if len(r.Findings) > 0 {
		b.WriteString("| | finding | where | fix |\n|---|---|---|---|\n")
	}
	for _, f := range r.Findings {
		code := fmt.Sprintf("[%s](%s)", f.Code, Page(f.Code))
		if f.Known {
			code += " (known)"
		}
		where := place(f.First)
		if where == "" {
			where = short(f.First.SQL, 80)
		}
		if where != "" {
			where = "`" + strings.ReplaceAll(where, "`", "'") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s, %s | %s | %s |\n", code, cell(headline(f)), times(f.Count), cell(where), cell(f.Fix))
	}
	fmt.Fprintf(&b, "\nSeen: %s. %s\n", seen(r), advice(r, command))
	for _, s := range []string{ended(r, command), leftOut(r)} {
		if s != "" {
			fmt.Fprintf(&b, "\n%s\n", s)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report as Markdown: %w", err)
	}
	return nil
}

// cell returns a text that does not leave its cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

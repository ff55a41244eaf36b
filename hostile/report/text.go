package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/hostile"
)

// Text writes a report for a person at a terminal, in colour if that is wanted.
func Text(w io.Writer, r hostile.Report, colour bool) error {
	t := &textWriter{colour: colour}
	errors, warnings, known := 0, 0, 0
	for _, f := range r.Findings {
		switch {
		case f.Known:
			known++
		case f.Severity == hostile.Error:
			errors++
		default:
			warnings++
		}
	}
	for i, f := range r.Findings {
		if f.Known {
			continue
		}
		t.finding(f, i > 0 && !r.Findings[i-1].Known && r.Findings[i-1].Code == f.Code)
	}
	if known > 0 {
		t.line("")
		t.line("Known from the baseline, not counted:")
		for _, f := range r.Findings {
			if f.Known {
				t.line("  %s %s %s", f.Code, f.Title, f.Subject)
			}
		}
	}
	if len(r.Notes) > 0 {
		t.line("")
		t.line("Notes (nothing to mend in the program):")
		for _, n := range r.Notes {
			t.line("  %s, %s: %s", n.Subject, times(n.Count), n.Text)
		}
	}
	t.line("")
	verdict := t.paint(green, "nothing found")
	if errors+warnings > 0 {
		verdict = t.paint(red, fmt.Sprintf("%s, %s", count(errors, "error"), count(warnings, "warning")))
	}
	t.line("poolproof prove (%s): %s. Seen: %s, %s, %s. Like a race detector it judges only what ran.",
		r.Profile, verdict, count(r.Clients, "connection"), count(r.Transactions, "transaction"), count(r.Statements, "different text"))
	_, err := io.WriteString(w, t.String())
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

type textWriter struct {
	strings.Builder
	colour bool
}

// Terminal colours (ECMA-48, SGR).
const (
	red    = "31;1"
	yellow = "33;1"
	green  = "32;1"
	faint  = "2"
)

func (t *textWriter) paint(sgr, s string) string {
	if !t.colour {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

func (t *textWriter) line(format string, args ...any) {
	fmt.Fprintf(t, format+"\n", args...)
}

// finding writes one; more of the same code follow without its explanation.
func (t *textWriter) finding(f hostile.Finding, again bool) {
	mark := t.paint(red, "✗")
	if f.Severity == hostile.Warning {
		mark = t.paint(yellow, "!")
	}
	if !again {
		t.line("")
		t.line("%s %s %s", mark, t.paint(red, string(f.Code)), f.Title)
		t.line("    in production   %s", f.Consequence)
		t.line("    fix             %s", f.Fix)
	}
	head := times(f.Count)
	if f.Subject != "" {
		head = f.Subject + ", " + head
	}
	t.line("    seen            %s%s", head, t.paint(faint, who(f.First.Client)))
	if f.First.File != "" {
		t.line("                    %s:%d", f.First.File, f.First.Line)
	}
	for _, sql := range slices.Concat([]string{f.First.SQL}, f.More[:min(len(f.More), 2)]) {
		if sql != "" {
			t.line("                    %s", t.paint(faint, short(sql)))
		}
	}
}

func who(c hostile.Client) string {
	var parts []string
	if c.ApplicationName != "" {
		parts = append(parts, c.ApplicationName)
	}
	if c.Driver != "" {
		parts = append(parts, c.Driver)
	}
	if len(parts) == 0 {
		return ""
	}
	return "  (" + strings.Join(parts, ", ") + ")"
}

func short(sql string) string {
	sql = strings.Join(strings.Fields(sql), " ")
	if r := []rune(sql); len(r) > 110 {
		return string(r[:109]) + "…"
	}
	return sql
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

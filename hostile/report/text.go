package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/hostile"
)

// Text writes a report for a person at a terminal. Findings are grouped by
// code, and each code is explained once. command is nil if the report is not of
// a program that was run.
func Text(w io.Writer, r hostile.Report, command *Command, colour bool) error {
	r = shown(r)
	t := &textWriter{colour: colour}
	var last hostile.Finding
	for _, f := range r.Findings {
		if f.Known {
			continue
		}
		t.finding(f, last)
		last = f
	}
	errors, warnings, known := tally(r)
	if known > 0 {
		t.linef("")
		t.linef("Known from the baseline, not counted:")
		for _, f := range r.Findings {
			if f.Known {
				t.linef("  %s %s", f.Code, headline(f))
			}
		}
	}
	if len(r.Notes) > 0 {
		t.linef("")
		t.linef("Notes (nothing to mend in the program):")
		for _, n := range r.Notes {
			t.wrapped("  ", n.Subject+", "+times(n.Count)+": "+n.Text)
		}
	}
	if s := leftOut(r); s != "" {
		t.linef("")
		t.wrapped("", s)
	}
	t.linef("")
	sgr := green
	if errors > 0 {
		sgr = red
	} else if warnings > 0 || r.Clients == 0 {
		sgr = yellow
	}
	t.linef("poolproof (%s): %s.", r.Profile, t.paint(sgr, verdict(r)))
	if s := ended(r, command); s != "" {
		t.wrapped("", s)
	}
	if r.BadDay != nil {
		t.wrapped("", r.BadDay.String())
	}
	for _, line := range processes(command) {
		t.linef("%s", line)
	}
	t.wrapped("", "Seen: "+seen(r)+". "+advice(r, command))
	if _, err := io.WriteString(w, t.String()); err != nil {
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
	if !t.colour || s == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

func (t *textWriter) linef(format string, args ...any) {
	_, _ = fmt.Fprintf(t, format+"\n", args...) // a strings.Builder does not fail
}

// The width of a report's lines, and the indentation of a finding's details.
const (
	width  = 110
	indent = "                    "
)

// wrapped writes words after a label, in lines of at most width characters.
func (t *textWriter) wrapped(label, words string) {
	line, n := label, 0
	for word := range strings.FieldsSeq(words) {
		if n > 0 && len([]rune(line))+1+len([]rune(word)) > width {
			t.linef("%s", line)
			line, n = strings.Repeat(" ", len([]rune(label))), 0
		}
		if n > 0 {
			line += " "
		}
		line += word
		n++
	}
	t.linef("%s", line)
}

// finding writes a finding. What is the same as in the one before it is left
// out.
func (t *textWriter) finding(f, last hostile.Finding) {
	if f.Code != last.Code {
		mark, sgr := "✗", red
		if f.Severity == hostile.Warning {
			mark, sgr = "!", yellow
		}
		t.linef("")
		t.linef("%s %s", t.paint(sgr, mark+" "+string(f.Code)), f.Title)
		t.wrapped("    in production   ", f.Consequence)
	}
	if f.Code != last.Code || f.Fix != last.Fix {
		t.wrapped("    fix             ", f.Fix)
	}
	if f.Code != last.Code {
		t.linef("    more            %s", t.paint(faint, Page(f.Code)))
	}
	head := times(f.Count)
	if f.Subject != "" {
		head = f.Subject + ", " + head
	}
	if w := who(f.First.Client); w != "" {
		head += "  " + t.paint(faint, "("+w+")")
	}
	t.linef("    seen            %s", head)
	if p := place(f.First); p != "" {
		t.linef("%s%s", indent, p)
	}
	if s := tags(f.First); s != "" {
		t.linef("%s%s", indent, short(s, width-len(indent)))
	}
	for _, sql := range slices.Concat([]string{f.First.SQL}, f.More[:min(len(f.More), 2)]) {
		if sql != "" {
			t.linef("%s%s", indent, t.paint(faint, short(sql, width-len(indent))))
		}
	}
}

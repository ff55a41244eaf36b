package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/poolproof/poolproof/internal/visible"
)

// Text writes the report for a person: the verdict first and last, and between what
// needs an act; with all, everything that was looked at, too. A healthy one is one line.
func (r *Report) Text(w io.Writer, all bool) error {
	var b strings.Builder
	verdict := visible.Line(r.Verdict) + "\n"
	b.WriteString(verdict)
	lines := 0
	for _, c := range r.Checks {
		bad := c.Status == Fail || c.Status == Warn
		if !bad && !all || bad && c.Known != nil && !all {
			continue
		}
		lines++
		if c.Status == OK {
			fmt.Fprintf(&b, "\n%s ok    %s [%s]", c.ID, visible.Line(c.headline()), c.Basis)
			continue
		}
		fmt.Fprintf(&b, "\n%s %s  %s [%s]\n", c.ID, c.Status, visible.Line(c.headline()), c.Basis)
		if c.Known != nil {
			fmt.Fprintf(&b, "      known until %s: %s\n", c.Known.Expires, visible.Line(c.Known.Reason))
		}
		if c.Detail != "" {
			fmt.Fprintf(&b, "      %s\n", indent(c.Detail))
		}
		if bad && c.Consequence != "" {
			fmt.Fprintf(&b, "      so: %s\n", indent(c.Consequence))
		}
		if c.Hint != "" {
			fmt.Fprintf(&b, "      do: %s\n", indent(c.Hint))
		}
	}
	if all {
		lines++
		if r.Reached {
			b.WriteString("\n") // after the list of what is right
		}
	}
	if r.Residue != nil && all {
		r.Residue.write(&b)
	}
	if lines > 0 && r.Reached && r.Residue == nil {
		r.between(&b, all)
		r.isolation(&b)
		if all {
			fmt.Fprintf(&b, "tenant: setting %s, tables %s\n", visible.Line(r.TenantSetting), visible.Line(strings.Join(r.TenantTables, ", ")))
		}
	}
	r.settings(&b) // they were asked for
	r.static(&b, all)
	if all || lines > 0 {
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "\nnote: %s\n", visible.Line(n))
		}
	}
	if lines > 0 {
		if !all && r.Reached {
			b.WriteString("\npoolproof explain CODE says more of each; -v shows what else was looked at; --only CODE looks again\n")
		}
		b.WriteString("\n" + verdict)
	}
	return write(w, "the report", b.String())
}

// isolation writes what the live trial saw, and how much of the database it tried.
func (r *Report) isolation(b *strings.Builder) {
	verdict := map[Status]string{OK: "holds", Fail: "does not hold", Skip: "not known"}
	for _, c := range r.Checks {
		if c.ID == Trial {
			fmt.Fprintf(b, "isolation: %s [%s]: %s\n", verdict[c.Status], c.Basis, visible.Line(c.Detail))
			return
		}
	}
}

func indent(s string) string {
	return strings.ReplaceAll(visible.Text(s), "\n", "\n          ")
}

func write(w io.Writer, what, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}

// JSON writes the report in the form that scripts rely on.
func (r *Report) JSON(w io.Writer) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil { // [unexpected] it is made of texts
		return fmt.Errorf("write the report as JSON: %w", err)
	}
	return write(w, "the report as JSON", string(visible.JSON(b.Bytes())))
}

// JSONLine writes the same in one line, as the last of a watch's.
func (r *Report) JSONLine(w io.Writer) error {
	var whole, b bytes.Buffer
	if err := r.JSON(&whole); err != nil { // [unexpected] a buffer takes all
		return err
	}
	if err := json.Compact(&b, whole.Bytes()); err != nil { // [unexpected] it was just written
		return fmt.Errorf("write the report as JSON: %w", err)
	}
	return write(w, "the report as JSON", b.String()+"\n")
}

// Markdown writes the report for a bug report.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### poolproof doctor: %s\n\n", cell(r.Verdict))
	var between strings.Builder
	if r.Reached && r.Residue == nil {
		r.between(&between, false)
		r.isolation(&between)
		r.settings(&between)
		fmt.Fprintf(&b, "```text\n%s\n```\n", strings.ReplaceAll(strings.TrimSpace(between.String()), "```", "'''"))
	}
	head := "\n| | finding | detail | do |\n|---|---|---|---|\n"
	for _, c := range r.Checks {
		if c.Status != Fail && c.Status != Warn {
			continue
		}
		known := ""
		if c.Known != nil {
			known = " (known until " + c.Known.Expires + ")"
		}
		fmt.Fprintf(&b, "%s| [%s](%s) %s%s | %s (%s) | %s | `%s` |\n", head, c.ID, c.Page, c.Status, known, cell(c.headline()), c.Basis, cell(c.Detail), strings.ReplaceAll(cell(c.Hint), "`", "'"))
		head = ""
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\nNote: %s\n", cell(n))
	}
	return write(w, "the report as Markdown", b.String())
}

// cell is a text that stays in its cell of a table.
func cell(s string) string {
	return strings.ReplaceAll(visible.Line(strings.Join(strings.Fields(s), " ")), "|", `\|`)
}

// FixSQL writes the SQL of every finding that SQL mends, for a person to read, change and
// run: the doctor itself never does.
func (r *Report) FixSQL(w io.Writer) error {
	var b strings.Builder
	b.WriteString("-- Written by poolproof doctor, which has run none of it. Read it, and run it as the owner of the tables.\n")
	for _, c := range r.Checks {
		if c.Status != Fail && c.Status != Warn || c.Known != nil {
			continue
		}
		fmt.Fprintf(&b, "\n-- %s %s\n", c.ID, visible.Line(c.headline()))
		if c.Fix == "" {
			fmt.Fprintf(&b, "-- not by SQL alone: %s\n", strings.ReplaceAll(visible.Text(c.Hint), "\n", "\n-- "))
			continue
		}
		b.WriteString(c.Fix + "\n")
	}
	return write(w, "the SQL", b.String())
}

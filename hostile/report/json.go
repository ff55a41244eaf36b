package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/visible"
)

// JSON writes a report in the form that scripts rely on. command is nil if the
// report is not of a program that was run.
func JSON(w io.Writer, r hostile.Report, command *Command) error {
	type finding struct {
		hostile.Finding
		Page string `json:"page"`
	}
	findings := make([]finding, len(r.Findings))
	for i, f := range r.Findings {
		findings[i] = finding{f, Page(f.Code)}
	}
	return encode(w, "the report as JSON", struct {
		Findings []finding `json:"findings"`
		hostile.Report
		Command *Command `json:"command,omitempty"`
	}{findings, r, command})
}

// encode writes indented JSON, with < and & as they are. What a terminal would
// obey is escaped, because somebody will read it there.
func encode(w io.Writer, what string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	if err == nil {
		_, err = w.Write(visible.JSON(b.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}

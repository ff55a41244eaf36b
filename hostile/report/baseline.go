package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/poolproof/poolproof/hostile"
)

// Baseline holds findings that are known and not to be mended today. They are
// listed and do not count.
type Baseline struct {
	Known []Known `json:"known"`
}

// Known names a finding: its code and what it is about.
type Known struct {
	Code    hostile.Code `json:"code"`
	Subject string       `json:"subject,omitempty"`
}

// ReadBaseline reads a file; one that is not there is empty.
func ReadBaseline(name string) (Baseline, error) {
	var b Baseline
	if name == "" {
		return b, nil
	}
	raw, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("read the baseline: %w", err)
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return b, fmt.Errorf("read the baseline %s: %w", name, err)
	}
	return b, nil
}

// Mark marks what is known, and tells how many findings are not. What the report
// had to leave out is not known.
func (b Baseline) Mark(r *hostile.Report) (unknown int) {
	for i, f := range r.Findings {
		r.Findings[i].Known = slices.Contains(b.Known, Known{f.Code, f.Subject})
		if !r.Findings[i].Known {
			unknown++
		}
	}
	if len(r.LeftOut) > 0 {
		unknown++
	}
	return unknown
}

// WriteBaseline writes a baseline of all that a report found.
func WriteBaseline(name string, r hostile.Report) error {
	b := Baseline{Known: []Known{}}
	for _, f := range r.Findings {
		b.Known = append(b.Known, Known{f.Code, f.Subject})
	}
	var text bytes.Buffer
	if err := encode(&text, "the baseline", b); err != nil {
		return err
	}
	if err := os.WriteFile(name, text.Bytes(), 0o644); err != nil { //nolint:gosec // it is for the repository
		return fmt.Errorf("write the baseline: %w", err)
	}
	return nil
}

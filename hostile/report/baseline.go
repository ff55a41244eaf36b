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

// Baseline holds findings that are known. They are listed, but not counted.
type Baseline struct {
	Known []Known `json:"known"`
}

// Known names a finding: its code and its subject.
type Known struct {
	Code    hostile.Code `json:"code"`
	Subject string       `json:"subject,omitempty"`
}

// ReadBaseline reads a baseline from a file. It is empty if name is "" or the
// file does not exist.
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

// Mark marks the findings of r that are known, and returns how many are not.
// Findings that the report left out count as one that is not known.
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

// WriteBaseline writes all findings of a report to a file, as a new baseline.
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

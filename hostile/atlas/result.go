package atlas

import (
	_ "embed"
	"encoding/json"
	"slices"
)

// Result is what the differential test saw.
type Result struct {
	Date        string       `json:"date"`       // of the run, YYYY-MM-DD
	Server      string       `json:"server"`     // PostgreSQL's version
	Source      string       `json:"source"`     // of the scripts: its version
	Extensions  []string     `json:"extensions"` // that the server had
	Absent      []string     `json:"absent"`     // that are of interest and were not installed
	Scripts     int          `json:"scripts"`
	Statements  int          `json:"statements"`  // that were run
	Failed      int          `json:"failed"`      // of those, answered with an error: scripts test errors, and some want C code that is not built here
	Skipped     int          `json:"skipped"`     // commands of psql that are no SQL
	Lost        int          `json:"lost"`        // connections that the server ended or that timed out
	Comparisons int          `json:"comparisons"` // moments at which both backends were asked
	Questions   int          `json:"questions"`   // of the catalogue, besides those that are asked after each statement
	Differences []Difference `json:"differences"` // by kind
}

// Difference is a kind of difference between a used and a fresh backend.
type Difference struct {
	Kind         string `json:"kind"`
	Count        int    `json:"count"`         // how often it appeared
	AfterDiscard int    `json:"after_discard"` // scripts at whose end it was there after DISCARD ALL
	Subject      string `json:"subject"`       // of the first: the setting, the table …
	SQL          string `json:"sql"`           // the statement after which it was seen first
	Where        string `json:"where"`         // script and line of that
}

// Gaps returns the differences that no row explains.
func (r Result) Gaps(rows []Row) []Difference {
	return slices.DeleteFunc(slices.Clone(r.Differences), func(d Difference) bool { return explaining(rows, d.Kind) != nil })
}

// Contradictions returns the differences that were there after DISCARD ALL
// although the row that explains them says that it removes them.
func (r Result) Contradictions(rows []Row) []Difference {
	return slices.DeleteFunc(slices.Clone(r.Differences), func(d Difference) bool {
		row := explaining(rows, d.Kind)
		return d.AfterDiscard == 0 || row == nil || row.DiscardAll != Removed
	})
}

// explaining returns the row that explains a kind of difference, or nil.
func explaining(rows []Row, kind string) *Row {
	for i := range rows {
		if slices.Contains(rows[i].Differences, kind) {
			return &rows[i]
		}
	}
	return nil
}

//go:embed last.json
var lastJSON []byte

// Last returns the result of the last run of all scripts.
func Last() (Result, error) {
	var r Result
	err := json.Unmarshal(lastJSON, &r)
	return r, err
}

// Package sarif writes OASIS's "Static Analysis Results Interchange Format" 2.1.0: the
// part of it that our reports use.
package sarif

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/poolproof/poolproof/internal/visible"
)

// Write writes one run. What a terminal would obey is escaped.
func Write(w io.Writer, run Run) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(Log{"https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", "2.1.0", []Run{run}})
	if err == nil {
		_, err = w.Write(visible.JSON(b.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("write the report as SARIF: %w", err)
	}
	return nil
}

// The format's objects, by its own names.
type (
	// Log is a whole file.
	Log struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []Run  `json:"runs"`
	}
	// Run is what one tool found in one run.
	Run struct {
		Tool struct {
			Driver Driver `json:"driver"`
		} `json:"tool"`
		Invocations []Invocation `json:"invocations,omitempty"`
		ColumnKind  string       `json:"columnKind"`
		Results     []Result     `json:"results"`
	}
	// Invocation reports whether the tool ran to its end.
	Invocation struct {
		Successful    bool           `json:"executionSuccessful"`
		Notifications []Notification `json:"toolExecutionNotifications"`
	}
	// Notification is what the tool says of its own run.
	Notification struct {
		Level   string `json:"level"`
		Message Text   `json:"message"`
	}
	// Driver is the tool, with the rules that it knows.
	Driver struct {
		Name           string `json:"name"`
		Version        string `json:"version,omitempty"`
		InformationURI string `json:"informationUri"`
		Rules          []Rule `json:"rules"`
	}
	// Rule is a kind of finding.
	Rule struct {
		ID                   string        `json:"id"`
		ShortDescription     Text          `json:"shortDescription"`
		FullDescription      Text          `json:"fullDescription"`
		Help                 Text          `json:"help"`
		HelpURI              string        `json:"helpUri"`
		DefaultConfiguration Configuration `json:"defaultConfiguration"`
	}
	// Text is a plain text.
	Text struct {
		Text string `json:"text"`
	}
	// Configuration is how grave a rule is by default.
	Configuration struct {
		Level string `json:"level"`
	}
	// Result is one finding.
	Result struct {
		RuleID              string            `json:"ruleId"`
		RuleIndex           int               `json:"ruleIndex"`
		Level               string            `json:"level"`
		Message             Text              `json:"message"`
		Locations           []Location        `json:"locations,omitempty"`
		OccurrenceCount     int               `json:"occurrenceCount"`
		PartialFingerprints map[string]string `json:"partialFingerprints"`
		Suppressions        []Suppression     `json:"suppressions,omitempty"`
	}
	// Location is where a result is.
	Location struct {
		Physical struct {
			Artifact Artifact `json:"artifactLocation"`
			Region   Region   `json:"region"`
		} `json:"physicalLocation"`
	}
	// Artifact is a file, as a URI reference.
	Artifact struct {
		URI    string `json:"uri"`
		BaseID string `json:"uriBaseId,omitempty"`
	}
	// Region is a place in a file.
	Region struct {
		StartLine int `json:"startLine"`
	}
	// Suppression says that a result is known, and why it stays.
	Suppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
)

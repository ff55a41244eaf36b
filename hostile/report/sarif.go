package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/visible"
)

// SARIF writes a report for code scanning, in OASIS's "Static Analysis Results
// Interchange Format" 2.1.0. A finding whose file is known points at that file,
// and the others at the tree's manifest, because GitHub refuses a whole report
// for one result without a place in the repository.
func SARIF(w io.Writer, r hostile.Report, version string, tree Tree) error {
	r = shown(r)
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{
		Name: "poolproof", Version: version, InformationURI: strings.TrimSuffix(pages, "prove/") + "prove.md",
	}
	index := map[hostile.Code]int{}
	for i, c := range hostile.Codes() {
		severity, title, consequence, fix := hostile.Describe(c)
		index[c] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: string(c), ShortDescription: sarifText{title}, FullDescription: sarifText{sentence(consequence)},
			Help: sarifText{"In production: " + sentence(consequence) + "\nFix: " + sentence(fix)}, HelpURI: Page(c),
			DefaultConfiguration: sarifConfiguration{string(severity)},
		})
	}
	for _, f := range r.Findings {
		run.Results = append(run.Results, sarifResultOf(f, index[f.Code], tree))
	}
	if s := leftOut(r); s != "" {
		run.Invocations = []sarifInvocation{{Successful: true, Notifications: []sarifNotification{{Level: "warning", Message: sarifText{s}}}}}
	}
	return encode(w, "the report as SARIF", sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func sarifResultOf(f hostile.Finding, rule int, tree Tree) sarifResult {
	text := sentence(headline(f)) + " " + sentence("In production: "+f.Consequence) + " " + sentence("Fix: "+f.Fix)
	file, line := f.First.File, max(f.First.Line, 1)
	if file == "" && tree.Manifest != "" {
		file, line = tree.Manifest, 1
		text += " Where in the source is not known; " + visible.Line(filepath.Base(file)) + " stands for the program."
	}
	if f.First.SQL != "" {
		text += " SQL: " + short(f.First.SQL, 300)
	}
	res := sarifResult{
		RuleID: string(f.Code), RuleIndex: rule, Level: string(f.Severity), Message: sarifText{text}, OccurrenceCount: max(f.Count, 1),
		PartialFingerprints: map[string]string{"poolproofSubject/v1": string(f.Code) + " " + f.Subject},
	}
	if f.Known {
		res.Suppressions = []sarifSuppression{{Kind: "external", Justification: "in the baseline"}}
	}
	if file != "" {
		l := sarifLocation{}
		l.Physical.Artifact = artifact(tree.inRepository(file))
		l.Physical.Region = sarifRegion{line}
		res.Locations = []sarifLocation{l}
	}
	return res
}

// artifact returns a file as a URI reference (RFC 3986), relative to the
// repository if it is in it. Only unreserved characters stay as they are, so
// that no part of a name is taken for a scheme, a query or a fragment.
func artifact(file string) sarifArtifact {
	var b strings.Builder
	for _, c := range []byte(filepath.ToSlash(file)) {
		if c == '/' || c == '@' || c == '-' || c == '.' || c == '_' || c == '~' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if filepath.IsAbs(file) {
		return sarifArtifact{URI: "file:///" + strings.TrimPrefix(b.String(), "/")}
	}
	return sarifArtifact{URI: strings.TrimPrefix(b.String(), "./"), BaseID: "%SRCROOT%"}
}

// sentence begins a text with a capital and ends it with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// The part of the format that is used here; names are its own.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Invocations []sarifInvocation `json:"invocations,omitempty"`
		ColumnKind  string            `json:"columnKind"`
		Results     []sarifResult     `json:"results"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID                   string             `json:"id"`
		ShortDescription     sarifText          `json:"shortDescription"`
		FullDescription      sarifText          `json:"fullDescription"`
		Help                 sarifText          `json:"help"`
		HelpURI              string             `json:"helpUri"`
		DefaultConfiguration sarifConfiguration `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifConfiguration struct {
		Level string `json:"level"`
	}
	sarifResult struct {
		RuleID              string             `json:"ruleId"`
		RuleIndex           int                `json:"ruleIndex"`
		Level               string             `json:"level"`
		Message             sarifText          `json:"message"`
		Locations           []sarifLocation    `json:"locations,omitempty"`
		OccurrenceCount     int                `json:"occurrenceCount"`
		PartialFingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions        []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact sarifArtifact `json:"artifactLocation"`
			Region   sarifRegion   `json:"region"`
		} `json:"physicalLocation"`
	}
	sarifArtifact struct {
		URI    string `json:"uri"`
		BaseID string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
)

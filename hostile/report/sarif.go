package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/sarif"
	"github.com/poolproof/poolproof/internal/visible"
)

// SARIF writes a report for code scanning, in OASIS's "Static Analysis Results
// Interchange Format" 2.1.0. A finding whose file is known points at that file,
// and the others at the tree's manifest, because GitHub refuses a whole report
// for one result without a place in the repository.
func SARIF(w io.Writer, r hostile.Report, version string, tree Tree) error {
	r = shown(r)
	run := sarif.Run{ColumnKind: "unicodeCodePoints", Results: []sarif.Result{}}
	run.Tool.Driver = sarif.Driver{
		Name: "poolproof", Version: version, InformationURI: strings.TrimSuffix(pages, "prove/") + "prove.md",
	}
	index := map[hostile.Code]int{}
	for i, c := range hostile.Codes() {
		severity, title, consequence, fix := hostile.Describe(c)
		index[c] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarif.Rule{
			ID: string(c), ShortDescription: sarif.Text{Text: title}, FullDescription: sarif.Text{Text: sentence(consequence)},
			Help: sarif.Text{Text: "In production: " + sentence(consequence) + "\nFix: " + sentence(fix)}, HelpURI: Page(c),
			DefaultConfiguration: sarif.Configuration{Level: string(severity)},
		})
	}
	for _, f := range r.Findings {
		run.Results = append(run.Results, sarifResultOf(f, index[f.Code], tree))
	}
	if s := leftOut(r); s != "" {
		run.Invocations = []sarif.Invocation{{Successful: true, Notifications: []sarif.Notification{{Level: "warning", Message: sarif.Text{Text: s}}}}}
	}
	return sarif.Write(w, run)
}

func sarifResultOf(f hostile.Finding, rule int, tree Tree) sarif.Result {
	text := sentence(headline(f)) + " " + sentence("In production: "+f.Consequence) + " " + sentence("Fix: "+f.Fix)
	file, line := f.First.File, max(f.First.Line, 1)
	if file == "" && tree.Manifest != "" {
		file, line = tree.Manifest, 1
		text += " Where in the source is not known; " + visible.Line(filepath.Base(file)) + " stands for the program."
	}
	if f.First.SQL != "" {
		text += " SQL: " + short(f.First.SQL, 300)
	}
	res := sarif.Result{
		RuleID: string(f.Code), RuleIndex: rule, Level: string(f.Severity), Message: sarif.Text{Text: text}, OccurrenceCount: max(f.Count, 1),
		PartialFingerprints: map[string]string{"poolproofSubject/v1": string(f.Code) + " " + f.Subject},
	}
	if f.Known {
		res.Suppressions = []sarif.Suppression{{Kind: "external", Justification: "in the baseline"}}
	}
	if file != "" {
		l := sarif.Location{}
		l.Physical.Artifact = artifact(tree.inRepository(file))
		l.Physical.Region = sarif.Region{StartLine: line}
		res.Locations = []sarif.Location{l}
	}
	return res
}

// artifact returns a file as a URI reference (RFC 3986), relative to the
// repository if it is in it. Only unreserved characters stay as they are, so
// that no part of a name is taken for a scheme, a query or a fragment.
func artifact(file string) sarif.Artifact {
	var b strings.Builder
	for _, c := range []byte(filepath.ToSlash(file)) {
		if c == '/' || c == '@' || c == '-' || c == '.' || c == '_' || c == '~' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if filepath.IsAbs(file) {
		return sarif.Artifact{URI: "file:///" + strings.TrimPrefix(b.String(), "/")}
	}
	return sarif.Artifact{URI: strings.TrimPrefix(b.String(), "./"), BaseID: "%SRCROOT%"}
}

// sentence begins a text with a capital and ends it with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

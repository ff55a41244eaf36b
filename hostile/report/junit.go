package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/visible"
)

// JUnit writes a report as the XML that CI services read as a list of tests. A
// finding is a test that failed, and a known one a test that was skipped. A
// code that was not found is a test that passed, unless nobody connected: then
// it was skipped. command is nil if the report is not of a program that was
// run.
func JUnit(w io.Writer, r hostile.Report, command *Command) error {
	r = shown(r)
	suite := junitSuite{Name: "poolproof " + r.Profile}
	byCode := map[hostile.Code]bool{}
	for _, f := range r.Findings {
		byCode[f.Code] = true
		c := junitCase{Class: "poolproof." + string(f.Code), Name: string(f.Code) + " " + headline(f), File: visible.Line(f.First.File), Line: f.First.Line}
		if f.Known {
			c.Skipped = &junitMessage{Message: "known from the baseline"}
			suite.Skipped++
		} else {
			c.Failure = &junitMessage{Message: headline(f), Type: string(f.Severity), Text: details(f)}
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, c)
	}
	for _, code := range hostile.Codes() {
		if !byCode[code] {
			_, title, _, _ := hostile.Describe(code)
			c := junitCase{Class: "poolproof." + string(code), Name: string(code) + " no " + title}
			if r.Clients == 0 {
				c.Skipped = &junitMessage{Message: "nobody connected"}
				suite.Skipped++
			}
			suite.Cases = append(suite.Cases, c)
		}
	}
	suite.Tests = len(suite.Cases)
	suite.Out = strings.TrimSpace("Seen: " + seen(r) + ". " + advice(r, command) + " " + ended(r, command) + " " + leftOut(r))
	all := junitSuites{Name: "poolproof", Tests: suite.Tests, Failures: suite.Failures, Suites: []junitSuite{suite}}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write the report as JUnit XML: %w", err)
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return fmt.Errorf("write the report as JUnit XML: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("write the report as JUnit XML: %w", err)
	}
	return nil
}

// details is all that a person needs to know of a finding, as text.
func details(f hostile.Finding) string {
	var b strings.Builder
	line := func(label, s string) {
		if s != "" {
			fmt.Fprintf(&b, "%s: %s\n", label, s)
		}
	}
	line("in production", f.Consequence)
	line("fix", f.Fix)
	line("seen", times(f.Count))
	line("where", place(f.First))
	line("client", who(f.First.Client))
	line("tags", tags(f.First))
	line("sql", short(f.First.SQL, 2000))
	line("more", Page(f.Code))
	return b.String()
}

type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
		Out      string      `xml:"system-out"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Failure *junitMessage `xml:"failure"`
		Skipped *junitMessage `xml:"skipped"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poolproof/poolproof/hostile"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"headline": headline, "place": place, "who": who, "tags": tags, "times": times, "page": Page, "timeline": timelineOf, "flush": flushLeft,
	"join": func(s []string) string { return strings.Join(s, ", ") },
}).Parse(pageHTML))

// HTML writes a report as one page that needs nothing else. It has no script,
// and its Content-Security-Policy allows only its own style. command is nil if
// the report is not of a program that was run.
func HTML(w io.Writer, r hostile.Report, command *Command) error {
	r = shown(r)
	sum := sha256.Sum256([]byte(pageCSS))
	errors, warnings, known := tally(r)
	err := page.Execute(w, struct {
		hostile.Report
		Errors, Warnings, Known      int
		Verdict, Seen, Ended, Advice string
		More                         string
		Policy                       string
		Style                        template.CSS
	}{
		r, errors, warnings, known, verdict(r), seen(r), ended(r, command), advice(r, command), leftOut(r),
		"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		template.CSS(pageCSS), //nolint:gosec // our own file
	})
	if err != nil {
		return fmt.Errorf("write the report as HTML: %w", err)
	}
	return nil
}

// flushLeft returns a text without the margin that it has in its program's
// source.
func flushLeft(sql string) string {
	lines := strings.Split(strings.TrimSpace(sql), "\n")
	margin := -1
	for _, l := range lines[1:] { // the first has none any more
		if text := strings.TrimLeft(l, " \t"); text != "" && (margin < 0 || len(l)-len(text) < margin) {
			margin = len(l) - len(text)
		}
	}
	first, _, _ := strings.Cut(strings.TrimLeft(sql, "\r\n"), "\n")
	if own := len(first) - len(strings.TrimLeft(first, " \t")); own > 0 {
		margin = min(margin, own)
	}
	for i, l := range lines[1:] {
		lines[i+1] = l[min(max(margin, 0), len(l)-len(strings.TrimLeft(l, " \t"))):]
	}
	return strings.Join(lines, "\n")
}

// timeline is what led to a finding: a column for each server connection, a row
// for each message.
type timeline struct {
	Servers []int
	Rows    []timelineRow
}

type timelineRow struct {
	At     string // since the timeline's first message
	Client uint32
	Hue    string   // the client's, one of eight
	Cells  []string // one of them holds what was said
	Server int
}

func timelineOf(o hostile.Occurrence) timeline {
	var t timeline
	for _, s := range o.Trace {
		if !slices.Contains(t.Servers, s.Server) {
			t.Servers = append(t.Servers, s.Server)
		}
	}
	for _, s := range o.Trace {
		row := timelineRow{
			At: (s.At - o.Trace[0].At).Round(10 * time.Microsecond).String(), Client: s.Client, Hue: "client" + strconv.Itoa(int(s.Client%8)),
			Cells: make([]string, len(t.Servers)), Server: s.Server,
		}
		row.Cells[slices.Index(t.Servers, s.Server)] = s.What
		t.Rows = append(t.Rows, row)
	}
	return t
}

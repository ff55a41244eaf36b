package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/sarif"
	"github.com/poolproof/poolproof/internal/visible"
)

// sample is a report with everything in it that a form must survive.
func sample() hostile.Report {
	finding := func(c hostile.Code, subject string, n int, o hostile.Occurrence) hostile.Finding {
		severity, title, consequence, fix := hostile.Describe(c)
		return hostile.Finding{Code: c, Severity: severity, Title: title, Subject: subject, Count: n, First: o, Consequence: consequence, Fix: fix}
	}
	return hostile.Report{
		Profile: "strict", Clients: 3, Transactions: 12, Statements: 4,
		Findings: []hostile.Finding{
			finding(hostile.ForeignUnnamed, "", 2, hostile.Occurrence{
				SQL: "select '<script>alert(1)</script>' as \"a|b\", $1\n\tfrom t -- \x01 é", Types: []string{"int4", "text"},
				Client: hostile.Client{ID: 2, ApplicationName: "shop & co", Driver: "lib/pq"}, File: "app/my db.py", Line: 12,
				Tags: map[string]string{"route": "/orders", "action": "index"},
				Trace: []hostile.Step{
					{At: 3 * time.Millisecond, Client: 2, Server: 5, What: "Parse unnamed: select <1>"},
					{At: 4 * time.Millisecond, Client: 2, Server: 7, What: "Bind unnamed"},
				},
			}),
			finding(hostile.SessionSetting, "app.tenant", 1, hostile.Occurrence{SQL: "set app.tenant = 'x'", File: "/opt/elsewhere/db.py", Line: 3}),
			finding(hostile.SessionSetting, "search_path", 1, hostile.Occurrence{SQL: "set search_path = x"}),
			finding(hostile.IdleInTransaction, "", 1, hostile.Occurrence{}),
		},
		Notes: []hostile.Note{{Subject: "startup parameter extra_float_digits", Count: 3, Text: "the driver sends it always"}},
	}
}

// marked is sample with one finding that the baseline knows.
func marked(t *testing.T) hostile.Report {
	t.Helper()
	r := sample()
	b := Baseline{Known: []Known{{hostile.SessionSetting, "search_path"}}}
	if n := b.Mark(&r); n != 3 {
		t.Fatalf("%d findings are not in the baseline, want 3", n)
	}
	return r
}

func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("there is no %q in:\n%s", w, text)
		}
	}
}

func TestText(t *testing.T) {
	r := marked(t)
	plain := written(t, func(w io.Writer) error { return Text(w, r, nil, false) })
	contains(t, plain, "✗ PP001 unnamed statement", "app/my db.py:12", "(shop & co, lib/pq)", "action=index route=/orders",
		"app.tenant, once", "! PP014", "Known from the baseline", "PP004 setting left on the server connection: search_path",
		"2 errors, 1 warning, 1 known", "3 connections, 12 transactions, 4 different statements", "docs/prove/PP001.md")
	if strings.Count(plain, "inherits it") != 1 {
		t.Errorf("a code is explained more than once:\n%s", plain)
	}
	for line := range strings.Lines(plain) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > width {
			t.Errorf("a line of %d characters: %s", n, line)
		}
	}
	if strings.Contains(plain, "\x1b") {
		t.Error("there are colours")
	}
	coloured := written(t, func(w io.Writer) error { return Text(w, r, nil, true) })
	contains(t, coloured, "\x1b[31;1m✗ PP001\x1b[0m", "\x1b[33;1m! PP014\x1b[0m")
}

// Every form says it when a run proves nothing, or less than it could.
func TestJudgedLess(t *testing.T) {
	nobody, observed := hostile.Report{Profile: "strict"}, sample()
	observed.Profile = "strict, observing"
	fine := hostile.Report{Profile: "strict", Clients: 1}
	plain, full, besieged := fine, fine, fine
	plain.Profile, full.LeftOut, besieged.Refused = "plain", map[hostile.Code]int{hostile.SessionSetting: 7}, 9
	for name, form := range map[string]func(io.Writer, hostile.Report, *Command) error{
		"text": func(w io.Writer, r hostile.Report, c *Command) error { return Text(w, r, c, false) }, "HTML": HTML, "Markdown": Markdown, "JUnit": JUnit,
	} {
		say := func(r hostile.Report, c *Command) string {
			return strings.Join(strings.Fields(written(t, func(w io.Writer) error { return form(w, r, c) })), " ")
		}
		for what, tc := range map[string]struct {
			says       string
			want, less []string
		}{
			"nobody":           {say(nobody, &Command{}), []string{"obody connected", "DATABASE_URL"}, []string{"othing found", "othing was found", "race detector", "ended with"}},
			"nobody, standing": {say(nobody, nil), []string{"obody connected", "this pooler"}, []string{"DATABASE_URL", "race detector"}},
			"failed":           {say(sample(), &Command{Exit: 3}), []string{"The program ended with exit status 3.", "with --observe"}, nil},
			"failed, observed": {say(observed, &Command{Exit: 3}), []string{"The program ended with exit status 3.", "Nothing was broken for it"}, []string{"--observe", "--as plain"}},
			"failed, fine":     {say(fine, &Command{Exit: 3}), []string{"The program ended with exit status 3.", "only under prove", "prove --as plain"}, []string{"--observe"}},
			"failed, plain":    {say(plain, &Command{Exit: 3}), []string{"The program ended with exit status 3.", "plays no tricks"}, []string{"--observe", "--as plain"}},
			"private":          {say(fine, &Command{PrivateServer: true}), []string{"private, empty PostgreSQL", "neither --upstream nor DATABASE_URL"}, []string{"ended with"}},
			"fine":             {say(fine, &Command{}), []string{"race detector"}, []string{"ended with", "obody connected", "private", "eft out", "not judged"}},
			"left out":         {say(full, &Command{}), []string{"PP004 7 times", "keeps 100 findings"}, nil},
			"refused":          {say(besieged, nil), []string{"9 connections ended before the password was right"}, nil},
		} {
			contains(t, tc.says, tc.want...)
			for _, bad := range tc.less {
				if strings.Contains(tc.says, bad) {
					t.Errorf("%s, %s: it says %q:\n%s", name, what, bad, tc.says)
				}
			}
		}
	}
	var all junitSuites
	if err := xml.Unmarshal([]byte(written(t, func(w io.Writer) error { return JUnit(w, nobody, nil) })), &all); err != nil {
		t.Fatal(err)
	}
	if s := all.Suites[0]; s.Skipped != len(hostile.Codes()) || s.Tests != s.Skipped {
		t.Errorf("tests that were not run passed: %+v", s)
	}
}

// The contract that scripts rely on (DESIGN).
func TestJSON(t *testing.T) {
	text := written(t, func(w io.Writer) error { return JSON(w, marked(t), &Command{Exit: 3}) })
	var got struct {
		Findings []struct {
			Code, Severity, Title, Consequence, Fix, Page string
			Count                                         int
			Known                                         bool
			First                                         struct {
				SQL    string
				Client struct {
					ApplicationName string `json:"application_name"`
					Driver          string
				}
			}
		}
		Notes                 []any
		Clients, Transactions int
		Command               *struct{ Exit int }
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	f := got.Findings[0]
	if len(got.Findings) != 4 || len(got.Notes) != 1 || got.Clients != 3 || got.Transactions != 12 || got.Command.Exit != 3 ||
		f.Code != "PP001" || f.Severity != "error" || f.Count != 2 || f.First.Client.Driver != "lib/pq" || f.First.Client.ApplicationName != "shop & co" ||
		f.Title == "" || f.Consequence == "" || f.Fix == "" || f.Page != Page("PP001") || f.Known || !got.Findings[2].Known {
		t.Errorf("%+v", got)
	}
	without := written(t, func(w io.Writer) error {
		return JSON(w, hostile.Report{Findings: []hostile.Finding{}, Notes: []hostile.Note{}}, nil)
	})
	contains(t, without, `"findings": []`, `"notes": []`)
	if strings.Contains(without, `"command"`) {
		t.Error("a command that was not run has an exit status")
	}
}

// What the format's specification asks of the parts that are used.
func TestSARIF(t *testing.T) {
	text := written(t, func(w io.Writer) error { return SARIF(w, marked(t), "1.2.3", Tree{}) })
	var log sarif.Log
	if err := json.Unmarshal([]byte(text), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || !strings.HasSuffix(log.Schema, "sarif-schema-2.1.0.json") || len(log.Runs) != 1 {
		t.Fatalf("%+v", log)
	}
	run := log.Runs[0]
	if d := run.Tool.Driver; d.Name != "poolproof" || d.Version != "1.2.3" || len(d.Rules) != len(hostile.Codes()) {
		t.Errorf("%+v", d)
	}
	for _, rule := range run.Tool.Driver.Rules {
		if !strings.HasPrefix(rule.HelpURI, "https://") || !strings.HasSuffix(rule.HelpURI, "/docs/prove/"+rule.ID+".md") ||
			rule.ShortDescription.Text == "" || rule.Help.Text == "" || !slices.Contains([]string{"error", "warning"}, rule.DefaultConfiguration.Level) {
			t.Errorf("%+v", rule)
		}
	}
	if len(run.Results) != 4 {
		t.Fatalf("%d results", len(run.Results))
	}
	for _, res := range run.Results {
		if run.Tool.Driver.Rules[res.RuleIndex].ID != res.RuleID || res.Message.Text == "" || res.OccurrenceCount < 1 || res.PartialFingerprints["poolproofSubject/v1"] == "" {
			t.Errorf("%+v", res)
		}
	}
	in, outside := run.Results[0].Locations[0].Physical, run.Results[1].Locations[0].Physical
	if in.Artifact != (sarif.Artifact{URI: "app/my%20db.py", BaseID: "%SRCROOT%"}) || in.Region.StartLine != 12 || outside.Artifact != (sarif.Artifact{URI: "file:///opt/elsewhere/db.py", BaseID: ""}) {
		t.Errorf("%+v, %+v", in, outside)
	}
	if len(run.Results[2].Suppressions) != 1 || len(run.Results[2].Locations) != 0 || len(run.Results[0].Suppressions) != 0 {
		t.Errorf("%+v", run.Results[2])
	}
}

// A service that wants a place in the repository for each result gets one.
func TestSARIFInATree(t *testing.T) {
	root := t.TempDir()
	web := filepath.Join(root, "services", "web")
	for _, dir := range []string{filepath.Join(root, ".git"), web, filepath.Join(web, "tests"), filepath.Join(root, "go.mod") /* no file */} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const workflow = "owner/name/.github/workflows/ci.yml@refs/heads/main"
	if got := FindTree(web, workflow); got.Manifest != filepath.Join(root, ".github", "workflows", "ci.yml") || got.Root != root {
		t.Errorf("%+v", got)
	}
	if got := FindTree(web, ""); got.Manifest != "" {
		t.Errorf("%+v", got)
	}
	outside := t.TempDir()
	for _, file := range []string{filepath.Join(root, "Gemfile"), filepath.Join(web, "package.json"), filepath.Join(outside, "pom.xml")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := FindTree(filepath.Join(root, "services"), workflow); got.Manifest != filepath.Join(root, "Gemfile") {
		t.Errorf("%+v", got)
	}
	if got := FindTree(outside, ""); got.Manifest != filepath.Join(outside, "pom.xml") || got.Root != outside {
		t.Errorf("%+v", got)
	}
	r := sample()
	r.Findings[1].First.File = filepath.Join(root, "lib", "db.py")
	text := written(t, func(w io.Writer) error { return SARIF(w, r, "", FindTree(filepath.Join(web, "tests"), workflow)) })
	var log sarif.Log
	if err := json.Unmarshal([]byte(text), &log); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		uri  string
		line int
	}{{"services/web/tests/app/my%20db.py", 12}, {"lib/db.py", 3}, {"services/web/package.json", 1}, {"services/web/package.json", 1}} {
		res := log.Runs[0].Results[i]
		if len(res.Locations) != 1 || res.Locations[0].Physical.Artifact != (sarif.Artifact{URI: want.uri, BaseID: "%SRCROOT%"}) || res.Locations[0].Physical.Region.StartLine != want.line {
			t.Errorf("result %d is at %+v, want %+v", i, res.Locations, want)
		}
		if named := strings.Contains(res.Message.Text, "package.json stands for the program"); named != (i > 1) {
			t.Errorf("result %d: %s", i, res.Message.Text)
		}
	}
}

func TestJUnit(t *testing.T) {
	text := written(t, func(w io.Writer) error { return JUnit(w, marked(t), nil) })
	var all junitSuites
	if err := xml.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	suite := all.Suites[0]
	failed, skipped, passed := 0, 0, 0
	for _, c := range suite.Cases {
		switch {
		case c.Failure != nil:
			failed++
			if c.Failure.Message == "" || !strings.Contains(c.Failure.Text, "fix: ") {
				t.Errorf("%+v", c.Failure)
			}
		case c.Skipped != nil:
			skipped++
		default:
			passed++
		}
	}
	// Three codes were found, one of them twice.
	if failed != 3 || skipped != 1 || passed != len(hostile.Codes())-3 || suite.Failures != 3 || suite.Skipped != 1 || suite.Tests != len(suite.Cases) || all.Tests != suite.Tests {
		t.Errorf("%d failed, %d skipped, %d passed; %+v", failed, skipped, passed, suite)
	}
}

func TestMarkdown(t *testing.T) {
	text := written(t, func(w io.Writer) error { return Markdown(w, marked(t), nil) })
	contains(t, text, "### poolproof (strict): 2 errors, 1 warning, 1 known", "| [PP001](https://", "`app/my db.py:12`", "(known)")
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| [") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 5 {
			t.Errorf("a row that is none: %s", line)
		}
	}
}

// What programs and strangers say is shown in every form so that it can be seen:
// no control character and none that turns text around is left.
func TestVisible(t *testing.T) {
	const nasty = "\x1b]52;c;eA==\a\x1b[2J\u009b31m\u202e\x7f\xff"
	r := sample()
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Subject, f.More = nasty, []string{"two\nlines " + nasty}
		f.First = hostile.Occurrence{
			SQL: "select '" + nasty + "'", Types: []string{nasty}, Client: hostile.Client{ApplicationName: nasty, Driver: nasty}, Tags: map[string]string{nasty: nasty},
			File: "app/" + nasty, Line: 1, Trace: []hostile.Step{{What: nasty}},
		}
	}
	r.Notes = []hostile.Note{{Subject: nasty, Text: nasty, Count: 1}}
	file := filepath.Join(t.TempDir(), "baseline")
	if err := WriteBaseline(file, r); err != nil {
		t.Fatal(err)
	}
	baseline, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{"baseline": string(baseline)}
	for name, write := range map[string]func(io.Writer) error{
		"text":     func(w io.Writer) error { return Text(w, r, &Command{}, false) },
		"markdown": func(w io.Writer) error { return Markdown(w, r, &Command{}) },
		"JUnit":    func(w io.Writer) error { return JUnit(w, r, &Command{}) },
		"HTML":     func(w io.Writer) error { return HTML(w, r, &Command{}) },
		"JSON":     func(w io.Writer) error { return JSON(w, r, &Command{}) },
		"SARIF":    func(w io.Writer) error { return SARIF(w, r, "", Tree{}) },
	} {
		forms[name] = written(t, write)
	}
	for name, text := range forms {
		if visible.Text(text) != text {
			t.Errorf("%s: a terminal obeys %q", name, text)
		}
		if !strings.Contains(text, "52;c;eA==") {
			t.Errorf("%s says nothing of it: %s", name, text)
		}
	}
	if err := xml.Unmarshal([]byte(forms["JUnit"]), new(junitSuites)); err != nil || strings.Contains(forms["JUnit"], "\ufffd") {
		t.Errorf("JUnit: %v: %s", err, forms["JUnit"])
	}
	if b, err := ReadBaseline(file); err != nil || b.Mark(&r) != 0 && utf8.ValidString(nasty) {
		t.Errorf("the baseline does not know its own findings: %v %v", b, err)
	}
	if r.Findings[0].Subject != nasty || r.Findings[0].First.Trace[0].What != nasty {
		t.Errorf("the report itself was changed: %+v", r.Findings[0])
	}
}

// Names of files are URI references that say the same name to whoever reads
// them: no scheme, query or fragment of its own (RFC 3986).
func TestSARIFNames(t *testing.T) {
	for file, want := range map[string]string{
		"a:b": "a%3Ab", "c:/d": "c%3A/d", "my db.py": "my%20db.py", "a#b?c%d": "a%23b%3Fc%25d", `a\b`: "a%5Cb", "\xff\x1b": "%FF%1B", "größe": "gr%C3%B6%C3%9Fe",
		"./x/@scope/y-1.2_3~.js": "x/@scope/y-1.2_3~.js", "-": "-", "a//b": "a//b", "/opt/a:b c": "file:///opt/a%3Ab%20c", "[x]": "%5Bx%5D", "a+b": "a%2Bb", "http:x": "http%3Ax",
	} {
		got := artifact(file)
		if got.URI != want || (got.BaseID == "") != strings.HasPrefix(file, "/") {
			t.Errorf("%q is %+v, want %s", file, got, want)
		}
		u, err := url.Parse(got.URI)
		if err != nil || u.Path != strings.TrimPrefix(file, "./") || u.RawQuery != "" || u.Fragment != "" || u.Scheme != strings.Repeat("file", strings.Count(file[:1], "/")) {
			t.Errorf("%q is read as %+v, %v", file, u, err)
		}
	}
}

func TestBaseline(t *testing.T) {
	file := filepath.Join(t.TempDir(), "baseline.json")
	if err := WriteBaseline(file, sample()); err != nil {
		t.Fatal(err)
	}
	b, err := ReadBaseline(file)
	if err != nil {
		t.Fatal(err)
	}
	r := sample()
	if n := b.Mark(&r); n != 0 {
		t.Errorf("%d findings are new", n)
	}
	r.Findings = append(r.Findings, hostile.Finding{Code: hostile.SessionSetting, Subject: "work_mem"})
	if n := b.Mark(&r); n != 1 || r.Findings[4].Known {
		t.Errorf("%d findings are new, want 1", n)
	}
	if b, err := ReadBaseline(filepath.Join(t.TempDir(), "none")); err != nil || len(b.Known) != 0 {
		t.Errorf("a baseline that is not there: %v %v", b, err)
	}
}

package report

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/visible"
)

// pages is where the codes are explained.
const pages = "https://github.com/poolproof/poolproof/blob/main/docs/prove/"

// Page returns the URL of a code's page: what happens in production, how to see
// it, and the fix for each driver.
func Page(c hostile.Code) string { return pages + string(c) + ".md" }

// Command is how the program under test ended, and what it ran on.
type Command struct {
	Exit          int  `json:"exit"`
	PrivateServer bool `json:"private_server,omitempty"` // an empty one, started for the run because none was named

	Service   bool      `json:"service,omitempty"` // it does not end by itself; then the rest is known
	Stopped   bool      `json:"stopped,omitempty"` // it had run for long enough
	Connected []Process `json:"connected,omitempty"`
	Silent    []Process `json:"not_connected,omitempty"`       // processes that it started and that lived for a second
	Unknown   int       `json:"unknown_connections,omitempty"` // connections whose process was not found
}

// Process is a process of the program, or one that knew the run's password.
type Process struct {
	PID         int    `json:"pid"`
	Command     string `json:"command"` // its command line, shortened
	Connections int    `json:"connections,omitempty"`
}

// processes says, line by line, who connected and who did not.
func processes(c *Command) (lines []string) {
	if c == nil || !c.Service {
		return nil
	}
	if c.Stopped {
		lines = append(lines, "The program was stopped, so its exit status does not count.")
	}
	say := func(title string, all []Process) {
		const most = 10
		for i, p := range all {
			if i == 0 {
				lines = append(lines, title)
			}
			if i == most {
				lines = append(lines, fmt.Sprintf("  and %d more", len(all)-most))
				break
			}
			line := fmt.Sprintf("  %d %s", p.PID, visible.Line(p.Command))
			if p.Connections > 0 {
				line += " (" + count(p.Connections, "connection") + ")"
			}
			lines = append(lines, line)
		}
	}
	say("Connected with the run's password:", c.Connected)
	if c.Unknown > 0 {
		lines = append(lines, "  and "+count(c.Unknown, "connection")+" whose process is not to be seen: in a container, another user's, or gone")
	}
	say("Started, and did not connect:", c.Silent)
	return lines
}

// ended says that the server was a private one, and for a program that failed,
// how much of it was judged and how to find out whether it fails by itself. It
// returns "" if there is nothing of that to say.
func ended(r hostile.Report, c *Command) string {
	if c == nil {
		return ""
	}
	var all []string
	if c.PrivateServer {
		all = append(all, "The server was a private, empty PostgreSQL, because neither --upstream nor DATABASE_URL names one.")
	}
	if c.Exit == 0 {
		return strings.Join(all, " ")
	}
	all = append(all, fmt.Sprintf("The program ended with exit status %d.", c.Exit))
	switch {
	case strings.HasPrefix(r.Profile, "plain"):
		all = append(all, "This pooler plays no tricks. What fails here also fails behind an ordinary pooler, unless the address, the password or the server is the cause.")
	case strings.HasSuffix(r.Profile, "observing"):
		all = append(all, "Nothing was broken for it. It fails by itself, unless the address, the password or the server is the cause.")
	default:
		if r.Clients > 0 && len(r.Findings) > 0 {
			all = append(all, "What a failure kept it from doing was not judged: with --observe nothing is broken, and the whole run is judged.")
		}
		all = append(all, "Does it fail only under prove? Compare with prove --as plain: a program reaches it in the same way, and it plays no tricks.")
	}
	return strings.Join(all, " ")
}

// leftOut says what the report does not hold, or returns "".
func leftOut(r hostile.Report) string {
	var parts []string
	for _, c := range slices.Sorted(maps.Keys(r.LeftOut)) {
		parts = append(parts, string(c)+" "+times(r.LeftOut[c]))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("Left out, with subjects other than those above: %s. A report keeps %d findings of a code, and a limited amount of text.",
		strings.Join(parts, ", "), hostile.MaxFindings)
}

// shown is a report for people: every character of what programs sent can be
// seen. Names of files stay as they are (see place).
func shown(r hostile.Report) hostile.Report {
	r.Findings, r.Notes = slices.Clone(r.Findings), slices.Clone(r.Notes)
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Subject, f.More = visible.Line(f.Subject), each(f.More, visible.Text)
		o := &f.First
		o.SQL, o.Types = visible.Text(o.SQL), each(o.Types, visible.Line)
		o.Client.ApplicationName, o.Client.Driver = visible.Line(o.Client.ApplicationName), visible.Line(o.Client.Driver)
		tags := map[string]string{}
		for k, v := range o.Tags {
			tags[visible.Line(k)] = visible.Line(v)
		}
		o.Tags, o.Trace = tags, slices.Clone(o.Trace)
		for j := range o.Trace {
			o.Trace[j].What = visible.Line(o.Trace[j].What)
		}
	}
	for i := range r.Notes {
		r.Notes[i].Subject, r.Notes[i].Text = visible.Line(r.Notes[i].Subject), visible.Line(r.Notes[i].Text)
	}
	return r
}

// each applies f to all.
func each(all []string, f func(string) string) []string {
	var out []string
	for _, s := range all {
		out = append(out, f(s))
	}
	return out
}

// advice says what to conclude from how much was exercised.
func advice(r hostile.Report, c *Command) string {
	switch {
	case r.Clients > 0:
		return "Like a race detector, it judges only what ran."
	case c == nil:
		return "Do the clients use this pooler's address?"
	default:
		return "Does the program read DATABASE_URL or PG*? If it reads something else: --env NAME=TEMPLATE."
	}
}

// tally counts findings by what they mean for the run.
func tally(r hostile.Report) (errors, warnings, known int) {
	for _, f := range r.Findings {
		switch {
		case f.Known:
			known++
		case f.Severity == hostile.Error:
			errors++
		default:
			warnings++
		}
	}
	return errors, warnings, known
}

// verdict is tally in words.
func verdict(r hostile.Report) string {
	errors, warnings, known := tally(r)
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{errors, "error"}, {warnings, "warning"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n, p.what))
		}
	}
	if len(parts) == 0 && r.Clients == 0 {
		parts = []string{"nobody connected, so nothing was judged"}
	} else if len(parts) == 0 {
		parts = []string{"nothing found"}
	}
	if known > 0 {
		parts = append(parts, fmt.Sprintf("%d known", known))
	}
	if len(r.LeftOut) > 0 {
		parts = append(parts, "more left out")
	}
	return strings.Join(parts, ", ")
}

// seen says how much was exercised.
func seen(r hostile.Report) string {
	s := count(r.Clients, "connection") + ", " + count(r.Transactions, "transaction") + ", " + count(r.Statements, "different statement")
	if r.Refused > 0 {
		s += "; " + count(r.Refused, "connection") + " ended before the password was right, and " + map[bool]string{true: "was", false: "were"}[r.Refused == 1] + " not judged"
	}
	return s
}

// headline is a finding in one line: "setting left on the server connection:
// app.tenant".
func headline(f hostile.Finding) string {
	if f.Subject == "" {
		return f.Title
	}
	return f.Title + ": " + f.Subject
}

// place is where the statement is in the program's source: "app/db.py:12", or
// "".
func place(o hostile.Occurrence) string {
	if o.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", visible.Line(filepath.ToSlash(o.File)), o.Line)
}

// who describes a client in a few words.
func who(c hostile.Client) string {
	names := slices.DeleteFunc([]string{c.ApplicationName, c.Driver}, func(s string) bool { return s == "" })
	return strings.Join(slices.Compact(names), ", ")
}

// tags returns sqlcommenter's tags in a stable order: "action=index
// route=/orders".
func tags(o hostile.Occurrence) string {
	all := make([]string, 0, len(o.Tags))
	for k, v := range o.Tags {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// short returns a text in one line of at most so many characters.
func short(sql string, most int) string {
	sql = strings.Join(strings.Fields(sql), " ")
	if r := []rune(sql); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return sql
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

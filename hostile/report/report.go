package report

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/hostile"
)

// pages is where the codes are explained.
const pages = "https://github.com/poolproof/poolproof/blob/main/docs/prove/"

// Page is the address of a code's page: what happens in production, how to see
// it, and the fix for each driver.
func Page(c hostile.Code) string { return pages + string(c) + ".md" }

// Command is how the program under test ended, and what it ran on.
type Command struct {
	Exit          int  `json:"exit"`
	PrivateServer bool `json:"private_server,omitempty"` // an empty one, started for the run because none was named
}

// ended says of a program that failed how much of it was judged; "" of one that
// did not, or where none was run.
func ended(r hostile.Report, c *Command) string {
	if c == nil || c.Exit == 0 {
		return ""
	}
	s := fmt.Sprintf("The program ended with exit status %d.", c.Exit)
	if r.Clients > 0 && len(r.Findings) > 0 && !strings.HasSuffix(r.Profile, "observing") {
		s += " What a failure kept it from doing was not judged: with --observe nothing is broken, and the whole run is."
	}
	return s
}

// advice says what to think of what was exercised.
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
	return strings.Join(parts, ", ")
}

// seen says what was exercised.
func seen(r hostile.Report) string {
	return count(r.Clients, "connection") + ", " + count(r.Transactions, "transaction") + ", " + count(r.Statements, "different statement")
}

// headline is a finding in one line: "setting left on the server connection: app.tenant".
func headline(f hostile.Finding) string {
	if f.Subject == "" {
		return f.Title
	}
	return f.Title + ": " + f.Subject
}

// place is where in its source the program said it: "app/db.py:12", or "".
func place(o hostile.Occurrence) string {
	if o.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", filepath.ToSlash(o.File), o.Line)
}

// who is a client in a few words.
func who(c hostile.Client) string {
	names := slices.DeleteFunc([]string{c.ApplicationName, c.Driver}, func(s string) bool { return s == "" })
	return strings.Join(slices.Compact(names), ", ")
}

// tags are sqlcommenter's, in a stable order: "action=index route=/orders".
func tags(o hostile.Occurrence) string {
	all := make([]string, 0, len(o.Tags))
	for k, v := range o.Tags {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// short is a text in one line of at most so many characters.
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

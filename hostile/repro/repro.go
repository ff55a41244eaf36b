package repro

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/report"
	"github.com/poolproof/poolproof/internal/visible"
)

//go:embed scripts
var scripts embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"py": python, "sql": func(s string) string { return within(literal(s)) }, "ident": func(s string) string { return within(identifier(s)) }, "cell": cell,
}).ParseFS(scripts, "scripts/*"))

// Server is the PostgreSQL server that the scripts' PgBouncer connects to. It
// has no password in it.
type Server struct {
	Host           string // a name, an address or a socket's folder
	Port           uint16
	User, Database string
}

// listen is the port of the scripts' PgBouncer. It is not 6432, because a
// PgBouncer may be running there.
const listen = 6433

// subject is what a script's template needs of its finding.
type subject struct {
	Subject   string // the finding's, or a stand-in
	Statement string // what client a says
	Value     string // of a startup parameter
	Key       string // of an advisory lock: a number, or two
}

// script is a line of the README.
type script struct {
	File, Page, Title, SQL string
	Code                   hostile.Code
}

// Write writes a script for each finding that the baseline does not know, and
// what the scripts need, to a folder. It makes the folder if it does not exist,
// and overwrites files of an earlier run that have the same names.
func Write(dir string, r hostile.Report, s Server) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for whoever the pooler runs as
		return fmt.Errorf("write the scripts: %w", err)
	}
	var all []script
	used := map[string]bool{}
	for _, f := range r.Findings {
		if f.Known {
			continue
		}
		name := fileName(f, used)
		text, err := scriptOf(f)
		if err == nil {
			err = write(dir, name, text)
		}
		if err != nil {
			return err
		}
		title := f.Title
		if f.Subject != "" {
			title += ": " + f.Subject
		}
		all = append(all, script{name, report.Page(f.Code), title, f.First.SQL, f.Code})
	}
	if len(all) == 0 {
		return nil
	}
	for _, file := range []struct {
		name string
		data any
	}{
		{"pgwire.py", nil},
		{"pgbouncer.ini", struct {
			Server
			Listen int
		}{s.quoted(), listen}},
		{"README.md", struct {
			Scripts []script
			URL     string
		}{all, fmt.Sprintf("postgres://repro@127.0.0.1:%d/repro", listen)}},
	} {
		text, err := fill(file.name, file.data)
		if err == nil {
			err = write(dir, file.name, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// quoted returns a value for PgBouncer's connection strings. Unless it is made
// of plain characters it is quoted, and quotes in it are doubled.
func (s Server) quoted() Server {
	plain := regexp.MustCompile(`^[A-Za-z0-9_./:-]+$`)
	q := func(v string) string {
		if plain.MatchString(v) {
			return v
		}
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	s.Host, s.User, s.Database = q(s.Host), q(s.User), q(s.Database)
	return s
}

func write(dir, name, text string) error {
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // for whoever runs them
		return fmt.Errorf("write the scripts: %w", err)
	}
	return nil
}

func fill(name string, data any) (string, error) {
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return b.String(), nil
}

// scriptOf returns a finding's script: what it shows, where the finding was
// seen, and the steps.
func scriptOf(f hostile.Finding) (string, error) {
	steps, err := fill(string(f.Code)+".py", subjectOf(f))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s %s\n# In production: %s.\n# Fix: %s.\n# %s\n", f.Code, oneLine(f.Title+" "+f.Subject), oneLine(f.Consequence), oneLine(f.Fix), report.Page(f.Code))
	if f.First.SQL != "" {
		b.WriteString("#\n# Seen with:\n")
		for line := range strings.SplitSeq(f.First.SQL, "\n") {
			b.WriteString("#     " + oneLine(line) + "\n")
		}
	}
	if f.First.File != "" {
		fmt.Fprintf(&b, "# in %s:%d\n", oneLine(f.First.File), f.First.Line)
	}
	b.WriteString("\nfrom pgwire import Client, ServerError, Unanswered, seen, stuck\n\n" + steps)
	return b.String(), nil
}

// Statements of the program that a script can repeat, because there is nothing
// in them but the fault.
var (
	plainSet   = regexp.MustCompile(`(?is)^\s*set\s+(session\s+)?[a-z_][a-z0-9_.]*\s*(=|\s+to\s+)[^;$(]*;?\s*$`)
	plainLocal = regexp.MustCompile(`(?is)^\s*set\s+local\s+([a-z_][a-z0-9_.]*)\s*(=|\s+to\s+)[^;$(]*;?\s*$`)
)

// plainKey is an advisory lock's key that a script can repeat: numbers, and none
// that is too long for one of two.
var plainKey = regexp.MustCompile(`^-?[0-9]{1,9}(, ?-?[0-9]{1,9})?$`)

// subjectOf returns what a script needs of a finding, with a stand-in where the
// finding has none.
func subjectOf(f hostile.Finding) subject {
	s := subject{Subject: f.Subject}
	orElse := func(name string) {
		if s.Subject == "" {
			s.Subject = name
		}
	}
	switch f.Code {
	case hostile.SessionSetting:
		orElse("app.tenant")
		s.Statement = anotherValue(s.Subject)
		if plainSet.MatchString(f.First.SQL) {
			s.Statement = f.First.SQL
		}
	case hostile.SessionRole:
		orElse("pg_read_all_data")
		s.Statement = "set role " + identifier(s.Subject)
	case hostile.TempTable:
		orElse("scratch")
	case hostile.HoldCursor:
		orElse("kept")
	case hostile.Listening:
		orElse("news")
	case hostile.SQLPrepared:
		orElse("p")
	case hostile.SettingNotSet:
		orElse("app.tenant")
	case hostile.SessionLock:
		s.Key = "42"
		if plainKey.MatchString(s.Subject) {
			s.Key = s.Subject
		}
	case hostile.StartupParameter:
		orElse("search_path")
		s.Value = map[string]string{"options": "-c search_path=public", "search_path": "public", "statement_timeout": "5000"}[s.Subject]
		if s.Value == "" {
			s.Value = "on"
		}
	case hostile.LocalOutside:
		s.Subject, s.Statement = "app.tenant", "set local app.tenant = 'x'"
		if m := plainLocal.FindStringSubmatch(f.First.SQL); m != nil {
			s.Subject, s.Statement = m[1], f.First.SQL
		}
	case hostile.HeldForGood:
		orElse("pipeline without its Sync")
	case hostile.ResetsOthers:
		s.Statement = "DISCARD ALL"
		if s.Subject == "RESET ALL" || s.Subject == "DEALLOCATE ALL" {
			s.Statement = s.Subject
		}
	}
	return s
}

// twoValues are two values of a string setting that takes no others than it
// knows. What is not listed takes any string.
var twoValues = map[string][2]string{
	"client_encoding":                  {"UTF8", "LATIN1"},
	"datestyle":                        {"SQL, DMY", "ISO, MDY"},
	"default_tablespace":               {"pg_default", ""},
	"default_text_search_config":       {"pg_catalog.simple", "pg_catalog.english"},
	"lc_messages":                      {"C", "POSIX"},
	"lc_monetary":                      {"C", "POSIX"},
	"lc_numeric":                       {"C", "POSIX"},
	"lc_time":                          {"C", "POSIX"},
	"restrict_nonsystem_relation_kind": {"view", ""},
	"temp_tablespaces":                 {"pg_default", ""},
	"timezone":                         {"Asia/Tokyo", "UTC"},
	"timezone_abbreviations":           {"India", "Default"},
	"wal_consistency_checking":         {"all", ""},
}

// anotherValue returns SQL that sets a setting to another value that it may
// have. A time differs by ten minutes: a limit of one millisecond would end
// the next statement before the setting is seen.
func anotherValue(name string) string {
	if strings.Contains(name, ".") {
		return "select set_config(" + literal(name) + ", 'of client a', false)"
	}
	values, known := twoValues[strings.ToLower(name)]
	if !known {
		values = [2]string{"of_client_a", ""}
	}
	return "select set_config(name, case vartype when 'bool' then case setting when 'on' then 'off' else 'on' end" +
		" when 'enum' then (select v from unnest(enumvals) v where v <> setting limit 1)" +
		" when 'string' then case setting when " + literal(values[0]) + " then " + literal(values[1]) + " else " + literal(values[0]) + " end" +
		" else (select v from unnest(array[setting::numeric + step, setting::numeric - step, min_val::numeric, max_val::numeric]) v" +
		" where v between min_val::numeric and max_val::numeric and v <> setting::numeric limit 1)::text end, false)" +
		" from pg_settings, lateral (select case unit when 'ms' then 600000 when 's' then 600 when 'min' then 10 else 1 end step) steps" +
		" where lower(name) = lower(" + literal(name) + ")"
}

// literal, identifier and python quote a string for SQL and for Python.
func literal(s string) string    { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
func python(s string) string     { return strconv.QuoteToASCII(s) }

// within returns a text for the inside of a Python string.
func within(s string) string {
	q := python(s)
	return q[1 : len(q)-1]
}

// cell returns a text that does not leave its cell of a table.
func cell(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(oneLine(s), "|", `\|`), "`", "'")
	if r := []rune(s); len(r) > 100 {
		s = string(r[:99]) + "…"
	}
	return s
}

// oneLine returns a text without line ends, without what may pass for one, and
// without anything that a terminal obeys.
func oneLine(s string) string {
	return visible.Line(strings.TrimSpace(strings.NewReplacer("\n", " ", "\r", " ", "\t", " ").Replace(s)))
}

var unsafe = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// fileName returns a script's name: the code, and the subject.
func fileName(f hostile.Finding, used map[string]bool) string {
	base := string(f.Code)
	if about := strings.Trim(unsafe.ReplaceAllString(f.Subject, "-"), "-."); about != "" {
		base += "-" + about[:min(len(about), 60)]
	}
	name := base + ".py"
	for n := 2; used[name]; n++ {
		name = fmt.Sprintf("%s-%d.py", base, n)
	}
	used[name] = true
	return name
}

package options

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/pooler"
)

// Problem is something wrong with a URL or an option.
type Problem struct {
	// ID names the kind of problem, "unknown-option"; it is stable.
	ID string `json:"id"`
	// Subject is the option, or the part of the URL.
	Subject string `json:"subject"`
	// Text says what is wrong and what follows, Hint what to write instead.
	Text string `json:"text"`
	Hint string `json:"hint"`
	// Source is where this is known from.
	Source string `json:"source"`
	// Fatal: the program does not start, or runs wrong. Otherwise it does nothing, or hurts a little.
	Fatal bool `json:"fatal"`
}

// Option is an option as it stands in code: server_side_binding=False.
type Option struct{ Name, Value string }

// ParseOption reads KEY=VALUE; without "=" the value is "".
func ParseOption(text string) Option {
	name, value, _ := strings.Cut(text, "=")
	return Option{strings.TrimSpace(name), strings.TrimSpace(value)}
}

// ParseDriver reads NAME[@VERSION]. Names are those of the packages; some others
// that people use are taken too: "node-postgres" is pg, "lib/pq" pq.
func ParseDriver(text string) (name, version string) {
	name, version, _ = strings.Cut(strings.ToLower(strings.TrimSpace(text)), "@")
	if known, ok := otherNames[name]; ok {
		name = known
	}
	return name, strings.TrimPrefix(version, "v")
}

var otherNames = map[string]string{
	"node-postgres": "pg", "postgres.js": "postgres", "lib/pq": "pq", "libpq": "psycopg2", "psycopg3": "psycopg", "psycopg2-binary": "psycopg2",
	"sqlx": "sqlx-postgres", "tokio": "tokio-postgres", "sqlalchemy+asyncpg": "sqlalchemy", "activerecord": "rails", "drizzle-orm": "drizzle", "@prisma/client": "prisma",
}

//go:embed known.json
var knownJSON []byte

// known has the option names, by driver and version.
var known = func() (k map[string]map[string][]string) {
	if err := json.Unmarshal(knownJSON, &k); err != nil {
		panic("doctor/options: known.json: " + err.Error()) // embedded, and tested
	}
	return k
}()

// Drivers returns the names of the drivers whose options are known.
func Drivers() []string { return slices.Sorted(maps.Keys(known)) }

// Versions returns the versions of a driver whose options are known, the oldest
// first.
func Versions(driver string) []string {
	return slices.SortedFunc(maps.Keys(known[driver]), pooler.CompareVersions)
}

// passesOn are drivers that send an option of another name to the server, as a
// setting for the log-in.
var passesOn = map[string]bool{"pgx": true, "pq": true}

// ignores are drivers that pass over an option of another name.
var ignores = map[string]bool{"pg": true, "postgres": true, "sqlx-postgres": true}

// CheckOptions returns what is wrong with the options of a driver. An empty
// version means its newest one that is known. A version between two known ones is
// held to the older of them, and an option that only the newer one has is said to
// be uncertain. For a driver that is not known there is one problem, which lists
// those that are.
func CheckOptions(driver, version string, options []Option) []Problem {
	versions := Versions(driver)
	if len(versions) == 0 {
		return []Problem{{ID: "unknown-driver", Subject: driver, Text: "the options of this driver are not known", Hint: "one of " + strings.Join(Drivers(), ", "), Source: collected}}
	}
	at, next := place(versions, version)
	var problems []Problem
	for _, o := range options {
		if p, ok := contradiction(driver, o); ok {
			problems = append(problems, p)
			continue
		}
		if slices.Contains(names(driver, at), o.Name) {
			continue
		}
		problems = append(problems, unknownOption(driver, cmpVersion(version, at), next, o))
	}
	return problems
}

const collected = "the driver's own package, read by scripts/driveroptions"

func cmpVersion(asked, at string) string {
	if asked == "" {
		return at
	}
	return asked
}

// names are the options of a driver. SQLAlchemy's asyncpg dialect passes on what
// it does not take for itself.
func names(driver, version string) []string {
	all := known[driver][version]
	if driver == "sqlalchemy" {
		newest := Versions("asyncpg")
		all = slices.Concat(all, known["asyncpg"][newest[len(newest)-1]])
	}
	return all
}

// place finds the version that counts, and the next newer one, "" if there is
// none. 0.27 is 0.27.0, and any patch of it.
func place(versions []string, asked string) (at, next string) {
	if asked == "" {
		return versions[len(versions)-1], ""
	}
	at = versions[0]
	for i, v := range versions {
		if pooler.CompareVersions(v, asked) <= 0 || strings.HasPrefix(v, asked+".") {
			at, next = v, ""
			if i+1 < len(versions) && v != asked && !strings.HasPrefix(v, asked+".") {
				next = versions[i+1]
			}
		}
	}
	return at, next
}

func unknownOption(driver, version, next string, o Option) Problem {
	p := Problem{
		ID: "unknown-option", Subject: o.Name, Source: collected, Fatal: true,
		Text: fmt.Sprintf("%s %s has no option %s: the program ends at its first connection", driver, version, o.Name),
		Hint: "take it out",
	}
	if passesOn[driver] {
		p.Text = fmt.Sprintf("%s %s has no option %s: it is sent to the server as a setting for the log-in, which PgBouncer refuses and Supavisor and Odyssey drop", driver, version, o.Name)
		p.Hint = "take it out, or set it for the role: alter role … set …"
	}
	if ignores[driver] {
		p.Text, p.Fatal = fmt.Sprintf("%s %s has no option %s: in code it does nothing", driver, version, o.Name), false
	}
	var later []string
	for _, v := range Versions(driver) {
		if pooler.CompareVersions(v, version) > 0 && slices.Contains(names(driver, v), o.Name) {
			later = append(later, v)
		}
	}
	var others []string
	for _, other := range Drivers() {
		vs := Versions(other)
		if other != driver && slices.Contains(known[other][vs[len(vs)-1]], o.Name) {
			others = append(others, other)
		}
	}
	nearest := near(o.Name, names(driver, cmpKnown(driver, version)))
	switch {
	case len(later) > 0 && later[0] == next:
		p.Hint = fmt.Sprintf("%s %s has it; whether %s has is not known", driver, next, version)
		p.Fatal = false
	case len(later) > 0:
		p.Hint = fmt.Sprintf("%s %s has it: a newer driver, or take it out", driver, later[0])
	case nearest != "":
		p.Hint = "take it out, or is " + nearest + " meant?"
	case len(others) > 0:
		p.Hint = "take it out: it is an option of " + strings.Join(others, ", ")
	}
	return p
}

func cmpKnown(driver, version string) string {
	at, _ := place(Versions(driver), version)
	return at
}

// near is the one name that differs in case, underscores or one letter, "" if
// there is none.
func near(name string, from []string) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	for _, n := range from {
		if plain(n) == plain(name) || len(name) > 4 && oneOff(plain(n), plain(name)) {
			return n
		}
	}
	return ""
}

// oneOff reports whether a becomes b by one letter more, less or other.
func oneOff(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(a) && a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}

// contradiction is what is wrong with an option whatever the version.
func contradiction(driver string, o Option) (Problem, bool) {
	for _, c := range contradictions {
		if c.name == o.Name && slices.Contains(c.drivers, driver) && (c.value == "" || strings.EqualFold(c.value, strings.Trim(o.Value, `"'`))) {
			p := c.Problem
			p.Subject = o.Name
			return p, true
		}
	}
	return Problem{}, false
}

// contradictions are options that a driver does not know and that people copy to
// it, or that it knows and that do not do what is hoped for.
var contradictions = []struct {
	drivers []string
	name    string
	value   string // "" is any
	Problem
}{
	{[]string{"psycopg", "psycopg2"}, "statement_cache_size", "", Problem{ID: "foreign-option", Text: "statement_cache_size is asyncpg's: the connection fails with invalid connection option", Hint: "psycopg: prepare_threshold=None; psycopg2 prepares nothing by itself", Source: collected, Fatal: true}},
	{[]string{"psycopg2"}, "prepare_threshold", "", Problem{ID: "foreign-option", Text: "prepare_threshold is psycopg 3's: the connection fails", Hint: "take it out: psycopg2 prepares nothing by itself", Source: collected, Fatal: true}},
	{[]string{"asyncpg", "sqlalchemy"}, "prepare_threshold", "", Problem{ID: "foreign-option", Text: "prepare_threshold is psycopg's: connect() ends with an unexpected keyword", Hint: "statement_cache_size=0", Source: collected, Fatal: true}},
	{[]string{"asyncpg"}, "prepared_statement_cache_size", "", Problem{ID: "misplaced-option", Text: "prepared_statement_cache_size is SQLAlchemy's, not asyncpg's: connect() ends with an unexpected keyword", Hint: "statement_cache_size=0 for asyncpg; in SQLAlchemy both, in connect_args", Source: collected, Fatal: true}},
	{[]string{"asyncpg"}, "prepared_statement_name_func", "", Problem{ID: "misplaced-option", Text: "prepared_statement_name_func is SQLAlchemy's, not asyncpg's: connect() ends with an unexpected keyword", Hint: "give it to create_async_engine, in connect_args", Source: collected, Fatal: true}},
	{[]string{"asyncpg", "sqlalchemy", "psycopg", "psycopg2", "tokio-postgres", "pgx", "pq"}, "pgbouncer", "", Problem{ID: "pgbouncer-true", Text: "pgbouncer=true is Prisma's alone: this driver refuses it, or sends it to the server, which refuses it", Hint: "take it out", Source: "the drivers' own packages; remcostoeten/dora#64 (2026-05)", Fatal: true}},
	{[]string{"pg", "sqlx-postgres"}, "pgbouncer", "", Problem{ID: "pgbouncer-true", Text: "pgbouncer=true is Prisma's alone: here it does nothing", Hint: "pg needs nothing unless queries are named; sqlx: statement-cache-capacity=0", Source: collected}},
	{[]string{"postgres"}, "pgbouncer", "", Problem{ID: "pgbouncer-true", Text: "pgbouncer=true is Prisma's alone: in code it does nothing, in a URL postgres.js sends it to the server, which refuses it", Hint: "prepare: false", Source: collected, Fatal: true}},
	{[]string{"pgx"}, "default_query_exec_mode", "describe_exec", Problem{ID: "unsafe-option", Text: "describe_exec parses in one Sync and executes in the next: through a transaction pooler that runs another client's statement, without an error", Hint: "default_query_exec_mode=exec, or cache_describe", Source: "measured by poolproof, 2026-11 (3,927 of 4,000 wrong)", Fatal: true}},
	{[]string{"pq"}, "binary_parameters", "no", Problem{ID: "unsafe-option", Text: "without binary_parameters lib/pq parses in one Sync and executes in the next: through a transaction pooler that runs another client's statement, without an error", Hint: "binary_parameters=yes", Source: "measured by poolproof, 2026-11 (3,922 of 4,000 wrong)", Fatal: true}},
}

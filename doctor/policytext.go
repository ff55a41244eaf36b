package doctor

import (
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Policies are read as pg_get_expr writes them, which is always the same way:
// (tenant_id = ( SELECT (NULLIF(current_setting('app.t'::text, true), ”::text))::uuid AS "nullif")).
var (
	settingRead = regexp.MustCompile(`(?i)\bcurrent_setting\s*\(\s*'((?:[^']|'')+)'`)
	// A setting that may be missing, converted to another type with nothing in between.
	bareCast = regexp.MustCompile(`(?i)\bcurrent_setting\s*\(\s*'(?:[^']|'')+'(?:::text)?\s*,\s*true\s*\)\s*\)?\s*::\s*"?([a-z_]\w*)`)
	// The same in the words of a function: cast(current_setting('x', true) as uuid).
	bareCastAs = regexp.MustCompile(`(?i)\bcast\s*\(\s*current_setting\s*\(\s*'(?:[^']|'')+'\s*,\s*true\s*\)\s+as\s+"?([a-z_]\w*)`)
	// An empty text is looked for somewhere: whoever wrote it knew of it.
	emptyCompared = regexp.MustCompile(`(?:=|<>|!=|NULLIF\(|nullif\()[^=]*''`)
	sqlComment    = regexp.MustCompile(`(?s)--[^\n]*|/\*.*?\*/`)
	namesRole     = regexp.MustCompile(`(?i)\b(current_user|session_user|current_role|pg_has_role)\b`)
	// A setting that is compared with a constant, as an alternative to the rest: current_setting('app.bypass'::text, true) = 'on'::text.
	alternative = regexp.MustCompile(`(?i)(\bOR [( ]+)?(?:SELECT )?\bcurrent_setting\('((?:[^']|'')+)'::text(?:, true)?\)(?: AS "?\w+"?)?\)* = '(?:[^']|'')+'::text\)*( OR\b)?`)
	constant    = regexp.MustCompile(`'((?:[^']|'')*)'::`)
)

// settingsOf lists the settings that a text reads, each once.
func settingsOf(text string) []string {
	var all []string
	for _, m := range settingRead.FindAllStringSubmatch(sqlComment.ReplaceAllString(text, ""), -1) {
		if name := strings.ToLower(m[1]); strings.Contains(name, ".") && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// doors are settings other than the tenant's that a permissive policy lets everything through for.
func (p policy) doors(tenant string) []string {
	var all []string
	if !p.Permissive {
		return nil
	}
	for _, expr := range []string{p.Using, p.Check} {
		expr = strings.Join(strings.Fields(expr), " ")
		for _, m := range alternative.FindAllStringSubmatch(expr, -1) {
			if name := strings.ToLower(m[2]); (m[1] != "" || m[3] != "") && name != tenant && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

// settings are those that the policy reads, by itself or in a function that it calls.
func (p policy) settings() []string { return settingsOf(p.all() + "\n" + p.Bodies) }

// reads reports whether the policy reads a setting.
func (p policy) reads(setting string) bool { return slices.Contains(p.settings(), setting) }

// covers reports whether the policy is about a command: r, a, w or d.
func (p policy) covers(cmd string) bool { return p.Cmd == "*" || p.Cmd == cmd }

// check is the expression that rows to be written must pass.
func (p policy) check() string {
	if p.Check == "" && p.Cmd != "a" {
		return p.Using
	}
	return p.Check
}

// compared returns the columns that a policy compares with what reads a setting.
func (p policy) compared(setting string, t table) []string {
	var columns []string
	for _, expr := range []string{p.Using, p.Check} {
		for i, quoted := range t.Quoted {
			at := regexp.MustCompile(`(?:^|[(\s])\(?(?:` + regexp.QuoteMeta(t.Bare) + `\.)?` + regexp.QuoteMeta(quoted) + `\)?(?:::[a-z ]+)? = (.*)`).FindStringSubmatch(strings.ReplaceAll(expr, "\n", " "))
			if at == nil || slices.Contains(columns, t.Columns[i]) {
				continue
			}
			end := len(at[1])
			for _, stop := range []string{" AND ", " OR "} {
				if n := strings.Index(at[1], stop); n >= 0 {
					end = min(end, n)
				}
			}
			direct := settingsOf(at[1][:end])
			through := slices.ContainsFunc(p.Functions, func(f string) bool { return calls(at[1][:end], f) }) && slices.Contains(settingsOf(p.Bodies), setting)
			if slices.Contains(direct, setting) || through {
				columns = append(columns, t.Columns[i])
			}
		}
	}
	return columns
}

func calls(text, function string) bool { return strings.Contains(text, function+"(") }

// castsColumn returns the type that a policy casts a column to, or "". A cast that
// costs nothing does not count: varchar is written as text.
func castsColumn(text, quoted, typ string) string {
	m := regexp.MustCompile(`\(` + regexp.QuoteMeta(quoted) + `\)::([a-z][a-z ]*)`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	to := strings.TrimSpace(m[1])
	if typ == "character varying" && to == "text" || to == typ {
		return ""
	}
	return to
}

// convertsEmpty returns the type to which a text converts a setting that may be
// empty, or "".
func convertsEmpty(text string) string {
	text = sqlComment.ReplaceAllString(text, "")
	for _, pattern := range []*regexp.Regexp{bareCast, bareCastAs} {
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			switch strings.ToLower(m[1]) {
			case "text", "varchar", "character", "citext", "name", "bpchar":
				continue
			}
			if emptyCompared.MatchString(text) {
				continue
			}
			return strings.ToLower(m[1])
		}
	}
	return ""
}

// outsideSelect reports whether something is called in a text outside every
// sub-select.
func outsideSelect(text, call string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], call+"(")
		if i < 0 {
			return false
		}
		at += i
		if before := at; before == 0 || !wordByte(text[before-1]) {
			if !insideSelect(text[:at]) {
				return true
			}
		}
		at += len(call)
	}
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// insideSelect reports whether a text ends inside parentheses that begin with SELECT.
func insideSelect(before string) bool {
	depth := 0
	for i := len(before) - 1; i >= 0; i-- {
		switch before[i] {
		case ')':
			depth++
		case '(':
			if depth--; depth < 0 {
				if strings.HasPrefix(before[i+1:], " SELECT") {
					return true
				}
				depth = 0
			}
		}
	}
	return false
}

// trivial reports whether an expression holds for every row of whatever tenant.
func trivial(expr, quoted string) bool {
	expr = strings.Trim(expr, "() ")
	return expr == "true" || expr == "1 = 1" || quoted != "" && (expr == quoted+" IS NOT NULL" || expr == quoted+" = "+quoted)
}

// ignoresTenant reports whether an expression asks neither for the tenant's column
// nor for anything but the row itself.
func ignoresTenant(expr, quoted string) bool {
	if expr == "" {
		return false
	}
	if trivial(expr, quoted) {
		return true
	}
	return !regexp.MustCompile(`(^|[^\w"])`+regexp.QuoteMeta(quoted)+`($|[^\w"])`).MatchString(expr) &&
		!strings.Contains(expr, "SELECT") && !strings.Contains(expr, "current_setting") && !strings.Contains(expr, "CURRENT_USER") && !regexp.MustCompile(`[a-z_]\(`).MatchString(expr) && expr != "false"
}

// mentions reports whether a function's source has a table's name as a word, outside comments: in quotes,
// where it needs them.
func mentions(body string, t table) bool {
	body = sqlComment.ReplaceAllString(body, "")
	if strings.HasSuffix(t.Name, `"`) {
		return strings.Contains(body, pgx.Identifier{t.Bare}.Sanitize())
	}
	return regexp.MustCompile(`(?i)(^|[^\w"])` + regexp.QuoteMeta(t.Bare) + `($|[^\w"])|"` + regexp.QuoteMeta(t.Bare) + `"`).MatchString(body)
}

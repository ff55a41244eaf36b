package hostile

import (
	"regexp"
	"slices"
	"strings"
)

// Who sent a statement is guessed from the names of statements, from startup
// parameters and from texts: see libraries. It is for the words of a fix.
// Nothing else depends on it.

// postgresJSName matches the names that postgres.js makes: random letters, and a
// number.
var postgresJSName = regexp.MustCompile(`^[a-z0-9]{8,14}[0-9]+$`)

// driverByStatement returns the library that names its statements like this, or
// "". Of two it returns the one that comes first in libraries.
func driverByStatement(name string) string {
	for i := range libraries {
		l := &libraries[i]
		if l.statements != nil && l.statements.MatchString(name) && (l.name != driverPostgresJS || mixed.MatchString(name)) {
			return l.name
		}
	}
	return ""
}

// driverByStartup returns the driver that sends such startup parameters, or "".
// encodingFirst says that client_encoding is the first of them.
func driverByStartup(params map[string]string, encodingFirst bool) string {
	app := strings.ToLower(params["application_name"])
	for i := range libraries {
		if slices.Contains(libraries[i].applications, app) {
			return libraries[i].name
		}
	}
	encoding, style, zone := params["client_encoding"], params["DateStyle"], params["TimeZone"]
	switch {
	case encoding == "'utf-8'":
		return driverAsyncpg
	case style == "ISO" && strings.EqualFold(encoding, "utf8") && params["extra_float_digits"] != "" && zone == "":
		return driverVertx
	case style == "ISO" && encoding == "utf8" && zone != "":
		return driverR2DBC
	case style == "ISO" && zone != "":
		return driverPgjdbc // since 42.7.5 without extra_float_digits
	case style == "ISO, MDY" && params["extra_float_digits"] != "" && zone == "UTC":
		return driverSqlx
	case params["datestyle"] == "ISO, MDY" && encoding == "UTF8":
		return driverLibPQ
	case encodingFirst && encoding == "UTF8":
		return driverTokio
	}
	return ""
}

// asyncpgReset is what asyncpg sends when a connection goes back to its pool.
var asyncpgReset = regexp.MustCompile(`(?is)^\s*SELECT pg_advisory_unlock_all\(\);\s*CLOSE ALL;\s*UNLISTEN \*;\s*RESET ALL;\s*$`)

// driverBySQL returns the library that sends such a text, or "".
func driverBySQL(sql string) string {
	const longest = 600
	if len(sql) > longest {
		sql = sql[:longest]
	}
	for i := range libraries {
		l := &libraries[i]
		if l.texts != nil && l.texts.MatchString(sql) || slices.ContainsFunc(l.words, func(w string) bool { return strings.Contains(sql, w) }) {
			return l.name
		}
	}
	return ""
}

// better returns which of two guesses says more: what is known now, or what was
// just recognized. A library says more than the drivers that it works through,
// and whatever is first recognized stays if the two do not go together.
func better(known, recognized string) string {
	l := libraryOf(recognized)
	if recognized != "" && (known == "" && (l == nil || !l.afterDriver) || l != nil && slices.Contains(l.over, known)) {
		return recognized
	}
	return known
}

// isPoolReset reports whether a driver sends this text by itself. Its user
// cannot change that.
func isPoolReset(sql string) bool { return len(sql) < 200 && asyncpgReset.MatchString(sql) }

// digits and long hexadecimal parts of statement names are what differs
// between names of one kind. asyncpg and PDO count in hexadecimal digits.
var (
	hexCounter = regexp.MustCompile(`^(__asyncpg_stmt_|pdo_stmt_)[0-9a-f]+`)
	hexPart    = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{12,}`) // UUIDs, hashes
	digitPart  = regexp.MustCompile(`[0-9]+`)
)

// namePattern returns the same subject for statement names that differ only in
// counters and hashes.
func namePattern(name string) string {
	name = hexCounter.ReplaceAllString(name, "${1}#")
	return digitPart.ReplaceAllString(replaceHashes(name), "#")
}

// statementPattern is namePattern for this client's driver. postgres.js begins
// its names with random letters, which differ from run to run.
func (s *session) statementPattern(name string) string {
	if ofPostgresJS(name, s.client.ApplicationName) {
		return "…#"
	}
	return namePattern(name)
}

// longDigits are what differs between names of objects: a thread's number, a
// time.
var longDigits = regexp.MustCompile(`[0-9]{4,}`)

// objectPattern is namePattern for cursors, channels and the like. People choose
// most of their names: "week_42" stays.
func objectPattern(name string) string {
	return longDigits.ReplaceAllString(replaceHashes(name), "#")
}

var (
	// lockCall is a call that takes an advisory lock of the session; what it is given follows.
	lockCall = regexp.MustCompile(`(?i)\bpg_(try_)?advisory_lock(_shared)?\s*\(`)
	// computedKey is a number that nobody chose: a hash.
	computedKey = regexp.MustCompile(`[0-9]{9,}`)
	// plainKey is a key that is written in digits.
	plainKey = regexp.MustCompile(`^-?[0-9]+(\s*,\s*-?[0-9]+)?$`)
)

// lockPattern returns an advisory lock's key as the program wrote it: what the
// function was given in the statement, or else the key that is held. A key in
// digits that is not the one that is held belongs to another lock. Numbers that
// are too long to be chosen by people become #, because they are hashes and
// differ from database to database.
func lockPattern(held, sql string) string {
	key := held
	for _, m := range lockCall.FindAllStringIndex(sql, -1) {
		given := argument(sql[m[1]:])
		if plainKey.MatchString(given) && strings.Join(strings.Fields(given), "") != strings.ReplaceAll(held, " ", "") {
			continue
		}
		if given != "" {
			key = given
			break
		}
	}
	return hexPart.ReplaceAllString(computedKey.ReplaceAllString(key, "#"), "…")
}

// argument returns what stands before the bracket that closes, with single
// spaces; "" if none does.
func argument(sql string) string {
	depth, quoted := 0, false
	for i := range len(sql) {
		switch c := sql[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			if depth == 0 {
				return strings.Join(strings.Fields(sql[:i]), " ")
			}
			depth--
		}
	}
	return ""
}

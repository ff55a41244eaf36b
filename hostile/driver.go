package hostile

import (
	"regexp"
	"strings"
)

// A driver is recognized by the names of its statements, by its startup
// parameters and by texts that only it sends. It is a guess, for the words of a
// fix. Nothing else depends on it.

// postgresJSName matches the names that postgres.js makes: random letters, and a
// number.
var postgresJSName = regexp.MustCompile(`^[a-z0-9]{8,14}[0-9]+$`)

// statementNames are the names that drivers give their statements.
var statementNames = []struct {
	pattern *regexp.Regexp
	driver  string
}{
	{regexp.MustCompile(`^__asyncpg_(stmt_)?[0-9a-f-]+_*$`), driverAsyncpg},
	{regexp.MustCompile(`^_pg3_[0-9]+`), driverPsycopg},
	{regexp.MustCompile(`^stmtcache_[0-9a-f]+$`), driverPgx},
	{regexp.MustCompile(`^S_[0-9]+$`), driverPgjdbc},
	{regexp.MustCompile(`^a[0-9]+$`), driverRubyPg},
	{regexp.MustCompile(`^sqlx_s_[0-9]+$`), driverSqlx},
	{regexp.MustCompile(`^s[0-9]+$`), driverTokio},
	{regexp.MustCompile(`^pdo_stmt_[0-9a-f]+$`), driverPDO},
	{regexp.MustCompile(`^dbdpg_p?[0-9]+_[0-9]+$`), driverDBD},
	{postgresJSName, driverPostgresJS},
	{regexp.MustCompile(`^[0-9]+$`), driverLibPQ},
}

// driverByStatement returns the driver that names its statements like this, or
// "".
func driverByStatement(name string) string {
	for _, s := range statementNames {
		if s.pattern.MatchString(name) && (s.driver != driverPostgresJS || mixed.MatchString(name)) {
			return s.driver
		}
	}
	return ""
}

// driverByStartup returns the driver that sends such startup parameters, or "".
// encodingFirst says that client_encoding is the first of them.
func driverByStartup(params map[string]string, encodingFirst bool) string {
	app := strings.ToLower(params["application_name"])
	switch {
	case params["client_encoding"] == "'utf-8'":
		return driverAsyncpg
	case strings.Contains(app, "jdbc"):
		return driverPgjdbc
	case app == "postgres.js":
		return driverPostgresJS
	case params["DateStyle"] == "ISO" && params["extra_float_digits"] != "" && params["TimeZone"] != "":
		return driverPgjdbc
	case params["DateStyle"] == "ISO, MDY" && params["extra_float_digits"] != "" && params["TimeZone"] == "UTC":
		return driverSqlx
	case params["datestyle"] == "ISO, MDY" && params["client_encoding"] == "UTF8":
		return driverLibPQ
	case encodingFirst && params["client_encoding"] == "UTF8":
		return driverTokio
	}
	return ""
}

// asyncpgReset is what asyncpg sends when a connection goes back to its pool.
var asyncpgReset = regexp.MustCompile(`(?is)^\s*SELECT pg_advisory_unlock_all\(\);\s*CLOSE ALL;\s*UNLISTEN \*;\s*RESET ALL;\s*$`)

// driverTexts are texts that only one driver sends.
var driverTexts = []struct {
	pattern *regexp.Regexp
	driver  string
}{
	{asyncpgReset, driverAsyncpg},
	{regexp.MustCompile(`^DECLARE "_django_curs_`), driverDjango},
	{regexp.MustCompile(`^SET intervalstyle = iso_8601$`), driverRubyPg}, // ActiveRecord, when it connects
	{regexp.MustCompile(`^(SELECT LASTVAL\(\)|DEALLOCATE pdo_stmt_[0-9a-f]+)$`), driverPDO},
}

// driverBySQL returns the driver that sends such a text, or "".
func driverBySQL(sql string) string {
	const longest = 200
	if len(sql) > longest {
		sql = sql[:longest]
	}
	for _, t := range driverTexts {
		if t.pattern.MatchString(sql) {
			return t.driver
		}
	}
	return ""
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

// objectPattern is namePattern for cursors and the like. People choose most of
// their names: "week_42" stays.
func objectPattern(name string) string {
	return longDigits.ReplaceAllString(hexPart.ReplaceAllString(name, "…"), "#")
}

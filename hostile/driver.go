package hostile

import (
	"regexp"
	"strings"
)

// Drivers give themselves away by the names of their statements, by what they
// send at the start, and by application_name. It is a guess, for the words of a
// fix; nothing else depends on it.

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
	{regexp.MustCompile(`^[a-z0-9]{8,14}[0-9]+$`), driverPostgresJS},
	{regexp.MustCompile(`^[0-9]+$`), driverLibPQ},
}

func driverByStatement(name string) string {
	for _, s := range statementNames {
		if s.pattern.MatchString(name) {
			return s.driver
		}
	}
	return ""
}

// driverByStartup guesses from the startup parameters.
func driverByStartup(params map[string]string) string {
	app := strings.ToLower(params["application_name"])
	switch {
	case strings.Contains(app, "jdbc"):
		return driverPgjdbc
	case app == "postgres.js":
		return driverPostgresJS
	case params["DateStyle"] == "ISO" && params["extra_float_digits"] != "" && params["TimeZone"] != "":
		return driverPgjdbc
	case params["datestyle"] == "ISO, MDY" && params["extra_float_digits"] == "2":
		return driverLibPQ
	}
	return ""
}

// asyncpgReset is what asyncpg sends when a connection goes back to its pool.
var asyncpgReset = regexp.MustCompile(`(?is)^\s*SELECT pg_advisory_unlock_all\(\);\s*CLOSE ALL;\s*UNLISTEN \*;\s*RESET ALL;\s*$`)

func driverBySQL(sql string) string {
	if asyncpgReset.MatchString(sql) {
		return driverAsyncpg
	}
	return ""
}

// chatter tells whether a text is what a driver sends by itself and a pooler's
// clients cannot help.
func chatter(sql string) bool { return len(sql) < 200 && asyncpgReset.MatchString(sql) }

// digits and long hexadecimal parts of statement names are what differs
// between names of one kind.
var (
	hexPart   = regexp.MustCompile(`[0-9a-f]{12,}(-[0-9a-f]+)*`)
	digitPart = regexp.MustCompile(`[0-9]+`)
)

// namePattern makes one subject of the names of one kind.
func namePattern(name string) string {
	return digitPart.ReplaceAllString(hexPart.ReplaceAllString(name, "…"), "#")
}

// pattern is namePattern for this client's driver: postgres.js begins its names
// with random letters, which differ from run to run.
func (s *session) pattern(name string) string {
	if s.client.Driver == driverPostgresJS {
		return "…#"
	}
	return namePattern(name)
}

// Package recipes has, for frameworks that people use before PostgreSQL, the code
// that keeps tenants apart through a pooler in transaction mode.
//
// The code of a recipe is a file of the folder code, which the tests run as it is
// printed: through PgBouncer 1.18, which does not track statements, and 1.24, which
// does. A line that ends in the comment [untracked] is printed only for a pooler
// that does not. What was measured is in measured.json, with a checksum of the code
// that was run; "go test ./doctor/recipes -every -write" makes it.
package recipes

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Recipe is what the programs of a framework do.
type Recipe struct {
	Framework string // as poolproof doctor --driver has it
	Library   string // as hostile.Libraries has it
	File      string // of the folder code
	Conflicts []Conflict
}

// Conflict is another recipe, or a habit, that does not go with this one.
type Conflict struct {
	With string `json:"with"`
	Why  string `json:"why"`
}

//go:embed code measured.json
var files embed.FS

var all = []Recipe{
	{"sqlalchemy", "sqlalchemy", "sqlalchemy.py", []Conflict{
		{"poolclass=NullPool, which SQLAlchemy's docs add for PgBouncer", "it opens a connection for each session: ports run out under load, and the pooler logs in all the time. Keep SQLAlchemy's pool"},
		{"SET in the events connect or checkout of the engine", "it stays on the server connection for whoever gets it next. The event after_begin of the session is in the transaction"},
		{"isolation_level=\"AUTOCOMMIT\"", "there is no transaction, so the tenant is gone before the query: no row is seen"},
		{"server_lifetime = 3600, PgBouncer's default, where it does not track statements", "some names of uuid4 stay on the server connections (211 of 1,000 operations): server_lifetime = 600. With lambda: \"\" none stay, but that is right inside transactions only"},
		{"server_settings= and statement_timeout or search_path in it", "PgBouncer refuses them when the connection begins: ALTER ROLE … SET"},
	}},
	{"django", "django", "django.py", []Conflict{
		{"ATOMIC_REQUESTS without the middleware", "a transaction is open, and no tenant set: no row is seen. With the middleware it adds nothing"},
		{"StreamingHttpResponse, and on_commit hooks that query", "they run after the transaction: without a tenant, no row is seen"},
		{"assume_role in OPTIONS, and django-tenants", "they set the role or search_path for the session: direct URL, or a pooler in session mode"},
		{"prepare_threshold or server_side_binding in OPTIONS", "Django prepares nothing by itself; these make psycopg prepare under names"},
	}},
	{"prisma", "prisma", "prisma.cjs", []Conflict{
		{"?pgbouncer=true in the URL", "it is for Prisma's own engine. The driver adapter passes over it and needs nothing in its place"},
		{"prisma.$transaction(…) on a client of forTenant", "each query in it still opens a transaction of its own: inTenant for several"},
		{"prisma migrate over the pooled URL", "it locks for the session: directUrl"},
	}},
	{"drizzle", "drizzle", "drizzle.cjs", []Conflict{
		{".prepare(name), which Drizzle's docs advise for speed", "the name stays on one server connection: only behind a pooler that tracks statements"},
		{"db inside the function of inTenant, instead of its tx", "it is another connection, without the tenant: no row is seen; and two connections for a request may wait for each other"},
		{"SET in pool.on('connect')", "it stays on the server connection for whoever gets it next"},
	}},
	{"typeorm", "typeorm", "typeorm.cjs", []Conflict{
		{"a repository of the data source inside inTenant", "it is another connection, without the tenant: manager.getRepository"},
		{"statement_timeout or options in extra", "PgBouncer refuses them when the connection begins: query_timeout, or ALTER ROLE … SET"},
		{"cache: true in a query", "the cache knows no tenants: one is answered with another's rows"},
	}},
	{"rails", "ruby-pg", "rails.rb", []Conflict{
		{"advisory_locks: true, for rails db:migrate over the pooled URL", "the lock stays on a server connection. advisory_locks: false lets two deploys migrate at once: migrate over the direct URL instead"},
		{"variables: in database.yml", "SET for the session when it connects: ALTER ROLE … SET"},
		{"after_commit callbacks that query, and load_async", "they run outside the transaction: without a tenant, no row is seen"},
		{"apartment, which sets search_path for the session", "direct URL, or a pooler in session mode"},
	}},
	{"hibernate", "hibernate", "Tenancy.java", []Conflict{
		{"SET in a MultiTenantConnectionProvider", "it stays on the server connection for whoever gets it next"},
		{"the second-level cache and the query cache", "they know entities by their keys alone and no tenants: one is answered with another's rows, whatever the policies say"},
		{"lazy loading after the transaction (open session in view)", "it asks without a tenant: no row is seen"},
		{"currentSchema or options in the JDBC URL", "PgBouncer refuses them when the connection begins: ALTER ROLE … SET"},
	}},
	{"gorm", "gorm", "gorm.go", []Conflict{
		{"PrepareStmt: true in gorm.Config", "it prepares under names: only behind a pooler that tracks statements"},
		{"db inside the function of inTenant, instead of its tx", "it is another connection, without the tenant: no row is seen"},
		{"SkipDefaultTransaction", "it changes nothing here: inTenant begins the transaction itself"},
	}},
	{"ent", "ent", "ent.go", []Conflict{
		{"entsql.WithVar", "it sets the variable for the session and resets it later, perhaps on another server connection"},
		{"client.Tx on a client of the scoped driver", "it is the same transaction: its Commit and Rollback do nothing, what the function returns decides"},
		{"auto-migration (client.Schema.Create) over the pooled URL", "direct URL"},
	}},
	{"sqlx-postgres", "sqlx", "sqlx.rs", []Conflict{
		{"a query on the pool instead of the transaction", "sqlx asks in two trips, and the second may meet another server connection; it has no tenant, too"},
		{"test_before_acquire(true), sqlx's default", "it pings a connection with a Sync of its own, before the rest of the last answer was read"},
		{"after_connect with SET", "it stays on the server connection for whoever gets it next"},
	}},
}

// Everywhere are conflicts with every recipe.
var Everywhere = []Conflict{
	{"SET or set_config(…, false) when a connection begins or is taken from the pool, which many articles on row-level security show", "it stays on the server connection: the next client works with this tenant, and this one with another's"},
	{"server_reset_query_always=1 in PgBouncer", "DISCARD ALL after each transaction ends what others prepared or hold. The tenant of this code ends with its transaction"},
}

// All returns the recipes, in the order of the documents.
func All() []Recipe { return slices.Clone(all) }

// For returns the recipe of a framework.
func For(framework string) (Recipe, bool) {
	i := slices.IndexFunc(all, func(r Recipe) bool { return r.Framework == framework })
	if i < 0 {
		return Recipe{}, false
	}
	return all[i], true
}

var (
	marked      = regexp.MustCompile(`^(.*?) *(?:(?:#|//) )?\[untracked\]$`)
	settingName = regexp.MustCompile(`^[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)+$`)
)

// Setting is the one that the code sets where the policies' is not known.
const Setting = "app.tenant"

// Code is the recipe for a pooler that tracks named statements, or does not, and
// for policies that read this setting. A setting that is no plain name, or "", is
// [Setting].
func (r Recipe) Code(tracked bool, setting string) string {
	raw, err := files.ReadFile("code/" + r.File)
	if err != nil {
		panic("doctor/recipes: " + err.Error()) // embedded, and tested
	}
	var b strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(string(raw), "//go:build ignore\n\n")) {
		if m := marked.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			if tracked {
				continue
			}
			line = m[1] + "\n"
		}
		b.WriteString(line)
	}
	code := b.String()
	if settingName.MatchString(setting) {
		code = strings.ReplaceAll(code, "'"+Setting+"'", "'"+setting+"'")
	}
	return code
}

// Checksum says which code was measured: both forms of it.
func (r Recipe) Checksum() string {
	sum := sha256.Sum256([]byte(r.Code(false, "") + r.Code(true, "")))
	return hex.EncodeToString(sum[:])[:12]
}

// Measured is what was measured of a recipe.
type Measured struct {
	Code string `json:"code"` // [Recipe.Checksum]
	Date string `json:"date"`
	Runs []Run  `json:"runs"`
}

// Run is so many concurrent operations of several tenants through a pooler with
// two server connections.
type Run struct {
	Through string `json:"through"` // "PgBouncer 1.18"
	// Form is "recipe"; or what it replaces: "session", the tenant set for the session, or "defaults", the
	// recipe's scope with the driver's defaults.
	Form       string `json:"form"`
	Operations int    `json:"operations"`
	Wrong      int    `json:"wrong"` // answers, and rows stored for another tenant
	Failed     int    `json:"failed"`
	First      string `json:"first,omitempty"` // the first error
}

// measured is what the soak wrote, by framework.
var measured = func() (m map[string]Measured) {
	raw, err := files.ReadFile("measured.json")
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		panic("doctor/recipes: measured.json: " + err.Error()) // embedded, and tested
	}
	return m
}()

// Measured returns what was measured of the recipe; nothing if that was with other code.
func (r Recipe) Measured() Measured {
	if m := measured[r.Framework]; m.Code == r.Checksum() {
		return m
	}
	return Measured{}
}

// String is what was measured in one line.
func (m Measured) String() string {
	if len(m.Runs) == 0 {
		return "not measured"
	}
	var with, without []string
	for _, run := range m.Runs {
		if run.Form == "recipe" {
			with = append(with, fmt.Sprintf("of %d concurrent operations through %s %d wrong, %d failed", run.Operations, run.Through, run.Wrong, run.Failed))
		} else if run.Wrong+run.Failed > 0 {
			without = append(without, fmt.Sprintf("%s through %s: of %d %d wrong (answers and stored rows), %d failed", replaced[run.Form], run.Through, run.Operations, run.Wrong, run.Failed))
		}
	}
	return fmt.Sprintf("measured on %s: %s; without it, %s", m.Date, strings.Join(with, ", "), strings.Join(without, "; "))
}

// replaced says what the forms do that a recipe replaces.
var replaced = map[string]string{"session": "with the tenant set for the session", "defaults": "with the driver's defaults"}

package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/doctor/options"
	"github.com/poolproof/poolproof/doctor/recipes"
	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/visible"
	"github.com/poolproof/poolproof/pooler"
)

// Recipe is a setting of a driver for the pooler that was found.
type Recipe struct {
	Driver  string `json:"driver"`
	Setting string `json:"setting"` // as it stands in code, or what to do
	Reason  string `json:"reason"`  // what was found that asks for it
	Basis   Basis  `json:"basis"`   // of the reason
	Source  string `json:"source"`  // where the setting is from
}

// Scoping is the code of a framework that keeps tenants apart through the pooler that was found.
type Scoping struct {
	Framework string `json:"framework"`
	File      string `json:"file"`     // of doctor/recipes/code
	Code      string `json:"code"`     // "" where the pooler refuses the transaction that it needs
	Measured  string `json:"measured"` // with it, and without
	// Conflicts are other recipes, and habits, that do not go with it.
	Conflicts []recipes.Conflict `json:"conflicts"`
}

// proves are prove's names of drivers and frameworks, by those of packages.
var proves = map[string]string{
	"asyncpg": "asyncpg", "sqlalchemy": "sqlalchemy", "psycopg": "psycopg", "psycopg2": "psycopg", "pgx": "pgx", "pq": "lib/pq", "pg": "node-postgres",
	"postgres": "postgres.js", "tokio-postgres": "tokio-postgres", "sqlx-postgres": "sqlx",
	"prisma": "prisma", "pgjdbc": "pgjdbc", "npgsql": "npgsql", "ruby-pg": "ruby-pg", "rails": "ruby-pg", "pdo": "pdo", "dbd::pg": "DBD::Pg", "django": "django",
	"drizzle": "drizzle", "typeorm": "typeorm", "hibernate": "hibernate", "gorm": "gorm", "ent": "ent",
}

// Drivers are the names that Config.Driver takes.
func Drivers() []string { return slices.Sorted(maps.Keys(proves)) }

// prepares reports whether a driver names statements by itself; psycopg2 and pg, and what works through them, do not.
func prepares(driver string) bool {
	return !slices.Contains([]string{"psycopg2", "pg", "django", "drizzle", "typeorm"}, driver)
}

// tracks reports whether named statements may be used: Supavisor's answers get out of order once a client makes an error.
func (r *Report) tracks() bool {
	return r.Through[pooler.NamedStatements].Value.OK() && (r.Pooler.Kind != pooler.Supavisor || r.Pooler.Mode == pooler.Session)
}

// scoping is the framework's code for what was found; nil for a driver that is no framework.
func scoping(framework string, r *Report) *Scoping {
	recipe, ok := recipes.For(framework)
	if !ok {
		return nil
	}
	s := &Scoping{Framework: framework, File: recipe.File, Measured: recipe.Measured().String(), Conflicts: slices.Concat(recipe.Conflicts, recipes.Everywhere)}
	if r.Through[pooler.Transactions].Value != pooler.Refused {
		s.Code = recipe.Code(r.tracks(), r.TenantSetting)
	}
	return s
}

// advise returns the settings of a driver for what was found.
func advise(driver string, r *Report) []Recipe {
	var all []Recipe
	add := func(name pooler.Name, code hostile.Code) {
		c := r.Through[name]
		fix, _ := hostile.FixFor(code, proves[driver])
		all = append(all, Recipe{driver, fix, fmt.Sprintf("%s: %s, %s", name, c.Value, c.Text), basisOf(c.Basis), "poolproof explain " + string(code)})
	}
	keep := func(setting, reason string, basis Basis) {
		all = append(all, Recipe{driver, setting, reason, basis, "docs/poolers.md"})
	}
	named := r.Through[pooler.NamedStatements]
	switch {
	case !prepares(driver):
		keep("nothing: "+driver+" names no statements by itself", "named_statements: "+string(named.Value), basisOf(named.Basis))
	case r.tracks():
		keep("leave the driver's statement cache as it is", fmt.Sprintf("named_statements: %s, %s", named.Value, named.Text), basisOf(named.Basis))
		if named.Limit > 0 {
			keep(fmt.Sprintf("keep the statement cache below %d statements a connection", named.Limit), "named_statements: the pooler keeps so many", basisOf(named.Basis))
		}
	default:
		add(pooler.NamedStatements, hostile.MissingNamed)
	}
	for _, f := range []struct {
		name pooler.Name
		code hostile.Code
	}{{pooler.UnnamedStatement, hostile.ForeignUnnamed}, {pooler.SeveralSyncs, hostile.SyncsInFlight}} {
		if f.code == hostile.ForeignUnnamed && r.tracks() && driver != "pq" {
			continue // by default all others send in one trip, or give names
		}
		if _, own := hostile.FixFor(f.code, proves[driver]); own && !r.Through[f.name].Value.OK() {
			add(f.name, f.code)
		}
	}
	if v := r.Through[pooler.SettingSetConfig].Value; v == pooler.Leaks || v == pooler.Lost || v == pooler.Unclear {
		add(pooler.SettingSetConfig, hostile.SessionSetting)
	}
	if v := r.Through[pooler.StartupOptions].Value; (v == pooler.Refused || v == pooler.Ignored) && driver == "pgjdbc" {
		add(pooler.StartupOptions, hostile.StartupParameter)
	}
	// The same words for two faults are one line.
	var unique []Recipe
	for _, recipe := range all {
		if !slices.ContainsFunc(unique, func(u Recipe) bool { return u.Setting == recipe.Setting }) {
			unique = append(unique, recipe)
		}
	}
	return unique
}

func basisOf(b pooler.Basis) Basis {
	if b == pooler.Untold {
		return NotLookedAt
	}
	return Basis(b)
}

// aboutOptions is about the URL and the driver's options. found is nil where nothing answered.
func aboutOptions(ctx context.Context, cfg Config, found *pooler.Fingerprint) (checks []Check) {
	driver, version := options.ParseDriver(cfg.Driver)
	given := make([]options.Option, len(cfg.Options))
	for i, text := range cfg.Options {
		given[i] = options.ParseOption(text)
	}
	problems := options.CheckURL(ctx, cfg.URL, driver, found, options.Network{})
	if len(given) > 0 {
		problems = append(options.CheckOptions(driver, version, given), problems...)
	}
	had := map[string]bool{}
	for _, p := range problems {
		if had[p.ID+p.Subject] || p.ID == "unknown-host" || p.ID == "malformed-url" { // PD000 says so
			continue
		}
		had[p.ID+p.Subject] = true
		c := finding(BadOption, p.Subject, p.Text+" ("+p.Source+")", "", p.Hint)
		if !p.Fatal {
			c.Status = Warn
		}
		checks = append(checks, c)
	}
	return checks
}

// CheckDriver returns an error that names the drivers there are, if this is none of them.
func CheckDriver(name string) error {
	driver, _ := options.ParseDriver(name)
	if proves[driver] == "" {
		return fmt.Errorf("there is no driver %q known here; known are %s", cmp.Or(driver, name), strings.Join(Drivers(), ", "))
	}
	return nil
}

// settings writes the driver's settings, and the framework's code.
func (r *Report) settings(b *strings.Builder) {
	if len(r.Recipes) == 0 {
		return
	}
	defer r.scoping(b)
	fmt.Fprintf(b, "settings of %s for this pooler:\n", r.Recipes[0].Driver)
	for _, recipe := range r.Recipes {
		fmt.Fprintf(b, "      %s\n          why: %s [%s]; %s\n", visible.Line(recipe.Setting), visible.Line(recipe.Reason), recipe.Basis, recipe.Source)
	}
}

// scoping writes the framework's code, from the first column, so that it can be copied.
func (r *Report) scoping(b *strings.Builder) {
	s := r.Scoping
	if s == nil {
		return
	}
	if s.Code == "" {
		fmt.Fprintf(b, "code of %s that keeps tenants apart: none, because it needs a transaction, which this pooler refuses: transaction mode\n", s.Framework)
		return
	}
	fmt.Fprintf(b, "code of %s that keeps tenants apart (%s):\n\n%s\n%s\nwhat does not go with it:\n", s.Framework, s.File, s.Code, s.Measured)
	for _, c := range s.Conflicts {
		fmt.Fprintf(b, "      %s\n          why: %s\n", c.With, c.Why)
	}
}

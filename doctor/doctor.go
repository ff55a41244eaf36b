package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/doctor/options"
	"github.com/poolproof/poolproof/pooler"
)

// Budget is how long [Examine] may take in all, unless Config.Within says otherwise. Three fifths of it go to what
// stands between, at most; the rest is for the catalogue and the trial.
const Budget = 5 * time.Second

// Config is what Examine needs. Only URL is required.
type Config struct {
	// URL of the database, usually its pooler's, as the application has it. A driver's name in its scheme
	// (postgresql+asyncpg) and parameters that the server does not know are left out.
	URL string
	// Role that is taken on for each statement, as Config.Role of package poolproof. Default: the login.
	Role string
	// TenantSetting that policies read. Default: the one that most tables' policies compare a column with.
	TenantSetting string
	// TenantColumns name a tenant wherever they are. Default: tenant_id and its like, and columns that policies compare with the setting.
	TenantColumns []string
	// Instances of the application, and PoolSize connections of each. Default 0: no arithmetic.
	Instances, PoolSize int
	// Only these codes are reported. Default: all. What stands between is then only probed: its mode, not its kind.
	Only []Code
	// Fast looks as with Only, and reports all codes: three connections of the probe and one more, some 20 round trips, and
	// three more for each 25 tenant tables. Report.NotLookedAt says what was left out.
	Fast bool
	// Tenant is one that has rows: it is looked whether it sees any. Default: none.
	Tenant string
	// Statements of the application, as SQL: PostgreSQL parses each, and runs none. Default: none.
	Statements string
	// Connections is how many clients [Audit] may open at once. Default 20; it opens more than four only as long as
	// there are server connections that it has not met.
	Connections int
	// Within is how long the look may take: more than Budget for a server that is far away. Default Budget.
	Within time.Duration
	// Intrusive also tries what leaves something on a server connection until it is cleaned up: see [pooler.Options].
	Intrusive bool
	// NoCancels leaves cancel requests out, for a look in the background: they are connections of their own, which count where a
	// pooler bounds them.
	NoCancels bool
	// Driver of the application, as [options.ParseDriver] takes it, and Options of it as they stand in its code: KEY=VALUE.
	Driver  string
	Options []string
}

// Examine looks at a database. It takes no longer than Config.Within, and what could not be
// looked at in that time is said. It returns a report in any case: that of a
// database that cannot be reached has one check, PD000.
func Examine(ctx context.Context, cfg Config) *Report {
	began := time.Now()
	if cfg.Within <= 0 {
		cfg.Within = Budget
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Within)
	defer cancel()
	report := newReport()
	config, dropped, err := parse(cfg.URL)
	if err != nil {
		return report.unreachable(err, "write it as postgres://user:password@host:port/database, with %40 for an @ in the password")
	}
	dialed := noteDials(config)
	between, config, refused, err := probe(ctx, config, cfg)
	dropped = append(dropped, refused...)
	if err != nil {
		return report.unreachable(reach(ctx, config, err, dialed.Load(), began)).with(aboutOptions(ctx, cfg, nil))
	}
	report.join(between)
	seen := between.Report
	for _, name := range dropped {
		report.Notes = append(report.Notes, "the parameter "+name+" of the URL is not PostgreSQL's and was left out")
	}
	conn, err := pgx.ConnectConfig(ctx, exec(config))
	if err != nil {
		return report.unreachable(reach(ctx, config, err, dialed.Load(), began))
	}
	defer hangUp(conn)
	r := onConn(conn, cfg.Role, !seen.ImplicitScope && seen.Mode != pooler.Statement && !seen.Undecided)
	f, err := look(ctx, r, cfg)
	if err != nil {
		return report.unreachable(reach(ctx, config, err, true, began))
	}
	if f.pooled = seen.Present; f.pooled && f.instances*f.poolSize > 0 {
		f.poolerSays = showConfig(ctx, &config.Config)
	}
	more := append(aboutOptions(ctx, cfg, &report.Pooler), fits(ctx, conn, cfg)...)
	report.judge(ctx, r, f, cfg, more)
	if driver, _ := options.ParseDriver(cfg.Driver); driver != "" && len(report.Through) > 0 {
		report.Recipes, report.Scoping = advise(driver, report), scoping(driver, report)
	}
	report.conclude()
	return report
}

// judge adds what the facts show, what the trial does, and more, which is known already.
func (r *Report) judge(ctx context.Context, rd *reader, f *facts, cfg Config, more []Check) {
	r.Role, r.TenantSetting, r.TenantTables = f.role.Name, f.setting, []string{}
	for _, t := range f.tenantTables() {
		r.TenantTables = append(r.TenantTables, t.Name)
	}
	checks := append(judge(f), more...)
	if len(cfg.Only) == 0 || slices.Contains(cfg.Only, Trial) {
		checks = append(checks, judgeTrial(f, isolate(ctx, rd, f))...)
	}
	checks = append(checks, sees(ctx, rd, f, cfg)...)
	r.Checks = complete(checks, f, cfg.Only)
}

func newReport() *Report {
	return &Report{Version: 1, Pooler: pooler.Fingerprint{Kind: pooler.UnknownKind, Mode: pooler.Unknown}, Capabilities: map[string]bool{}, Recipes: []Recipe{}}
}

// exec is a configuration that prepares nothing.
func exec(config *pgx.ConnConfig) *pgx.ConnConfig {
	config = config.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	return config
}

// complete adds what was found to be right, and what was not looked at, and sorts.
func complete(checks []Check, f *facts, only []Code) []Check {
	had := map[Code]bool{}
	for _, c := range checks {
		had[c.ID] = true
	}
	for code, k := range catalogue {
		if had[code] {
			continue
		}
		c := Check{ID: code, Status: OK, Basis: k.basis, Title: k.fine, Page: Page(code)}
		if why := unasked(code); why != "" {
			c.Status, c.Basis, c.Title, c.Hint = Skip, NotLookedAt, k.title, why
		}
		if code == Fleet && f.instances*f.poolSize == 0 {
			c.Status, c.Basis, c.Title, c.Hint = Skip, NotLookedAt, "the fleet's arithmetic", "say --instances N --pool-size M"
		}
		checks = append(checks, c)
	}
	checks = slices.DeleteFunc(checks, func(c Check) bool { return len(only) > 0 && !slices.Contains(only, c.ID) })
	slices.SortStableFunc(checks, func(a, b Check) int { return strings.Compare(string(a.ID)+a.Object, string(b.ID)+b.Object) })
	return checks
}

// join takes over what was found between here and PostgreSQL.
func (r *Report) join(f pooler.Findings) {
	r.Pooler, r.ServerVersion, r.KnownFaults = f.Pooler, f.ServerVersion, f.KnownFaults
	r.Capabilities = map[string]bool{"named_statements": f.Report.NamedStatements, "implicit_scope": f.Report.ImplicitScope}
	for name, c := range f.Capabilities {
		r.Capabilities[string(name)] = c.Value.OK()
	}
	r.Through = f.Capabilities
	r.Notes = append(r.Notes, f.Notes...)
	if f.Pooler.Kind == pooler.UnknownKind && len(f.Capabilities) == 0 {
		r.NotLookedAt = []string{"the pooler's kind, version and known faults", "what works through it"}
	}
}

// knownTenants says how the tenant tables were known, for the verdict.
func (r *Report) knownTenants() string {
	if len(r.TenantTables) == 0 {
		return "no tenant tables"
	}
	return count(len(r.TenantTables), "tenant table")
}

// counts returns how many findings there are of each status, without those of the
// baseline.
func (r *Report) counts() (fails, warns, known int) {
	for _, c := range r.Checks {
		switch {
		case c.Status != Fail && c.Status != Warn:
		case c.Known != nil:
			known++
		case c.Status == Fail:
			fails++
		default:
			warns++
		}
	}
	return fails, warns, known
}

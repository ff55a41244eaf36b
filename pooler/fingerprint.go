package pooler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Kind is which pooler it is.
type Kind string

// The kinds. NoPooler: PostgreSQL itself answers. UnknownKind: something else
// does, and it was not recognized.
const (
	PgBouncer   Kind = "pgbouncer"
	Odyssey     Kind = "odyssey"
	Pgpool      Kind = "pgpool"
	Supavisor   Kind = "supavisor"
	PgCat       Kind = "pgcat"
	Pgdog       Kind = "pgdog"
	PgDoorman   Kind = "pg_doorman"
	ProxySQL    Kind = "proxysql"
	RDSProxy    Kind = "rds-proxy"
	Neon        Kind = "neon"      // PgBouncer before Neon's PostgreSQL
	CloudSQL    Kind = "cloud-sql" // PgBouncer before Cloud SQL's PostgreSQL
	NoPooler    Kind = "none"
	UnknownKind Kind = "unknown"
)

// Fingerprint says which pooler answers, from what it says and does: never from
// its port or its host.
type Fingerprint struct {
	Kind Kind `json:"kind"`
	Mode Mode `json:"mode"`
	// Version is the exact one, "" if that is not known. VersionMin and VersionMax bound it, both included; "" is open.
	Version    string `json:"version"`
	VersionMin string `json:"version_min,omitempty"`
	VersionMax string `json:"version_max,omitempty"`
	// Platform is whose PostgreSQL it is, "" if nothing was recognized: "neon", "rds", "cloud-sql", "supabase".
	Platform string `json:"platform,omitempty"`
	// Why is what Kind, Mode and Version rest on. All have a Text.
	Why Whys `json:"why"`
}

// Whys are the reasons of a [Fingerprint].
type Whys struct {
	Kind    Reason `json:"kind"`
	Mode    Reason `json:"mode"`
	Version Reason `json:"version"`
}

// Versions is what is known of the version in a few words: "1.18.0", "1.19.1 or earlier", or "".
func (f Fingerprint) Versions() string {
	switch {
	case f.Version != "":
		return f.Version
	case f.VersionMin != "" && f.VersionMax != "":
		return f.VersionMin + " to " + f.VersionMax
	case f.VersionMin != "":
		return f.VersionMin + " or later"
	case f.VersionMax != "":
		return f.VersionMax + " or earlier"
	}
	return ""
}

// String is the fingerprint in a few words: "pgbouncer 1.18.0 in transaction mode".
func (f Fingerprint) String() string {
	if f.Kind == NoPooler {
		return "no pooler"
	}
	name := string(f.Kind)
	if f.Kind == UnknownKind {
		name = "an unknown pooler"
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s in %s mode", name, f.Versions(), f.Mode)), " ")
}

// evidence is what the kind and the version are concluded from.
type evidence struct {
	report   Report
	ownPID   bool            // the pid of the log-in is the server's
	pgpool   string          // SHOW pool_version
	startup  error           // of a log-in with a parameter that nobody knows
	options  error           // of a log-in with options of a setting that nobody knows
	shard    bool            // SHOW SHARD was answered
	proxysql bool            // PROXYSQL INTERNAL SESSION was answered
	console  string          // SHOW VERSION of an admin console, or ""
	settings map[string]bool // which of platformSettings the server has
	refusals []string        // all errors of log-ins
	http     string          // x-app-version of an answer to HTTP, "-" without one
	protocol error           // of a log-in that asks for protocol 3.2
	wide     bool            // which got a longer cancel key
}

// platformSettings are settings that only one host's PostgreSQL has.
var platformSettings = []struct{ setting, platform string }{
	{"neon.timeline_id", "neon"}, {"rds.extensions", "rds"}, {"cloudsql.iam_authentication", "cloud-sql"}, {"supautils.reserved_roles", "supabase"},
}

// consoles are databases by whose names poolers offer their admin consoles.
var consoles = []struct {
	database string
	kind     Kind
	answer   *regexp.Regexp
}{
	{"pgbouncer", PgBouncer, regexp.MustCompile(`(?i)^PgBouncer[ /v]+([0-9][0-9.]*)`)},
	{"pgdoorman", PgDoorman, regexp.MustCompile(`(?i)^pg_?doorman[ /v]+([0-9][0-9.]*)`)},
	{"pgcat", PgCat, regexp.MustCompile(`(?i)^pgcat[ /v]+([0-9][0-9.]*)`)},
	{"admin", Pgdog, regexp.MustCompile(`(?i)^pgdog[ /v]+([0-9][0-9.]*)`)},
	{"console", Odyssey, regexp.MustCompile(`(?i)^odyssey[ /v]+([0-9][0-9.]*)`)},
}

const (
	strangeSetting = "poolproof.startup" // no server, pooler or extension has it
	strangeValue   = "examine"
)

// loginWith tries a log-in with further parameters. The client, if it is let in,
// is the caller's to close.
func (x *examination) loginWith(ctx context.Context, database string, params map[string]string) (*client, error) {
	config := x.config.Copy()
	maps.Copy(config.RuntimeParams, params)
	if database != "" {
		config.Database = database
	}
	return x.connect(ctx, config)
}

// strange is what a log-in with a setting of nobody's brought.
func (x *examination) strange(ctx context.Context, params map[string]string) (Capability, error) {
	c, err := x.loginWith(ctx, "", params)
	if err != nil {
		return x.refusal(ctx, err), err
	}
	defer c.close()
	values, err := c.ask(ctx, statement("", "select pg_catalog.current_setting('"+strangeSetting+"', true)"), &pgproto3.Sync{})
	switch {
	case err != nil:
		return x.refusal(ctx, err), nil
	case len(values) == 1 && values[0] == strangeValue:
		return Capability{Value: Works, Basis: Measured, Text: "the server has it"}, nil
	}
	return Capability{Value: Ignored, Basis: Measured, Text: "it is accepted, and the server does not hear of it"}, nil
}

// observe gathers the evidence, beside what a tells without further log-ins.
func (x *examination) observe(ctx context.Context, a *client) *evidence {
	e := &evidence{report: x.found.Report, settings: map[string]bool{}}
	pid, err := a.backendPID(ctx)
	e.ownPID = err == nil && pid == a.pg.PID()
	e.pgpool = a.pgpoolVersion(ctx)
	for _, p := range platformSettings {
		values, err := a.ask(ctx, statement("", "select 1 where pg_catalog.current_setting('"+p.setting+"', true) is not null"), &pgproto3.Sync{})
		e.settings[p.platform] = err == nil && len(values) == 1
	}
	var startup, options Capability
	startup, e.startup = x.strange(ctx, map[string]string{strangeSetting: strangeValue})
	options, e.options = x.strange(ctx, map[string]string{"options": "-c " + strangeSetting + "=" + strangeValue})
	x.set(StartupParameter, startup)
	x.set(StartupOptions, options)
	for _, err := range []error{e.startup, e.options} {
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
			e.refusals = append(e.refusals, pgErr.Message)
		}
	}
	x.protocol(ctx, e)
	if e.pgpool != "" || !x.found.Report.Present {
		return e
	}
	if e.supavisor() {
		e.http = x.http(ctx, a)
		return e
	}
	if e.pgbouncer() {
		x.console(ctx, e, 0)
		return e
	}
	_, err = a.ask(ctx, nil, &pgproto3.Query{String: "show shard"}) // PostgreSQL has no such setting
	e.shard = err == nil
	if !e.shard && !a.broken {
		_, err = a.ask(ctx, nil, &pgproto3.Query{String: "proxysql internal session"}) // PostgreSQL: a syntax error
		e.proxysql = err == nil
	}
	for i := range consoles {
		if e.console == "" {
			x.console(ctx, e, i)
		}
	}
	if e.console == "" && !e.shard && !e.proxysql {
		e.http = x.http(ctx, a)
	}
	return e
}

// console asks an admin console for the version.
func (x *examination) console(ctx context.Context, e *evidence, i int) {
	c, err := x.loginWith(ctx, consoles[i].database, nil)
	if err != nil {
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
			e.refusals = append(e.refusals, pgErr.Message)
		}
		return
	}
	defer c.close()
	values, err := c.ask(ctx, nil, &pgproto3.Query{String: "SHOW VERSION"})
	if err != nil || len(values) == 0 {
		return
	}
	for _, known := range consoles {
		if known.answer.MatchString(values[0]) {
			e.console = values[0]
		}
	}
	if consoles[i].database != "pgbouncer" || e.console == "" {
		return
	}
	if _, err := c.ask(ctx, nil, &pgproto3.Query{String: "SHOW CONFIG"}); err != nil {
		return
	}
	for _, row := range c.rows {
		if len(row) > 1 && row[0] == "max_prepared_statements" {
			_, _ = fmt.Sscan(row[1], &x.maxPrepared) // 0 stays 0
			x.maxPreparedKnown = true
		}
	}
}

// http sends Supavisor's port an HTTP request, which that answers with its
// version. It returns "-" if the answer is another one.
func (x *examination) http(ctx context.Context, a *client) string {
	conn, err := x.dial(ctx, a)
	if err != nil {
		return "-"
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience * 5)) // of a connection that is open
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "-"
	}
	answer, _ := io.ReadAll(io.LimitReader(conn, 4096)) // what has come counts
	if m := appVersion.FindSubmatch(answer); m != nil {
		return string(m[1])
	}
	return "-"
}

var appVersion = regexp.MustCompile(`(?i)^HTTP/1\.[01] \d{3}[^\x00]*?\r\nx-app-version: *([0-9][0-9A-Za-z.+-]*)`)

// dial opens a connection to where a is connected to.
func (x *examination) dial(ctx context.Context, a *client) (net.Conn, error) {
	addr := a.pg.Conn().RemoteAddr()
	if addr.Network() == "unix" {
		return nil, errors.New("a Unix socket")
	}
	return x.config.DialFunc(ctx, addr.Network(), addr.String())
}

func (e *evidence) supavisor() bool { return e.report.Supavisor || e.says(`^\(E[A-Z]+\) `) }

// pgbouncer reports whether a strange parameter was refused in PgBouncer's words.
func (e *evidence) pgbouncer() bool { return e.says(`^unsupported startup parameter`) }

// says reports whether a log-in was refused in such words.
func (e *evidence) says(pattern string) bool {
	return slices.ContainsFunc(e.refusals, regexp.MustCompile(pattern).MatchString)
}

// conclude says what the evidence comes to.
func (e *evidence) conclude() Fingerprint {
	f := Fingerprint{Kind: UnknownKind, Mode: e.report.Mode, Why: Whys{Mode: e.report.Why.Mode}}
	f.Why.Version = Reason{Untold, "nothing that was seen differs between versions"}
	for _, p := range platformSettings {
		if e.settings[p.platform] {
			f.Platform = p.platform
		}
	}
	switch {
	case e.pgpool != "":
		f.Kind, f.Why.Kind = Pgpool, Reason{Measured, "it answers SHOW pool_version itself"}
		f.Mode = Session
		if e.report.Mode == None {
			f.Why.Mode = Reason{Documented, "each client of pgpool-II keeps its server connection"}
		}
		f.exact(firstVersion(e.pgpool), "SHOW pool_version")
	case !e.report.Present:
		f.Kind, f.Why.Kind = NoPooler, Reason{Measured, e.report.Why.Mode.Text}
		f.Why.Version = Reason{Measured, "there is no pooler"}
	case e.supavisor():
		f.Kind = Supavisor
		f.Why.Kind = Reason{Measured, "its errors begin with a code of Supavisor's"}
		if e.report.Supavisor {
			f.Why.Kind.Text = "it introduces itself as application_name Supavisor"
		}
		if e.http != "" && e.http != "-" {
			f.exact(e.http, "x-app-version, by HTTP on the same port")
		}
	case e.pgbouncer():
		f.Kind, f.Why.Kind = PgBouncer, Reason{Measured, "it refuses a startup parameter in PgBouncer's words"}
		e.bouncerVersion(&f)
		if f.Platform == "neon" || f.Platform == "cloud-sql" {
			f.Kind = Kind(f.Platform)
			f.Why.Kind = Reason{Inferred, "it is PgBouncer by its words, before a PostgreSQL with settings of " + f.Platform}
		}
	case e.console != "":
		for _, known := range consoles {
			if known.answer.MatchString(e.console) {
				f.Kind, f.Why.Kind = known.kind, Reason{Measured, "its console answers " + e.console}
				f.exact(firstVersion(e.console), "SHOW VERSION")
			}
		}
	case e.shard:
		f.Kind, f.Why.Kind = PgCat, Reason{Inferred, "it answers SHOW SHARD, a command of PgCat (and of poolers made of it)"}
	case e.proxysql:
		f.Kind, f.Why.Kind = ProxySQL, Reason{Inferred, "it answers PROXYSQL INTERNAL SESSION"}
	case e.http != "" && e.http != "-":
		f.Kind, f.Why.Kind = Supavisor, Reason{Measured, "it answers HTTP with x-app-version"}
		f.exact(e.http, "x-app-version, by HTTP on the same port")
	case e.says(`^odyssey: `):
		f.Kind, f.Why.Kind = Odyssey, Reason{Measured, "its errors begin with odyssey:"}
		f.VersionMin, f.Why.Version = "", Reason{Untold, "its words do not differ between versions that are known to us"}
	case f.Platform == "rds":
		f.Kind, f.Why.Kind = RDSProxy, Reason{Inferred, "a pooler that no other words fit, before a PostgreSQL of RDS"}
	default:
		f.Why.Kind = Reason{Untold, "none of the poolers that are known to us answers like this"}
	}
	return f
}

func (f *Fingerprint) exact(version, by string) {
	if version != "" {
		f.Version, f.VersionMin, f.VersionMax, f.Why.Version = version, version, version, Reason{Measured, by}
	}
}

var versionNumber = regexp.MustCompile(`[0-9]+(\.[0-9]+)+`)

func firstVersion(text string) string { return versionNumber.FindString(text) }

// bouncerVersion bounds PgBouncer's version by its words and by what it can.
func (e *evidence) bouncerVersion(f *Fingerprint) {
	if e.console != "" {
		f.exact(firstVersion(e.console), "SHOW VERSION on its console")
		return
	}
	var seen []string
	atLeast := func(version, why string) {
		if f.VersionMin == "" || CompareVersions(version, f.VersionMin) > 0 {
			f.VersionMin = version
		}
		seen = append(seen, why)
	}
	atMost := func(version, why string) {
		if f.VersionMax == "" || CompareVersions(version, f.VersionMax) < 0 {
			f.VersionMax = version
		}
		seen = append(seen, why)
	}
	switch {
	case e.says(`^unsupported startup parameter in options`):
		atLeast("1.20.0", "it reads the log-in's options, as since 1.20")
	case e.says(`^unsupported startup parameter: options`):
		atMost("1.19.1", "it does not read the log-in's options, as until 1.19")
	}
	if e.report.NamedStatements && e.report.Why.NamedStatements.Basis == Measured {
		atLeast("1.21.0", "it tracks named statements, as since 1.21")
	}
	if len(seen) > 0 {
		f.Why.Version = Reason{Inferred, strings.Join(seen, "; ")}
	}
}

// protocol asks for protocol 3.2.
func (x *examination) protocol(ctx context.Context, e *evidence) {
	config := x.config.Copy()
	config.MinProtocolVersion, config.MaxProtocolVersion = "3.0", "3.2"
	c, err := x.connect(ctx, config)
	e.protocol = err
	if err != nil {
		x.set(Protocol32, x.refusal(ctx, err))
		return
	}
	defer c.close()
	const shortKey = 4
	e.wide = len(c.pg.SecretKey()) > shortKey
	text := "3.0 was agreed on: cancel keys of 4 bytes"
	if e.wide {
		text = fmt.Sprintf("3.2 was agreed on: cancel keys of %d bytes", len(c.pg.SecretKey()))
	}
	x.set(Protocol32, Capability{Value: Works, Basis: Measured, Text: text})
}

// refusal is an error as a capability: refused, or the time was over.
func (x *examination) refusal(ctx context.Context, err error) Capability {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) || errors.Is(err, errWaiting) {
		return Capability{Value: Unclear, Basis: Untold, Text: "no answer in time"}
	}
	return Capability{Value: Refused, Basis: Measured, Text: cmp.Or(messageOf(err), "refused")}
}

// messageOf is what the server or pooler said, without what pgx says around it.
func messageOf(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code + " " + pgErr.Message
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return "the connection was closed without a word"
	}
	return err.Error()
}

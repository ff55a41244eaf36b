package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/atlas"
	"github.com/poolproof/poolproof/internal/visible"
	"github.com/poolproof/poolproof/pooler"
)

var digitRuns = regexp.MustCompile(`[0-9]+`)

// Residue is what an audit of server connections saw.
type Residue struct {
	Met   int `json:"met"`   // server connections that were met
	Known int `json:"known"` // those, and others of the same login, database and address that were not met
	// Connections that were met, by pid.
	Connections []ServerConnection `json:"connections"`
}

// ServerConnection is one that was met. Times are of the server's clock.
type ServerConnection struct {
	PID         int32     `json:"pid"`
	Started     time.Time `json:"started"`
	Asked       time.Time `json:"asked"`                 // last
	Application string    `json:"application,omitempty"` // the last application_name on it that was seen and not empty
	Holds       []Held    `json:"holds,omitempty"`       // empty: what a fresh one has
}

// Held is one thing that a server connection holds and a fresh one has not. No value of a setting is in it.
type Held struct {
	Code   Code     `json:"code"`
	Object string   `json:"object"`
	Since  Since    `json:"since"`
	By     []string `json:"by,omitempty"` // application names that were seen on the connection between Since.After and Since.Before
}

// Since is what is known of when something came about.
type Since struct {
	Exact  *time.Time `json:"exact,omitempty"`  // PostgreSQL says so
	After  *time.Time `json:"after,omitempty"`  // it was not there then: the server connection was met, or is younger
	Before *time.Time `json:"before,omitempty"` // it was there then
}

// String is Since in words.
func (s Since) String() string {
	const clock = "2006-01-02 15:04:05.000 MST"
	switch {
	case s.Exact != nil:
		return "since " + s.Exact.UTC().Format(clock)
	case s.After != nil && s.Before != nil:
		return "since a moment between " + s.After.UTC().Format(clock) + " and " + s.Before.UTC().Format(clock)
	}
	return "since a time that is not known"
}

// Event is what [Watch] saw.
type Event struct {
	At     time.Time `json:"at"`
	Gone   bool      `json:"gone,omitempty"` // it was there and is not any more
	Code   Code      `json:"code"`
	Object string    `json:"object"`
	PID    int32     `json:"pid"`
	Since  Since     `json:"since"`
	By     []string  `json:"by,omitempty"`
	Fix    string    `json:"fix"`
}

// String is an event in a line, with its SQL at its end.
func (e Event) String() string {
	text := fmt.Sprintf("%s %s %s: %s, on the server connection with pid %d", e.At.UTC().Format("15:04:05.000"), e.Code, map[bool]string{false: "came", true: "is gone"}[e.Gone], e.Object, e.PID)
	if e.Gone {
		return text
	}
	text += ", " + e.Since.String()
	if len(e.By) > 0 {
		text += ", application_name seen on it: " + strings.Join(e.By, ", ")
	}
	return text + "; to end it: " + e.Fix
}

// since is what is known of a thing.
func (l *left) since(m *met) Since {
	s := Since{Before: &l.before, After: &l.after}
	if !l.exact.IsZero() {
		return Since{Exact: &l.exact}
	}
	if l.after.IsZero() {
		s.After = &m.started
	}
	return s
}

// ofResidue says, of each code of the audit, which fault of prove's leaves it, and by which rows of the atlas it is known.
var ofResidue = map[Code]struct {
	from hostile.Code
	row  string
}{
	LeftTenant:    {hostile.SessionSetting, "custom setting"},
	LeftSetting:   {hostile.SessionSetting, "setting"},
	LeftRole:      {hostile.SessionRole, "role"},
	LeftLock:      {hostile.SessionLock, "advisory lock of the session"},
	LeftTemp:      {hostile.TempTable, "temporary table, view or sequence"},
	LeftStatement: {hostile.NameCollision, "named statement of the protocol"},
	LeftCursor:    {hostile.HoldCursor, "cursor WITH HOLD"},
	LeftChannel:   {hostile.Listening, "LISTEN"},
	LeftState:     {hostile.FunctionState, "seed of random()"},
}

// unasked says how to ask for what [Examine] does not look at, "" if it does.
func unasked(c Code) string {
	if _, ok := ofResidue[c]; ok {
		return "poolproof doctor --residue"
	}
	switch c {
	case NothingSeen:
		return "name a tenant that has rows: --tenant ID"
	case DoesNotFit:
		return "say which statements the application sends: --statements FILE"
	}
	return ""
}

// Audit meets as many of the pooler's server connections as it can within Config.Within, and says of each what it holds that
// a fresh one has not. It only reads. The pooler's kind is not looked at, and of the codes only PD025 to PD033. It
// returns as soon as it has met all that PostgreSQL lists.
func Audit(ctx context.Context, cfg Config) *Report {
	if cfg.Within <= 0 {
		cfg.Within = Budget
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Within*4/5) // the rest is for the pooler's mode
	defer cancel()
	return audited(ctx, cfg, nil)
}

// Watch is Audit until ctx ends, or Config.Within is over where it is more than 0. It calls on for each thing that comes
// and goes, one call at a time; on must return soon. Each server connection is asked at most five times a second.
func Watch(ctx context.Context, cfg Config, on func(Event)) *Report {
	if cfg.Within > 0 {
		within, cancel := context.WithTimeout(ctx, cfg.Within)
		defer cancel()
		ctx = within
	}
	return audited(ctx, cfg, on)
}

func audited(ctx context.Context, cfg Config, on func(Event)) *Report {
	began := time.Now()
	report := newReport()
	config, dropped, err := parse(cfg.URL)
	if err != nil {
		return report.unreachable(err, "write it as postgres://user:password@host:port/database, with %40 for an @ in the password")
	}
	dialed := noteDials(config)
	a := &audit{on: on, cfg: cfg, told: map[string]string{}, tenant: map[string]bool{}, met: map[int32]*met{}, others: map[int32]other{}}
	refused, err := a.open(ctx, exec(config))
	if err != nil {
		return report.unreachable(reach(ctx, config, err, dialed.Load(), began))
	}
	for _, name := range append(dropped, refused...) {
		report.Notes = append(report.Notes, "the parameter "+name+" of the URL is not PostgreSQL's and was left out")
	}
	report.Role, report.ServerVersion = config.User, a.clients[0].PgConn().ParameterStatus("server_version")
	if a.pooled {
		if on != nil {
			a.probe(ctx, report)
		}
		a.run(ctx)
		if on == nil {
			a.probe(ctx, report)
		}
	} else {
		report.Pooler.Kind, report.Pooler.Mode = pooler.NoPooler, pooler.None
	}
	a.close()
	if len(a.met) == 0 && a.pooled && on == nil {
		return report.unreachable(reach(ctx, config, cmp.Or(ctx.Err(), context.DeadlineExceeded), true, began))
	}
	report.Notes = append(report.Notes, a.notes...)
	a.seeds()
	a.libraries()
	report.Residue = a.residue()
	report.Checks = a.checks(cfg.Only)
	report.conclude()
	return report
}

// probe finds out the pooler's mode, and whether it tracks statements: then those on the server connections are its own. It
// comes after the meeting, because to find out that the mode is statement costs a server connection.
func (a *audit) probe(ctx context.Context, report *Report) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*pooler.Budget) // the audit has taken less
	defer cancel()
	seen, err := pooler.Probe(ctx, a.config)
	if err != nil {
		a.notef("the pooler's mode was not found out: %s", last(err))
	} else {
		report.join(brief(seen))
	}
	a.foreign = err == nil && !seen.NamedStatements && seen.Why.NamedStatements.Basis != pooler.Untold && seen.Mode != pooler.Session
	for _, m := range a.met {
		for key, l := range m.items {
			if l.wire && !a.foreign {
				delete(m.items, key)
			}
		}
	}
}

// residue is what was seen, for the report.
func (a *audit) residue() *Residue {
	r := &Residue{Met: len(a.met), Known: len(a.met) + len(a.unmet()), Connections: []ServerConnection{}}
	for _, pid := range slices.Sorted(maps.Keys(a.met)) {
		m := a.met[pid]
		c := ServerConnection{PID: pid, Started: m.started, Asked: m.asked, Application: m.application}
		for _, l := range m.sorted() {
			c.Holds = append(c.Holds, Held{Code: l.code, Object: l.name, Since: l.since(m), By: l.by})
		}
		r.Connections = append(r.Connections, c)
	}
	return r
}

// write writes the server connections that were met, one a line.
func (r *Residue) write(b *strings.Builder) {
	fmt.Fprintf(b, "server connections: %d of %d met\n", r.Met, r.Known)
	for _, c := range r.Connections {
		fmt.Fprintf(b, "      pid %d, since %s", c.PID, c.Started.UTC().Format("2006-01-02 15:04:05 MST"))
		if c.Application != "" {
			fmt.Fprintf(b, ", application_name last seen on it: %s", visible.Line(c.Application))
		}
		var names []string
		for _, h := range c.Holds {
			names = append(names, string(h.Code)+" "+h.Object)
		}
		if len(names) == 0 {
			names = []string{"nothing"}
		}
		fmt.Fprintf(b, ", holds: %s\n", visible.Line(strings.Join(names, ", ")))
	}
}

func (m *met) sorted() []*left {
	return slices.SortedFunc(maps.Values(m.items), func(a, b *left) int { return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.name, b.name)) })
}

// checks makes one finding of what is alike on several server connections.
func (a *audit) checks(only []Code) []Check {
	type group struct {
		code  Code
		on    []*met
		names map[*met][]*left
	}
	groups := map[string]*group{}
	for _, pid := range slices.Sorted(maps.Keys(a.met)) {
		m := a.met[pid]
		for _, l := range m.sorted() {
			key := string(l.code) + " " + l.object
			g := groups[key]
			if g == nil {
				g = &group{code: l.code, names: map[*met][]*left{}}
				groups[key] = g
			}
			if g.names[m] == nil {
				g.on = append(g.on, m)
			}
			g.names[m] = append(g.names[m], l)
		}
	}
	var all []Check
	had := map[Code]bool{}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		had[g.code] = true
		_, object, _ := strings.Cut(key, " ")
		lines := []string{fmt.Sprintf("on %d of the %s met", len(g.on), count(len(a.met), "server connection"))}
		for i, m := range g.on {
			if i == 5 {
				lines = append(lines, fmt.Sprintf("and %d more", len(g.on)-i))
				break
			}
			lines = append(lines, m.says(g.names[m]))
		}
		fix := endThem(g.on...)
		row := atlasRow(ofResidue[g.code].row)
		hint := fix + " -- no row: it was busy, ask again" +
			"\n-- or, where somebody may log in to PgBouncer's console, without ending anybody's statement: RECONNECT"
		if row.Narrower != "" {
			hint += "\n-- or, on the server connection itself: " + row.Narrower
		}
		hint += "\n-- so that it does not come back: poolproof explain " + string(ofResidue[g.code].from)
		c := finding(g.code, object, strings.Join(lines, "\n"), fix, hint)
		all = append(all, c)
	}
	for code := range ofResidue {
		if !had[code] {
			all = append(all, Check{ID: code, Status: OK, Basis: catalogue[code].basis, Title: catalogue[code].fine, Page: Page(code)})
		}
	}
	all = slices.DeleteFunc(all, func(c Check) bool { return len(only) > 0 && !slices.Contains(only, c.ID) })
	slices.SortStableFunc(all, func(a, b Check) int { return strings.Compare(string(a.ID)+a.Object, string(b.ID)+b.Object) })
	return all
}

// says is what one server connection holds of a kind, in a line.
func (m *met) says(all []*left) string {
	var names []string
	for _, l := range all {
		names = append(names, l.name)
	}
	text := fmt.Sprintf("pid %d: ", m.pid)
	if len(names) > 3 {
		names = append(names[:3:3], fmt.Sprintf("… (%d in all)", len(all)))
	}
	text += strings.Join(names, ", ") + ", " + all[0].since(m).String()
	if m.application != "" {
		text += ", application_name last seen on it: " + m.application
	}
	if by := slices.DeleteFunc(slices.Clone(all[0].by), func(n string) bool { return n == m.application }); len(by) > 0 {
		text += ", in between also " + strings.Join(by, ", ")
	}
	return text
}

func atlasRow(name string) atlas.Row {
	rows := atlas.Rows()
	if i := slices.IndexFunc(rows, func(r atlas.Row) bool { return r.Name == name }); i >= 0 {
		return rows[i]
	}
	return atlas.Row{}
}

// endThem is SQL that ends server connections, if they are still the same ones and nobody has them at the moment. The
// login itself may do that, and the pooler opens fresh ones.
func endThem(all ...*met) string {
	var those []string
	for _, m := range all {
		those = append(those, fmt.Sprintf("(%d, '%s')", m.pid, m.started.UTC().Format("2006-01-02 15:04:05.000000Z")))
	}
	return "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle' and (pid, backend_start) in (" + strings.Join(those, ", ") + ");"
}

// seeds finds server connections whose next random numbers can be told.
func (a *audit) seeds() {
	drawn := map[string]bool{}
	for _, m := range a.met {
		drawn[m.random] = true
	}
	delete(drawn, "")
	seeds := foretold(drawn)
	for _, m := range a.met {
		if seed, ok := seeds[m.random]; ok {
			name := "seed of random(): setseed(" + seed + ")"
			m.items[string(LeftState)+" "+name] = &left{code: LeftState, object: "seed of random()", name: name, before: m.first, by: nil}
		}
	}
}

// libraries finds those that were loaded on some server connections and not on others: by LOAD.
func (a *audit) libraries() {
	on := map[string][]*met{}
	for _, m := range a.met {
		for _, l := range m.libraries {
			on[l] = append(on[l], m)
		}
	}
	for l, some := range on {
		if len(some) == len(a.met) {
			continue
		}
		for _, m := range some {
			name := "library " + l
			m.items[string(LeftState)+" "+name] = &left{code: LeftState, object: name, name: name, before: m.first}
		}
	}
}

// concludeAudit writes the verdict of an audit.
func (r *Report) concludeAudit() {
	fails, warns, known := r.counts()
	version, _, _ := strings.Cut(r.ServerVersion, " ")
	if r.Pooler.Kind == pooler.NoPooler {
		r.Verdict = "clean: no pooler stands between, and what a connection holds ends with its client: PostgreSQL " + version + ", role " + r.Role
		return
	}
	where := fmt.Sprintf("a pooler in %s mode, PostgreSQL %s, role %s", r.Pooler.Mode, version, r.Role)
	dirty := 0
	for _, c := range r.Residue.Connections {
		if len(c.Holds) > 0 {
			dirty++
		}
	}
	met := fmt.Sprintf("%d of %s met", r.Residue.Met, count(r.Residue.Known, "server connection"))
	state := "clean: nothing was left"
	if found := tally(fails, warns); found != "" {
		state = fmt.Sprintf("%s: %s not clean", found, count(dirty, "server connection"))
	}
	if known > 0 {
		state += fmt.Sprintf(" (%d known)", known)
	}
	r.Verdict = state + "; " + met + ": " + where
	if r.Residue.Met < r.Residue.Known {
		r.Verdict += "; the others were busy, not handed out, or are no pooler's"
	}
}

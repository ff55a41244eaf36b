package checkup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/pooler"
)

// Report is what a look found, in the form that the API has. It names tables, roles and versions, for those who run the
// service; [Report.Public] is for everybody. It has no URL and no secret.
type Report struct {
	At            *time.Time    `json:"at"`     // when the look ended; nil: nobody has looked yet
	Status        doctor.Status `json:"status"` // the worst finding's: ok, warn or fail; unknown before the first look
	Verdict       string        `json:"verdict"`
	Pooler        Pooler        `json:"pooler"`
	ServerVersion string        `json:"server_version"`
	Role          string        `json:"role"`
	TenantTables  int           `json:"tenant_tables"`
	Findings      []Finding     `json:"findings"`
	NotLookedAt   []string      `json:"not_looked_at"`
	Changes       []Change      `json:"changes"` // those of the last look that found any
	// ChangedAt is when that look ended; nil: nothing has changed since the service started.
	ChangedAt *time.Time `json:"changed_at"`

	known  map[string]string    // what is compared: see facts
	looked map[doctor.Code]bool // the checks that were made
}

// Pooler is what stands between the service and PostgreSQL.
type Pooler struct {
	Kind    string `json:"kind"`
	Mode    string `json:"mode"`
	Version string `json:"version"` // such as "1.19.1 or earlier", "" if nothing is known of it
}

// Finding is one thing that is wrong.
type Finding struct {
	Code        doctor.Code   `json:"code"`
	Severity    doctor.Status `json:"severity"` // warn or fail
	Title       string        `json:"title"`
	Object      string        `json:"object"` // table, policy, function or role
	Detail      string        `json:"detail"`
	Consequence string        `json:"consequence"`
	Fix         string        `json:"fix"` // SQL, or a step
	Basis       doctor.Basis  `json:"basis"`
}

// Change is something that was otherwise at an earlier look. What is pooler.kind, pooler.mode, pooler.version,
// server.version, a capability ("through.named_statements"), or a finding's code with its object.
type Change struct {
	What   string `json:"what"`
	Before string `json:"before"`
	After  string `json:"after"`
}

func (c Change) String() string { return c.What + ": " + c.Before + " → " + c.After }

// Public is what anybody may see: the verdict and the codes, and of what changed the pooler's mode, which /readyz shows
// anyhow, and codes. The pooler's kind and version, names of roles and tables, and what works through it are of use to an attacker.
type Public struct {
	Verdict string        `json:"verdict"` // ok, warn or fail; unknown before the first look
	Codes   []doctor.Code `json:"codes"`
	Changed []Change      `json:"changed"`
}

// Public returns the part of a report that anybody may see.
func (r *Report) Public() Public {
	p := Public{Verdict: string(r.Status), Codes: []doctor.Code{}, Changed: []Change{}}
	for _, f := range r.Findings {
		if !slices.Contains(p.Codes, f.Code) {
			p.Codes = append(p.Codes, f.Code)
		}
	}
	for _, c := range r.Changes {
		if code := codeOf(c.What); code != "" {
			c.What = string(code)
		} else if c.What != poolerMode {
			continue
		}
		if !slices.Contains(p.Changed, c) {
			p.Changed = append(p.Changed, c)
		}
	}
	return p
}

// Record is the last report. The zero value has none; it is safe for concurrent use.
type Record struct {
	mu   sync.Mutex
	last *Report
}

// never is the report before the first look.
func never() *Report {
	return &Report{
		Status: "unknown", Verdict: "nobody has looked yet", Pooler: Pooler{Kind: string(pooler.UnknownKind), Mode: string(pooler.Unknown)},
		Findings: []Finding{}, NotLookedAt: []string{}, Changes: []Change{},
	}
}

// Last returns the last report, which is not to be changed. Before the first look its Status is "unknown".
func (r *Record) Last() *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		return never()
	}
	return r.last
}

// Note takes over what a look found. It returns what is not as it was at the last look, nothing after the first one, and the findings
// that no look had before.
func (r *Record) Note(found *doctor.Report, at time.Time) (changes []Change, fresh []Finding) {
	next := reportOf(found, at)
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.last
	if before == nil {
		before = never()
	}
	changes = differences(before, next)
	next.Changes, next.ChangedAt = before.Changes, before.ChangedAt
	if len(changes) > 0 {
		next.Changes, next.ChangedAt = changes, next.At
	}
	for _, f := range next.Findings {
		if _, had := before.known[f.name()]; !had {
			fresh = append(fresh, f)
		}
	}
	for what, value := range before.known { // what was not looked at this time is as it was
		if _, ok := next.known[what]; !ok && codeOf(what) == "" {
			next.known[what] = value
		}
	}
	r.last = next
	return changes, fresh
}

func reportOf(found *doctor.Report, at time.Time) *Report {
	at = at.UTC()
	r := &Report{
		At: &at, Status: found.Worst(), Verdict: found.Verdict, ServerVersion: found.ServerVersion, Role: found.Role, TenantTables: len(found.TenantTables),
		Pooler:   Pooler{Kind: string(found.Pooler.Kind), Mode: string(found.Pooler.Mode), Version: found.Pooler.Versions()},
		Findings: []Finding{}, NotLookedAt: append([]string{}, found.NotLookedAt...), Changes: []Change{},
		known: facts(found), looked: map[doctor.Code]bool{},
	}
	for _, c := range found.Checks {
		r.looked[c.ID] = r.looked[c.ID] || c.Status != doctor.Skip
		if c.Status == doctor.Warn || c.Status == doctor.Fail {
			f := Finding{c.ID, c.Status, c.Title, c.Object, c.Detail, c.Consequence, c.Hint, c.Basis}
			r.Findings, r.known[f.name()] = append(r.Findings, f), string(c.Status)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.Severity, b.Severity) }) // fail before warn
	return r
}

const (
	poolerKind    = "pooler.kind"
	poolerMode    = "pooler.mode"
	poolerVersion = "pooler.version"
)

// facts are what is compared beside findings, by name. What is not known is not among them.
func facts(found *doctor.Report) map[string]string {
	known := map[string]string{"server.version": found.ServerVersion}
	if found.Pooler.Kind != pooler.UnknownKind {
		known[poolerKind] = string(found.Pooler.Kind)
	}
	if version := found.Pooler.Versions(); version != "" {
		known[poolerVersion] = version
	}
	if found.Pooler.Mode != pooler.Unknown {
		known[poolerMode] = string(found.Pooler.Mode)
	}
	for name, c := range found.Through {
		if c.Value != pooler.Unclear && name != pooler.Cancel && name != pooler.Wait { // those two depend on how busy it is
			known["through."+string(name)] = string(c.Value)
		}
	}
	return known
}

// name is a finding's among what is compared: its code, and the object where there is one.
func (f Finding) name() string { return strings.TrimSpace(string(f.Code) + " " + f.Object) }

// codeOf is the code in the name of a finding, "" for what is none.
func codeOf(what string) doctor.Code {
	text, _, _ := strings.Cut(what, " ")
	if title, _ := doctor.Describe(doctor.Code(text)); title == "" {
		return ""
	}
	return doctor.Code(text)
}

// differences compares what both looks looked at. They are sorted: the pooler's first, then the server's, what works through
// it, and findings.
func differences(before, after *Report) []Change {
	var changes []Change
	was := func(r *Report, what string) (string, bool) {
		value, ok := r.known[what]
		if code := codeOf(what); !ok && r.looked[code] { // nothing was found
			return string(doctor.OK), true
		}
		return value, ok
	}
	names := slices.Collect(maps.Keys(before.known))
	for what := range after.known {
		if _, ok := before.known[what]; !ok {
			names = append(names, what)
		}
	}
	for _, what := range names {
		then, had := was(before, what)
		now, has := was(after, what)
		if had && has && then != now {
			changes = append(changes, Change{what, then, now})
		}
	}
	rank := func(c Change) int {
		return slices.IndexFunc([]string{poolerMode, poolerKind, "pooler.", "server.", "through.", ""}, func(prefix string) bool { return strings.HasPrefix(c.What, prefix) })
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a.What, b.What)) })
	return changes
}

// asksForReopening reports whether what Open chose by may be otherwise now.
func asksForReopening(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool {
		return slices.Contains([]string{poolerKind, poolerMode, "through." + string(pooler.NamedStatements), "through." + string(pooler.ImplicitScope)}, c.What)
	})
}

// describe is changes in one line.
func describe(changes []Change) string {
	texts := make([]string, len(changes))
	for i, c := range changes {
		texts[i] = fmt.Sprint(c)
	}
	return strings.Join(texts, "; ")
}

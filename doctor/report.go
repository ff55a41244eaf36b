package doctor

import (
	"fmt"
	"strings"

	"github.com/poolproof/poolproof/pooler"
)

// Report is what was found. Its JSON is a contract; Version changes with it.
type Report struct {
	Version int    `json:"version"`
	Verdict string `json:"verdict"`
	Reached bool   `json:"reached"`
	// Pooler is what stands between.
	Pooler pooler.Fingerprint `json:"pooler"`
	// Capabilities may be relied on if true; Through says of each what was seen, and what that rests on.
	Capabilities map[string]bool                   `json:"capabilities"`
	Through      map[pooler.Name]pooler.Capability `json:"through,omitempty"`
	// KnownFaults are published ones of that pooler in that version.
	KnownFaults   []pooler.Fault `json:"known_faults,omitempty"`
	ServerVersion string         `json:"server_version,omitempty"`
	Role          string         `json:"role,omitempty"`
	TenantSetting string         `json:"tenant_setting,omitempty"`
	TenantTables  []string       `json:"tenant_tables,omitempty"`
	Checks        []Check        `json:"checks"`
	// Recipes are settings of the driver for this pooler.
	Recipes []Recipe `json:"recipes"`
	// Scoping is the framework's code, if the driver is one of a framework.
	Scoping *Scoping `json:"scoping,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	// Static is what a linter said: see [Report.AddSARIF].
	Static []Static `json:"static,omitempty"`
	// Residue is what [Audit] and [Watch] saw; nil in the report of Examine.
	Residue *Residue `json:"residue,omitempty"`
	// NotLookedAt is what was left out because the look was to be quick.
	NotLookedAt []string `json:"not_looked_at,omitempty"`
}

// Check is the outcome of one check, on one object where something was found.
type Check struct {
	ID          Code   `json:"id"`
	Status      Status `json:"status"`
	Title       string `json:"title"`
	Object      string `json:"object,omitempty"` // table, policy, function or role
	Detail      string `json:"detail"`
	Hint        string `json:"hint"`          // SQL or a command
	Fix         string `json:"fix,omitempty"` // SQL, if SQL mends it
	Consequence string `json:"consequence,omitempty"`
	Basis       Basis  `json:"basis"`
	Page        string `json:"page"`
	Known       *Known `json:"known,omitempty"` // it is in the baseline
}

// headline is a check in one line.
func (c Check) headline() string {
	if c.Object == "" {
		return c.Title
	}
	return c.Title + ": " + c.Object
}

func (r *Report) unreachable(err error, hint string) *Report {
	c := finding(NoConnection, "", err.Error(), "", hint)
	r.Checks, r.Reached = []Check{c}, false
	r.Verdict = "no connection: " + err.Error()
	return r
}

// with adds what the URL alone shows to a report of a database that was not reached.
func (r *Report) with(checks []Check) *Report {
	r.Checks = append(r.Checks, checks...)
	return r
}

// tally is numbers of faults and warnings in words, "" if there are none.
func tally(fails, warns int) string {
	var parts []string
	if fails > 0 {
		parts = append(parts, count(fails, "fault"))
	}
	if warns > 0 {
		parts = append(parts, count(warns, "warning"))
	}
	return strings.Join(parts, ", ")
}

// conclude writes the verdict of a database that was reached.
func (r *Report) conclude() {
	r.Reached = true
	if r.Residue != nil {
		r.concludeAudit()
		return
	}
	fails, warns, known := r.counts()
	version, _, _ := strings.Cut(r.ServerVersion, " ") // without a distribution's own
	where := "PostgreSQL " + version
	if r.Pooler.Kind == pooler.NoPooler {
		where += " without a pooler"
	} else {
		where = r.is() + ", " + where
	}
	state := "healthy"
	if found := tally(fails, warns); found != "" {
		state = found
		if r.leaks() {
			state += "; tenants are not isolated"
		}
	}
	if known > 0 {
		state += fmt.Sprintf(" (%d known)", known)
	}
	trial := ""
	for _, c := range r.Checks {
		if c.ID == Trial && c.Status == OK {
			trial = "; " + c.Title + ", " + c.Detail
		}
	}
	r.Verdict = fmt.Sprintf("%s: %s, role %s, %s%s", state, where, r.Role, r.knownTenants(), trial)
	if len(r.NotLookedAt) > 0 {
		r.Verdict += "; not looked at: " + strings.Join(r.NotLookedAt, ", ")
	}
}

// leaks reports whether a finding means that tenants reach each other's rows.
func (r *Report) leaks() bool {
	if len(r.TenantTables) == 0 {
		return false
	}
	for _, c := range r.Checks {
		if c.Status == Fail && c.Known == nil && c.ID != Fleet && c.ID != RowSecurityOff && c.ID != BadOption && c.ID != DoesNotFit {
			return true
		}
	}
	return false
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Worst is the worst status of what counts: OK if everything is in the baseline.
func (r *Report) Worst() Status {
	fails, warns, _ := r.counts()
	switch {
	case fails > 0:
		return Fail
	case warns > 0:
		return Warn
	}
	return OK
}

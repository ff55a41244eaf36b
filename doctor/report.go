package doctor

import (
	"fmt"
	"strings"
)

// Report is what was found. Its JSON is a contract; Version changes with it.
type Report struct {
	Version       int             `json:"version"`
	Verdict       string          `json:"verdict"`
	Reached       bool            `json:"reached"`
	Pooler        Pooler          `json:"pooler"`
	Capabilities  map[string]bool `json:"capabilities"`
	ServerVersion string          `json:"server_version,omitempty"`
	Role          string          `json:"role,omitempty"`
	TenantSetting string          `json:"tenant_setting,omitempty"`
	TenantTables  []string        `json:"tenant_tables,omitempty"`
	Checks        []Check         `json:"checks"`
	Recipes       []string        `json:"recipes"`
	Notes         []string        `json:"notes,omitempty"`
}

// Pooler is what stands between.
type Pooler struct {
	Kind    string `json:"kind"`
	Mode    string `json:"mode"`
	Version string `json:"version"`
	Basis   string `json:"basis,omitempty"` // of the mode
	Why     string `json:"why,omitempty"`
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

// conclude writes the verdict of a database that was reached.
func (r *Report) conclude() {
	r.Reached = true
	fails, warns, known := r.counts()
	where := "PostgreSQL " + r.ServerVersion
	if r.Pooler.Kind != "none" {
		where = strings.TrimPrefix(r.Pooler.Kind+" ", "unknown ") + "pooler in " + r.Pooler.Mode + " mode, " + where
	} else {
		where += " without a pooler"
	}
	var parts []string
	if fails > 0 {
		parts = append(parts, count(fails, "fault"))
	}
	if warns > 0 {
		parts = append(parts, count(warns, "warning"))
	}
	state := "healthy"
	if len(parts) > 0 {
		state = strings.Join(parts, ", ")
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
}

// leaks reports whether a finding means that tenants reach each other's rows.
func (r *Report) leaks() bool {
	for _, c := range r.Checks {
		if c.Status == Fail && c.Known == nil && c.ID != Fleet && c.ID != RowSecurityOff {
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

package pooler

import (
	"fmt"
	"time"
)

// Mode is how a pooler hands out server connections.
type Mode string

// The modes. None means that no pooler answered; Unknown that one did and the
// probe could not tell its mode, for instance because the time was over.
const (
	None        Mode = "none"
	Session     Mode = "session"
	Transaction Mode = "transaction"
	Statement   Mode = "statement"
	Unknown     Mode = "unknown"
)

// Basis is what a conclusion of a [Report] rests on.
type Basis string

// The bases.
const (
	// Measured: it was seen to be so.
	Measured Basis = "measured"
	// Inferred: all that was seen fits, and a pooler can be thought of where it would be otherwise.
	Inferred Basis = "inferred"
	// Untold: it was not found out, so the report says what is safe.
	Untold Basis = "not found out"
)

// Reason is why a [Report] says something.
type Reason struct {
	Basis Basis `json:"basis"`
	// Text is one clause, such as "a client met two server connections".
	Text string `json:"text"`
}

// String is the reason in a log: "measured: a client met two server connections".
func (r Reason) String() string { return string(r.Basis) + ": " + r.Text }

// Report is what [Probe] saw. A false capability means "not proven".
type Report struct {
	// Present: something other than PostgreSQL itself answers.
	Present bool
	// Mode is None exactly when Present is false.
	Mode Mode
	// NamedStatements: a statement that a client has prepared is there whenever that client asks for it. A statement
	// prepared on one server connection was executed on another, or each client keeps its server connection for certain,
	// or there is no pooler.
	NamedStatements bool
	// ImplicitScope: a transaction-local setting holds for the rest of its pipeline and is gone after the Sync.
	ImplicitScope bool
	// Undecided: the time was over before ImplicitScope could be tried; asking again may tell.
	Undecided bool
	// TimedOut: the time was over before something, ImplicitScope or another thing, could be told; asking again may tell.
	TimedOut bool
	// Why is what Mode, NamedStatements and ImplicitScope rest on. All have a Text.
	Why struct{ Mode, NamedStatements, ImplicitScope Reason }
	// Supavisor: the pooler reports itself by that application_name. What was proven of its named statements holds only until
	// a client makes an error: then it sends answers that nobody asked for (measured in November 2026).
	Supavisor bool
	// ServerVersion is PostgreSQL's server_version as reported through the pooler.
	ServerVersion string
	// Elapsed is how long the probe took.
	Elapsed time.Duration
	// Notes say what the probe could not decide, and what it had to leave behind, one sentence each.
	Notes []string
}

// String is the report in one line, for a log.
func (r Report) String() string {
	if !r.Present {
		return fmt.Sprintf("no pooler, PostgreSQL %s", r.ServerVersion)
	}
	return fmt.Sprintf("pooler in %s mode before PostgreSQL %s, named statements %s, one-Sync scope %s",
		r.Mode, r.ServerVersion, provenOrNot(r.NamedStatements), provenOrNot(r.ImplicitScope))
}

func provenOrNot(b bool) string {
	if b {
		return "proven"
	}
	return "not proven"
}

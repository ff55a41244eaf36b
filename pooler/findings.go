package pooler

import (
	"fmt"
	"time"
)

// Documented is the basis of what was not seen here, but is written down for this
// pooler, by its authors or by those who measured it elsewhere.
const Documented Basis = "documented"

// Value is what becomes of a thing through a pooler.
type Value string

// The values. Works and Tracked are what a program may rely on.
const (
	// Works: as with PostgreSQL itself.
	Works Value = "works"
	// Tracked: the pooler keeps it for its client, wherever the client comes to.
	Tracked Value = "tracked"
	// Lost: it is gone where its client comes to next, and nobody else meets it.
	Lost Value = "lost"
	// Leaks: other clients meet it, and its own client may not.
	Leaks Value = "leaks"
	// Wrong: without an error, something else than was asked for.
	Wrong Value = "wrong"
	// Ignored: it is accepted and has no effect.
	Ignored Value = "ignored"
	// Refused: an error.
	Refused Value = "refused"
	// Unclear: it was not found out; the text says why.
	Unclear Value = "unknown"
)

// OK reports whether a program may rely on it.
func (v Value) OK() bool { return v == Works || v == Tracked }

// Capability is one thing that may work through a pooler, or not.
type Capability struct {
	Value Value `json:"value"`
	Basis Basis `json:"basis"`
	// Text is one clause: what was seen, or what the conclusion rests on.
	Text string `json:"text"`
	// Limit is how many there can be, 0 if that is not known or there is none.
	Limit int `json:"limit,omitempty"`
	// Tried and Done count what was tried several times, as cancel requests are.
	Tried int `json:"tried,omitempty"`
	Done  int `json:"done,omitempty"`
}

// Name is the name of a capability, as in JSON.
type Name string

// The capabilities.
const (
	// NamedStatements: a statement that a client has prepared is there when that client asks for it.
	NamedStatements Name = "named_statements"
	// UnnamedStatement: so is the unnamed one, after a Sync.
	UnnamedStatement Name = "unnamed_statement_across_sync"
	// ImplicitScope: a transaction-local setting holds for its pipeline and is gone after its Sync.
	ImplicitScope Name = "implicit_scope"
	// Transactions: BEGIN is let through.
	Transactions Name = "transactions"

	// SettingSet and those below are settings of a session: by SET, by set_config, by set_config in a function, by SET in
	// a transaction; and TimeZone, application_name and search_path by SET.
	SettingSet           Name = "setting_set"
	SettingSetConfig     Name = "setting_set_config"
	SettingInFunction    Name = "setting_in_function"
	SettingInTransaction Name = "setting_in_transaction"
	SettingTimeZone      Name = "setting_timezone"
	SettingApplication   Name = "setting_application_name"
	SettingSearchPath    Name = "setting_search_path"

	// StartupParameter: a setting among the parameters of the log-in. StartupOptions: one in options=-c ….
	StartupParameter Name = "startup_parameter"
	StartupOptions   Name = "startup_options"
	// ApplicationName: the log-in's application_name is what the server shows.
	ApplicationName Name = "application_name"

	Listen        Name = "listen"
	AdvisoryLocks Name = "advisory_locks"
	TempTables    Name = "temp_tables"

	// CopyOut and CopyIn: COPY TO STDOUT and FROM STDIN. LateCopy: data of a COPY that has failed already.
	CopyOut  Name = "copy_out"
	CopyIn   Name = "copy_in"
	LateCopy Name = "late_copy"

	// Cancel: a cancel request stops its own statement; Tried and Done say how many did.
	Cancel Name = "cancel"
	// PipelineError: after an error in the middle of a pipeline, the answers are still in step.
	PipelineError Name = "pipeline_error"
	// SeveralSyncs: more than one Sync under way at a time.
	SeveralSyncs Name = "several_syncs"
	// HalfPipeline: a pipeline without its Sync yet is answered at its Flush.
	HalfPipeline Name = "half_sent_pipeline"
	// Protocol32: protocol 3.2, with its longer cancel keys.
	Protocol32 Name = "protocol_3_2"
	// TLS and ChannelBinding: what the log-in can be protected with.
	TLS            Name = "tls"
	ChannelBinding Name = "channel_binding"
	// Wait: how long a client waits for a server connection.
	Wait Name = "wait"
)

// Names are all capabilities, in the order in which a person reads them.
var Names = []Name{
	NamedStatements, UnnamedStatement, ImplicitScope, Transactions,
	SettingSet, SettingSetConfig, SettingInFunction, SettingInTransaction, SettingTimeZone, SettingApplication, SettingSearchPath,
	StartupParameter, StartupOptions, ApplicationName, Listen, AdvisoryLocks, TempTables, CopyOut, CopyIn, LateCopy,
	Cancel, PipelineError, SeveralSyncs, HalfPipeline, Protocol32, TLS, ChannelBinding, Wait,
}

// Findings are what [Examine] found. They can be written as JSON.
type Findings struct {
	Pooler Fingerprint `json:"pooler"`
	// ServerVersion is PostgreSQL's server_version as reported through the pooler.
	ServerVersion string `json:"server_version"`
	// ServerConnections is how many different ones were met; there may be more.
	ServerConnections int `json:"server_connections_met"`
	// Capabilities has every one of Names.
	Capabilities map[Name]Capability `json:"capabilities"`
	// KnownFaults are the published faults of that pooler in that version.
	KnownFaults []Fault `json:"known_faults"`
	// Intrusive says whether what leaves state until it is cleaned up was tried.
	Intrusive bool `json:"intrusive"`
	// Report is what Probe saw.
	Report Report `json:"-"`
	// Elapsed is how long it took.
	Elapsed time.Duration `json:"elapsed_ns"`
	// Notes say what could not be decided, and what had to be left behind, one sentence each.
	Notes []string `json:"notes,omitempty"`
}

// String is the findings in one line.
func (f Findings) String() string {
	return fmt.Sprintf("%s before PostgreSQL %s", f.Pooler, f.ServerVersion)
}

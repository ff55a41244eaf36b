package pooler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options of [Examine]. The zero value is safe on a production system.
type Options struct {
	// Intrusive also tries what leaves something on a server connection until it is cleaned up there: settings of a
	// session, LISTEN, session locks, temporary tables. For some milliseconds other clients may meet it, and if the
	// process is killed it stays until the server connection ends. The names and values are harmless, and Examine cleans up.
	Intrusive bool
	// Cancels is how many cancel requests are tried; 0 means 5, a negative number none.
	Cancels int
	// Within is how long the examination may ask; 0 means 5 s. What was not found out by then is unknown. Cleaning up,
	// after Intrusive trials, may take two seconds longer.
	Within time.Duration
}

const (
	examineFor = 5 * time.Second
	cleanFor   = 2 * time.Second
)

// Examine finds out which pooler answers behind config, and what works through
// it. It uses at most four connections at a time and objects with names of its
// own; without Options.Intrusive it leaves nothing behind, not even if it is
// killed, other than a tracking pooler's own copy of one statement.
//
// An error means that the first connection failed. Whatever else goes wrong is in
// the findings.
func Examine(ctx context.Context, config *pgx.ConnConfig, opts Options) (Findings, error) {
	start := time.Now()
	within := opts.Within
	if within <= 0 {
		within = examineFor
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	report, err := Probe(ctx, config)
	if err != nil {
		return Findings{}, err
	}
	x := &examination{config: config, opts: opts, name: "poolproof_" + randomHex(), met: map[uint32]bool{}, found: Findings{
		ServerVersion: report.ServerVersion, Capabilities: map[Name]Capability{}, Intrusive: opts.Intrusive, Report: report, Notes: slices.Clone(report.Notes),
	}}
	x.run(ctx)
	x.found.ServerConnections = len(x.met)
	x.found.Elapsed = time.Since(start)
	return x.found, nil
}

// examination is one under way.
type examination struct {
	config *pgx.ConnConfig
	opts   Options
	name   string // of all that is made, and a part of every text that others may see
	found  Findings
	met    map[uint32]bool // server connections

	resets           answer // the pooler resets a server connection after each transaction
	maxPrepared      int    // PgBouncer's, if its console said so
	maxPreparedKnown bool
}

func (x *examination) set(name Name, c Capability) { x.found.Capabilities[name] = c }

func (x *examination) notef(format string, args ...any) {
	x.found.Notes = append(x.found.Notes, fmt.Sprintf(format, args...))
}

// connect opens a connection, which counts against the time.
func (x *examination) connect(ctx context.Context, config *pgx.ConnConfig) (*client, error) {
	return connect(ctx, config)
}

func (x *examination) run(ctx context.Context) {
	r := x.found.Report
	a, err := x.connect(ctx, x.config)
	if err != nil {
		x.notef("a further connection failed: %s", messageOf(err))
		x.found.Pooler = (&evidence{report: r}).conclude()
	} else {
		defer func() { a.close() }()
		e := x.observe(ctx, a)
		x.found.Pooler = e.conclude()
		if a.broken {
			if fresh, err := x.connect(ctx, x.config); err == nil {
				a = fresh
			}
		}
	}
	x.found.KnownFaults = knownFaults(x.found.Pooler)
	x.fromReport()
	if err == nil {
		x.transport(ctx, a)
		x.harmless(ctx, a)
	}
	x.faultsAsMeasured()
	x.infer()
	if err == nil && x.opts.Intrusive {
		a.close() // four connections at most
		x.intrude(ctx)
	}
	for _, name := range Names {
		if _, ok := x.found.Capabilities[name]; !ok {
			text := "it was not tried"
			if ctx.Err() != nil {
				text = "the time was over"
			}
			x.set(name, Capability{Value: Unclear, Basis: Untold, Text: text})
		}
	}
}

// fromReport has what the probe found.
func (x *examination) fromReport() {
	r, f := x.found.Report, x.found.Pooler
	named := Capability{Value: Tracked, Basis: r.Why.NamedStatements.Basis, Text: r.Why.NamedStatements.Text}
	switch {
	case r.Mode == None || f.Mode == Session:
		named.Value = Works
		if !r.NamedStatements {
			named.Basis, named.Text = Inferred, "each client seems to keep its server connection, and its statements with it"
		}
	case r.NamedStatements:
		named.Limit = x.statementLimit(f)
	case named.Basis == Untold:
		named.Value = Unclear
	default: // another client's statement may have the same name there
		named.Value = Leaks
	}
	x.set(NamedStatements, named)

	scope := Capability{Value: Works, Basis: r.Why.ImplicitScope.Basis, Text: r.Why.ImplicitScope.Text}
	switch {
	case r.Undecided || scope.Basis == Untold:
		scope.Value = Unclear
	case !r.ImplicitScope:
		scope.Value = Wrong
	}
	x.set(ImplicitScope, scope)

	begin := Capability{Value: Works, Basis: r.Why.Mode.Basis, Text: "BEGIN is let through"}
	switch f.Mode {
	case Statement:
		begin = Capability{Value: Refused, Basis: Measured, Text: r.Why.Mode.Text}
	case Unknown:
		begin = Capability{Value: Unclear, Basis: Untold, Text: r.Why.Mode.Text}
	}
	x.set(Transactions, begin)
}

// statementLimit is how many named statements a client or a server connection may
// have, 0 if that is not known.
func (x *examination) statementLimit(f Fingerprint) int {
	switch {
	case x.maxPreparedKnown:
		return x.maxPrepared
	case f.Kind == Supavisor:
		return 100 // a client (measured: EMAXPREPARED)
	case (f.Kind == PgBouncer || f.Kind == Neon) && f.VersionMin != "" && CompareVersions(f.VersionMin, "1.24") >= 0:
		return 200 // its default; more are prepared again and again, which is slow and right
	}
	return 0
}

// faultsAsMeasured holds the faults that a trial can show to what it has shown.
func (x *examination) faultsAsMeasured() {
	shown := map[string]Name{"pipeline-error": PipelineError, "one-sync-scope": ImplicitScope, "unnamed-statement": UnnamedStatement}
	x.found.KnownFaults = slices.DeleteFunc(x.found.KnownFaults, func(f Fault) bool {
		return x.found.Capabilities[shown[f.ID]].Value.OK()
	})
	for i, f := range x.found.KnownFaults {
		if x.found.Capabilities[shown[f.ID]].Value == Wrong {
			x.found.KnownFaults[i].Certain = true
		}
	}
}

// infer concludes, from the kind and the mode, what only intrusive trials could
// measure, and what is never tried.
func (x *examination) infer() {
	f := x.found.Pooler
	state := []Name{SettingSet, SettingSetConfig, SettingInFunction, SettingInTransaction, SettingSearchPath, Listen, AdvisoryLocks, TempTables}
	reported := []Name{SettingTimeZone, SettingApplication}
	all := func(names []Name, c Capability) {
		for _, name := range names {
			x.set(name, c)
		}
	}
	both := slices.Concat(state, reported)
	const try = "; an intrusive examination measures it"
	const lastStatement = "idle server connections show a reset as their last statement"
	switch {
	case f.Kind == NoPooler:
		all(both, Capability{Value: Works, Basis: Inferred, Text: "there is no pooler"})
	case f.Mode == Session:
		all(both, Capability{Value: Works, Basis: Inferred, Text: "each client keeps its server connection"})
	case (f.Kind == PgBouncer || f.Kind == Neon || f.Kind == CloudSQL) && f.Mode != Unknown:
		if x.resets == yes {
			all(state, Capability{Value: Lost, Basis: Inferred, Text: lastStatement + try})
		} else {
			all(state, Capability{Value: Leaks, Basis: Inferred, Text: "PgBouncer does not reset a server connection between transactions, unless server_reset_query_always is set" + try})
		}
		all(reported, Capability{Value: Tracked, Basis: Documented, Text: "PgBouncer sets it again for its client"})
		if f.VersionMax != "" && CompareVersions(f.VersionMax, "1.22") < 0 && x.resets != yes {
			x.set(SettingApplication, Capability{Value: Leaks, Basis: Documented, Text: "until 1.22 a client without application_name meets the last one's"})
		}
	case f.Kind == Odyssey && x.resets == yes:
		all(state, Capability{Value: Lost, Basis: Inferred, Text: lastStatement + try})
		all(reported, Capability{Value: Tracked, Basis: Documented, Text: "Odyssey sets it again for its client"})
	case f.Kind == Odyssey && x.resets == no:
		all(both, Capability{Value: Leaks, Basis: Inferred, Text: "idle server connections show a client's statement as their last one: they are not reset" + try})
	case f.Kind == Supavisor && f.Mode != Unknown:
		all(both, Capability{Value: Leaks, Basis: Documented, Text: "measured on Supavisor of August 2026 in transaction mode"})
	default:
		all(both, Capability{Value: Unclear, Basis: Untold, Text: "it depends on the pooler's configuration" + try})
	}
	x.set(CopyIn, Capability{Value: Unclear, Basis: Untold, Text: "it needs a table" + try})
	x.fromFaults(LateCopy, "late-copy", "PostgreSQL passes over what comes after the error of a COPY")
	x.fromFaults(SeveralSyncs, "several-syncs", "PostgreSQL answers one Sync after the other")
	if f.Kind == Odyssey || f.Kind == Pgpool || f.Kind == UnknownKind || f.Kind == PgCat {
		for _, name := range []Name{LateCopy, SeveralSyncs} {
			x.set(name, Capability{Value: Unclear, Basis: Untold, Text: "nobody has measured it for this pooler that we know of"})
		}
	}
}

// fromFaults concludes from the table of faults.
func (x *examination) fromFaults(name Name, fault, direct string) {
	f := x.found.Pooler
	for _, known := range x.found.KnownFaults {
		if known.ID == fault {
			value := Wrong
			if !known.Certain {
				value = Unclear
			}
			x.set(name, Capability{Value: value, Basis: Documented, Text: known.Title})
			return
		}
	}
	switch {
	case f.Kind == NoPooler:
		x.set(name, Capability{Value: Works, Basis: Documented, Text: direct})
	case f.Version == "" && f.VersionMin == "" && f.Kind != PgBouncer:
		x.set(name, Capability{Value: Unclear, Basis: Untold, Text: "the pooler's version is not known"})
	default:
		x.set(name, Capability{Value: Works, Basis: Documented, Text: "no fault of this version and mode is known to us"})
	}
}

// meet notes that a server connection was met.
func (x *examination) meet(pid uint32) { x.met[pid] = true }

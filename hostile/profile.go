package hostile

import (
	"fmt"
	"slices"
	"strings"
)

// Profile is what a pooler does for its clients, and so what it breaks.
type Profile struct {
	Name string // for --as and Config.Profile
	// TracksStatements: if a server connection lacks a named statement of the protocol, the pooler parses it there again.
	TracksStatements bool
	// AnswersDeallocate: a DEALLOCATE ALL in a simple query forgets the client's own statements and no others.
	AnswersDeallocate bool
	// FirstReady: the pooler takes the server connection away at the first ReadyForQuery, even if more was sent on it.
	FirstReady bool
	// MixesUnits: a client that sends its next unit before the last was answered may get another client's answers.
	MixesUnits bool
	// KeepsStatements: the pooler takes a named statement for parsed although its Parse failed, and keeps its plan after DDL
	// has made it useless.
	KeepsStatements bool
	// HeldByLateRows: rows of a COPY that come after its error get a server connection, and keep it until the client's next
	// statement was answered.
	HeldByLateRows bool
	// Startup lists the startup parameters that the pooler accepts, in lower case; nil means all.
	Startup []string
	// Tracked lists the settings that the pooler sets again on another server connection, in lower case.
	Tracked []string
	// Plain: an ordinary pooler, which is not hostile. Like PgBouncer, it hands out the server connection that was given
	// back last. It replaces nothing and reports nothing.
	Plain bool
	About string // the profile in a few words, for help texts
}

// The startup parameters that PgBouncer knows (its documentation,
// ignore_startup_parameters), and those that it tracks for its clients. Measured:
// 1.18 refuses IntervalStyle and hands it on to strangers, 1.24 tracks it.
var (
	bouncerStartup  = []string{"user", "database", "client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"}
	bouncerTracked  = []string{"client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"}
	bouncer124Start = slices.Concat(bouncerStartup, []string{"intervalstyle"})
	bouncer124Track = slices.Concat(bouncerTracked, []string{"intervalstyle"})
)

// profiles are all that there are. The first is the default: the union of what
// the others break.
var profiles = []Profile{
	{Name: "strict", MixesUnits: true, KeepsStatements: true, HeldByLateRows: true, Startup: bouncerStartup, Tracked: bouncerTracked, About: "everything that any pooler breaks"},
	{Name: "pgbouncer-1.18", MixesUnits: true, HeldByLateRows: true, Startup: bouncerStartup, Tracked: bouncerTracked, About: "no named statements"},
	{Name: "pgbouncer-1.24", TracksStatements: true, AnswersDeallocate: true, KeepsStatements: true, HeldByLateRows: true, Startup: bouncer124Start, Tracked: bouncer124Track, About: "tracks named statements"},
	{Name: "supavisor", FirstReady: true, MixesUnits: true, About: "no named statements; gives back at the first ReadyForQuery"},
	{Name: "odyssey", TracksStatements: true, About: "tracks named statements"},
	{Name: "rds-proxy", TracksStatements: true, About: "pins a session that keeps state: here nothing is pinned, and what would be is reported"},
	{Name: "neon", TracksStatements: true, AnswersDeallocate: true, KeepsStatements: true, HeldByLateRows: true, Startup: bouncer124Start, Tracked: bouncer124Track, About: "PgBouncer with named statements"},
	{Name: "plain", Plain: true, Tracked: bouncerTracked, About: "an ordinary transaction pooler, to compare with: not hostile, reports nothing"},
}

// Profiles returns all profiles, the default first.
func Profiles() []Profile { return slices.Clone(profiles) }

// ProfileNamed returns a profile by its name; "" means the default, "strict".
// The error lists the names that there are.
func ProfileNamed(name string) (Profile, error) {
	if name == "" {
		return profiles[0], nil
	}
	var names []string
	for _, p := range profiles {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("there is no profile %q; there are %s", name, strings.Join(names, ", "))
}

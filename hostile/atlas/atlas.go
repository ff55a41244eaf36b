package atlas

import (
	"slices"

	"github.com/poolproof/poolproof/hostile"
)

// Row is one thing that a server connection keeps between transactions, or one
// way to hold a server connection.
type Row struct {
	Name string // in a few words; unique

	// How it comes about, in this order.
	Needs []string // extensions that the database has
	Setup []string // statements of an owner, run once in the database before anything else
	Make  []string // statements of the client, each a simple query of its own
	Use   string   // what the client says in a later transaction, where only that is a fault; "" if making it is
	Wire  string   // in words, where SQL alone does not make it; then the tests have the messages

	// What the next client sees.
	Witness string // a query of one value: on this connection it answers otherwise than on a fresh one
	Twin    bool   // the witness is random by nature: two connections that did the same agree, and fresh ones do not
	Sees    string // in words
	Holds   string // of a way to hold a connection: the backend's state in pg_stat_activity meanwhile

	// What hostile makes of it.
	As       string         // the profile that it plays; "" is strict
	Codes    []hostile.Code // what it finds; empty: nothing
	Missing  string         // what it should find and does not; "" if nothing is missing
	Wrong    []hostile.Code // what it finds although the row is harmless
	Harmless string         // why no code is needed; "" if there is one, or one is missing

	DiscardAll Removal
	Narrower   string // a narrower command that removes it as well; "" if there is none

	Versions   string // of PostgreSQL that have it; "": all that are supported, 14 to 18
	Documented string // from documentation only, not tested here: the versions or extensions; "" if it is tested

	// Differences are the kinds of differences between a used and a fresh backend that this row explains, by the names
	// that the differential test gives them.
	Differences []string

	Fates map[Pooler]Fate // where a pooler does otherwise than Fate says
}

// Removal is what DISCARD ALL does about a row.
type Removal string

// The answers.
const (
	Removed Removal = "removed" // the connection is as a fresh one in this
	Stays   Removal = "stays"
	Refused Removal = "refused" // DISCARD ALL cannot run then
)

// Pooler is a pooler, with the settings that matter, in transaction mode.
type Pooler string

// The poolers of the table.
const (
	PgBouncer118   Pooler = "PgBouncer to 1.23" // or later with max_prepared_statements=0
	PgBouncer124   Pooler = "PgBouncer 1.24"
	PgBouncer126   Pooler = "PgBouncer 1.26"          // as 1.24 where nothing else is said
	PgBouncerReset Pooler = "PgBouncer, reset always" // server_reset_query_always=1
	Odyssey        Pooler = "Odyssey"
	OdysseyKeep    Pooler = "Odyssey, no discard" // pool_discard no
	Pgpool         Pooler = "pgpool-II"           // which pools sessions
	Supavisor      Pooler = "Supavisor"
	PgCat          Pooler = "PgCat"
	PgDog          Pooler = "pgdog"
	RDSProxy       Pooler = "RDS Proxy"
)

// Poolers returns all poolers of the table, in its order.
func Poolers() []Pooler {
	return []Pooler{PgBouncer118, PgBouncer124, PgBouncer126, PgBouncerReset, Odyssey, OdysseyKeep, Pgpool, Supavisor, PgCat, PgDog, RDSProxy}
}

// Fate is what becomes of a row behind a pooler.
type Fate string

// The fates.
const (
	Leaks   Fate = "leaks"   // the next client has it, and its own client loses it
	Lost    Fate = "lost"    // the pooler removes it: its own client loses it, and nobody else has it
	Tracked Fate = "tracked" // it follows its client
	Own     Fate = "own"     // the client keeps its server connection
	Pins    Fate = "pins"    // the client keeps its server connection from then on, and nobody else gets it
	Holds   Fate = "holds"   // the server connection is held meanwhile
	Refuses Fate = "refuses" // the pooler answers with an error
	Unknown Fate = "?"       // neither measured nor documented
)

// FateBehind returns what becomes of the row behind a pooler: what Fates says,
// else what follows from the pooler's reset and from what DISCARD ALL removes.
func (r Row) FateBehind(p Pooler) Fate {
	if f, ok := r.Fates[p]; ok {
		return f
	}
	if r.Holds != "" {
		return Holds
	}
	if p == PgBouncer126 {
		return r.FateBehind(PgBouncer124)
	}
	switch p {
	case PgBouncerReset, Odyssey: // both run DISCARD ALL, or its parts, after each transaction
		if r.DiscardAll == Removed {
			return Lost
		}
		return Leaks
	case Pgpool:
		return Own
	case RDSProxy, PgDog, PgCat:
		return Unknown
	}
	return Leaks
}

// Rows returns the table.
func Rows() []Row { return slices.Clone(rows) }

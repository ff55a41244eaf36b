package hostile

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Code is a kind of fault, "PP001" and so on. Codes are stable: baselines and
// scripts hold them.
type Code string

// The faults, each with a page of its own under docs/prove.
const (
	ForeignUnnamed    Code = "PP001" // an unnamed statement is used after its server connection was given back
	MissingNamed      Code = "PP002" // a named statement is used that the server connection does not have
	NameCollision     Code = "PP003" // two clients use one statement name
	SessionSetting    Code = "PP004" // a setting is left on the server connection
	SessionRole       Code = "PP005" // a role is left on it
	TempTable         Code = "PP006" // a temporary table is left on it
	HoldCursor        Code = "PP007" // a cursor WITH HOLD is left on it
	Listening         Code = "PP008" // a LISTEN is left on it
	SessionLock       Code = "PP009" // an advisory lock of the session is left on it
	SQLPrepared       Code = "PP010" // PREPARE, EXECUTE or DEALLOCATE in SQL
	SequenceState     Code = "PP011" // currval or lastval of another transaction
	StartupParameter  Code = "PP012" // a startup parameter that poolers refuse or drop
	SettingNotSet     Code = "PP013" // a setting is read that the transaction did not set
	IdleInTransaction Code = "PP014" // a transaction waits for its client
	FailedPipeline    Code = "PP015" // a pipeline with BEGIN and COMMIT failed in the middle
	LocalOutside      Code = "PP016" // SET LOCAL outside a transaction
	LoadedLibrary     Code = "PP017" // LOAD for one server connection
	ResetsOthers      Code = "PP018" // DISCARD or RESET of what others set
	SyncsInFlight     Code = "PP019" // a query is sent before the last one was answered
	FunctionState     Code = "PP020" // what a function keeps for the session: random()'s seed, a dblink connection
	StalePID          Code = "PP021" // a server process is cancelled by a number from an earlier transaction
	HeldForGood       Code = "PP022" // a server connection is held by what has no end
	StaleStatement    Code = "PP023" // a named statement that a pooler keeps although it is useless
	NeverGivenBack    Code = "PP024" // after a fault, the program does not give a connection back to its own pool
	GoesOn            Code = "PP025" // a transaction goes on after its BEGIN failed
	SentTwice         Code = "PP026" // a write whose answer was lost is sent again
	LockLost          Code = "PP027" // a lock or a job is lost with the server connection
)

// Severity says how bad a fault is.
type Severity string

// The two severities.
const (
	Error   Severity = "error"   // wrong rows, failures or hangs
	Warning Severity = "warning" // cost or confusion
)

// Finding is one fault of an application: its kind, what it is about, how often
// it was seen, and where first. Findings of the same code and subject are one.
type Finding struct {
	Code        Code       `json:"code"`
	Severity    Severity   `json:"severity"`
	Title       string     `json:"title"`             // the fault in a few words
	Subject     string     `json:"subject,omitempty"` // the setting, table, channel …; "" if the code says it all
	Count       int        `json:"count"`             // how often it was seen
	First       Occurrence `json:"first"`
	Consequence string     `json:"consequence"`     // what it does in production
	Fix         string     `json:"fix"`             // how to mend it, with this driver if it is known
	Known       bool       `json:"known,omitempty"` // in the baseline: listed, not counted
	More        []string   `json:"more,omitempty"`  // other statements that did it, at most nine
}

// Occurrence is where a fault was seen. It has no value of a parameter. SQL is
// as the program wrote it, up to 2,000 bytes of it.
type Occurrence struct {
	SQL    string            `json:"sql,omitempty"`             // the statement, if it is known
	Types  []string          `json:"parameter_types,omitempty"` // of its Parse, by name
	Client Client            `json:"client"`
	Tags   map[string]string `json:"tags,omitempty"`     // of an sqlcommenter comment
	File   string            `json:"file,omitempty"`     // of the calling program, if it is known
	Line   int               `json:"line,omitempty"`     // 0: not known
	Trace  []Step            `json:"timeline,omitempty"` // what led to it: the last 24 steps at most, the oldest first
}

// Client is a connection of the application.
type Client struct {
	ID              uint32 `json:"id"` // counts the connections of this run
	ApplicationName string `json:"application_name,omitempty"`
	Driver          string `json:"driver,omitempty"` // a guess from what it sends; "" if there is none
}

// Step is one thing that happened on the way to a fault.
type Step struct {
	At     time.Duration `json:"at_ns"` // since the run began
	Client uint32        `json:"client"`
	Server int           `json:"server"` // which server connection
	What   string        `json:"what"`   // in words
}

// Note is something that a driver does in every program. It is no fault: a
// pooler is configured to put up with it.
type Note struct {
	Subject string `json:"subject"`
	Count   int    `json:"count"` // how often it was seen
	Text    string `json:"text"`  // what it is, and what to do about it
}

// fault is a finding before it is counted.
type fault struct {
	code    Code
	subject string
	first   Occurrence
	other   bool // it has the other form of its code (otherForms)
}

// Report is what a run found, and how much was exercised. Like a race detector,
// it judges only what ran.
type Report struct {
	Findings     []Finding `json:"findings"`
	Notes        []Note    `json:"notes"`
	Profile      string    `json:"profile"`           // its name, with ", observing" if nothing was broken
	Clients      int       `json:"clients"`           // connections that were let in
	Refused      int       `json:"refused,omitempty"` // connections that ended before they were let in, and were not judged
	Transactions int       `json:"transactions"`
	Statements   int       `json:"statements"` // different ones
	// LeftOut counts, by code, the occurrences of findings that the report does not keep (MaxFindings).
	LeftOut map[Code]int `json:"left_out,omitempty"`
	BadDay  *BadDay      `json:"bad_day,omitempty"` // with Config.Faults
}

// ledger collects findings and notes. It is safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	findings map[string]*Finding
	notes    map[string]*Note
	kept     map[Code]int // findings of each code
	size     int          // bytes of what was said that findings hold
	leftOut  map[Code]int
	// onFinding, if not nil, is called for each occurrence that is kept; first reports whether the finding is new.
	onFinding func(f Finding, first bool)
}

// newLedger returns an empty ledger.
func newLedger() *ledger {
	return &ledger{findings: map[string]*Finding{}, notes: map[string]*Note{}, kept: map[Code]int{}, leftOut: map[Code]int{}}
}

// MaxFindings is how many findings of each code a report keeps. It keeps fewer if
// they hold more than 448 KiB of what programs sent, but always the first finding
// of a code.
const MaxFindings = 100

// maxSize bounds what findings hold of what programs sent, in bytes.
const maxSize = 448 << 10

// What is kept of one finding.
const (
	maxMore    = 9   // further statements
	maxSubject = 200 // bytes
	maxTag     = 200
	maxTypes   = 100
)

// add counts an occurrence of a fault, and keeps it as a finding if it is the
// first.
func (l *ledger) add(f fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.subject = clip(f.subject, maxSubject)
	key := string(f.code) + " " + f.subject
	have, seen := l.findings[key]
	k := infoOf(f.code, f.other)
	if !seen {
		f.first.clip()
		size := f.first.size()
		if l.kept[f.code] > 0 && (l.kept[f.code] >= MaxFindings || l.size+size > maxSize) {
			l.leftOut[f.code]++
			return
		}
		have = &Finding{
			Code: f.code, Severity: k.severity, Title: k.title, Subject: f.subject, First: f.first,
			Consequence: k.consequence, Fix: fixFor(f.code, f.subject, f.other, f.first.Client.Driver),
		}
		l.findings[key] = have
		l.kept[f.code]++
		l.size += size
	}
	if have.Severity == Warning && k.severity == Error { // it is worse than it seemed
		have.Severity, have.Title, have.Consequence, have.Fix = k.severity, k.title, k.consequence, fixFor(f.code, f.subject, false, have.First.Client.Driver)
	}
	have.Count++
	if sql := f.first.SQL; seen && sql != "" && sql != have.First.SQL && len(have.More) < maxMore && l.size+len(sql) <= maxSize && !slices.Contains(have.More, sql) {
		have.More = append(have.More, sql)
		l.size += len(sql)
	}
	if l.onFinding != nil {
		l.onFinding(*have, !seen)
	}
}

// recognize replaces the fixes of a client's findings, now that it is known which
// library the client uses.
func (l *ledger) recognize(c Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.findings {
		if f.First.Client.ID == c.ID {
			f.First.Client.Driver = c.Driver
			f.Fix = fixFor(f.Code, f.Subject, f.isOther(), c.Driver)
		}
	}
}

// clip bounds what an occurrence holds of what a program sent. Its SQL is short
// already.
func (o *Occurrence) clip() {
	o.Types = o.Types[:min(len(o.Types), maxTypes)]
	o.Client.ApplicationName = clip(o.Client.ApplicationName, maxTag)
	tags := map[string]string{}
	for k, v := range o.Tags {
		tags[clip(k, maxTag)] = clip(v, maxTag)
	}
	if o.Tags != nil {
		o.Tags = tags
	}
}

// size returns how many bytes an occurrence takes, more or less.
func (o *Occurrence) size() int {
	n := len(o.SQL) + len(o.Client.ApplicationName)
	for k, v := range o.Tags {
		n += len(k) + len(v)
	}
	for _, t := range o.Types {
		n += len(t)
	}
	for _, s := range o.Trace {
		n += len(s.What)
	}
	return n
}

// clip returns a text of at most so many bytes, with an ellipsis if it was
// longer.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// note counts something that is no fault.
func (l *ledger) note(subject, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, seen := l.notes[subject]
	if !seen {
		n = &Note{Subject: subject, Text: text}
		l.notes[subject] = n
	}
	n.Count++
}

// list returns findings and notes in a stable order, and what was left out.
func (l *ledger) list() ([]Finding, []Note, map[Code]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	findings, notes := []Finding{}, []Note{}
	for _, f := range l.findings {
		findings = append(findings, *f)
	}
	for _, n := range l.notes {
		notes = append(notes, *n)
	}
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	slices.SortFunc(notes, func(a, b Note) int { return cmp.Compare(a.Subject, b.Subject) })
	return findings, notes, maps.Clone(l.leftOut)
}

package hostile

import (
	"maps"
	"slices"
	"strings"
)

// codeInfo is what is known of a code: what the fault does in production, and
// how to mend it. The pages under docs/prove say it at length, and libraries what
// the users of each library do.
type codeInfo struct {
	severity    Severity
	title       string
	consequence string
	fix         string // for a library that is not known
}

// otherForms holds the other form that some codes have, which does less harm than the usual one, or more.
var otherForms = map[Code]codeInfo{
	SessionSetting: {Warning, "setting left on the server connection that costs only speed",
		"the next client's queries may be planned or run more slowly, or faster; their answers are the same",
		"SET LOCAL in the transaction that needs it; constants belong in ALTER ROLE … SET"},
	SettingNotSet: {Warning, "setting that a policy reads and this transaction did not set",
		"nobody in this run left it to others; the policy decides without it: no rows, or all",
		"set it in the same transaction: SELECT set_config(name, $1, true); nothing if that is meant"},
	FunctionState: {Warning, "global variable that a function sets in its language",
		"functions that a stranger calls on the same server connection find it: harmless for a cache, not for a tenant or a user; DISCARD ALL leaves it",
		"pass it as an argument, or keep it in a table or in set_config(name, $1, true); nothing if it is a cache"},
	NeverGivenBack: {Warning, "connection that was not used again after a fault, while the program stood still",
		"if the program waits for it, its own pool is used up and only a restart helps; nothing is wrong if it had nothing to do",
		"give it back in finally (Go: defer conn.Release(), Node: client.release(error), Python: a with block), with BEGIN inside of what that covers"},
	HeldForGood: {Warning, "server connection held while its client takes its time",
		"it is active meanwhile, and no timeout of PostgreSQL before 17 ends that: with a pool of 20, twenty such clients stop everybody (query_wait_timeout)",
		"a COPY: have its rows ready before it begins, or send them in parts, and end it with CopyDone or CopyFail; an answer: read it to its end before anything slow, or page by key"},
	IdleInTransaction: {Error, "transaction that waits for another connection of its own program",
		"where copies of the program hold all server connections so, none of them goes on (query_wait_timeout)",
		"do both on one connection, or end the first transaction before the other connection is needed"},
}

// infoOf returns what is known of a code, in its usual form or the other one.
func infoOf(code Code, other bool) codeInfo {
	if k, ok := otherForms[code]; ok && other {
		return k
	}
	return catalogue[code]
}

// inOptions ends the subject of a startup parameter that came inside options.
const inOptions = " in options"

// forTransaction are the fixes for settings that a local setting of the same
// name cannot change: a transaction that runs has taken them already.
var forTransaction = map[string]string{
	"default_transaction_isolation":  "SET TRANSACTION ISOLATION LEVEL … as the transaction's first statement (a local default_transaction_isolation comes too late for it); constants belong in ALTER ROLE … SET",
	"default_transaction_read_only":  "SET TRANSACTION READ ONLY as the transaction's first statement (a local default_transaction_read_only comes too late for it); constants belong in ALTER ROLE … SET",
	"default_transaction_deferrable": "SET TRANSACTION DEFERRABLE as the transaction's first statement (a local default_transaction_deferrable comes too late for it); constants belong in ALTER ROLE … SET",
}

// fixFor returns what to do about a fault. senders are the libraries that sent
// the statement, as far as they are known, the one that the program calls first:
// the first that has a knob of its own for it is asked. other says that the
// fault has the code's other form, which is mended in one way.
func fixFor(code Code, subject string, other bool, senders ...string) string {
	if k, ok := otherForms[code]; ok && other {
		return k.fix
	}
	setting, fromOptions := strings.CutSuffix(strings.ToLower(subject), inOptions)
	fix, late := catalogue[code].fix, code == SessionSetting && forTransaction[setting] != ""
	if a, ok := adviceFor(code, setting, senders); ok && setting != "" {
		fix = a.Text()
	} else if late {
		fix = forTransaction[setting]
	} else if a, ok := adviceFor(code, "", senders); ok {
		fix = a.Text()
	}
	if code != StartupParameter || setting == "" {
		return fix
	}
	who, how := "the program", " when it connects: "
	if len(senders) > 0 && senders[0] != "" {
		who = senders[0]
	}
	if fromOptions {
		how = " inside options" + how
	}
	return who + " sends " + setting + how + fix
}

// SentBy records the packages that the statement went through, for callers who
// know them: the driver's first, the one that the program called last. If they
// say more than what was guessed from the messages, the fix becomes that of the
// library that the program called.
func (f *Finding) SentBy(packages ...string) {
	var senders []string
	for _, name := range slices.Backward(packages) {
		if l := libraryOfPackage(name); l != nil && !slices.Contains(senders, l.name) {
			senders = append(senders, l.name)
		}
	}
	if len(senders) == 0 {
		return
	}
	if guess := libraryOf(f.First.Client.Driver); guess != nil && slices.Contains(guess.over, senders[0]) {
		senders = slices.Insert(senders, 0, guess.name)
	}
	f.First.Client.Driver = senders[0]
	f.Fix = fixFor(f.Code, f.Subject, f.isOther(), senders...)
}

// FixFor returns what to do about a code's fault in programs that use this library
// (one of Libraries' names, or ""), and whether that is the library's own advice.
func FixFor(code Code, library string) (fix string, own bool) {
	fix = fixFor(code, "", false, library)
	return fix, fix != fixFor(code, "", false)
}

// isOther reports whether the finding has its code's other form.
func (f *Finding) isOther() bool { return f.Severity != catalogue[f.Code].severity }

// catalogue is what is known of each code.
var catalogue = map[Code]codeInfo{
	ForeignUnnamed: {Error, "unnamed statement used after the server connection was given back",
		"another client's statement runs with this one's parameters: foreign rows, or rows deleted that nobody asked to delete; no error",
		"send Parse, Bind and Execute under one Sync, or inside a transaction"},
	MissingNamed: {Error, "named statement that this server connection does not have",
		"prepared statement does not exist (26000), or the statement of another client that has the same name",
		"give statements no names (node-postgres: leave name: out), turn the driver's statement cache off, or use a pooler that tracks statements (PgBouncer 1.21 and later with max_prepared_statements)"},
	NameCollision: {Error, "statement name that another client uses as well",
		"prepared statement already exists (42P05), or one client executes the other's statement",
		"give statements no names (node-postgres: leave name: out), turn the driver's statement cache off, or let it make unique names"},
	SessionSetting: {Error, "setting left on the server connection",
		"the next client inherits it, and this one loses it: a tenant id reaches another tenant's requests",
		"set it for the transaction: SELECT set_config(name, $1, true) with the statements that need it, or SET LOCAL; constants belong in ALTER ROLE … SET"},
	SessionRole: {Error, "role left on the server connection",
		"the next client works with the rights of this role",
		"SET LOCAL ROLE inside the transaction that needs it"},
	TempTable: {Error, "temporary object left behind",
		"this client does not find it again, another one does: relation already exists, or foreign rows; or it runs this one's function",
		"ON COMMIT DROP, a common table expression, or an ordinary table with a key for the session; functions and types of an ordinary schema"},
	HoldCursor: {Error, "cursor WITH HOLD left behind",
		"cursor does not exist for this client, and a name that is taken for another",
		"fetch inside the transaction, or page by key"},
	Listening: {Error, "LISTEN on a shared server connection",
		"notifications are lost, or reach a client that never asked for them, payload included",
		"listen over a direct connection (DIRECT_URL)"},
	SessionLock: {Error, "advisory lock of the session",
		"another client on the same server connection gets the lock too; it stays held after this one left",
		"pg_advisory_xact_lock inside the transaction, or migrate over a direct connection"},
	SQLPrepared: {Error, "PREPARE, EXECUTE or DEALLOCATE in SQL",
		"prepared statement does not exist on the next server connection, or is another client's; no pooler tracks these",
		"prepare through the protocol with a pooler that tracks it, or do not prepare"},
	SequenceState: {Error, "currval or lastval of another transaction",
		"is not yet defined in this session, or the value of another client's insert",
		"INSERT … RETURNING"},
	StartupParameter: {Error, "startup parameter that poolers refuse or drop",
		"unsupported startup parameter, or a setting that silently is not there",
		"ALTER ROLE … SET, or set_config(name, $1, true) in the transaction"},
	SettingNotSet: {Error, "setting read that this transaction did not set",
		"it reads what another client left, or nothing: foreign rows or none",
		"set it in the same transaction: SELECT set_config(name, $1, true)"},
	IdleInTransaction: {Warning, "transaction left idle",
		"the server connection is held all the while: with a pool of 20, twenty such clients stop everybody (query_wait_timeout)",
		"do nothing slow between BEGIN and COMMIT; idle_in_transaction_session_timeout by ALTER ROLE"},
	FailedPipeline: {Error, "pipeline with BEGIN and COMMIT that failed in the middle",
		"COMMIT is skipped with the rest, the transaction stays open and failed, and holds the server connection",
		"send ROLLBACK when the pipeline fails, or leave BEGIN and COMMIT out: one Sync is one transaction"},
	LocalOutside: {Error, "SET LOCAL outside a transaction",
		"it has no effect: the statement after it runs without the setting",
		"BEGIN first, or set_config(name, $1, true) in one pipeline with the statement"},
	LoadedLibrary: {Warning, "LOAD for one server connection",
		"the next transaction runs where it was not loaded",
		"session_preload_libraries by ALTER ROLE or ALTER DATABASE"},
	ResetsOthers: {Warning, "DISCARD or RESET of what others set",
		"it undoes what the pooler or another client relies on, and costs a round trip",
		"leave it to the pooler (server_reset_query)"},
	SyncsInFlight: {Error, "next query sent before the last one was answered",
		"Supavisor and old PgBouncers (1.18) give the server connection back at the first answer: rows of another client, or a program that hangs",
		"wait for each query before the next, or send them under one Sync"},
	FunctionState: {Error, "what a function keeps for the session",
		"dblink's connection serves strangers, with its user's rights; after setseed they get numbers from random() that others can predict; a base backup or a replication origin is theirs; DISCARD ALL removes none of it",
		"dblink(connection string, …), or dblink_disconnect in the same transaction; no setseed, or numbers of the program's own; backups and replication over a direct connection"},
	StalePID: {Error, "server process cancelled by a number from an earlier transaction",
		"the server connection has another client by then: that client's statement is cancelled, or nothing is",
		"send the protocol's cancel request, which poolers pass on, or ask for pg_backend_pid() in the transaction that is to be cancelled"},
	HeldForGood: {Error, "server connection held by what has no end",
		"it stays active, and no timeout of PostgreSQL before 17 ends that: with a pool of 20, twenty such clients stop everybody (query_wait_timeout)",
		"end each pipeline with its Sync before waiting for anything else; COPY inside a transaction, or send a statement after one that failed"},
	StaleStatement: {Error, "named statement that the pooler keeps although it is useless",
		"PgBouncer that tracks statements hangs up when one whose Parse failed is sent again under its name (08P01), and answers cached plan must not change result type (0A000) for good after DDL",
		"give such statements no names, or Close one whose Parse failed before sending it again; after DDL say RECONNECT on PgBouncer's console"},
	NeverGivenBack: {Error, "connection that is not given back after a fault",
		"each such error takes one connection out of the program's own pool, until nobody gets one and only a restart helps",
		"give it back in finally (Go: defer conn.Release(), Node: client.release(error), Python: a with block), with BEGIN inside of what that covers"},
	GoesOn: {Error, "transaction that goes on after its BEGIN failed",
		"each statement takes effect on its own: half of a transaction stays, and ROLLBACK takes nothing back",
		"treat a failed BEGIN like any other failure of the transaction, and begin again from its first statement"},
	SentTwice: {Error, "write sent again although it may have been committed",
		"when only the answer is lost, the row is there twice, or the sum is added twice",
		"give the write a key of its own (a unique column, ON CONFLICT DO NOTHING), or look whether it is there before sending it again"},
	LockLost: {Error, "lock or job that is lost with its server connection",
		"two do what only one may do, or a job that was taken out of its table is never done",
		"take the lock or the job, do the work and delete the job in one transaction, and begin all of it again if it breaks off"},
}

// Codes returns all codes, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(catalogue)) }

// Describe returns what is known of a code, in a few words each; all are "" for
// a code that does not exist.
func Describe(c Code) (severity Severity, title, consequence, fix string) {
	k := catalogue[c]
	return k.severity, k.title, k.consequence, k.fix
}

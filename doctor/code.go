package doctor

import (
	"maps"
	"slices"
)

// Code names a check: "PD004". Each has a page under docs/doctor.
type Code string

// The codes.
const (
	NoConnection     Code = "PD000"
	Superuser        Code = "PD001"
	BypassRLS        Code = "PD002"
	OwnsTable        Code = "PD003"
	RLSOff           Code = "PD004"
	NotForced        Code = "PD005"
	OpenWrite        Code = "PD006"
	OpenRead         Code = "PD007"
	OtherSetting     Code = "PD008"
	CastsColumn      Code = "PD009"
	VolatileFunction Code = "PD010"
	NoNullif         Code = "PD011"
	NoSubselect      Code = "PD012"
	DefinerView      Code = "PD013"
	DefinerFunction  Code = "PD014"
	MatView          Code = "PD015"
	NoIndex          Code = "PD016"
	RowSecurityOff   Code = "PD017"
	DefaultGrants    Code = "PD018"
	Trial            Code = "PD019"
	ServerVersion    Code = "PD020"
	NoTimeout        Code = "PD021"
	Fleet            Code = "PD022"
	ReadOnly         Code = "PD023"
	BadOption        Code = "PD024"
	LeftTenant       Code = "PD025"
	LeftSetting      Code = "PD026"
	LeftRole         Code = "PD027"
	LeftLock         Code = "PD028"
	LeftTemp         Code = "PD029"
	LeftStatement    Code = "PD030"
	LeftCursor       Code = "PD031"
	LeftChannel      Code = "PD032"
	LeftState        Code = "PD033"
	NothingSeen      Code = "PD034"
	DoesNotFit       Code = "PD035"
	OtherDoor        Code = "PD036"
)

// Status is a check's outcome.
type Status string

// The outcomes. Skip means that it was not looked at.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip"
)

// Basis is what a check's outcome rests on.
type Basis string

// The bases.
const (
	Measured    Basis = "measured"
	Inferred    Basis = "inferred"
	Documented  Basis = "documented"
	NotLookedAt Basis = "not looked at"
)

type codeInfo struct {
	status      Status // of a finding
	basis       Basis
	title       string // of a finding
	fine        string // what is so where nothing is found
	consequence string
}

var catalogue = map[Code]codeInfo{
	NoConnection:     {Fail, Measured, "no connection", "the database answers", "nothing else can be looked at"},
	Superuser:        {Fail, Measured, "the role is a superuser", "the role is no superuser", "no policy applies to it: every tenant's rows are read and written"},
	BypassRLS:        {Fail, Measured, "the role has BYPASSRLS", "the role does not bypass row-level security", "no policy applies to it: every tenant's rows are read and written"},
	OwnsTable:        {Fail, Measured, "the role owns a tenant table", "the role owns no tenant table", "an owner can switch the policies off, and is bound by none that is not forced"},
	RLSOff:           {Fail, Measured, "row-level security is off", "every tenant table has row-level security", "every tenant reads and writes the whole table"},
	NotForced:        {Warn, Measured, "row-level security is not forced", "every tenant table forces row-level security", "the owner's statements see every tenant: jobs, migrations, views and SECURITY DEFINER functions"},
	OpenWrite:        {Fail, Measured, "a policy lets a tenant write rows of another", "every policy for writing checks the tenant", "a tenant inserts rows that belong to another one, or moves its own there"},
	OpenRead:         {Fail, Measured, "a policy lets every tenant through", "no policy is open", "permissive policies are alternatives: one that is open opens the table"},
	OtherSetting:     {Fail, Measured, "the policies read another setting", "every tenant table's policies read the tenant's setting", "the setting that the application makes is not read: no rows, or those of whoever set the other one"},
	CastsColumn:      {Warn, Measured, "a policy casts the tenant column", "no policy casts the tenant column", "an index on the column cannot be used, and the column's type cannot be altered while the policy is there"},
	VolatileFunction: {Warn, Measured, "a policy calls a volatile function", "no policy calls a volatile function", "the function runs once for each row, and no index is used"},
	NoNullif:         {Warn, Measured, "a policy converts the setting without nullif", "every policy bears an empty setting", "behind a pooler a setting that was made once reads '' afterwards, not null: invalid input syntax, where no rows were meant"},
	NoSubselect:      {Warn, Measured, "a policy asks for the setting outside a scalar sub-select", "every policy asks for the setting once", "the setting may be read and converted for each row instead of once for the statement"},
	DefinerView:      {Fail, Measured, "a view goes around the policies", "no view goes around the policies", "the view reads as its owner, whom the policies do not bind: whoever may read it sees every tenant"},
	DefinerFunction:  {Fail, Inferred, "a SECURITY DEFINER function goes around the policies", "no SECURITY DEFINER function goes around the policies", "the function works as its owner, whom the policies do not bind"},
	MatView:          {Fail, Measured, "a materialised view holds every tenant's rows", "no materialised view holds tenants' rows", "policies do not apply to a materialised view: whoever may read it sees what its owner saw"},
	NoIndex:          {Warn, Measured, "no index begins with the tenant column", "every tenant table has an index that begins with the tenant column", "each statement reads every tenant's rows to find one tenant's"},
	RowSecurityOff:   {Fail, Measured, "row_security is off", "row_security is on", "every statement on a table with policies fails: query would be affected by row-level security policy"},
	DefaultGrants:    {Warn, Measured, "default privileges open the next table", "the next table is closed until somebody opens it", "a table that is created tomorrow can be read by this role before anybody gave it a policy"},
	Trial:            {Fail, Measured, "rows were seen without their tenant", "no row was seen without its tenant", "tenants are not isolated, whatever the schema says"},
	ServerVersion:    {Warn, Documented, "this PostgreSQL has known faults in row-level security", "this PostgreSQL has no fault in row-level security that we know of", "see the advisory"},
	NoTimeout:        {Warn, Measured, "no timeout ends an idle transaction", "an idle transaction is ended", "a program that stops between BEGIN and COMMIT keeps a server connection for good; as many as the pool has stop everybody"},
	Fleet:            {Fail, Inferred, "the fleet does not fit", "the fleet fits", "the last instances to start get no connection: too many clients already, or waits in the pooler"},
	ReadOnly:         {Warn, Measured, "the server takes only reads", "the server takes writes", "every INSERT, UPDATE and DELETE fails: cannot execute in a read-only transaction"},
	BadOption:        {Fail, Documented, "an option is unknown to the driver, or contradicts the pooler", "nothing in the URL and the options contradicts the driver or the pooler", "the program ends at its first connection, or the option does nothing and the fault that it was to mend stays"},
	LeftTenant:       {Fail, Measured, "a setting that policies read is left on a server connection", "no setting that policies read is left on a server connection", "whoever gets the server connection next and sets no tenant works as the one that is left there"},
	LeftSetting:      {Warn, Measured, "a setting is left on a server connection", "no setting is left on a server connection", "whoever gets the server connection next works with it: a timeout, a search_path, a read-only session"},
	LeftRole:         {Fail, Measured, "a role is left on a server connection", "no role is left on a server connection", "whoever gets the server connection next works with the rights of this role"},
	LeftLock:         {Fail, Measured, "an advisory lock is held by nobody that is connected", "no advisory lock is held by nobody", "everybody else waits for the lock as long as the server connection lives; whoever gets that connection has the lock without asking"},
	LeftTemp:         {Warn, Measured, "a temporary object is left on a server connection", "no temporary object is left on a server connection", "the next client that makes one of this name fails, or reads rows of another client"},
	LeftStatement:    {Warn, Measured, "prepared statements are left on a server connection", "no prepared statement is left on a server connection", "the next client that chooses this name fails, or runs another client's statement without an error"},
	LeftCursor:       {Warn, Measured, "a cursor is left on a server connection", "no cursor is left on a server connection", "the next client that opens one of this name fails, or fetches rows of another client"},
	LeftChannel:      {Warn, Measured, "a LISTEN is left on a server connection", "no LISTEN is left on a server connection", "the client that asked for the notifications misses them; others get them, payload included"},
	LeftState:        {Warn, Measured, "a function's state is left on a server connection", "no function's state that can be asked for is left on a server connection", "the next client has it without knowing, and not even DISCARD ALL takes it away"},
	NothingSeen:      {Warn, Measured, "the tenant sees no row of its own", "the tenant sees rows of its own", "the application answers this tenant with an empty list, or {}, and no error: it looks as if nothing were there"},
	DoesNotFit:       {Fail, Measured, "a statement of the application does not fit the schema", "every statement of the application fits the schema", "the statement fails each time that it is sent: undefined column, undefined table"},
	OtherDoor:        {Warn, Measured, "another setting opens a policy", "no other setting opens a policy", "whoever makes this setting is bound by no tenant; behind a pooler also whoever gets the server connection on which it was left"},
}

// Codes returns all codes, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(catalogue)) }

// Describe returns a code's title, and what a finding of it means in production.
// Both are "" for a code that does not exist.
func Describe(c Code) (title, consequence string) {
	k := catalogue[c]
	return k.title, k.consequence
}

const pages = "https://github.com/poolproof/poolproof/blob/main/docs/doctor/"

// Page returns the address of a code's page, which poolproof explain prints.
func Page(c Code) string { return pages + string(c) + ".md" }

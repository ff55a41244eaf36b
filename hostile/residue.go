package hostile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/poolproof/poolproof/internal/sqltext"
)

// Names of our own statements on server connections. The first two stay there.
const (
	residueName = "poolproof_residue"
	glanceName  = "poolproof_glance"
	schemaName  = "poolproof_schema"
)

var (
	residueQuestion = question{name: residueName, sql: residueSQL, persistent: true}
	glanceQuestion  = question{name: glanceName, sql: glanceSQL, persistent: true}
)

// What a session can leave behind, besides settings. All our questions write
// operators with their schema: the search_path is the client's.
const (
	preparedSQL = `from pg_catalog.pg_prepared_statements p where p.from_sql`
	cursorsSQL  = `from pg_catalog.pg_cursors c where c.is_holdable`
	channelsSQL = `from pg_catalog.pg_listening_channels() ch`
	locksSQL    = `from pg_catalog.pg_locks l where l.locktype operator(pg_catalog.=) 'advisory' and l.pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()`
	tempSQL     = `from pg_catalog.pg_class r
		where pg_catalog.pg_my_temp_schema() operator(pg_catalog.<>) 0 and r.relnamespace operator(pg_catalog.=) pg_catalog.pg_my_temp_schema() and r.relkind operator(pg_catalog.=) any ('{r,v,p,S,m,f}')`
)

// glanceSQL gives a number that is another one when something of residueSQL's
// is: other values of the settings that are named in $1, custom ones, and $2,
// those of the server's that a session may make; it costs less, because
// pg_settings alone takes 0.44 ms. What it cannot see: a setting that a session
// makes to what it was already, and one of a library that was loaded later than
// $2 was read (see text.clean). An error where the current role may not read one.
const glanceSQL = `select pg_catalog.hashtextextended(pg_catalog.concat_ws('/',
	(select pg_catalog.string_agg(coalesce(pg_catalog.current_setting(n, true), ''), ',') from pg_catalog.unnest($1::pg_catalog.text[]) n),
	(select pg_catalog.string_agg(coalesce(pg_catalog.current_setting(n, true), ''), ',') from pg_catalog.unnest($2::pg_catalog.text[]) n),
	'p', (select pg_catalog.string_agg(p.name, ',' order by p.name) ` + preparedSQL + `),
	'c', (select pg_catalog.string_agg(c.name, ',' order by c.name) ` + cursorsSQL + `),
	'l', (select pg_catalog.string_agg(ch, ',' order by ch) ` + channelsSQL + `),
	'a', (select pg_catalog.string_agg(l.classid operator(pg_catalog.||) ',' operator(pg_catalog.||) l.objid, ' ' order by l.classid, l.objid) ` + locksSQL + `),
	't', (select pg_catalog.string_agg(r.relname, ',' order by r.relname) ` + tempSQL + `),
	'r', current_user, session_user) collate pg_catalog."C", 0)::pg_catalog.text`

// settableSQL lists the server's settings that a session may make.
const settableSQL = `select name from pg_catalog.pg_settings where context operator(pg_catalog.=) any ('{user,superuser}')`

// residueSQL asks a server connection, between two transactions, what a session
// would leave behind. Settings: those whose source is the session, and custom
// ones by the names in $1, because PostgreSQL does not list them (measured). It
// answers one row of one JSON value.
var residueSQL = `select ` + inUTF8(`pg_catalog.jsonb_build_object(
	'settings', (select coalesce(pg_catalog.jsonb_object_agg(s.name, s.setting), '{}') from pg_catalog.pg_settings s where s.source operator(pg_catalog.=) 'session'),
	'custom', (select coalesce(pg_catalog.jsonb_object_agg(n, v), '{}') from (
		select n, pg_catalog.current_setting(n, true) as v from pg_catalog.unnest($1::pg_catalog.text[]) n) c where v operator(pg_catalog.<>) ''),
	'prepared', (select coalesce(pg_catalog.jsonb_agg(p.name order by p.name), '[]') `+preparedSQL+`),
	'cursors', (select coalesce(pg_catalog.jsonb_agg(c.name order by c.name), '[]') `+cursorsSQL+`),
	'channels', (select coalesce(pg_catalog.jsonb_agg(ch order by ch), '[]') `+channelsSQL+`),
	'locks', (select coalesce(pg_catalog.jsonb_agg(l.classid operator(pg_catalog.||) ',' operator(pg_catalog.||) l.objid order by l.classid, l.objid), '[]') `+locksSQL+`),
	'temp', (select coalesce(pg_catalog.jsonb_agg(r.relname order by r.relname), '[]') `+tempSQL+`),
	'role', current_user, 'session', session_user)::pg_catalog.text`)

// inUTF8 is an expression for a text that the client's encoding does not touch:
// another may lack its characters, which is an error. A database that has no
// encoding gives its bytes.
func inUTF8(sql string) string {
	return `pg_catalog.convert_to(` + sql + `, case when pg_catalog.getdatabaseencoding() operator(pg_catalog.=) 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end)`
}

// residue is what a server connection holds beyond a new one.
type residue struct {
	Settings map[string]string `json:"settings"`
	Custom   map[string]string `json:"custom"`
	Prepared []string          `json:"prepared"`
	Cursors  []string          `json:"cursors"`
	Channels []string          `json:"channels"`
	Locks    []string          `json:"locks"`
	Temp     []string          `json:"temp"`
	Role     string            `json:"role"`
	Session  string            `json:"session"`
}

func parseResidue(raw []byte) (residue, error) {
	var r residue
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("read what a server connection holds: %w", err)
	}
	return r, nil
}

// left is one thing that a transaction left behind.
type leftover struct {
	code    Code
	subject string
	value   string // of a setting: for telling whether clients agree; never shown
}

// since lists what is in r and was not in before.
func (r residue) since(before residue) []leftover {
	var all []leftover
	for _, s := range []struct{ now, before map[string]string }{{r.Settings, before.Settings}, {r.Custom, before.Custom}} {
		for name, value := range s.now {
			if old, had := s.before[name]; had && old == value || name == "role" || name == "session_authorization" {
				continue
			}
			all = append(all, leftover{SessionSetting, name, value})
		}
	}
	if r.Role != before.Role || r.Session != before.Session {
		all = append(all, leftover{SessionRole, r.Role, ""})
	}
	for _, l := range []struct {
		code        Code
		now, before []string
	}{
		{SQLPrepared, r.Prepared, before.Prepared}, {HoldCursor, r.Cursors, before.Cursors}, {Listening, r.Channels, before.Channels},
		{SessionLock, r.Locks, before.Locks}, {TempTable, r.Temp, before.Temp},
	} {
		for _, name := range l.now {
			if !slices.Contains(l.before, name) {
				all = append(all, leftover{l.code, name, ""})
			}
		}
	}
	slices.SortFunc(all, func(a, b leftover) int { return strings.Compare(string(a.code)+a.subject, string(b.code)+b.subject) })
	return all
}

// schema is what a database's functions and policies make of a statement's
// words: which settings they read and make, and whether anything could leave
// something behind that no word of a statement shows.
type schema struct {
	version                string
	settable               []string            // the server's own settings that a session may make
	settingNames           []string            // custom settings that functions and policies mention
	readByTable            map[string][]string // by table: the settings that its policies read, where they bind this role
	setByFunction          map[string][]string // by function: the settings that it may make
	unknownSetByFunction   map[string]bool     // functions that may make any
	settingDomains         map[uint32]bool     // oids of domains whose checks make settings, when a parameter is bound
	functionsMayLeaveState bool                // some function may leave something behind: every transaction is suspect
}

// schemaVersionSQL changes when functions or policies do.
const schemaVersionSQL = `select pg_catalog.concat_ws('/',
	(select pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.max(p.oid), pg_catalog.max(p.xmin::pg_catalog.text::pg_catalog.int8)) from pg_catalog.pg_proc p where p.oid operator(pg_catalog.>=) 16384),
	(select pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.max(p.oid), pg_catalog.max(p.xmin::pg_catalog.text::pg_catalog.int8)) from pg_catalog.pg_policy p))`

// schemaSQL lists functions of the database's own with their sources, and
// policies with the tables they are on. Function bodies of the system and C
// functions are left out.
var schemaSQL = `select ` + inUTF8("kind") + `, ` + inUTF8("name") + `, ` + inUTF8("body") + ` from (
select 'function', p.proname::pg_catalog.text, p.prosrc operator(pg_catalog.||) ' ' operator(pg_catalog.||) coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), '')
	from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid operator(pg_catalog.=) p.prolang
	where p.oid operator(pg_catalog.>=) 16384 and l.lanname operator(pg_catalog.<>) all ('{c,internal}')
union all
select 'policy', c.relname::pg_catalog.text, coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') operator(pg_catalog.||) ' ' operator(pg_catalog.||) coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '')
	from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) p.polrelid
	where pg_catalog.row_security_active(c.oid)
union all
select 'domain', c.contypid::pg_catalog.text, pg_catalog.pg_get_constraintdef(c.oid)
	from pg_catalog.pg_constraint c where c.contypid operator(pg_catalog.<>) 0 and pg_catalog.strpos(pg_catalog.pg_get_constraintdef(c.oid), 'set_config') operator(pg_catalog.>) 0
) s(kind, name, body)`

// newSchema reads the rows of schemaSQL.
func newSchema(rows [][]string) *schema {
	s := &schema{readByTable: map[string][]string{}, setByFunction: map[string][]string{}, unknownSetByFunction: map[string]bool{}, settingDomains: map[uint32]bool{}}
	functionReads := map[string][]string{}
	for _, row := range rows {
		if len(row) != 3 {
			continue
		}
		name, t := strings.ToLower(row[1]), scanFunctionBody(row[2])
		for _, n := range slices.Concat(t.settingsRead, t.settingsSet) {
			s.settingNames = appendNew(s.settingNames, n)
		}
		if row[0] == "function" {
			s.functionsMayLeaveState = s.functionsMayLeaveState || t.mayLeaveState
			functionReads[name] = append(functionReads[name], t.settingsRead...)
			s.setByFunction[name] = append(s.setByFunction[name], t.settingsSet...)
			s.unknownSetByFunction[name] = s.unknownSetByFunction[name] || t.setsUnknown
		}
		if row[0] == "domain" {
			oid, err := strconv.ParseUint(row[1], 10, 32)
			s.settingDomains[uint32(oid)] = err == nil
		}
	}
	for _, row := range rows {
		if len(row) != 3 || row[0] != "policy" {
			continue
		}
		table, t := strings.ToLower(row[1]), scanFunctionBody(row[2])
		reads := t.settingsRead
		for _, w := range t.words { // a function that reads the setting for it
			reads = append(reads, functionReads[unqualified(w)]...)
		}
		for _, n := range reads {
			s.readByTable[table] = appendNew(s.readByTable[table], n)
		}
	}
	slices.Sort(s.settingNames)
	return s
}

// lookInside looks at the body of a function, where statements begin after
// words such as BEGIN and THEN, too, and at what PERFORM and EXECUTE do.
func scanFunctionBody(body string) *queryText {
	t := &queryText{sql: body}
	sc := sqltext.New(body)
	start := true
	for {
		tok := sc.Next()
		if tok.Kind == sqltext.End {
			return t
		}
		w := tok.Text
		switch {
		case tok.Kind == sqltext.Semicolon:
			start = true
			continue
		case tok.Kind != sqltext.Word:
			start = false
			continue
		}
		t.words = append(t.words, w)
		switch {
		case w == "current_setting":
			if name, ok := firstSetting(sc); ok {
				t.settingsRead = appendNew(t.settingsRead, name)
			}
		case w == "set_config":
			if name, ok := firstSetting(sc); ok {
				t.settingsSet = appendNew(t.settingsSet, name)
			} else {
				t.setsUnknown = true
			}
			local, _ := sc.Local()
			t.mayLeaveState = t.mayLeaveState || !local
		case statefulWords[w] && w != "hold", w == "execute": // dynamic SQL may be anything
			t.mayLeaveState = true
		case start:
			switch w {
			case "set":
				ahead := sc
				if next := ahead.Next(); next.Text != "local" && next.Text != "transaction" && next.Text != "constraints" {
					t.mayLeaveState = true
				}
			case "reset", "listen", "unlisten", "prepare", "deallocate", "discard", "load":
				t.mayLeaveState = true
			}
		}
		start = w == "begin" || w == "then" || w == "else" || w == "loop"
	}
}

func unqualified(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// readBy lists the settings that policies and functions read for a statement
// with these words, and those that its functions make; unknown says that they
// may make any.
func (s *schema) settingsOf(t *queryText) (reads, made []string, unknown bool) {
	reads, made, unknown = t.settingsRead, t.settingsSet, t.setsUnknown
	if len(s.readByTable) == 0 && len(s.setByFunction) == 0 {
		return reads, made, unknown
	}
	for _, w := range t.words {
		w = unqualified(w)
		for _, n := range s.readByTable[w] {
			reads = appendNew(slices.Clip(reads), n)
		}
		for _, n := range s.setByFunction[w] {
			made = appendNew(slices.Clip(made), n)
		}
		unknown = unknown || s.unknownSetByFunction[w]
	}
	return reads, made, unknown
}

package hostile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

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

// settableSQL lists the server's settings that a session may make.
const settableSQL = `select name from pg_catalog.pg_settings where context operator(pg_catalog.=) any ('{user,superuser}')`

// readSchema reads what functions and policies do, unless that is known.
func (b *backend) readSchema() error {
	known := b.pool.schema.Load()
	rows, err := b.ask(question{name: schemaName, sql: schemaVersionSQL})
	if err == nil && (len(rows) != 1 || len(rows[0]) != 1) {
		err = fmt.Errorf("%d rows instead of one of one column", len(rows))
	}
	if err != nil {
		return fmt.Errorf("look at the database's functions: %w", err)
	}
	version := rows[0][0]
	if known != nil && version == known.version {
		return nil
	}
	sql := b.pool.schemaSQL(b.param("server_version"))
	if rows, err = b.ask(question{name: schemaName, sql: sql}); err != nil {
		return fmt.Errorf("read the database's functions: %w", err)
	}
	s := newSchema(rows)
	s.version = version
	if rows, err = b.ask(question{name: schemaName, sql: settableSQL}); err != nil {
		return fmt.Errorf("list the settings: %w", err)
	}
	for _, row := range rows {
		s.settable = append(s.settable, row...)
	}
	b.pool.schema.Store(s)
	return nil
}

// due tells whether functions and policies are to be looked at again: they may
// change behind the pooler's back, by a migration over a direct connection.
func (pl *pool) schemaCheckDue() bool {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if time.Since(pl.schemaCheckedAt) < time.Second {
		return false
	}
	pl.schemaCheckedAt = time.Now()
	return true
}

// schemaSQL is the query for this server's version: bodies of SQL functions
// that are kept parsed are there since 14.
func (pl *pool) schemaSQL(version string) string {
	major, _ := strconv.Atoi(strings.SplitN(version, ".", 2)[0])
	if major >= 14 {
		return schemaSQL
	}
	return strings.ReplaceAll(schemaSQL, "|| ' ' || coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), '')", "")
}

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

func unqualified(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[i+1:]
	}
	return name
}

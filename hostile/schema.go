package hostile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poolproof/poolproof/internal/residue"
)

// schema is what a database's functions, policies and domains add to the words
// of a statement: which settings it reads and sets, and whether it could leave
// something behind that no word of it shows.
type schema struct {
	version                string                // schemaVersionSQL's
	settable               []string              // the server's own settings that a session may set
	settingNames           []string              // custom settings that functions and policies name
	maybeSettings          []string              // what could be one in the strings of functions that set any
	readByTable            map[string][]string   // by table: the settings that its policies read, if they bind this role, and its defaults
	policyReads            map[string]bool       // settings that a policy reads
	strictReads            map[string]bool       // settings that are read without missing_ok somewhere
	readTogether           map[string][]string   // by setting: those that a function or policy reads as well, as a fall-back
	parts                  nameParts             // of which such functions could put names together
	computing              map[string]*queryText // functions that compute the name of a setting which they set or read
	anyByFunction          map[string]bool       // functions that run SQL which they put together
	inC                    map[string]bool       // volatile functions in C of extensions
	keptByFunction         map[string]*queryText // functions that keep something for the session, or take it away
	dblink                 string                // the schema of the extension dblink, quoted; "": it is not there
	setByFunction          map[string][]string   // by function: the settings that it may set
	unknownSetByFunction   map[string]bool       // functions that may set any setting
	settingDomains         map[uint32]bool       // oids of domains whose check sets something when a parameter is bound
	functionsMayLeaveState bool                  // some function may leave something behind, so any transaction may
}

// schemaVersionSQL returns a text that changes when functions, policies or columns'
// defaults do. A temporary table's defaults count only if they read a setting: many
// programs make such tables, and each change costs a reading of all.
const schemaVersionSQL = `select pg_catalog.concat_ws('/',
	(select pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.max(p.oid), pg_catalog.max(p.xmin::pg_catalog.text::pg_catalog.int8)) from pg_catalog.pg_proc p where p.oid operator(pg_catalog.>=) 16384),
	(select pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.max(p.oid), pg_catalog.max(p.xmin::pg_catalog.text::pg_catalog.int8)) from pg_catalog.pg_policy p),
	(select pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.max(d.oid), pg_catalog.max(d.xmin::pg_catalog.text::pg_catalog.int8)) from pg_catalog.pg_attrdef d
		where not exists (select from pg_catalog.pg_class c where c.oid operator(pg_catalog.=) d.adrelid and c.relpersistence operator(pg_catalog.=) 't' and d.adbin::pg_catalog.text operator(pg_catalog.!~) ` + readsSetting + `)))`

// readsSetting matches the stored form of an expression that calls current_setting
// (its oids: pg_proc.dat).
const readsSetting = `':funcid (2077|3294) '`

// parsedBody is the part of schemaSQL for functions whose bodies are kept
// parsed. PostgreSQL has them since 14.
const parsedBody = ` operator(pg_catalog.||) ' ' operator(pg_catalog.||) coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), '')`

// schemaSQL lists the database's own functions with their sources, policies with
// their tables, columns' defaults that read a setting, and domains whose check
// sets one. Functions of the system are left out; of those in C the names of
// volatile ones are listed, which may keep what the server can be asked for,
// except those that are known to keep nothing and those that only the server
// calls (their types' oids: pg_type.dat).
var schemaSQL = `select ` + residue.InUTF8("kind") + `, ` + residue.InUTF8("name") + `, ` + residue.InUTF8("body") + ` from (
select 'function', p.proname::pg_catalog.text, p.prosrc` + parsedBody + `
	from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid operator(pg_catalog.=) p.prolang
	where p.oid operator(pg_catalog.>=) 16384 and l.lanname operator(pg_catalog.<>) all ('{c,internal}')
union all
select 'globals', p.proname::pg_catalog.text, l.lanname::pg_catalog.text operator(pg_catalog.||) E'\n' operator(pg_catalog.||) p.prosrc
	from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid operator(pg_catalog.=) p.prolang
	where l.lanname::pg_catalog.text operator(pg_catalog.~) '^pl(perl|python|tcl|v8|lua|r$)'
union all
select 'extension', p.proname::pg_catalog.text, ''
	from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid operator(pg_catalog.=) p.prolang
	where p.oid operator(pg_catalog.>=) 16384 and l.lanname operator(pg_catalog.=) 'c' and p.provolatile operator(pg_catalog.=) 'v'
	and p.prorettype operator(pg_catalog.<>) all ('{325,2279,2280,2281,3115,3838}'::pg_catalog.oid[])
	and p.proname operator(pg_catalog.!~) '^(uuid_generate|gen_random|gen_salt|pgp_|armor|encrypt|decrypt|_?st_|_?postgis)'
union all
select 'policy', c.relname::pg_catalog.text, coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') operator(pg_catalog.||) ' ' operator(pg_catalog.||) coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '')
	from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) p.polrelid
	where pg_catalog.row_security_active(c.oid)
union all
select 'default', c.relname::pg_catalog.text, pg_catalog.pg_get_expr(d.adbin, d.adrelid)
	from pg_catalog.pg_attrdef d join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) d.adrelid
	where d.adbin::pg_catalog.text operator(pg_catalog.~) ` + readsSetting + `
union all
select 'domain', c.contypid::pg_catalog.text, pg_catalog.pg_get_constraintdef(c.oid)
	from pg_catalog.pg_constraint c where c.contypid operator(pg_catalog.<>) 0 and pg_catalog.strpos(pg_catalog.pg_get_constraintdef(c.oid), 'set_config') operator(pg_catalog.>) 0
) s(kind, name, body)`

// settableSQL lists the server's settings that a session may set.
const settableSQL = `select name from pg_catalog.pg_settings where context operator(pg_catalog.=) any ('{user,superuser}')`

// DBLinkSQL is a query of the schema of the extension dblink, quoted, if it is there.
const DBLinkSQL = `select pg_catalog.quote_ident(n.nspname) from pg_catalog.pg_proc p
	join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace
	join pg_catalog.pg_language l on l.oid operator(pg_catalog.=) p.prolang
	where p.proname operator(pg_catalog.=) 'dblink_get_connections' and p.pronargs operator(pg_catalog.=) 0 and l.lanname operator(pg_catalog.=) 'c'
	and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_function_privilege(p.oid, 'execute') limit 1`

// readSchema reads what functions and policies do, unless nothing has changed
// since they were read last.
func (b *backend) readSchema() error {
	version, err := b.askOne(question{name: schemaName, sql: schemaVersionSQL})
	if err != nil {
		return fmt.Errorf("ask whether the database's functions have changed: %w", err)
	}
	if known := b.pool.schema.Load(); known != nil && version == known.version {
		return nil
	}
	rows, err := b.ask(question{name: schemaName, sql: schemaSQLFor(b.param("server_version"))})
	if err != nil {
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
	if rows, err = b.ask(question{name: schemaName, sql: DBLinkSQL}); err != nil {
		return fmt.Errorf("look for dblink: %w", err)
	}
	for _, row := range rows {
		s.dblink = row[0]
	}
	b.pool.schema.Store(s)
	return nil
}

// schemaCheckDue reports whether to ask again if functions and policies have
// changed, at most once a second. A migration over a direct connection changes
// them unseen.
func (pl *pool) schemaCheckDue() bool {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if time.Since(pl.schemaCheckedAt) < time.Second {
		return false
	}
	pl.schemaCheckedAt = time.Now()
	return true
}

// schemaSQLFor returns schemaSQL for a server of this version.
func schemaSQLFor(version string) string {
	end := strings.IndexFunc(version+".", func(r rune) bool { return r < '0' || r > '9' }) // also of "18beta1"
	if major, _ := strconv.Atoi(version[:end]); major >= 14 {
		return schemaSQL
	}
	return strings.ReplaceAll(schemaSQL, parsedBody, "")
}

// newSchema reads the rows of schemaSQL.
func newSchema(rows [][]string) *schema {
	s := &schema{readByTable: map[string][]string{}, setByFunction: map[string][]string{}, unknownSetByFunction: map[string]bool{}, settingDomains: map[uint32]bool{},
		policyReads: map[string]bool{}, strictReads: map[string]bool{}, readTogether: map[string][]string{}, anyByFunction: map[string]bool{}, computing: map[string]*queryText{}, inC: map[string]bool{}, keptByFunction: map[string]*queryText{}}
	functionReads := map[string][]string{}
	for _, row := range rows {
		if len(row) != 3 {
			continue
		}
		if row[0] == "globals" {
			s.keepsGlobals(strings.ToLower(row[1]), row[2])
			continue
		}
		if row[0] == "extension" {
			s.inC[strings.ToLower(row[1])] = true
			continue
		}
		name, t := strings.ToLower(row[1]), scanFunctionBody(row[2])
		for _, n := range slices.Concat(t.settingsRead, t.settingsSet) {
			s.settingNames = appendNew(s.settingNames, n)
		}
		for _, n := range t.strictReads {
			s.strictReads[n] = true
		}
		s.readAsOne(t.settingsRead)
		if row[0] == "function" {
			s.functionsMayLeaveState = s.functionsMayLeaveState || t.mayLeaveState
			functionReads[name] = append(functionReads[name], t.settingsRead...)
			s.setByFunction[name] = append(s.setByFunction[name], t.settingsSet...)
			s.unknownSetByFunction[name] = s.unknownSetByFunction[name] || t.setsUnknown || len(t.setsParams) > 0
			if t.runsAny {
				s.anyByFunction[name] = true
			}
			s.keeps(name, t.keeps, t.undoes)
			if t.computesSet || t.computesRead {
				s.computing[name] = t
			}
			if t.runsAny || t.setsUnknown || t.computesRead {
				s.parts.add(t.parts)
				t.maybeSettings = composed(t.maybeSettings, t.parts.prefixes, t.parts.names)
				for _, n := range t.maybeSettings[:min(len(t.maybeSettings), max(maxMaybeAll-len(s.maybeSettings), 0))] {
					s.maybeSettings = appendNew(s.maybeSettings, n)
				}
			}
		}
		if row[0] == "domain" {
			oid, err := strconv.ParseUint(row[1], 10, 32)
			s.settingDomains[uint32(oid)] = err == nil
		}
	}
	for _, row := range rows {
		if len(row) != 3 || row[0] != "policy" && row[0] != "default" {
			continue
		}
		table, t := strings.ToLower(row[1]), scanFunctionBody(row[2])
		reads := t.settingsRead
		for _, w := range t.words { // a function that reads the setting for it
			reads = append(reads, functionReads[unqualified(w)]...)
		}
		s.readAsOne(reads)
		for _, n := range reads {
			s.readByTable[table] = appendNew(s.readByTable[table], n)
			s.policyReads[n] = s.policyReads[n] || row[0] == "policy"
		}
	}
	slices.Sort(s.settingNames)
	return s
}

// maxMaybeAll bounds the names that are kept of all functions' strings, and of
// all clients'.
const maxMaybeAll = 100

// readAsOne records that these settings are read by one function or policy, so
// that one may stand in for another.
func (s *schema) readAsOne(names []string) {
	for _, n := range names {
		for _, other := range names {
			if n != other {
				s.readTogether[n] = appendNew(s.readTogether[n], other)
			}
		}
	}
}

// runsAny reports whether a statement may run SQL that is put together only then,
// by itself or through a function.
func (s *schema) runsAny(t *queryText) bool {
	return t.runsAny || len(s.anyByFunction) > 0 && slices.ContainsFunc(t.words, func(w string) bool { return s.anyByFunction[unqualified(w)] })
}

// callsC reports whether a statement may call a volatile function in C of an
// extension.
func (s *schema) callsC(t *queryText) bool {
	return len(s.inC) > 0 && slices.ContainsFunc(t.words, func(w string) bool { return s.inC[unqualified(w)] })
}

// settingsOf returns the settings that a statement with these words reads and
// sets, by itself or through functions and policies. unknown reports whether it
// may set any setting.
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

// unqualified returns a name without its schema.
func unqualified(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// SettingsSQL returns a query of what functions, policies, defaults and domains
// of a database say, for [SettingNames]. The server's version is as server_version
// has it.
func SettingsSQL(version string) string { return schemaSQLFor(version) }

// SettingNames returns the custom settings that the rows of SettingsSQL name,
// sorted: those that are read or set by name, and what could be the name of one
// in functions that put their SQL together.
func SettingNames(rows [][]string) []string {
	s := newSchema(rows)
	names := slices.Concat(s.settingNames, s.maybeSettings)
	slices.Sort(names)
	return slices.Compact(names)
}

// SettingsIn returns the custom settings that a statement names.
func SettingsIn(sql string) []string {
	t := scan(sql, false)
	return slices.Concat(t.settingsRead, t.settingsSet, t.maybeSettings)
}

// PolicySettings returns the custom settings that policies read which bind the
// role that ran SettingsSQL, sorted.
func PolicySettings(rows [][]string) []string {
	var names []string
	for name, reads := range newSchema(rows).policyReads {
		if reads {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

package atlas

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// fact is one thing that a backend answers about itself. Its kind is what the
// table's rows list; its subject says which of the kind.
type fact struct{ kind, subject string }

// facts are a backend's answers.
type facts map[fact]string

// watchSQL is asked after each statement. Its rows are kind, subject and value.
var watchSQL = `select 'setting', s.name, pg_catalog.concat_ws(' ', s.setting, s.source) from pg_catalog.pg_settings s
union all select 'schema path', '', pg_catalog.regexp_replace(pg_catalog.current_schemas(true)::pg_catalog.text, 'pg_temp_\d+,?', '')
union all select 'temp schema', '', (pg_catalog.pg_my_temp_schema() <> 0)::pg_catalog.text
union all select 'lock:' || l.locktype, pg_catalog.concat_ws(' ', l.classid, l.objid, l.mode), '' from pg_catalog.pg_locks l
	where l.pid = pg_catalog.pg_backend_pid() and l.locktype <> 'virtualxid' and not (l.locktype = 'relation' and l.mode = 'AccessShareLock')
union all select 'channel', ch, '' from pg_catalog.pg_listening_channels() ch
union all select 'cursor', c.name, '' from pg_catalog.pg_cursors c where c.name <> ''
union all select 'prepared', p.name, '' from pg_catalog.pg_prepared_statements p where p.name !~ '^atlas_(watch|extensions|who)$'
union all select 'temporary slot', r.slot_name, '' from pg_catalog.pg_replication_slots r where r.active_pid = pg_catalog.pg_backend_pid()
union all select 'activity:application_name', '', a.application_name from pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a
` + tempSQL()

// tempSQL lists what is in the session's temporary schema, of every catalogue
// that has a column for a schema. Types that belong to a table or to another
// type are left out.
func tempSQL() string {
	var b strings.Builder
	for _, c := range []struct{ catalogue, name, schema, where string }{
		{"pg_class", "relname", "relnamespace", "x.relkind <> 'c' and x.relkind <> 'i' and x.relkind <> 't'"},
		{"pg_constraint", "conname", "connamespace", "x.conrelid <> 0"},
		{"pg_statistic_ext", "stxname", "stxnamespace", "true"},
		{"pg_proc", "proname", "pronamespace", "true"},
		{"pg_type", "typname", "typnamespace", "x.typelem = 0 and (x.typrelid = 0 or exists (select from pg_catalog.pg_class r where r.oid = x.typrelid and r.relkind = 'c'))"},
		{"pg_operator", "oprname", "oprnamespace", "true"}, {"pg_opclass", "opcname", "opcnamespace", "true"}, {"pg_opfamily", "opfname", "opfnamespace", "true"},
		{"pg_collation", "collname", "collnamespace", "true"}, {"pg_conversion", "conname", "connamespace", "true"},
		{"pg_ts_config", "cfgname", "cfgnamespace", "true"}, {"pg_ts_dict", "dictname", "dictnamespace", "true"},
		{"pg_ts_parser", "prsname", "prsnamespace", "true"}, {"pg_ts_template", "tmplname", "tmplnamespace", "true"},
	} {
		fmt.Fprintf(&b, "union all select 'temp:%s', x.%s, '' from pg_catalog.%[1]s x where x.%[3]s = pg_catalog.pg_my_temp_schema() and %[4]s\n", c.catalogue, c.name, c.schema, c.where)
	}
	return b.String()
}

// whoSQL asks what every role may ask: who it is, and the custom settings of
// these names, which statements so far have said: PostgreSQL lists no custom
// settings.
const whoSQL = `select 'role', '', current_user::pg_catalog.text
union all select 'session user', '', session_user
union all select 'custom setting', n, pg_catalog.current_setting(n, true) from pg_catalog.unnest($1::pg_catalog.text[]) n`

// originSQL asks for the session's replication origin, which only superusers may.
const originSQL = `select pg_catalog.pg_replication_origin_session_is_setup()`

// extensionsSQL asks the functions that tell of an extension's own state, if
// the database has them: query_to_xml runs what cannot be named beforehand.
const extensionsSQL = `select k.kind, '', pg_catalog.query_to_xml(pg_catalog.format(k.query, n.nspname), true, false, '')::pg_catalog.text
from (values ('dblink', 'dblink_get_connections', 'select %I.dblink_get_connections()'),
	('postgres_fdw connection', 'postgres_fdw_get_connections', 'select %I.postgres_fdw_get_connections()'),
	('hypopg', 'hypopg', 'select indexname from %I.hypopg()'),
	('globals:atlas_perl_get', 'atlas_perl_get', 'select %I.atlas_perl_get()'),
	('globals:atlas_python_get', 'atlas_python_get', 'select %I.atlas_python_get()'),
	('globals:atlas_tcl_get', 'atlas_tcl_get', 'select %I.atlas_tcl_get()')) k(kind, name, query)
join pg_catalog.pg_proc p on p.proname = k.name and p.pronargs = 0 join pg_catalog.pg_namespace n on n.oid = p.pronamespace`

// unnamedSQL asks for dblink's unnamed connection: an error where there is none.
const unnamedSQL = `select pg_catalog.query_to_xml(pg_catalog.format('select * from %I.dblink(''select 1'') as t(n int)', n.nspname), true, false, '')::pg_catalog.text
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where p.proname = 'dblink' and p.pronargs = 1`

// unit asks one question: with a name, by a statement that stays on the
// connection.
func (c *client) unit(name, sql string, params ...string) {
	if name == "" || !c.has(name) {
		c.front.Send(&pgproto3.Close{ObjectType: 'S', Name: name})
		c.front.Send(&pgproto3.Parse{Name: name, Query: sql})
	}
	var values [][]byte
	for _, p := range params {
		values = append(values, []byte(p))
	}
	c.front.Send(&pgproto3.Bind{PreparedStatement: name, Parameters: values})
	c.front.Send(&pgproto3.Execute{})
	c.front.Send(&pgproto3.Sync{})
}

func (c *client) has(name string) bool { return c.statements[name] }

// ask flushes units and returns their answers.
func (c *client) ask(units int) ([]answer, error) {
	if err := c.send(); err != nil {
		return nil, err
	}
	all := make([]answer, units)
	for i := range all {
		var err error
		if all[i], err = c.receive(""); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// watch asks what the backend keeps, in one round trip. It must be between two
// transactions. names are of custom settings.
func (c *client) watch(names []string) (facts, error) {
	for {
		c.unit("atlas_watch", watchSQL)
		c.unit("atlas_extensions", extensionsSQL)
		c.unit("atlas_who", whoSQL, "{"+strings.Join(names, ",")+"}")
		c.unit("", "select pg_catalog.lastval()")
		c.unit("", unnamedSQL)
		c.unit("", originSQL)
		answers, err := c.ask(6)
		if err != nil {
			return nil, err
		}
		if answers[0].failed("26000") || answers[1].failed("26000") || answers[2].failed("26000") { // DEALLOCATE ALL took our statements
			c.statements = map[string]bool{}
			continue
		}
		c.statements = map[string]bool{"atlas_watch": answers[0].failure == nil, "atlas_extensions": answers[1].failure == nil, "atlas_who": answers[2].failure == nil}
		f := facts{}
		for i, a := range answers[:3] {
			if a.failure != nil && !a.failed(notAllowed) { // that it is another role is a difference by itself
				kind := "question that failed"
				if i == 1 {
					kind = "language that does not start" // it is one of their functions that fails
				}
				f[fact{kind, ""}] = a.failure.Code + " " + a.failure.Message
			}
			for _, row := range a.rows {
				f[fact{row[0], row[1]}] = row[2]
			}
		}
		f[fact{"lastval", ""}] = answers[3].text()
		f[fact{"dblink unnamed", ""}] = answers[4].text()
		if !answers[5].failed(notAllowed) {
			f[fact{"function:pg_replication_origin_session_is_setup", ""}] = answers[5].text()
		}
		for name, value := range c.reported {
			f[fact{"reported:" + name, ""}] = value
		}
		return f, nil
	}
}

// notAllowed is the SQLSTATE of insufficient_privilege.
const notAllowed = "42501"

// failed reports whether the answer is this error.
func (a answer) failed(code string) bool { return a.failure != nil && a.failure.Code == code }

// notAsked is what of the catalogue's functions and views is left out: what
// changes something, what tells of the database's objects or the server's files
// and not of the backend, and what is asked after each statement anyway.
var (
	notAsked = regexp.MustCompile(`^(pg_rotate_logfile\w*|pg_reload_conf|pg_switch_wal|pg_export_snapshot|pg_advisory_unlock_all|pg_stat_reset\w*|pg_stat_clear_snapshot|pg_stat_force_next_flush|` +
		`pg_wal_replay_(pause|resume)|pg_promote|txid_current|pg_current_xact_id|random|lastval|pg_replication_origin_(session|xact)_reset|binary_upgrade_\w+|pg_backup_\w+|` +
		`pg_timezone_names|pg_stats\w*|pg_backend_memory_contexts|pg_hba_file_rules|pg_ident_file_mappings|pg_file_settings|pg_config|pg_shmem_allocations|pg_settings|pg_locks|pg_cursors|pg_prepared_statements|` +
		`pg_views|pg_rules|pg_indexes|pg_tables|pg_matviews|pg_sequences|pg_policies|pg_publication_tables|pg_seclabels|pg_user_mappings|pg_roles|pg_group|pg_shadow|pg_user|` +
		`pg_statio_\w+|pg_stat_(all|sys|user)_\w+)$`)
	listFunctions = `select p.proname from pg_catalog.pg_proc p join pg_catalog.pg_type t on t.oid = p.prorettype
		where p.pronamespace = 'pg_catalog'::regnamespace and p.pronargs = 0 and p.prokind = 'f' and not p.proretset and p.provolatile in ('v', 's') and t.typtype <> 'p' order by 1`
	listViews = `select c.relname from pg_catalog.pg_class c where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'v' order by 1`
)

// look is the questions that are asked at the end of a script, each by itself.
type look struct {
	names []string // "function:…", "view:…"
	sql   []string
}

// newLook lists the catalogue's functions without arguments and its views.
func newLook(c *client) (look, error) {
	var l look
	for _, of := range []struct{ kind, list, ask string }{
		{"function:", listFunctions, "select pg_catalog.%s()::pg_catalog.text"},
		{"view:", listViews, "select pg_catalog.md5(pg_catalog.string_agg(v::pg_catalog.text, ',' order by v::pg_catalog.text)) from pg_catalog.%s v"},
	} {
		a, err := c.query(of.list, "")
		if err != nil {
			return l, err
		}
		for _, row := range a.rows {
			if name := row[0]; !notAsked.MatchString(name) {
				if name == "current_role" || name == "user" { // words of the grammar
					continue
				}
				l.names = append(l.names, of.kind+name)
				l.sql = append(l.sql, fmt.Sprintf(of.ask, `"`+name+`"`))
			}
		}
	}
	return l, nil
}

// without returns the look without some questions.
func (l look) without(names map[string]bool) look {
	var kept look
	for i, n := range l.names {
		if !names[n] {
			kept.names, kept.sql = append(kept.names, n), append(kept.sql, l.sql[i])
		}
	}
	return kept
}

// memorySQL lists the kinds of memory that the backend has.
const memorySQL = `select distinct m.name from pg_catalog.pg_backend_memory_contexts m`

// look asks all questions of a look in one round trip, and for the memory's
// kinds.
func (c *client) look(l look) (facts, error) {
	for _, sql := range l.sql {
		c.unit("", sql)
	}
	c.unit("", memorySQL)
	answers, err := c.ask(len(l.sql) + 1)
	if err != nil {
		return nil, err
	}
	f := facts{}
	for i, name := range l.names {
		f[fact{name, ""}] = answers[i].text()
	}
	for _, row := range answers[len(l.sql)].rows {
		f[fact{"memory:" + row[0], ""}] = ""
	}
	return f, nil
}

// differences lists the facts in which a used backend differs from a fresh one,
// sorted. A setting's kind depends on what it is and who made it.
func (f facts) differences(fresh facts) []fact {
	var all []fact
	role := fact{"role", ""}
	another := f[role] != fresh[role] // it may not see all settings, and not ask everything
	seen := map[fact]bool{}
	for _, k := range slices.Concat(slices.Collect(maps.Keys(f)), slices.Collect(maps.Keys(fresh))) {
		used, has := f[k]
		want, had := fresh[k]
		if seen[k] || has == had && used == want || another && !has {
			continue
		}
		seen[k] = true
		if k.kind == "setting" {
			k.kind = settingKind(k.subject, used, want, has && had)
		}
		if _, known := f[fact{"setting", k.subject}]; known && k.kind == "custom setting" {
			continue // a library has made it one of its own, and pg_settings lists it
		}
		if k.kind == "custom setting" {
			if used == "null" || used == "" && want == "null" {
				k.kind = "custom setting that is empty"
			}
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b fact) int { return strings.Compare(a.kind+" "+a.subject, b.kind+" "+b.subject) })
	return all
}

// settingKind returns the kind of a setting that differs.
func settingKind(name, used, fresh string, known bool) string {
	switch {
	case !known:
		return "library"
	case slices.Contains([]string{"TimeZone", "DateStyle", "client_encoding", "standard_conforming_strings", "application_name"}, name):
		return "tracked setting"
	case name == "IntervalStyle":
		return "setting IntervalStyle"
	case name == "transaction_isolation" || name == "transaction_read_only" || name == "transaction_deferrable":
		if a, _, _ := strings.Cut(used, " session"); a == strings.TrimSuffix(strings.TrimSuffix(fresh, " default"), " override") {
			return "transaction setting source"
		}
		return "transaction setting"
	case strings.HasSuffix(used, " session"):
		return "setting"
	}
	return "setting that the session did not make"
}

// customName finds names of custom settings in a statement.
var customName = regexp.MustCompile(`(?i)(?:\bset\s+(?:session\s+|local\s+)?|\bset_config\s*\(\s*'|current_setting\s*\(\s*'|\bshow\s+)([a-z_][a-z0-9_]*\.[a-z_][a-z0-9_.]*)`)

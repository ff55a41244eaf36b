// Package residue asks a server connection what it holds that a new one has not. It is the one source of these questions: the hostile pooler
// asks them after transactions, the doctor of the server connections that it meets.
package residue

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// What a session can leave behind, besides settings. All our questions write
// operators with their schema, because search_path is the client's.
const (
	preparedSQL = `from pg_catalog.pg_prepared_statements p where p.from_sql`
	cursorsSQL  = `from pg_catalog.pg_cursors c where c.is_holdable`
	channelsSQL = `from pg_catalog.pg_listening_channels() ch`
	// What PostgreSQL itself drops with the session's temporary schema: whatever depends on it.
	tempObjectsSQL = `from pg_catalog.pg_depend d where pg_catalog.pg_my_temp_schema() operator(pg_catalog.<>) 0
		and d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass and d.refobjid operator(pg_catalog.=) pg_catalog.pg_my_temp_schema()
		and d.classid operator(pg_catalog.<>) 'pg_catalog.pg_class'::pg_catalog.regclass`
	locksSQL = `from pg_catalog.pg_locks l where l.locktype operator(pg_catalog.=) 'advisory' and l.pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()`
	slotsSQL = `from pg_catalog.pg_get_replication_slots() g where g.temporary and g.active_pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()`
	tempSQL  = `from pg_catalog.pg_class r
		where pg_catalog.pg_my_temp_schema() operator(pg_catalog.<>) 0 and r.relnamespace operator(pg_catalog.=) pg_catalog.pg_my_temp_schema() and r.relkind operator(pg_catalog.=) any ('{r,v,p,S,m,f}')`
)

// SQL asks a server connection, between two transactions, what the
// session holds. Of the settings it lists those that the session set to another
// value than a new connection has; what BEGIN sets anew is none of them.
// PostgreSQL does not list custom settings (measured on 15), so they are asked
// for by the names in $1. What a new connection has of them shows in resetting
// them for this one statement, and only those that have a value are reset: it
// would give an empty one to the others. 'constants' are those that a new
// connection has. The answer is one row with one JSON value.
var SQL = `with own as materialized (select s.name, s.setting, s.reset_val, s.source from pg_catalog.pg_settings s),
	custom as materialized (select n, v, pg_catalog.set_config(n, null, true) as r
		from (select n, pg_catalog.current_setting(n, true) as v from pg_catalog.unnest($1::pg_catalog.text[]) n offset 0) c
		where v operator(pg_catalog.<>) '' and not exists (select from own where pg_catalog.lower(own.name) operator(pg_catalog.=) n))
select ` + InUTF8(`pg_catalog.jsonb_build_object(
	'settings', (select coalesce(pg_catalog.jsonb_object_agg(s.name, s.setting), '{}') from own s
		where s.source operator(pg_catalog.=) 'session' and coalesce(s.setting operator(pg_catalog.<>) s.reset_val, true)
		and s.name operator(pg_catalog.<>) all ('{transaction_isolation,transaction_read_only,transaction_deferrable}')),
	'custom', (select coalesce(pg_catalog.jsonb_object_agg(n, v), '{}') from custom where v operator(pg_catalog.<>) r),
	'constants', (select coalesce(pg_catalog.jsonb_agg(n), '[]') from custom where v operator(pg_catalog.=) r),
	'objects', (select coalesce(pg_catalog.jsonb_agg(o.type operator(pg_catalog.||) ' ' operator(pg_catalog.||) o.identity order by o.type, o.identity), '[]')
		from (select d.classid, d.objid, d.objsubid `+tempObjectsSQL+`) d, pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) o),
	'prepared', (select coalesce(pg_catalog.jsonb_agg(p.name order by p.name), '[]') `+preparedSQL+`),
	'cursors', (select coalesce(pg_catalog.jsonb_agg(c.name order by c.name), '[]') `+cursorsSQL+`),
	'channels', (select coalesce(pg_catalog.jsonb_agg(ch order by ch), '[]') `+channelsSQL+`),
	'locks', (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(l.classid::pg_catalog.int8, l.objid::pg_catalog.int8, l.objsubid) order by l.objsubid, l.classid, l.objid), '[]') `+locksSQL+`),
	'temp', (select coalesce(pg_catalog.jsonb_agg(r.relname order by r.relname), '[]') `+tempSQL+`),
	'slots', (select coalesce(pg_catalog.jsonb_agg('replication slot ' operator(pg_catalog.||) g.slot_name order by g.slot_name), '[]') `+slotsSQL+`),
	'role', current_user, 'session', session_user)::pg_catalog.text`)

// Glance hashes what SQL lists; a different hash means that something
// changed. It compares the values of the custom settings in $1 and of the
// server's settings in $2 (those that a session may set), and costs less, because pg_settings
// alone takes 0.44 ms. It does not see a setting that is set to the value that
// it has, nor one of a library that was loaded after $2 was read. It fails if the current role may not read a
// setting.
const Glance = `select pg_catalog.hashtextextended(pg_catalog.concat_ws('/',
	(select pg_catalog.string_agg(coalesce(pg_catalog.current_setting(n, true), ''), ',') from pg_catalog.unnest($1::pg_catalog.text[]) n),
	(select pg_catalog.string_agg(coalesce(pg_catalog.current_setting(n, true), ''), ',') from pg_catalog.unnest($2::pg_catalog.text[]) n),
	'p', (select pg_catalog.string_agg(p.name, ',' order by p.name) ` + preparedSQL + `),
	'c', (select pg_catalog.string_agg(c.name, ',' order by c.name) ` + cursorsSQL + `),
	'l', (select pg_catalog.string_agg(ch, ',' order by ch) ` + channelsSQL + `),
	'a', (select pg_catalog.string_agg(pg_catalog.concat_ws(',', l.classid, l.objid, l.objsubid, l.mode), ' ' order by l.classid, l.objid, l.objsubid, l.mode) ` + locksSQL + `),
	'o', (select pg_catalog.string_agg(d.classid operator(pg_catalog.||) ',' operator(pg_catalog.||) d.objid, ' ' order by d.classid, d.objid) ` + tempObjectsSQL + `),
	't', (select pg_catalog.string_agg(r.relname, ',' order by r.relname) ` + tempSQL + `),
	's', (select pg_catalog.string_agg(g.slot_name, ',' order by g.slot_name) ` + slotsSQL + `),
	'r', current_user, session_user) collate pg_catalog."C", 0)::pg_catalog.text`

// State is what a server connection holds beyond a new one.
type State struct {
	Settings  map[string]string `json:"settings"`
	Custom    map[string]string `json:"custom"`
	Prepared  []string          `json:"prepared"`
	Cursors   []string          `json:"cursors"`
	Channels  []string          `json:"channels"`
	Locks     []LockKey         `json:"locks"`
	Temp      []string          `json:"temp"`
	Objects   []string          `json:"objects"`   // temporary ones that are no relations: "function pg_temp_3.slug(text)"
	Constants []string          `json:"constants"` // custom settings that have what a new connection has, and that is not ""
	Links     []string          `json:"-"`         // dblink's named connections
	Slots     []string          `json:"slots"`     // temporary replication slots: "replication slot x"
	Role      string            `json:"role"`
	Session   string            `json:"session"`
}

// Parse reads SQL's answer.
func Parse(raw []byte) (State, error) {
	var r State
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("read what a server connection holds: %w", err)
	}
	return r, nil
}

// Kind is a kind of thing that a session can hold.
type Kind string

// The kinds.
const (
	Setting  Kind = "setting"
	Role     Kind = "role"
	Prepared Kind = "prepared" // by PREPARE
	Cursor   Kind = "cursor"   // WITH HOLD
	Channel  Kind = "channel"  // of LISTEN
	Lock     Kind = "lock"     // an advisory one of the session
	Temp     Kind = "temporary"
	Link     Kind = "link" // a connection of dblink
	Slot     Kind = "slot" // of replication, a temporary one
)

// Item is one thing that a session holds.
type Item struct {
	Kind  Kind
	Name  string // of the setting, role, statement …; a lock's is its key
	Value string // of a setting: to compare, never to be shown
}

// tempSchema matches the schemas in the description of a temporary object.
var tempSchema = regexp.MustCompile(`\b(pg_temp(_\d+)?|pg_catalog)\.`)

// Since lists what is in s and not in before, in no certain order.
func (s State) Since(before State) []Item {
	var all []Item
	for _, m := range []struct{ now, before map[string]string }{{s.Settings, before.Settings}, {s.Custom, before.Custom}} {
		for name, value := range m.now {
			if old, had := m.before[name]; had && old == value || name == "role" || name == "session_authorization" {
				continue
			}
			all = append(all, Item{Setting, name, value})
		}
	}
	if s.Role != before.Role || s.Session != before.Session {
		all = append(all, Item{Role, s.Role, ""})
	}
	for _, l := range []struct {
		kind        Kind
		now, before []string
	}{
		{Prepared, s.Prepared, before.Prepared},
		{Cursor, s.Cursors, before.Cursors},
		{Channel, s.Channels, before.Channels},
		{Lock, lockTexts(s.Locks), lockTexts(before.Locks)},
		{Temp, s.Temp, before.Temp},
		{Temp, s.Objects, before.Objects},
		{Link, s.Links, before.Links},
		{Slot, s.Slots, before.Slots},
	} {
		for _, name := range l.now {
			if !slices.Contains(l.before, name) {
				all = append(all, Item{l.kind, tempSchema.ReplaceAllString(name, ""), ""})
			}
		}
	}
	return all
}

// LockKey is an advisory lock's key, as pg_locks has it: classid, objid and
// objsubid. With objsubid 1 the first two are the halves of one bigint, with 2
// they are two ints: (0, 42) is another lock than 42.
type LockKey [3]int64

// String returns the key as programs write it: "42", or "0, 42".
func (k LockKey) String() string {
	class, object := uint32(k[0]), uint32(k[1]) // an oid has 32 bits
	if k[2] == 2 {
		return fmt.Sprintf("%d, %d", int32(class), int32(object)) // the sign is the key's own
	}
	return strconv.FormatInt(int64(uint64(class)<<32|uint64(object)), 10) // the same
}

// lockTexts returns the keys as programs write them.
func lockTexts(keys []LockKey) []string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = k.String()
	}
	return texts
}

// InUTF8 returns an expression for a text as bytes, which client_encoding does
// not touch. An encoding that lacks one of the text's characters would be an
// error. In a database without an encoding they are the bytes that are stored.
func InUTF8(sql string) string {
	return `pg_catalog.convert_to(` + sql + `, case when pg_catalog.getdatabaseencoding() operator(pg_catalog.=) 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end)`
}

package poolproof

import (
	"errors"
	"testing"
)

// What would stay on the server connection is refused wherever in a statement it
// stands, and nothing else is.
func TestWhatLeavesStateIsRefused(t *testing.T) {
	for _, sql := range []string{
		"create temp table x ()", "create temporary table x ()", "create local temp table x ()", "CREATE GLOBAL TEMPORARY TABLE x ()",
		"create temp view v as select 1", "create or replace temp view v as select 1", "create or replace local temp view v as select 1",
		"create or replace temporary recursive view v (n) as select 1", "create temp sequence s", "create temporary sequence s",
		"create table pg_temp.x as select 1", `create table "pg_temp".x ()`, `create table pg_temp."X" ()`, "create table pg_temp_3.x ()", "create function pg_temp.f() returns int language sql return 1",
		"create type pg_temp.t as enum ('a')", "create domain pg_temp.d as int", "insert into pg_temp.x values (1)", "alter table x rename to pg_temp.y",
		"select 1 into temp x", "select 1 as a into temporary table x", "select 1 into local temp x", "select 1 into pg_temp.x", "with a as (select 1) select * into temp x from a",
		"(select 1 into temp x)", "select a into /* a comment */ temp x from b",
		"explain analyze create temp table x as select 1", "explain (analyze, costs off) create temporary table x as select 1", "explain (analyze) create table pg_temp.x as select 1",
		"explain execute nope", "explain analyze verbose execute nope(1)", "execute nope",
		"select pg_advisory_lock(1)", "select pg_catalog.pg_advisory_lock (1)", "select pg_try_advisory_lock(1, 2)", "select pg_advisory_lock_shared(1)", "select PG_ADVISORY_UNLOCK_ALL()",
		"with l as (select pg_try_advisory_lock_shared(1)) select * from l", "select * from t where pg_advisory_unlock(id)",
		"select set_config('app.x', 'y', false)", "select pg_catalog.set_config($1, $2, false)", "select set_config('a.b', coalesce($1, ''), 'f')", "select 1, set_config('a.b', 'c', FALSE) from t",
		`select "set_config"('a.b', 'c', false)`, `select pg_catalog."set_config"('a.b', 'c', false)`, `select "pg_advisory_lock"(1)`, `update "pg_settings" set setting = 'a'`,
		"select set_config('a.b', 'c', false::bool)", "select set_config('a.b', 'c', (false))", "select set_config('a.b', 'c', boolean 'no')", "select set_config('a.b', 'c', 'fal')", "create table pg_temp . x ()",
		"update pg_settings set setting = 'a' where name = 'app.x'", "update pg_catalog.pg_settings set setting = 'a'", "with u as (update only pg_settings set setting = 'a' returning 1) table u",
		"select pg_replication_origin_session_setup('o')", "create table t as select pg_advisory_lock(1)", "create materialized view v as select set_config('a.b', 'c', false)",
		"select dblink_connect('a', 'b')", "select setseed(0.5)", "select set_limit(0.5)",
		"declare c cursor with hold for select 1", "declare c insensitive no scroll cursor with hold for select 1",
		"set app.x = 'y'", "set session app.x = 'y'", "set local .x = 'y'", "set session characteristics as transaction read only", "set session authorization x", "set role x", "set time zone 'UTC'",
		"reset app.x", "discard temp", "load 'auto_explain'", "listen a", "unlisten *", "prepare p as select 1", "deallocate p",
		"; ; /* ; */ create temp table x ()", "copy x from stdin",
	} {
		for name, refuse := range map[string]func(string) error{"a scope": refuseInScope, "a transaction": refuseInTx} {
			err := refuse(sql)
			typed, ok := errors.AsType[*Error](err)
			if !ok || typed.Kind != ErrStatementRefused || typed.Hint == "" {
				t.Errorf("in %s %q: %v", name, sql, err)
			}
		}
	}
	for _, sql := range []string{
		"", ";", "select 1", "(select 1)", "select temp, temporary from temperatures", "select t.temp from t", "insert into temp values (1)", "insert into temp (a) select 1",
		"merge into temp using x on true when matched then do nothing", "with a as (insert into temp values (1) returning *) select * from a",
		"create table temp (a int)", "create table local_temp ()", "create table temporary_things ()", "create view temp as select 1", "create or replace view temp as select 1",
		"select 'create temp table x'", "select 'pg_temp.x', 'pg_advisory_lock(1)'", `select "pg_advisory_lock" from t`, "select pg_advisory_lock from t", "select $$select 1 into temp x$$", "select $a$ pg_temp.x $a$",
		"select 1 -- into temp x", "select /* into temp x */ 1", "select E'it\\'s into temp'", "select 'it''s' as a into x", "select 1 into temp_x", "select 1 into unlogged x",
		"create function f() returns void language plpgsql as $$ begin create temp table x (); perform pg_advisory_lock(1); end $$",
		"create function f() returns int language sql set search_path = pg_catalog, pg_temp return 1", "select has_schema_privilege('pg_temp', 'usage')",
		"select pg_advisory_xact_lock(1)", "select pg_try_advisory_xact_lock(1)", "select pg_advisory_xact_lock_shared(1)",
		"select set_config('app.x', 'y', true)", "select set_config($1, $2, $3)", "select set_config('app.x', 'false', true)", "select set_config from t",
		"select set_config('a.b', 'c', $1 <> 'off')", "select set_config('a.b', 'c', true::boolean)", `select "Set_Config"('a.b', 'c', false)`, `select "setseed" from t`, "select set_config('a.b', 'c', not false)", "select set_config('a.b', 'c', coalesce($1, false))", "select setting from pg_settings", "select setting from only pg_settings", "update settings set setting = 1",
		"create function f() returns void language sql begin atomic select pg_advisory_lock(1); end", "create or replace view v as select pg_try_advisory_lock(1)", "create policy p on t using (set_config('a.b', 'c', false) is not null)",
		"set local app.x = 'y'", "set transaction isolation level serializable", "set constraints all deferred", "SET LOCAL ROLE x",
		"declare c cursor for select 1", "declare c cursor without hold for select 1", "select * from t with_hold where hold", "explain select 1", "explain (analyze, format json) select 1", "explain analyze insert into temp values (1)",
		"notify a", "lock table x", "select nextval('s')", "grant select on x to y", "update t set temp = 1", "select a.temp into b from a", "fetch next from c", "values (1)", "table temp",
	} {
		for name, refuse := range map[string]func(string) error{"a scope": refuseInScope, "a transaction": refuseInTx} {
			if err := refuse(sql); err != nil {
				t.Errorf("in %s %q: %v", name, sql, err)
			}
		}
	}
}

func BenchmarkCheckOfAStatement(b *testing.B) {
	const sql = "select d.id, d.title, d.body from documents d join authors a on a.tenant_id = d.tenant_id and a.id = d.author_id where d.id = $1 and a.name <> 'nobody' order by d.id limit 10"
	for b.Loop() {
		if err := refuseInScope(sql); err != nil {
			b.Fatal(err)
		}
	}
}

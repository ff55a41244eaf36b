//go:build unix

package doctor_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// soundForms are ways to write a policy that isolates: {C} is the column, {V} the setting as the column's type.
var soundForms = []string{
	"{C} = (select {V})",
	"(select {V}) = {C}",
	"{C} in (select {V})",
	"{C} = any (array(select {V}))",
	"{C} is not null and {C} = (select {V})",
	"id > 0 and {C} = (select {V})",
	"{C} = (select {V}) and (select nullif(current_setting('app.user', true), '')) is distinct from 'nobody'",
	"{C} is not distinct from (select {V}) and (select {V}) is not null",
	"exists (select from (select {V} as now) s where s.now = {C})",
	"case when (select {V}) is null then false else {C} = (select {V}) end",
	"not ({C} <> (select {V}))",
	"coalesce({C} = (select {V}), false)",
	"{C} >= (select {V}) and {C} <= (select {V})",
}

// soundTypes are a tenant column's types, and a tenant of each.
var soundTypes = []struct{ typ, value, cast, some string }{
	{"uuid", "nullif(current_setting('app.t', true), '')", "::uuid", "gen_random_uuid()"},
	{"int", "nullif(current_setting('app.t', true), '')", "::int", "7"},
	{"bigint", "nullif(current_setting('app.t', true), '')", "::bigint", "7"},
	{"text", "nullif(current_setting('app.t', true), '')", "", "'acme'"},
	{"varchar(36)", "nullif(current_setting('app.t', true), '')", "", "'acme'"},
	{"numeric", "nullif(current_setting('app.t', true), '')", "::numeric", "7"},
}

// soundTables are ways to lay a table out: {T} is the column's type, {P} the policy's expression.
var soundTables = []string{
	"create policy tenant on docs using ({P})",
	"create policy tenant on docs using ({P}) with check ({P})",
	"create policy r on docs for select using ({P}); create policy a on docs for insert with check ({P}); create policy w on docs for update using ({P}) with check ({P}); create policy d on docs for delete using ({P})",
	"create policy everybody on docs using (true); create policy tenant on docs as restrictive using ({P}) with check ({P})",
	"create policy tenant on docs to doctor_login using ({P}); create policy all_of_it on docs to pg_monitor using (true)",
}

// innocent are schemas that only look faulty.
var innocent = []schema{
	{name: "invoker view", sql: "{SOUND} create view v with (security_invoker) as select * from docs; grant select on v to doctor_login"},
	{name: "invoker view of an invoker view", sql: "{SOUND} create view i with (security_invoker) as select * from docs; create view v with (security_invoker) as select * from i; grant select on i, v to doctor_login"},
	{name: "view that nobody may read", sql: "{SOUND} create view v as select * from docs"},
	{name: "view in a closed schema", sql: "{SOUND} do $$ begin execute format('revoke usage on schema %I from public', current_schema()); end $$; create view v as select * from docs; grant select on v to doctor_login"},
	{name: "view of no tenant's table", sql: "{SOUND} create table countries (code text); create view v as select * from countries; grant select on v to doctor_login"},
	{name: "view of constants", sql: "{SOUND} create view v as select 1 as tenant_id; grant select on v to doctor_login"},
	{name: "view that asks for the tenant itself", sql: "{SOUND} create view v with (security_barrier) as select * from docs where {IS}; grant select on v to doctor_login"},
	{name: "view whose owner the policies bind", sql: "{SOUND} grant select on docs to pg_monitor; create view v as select * from docs; do $$ begin execute format('grant usage, create on schema %I to pg_monitor', current_schema()); end $$; alter view v owner to pg_monitor; grant select on v to doctor_login"},
	{name: "materialised view that nobody may read", sql: "{SOUND} create materialized view m as select * from docs"},
	{name: "materialised view of no tenant's table", sql: "{SOUND} create table countries (code text); create materialized view m as select * from countries; grant select on m to doctor_login"},
	{name: "invoker view of a materialised view that it cannot read", sql: "{SOUND} create materialized view m as select * from docs; create view v with (security_invoker) as select * from m; grant select on v to doctor_login"},
	{name: "trigger function", sql: "{SOUND} create function f() returns trigger language plpgsql security definer as 'begin delete from docs; return null; end'"},
	{name: "event trigger's function", sql: "{SOUND} create function f() returns event_trigger language plpgsql security definer as 'begin perform count(*) from docs; end'"},
	{name: "function for nobody", sql: "{SOUND} create function f() returns bigint language sql security definer as 'select count(*) from docs'; revoke execute on function f from public"},
	{name: "function that is no definer's", sql: "{SOUND} create function f() returns bigint language sql as 'select count(*) from docs'"},
	{name: "definer function of no tenant's table", sql: "{SOUND} create table countries (code text); create function f() returns bigint language sql security definer as 'select count(*) from countries'"},
	{name: "definer function that names a like table", sql: "{SOUND} create table docs_kinds (code text); create function f() returns bigint language sql security definer as 'select count(*) from docs_kinds'"},
	{name: "definer function with the table in a comment", sql: "{SOUND} create function f() returns int language plpgsql security definer as $f$ begin -- not from docs\n return 1; end $f$"},
	{name: "definer function with the table in a long comment", sql: "{SOUND} create function f() returns int language plpgsql security definer as $f$ begin /* select from docs */ return 1; end $f$"},
	{name: "definer function that asks for the tenant", sql: "{SOUND} create function f() returns bigint language sql security definer as $f$ select count(*) from docs where {IS} $f$"},
	{name: "definer function whose owner the policies bind", sql: "{SOUND} create function f() returns bigint language sql security definer as 'select count(*) from docs'; do $$ begin execute format('grant usage, create on schema %I to pg_monitor', current_schema()); end $$; alter function f owner to pg_monitor"},
	{name: "table of no tenant", sql: "create table countries (code text); grant select on countries to doctor_login"},
	{name: "table of no tenant with an open policy", sql: "create table countries (code text); alter table countries enable row level security; create policy o on countries using (true); grant select on countries to doctor_login"},
	{name: "table that the role may not touch", sql: "create table docs (tenant_id uuid); insert into docs values (gen_random_uuid())"},
	{name: "table in a closed schema", sql: "create table docs (tenant_id uuid); insert into docs values (gen_random_uuid()); grant select on docs to doctor_login; do $$ begin execute format('revoke usage on schema %I from public', current_schema()); end $$"},
	{name: "column that was dropped", sql: "create table docs (tenant_id uuid, id int); alter table docs drop column tenant_id; grant select on docs to doctor_login"},
	{name: "a column with the tenant in its name", sql: "create table docs (tenant_id_hint text, max_tenants int); grant select on docs to doctor_login"},
	{name: "open policy of another role", sql: "{SOUND} create policy o on docs to postgres using (true)"},
	{name: "open policy for reading behind a restrictive one", sql: "{SOUND} create policy o on docs for select using (true); create policy keep on docs as restrictive using ({IS})"},
	{name: "policy that lets nobody write", sql: "{TABLE} create policy r on docs for select using ({IS}); create policy none on docs for insert with check (false)"},
	{name: "open check of a command that the role has not", sql: "{SOUND} revoke insert on docs from doctor_login; create policy i on docs for insert with check (true)"},
	{name: "rows of nobody, shown to all", sql: "{TABLE} create policy tenant on docs using ({IS} or tenant_id = '00000000-0000-0000-0000-000000000000') with check ({IS}); insert into docs values ('00000000-0000-0000-0000-000000000000', 2)"},
	{name: "rows without a tenant, shown to all", sql: "create table docs (tenant_id uuid, id int); create index on docs (tenant_id); alter table docs enable row level security; alter table docs force row level security; create policy tenant on docs using ({IS} or tenant_id is null) with check ({IS}); insert into docs values (null, 1), (gen_random_uuid(), 2); grant select, insert on docs to doctor_login"},
	{name: "stable function in a sub-select", sql: "{TABLE} create function tenant_now() returns uuid language plpgsql stable as $f$ begin return nullif(current_setting('app.t', true), '')::uuid; end $f$; create policy tenant on docs using (tenant_id = (select tenant_now()))"},
	{name: "stable SQL function in a sub-select", sql: "{TABLE} create function tenant_now() returns uuid language sql stable as $f$ select nullif(current_setting('app.t', true), '')::uuid $f$; create policy tenant on docs using (tenant_id = (select tenant_now()))"},
	{name: "function with an SQL body in a sub-select", sql: "{TABLE} create function tenant_now() returns uuid language sql stable return nullif(current_setting('app.t', true), '')::uuid; create policy tenant on docs using (tenant_id = (select tenant_now()))"},
	{name: "function that looks for the empty text itself", sql: "{TABLE} create function tenant_now() returns uuid language plpgsql stable as $f$ declare v text := current_setting('app.t', true); begin if v = '' then return null; end if; return v::uuid; end $f$; create policy tenant on docs using (tenant_id = (select tenant_now()))"},
	{name: "volatile function in a default", sql: "{SOUND} alter table docs add made timestamptz default clock_timestamp()"},
	{name: "tenants of a user", sql: "{TABLE} create table members (tenant_id uuid, user_id text, primary key (tenant_id, user_id)); alter table members enable row level security; alter table members force row level security; create policy tenant on members using ({IS}); create policy tenant on docs using ({IS} and exists (select from members m where m.tenant_id = docs.tenant_id and m.user_id = (select current_setting('app.user', true)))); grant select on members to doctor_login"},
	{name: "partitions that nobody names", sql: "create table docs (tenant_id uuid, id int, primary key (tenant_id, id)) partition by hash (tenant_id); create table p0 partition of docs for values with (modulus 2, remainder 0); create table p1 partition of docs for values with (modulus 2, remainder 1); alter table docs enable row level security; alter table docs force row level security; create policy tenant on docs using ({IS}); insert into docs values (gen_random_uuid(), 1), (gen_random_uuid(), 2); grant select, insert on docs to doctor_login"},
	{name: "partitions by tenant with policies of their own", sql: "create table docs (tenant_id uuid, id int) partition by list (tenant_id); create table rest partition of docs default; alter table docs enable row level security; alter table docs force row level security; alter table rest enable row level security; alter table rest force row level security; create policy tenant on docs using ({IS}); create policy tenant on rest using ({IS}); insert into docs values (gen_random_uuid(), 1); grant select on docs, rest to doctor_login"},
	{name: "unlogged table", sql: "{SOUND} alter table docs set unlogged"},
	{name: "small table without an index", sql: "{SOUND} alter table docs drop constraint docs_pkey; analyze docs"},
	{name: "hash index", sql: "{SOUND} alter table docs drop constraint docs_pkey; {MANY} create index on docs using hash (tenant_id); analyze docs"},
	{name: "index with included columns", sql: "{SOUND} alter table docs drop constraint docs_pkey; {MANY} create index on docs (tenant_id) include (id); analyze docs"},
	{name: "descending index", sql: "{SOUND} alter table docs drop constraint docs_pkey; {MANY} create index on docs (tenant_id desc nulls last, id); analyze docs"},
	{name: "unique index", sql: "{SOUND} alter table docs drop constraint docs_pkey; {MANY} create unique index on docs (tenant_id, id); analyze docs"},
	{name: "default grants to others", sql: "do $$ begin execute format('alter default privileges in schema %I grant select on tables to pg_monitor', current_schema()); end $$; {SOUND}"},
	{name: "default grants of sequences", sql: "do $$ begin execute format('alter default privileges in schema %I grant usage on sequences to doctor_login', current_schema()); end $$; {SOUND}"},
	{name: "default grants of functions", sql: "do $$ begin execute format('alter default privileges in schema %I grant execute on functions to doctor_login', current_schema()); end $$; {SOUND}"},
	{name: "default grants taken back", sql: "do $$ begin execute format('alter default privileges in schema %I grant select on tables to doctor_login', current_schema()); execute format('alter default privileges in schema %I revoke select on tables from doctor_login', current_schema()); end $$; {SOUND}"},
	{name: "names that want quotes", sql: `create table "Odd ""docs""; --" ("Tenant_id" uuid, tenant_id uuid, id int, primary key (tenant_id, id)); alter table "Odd ""docs""; --" enable row level security; alter table "Odd ""docs""; --" force row level security; create policy "a b" on "Odd ""docs""; --" using ({IS}); insert into "Odd ""docs""; --" values (gen_random_uuid(), gen_random_uuid(), 1); grant select on "Odd ""docs""; --" to doctor_login`},
	{name: "names that are words of SQL", sql: `create table "select" (tenant_id uuid, "from" int, primary key (tenant_id, "from")); alter table "select" enable row level security; alter table "select" force row level security; create policy "true" on "select" using ({IS}); insert into "select" values (gen_random_uuid(), 1); grant select, insert on "select" to doctor_login`},
	{name: "a table named like the column", sql: `create table tenant_id (tenant_id uuid primary key); alter table tenant_id enable row level security; alter table tenant_id force row level security; create policy tenant on tenant_id using ({IS}); insert into tenant_id values (gen_random_uuid()); grant select on tenant_id to doctor_login`},
	{name: "identity and generated columns", sql: `create table docs (tenant_id uuid, id int generated always as identity, twice int generated always as (7) stored, primary key (tenant_id, id)); alter table docs enable row level security; alter table docs force row level security; create policy tenant on docs using ({IS}); insert into docs (tenant_id) values (gen_random_uuid()); grant select, insert on docs to doctor_login`},
	{name: "a domain over the tenant's type", sql: `create domain tenant as uuid; create table docs (tenant_id tenant, id int, primary key (tenant_id, id)); alter table docs enable row level security; alter table docs force row level security; create policy tenant on docs using ({IS}); insert into docs values (gen_random_uuid(), 1); grant select, insert on docs to doctor_login`},
	{name: "an owner's rule", sql: "{SOUND} create rule quiet as on delete to docs do instead nothing"},
	{name: "columns granted one by one", sql: "{SOUND} revoke all on docs from doctor_login; grant select (tenant_id, id) on docs to doctor_login"},
	{name: "only inserts", sql: "{SOUND} revoke all on docs from doctor_login; grant insert on docs to doctor_login"},
	{name: "an empty table", sql: "{SOUND} delete from docs"},
	{name: "a setting of another schema of names", sql: "{TABLE} create policy tenant on docs using ((select nullif(current_setting('app.t', true), '')::uuid) is not null and {IS})"},
	{name: "policy that speaks of itself in a text", sql: "{TABLE} create policy tenant on docs using ({IS} and 'using (true)' <> 'true')"},
	{name: "inherited table", sql: "{SOUND} create table more (extra text, primary key (tenant_id, id)) inherits (docs)"},
	{name: "a foreign key to it", sql: "{SOUND} create table lines (tenant_id uuid, id int, line int, primary key (tenant_id, id, line), foreign key (tenant_id, id) references docs); alter table lines enable row level security; alter table lines force row level security; create policy tenant on lines using ({IS}); grant select, insert on lines to doctor_login"},
}

// negatives are all schemas in which nothing is wrong.
func negatives() (all []schema) {
	for f, form := range soundForms {
		for k, typ := range soundTypes {
			layout := soundTables[(f+k)%len(soundTables)] // each form meets each layout
			expr := strings.NewReplacer("{C}", "tenant_id", "{V}", typ.value+typ.cast).Replace(form)
			sql := fmt.Sprintf(`create table docs (tenant_id %s, id int, primary key (tenant_id, id)); alter table docs enable row level security; alter table docs force row level security;
				insert into docs values (%s, 1); grant select, insert, update, delete on docs to doctor_login; %s`, typ.typ, typ.some, strings.ReplaceAll(layout, "{P}", expr))
			all = append(all, schema{name: typ.typ + ": " + expr, sql: sql})
		}
	}
	for f, form := range soundForms {
		for l, layout := range soundTables {
			typ := soundTypes[(f+l)%2] // uuid and int
			expr := strings.NewReplacer("{C}", `"tenantId"`, "{V}", typ.value+typ.cast).Replace(form)
			sql := fmt.Sprintf(`create table "Docs" ("tenantId" %s, id int, primary key ("tenantId", id)); alter table "Docs" enable row level security; alter table "Docs" force row level security;
				insert into "Docs" values (%s, 1); grant select, insert, update, delete on "Docs" to doctor_login; %s`, typ.typ, typ.some, strings.ReplaceAll(strings.ReplaceAll(layout, "{P}", expr), "on docs", `on "Docs"`))
			all = append(all, schema{name: `"tenantId": ` + expr, sql: sql})
		}
	}
	return append(all, innocent...)
}

// TestNegatives: nothing is found in schemas that isolate, however oddly they are written.
func TestNegatives(t *testing.T) {
	cases := negatives()
	t.Logf("%d schemas", len(cases))
	for some := range slices.Chunk(cases, 70) { // each database within the doctor's time
		lookAt(t, pgtest.Pooled(t, schemas(t, some), pgtest.PgBouncer124Transaction), some)
	}
}

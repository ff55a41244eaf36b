package hostile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// said is one statement of a client, which is a transaction of its own unless
// it says otherwise.
type said struct {
	sql  string
	args []any
}

// What a session keeps without its statements' words saying so by name. Each
// case has a correct form, in which nothing is found.
func TestLeaks(t *testing.T) {
	const policy = "create table doc (tenant text); alter table doc enable row level security; alter table doc force row level security;" +
		"create policy p on doc using (tenant = current_setting('app.tenant', true))"
	for _, tc := range []struct {
		name    string
		schema  string
		steps   []said
		want    []string // with ", warning" after mild ones
		correct []said
	}{
		{"the name is a parameter", "",
			[]said{{"select set_config($1, $2, false)", []any{"app.locale", "de"}}, {"select current_setting($1, true)", []any{"app.locale"}}},
			[]string{"PP004 app.locale", "PP013 app.locale"},
			[]said{{"select set_config($1, $2, true)", []any{"app.locale", "de"}}},
		},
		{"the name is a function's parameter", "create function put(n text, v text) returns text language sql as 'select set_config(n, v, false)'",
			[]said{{"select put($1, $2)", []any{"app.locale", "de"}}}, []string{"PP004 app.locale"},
			nil,
		},
		{"do and perform", "",
			[]said{{"do $$begin perform set_config('app.tenant', 'a', false); end$$", nil}}, []string{"PP004 app.tenant"},
			[]said{{"do $$begin perform set_config('app.tenant', 'a', true); end$$", nil}},
		},
		{"do and execute format", "",
			[]said{{"do $$begin execute format('set app.tenant = %L', 'a'); end$$", nil}}, []string{"PP004 app.tenant"},
			[]said{{"do $$begin execute format('set local app.tenant = %L', 'a'); end$$", nil}},
		},
		{"do and a name that is a value", "",
			[]said{{"do $$begin execute format('set %s = %L', 'app.tenant', 'a'); end$$", nil}}, []string{"PP004 app.tenant"}, nil,
		},
		{"do and a name in pieces, which somebody reads later", "",
			[]said{{"do $$begin execute 'set app' || '.tenant = 5'; end$$", nil}, {"select 1", nil}, {"select current_setting('app.tenant', true)", nil}, {"select current_setting('app.tenant', true)", nil}},
			[]string{"PP004 app.tenant", "PP013 app.tenant"}, nil,
		},
		{"a set in a function", "create function enter(t text) returns void language plpgsql as $$begin set app.tenant = 'a'; end$$",
			[]said{{"select enter('a')", nil}}, []string{"PP004 app.tenant"}, nil,
		},
		{"a temporary function", "",
			[]said{{"create function pg_temp.slug(t text) returns text language sql as 'select lower(t)'", nil}}, []string{"PP006 function slug(text)"},
			[]said{{"begin; create function pg_temp.slug(t text) returns text language sql as 'select lower(t)'; select pg_temp.slug('A'); drop function pg_temp.slug(text); commit", nil}},
		},
		{"temporary objects of all kinds", "",
			[]said{
				{"create type pg_temp.mood as enum ('good')", nil}, {"create domain pg_temp.small as int", nil}, {"create type pg_temp.pair as (a int, b int)", nil},
				{"create collation pg_temp.plain from \"C\"", nil}, {"create operator pg_temp.=== (leftarg = int, rightarg = int, function = int4eq)", nil},
				{"create aggregate pg_temp.total(int) (sfunc = int4pl, stype = int)", nil}, {"create text search configuration pg_temp.words (copy = simple)", nil},
				{"create conversion pg_temp.conv for 'UTF8' to 'LATIN1' from utf8_to_iso8859_1", nil},
				{"create operator class pg_temp.less for type int using btree as operator 1 <, function 1 btint4cmp(int, int)", nil},
			},
			[]string{
				"PP006 aggregate total(integer)", "PP006 collation plain", "PP006 conversion conv", "PP006 operator ===(integer,integer)", "PP006 operator class less USING btree",
				"PP006 operator family less USING btree", "PP006 text search configuration words", "PP006 type mood", "PP006 type pair", "PP006 type small",
			}, nil,
		},
		{"setseed", "", []said{{"select setseed(0.5)", nil}}, []string{"PP020 setseed"}, []said{{"select random()", nil}}},
		{"set seed", "", []said{{"set seed = 0.5", nil}}, []string{"PP020 setseed"}, nil},
		{"an unnamed connection", "create function dblink_connect(text) returns text language sql as $$select 'OK'$$; create function dblink_connect(text, text) returns text language sql as $$select 'OK'$$; create function dblink_disconnect() returns text language sql as $$select 'OK'$$",
			[]said{{"select dblink_connect('host=' || lower('X, y'))", nil}}, []string{"PP020 dblink, unnamed"},
			[]said{{"begin; select dblink_connect('host=x'); select dblink_disconnect(); commit", nil}, {"select dblink_connect('rem', 'host=x')", nil}, {"select 'dblink_connect(1)'", nil}, {"grant execute on function dblink_connect(text) to public", nil}}},
		{"a replication origin", "select pg_replication_origin_create('poolproof_keepers') where not exists (select from pg_replication_origin where roname = 'poolproof_keepers')",
			[]said{{"select pg_replication_origin_session_setup('poolproof_keepers')", nil}}, []string{"PP020 pg_replication_origin_session_setup"},
			nil},
		{"setseed in a function", "create function fair() returns float language plpgsql as $$begin perform setseed(0.5); return random(); end$$",
			[]said{{"select fair()", nil}}, []string{"PP020 setseed"}, nil},
		{"set and put back", "",
			[]said{{"set statement_timeout = '5s'", nil}}, []string{"PP004 statement_timeout"},
			[]said{
				{"begin; set statement_timeout = '5s'; select 1; set statement_timeout = '0'; commit", nil}, {"begin; set statement_timeout = '5s'; reset statement_timeout; commit", nil},
				{"begin; set app.tenant = 'a'; select current_setting('app.tenant'); set app.tenant = ''; commit", nil},
			},
		},
		{"of one transaction", "",
			[]said{{"set default_transaction_isolation = 'serializable'", nil}}, []string{"PP004 default_transaction_isolation"},
			[]said{{"begin; set transaction isolation level serializable; select 1; commit", nil}, {"begin; set transaction read only, deferrable; commit", nil}, {"begin isolation level repeatable read; set lock_timeout = 0; commit", nil}},
		},
		{"speed", "", []said{{"set work_mem = '9MB'", nil}, {"set enable_seqscan = off", nil}}, []string{"PP004 enable_seqscan, warning", "PP004 work_mem, warning"},
			[]said{{"begin; set local work_mem = '9MB'; commit", nil}}},
		{"asyncpg's jit", "", nil, nil, []said{
			{"SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new", nil}, {"SELECT current_setting('jit') AS cur, set_config('jit', 'on', false) AS new", nil},
			{"\n    SELECT\n        current_setting('jit') AS cur,\n        set_config('jit', 'off', false) AS new\n", nil},
		}},
		{"a policy's setting that nobody leaves", policy,
			[]said{{"begin; select * from doc; commit", nil}}, []string{"PP013 app.tenant, warning"},
			[]said{{"begin; set local app.tenant = 'a'; select * from doc; commit", nil}},
		},
		{"a policy's setting that somebody leaves later", policy,
			[]said{{"begin; select * from doc; commit", nil}, {"set app.tenant = 'a'", nil}}, []string{"PP004 app.tenant", "PP013 app.tenant"}, nil,
		},
		{"one setting or the other", `create table letter (owner text); alter table letter enable row level security; alter table letter force row level security;
			create function me() returns text language sql stable as $$select coalesce(nullif(current_setting('claim.sub', true), ''), current_setting('claims', true), current_setting('claim.all', true))$$;
			create policy own on letter using (owner = me())`,
			[]said{{"begin; select * from letter; commit", nil}}, []string{"PP013 claim.all, warning", "PP013 claim.sub, warning"},
			[]said{{"begin; select set_config('claim.all', 'x', true); select * from letter; commit", nil}},
		},
		{"a fall-back", "create table audited (body text, actor text default coalesce(current_setting('app.actor', true), 'system'))",
			[]said{{"insert into audited values ('a')", nil}, {"set app.actor = 'me'", nil}}, []string{"PP004 app.actor", "PP013 app.actor"},
			[]said{{"insert into audited values ('a')", nil}, {"select coalesce(current_setting('app.other', true), 'none')", nil}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for steps, want := range map[*[]said][]string{&tc.steps: tc.want, &tc.correct: nil} {
				p, url, direct := testPooler(t, Config{})
				if strings.Contains(tc.schema, "policy") { // they do not bind the superuser
					direct = pgtest.Owned(t, direct)
					p, url = StartWith(t, Config{Upstream: direct})
				}
				if tc.schema != "" {
					exec(t, connect(t, direct, "simple_protocol"), tc.schema)
				}
				simple, params := connect(t, url, "simple_protocol"), connect(t, url, "exec")
				for _, s := range *steps {
					c := simple
					if len(s.args) > 0 {
						c = params
					}
					exec(t, c, s.sql, s.args...)
				}
				if got := graded(p); !slices.Equal(got, want) {
					t.Errorf("%v: found %q, want %q", *steps, got, want)
				}
			}
		})
	}
}

// graded is found with the severity of warnings.
func graded(p *Pooler) []string {
	var all []string
	for _, f := range p.Report().Findings {
		s := strings.TrimSpace(string(f.Code) + " " + f.Subject)
		if f.Severity == Warning {
			s += ", warning"
		}
		all = append(all, s)
	}
	return all
}

// A setting that the database gives to each new connection was left by nobody.
func TestConstantSetting(t *testing.T) {
	p, url, direct := testPooler(t, Config{})
	cfg, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, connect(t, direct, ""), "alter database "+pgx.Identifier{cfg.Database}.Sanitize()+" set app.mode = 'test'")
	c := connect(t, url, "simple_protocol")
	for range 3 {
		exec(t, c, "select current_setting('app.mode')")
		exec(t, c, "do $$begin null; end$$")
	}
	wantFound(t, p)
	exec(t, c, "set app.mode = 'other'")
	exec(t, c, "begin; set app.mode = 'other'; set app.mode to default; commit")
	wantFound(t, p, "PP004 app.mode")
}

// The finding names the statement that reads.
func TestReaderIsNamed(t *testing.T) {
	p, url, _ := testPooler(t, Config{})
	c := connect(t, url, "simple_protocol")
	exec(t, c, "create table doc (tenant text default current_setting('app.tenant', true))")
	exec(t, c, "set app.tenant = 'a'")
	exec(t, c, "begin")
	exec(t, c, "set search_path = public")
	exec(t, c, "insert into doc (tenant) values (default)")
	exec(t, c, "commit")
	for _, f := range p.Report().Findings {
		if f.Code == SettingNotSet && f.First.SQL != "insert into doc (tenant) values (default)" {
			t.Errorf("%s: %s", f.Code, f.First.SQL)
		}
	}
	wantFound(t, p, "PP004 app.tenant", "PP004 search_path", "PP013 app.tenant")
}

// dblink's named connections outlive the transaction, and DISCARD ALL.
func TestDblinkConnections(t *testing.T) {
	p, url, direct := testPooler(t, Config{})
	d := connect(t, direct, "")
	exec(t, d, "create schema tools; create extension dblink schema tools")
	c := connect(t, url, "exec")
	exec(t, c, "begin")
	exec(t, c, "select tools.dblink_connect('rem', $1)", direct)
	exec(t, c, "select tools.dblink_disconnect('rem')")
	exec(t, c, "commit")
	exec(t, c, "select * from tools.dblink($1, 'select 1') as t(n int)", direct)
	wantFound(t, p)
	exec(t, c, "select tools.dblink_connect('rem', $1)", direct)
	wantFound(t, p, "PP020 dblink rem")
}

// Who sets IntervalStyle for the session is found where no pooler tracks it. What
// ActiveRecord sets when it connects is found as soon as somebody reads an
// interval as text.
func TestIntervalStyle(t *testing.T) {
	for _, tc := range []struct {
		name, profile, set, read, mode string
		want                           []string
	}{
		{"the program's own", "", "set intervalstyle = 'iso_8601'", "", "simple_protocol", []string{"PP004 IntervalStyle"}},
		{"as PgBouncer 1.18", "pgbouncer-1.18", "set intervalstyle = 'iso_8601'", "", "simple_protocol", []string{"PP004 IntervalStyle"}},
		{"as PgBouncer 1.24", "pgbouncer-1.24", "set intervalstyle = 'iso_8601'", "select interval '1 day'", "simple_protocol", nil},
		{"what new connections have", "", "set intervalstyle = 'postgres'", "select interval '1 day'", "simple_protocol", nil},
		{"ActiveRecord's", "", "SET intervalstyle = iso_8601", "select now() - interval '1 day', 1 as n", "simple_protocol", nil},
		{"ActiveRecord's, and an interval is read", "", "SET intervalstyle = iso_8601", "select 1 as n, interval '1 day'", "simple_protocol", []string{"PP004 IntervalStyle"}},
		{"ActiveRecord's, and an interval is read in binary", "", "SET intervalstyle = iso_8601", "select 1 as n, interval '1 day'", "cache_describe", nil},
	} {
		for _, observe := range []bool{false, true} {
			if observe && tc.profile != "" {
				continue
			}
			t.Run(fmt.Sprint(tc.name, " ", observe), func(t *testing.T) {
				p, url, _ := testPooler(t, Config{Profile: tc.profile, Observe: observe})
				c := connect(t, url, tc.mode)
				exec(t, c, tc.set)
				if tc.read != "" {
					var n, day any
					rows, err := c.Query(t.Context(), tc.read)
					if err != nil {
						t.Fatal(err)
					}
					for rows.Next() {
						_ = rows.Scan(&n, &day)
					}
					rows.Close()
				}
				wantFound(t, p, tc.want...)
			})
		}
	}
}

// What each PgBouncer does with IntervalStyle, and with a driver's DEALLOCATE ALL.
func TestProfilesOfPgBouncer(t *testing.T) {
	for _, tc := range []struct {
		profile  string
		interval []string
		dealloc  []string
	}{
		{"strict", []string{"PP012 intervalstyle"}, []string{"PP018 DEALLOCATE ALL, warning"}},
		{"pgbouncer-1.18", []string{"PP012 intervalstyle"}, []string{"PP018 DEALLOCATE ALL, warning"}},
		{"pgbouncer-1.24", nil, nil},
	} {
		t.Run(tc.profile, func(t *testing.T) {
			p, url, _ := testPooler(t, Config{Profile: tc.profile})
			if c, err := pgx.Connect(t.Context(), url+"&IntervalStyle=iso_8601"); err == nil {
				_ = c.Close(t.Context())
			} else if tc.interval == nil {
				t.Error(err)
			}
			if got := graded(p); !slices.Equal(got, tc.interval) {
				t.Errorf("found %q, want %q", got, tc.interval)
			}
			p, url, _ = testPooler(t, Config{Profile: tc.profile})
			exec(t, connect(t, url, "simple_protocol"), "DEALLOCATE ALL")
			if got := graded(p); !slices.Equal(got, tc.dealloc) {
				t.Errorf("found %q, want %q", got, tc.dealloc)
			}
		})
	}
}

package hostile

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// testPooler runs a pooler on a database of its own.
func testPooler(t *testing.T, cfg Config) (p *Pooler, pooled, direct string) {
	t.Helper()
	direct = pgtest.Database(t)
	cfg.Upstream = direct
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, pooled = StartWith(t, cfg)
	return p, pooled, direct
}

// connect connects in one of pgx's modes.
func connect(t *testing.T, url, mode string) *pgx.Conn {
	t.Helper()
	if mode != "" {
		url += "&default_query_exec_mode=" + mode
	}
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

func exec(t *testing.T, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// found returns codes and subjects of what was found: "PP004 app.tenant".
func found(p *Pooler) []string {
	var all []string
	for _, f := range p.Report().Findings {
		all = append(all, strings.TrimSpace(string(f.Code)+" "+f.Subject))
	}
	return all
}

func wantFound(t *testing.T, p *Pooler, want ...string) {
	t.Helper()
	if got := found(p); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// pgx's modes behind a pooler: which are safe, and what is wrong with the others.
// One client is enough to see it, every time.
func TestModes(t *testing.T) {
	for _, tc := range []struct {
		mode    string
		profile string
		want    []string
		fails   bool
	}{
		{"exec", "", nil, false},
		{"cache_describe", "", nil, false},
		{"simple_protocol", "", nil, false},
		{"cache_statement", "", []string{"PP002 stmtcache_…", "PP003 stmtcache_…"}, true},
		{"describe_exec", "", []string{"PP001"}, true},
		{"cache_statement", "pgbouncer-1.18", []string{"PP002 stmtcache_…", "PP003 stmtcache_…"}, true},
		{"cache_statement", "pgbouncer-1.24", nil, false},
		{"cache_statement", "odyssey", nil, false},
		{"describe_exec", "pgbouncer-1.24", []string{"PP001"}, true},
	} {
		t.Run(tc.mode+" "+tc.profile, func(t *testing.T) {
			p, url, _ := testPooler(t, Config{Profile: tc.profile})
			c := connect(t, url, tc.mode)
			failed := 0
			for i := range 6 {
				var n int
				if err := c.QueryRow(t.Context(), "select $1::int + 1", i).Scan(&n); err != nil {
					failed++
				} else if n != i+1 {
					t.Errorf("%d + 1 is %d", i, n)
				}
			}
			if (failed > 0) != tc.fails {
				t.Errorf("%d of 6 failed", failed)
			}
			wantFound(t, p, tc.want...)
		})
	}
}

// A program that is observed is not disturbed, whatever it does, and the findings
// are the same.
func TestObserveBreaksNothing(t *testing.T) {
	for mode, want := range map[string][]string{
		"exec":            {"PP004 app.tenant", "PP006 scratch", "PP013 app.tenant"},
		"cache_statement": {"PP002 stmtcache_…", "PP003 stmtcache_…", "PP004 app.tenant", "PP006 scratch", "PP013 app.tenant"},
		"describe_exec":   {"PP001", "PP004 app.tenant", "PP006 scratch", "PP013 app.tenant"},
	} {
		t.Run(mode, func(t *testing.T) {
			p, url, _ := testPooler(t, Config{Observe: true})
			c := connect(t, url, mode)
			exec(t, c, "set app.tenant = 'x'")
			exec(t, c, "create temp table scratch (n int)")
			for i := range 5 {
				exec(t, c, "insert into scratch values ($1)", i)
			}
			var tenant string
			var rows int
			if err := c.QueryRow(t.Context(), "select current_setting('app.tenant'), (select count(*) from scratch)").Scan(&tenant, &rows); err != nil || tenant != "x" || rows != 5 {
				t.Errorf("%q, %d rows, %v", tenant, rows, err)
			}
			wantFound(t, p, want...)
		})
	}
}

// Whatever a transaction leaves behind is found, however it was made.
func TestResidue(t *testing.T) {
	for _, tc := range []struct {
		name string
		sql  []string // each a transaction of its own
		want []string
	}{
		{"set", []string{"set statement_timeout = '5s'"}, []string{"PP004 statement_timeout"}},
		{"set within a transaction", []string{"begin; set search_path = pg_catalog; commit"}, []string{"PP004 search_path"}},
		{"set that is rolled back", []string{"begin; set search_path = pg_catalog; rollback"}, nil},
		{"set local", []string{"begin; set local app.tenant = 'a'; select current_setting('app.tenant'); commit"}, nil},
		{"set local outside", []string{"set local app.tenant = 'a'"}, []string{"PP016"}},
		{"set_config for the session", []string{"select set_config('app.tenant', 'a', false)"}, []string{"PP004 app.tenant"}},
		{"set_config for the transaction", []string{"select set_config('app.tenant', 'a', true)"}, nil},
		{"set in a do block", []string{"do $$begin perform set_config('work_mem', '9MB', false); end$$"}, []string{"PP004 work_mem"}},
		{"set in a function", []string{
			"create function sly() returns int language plpgsql as $$begin set work_mem = '9MB'; return 1; end$$",
			"select sly()"}, []string{"PP004 work_mem"}},
		{"custom setting in a function", []string{
			"create function enter(t text) returns void language plpgsql as $$begin perform set_config('app.tenant', t, false); end$$",
			"select enter('a')"}, []string{"PP004 app.tenant"}},
		{"dynamic SQL in a function", []string{
			"create function deep(q text) returns void language plpgsql as $$begin execute q; end$$",
			"select deep('set lock_' || 'timeout = 77')"}, []string{"PP004 lock_timeout"}},
		{"a name of pieces", []string{"do $$begin execute format('set %s = %L', 'app.' || 'hidden', 'a'); end$$"}, []string{"PP004 app.hidden"}},
		{"a name of pieces, by set_config", []string{"do $$declare n text = 'hidden'; begin perform set_config('app.' || n, 'a', false); end$$"}, []string{"PP004 app.hidden"}},
		{"a name of pieces for the transaction", []string{"do $$begin execute format('set local %s = %L', 'app.' || 'hidden', 'a'); end$$", "do $$begin perform current_setting('app.' || n, true) from (values ('hidden')) v(n); end$$"}, nil},
		{"a name of a function's piece and an argument", []string{
			"create function enter(k text, v text) returns void language plpgsql as $$begin execute 'set app.' || k || ' = ' || quote_literal(v); end$$",
			"select enter('hidden', 'a')"}, []string{"PP004 app.hidden"}},
		{"a computed name that nobody reads", []string{"do $$begin perform set_config(reverse('neddih.ppa'), 'a', false); end$$", "select current_setting('app.other', true)"}, nil},
		{"a computed name that is read by name", []string{"do $$begin perform set_config(reverse('neddih.ppa'), 'a', false); end$$", "select 1", "select current_setting('app.hidden', true)"}, []string{"PP004 app.hidden", "PP013 app.hidden"}},
		{"a computed name that is read by a computed name", []string{"select current_setting(reverse('neddih.ppa'), true)", "select set_config(reverse('neddih.ppa'), 'a', false)", "select current_setting(reverse('neddih.ppa'), true)"}, []string{"PP004 with a computed name"}},
		{"a computed name for the transaction, and one that is read", []string{"select current_setting(reverse('neddih.ppa'), true)", "select set_config(reverse('neddih.ppa'), 'a', true)"}, nil},
		{"names of the server's settings", []string{"select current_setting(name) from pg_settings where name = 'work_mem'", "select set_config(name, setting, false) from pg_settings where name = 'work_mem'"}, nil},
		{"in a trigger", []string{
			"create table t (a int)",
			"create function tr() returns trigger language plpgsql as $$begin perform pg_advisory_lock(5); return new; end$$",
			"create trigger tr before insert on t for each row execute function tr()",
			"insert into t values (1)"}, []string{"PP009 5"}},
		{"a function that sets for the transaction", []string{
			"create function fine(t text) returns void language sql as $$select set_config('app.tenant', t, true)$$",
			"begin; select fine('a'); select current_setting('app.tenant'); commit"}, nil},
		{"role", []string{"set role pg_read_all_data"}, []string{"PP005 pg_read_all_data"}},
		{"role for the transaction", []string{"begin; set local role pg_read_all_data; select 1; commit"}, nil},
		{"temporary table", []string{"create temp table scratch (a int)"}, []string{"PP006 scratch"}},
		{"select into temp", []string{"select 1 as a into temp scratch"}, []string{"PP006 scratch"}},
		{"temporary table on commit drop", []string{"begin; create temp table scratch (a int) on commit drop; insert into scratch values (1); commit"}, nil},
		{"cursor with hold", []string{"declare c cursor with hold for select 1"}, []string{"PP007 c"}},
		{"cursor", []string{"begin; declare c cursor for select 1; fetch c; commit"}, nil},
		{"listen", []string{"listen news"}, []string{"PP008 news"}},
		{"advisory lock", []string{"select pg_advisory_lock(42)"}, []string{"PP009 42"}},
		{"advisory lock of two ints", []string{"do $$begin perform pg_advisory_lock(0, 42); end$$"}, []string{"PP009 0, 42"}},
		{"advisory lock of a negative number", []string{"do $$begin perform pg_advisory_lock(-7), pg_advisory_lock(-1, 7); end$$"}, []string{"PP009 -1, 7", "PP009 -7"}},
		{"advisory locks that are two, although their numbers are one", []string{"do $$begin perform pg_advisory_lock(42), pg_advisory_lock(0, 42); end$$"}, []string{"PP009 0, 42", "PP009 42"}},
		{"advisory lock of the transaction", []string{"select pg_advisory_xact_lock(42)"}, nil},
		{"temporary replication slot", []string{"select pg_create_physical_replication_slot('pooled', true, true)"}, []string{"PP020 replication slot pooled"}},
		{"temporary replication slot that is dropped", []string{"begin; select pg_create_physical_replication_slot('dropped', true, true); commit; select pg_drop_replication_slot('dropped')"}, nil},
		{"a function in C", []string{"create extension pg_trgm; create function tighter(real) returns real language c strict as '$libdir/pg_trgm', 'set_limit'", "select tighter(0.6)"}, []string{"PP004 pg_trgm.similarity_threshold"}},
		{"a function in C that keeps nothing", []string{"create extension pg_trgm", "select show_limit(), gen_random_uuid()"}, nil},
		{"bytea_output", []string{"set bytea_output = 'escape'"}, []string{"PP004 bytea_output"}},
		{"digits of numbers, as drivers set them", []string{"set extra_float_digits = 3"}, nil},
		{"digits of numbers, fewer", []string{"set extra_float_digits = 0"}, []string{"PP004 extra_float_digits"}},
		{"pg_trgm's limit", []string{"create extension pg_trgm", "select set_limit(0.6)"}, []string{"PP004 pg_trgm.similarity_threshold"}},
		{"advisory lock that is released", []string{"begin; select pg_advisory_lock(42); select pg_advisory_unlock(42); commit"}, nil},
		{"prepare", []string{"prepare p as select 1"}, []string{"PP010 p"}},
		{"prepare in one transaction", []string{"begin; prepare p as select 1; execute p; deallocate p; commit", "begin; prepare p as select 1", "select 1; execute p", "deallocate prepare p; commit"}, nil},
		{"execute in another transaction", []string{"begin; prepare p as select 1; commit", "execute p"}, []string{"PP010", "PP010 p"}},
		{"sequence of another transaction", []string{"create sequence s", "select nextval('s')", "select currval('s')"}, []string{"PP011"}},
		{"sequence of the same", []string{"create sequence s", "begin; select nextval('s'); select currval('s'); commit"}, nil},
		{"load", []string{"load 'auto_explain'"}, []string{"PP017"}},
		{"discard", []string{"discard all"}, []string{"PP018 DISCARD ALL"}},
		{"a policy's setting, where the policy does not bind", []string{
			"create table doc (tenant text); alter table doc enable row level security; alter table doc force row level security",
			"create policy p on doc using (tenant = current_setting('app.tenant', true)); grant select on doc to public",
			"begin; set local role pg_read_all_data; select * from doc; commit"}, nil},
		{"plain work", []string{"create table t (id int primary key, v text)", "insert into t values (1, 'set app.x = 1; listen y')", "update t set v = 'reset all'", "select * from t where v like '%set_config(%'"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, url, _ := testPooler(t, Config{})
			c := connect(t, url, "simple_protocol")
			for _, sql := range tc.sql {
				if _, err := c.Exec(t.Context(), sql); err != nil && !strings.Contains(sql, "currval") && sql != "execute p" {
					t.Errorf("%s: %v", sql, err)
				}
			}
			wantFound(t, p, tc.want...)
		})
	}
}

// If a function may run anything, a text that has left nothing so far gets only a
// glance. The glance sees it when the same text leaves something later.
func TestResidueOfATextThatWasClean(t *testing.T) {
	for leaves, want := range map[string]string{
		"set work_mem = '9MB'":                        "PP004 work_mem",
		"select set_config('app.tenant', 'a', false)": "PP004 app.tenant",
		"set role pg_read_all_data":                   "PP005 pg_read_all_data",
		"create temp table scratch (a int)":           "PP006 scratch",
		"declare c cursor with hold for select 1":     "PP007 c",
		"listen news":                 "PP008 news",
		"select pg_advisory_lock(42)": "PP009 42",
		"prepare p as select 1":       "PP010 p",
	} {
		t.Run(want, func(t *testing.T) {
			p, url, direct := testPooler(t, Config{})
			exec(t, connect(t, direct, ""), `create function deep(q text) returns text language plpgsql as $$begin
				execute q; return current_setting('app.tenant', true); end$$`)
			c := connect(t, url, "exec")
			for range 20 {
				exec(t, c, "select deep($1)", "select 1")
			}
			for _, f := range p.Report().Findings {
				if f.Code != SettingNotSet { // deep reads app.tenant
					t.Errorf("%s %s before anything was left", f.Code, f.Subject)
				}
			}
			exec(t, c, "select deep($1)", leaves)
			if all := found(p); !slices.Contains(all, want) {
				t.Errorf("found %q, want %q", all, want)
			}
		})
	}
}

// What one client leaves, another client finds and it does not find itself, every
// time.
func TestOneClientsTenantReachesAnother(t *testing.T) {
	for range 3 {
		p, url, _ := testPooler(t, Config{})
		a, b := connect(t, url, "exec"), connect(t, url, "exec")
		reads := func(c *pgx.Conn) string {
			var tenant *string
			if err := c.QueryRow(t.Context(), "select current_setting('app.tenant', true)").Scan(&tenant); err != nil {
				t.Fatal(err)
			}
			if tenant == nil {
				return ""
			}
			return *tenant
		}
		exec(t, a, "set app.tenant = 'tenant of a'")
		seen := map[string]bool{}
		for range 4 {
			if got := reads(a); got != "" {
				t.Errorf("a finds %q again", got)
			}
			seen[reads(b)] = true
		}
		if !seen["tenant of a"] {
			t.Errorf("b saw %v", seen)
		}
		exec(t, b, "set app.tenant = 'tenant of b'")
		for range 4 {
			seen[reads(a)] = true
			if got := reads(b); got == "tenant of b" {
				t.Errorf("b finds its own again")
			}
		}
		if !seen["tenant of b"] {
			t.Errorf("a saw %v", seen)
		}
		wantFound(t, p, "PP004 app.tenant", "PP013 app.tenant")
	}
}

// A transaction that waits for its client is reported, once.
func TestIdleInTransaction(t *testing.T) {
	reported := make(chan Finding, 10)
	p, url, _ := testPooler(t, Config{IdleBound: 50 * time.Millisecond, Found: func(f Finding, _ bool) { reported <- f }})
	c := connect(t, url, "exec")
	exec(t, c, "begin")
	exec(t, c, "select 1")
	select {
	case f := <-reported:
		if f.Code != IdleInTransaction || f.First.SQL != "select 1" {
			t.Errorf("%+v", f)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was reported")
	}
	exec(t, c, "commit")
	wantFound(t, p, "PP014")
}

// A pipeline that holds BEGIN and COMMIT and fails between them stays open.
func TestFailedPipeline(t *testing.T) {
	p, url, _ := testPooler(t, Config{})
	c := connect(t, url, "exec")
	b := &pgx.Batch{}
	for _, sql := range []string{"begin", "select 1/0", "commit"} {
		b.Queue(sql)
	}
	if err := c.SendBatch(t.Context(), b).Close(); err == nil {
		t.Fatal("no error")
	}
	exec(t, c, "rollback")
	wantFound(t, p, "PP015")
}

// Queries that are sent before the last is answered are reported with only one
// client, each time, and answered right.
func TestSyncsInFlight(t *testing.T) {
	p, url, _ := testPooler(t, Config{})
	c := connect(t, url, "exec")
	pipeline := c.PgConn().StartPipeline(t.Context())
	for i := range 8 {
		pipeline.SendQueryParams("select $1::text", [][]byte{{byte('0' + i)}}, nil, nil, nil)
		if err := pipeline.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := pipeline.Close(); err != nil {
		t.Fatal(err)
	}
	wantFound(t, p, "PP019")
}

// Only what is in flight when the server connection may be given back counts, and
// only where that mixes clients.
func TestInFlightWhileGivenBack(t *testing.T) {
	const note = "queries before the last answer"
	for _, cfg := range []Config{{}, {Observe: true}, {Profile: "pgbouncer-1.18"}, {Profile: "supavisor"}, {Profile: "pgbouncer-1.24"}, {Profile: "pgbouncer-1.24", Observe: true}, {Profile: "neon"}} {
		t.Run(cfg.Profile, func(t *testing.T) {
			p, url, _ := testPooler(t, cfg)
			c := rawClient(t, url)
			together := func(texts ...string) {
				t.Helper()
				for _, sql := range texts {
					c.Frontend().Send(query(sql))
				}
				c.send()
				for range texts {
					if code := c.answers(); code != "" {
						t.Error(code)
					}
				}
			}
			for range 5 {
				together("begin", "select 1", "select 2", "commit")
			}
			wantFound(t, p)
			if notes := p.Report().Notes; len(notes) > 0 {
				t.Errorf("noted %+v", notes)
			}
			if p.profile.FirstReady {
				return // the next answer is lost, as it may be in production
			}
			together("begin", "select 1", "commit", "select 2")
			r := p.Report()
			if p.profile.MixesUnits {
				wantFound(t, p, "PP019")
			} else if len(r.Findings) > 0 || len(r.Notes) != 1 || r.Notes[0].Subject != note {
				t.Errorf("found %+v, noted %+v", r.Findings, r.Notes)
			}
		})
	}
}

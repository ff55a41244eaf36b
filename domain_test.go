package poolproof_test

import (
	_ "embed" // for olderScopeSQL
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

var modes = []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement}

// olderScopeSQL is ScopeSQL as it once was: make_scope looks its operators up in
// the caller's search_path.
//
//go:embed testdata/scope_unqualified.sql
var olderScopeSQL string

// Open takes the parameter where it works, says why not where it does not, and
// refuses to be told to use it then.
func TestChoiceOfTheScopesForm(t *testing.T) {
	for _, tt := range []struct {
		name, sql, why string // sql may name the login as %s; why "": the parameter is chosen
		role           string
	}{
		{name: "installed", why: ""},
		{name: "installed twice", sql: poolproof.ScopeSQL, why: ""},
		{name: "an older one", sql: "drop schema poolproof cascade; " + olderScopeSQL, why: ""},
		{name: "brought up to date", sql: "drop schema poolproof cascade; " + olderScopeSQL + poolproof.ScopeSQL, why: ""},
		{name: "not installed", sql: "drop schema poolproof cascade", why: "not installed"},
		{name: "no check", sql: "alter domain poolproof.scope drop constraint scope_v1", why: "not the domain that this version installs"},
		{name: "another check", sql: "alter domain poolproof.scope drop constraint scope_v1; alter domain poolproof.scope add constraint scope_v1 check (true)",
			why: "did not make the setting"},
		{name: "no array", sql: "drop domain poolproof.scope; create domain poolproof.scope as text not null constraint scope_v1 check (true)", why: "not the domain that this version installs"},
		{name: "not this login's", sql: "revoke usage on domain poolproof.scope from public", why: "may not be used by this login"},
		{name: "a function is not this login's", sql: "revoke execute on function poolproof.make_scope(text[]) from public", why: "permission denied"},
		{name: "a domain that asks for the tenant", sql: `create function owned(text) returns boolean stable language sql as $$ select current_setting('app.current_tenant_id', true) = $1 $$;
			create domain owned as text check (owned(value))`, why: "owned would be checked, by a function that is not immutable"},
		{name: "a domain that asks for nothing", sql: `create domain short as text check (length(value) < 10 and value ~ '^[a-z]')`, why: ""},
		{name: "a role", role: "%s", why: "names are resolved"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, 1)
			role := strings.ReplaceAll(tt.role, "%s", loginOf(t, f.url))
			if tt.sql != "" {
				f.exec(t, tt.sql)
			}
			logs := &logged{}
			db := open(t, f.url, func(c *poolproof.Config) { c.Logger, c.Role = logs.logger(), role })
			want := poolproof.ScopeParameter
			if tt.why != "" {
				want = poolproof.ScopeStatement
			}
			if db.Scope() != want || logs.count("scope="+string(want)) != 1 || logs.count(tt.why) != 1 {
				t.Errorf("%s, log: %s", db.Scope(), logs.lines)
			}
			var n int
			if err := db.Tenant(tenant(0)).QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err != nil || n != 10 {
				t.Errorf("%d rows, %v", n, err)
			}
			forced, err := poolproof.Open(t.Context(), poolproof.Config{URL: f.url, Scope: poolproof.ScopeParameter, Role: role, Logger: slog.New(slog.DiscardHandler)})
			if tt.why == "" || role != "" {
				if err != nil {
					t.Fatal(err)
				}
				forced.Close()
				return
			}
			wantKind(t, "the parameter, forced", err, poolproof.ErrConfig)
			if e, ok := errors.AsType[*poolproof.Error](err); ok && (!strings.Contains(e.Hint, "ScopeSQL") || !strings.Contains(e.Error(), tt.why)) {
				t.Errorf("%v, hint: %s", e, e.Hint)
			}
		})
	}
	_, err := poolproof.Open(t.Context(), poolproof.Config{URL: "postgres://app@127.0.0.1:1/none", Scope: "header"})
	wantKind(t, "an unknown form", err, poolproof.ErrConfig)
}

// A statement of a session is one statement to the server with the scope as a
// parameter, and two without.
func TestStatementsPerScope(t *testing.T) {
	f := newFixture(t, 1)
	for _, form := range forms {
		url, messages := pgtest.CountMessages(t, f.url)
		s := open(t, url, mode(poolproof.ModeExec), scoped(form)).Tenant(tenant(0))
		for _, tt := range []struct {
			sql     string
			args    []any
			carries bool
		}{
			{"select 1", nil, true}, {"-- a comment\n SELECT $1::int", []any{1}, true}, {"with x as (select 1) select * from x", nil, true},
			{"insert into documents (tenant_id, body) values ($1, $2)", []any{tenant(0), "x"}, true}, {"update documents set body = body", nil, true},
			{"delete from documents where id = $1", []any{1}, true}, {"values ($1)", []any{"x"}, true}, {"table documents", nil, true},
			{"explain select 1", nil, false}, {"(select 1)", nil, false}, {"set local app.x = 'y'", nil, false}, {"select '$1'", nil, false}, {"", nil, false},
		} {
			want := 2
			if form == poolproof.ScopeParameter && tt.carries {
				want = 1
			}
			before := messages('P')
			if _, err := s.Exec(t.Context(), tt.sql, tt.args...); err != nil {
				t.Errorf("%s: %v", tt.sql, err)
			}
			if got := messages('P') - before; got != want {
				t.Errorf("as a %s, %q is %d statements instead of %d", form, tt.sql, got, want)
			}
		}
		for _, first := range []string{"select 1", "explain select 1"} {
			b := &pgx.Batch{}
			b.Queue(first)
			b.Queue("select current_setting('app.current_tenant_id')").QueryRow(func(row pgx.Row) error {
				var got string
				if err := row.Scan(&got); err != nil || got != tenant(0) {
					t.Errorf("as a %s, after %q: %q, %v", form, first, got, err)
				}
				return nil
			})
			if err := s.SendBatch(t.Context(), b).Close(); err != nil {
				t.Error(err)
			}
		}
		// It would run outside the transaction, and the tenant end in its midst.
		_, err := s.Exec(t.Context(), "vacuum documents")
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "25001" {
			t.Errorf("as a %s, vacuum: %v", form, err)
		}
	}
}

// The scope is a parameter more than the caller gave. A statement that names a
// parameter more than the caller gave must not read it.
func TestNobodyReadsTheScope(t *testing.T) { forForms(t, testNobodyReadsTheScope) }

func testNobodyReadsTheScope(t *testing.T, form option) {
	f := newFixture(t, 1)
	for _, m := range modes {
		db := open(t, f.url, mode(m), form)
		s := db.Tenant(tenant(0))
		for _, tt := range []struct {
			sql  string
			args []any
		}{
			{"select $1", nil}, {"select $1::text", nil}, {"select $2::text, $1::int", []any{1}}, {"select $2", []any{1}}, {"select $02::text, $1::int", []any{1}},
			{"select $4294967298::text, $1::int", []any{1}}, {"select $3::text, $1::int", []any{1}}, {"select /* $1 */ $000000000000000000002::text, $1", []any{"x"}},
			{"insert into documents (tenant_id, body) values ($1, $2)", []any{tenant(0)}},
			{"with x as (select $2::text[] as y) select y[2] from x where $1", []any{true}}, {"select E'\\'' || $2::text || $1", []any{"x"}},
			{"update documents set body = $1", nil}, {"select $1::int", []any{1, 2}}, {"select 1", []any{1}},
		} {
			got, err := collect(s.Query(t.Context(), tt.sql, tt.args...))
			if err == nil {
				t.Errorf("%s: %q with %d arguments gives %q", m, tt.sql, len(tt.args), got)
			}
			if errors.Is(err, poolproof.ErrTenantNotSet) {
				t.Errorf("%s: %q: %v", m, tt.sql, err)
			}
			b := &pgx.Batch{}
			b.Queue(tt.sql, tt.args...)
			if err := s.SendBatch(t.Context(), b).Close(); err == nil {
				t.Errorf("%s: %q with %d arguments is taken in a batch", m, tt.sql, len(tt.args))
			}
		}
		if n := f.count(t, "select count(*) from documents where body like '%current_tenant%' or body <> 'of tenant '||$1", tenant(0)); n != 0 {
			t.Errorf("%s: %d rows hold something else", m, n)
		}
		for want, q := range map[string]pgx.QueuedQuery{
			"$2 $3x": {SQL: "select '$2 $3' || $1", Arguments: []any{"x"}}, "x$9": {SQL: "select $1 || $$$9$$", Arguments: []any{"x"}},
			"y": {SQL: "select 'y' -- $1"}, "x": {SQL: "select a$5 from (select $1 as a$5) q", Arguments: []any{"x"}},
		} {
			if got, err := collect(s.Query(t.Context(), q.SQL, q.Arguments...)); err != nil || got != want {
				t.Errorf("%s: %q gives %q, %v", m, q.SQL, got, err)
			}
		}
	}
}

// collect returns the first column of the only row as text.
func collect(rows pgx.Rows, err error) (string, error) {
	if err != nil {
		return "", err
	}
	values, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	if err != nil {
		return "", err
	}
	return fmt.Sprint(values[0]), nil
}

// The most arguments that PostgreSQL takes leave no place for a parameter more.
func TestMostArguments(t *testing.T) { forForms(t, testMostArguments) }

func testMostArguments(t *testing.T, form option) {
	f := newFixture(t, 1)
	s := open(t, f.url, form).Tenant(tenant(0))
	for _, n := range []int{65534, 65535} {
		args := make([]any, n)
		var sql strings.Builder
		sql.WriteString("select current_setting('app.current_tenant_id') where 'x' in (")
		for i := range args {
			args[i] = "x"
			fmt.Fprintf(&sql, "$%d,", i+1)
		}
		sql.WriteString("'y')")
		if got, err := collect(s.Query(t.Context(), sql.String(), args...)); err != nil || got != tenant(0) {
			t.Errorf("%d arguments: %q, %v", n, got, err)
		}
	}
}

// An error in one of the caller's own parameters, or in planning, is the
// caller's, and one in a setting is the scope's.
func TestWhoseErrorItIs(t *testing.T) { forForms(t, testWhoseErrorItIs) }

func testWhoseErrorItIs(t *testing.T, form option) {
	f := newFixture(t, 1)
	f.exec(t, "create domain small as int check (value < 10)")
	for _, m := range modes {
		logs, registry := &logged{}, prometheus.NewRegistry()
		db := open(t, f.url, mode(m), form, func(c *poolproof.Config) { c.Logger, c.Registerer = logs.logger(), registry })
		s := db.Tenant(tenant(0))
		for _, tt := range []struct {
			sql, code string
			args      []any
		}{
			{"select $1::small", "23514", []any{"11"}}, {"select $1::int, $2::int", "22P02", []any{"1", "not $3 a number"}}, {"select 1/0", "22012", nil},
			{"selec", "42601", nil}, {"select from nowhere", "42P01", nil}, {"select 1/(select $1::int)", "22012", []any{"0"}},
		} {
			_, err := s.Exec(t.Context(), tt.sql, tt.args...)
			if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code != tt.code || err == nil || errors.Is(err, poolproof.ErrTenantNotSet) {
				t.Errorf("%s: %q: %v, want %s", m, tt.sql, err, tt.code)
			}
		}
		if logs.count("could not be set") != 0 || poolproof.Counter(t, registry, "poolproof_scope_failures_total") != 0 {
			t.Errorf("%s: they were taken for failures of the scope: %s", m, logs.lines)
		}
		const insert = "insert into documents (tenant_id, body) values ($1, 'must not be')"
		_, err := db.Tenant("\xff").Exec(t.Context(), insert, tenant(0))
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "22021" || !errors.Is(err, poolproof.ErrTenantNotSet) {
			t.Errorf("%s: a tenant that is no text: %v", m, err)
		}
		if logs.count("could not be set") != 1 || poolproof.Counter(t, registry, "poolproof_scope_failures_total") != 1 || poolproof.Counter(t, registry, "poolproof_scope_fallbacks_total") != 0 {
			t.Errorf("%s: a failing scope: %s", m, logs.lines)
		}
	}
	if n := f.count(t, "select count(*) from documents where body = 'must not be'"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

// Statements run, and plans are made, as the role that the scope takes on,
// also where PostgreSQL keeps the plan of another role's on the same server
// connection.
func TestRoleAsAParameter(t *testing.T) {
	f := newFixture(t, 2)
	login := loginOf(t, f.url)
	reader, nobody := login+"_reader", login+"_nobody"
	f.exec(t, "create role "+reader+" nologin; create role "+nobody+" nologin; grant "+reader+", "+nobody+" to "+login+"; grant select on documents to "+reader+
		"; create policy all_of_it on documents for select to "+login+" using (true)")
	t.Cleanup(func() {
		for _, role := range []string{reader, nobody} {
			f.exec(t, "drop owned by "+role+"; drop role "+role)
		}
	})
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction, pgtest.PgBouncer124Transaction} {
		for _, m := range modes {
			if m == poolproof.ModeCacheStatement && kind == pgtest.PgBouncer118Transaction {
				continue // refused there, as TestConformance shows
			}
			t.Run(kind.String()+"/"+string(m), func(t *testing.T) {
				url := pgtest.Pooled(t, f.url, kind)
				as := func(role string) poolproof.Session {
					return open(t, url, mode(m), scoped(poolproof.ScopeParameter), func(c *poolproof.Config) { c.Role, c.MaxConns = role, 1 }).Tenant(tenant(0))
				}
				asLogin, asReader, asNobody := as(""), as(reader), as(nobody)
				const sql = "select current_user::text, count(*) from documents where id > $1"
				for range 8 { // more than the five times after which a plan may be kept
					var who string
					var n int
					if err := asReader.QueryRow(t.Context(), sql, 0).Scan(&who, &n); err != nil || who != reader || n != 10 {
						t.Fatalf("the role: %s, %d rows, %v", who, n, err)
					}
					if err := asLogin.QueryRow(t.Context(), sql, 0).Scan(&who, &n); err != nil || who != login || n != 20 {
						t.Fatalf("the login: %s, %d rows, %v", who, n, err)
					}
					err := asNobody.QueryRow(t.Context(), sql, 0).Scan(&who, &n)
					if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "42501" || errors.Is(err, poolproof.ErrTenantNotSet) {
						t.Fatalf("a role without the right: %d rows as %s, %v", n, who, err)
					}
				}
			})
		}
	}
}

// Operators that somebody slips in by a schema of the search path silence
// neither the canary nor a scope.
func TestShadowedOperators(t *testing.T) { forForms(t, testShadowedOperators) }

// evil has a schema ahead of PostgreSQL's own, in which every operator that our
// statements use does something else.
const evil = `create schema evil; grant usage on schema evil to public;
	create function evil.glue(text, text) returns text language sql immutable as $$select '0'$$;
	do $$ declare t text; o text; begin
		foreach t in array array['text', 'name', 'int4', 'int8', 'oid', '"char"', 'bool', 'uuid'] loop
			execute format($f$create function evil.never(%s, %s) returns boolean language sql immutable as 'select false'$f$, t, t);
			foreach o in array array['=', '<>', '>', '<', '>=', '<=', '~', '!~', '~~'] loop
				execute format('create operator evil.%s (leftarg = %s, rightarg = %s, function = evil.never)', o, t, t);
			end loop;
		end loop;
	end $$;
	create operator evil.|| (leftarg = text, rightarg = text, function = evil.glue);
	create function evil.glue_number(int4, text) returns text language sql immutable as $$select '0'$$;
	create operator evil.|| (leftarg = int4, rightarg = text, function = evil.glue_number);
	create function evil.nothing(int, int) returns int language sql immutable as 'select 1';
	create operator evil.+ (leftarg = int, rightarg = int, function = evil.nothing);
	create function evil.set_config(text, text, boolean) returns text language sql as 'select null::text';
	create function evil.current_setting(text, boolean) returns text language sql as 'select null::text';
	create function evil.pg_backend_pid() returns int language sql as 'select 1';
	create function evil.format(text, variadic text[]) returns text language sql as $$select ''$$;
	create function evil.strpos(text, text) returns int language sql as 'select 0';
	`

func testShadowedOperators(t *testing.T, form option) {
	f := newFixture(t, 2)
	f.exec(t, evil+"drop schema poolproof cascade; "+olderScopeSQL+poolproof.ScopeSQL+`; create table open_to_all (tenant_id uuid); grant select on open_to_all to public;
		alter role `+loginOf(t, f.url)+` set search_path = evil, pg_catalog, public`)
	for _, further := range [][]string{nil, {"app.further"}} { // the domain's own check, and its function
		url, _ := pgtest.PrivatePooler(t, f.url, pgtest.PgBouncer118Transaction, map[string]string{"default_pool_size": "1"})
		registry := prometheus.NewRegistry()
		db := open(t, url, form, mode(poolproof.ModeExec), func(c *poolproof.Config) { c.MaxConns, c.Settings, c.Registerer = 1, further, registry })
		if r := db.Report(); !r.Present || !r.ImplicitScope || r.NamedStatements {
			t.Errorf("the probe found %s", r)
		}
		leave(t, url, tenant(1))
		s := db.Tenant(tenant(0))
		if further != nil {
			s = s.With(further[0], "value")
		}
		var seen, value string
		err := s.QueryRow(t.Context(), "select string_agg(distinct tenant_id::text, ','), coalesce(pg_catalog.current_setting('app.further', true), '') from public.documents").Scan(&seen, &value)
		if err != nil || seen != tenant(0) || further != nil && value != "value" {
			t.Errorf("seen %q with %q, %v", seen, value, err)
		}
		if n := poolproof.Counter(t, registry, "poolproof_leaked_settings_total"); n != 1 {
			t.Errorf("the canary saw %v leaks of 1", n)
		}
		found, err := db.Check(t.Context())
		if err != nil || !slices.Contains(found.Tables, "public.documents") || !slices.ContainsFunc(found.Problems, func(p poolproof.Problem) bool { return p.Table == "public.open_to_all" }) {
			t.Errorf("the check found %+v, %v", found, err)
		}
	}
}

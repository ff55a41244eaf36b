package hostile

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

// SentBy replaces the fix with that of the library that the program calls, and
// does not overrule one that the messages show with the driver below it.
func TestSentBy(t *testing.T) {
	for _, tc := range []struct {
		guess     string
		packages  []string
		code      Code
		subject   string
		want, fix string
	}{
		{"", []string{"pg"}, MissingNamed, "", driverNodePg, "leave name: out of the query"},
		{driverTokio, []string{"pg"}, MissingNamed, "", driverNodePg, "leave name: out of the query"}, // a statement that is named s1
		{driverLibPQ, []string{"psycopg2"}, MissingNamed, "", driverPsycopg2, catalogue[MissingNamed].fix},
		{driverDjango, []string{"psycopg", "django"}, HoldCursor, "", driverDjango, "DISABLE_SERVER_SIDE_CURSORS"},
		{driverDjango, []string{"psycopg"}, HoldCursor, "", driverDjango, "DISABLE_SERVER_SIDE_CURSORS"},
		{driverDjango, []string{"psycopg", "django", "django_tenants"}, SessionSetting, "search_path", "django-tenants", "django-tenants has no knob"},
		{driverAsyncpg, nil, MissingNamed, "", driverAsyncpg, "statement_cache_size=0"},
		{driverAsyncpg, []string{"numpy"}, MissingNamed, "", driverAsyncpg, "statement_cache_size=0"},
		{"", []string{"asyncpg", "sqlalchemy"}, MissingNamed, "", "sqlalchemy", "statement_cache_size=0"},
		{"", []string{"postgres", "kysely"}, MissingNamed, "", "kysely", "postgres(url, { prepare: false })"}, // and not node-postgres's, which Kysely could use too
		{"", []string{"pg", "knex", "@mikro-orm/knex", "@mikro-orm/core"}, SessionSetting, "app.tenant", "mikro-orm", "em.transactional"},
		{"", []string{"pg", "typeorm"}, SessionSetting, "default_transaction_isolation", "typeorm", "dataSource.transaction(\"SERIALIZABLE\""},
	} {
		f := Finding{Code: tc.code, Severity: catalogue[tc.code].severity, Subject: tc.subject, Fix: fixFor(tc.code, tc.subject, false, tc.guess), First: Occurrence{Client: Client{Driver: tc.guess}}}
		f.SentBy(tc.packages...)
		if f.First.Client.Driver != tc.want || !strings.HasPrefix(f.Fix, tc.fix) {
			t.Errorf("%q, through %q: %q, %s", tc.guess, tc.packages, f.First.Client.Driver, f.Fix)
		}
	}
}

// A fix for a setting that a running transaction has taken already is never a
// local setting; one for a startup parameter says which, from where and by whom.
func TestFixForSetting(t *testing.T) {
	for _, sender := range append([]string{""}, librariesNamed()...) {
		for setting := range forTransaction {
			fix := fixFor(SessionSetting, setting, false, sender)
			if strings.Contains(fix, "set_config") || strings.Contains(fix, "SET LOCAL") || !strings.Contains(strings.ToLower(fix), "transaction") {
				t.Errorf("%q is told of %s: %s", sender, setting, fix)
			}
		}
		fix := fixFor(StartupParameter, "search_path"+inOptions, false, sender)
		if who := cmp.Or(sender, "the program"); !strings.HasPrefix(fix, who+" sends search_path inside options when it connects: ") {
			t.Errorf("%q is told of search_path in options: %s", sender, fix)
		}
	}
	for value, want := range map[string][]string{
		"-c search_path=a,b --statement-timeout=5s -cjit=off": {"search_path in options", "statement_timeout in options", "jit in options"},
		"":         {"options"},
		"-W 3 -B8": {"options"},
	} {
		if got := settingsOfStartup("options", value); !slices.Equal(got, want) {
			t.Errorf("options %q set %q, want %q", value, got, want)
		}
	}
}

func librariesNamed() (names []string) {
	for _, l := range libraries {
		names = append(names, l.name)
	}
	return names
}

// What each library sends is recognized as its own, from the messages alone.
func TestRecognize(t *testing.T) {
	for _, tc := range []struct {
		startup map[string]string
		name    string
		texts   []string
		want    string
	}{
		{map[string]string{"client_encoding": "UTF8", "DateStyle": "ISO", "TimeZone": "UTC"}, "", nil, driverPgjdbc}, // 42.7.5 and later
		{map[string]string{"client_encoding": "UTF8", "DateStyle": "ISO", "TimeZone": "UTC", "extra_float_digits": "2"}, "", nil, driverPgjdbc},
		{map[string]string{"client_encoding": "utf8", "DateStyle": "ISO", "TimeZone": "UTC", "extra_float_digits": "2", "application_name": "r2dbc-postgresql"}, "S_0", nil, driverR2DBC},
		{map[string]string{"client_encoding": "utf8", "DateStyle": "ISO", "TimeZone": "UTC", "extra_float_digits": "2", "application_name": "shop"}, "S_0", nil, driverR2DBC},
		{map[string]string{"client_encoding": "utf8", "DateStyle": "ISO", "extra_float_digits": "2", "application_name": "vertx-pg-client"}, "", nil, driverVertx},
		{map[string]string{"datestyle": "ISO, MDY", "client_encoding": "UTF8"}, "1", nil, driverLibPQ},
		{nil, "1", nil, driverGoPg},
		{map[string]string{"client_encoding": "UTF8", "DateStyle": "ISO", "TimeZone": "UTC"}, "S_1", []string{"select i1_0.id,i1_0.name from item i1_0 where i1_0.id=$1"}, "hibernate"},
		{map[string]string{"client_encoding": "UTF8", "DateStyle": "ISO", "TimeZone": "UTC"}, "", []string{`SELECT EXISTS ( SELECT 1 FROM x WHERE t = 'flyway_schema_history')`}, "flyway"},
		{nil, "s0", []string{`SELECT "item"."id", "item"."name" FROM "item" WHERE ("item"."id" = $1)`}, "diesel-async"},
		{nil, "sqlx_s_1", []string{`SELECT "item"."id", "item"."name" FROM "item" WHERE "item"."id" = $1 LIMIT $2`}, "sea-orm"},
		{nil, "__diesel_stmt_0", nil, "diesel"},
		{nil, "_pg3_0", []string{"SELECT * FROM procrastinate_fetch_job_v2($1)"}, "procrastinate"},
		{nil, "stmtcache_0f", []string{"select 1"}, driverPgx},
		{nil, "sf3k2jd8fj31", []string{"select 1"}, driverPostgresJS},
		{nil, "", []string{"select name from item"}, ""},
	} {
		got := better(driverByStartup(tc.startup, false), driverByStatement(tc.name))
		for _, text := range tc.texts {
			got = better(got, driverBySQL(text))
		}
		if got != tc.want {
			t.Errorf("%v, %q, %q: %q, want %q", tc.startup, tc.name, tc.texts, got, tc.want)
		}
	}
}

// A fix that can hurt says so, whoever is told it.
func TestFixesThatHurt(t *testing.T) {
	for _, tc := range []struct {
		sender string
		code   Code
		want   string // of the warning
	}{
		{driverAsyncpg, MissingNamed, "NullPool"},
		{"sqlalchemy", MissingNamed, "exhausts ports"},
		{driverPostgresJS, MissingNamed, "Hyperdrive it hangs"},
		{driverPostgresJS, SyncsInFlight, "hangs on Cloudflare's Hyperdrive"},
		{driverNpgsql, ResetsOthers, "this reset is what keeps it from the next request"},
		{"slonik", ResetsOthers, "then stays"},
		{"river", Listening, "next poll"},
		{driverRubyPg, SessionLock, "may migrate at once"},
	} {
		fix := fixFor(tc.code, "", false, tc.sender)
		if _, warning, ok := strings.Cut(fix, "; careful: "); !ok || !strings.Contains(warning, tc.want) {
			t.Errorf("%s is not warned of %q: %s", tc.sender, tc.want, fix)
		}
	}
	for _, l := range Libraries() {
		for _, a := range l.Fixes {
			if strings.Contains(a.Knob, "NullPool") {
				t.Errorf("%s is told to give up its pool: %s", l.Name, a.Knob)
			}
			if !a.Run() != strings.Contains(a.Text(), a.Knob+" (documented, not run here)") {
				t.Errorf("%s: %s does not say whether it was run", l.Name, a.Text())
			}
		}
	}
}

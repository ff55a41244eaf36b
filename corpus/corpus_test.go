package corpus

import (
	"context"
	"flag"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/hostile/source"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// every makes the tests run libraryTable too, as the soak does.
var every = flag.Bool("every", pgtest.Soak(), "run the programs of every library, as the soak does")

// rows are the programs that this run runs.
func rows() []row {
	if !*every {
		return slices.Concat(table, fieldTable)
	}
	return slices.Concat(table, fieldTable, libraryTable)
}

func TestMain(m *testing.M) {
	flag.Parse()
	for _, r := range rows() {
		if !slices.Contains(toBuild, r.program) {
			toBuild = append(toBuild, r.program)
		}
	}
	defer removeBuilds()
	pgtest.Main(m)
}

// row is a program in one of its forms.
type row struct {
	program, form string
	copies        int         // that run at once before the hostile pooler
	want          []string    // codes and subjects of what is found, see maybe; none: the form is correct
	fix           string      // words that the first finding's fix must have
	shows         consequence // of a faulty form, behind a real PgBouncer; nil: it works while it is alone
}

// maybe begins what the program's own timing decides: it may be found, and need
// not be.
const maybe = "maybe "

// explains reports whether just that was found which the row wants.
func (r row) explains(found []string) bool {
	for _, want := range r.want {
		if !strings.HasPrefix(want, maybe) && !slices.Contains(found, want) {
			return false
		}
	}
	return !slices.ContainsFunc(found, func(f string) bool { return !slices.Contains(r.want, f) && !slices.Contains(r.want, maybe+f) })
}

// table is what every run of the tests runs. Libraries above the drivers, whose
// programs take longer to start, are in libraryTable.
var table = []row{
	{"python/asyncpg_cache.py", "default", 2, []string{"PP002 __asyncpg_stmt_#__", "PP003 __asyncpg_stmt_#__"}, "statement_cache_size=0", crowd(3, `prepared statement "__asyncpg_stmt_\w+" (does not exist|already exists)`)},
	{"python/asyncpg_cache.py", "correct", 2, nil, "", nil},
	{"python/asyncpg_cursor.py", "faulty", 1, []string{"PP003 __asyncpg_stmt_#__"}, "conn.prepare(sql, name='')", crowd(3, `prepared statement "__asyncpg_stmt_1__" already exists`)},
	{"python/asyncpg_cursor.py", "correct", 1, nil, "", nil},
	{"python/sqlalchemy_asyncpg.py", "default", 2, []string{"PP002 __asyncpg_stmt_#__", "PP003 __asyncpg_stmt_#__"}, "prepared_statement_name_func", crowd(3, `prepared statement "__asyncpg_stmt_\w+" (does not exist|already exists)`)},
	{"python/sqlalchemy_asyncpg.py", "cache-0", 2, []string{"PP002 __asyncpg_stmt_#__", "PP003 __asyncpg_stmt_#__"}, "prepared_statement_name_func", crowd(3, `prepared statement "__asyncpg_stmt_\w+" (does not exist|already exists)`)},
	{"python/sqlalchemy_asyncpg.py", "set", 1, []string{"PP004 app.current_tenant_id", "PP013 app.current_tenant_id"}, "after_begin", leaves("select current_setting('app.current_tenant_id', true)", "tenant 1")},
	{"python/sqlalchemy_asyncpg.py", "correct", 2, nil, "", nil},
	{"python/psycopg_prepare.py", "default", 1, []string{"PP002 _pg#_#", "PP003 _pg#_#"}, "prepare_threshold=None", says(`is ('tenant \d'|'item \d+'|'prepared statement "_pg3_0" does not exist')`)},
	{"python/psycopg_prepare.py", "correct", 1, nil, "", nil},
	{"python/psycopg_temp.py", "faulty", 1, []string{"PP006 wanted"}, "ON COMMIT DROP", all(says(`relation "wanted" does not exist`), crowd(1, `relation "wanted" already exists`))},
	{"python/psycopg_temp.py", "correct", 1, nil, "", nil},
	{"python/psycopg_role.py", "faulty", 1, []string{"PP005 corpus_reader"}, "SET LOCAL ROLE", leaves("select current_user::text", "corpus_reader")},
	{"python/psycopg_role.py", "correct", 1, nil, "", nil},
	{"python/psycopg_idle.py", "faulty", 1, []string{"PP014"}, "BEGIN and COMMIT", starves()},
	{"python/psycopg_idle.py", "correct", 1, nil, "", nil},
	{"python/psycopg_pair.py", "faulty", 1, []string{"PP014 while another connection of the program waits"}, "on one connection", besideAnother(`query_wait_timeout`)},
	{"python/psycopg_pair.py", "correct", 1, nil, "", nil},
	{"python/psycopg_pipeline.py", "correct", 1, nil, "", nil},
	{"python/psycopg_flush.py", "faulty", 1, []string{"PP022 pipeline without its Sync"}, "with its Sync", starves()},
	{"python/psycopg_flush.py", "correct", 1, nil, "", nil},
	{"python/psycopg_copy.py", "faulty", 1, []string{"PP022 rows of a COPY after its error"}, "inside a transaction", starves()},
	{"python/psycopg_copy.py", "correct", 1, nil, "", nil},
	{"python/psycopg_cancel.py", "faulty", 1, []string{"PP021"}, "conn.cancel_safe()", says(`wrong: the query`)},
	{"python/psycopg_cancel.py", "correct", 1, nil, "", nil},
	{"python/psycopg_load.py", "faulty", 1, []string{"PP017"}, "session_preload_libraries", says(`unrecognized configuration parameter "auto_explain.log_analyze"`)},
	{"python/psycopg_load.py", "correct", 1, nil, "", nil},
	{"python/psycopg_seed.py", "faulty", 1, []string{"PP020 setseed"}, "no setseed", all(says(`wrong: the samples are`), foretells(0.25))},
	{"python/psycopg_seed.py", "correct", 1, nil, "", nil},
	{"python/psycopg_discard.py", "faulty", 1, []string{"PP018 DISCARD ALL"}, "server_reset_query", resets()},
	{"python/psycopg_discard.py", "correct", 1, nil, "", nil},
	{"python/psycopg_deallocate.py", "default", 1, []string{"PP002 _pg#_#", "PP003 _pg#_#", "PP018 DEALLOCATE ALL"}, "prepare_threshold=None", crowd(3, `prepared statement "_pg3_\d+" (does not exist|already exists)`)},
	{"python/psycopg_deallocate.py", "correct", 1, nil, "", nil},
	{"python/psycopg_helper.py", "faulty", 1, []string{"PP006 function slug(text)"}, "functions and types of an ordinary schema", all(says(`wrong: (function pg_temp.slug\(text\)|schema "pg_temp") does not exist`), leaves("select (to_regproc('pg_temp.slug') is not null)::text", "true"))},
	{"python/psycopg_helper.py", "correct", 1, nil, "", nil},
	{"python/psycopg2_timeout.py", "faulty", 1, []string{"PP004 statement_timeout"}, "SET LOCAL", all(says(`wrong: a transaction begins with a timeout of 5s`), leaves("show statement_timeout", "5s"))},
	{"python/psycopg2_timeout.py", "back", 1, nil, "", nil},
	{"python/psycopg2_timeout.py", "default", 1, nil, "", nil},
	{"python/psycopg2_timeout.py", "reset", 1, nil, "", nil},
	{"python/wire.py", "interval", 1, []string{"PP012 intervalstyle"}, "ALTER ROLE", says(`unsupported startup parameter: IntervalStyle`)},
	{"python/wire.py", "timeout", 1, []string{"PP012 statement_timeout"}, "ALTER ROLE", says(`unsupported startup parameter: statement_timeout`)},
	{"python/wire.py", "closed", 1, nil, "", nil},
	{"python/wire.py", "flush", 1, nil, "", nil},
	{"python/wire.py", "portal", 1, nil, "", nil},
	{"python/wire.py", "tracked", 1, nil, "", nil},
	{"python/wire.py", "isolation", 1, nil, "", nil},
	{"python/wire.py", "sequence", 1, nil, "", nil},
	{"python/wire.py", "lock", 1, nil, "", nil},
	{"python/wire.py", "cursor", 1, nil, "", nil},
	{"python/wire.py", "prepare", 1, nil, "", nil},
	{"python/wire.py", "undone", 1, nil, "", nil},
	{"python/wire.py", "style", 1, []string{"PP004 IntervalStyle"}, "ALTER ROLE", says(`wrong: \['1 day'\]`)},
	{"python/wire.py", "style-local", 1, nil, "", nil},
	{"python/wire.py", "pieces", 1, []string{"PP004 app.piece", "PP013 app.piece"}, "set_config(name, $1, true)", all(says(`wrong: \[''\]`), leaves("select left(current_setting('app.piece', true), 3)", "of "))},
	{"python/wire.py", "pieces-local", 1, nil, "", nil},
	{"python/psycopg2_session.py", "faulty", 1, []string{"PP004 default_transaction_read_only"}, "SET TRANSACTION", leaves("show transaction_read_only", "on")},
	{"python/psycopg2_session.py", "correct", 1, nil, "", nil},
	{"python/django_program.py", "cursor", 1, []string{"PP007 _django_curs_…_sync_1"}, "DISABLE_SERVER_SIDE_CURSORS", says(`(cursor|portal) "_django_curs_\w+" does not exist`)},
	{"python/django_program.py", "schema", 1, []string{"PP004 search_path"}, "SET LOCAL", leaves("show search_path", "tenant_b")},
	{"python/django_program.py", "correct", 1, nil, "", nil},

	{"node/pg_named.cjs", "faulty", 1, []string{"PP002 fetch-item", "PP003 fetch-item"}, "leave name: out", crowd(3, `prepared statement "fetch-item" (does not exist|already exists)`)},
	{"node/pg_named.cjs", "once", 1, []string{"PP003 fetch-item"}, "leave name: out", crowd(3, `prepared statement "fetch-item" already exists`)},
	{"node/pg_named.cjs", "correct", 1, nil, "", nil},
	{"node/pg_late.cjs", "faulty", 1, []string{"PP003 count-report", "PP023 count-report"}, "leave name: out", crowd(3, `prepared statement "count-report" already exists`)},
	{"node/pg_late.cjs", "correct", 1, nil, "", nil},
	{"node/pg_column.cjs", "faulty", 1, []string{"PP002 settings", "PP003 settings", "PP023 settings"}, "leave name: out", crowd(3, `prepared statement "settings" (does not exist|already exists)`)},
	{"node/pg_column.cjs", "correct", 1, nil, "", nil},
	{"node/pg_setting.cjs", "faulty", 1, []string{"PP004 app.language", "PP013 app.language"}, "set_config(name, $1, true)", all(crowd(1, `wrong: (de|fr|en) is (de|fr|en|null)`), leaves("select (length(current_setting('app.language', true)) = 2)::text", "true"))},
	{"node/pg_setting.cjs", "correct", 1, nil, "", nil},
	{"node/pg_claims.cjs", "faulty", 1, []string{"PP004 jwt.claims", "PP013 jwt.claims"}, "set_config(name, $1, true)", all(crowd(1, `wrong: tenant \d sees \d+ rows of`), leaves("select left(current_setting('jwt.claims', true), 6)", `{"sub"`))},
	{"node/pg_claims.cjs", "correct", 1, nil, "", nil},
	{"node/pg_listen.cjs", "faulty", 1, []string{"PP008 news"}, "DIRECT_URL", listens("news")},
	{"node/pg_listen.cjs", "correct", 1, nil, "", nil},
	{"node/pg_tenant.cjs", "faulty", 1, []string{"PP004 app.tenant", "PP013 app.tenant"}, "set_config(name, $1, true)", all(crowd(1, `wrong: tenant \d sees "tenant \d"`), leaves("select left(current_setting('app.tenant', true), 6)", "tenant"))},
	{"node/pg_tenant.cjs", "correct", 1, nil, "", nil},
	{"node/postgresjs_all.cjs", "default", 1, []string{"PP002 …#", "PP019"}, "prepare: false", says(`wrong: (hangs|item \d+ is)`)},
	{"node/postgresjs_all.cjs", "correct", 1, nil, "", nil},
	{"node/prisma_tenant.cjs", "faulty", 1, []string{"PP004 app.tenant", "PP013 app.tenant"}, "set_config", leaves("select left(current_setting('app.tenant', true), 6)", "tenant")},
	{"node/prisma_tenant.cjs", "correct", 1, nil, "", nil},
	{"node/drizzle_prepared.cjs", "prepare", 1, []string{"PP002 item_by_id", "PP003 item_by_id"}, "leave name: out", crowd(3, `prepared statement "item_by_id" (does not exist|already exists)`)},
	{"node/drizzle_prepared.cjs", "correct", 1, nil, "", nil},
	{"node/knex_schema.cjs", "searchPath", 1, []string{"PP004 search_path"}, "withSchema", leaves("show search_path", "tenant_b")},
	{"node/knex_schema.cjs", "correct", 1, nil, "", nil},
	{"node/sequelize_tenant.cjs", "faulty", 1, []string{"PP004 app.tenant", "PP013 app.tenant"}, "set_config", leaves("select left(current_setting('app.tenant', true), 6)", "tenant")},
	{"node/sequelize_tenant.cjs", "correct", 1, nil, "", nil},

	{"java/Threshold", "default", 1, []string{"PP002 S_#", "PP003 S_#"}, "prepareThreshold=0", crowd(3, `wrong: (item \d+ is tenant|tenant \d is item|.* prepared statement "S_\d+")`)},
	{"java/Threshold", "correct", 1, nil, "", nil},
	{"java/Schema", "setSchema", 1, []string{"PP004 search_path"}, "SET LOCAL", leaves("show search_path", "tenant_b")},
	{"java/Schema", "url", 1, []string{"PP012 search_path"}, "currentSchema", says(`unsupported startup parameter: search_path`)},
	{"java/Schema", "correct", 1, nil, "", nil},

	{"go/libpq", "default", 1, []string{"PP001"}, "binary_parameters=yes", says(`wrong: item \d+ is (item|pq: (unnamed prepared statement|bind message))`)},
	{"go/libpq", "correct", 1, nil, "", nil},
	{"go/pgx", "cache_statement", 1, []string{"PP002 stmtcache_…", "PP003 stmtcache_…"}, "default_query_exec_mode=exec", says(`prepared statement "stmtcache_\w+" does not exist`)},
	{"go/pgx", "describe_exec", 1, []string{"PP001"}, "never describe_exec", says(`unnamed prepared statement does not exist|bind message`)},
	{"go/pgx", "cache_describe", 1, nil, "", nil},
	{"go/pgx", "exec", 1, nil, "", nil},
	{"go/pgx", "simple_protocol", 1, nil, "", nil},
	{"go/pgx", "acquire", 1, []string{"PP004 app.tenant", "PP013 app.tenant"}, "set_config(name, $1, true)", all(says(`wrong: tenant \d sees`), leaves("select left(current_setting('app.tenant', true), 6)", "tenant"))},
	{"go/pgx", "acquire-correct", 1, nil, "", nil},
	{"go/pgx", "batch", 1, []string{"PP015"}, "ROLLBACK", holds()},
	{"go/pgx", "batch-correct", 1, nil, "", nil},
	{"go/pgx", "pipeline", 1, []string{"PP019"}, "under one Sync", foreignItems()},
	{"go/pgx", "pipeline-correct", 1, nil, "", ownItems()},
	{"go/gorm", "default", 1, []string{"PP002 stmtcache_…", "PP003 stmtcache_…"}, "default_query_exec_mode=exec", says(`prepared statement "stmtcache_\w+" does not exist`)},
	{"go/gorm", "correct", 1, nil, "", nil},
	{"go/gorm", "local", 1, []string{"PP016"}, "BEGIN first", says(`wrong: the tenant has 0 items`)},
	{"go/gorm", "local-correct", 1, nil, "", nil},

	{"rust/tokio", "join_all", 1, []string{"PP019"}, "await each query", foreignItems()},
	{"rust/tokio", "query", 1, []string{"PP002 s#", "PP003 s#", "PP019"}, "query_typed", says(`prepared statement "s\d+" does not exist`)},
	{"rust/tokio", "query_typed", 1, nil, "", ownItems()},
	{"rust/sqlx", "default", 1, []string{"PP002 sqlx_s_#", "PP003 sqlx_s_#", "PP019"}, "a transaction around each query", says(`prepared statement "sqlx_s_1" does not exist`)},
	{"rust/sqlx", "unnamed", 1, []string{"PP001", "PP019"}, "pool.begin()", says(`unnamed prepared statement does not exist|bind message`)},
	{"rust/sqlx", "correct", 1, nil, "", nil},
	{"rust/diesel", "default", 1, []string{"PP002 s#", "PP003 s#", "PP019"}, "tracks statements", says(`prepared statement .{1,3}s\d+.{1,3} does not exist`)},
	{"rust/seaorm", "default", 1, []string{"PP002 sqlx_s_#", "PP003 sqlx_s_#", "PP019"}, "tracks statements", says(`prepared statement "sqlx_s_1" does not exist`)},
	{"rust/deadpool", "cached", 1, []string{"PP002 s#", "PP003 s#", "PP019"}, "query_typed", says(`prepared statement "s\d+" does not exist`)},
	{"rust/deadpool", "clean", 1, []string{"PP018 DISCARD SEQUENCES", "PP018 DISCARD TEMP", "PP018 RESET ALL"}, "RecyclingMethod::Fast", resets()},
	{"rust/deadpool", "correct", 1, nil, "", nil},

	{"ruby/pg_prepared.rb", "faulty", 1, []string{"PP002 a#", "PP003 a#"}, "prepared_statements: false", says(`is (tenant \d|item \d)|prepared statement "a1" (does not exist|already exists)`)},
	{"ruby/pg_prepared.rb", "correct", 1, nil, "", nil},
	{"ruby/activerecord.rb", "prepared", 1, []string{"PP002 a#", "PP003 a#"}, "prepared_statements: false", says(`prepared statement "a1" does not exist`)},
	{"ruby/activerecord.rb", "lock", 1, []string{"PP009 4222222"}, "advisory_locks: false", all(says(`lock true, released false`), locked(4_222_222))},
	{"ruby/activerecord.rb", "correct", 1, nil, "", nil},

	{"php/pdo.php", "faulty", 1, []string{"PP002 pdo_stmt_#", "PP003 pdo_stmt_#", "PP010"}, "ATTR_EMULATE_PREPARES", says(`prepared statement "pdo_stmt_00000001" does not exist`)},
	{"php/pdo.php", "correct", 1, nil, "", nil},
	{"php/pdo_id.php", "faulty", 1, []string{"PP011"}, "RETURNING", all(says(`lastval is not yet defined|is "note \d of`), crowd(2, `wrong: note \d of (\d+) is "note`))},
	{"php/pdo_id.php", "correct", 1, nil, "", nil},

	{"perl/dbd.pl", "faulty", 1, []string{"PP002 dbdpg_p#_#"}, "pg_server_prepare => 0", says(`prepared statement "dbdpg_p\w+" does not exist`)},
	{"perl/dbd.pl", "correct", 1, nil, "", nil},
	{"perl/sql_prepare.pl", "faulty", 1, []string{"PP010", "PP010 find"}, "do not prepare", says(`prepared statement "find" does not exist`)},
	{"perl/sql_prepare.pl", "correct", 1, nil, "", nil},
}

// The table's programs, through the hostile pooler.
func TestProve(t *testing.T) {
	rounds := pgtest.Pick(1, 20)
	for i, r := range rows() {
		rounds := rounds
		if i >= len(table)+len(fieldTable) {
			rounds = min(rounds, 2) // they are many
		}
		t.Run(r.program+" "+r.form, func(t *testing.T) {
			t.Parallel()
			for range rounds {
				r.prove(t)
			}
		})
	}
}

func (r row) prove(t *testing.T) {
	t.Helper()
	r.proveAs(t, hostile.Config{Upstream: database(t)})
}

// proveAs runs the program through the hostile pooler, as cfg says, and wants
// what the row says.
func (r row) proveAs(t *testing.T, cfg hostile.Config) {
	t.Helper()
	direct := cfg.Upstream
	if slices.Contains([]string{"python/psycopg_idle.py", "python/psycopg_flush.py", "python/psycopg_copy.py"}, r.program) { // for others, a busy machine would make it true
		cfg.IdleBound = 400 * time.Millisecond
	}
	p, pooled := pooler(t, cfg)
	calls, err := source.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := calls.Close(); err != nil {
			t.Error(err)
		}
	}()
	runs := make([]run, r.copies)
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() { runs[i] = execute(t, r.program, r.form, pooled, direct, calls.Environ(nil)...) })
	}
	all.Wait()
	output := ""
	for _, ran := range runs {
		output += ran.output
		if ran.hung {
			t.Errorf("it hangs")
		}
		if len(r.want) == 0 && ran.exit != 0 {
			t.Errorf("exited with %d", ran.exit)
		}
	}
	report := p.Report()
	if err := calls.Locate(&report, "."); err != nil {
		t.Error(err)
	}
	var found []string
	for _, f := range report.Findings {
		found = append(found, strings.TrimSpace(string(f.Code)+" "+f.Subject))
	}
	if !r.explains(found) {
		t.Errorf("found %q, want %q", found, r.want)
	}
	if len(report.Findings) > 0 && !strings.Contains(report.Findings[0].Fix, r.fix) {
		t.Errorf("the fix is %q, want %q in it", report.Findings[0].Fix, r.fix)
	}
	r.advises(t, report.Findings)
	if t.Failed() {
		t.Logf("%d clients, %d transactions; it said\n%s", report.Clients, report.Transactions, output)
		for _, f := range report.Findings {
			t.Logf("%s %s, %d times, %+v: %q; fix: %s", f.Code, f.Subject, f.Count, f.First.Client, f.First.SQL, f.Fix)
		}
	}
}

// Every code has a program that commits the fault.
func TestEveryCode(t *testing.T) {
	faulty := map[hostile.Code]bool{}
	for _, r := range table {
		for _, want := range r.want {
			code, _, _ := strings.Cut(want, " ")
			faulty[hostile.Code(code)] = true
		}
	}
	for _, r := range badDays {
		for _, want := range r.want {
			faulty[hostile.Code(want[:5])] = true
		}
	}
	for _, code := range hostile.Codes() {
		if !faulty[code] {
			t.Errorf("no program shows %s", code)
		}
	}
}

// oncePerLanguage leaves of rows the first in each language with the same codes:
// the others suffer the same behind a pooler, in another program. The soak runs
// all of them.
func oncePerLanguage(rows []row) []row {
	if *every {
		return rows
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool {
		kind, _, _ := strings.Cut(r.program, "/")
		for _, want := range r.want {
			code, _, _ := strings.Cut(strings.TrimPrefix(want, maybe), " ")
			kind += " " + code
		}
		again := seen[kind]
		seen[kind] = true
		return again
	})
}

// The same programs through a real PgBouncer 1.18: each fault has the
// consequence that its code tells of, and a correct form works.
func TestBehindPgBouncer(t *testing.T) {
	at := newBouncer(t, pgtest.PgBouncer118Transaction)
	for _, r := range oncePerLanguage(rows()) {
		if r.shows == nil && !*every {
			continue
		}
		t.Run(r.program+" "+r.form, func(t *testing.T) {
			t.Parallel()
			at(t, r).showsOr()
		})
	}
}

// showsOr wants the row's consequence; of a form without one, that it works.
func (b *bouncer) showsOr() {
	b.Helper()
	if b.row.shows != nil {
		b.row.shows(b)
	} else if ran := b.run(); ran.exit != 0 {
		b.Errorf("exited with %d\n%s", ran.exit, ran.output)
	}
}

// The programs of public reports and the libraries' have the same consequences
// behind a real PgBouncer 1.24, but for names of statements, which it tracks: see
// TestTrackedStatements.
func TestBehindPgBouncer124(t *testing.T) {
	at := newBouncer(t, pgtest.PgBouncer124Transaction)
	for _, r := range rows()[len(table):] {
		if (len(r.want) == 0 || !r.onlyTracked()) && (r.shows != nil || *every) {
			t.Run(r.program+" "+r.form, func(t *testing.T) {
				t.Parallel()
				at(t, r).showsOr()
			})
		}
	}
}

// What advice offers in the place of a startup parameter or a SET when it
// connects: ALTER ROLE … SET reaches every client through a pooler.
func TestAlterRole(t *testing.T) {
	direct := database(t)
	execAt(t, direct, `do $$ begin execute format('alter role %I in database %I set statement_timeout = ''7s''', current_user, current_database()); end $$`)
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer124Transaction} {
		c, err := pgx.Connect(t.Context(), pgtest.Pooled(t, direct, kind)+"&default_query_exec_mode=exec")
		if err != nil {
			t.Fatal(err)
		}
		var limit string
		if err := c.QueryRow(t.Context(), "show statement_timeout").Scan(&limit); err != nil || limit != "7s" {
			t.Errorf("%v: %q, %v", kind, limit, err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// onlyTracked reports whether a pooler that tracks statements makes all right
// that is found.
func (r row) onlyTracked() bool {
	return !slices.ContainsFunc(r.want, func(want string) bool {
		want = strings.TrimPrefix(want, maybe)
		return want != string(hostile.ResetsOthers)+" DEALLOCATE ALL" && // which it answers itself
			!slices.Contains([]string{string(hostile.MissingNamed), string(hostile.NameCollision), string(hostile.SyncsInFlight)}, want[:5])
	})
}

// tracked are the forms of the table that a pooler which tracks statements
// breaks, and what is found as PgBouncer 1.24.
var tracked = []row{
	{"node/pg_late.cjs", "faulty", 1, []string{"PP023 count-report"}, "leave name: out", says(`prepared statement name is already in use`)},
	{"node/pg_column.cjs", "faulty", 1, []string{"PP023 settings"}, "leave name: out", says(`wrong: 2 columns are cached plan must not change result type`)},
}

// Each has this consequence behind a real PgBouncer 1.24.
func TestBehindPgBouncerThatTracks(t *testing.T) {
	for _, r := range tracked {
		t.Run(r.program+" "+r.form, func(t *testing.T) {
			t.Parallel()
			direct := database(t)
			r.proveAs(t, hostile.Config{Upstream: direct, Profile: "pgbouncer-1.24"})
			r.shows(&bouncer{t, r, pgtest.Pooled(t, direct, pgtest.PgBouncer124Transaction), direct})
		})
	}
}

// further is what a program does wrong only once the names of its statements are
// right. Each has a form of its own in the table that shows the harm.
var further = map[string][]string{
	"go/migrate prepared":       {"PP009 $1"},
	"java/FlywayApp default":    {"PP004 search_path"},
	"java/LiquibaseApp default": {"PP004 search_path"},
}

// What is wrong with nothing but names of statements, or with queries before the
// last answer, is right behind a pooler that tracks statements: a real PgBouncer
// 1.24, and the hostile one as such.
func TestTrackedStatements(t *testing.T) {
	for _, r := range oncePerLanguage(rows()) {
		if len(r.want) == 0 || !r.onlyTracked() ||
			slices.ContainsFunc(tracked, func(x row) bool { return x.program == r.program && x.form == r.form }) {
			continue
		}
		t.Run(r.program+" "+r.form, func(t *testing.T) {
			t.Parallel()
			later := row{want: further[r.program+" "+r.form]}
			through := func(direct, pooled string) {
				if ran := execute(t, r.program, r.form, pooled, direct); ran.exit != 0 && later.want == nil {
					t.Errorf("exited with %d\n%s", ran.exit, ran.output)
				}
			}
			first, second := database(t), database(t)
			p, pooled := pooler(t, hostile.Config{Upstream: first, Profile: "pgbouncer-1.24"})
			through(first, pooled)
			through(second, pgtest.Pooled(t, second, pgtest.PgBouncer124Transaction))
			var found []string
			for _, f := range p.Report().Findings {
				found = append(found, string(f.Code)+" "+f.Subject)
			}
			if !later.explains(found) {
				t.Errorf("found %q, want %q", found, later.want)
			}
		})
	}
}

// Queries that are sent before the last was answered, through a pooler that hands
// the server connection back at the first ReadyForQuery: a stand-in for Supavisor.
func TestSyncsInFlightAsSupavisor(t *testing.T) {
	for _, program := range [][2]string{{"rust/tokio", "join_all"}, {"go/pgx", "pipeline"}} {
		t.Run(program[0], func(t *testing.T) {
			t.Parallel()
			direct := database(t)
			_, pooled := pooler(t, hostile.Config{Upstream: direct, Profile: "supavisor", MaxServerConns: 2})
			last := ""
			for range 10 * tries {
				last = together(8, func(i int) run {
					return execute(t, program[0], program[1], pooled, direct, ownTen(i), "CORPUS_MS=3", "CORPUS_PATIENCE=500")
				})
				if found := foreignItem(last); found != "" {
					t.Log(found)
					return
				}
			}
			t.Errorf("nobody was given another client's item in %d tries; the last said\n%s", 10*tries, last)
		})
	}
}

// pooler runs a hostile pooler until the test is over.
func pooler(t *testing.T, cfg hostile.Config) (p *hostile.Pooler, pooled string) {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	return hostile.StartWith(t, cfg)
}

// schema is what the programs work on: 500 items of two tenants, one more in a
// tenant's own schema, and notes.
const schema = `
	create table item (id int primary key, tenant text not null, name text not null);
	insert into item select n, 'tenant ' || n % 2, 'item ' || n from generate_series(1, 500) n;
	create schema tenant_b;
	create table tenant_b.item (like public.item including all);
	insert into tenant_b.item values (1, 'tenant b', 'item 1 of tenant b');
	create table note (id serial primary key, body text not null);
	create table guarded (id int);
	alter table guarded enable row level security, force row level security;
	grant select on item, guarded to corpus_reader`

var makeRole sync.Once

// database makes a database with the programs' schema, and returns its direct URL.
func database(t *testing.T) string {
	t.Helper()
	makeRole.Do(func() { execAt(t, pgtest.Server(t).AdminURL(), "create role corpus_reader") })
	direct := pgtest.Database(t)
	execAt(t, direct, schema)
	return direct
}

func execAt(t *testing.T, url, sql string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

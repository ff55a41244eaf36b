package migrations

import (
	"context"
	_ "embed" // for sums
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// open returns a connection for looking around, not the code under test.
func open(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// one reads one value.
func one[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// state returns the SQLSTATE of err, "" for nil.
func state(err error) string {
	if err == nil {
		return ""
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return err.Error()
}

func TestVersionIsTheLastFile(t *testing.T) {
	files, err := all()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != Version {
		t.Fatalf("Version is %d and there are %d files", Version, len(files))
	}
}

//go:embed sums.txt
var sums string

// From the first release on, migrations are append-only.
func TestMigrationsAreAppendOnly(t *testing.T) {
	files, err := all()
	if err != nil {
		t.Fatal(err)
	}
	var now, diff strings.Builder
	for _, f := range files {
		fmt.Fprintf(&now, "%s  %s\n", f.checksum, f.name)
	}
	for line := range strings.Lines(sums) {
		if !strings.Contains(now.String(), line) {
			diff.WriteString("-" + line)
		}
	}
	for line := range strings.Lines(now.String()) {
		if !strings.Contains(sums, line) {
			diff.WriteString("+" + line)
		}
	}
	if sums != now.String() {
		t.Errorf(`sums.txt (-) does not fit the migrations (+):
%s
A new migration: add its line to sums.txt.
An edited one that no release has: replace its line.
An edited one that a release has: undo the edit and write a new migration. Databases record the checksum, and "poolproof migrate up" refuses another text.
scope.sql, after a release: keep the old text as sql/%s.sql and give the new one the next number (see doc.go).`, diff.String(), scopeName)
	}
}

func TestFilesAreNumberedWithoutGaps(t *testing.T) {
	for _, names := range [][]string{{"0002_b.sql"}, {"0001_a.sql", "0003_c.sql"}, {"0001_a.sql", "0001_b.sql"}, {"0001-a.sql"}, {"notes.txt"}} {
		folder := fstest.MapFS{}
		for _, n := range names {
			folder["sql/"+n] = &fstest.MapFile{Data: []byte("select 1;")}
		}
		texts, err := read(folder)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inOrder(texts); err == nil {
			t.Errorf("%v was accepted", names)
		}
	}
}

func TestStatementLine(t *testing.T) {
	const sql = "-- a; b\nselect ';',\n 1;\n\n/* ; */ do $x$ begin; end $x$;\nselect \";\" from t;"
	for n, want := range []int{2, 5, 6, 0} {
		if got := statementLine(sql, n); got != want {
			t.Errorf("statement %d begins on line %d, want %d", n, got, want)
		}
	}
}

// tenUps runs Up ten times at once and returns what each applied.
func tenUps(t *testing.T, urls []string) map[string]int {
	t.Helper()
	var mu sync.Mutex
	applied := map[string]int{}
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range 10 {
		wg.Go(func() {
			<-start
			res, err := Up(t.Context(), urls[i%len(urls)], Options{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("copy %d: %v", i, err)
			}
			for _, name := range res.Applied {
				applied[name]++
			}
		})
	}
	close(start)
	wg.Wait()
	return applied
}

func TestTenCopiesOnOneDatabase(t *testing.T) {
	for _, kind := range pgtest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			owner := pgtest.Database(t)
			applied := tenUps(t, []string{pgtest.Pooled(t, pgtest.Owned(t, owner), kind)})
			if len(applied) != Version {
				t.Errorf("%d migrations were applied, want %d", len(applied), Version)
			}
			for name, n := range applied {
				if n != 1 {
					t.Errorf("%s was applied %d times", name, n)
				}
			}
			conn := open(t, owner)
			if n := one[int](t, conn, `select count(*)::int from poolproof.schema_migrations`); n != Version {
				t.Errorf("%d migrations are recorded, want %d", n, Version)
			}
			if n := one[int](t, conn, `select count(*)::int from pg_locks where locktype = 'advisory'`); n != 0 {
				t.Errorf("%d advisory locks were left behind", n)
			}
			again, err := Up(t.Context(), pgtest.Pooled(t, pgtest.Owned(t, owner), kind), Options{})
			if err != nil || len(again.Applied) != 0 {
				t.Errorf("a later run applied %v, %v; want nothing", again.Applied, err)
			}
		})
	}
}

// Nothing that a migration sets may stay on the pooler's server connections.
func TestLeavesNoSessionState(t *testing.T) {
	owner := pgtest.Database(t)
	url := pgtest.Pooled(t, pgtest.Owned(t, owner), pgtest.PgBouncer118Statement)
	if _, err := Up(t.Context(), url, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := Demo(t.Context(), url, uuid.New()); err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	for range 4 { // as many as it takes to meet both server connections
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		var path, tenant, messages string
		err = conn.QueryRow(t.Context(), `select current_setting('search_path'), coalesce(current_setting('app.current_tenant_id', true), ''),
			current_setting('client_min_messages')`).Scan(&path, &tenant, &messages)
		if err != nil {
			t.Fatal(err)
		}
		if path != `"$user", public` || tenant != "" || messages != "notice" {
			t.Errorf("left behind: search_path %s, tenant %q, client_min_messages %s", path, tenant, messages)
		}
	}
}

// A server of its own, where no role exists yet, on which the log holds every
// statement and whoever is not the superuser needs a password.
func privateServer(t *testing.T) *devdb.Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "poolproof-migrations-") //nolint:usetesting // t.TempDir is closed to the account that root's servers run under
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	hba := filepath.Join(dir, "hba.conf")
	rules := "local all all trust\nhost all " + devdb.Superuser + " 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n" //nolint:dupword // the file's columns
	if err := os.WriteFile(hba, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	server, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{
		Dir:      filepath.Join(dir, "pg"),
		Settings: map[string]string{"hba_file": hba, "log_statement": "all"},
	})
	if err != nil {
		t.Fatalf(`start PostgreSQL ("make setup" installs it): %v`, err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return server
}

// Roles belong to the server and advisory locks to one database: copies on
// different databases race for the role without a lock between them.
func TestTenCopiesOnTenDatabasesOfAFreshServer(t *testing.T) {
	server := privateServer(t)
	admin := open(t, server.AdminURL())
	var urls []string
	for i := range 10 {
		name := fmt.Sprintf("fresh_%d", i)
		exec(t, admin, "create database "+name)
		urls = append(urls, server.URL(devdb.Superuser, name))
	}
	for name, n := range tenUps(t, urls) {
		if n != 10 {
			t.Errorf("%s was applied %d times on ten databases", name, n)
		}
	}

	// The same race for a login, whose password each run changes.
	var wg sync.WaitGroup
	for _, url := range urls {
		wg.Go(func() {
			if _, err := Up(t.Context(), url, Options{Login: "racer"}); err != nil {
				t.Errorf("make the login: %v", err)
			}
		})
	}
	wg.Wait()

	for range 2 { // made, then given a new password
		res, err := Up(t.Context(), urls[3], Options{Login: "app"})
		if err != nil {
			t.Fatal(err)
		}
		conn := open(t, res.LoginURL) // by SCRAM, so the verifier is right
		if who := one[string](t, conn, `select current_user || ' ' || current_database()`); who != "app fresh_3" {
			t.Errorf("logged in as %s", who)
		}
		if n := one[int](t, conn, `select count(*)::int from poolproof.permissions`); n == 0 {
			t.Error("the login reads no catalogue")
		}
		bad := regexp.MustCompile(`:[^:@]*@`).ReplaceAllString(res.LoginURL, ":wrong@")
		if _, err := pgx.Connect(t.Context(), bad); state(err) != "28P01" {
			t.Errorf("a wrong password: %v, want 28P01", err)
		}
		password := res.LoginURL[strings.LastIndex(res.LoginURL[:strings.LastIndex(res.LoginURL, "@")], ":")+1 : strings.LastIndex(res.LoginURL, "@")]
		log := serverLog(t, server)
		if strings.Contains(log, password) {
			t.Error("the server's log holds the password")
		}
		if !strings.Contains(log, "SCRAM-SHA-256$4096") {
			t.Error("the server's log does not even hold the verifier, so it proves nothing")
		}
	}

	exec(t, admin, `create role chief superuser login`)
	if _, err := Up(t.Context(), urls[3], Options{Login: "chief"}); err == nil || !strings.Contains(err.Error(), "superuser") {
		t.Errorf("a superuser was taken as login: %v", err)
	}
	for _, name := range []string{RuntimeRole, "x'; drop table y", "Ä", strings.Repeat("a", 64)} {
		if _, err := Up(t.Context(), urls[3], Options{Login: name}); err == nil {
			t.Errorf("the login name %q was taken", name)
		}
	}
	exec(t, admin, `alter role `+RuntimeRole+` bypassrls`)
	if _, err := Up(t.Context(), urls[3], Options{}); err == nil || !strings.Contains(err.Error(), "bypasses row-level security") {
		t.Errorf("a runtime role with BYPASSRLS was accepted: %v", err)
	}
}

func serverLog(t *testing.T, server *devdb.Postgres) string {
	t.Helper()
	var log strings.Builder
	err := filepath.WalkDir(server.Dir(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".log") {
			return err
		}
		text, err := os.ReadFile(path)
		log.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return log.String()
}

func TestAnEditedMigrationIsRefused(t *testing.T) {
	owner := pgtest.Database(t)
	files, err := all()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up(t.Context(), pgtest.Owned(t, owner), files, Options{}); err != nil {
		t.Fatal(err)
	}
	edited := slices.Clone(files)
	edited[2].checksum = strings.Repeat("0", 64)
	for name, ours := range map[string][]file{"edited": edited, "edited, of fewer": edited[:5]} {
		_, err = up(t.Context(), pgtest.Owned(t, owner), ours, Options{})
		if !errors.Is(err, ErrSchemaForeign) || errors.Is(err, ErrSchemaNewer) || !strings.Contains(err.Error(), files[2].name) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
	}
	// The guard inside the message sees it, too, if it happens in between.
	conn, err := connect(t.Context(), pgtest.Owned(t, owner))
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	if _, err := apply(t.Context(), conn.PgConn(), edited[2]); state(err) != stateEdited {
		t.Errorf("apply an edited file: %v, want %s", err, stateEdited)
	}
	if done, err := apply(t.Context(), conn.PgConn(), files[2]); done || err != nil {
		t.Errorf("apply again: %v, %v; want nothing to happen", done, err)
	}
}

func TestNewerAndOlderSchemas(t *testing.T) {
	owner := pgtest.Database(t)
	url := pgtest.Pooled(t, pgtest.Owned(t, owner), pgtest.PgBouncer118Statement)
	db, err := poolproof.Open(t.Context(), poolproof.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := Verify(t.Context(), db); !errors.Is(err, ErrSchemaOlder) || !strings.Contains(err.Error(), "poolproof migrate up") {
		t.Errorf("no schema: %v", err)
	}
	files, err := all()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up(t.Context(), url, files[:3], Options{}); err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), db); !errors.Is(err, ErrSchemaOlder) {
		t.Errorf("half a schema: %v", err)
	}
	steps, err := Status(t.Context(), url)
	if err != nil || len(steps) != Version || steps[2].AppliedAt == nil || steps[3].AppliedAt != nil {
		t.Errorf("status of half a schema: %+v, %v", steps, err)
	}
	res, err := Up(t.Context(), url, Options{})
	if err != nil || len(res.Applied) != Version-3 {
		t.Fatalf("the other half: %v, %v", res.Applied, err)
	}
	if err := Verify(t.Context(), db); err != nil {
		t.Errorf("the whole schema: %v", err)
	}
	exec(t, open(t, owner), `insert into poolproof.schema_migrations (version, name, checksum) values ($1, 'tomorrow', 'x')`, Version+1)
	if err := Verify(t.Context(), db); !errors.Is(err, ErrSchemaNewer) {
		t.Errorf("a newer schema: %v", err)
	}
	if _, err := Up(t.Context(), url, Options{}); !errors.Is(err, ErrSchemaNewer) {
		t.Errorf("up on a newer schema: %v", err)
	}
	steps, err = Status(t.Context(), url)
	if err != nil || len(steps) != Version+1 || steps[Version].Name != "tomorrow" {
		t.Errorf("status of a newer schema: %+v, %v", steps, err)
	}
}

func TestErrorsNameFileAndLineAndLeaveNothing(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		line int
	}{
		"syntax":                {"create table poolproof.x (id int);\n\nselekt 1;", 3},
		"by position":           {"create table poolproof.x (id int);\n-- ünïcödé\nselect\n  nothing;", 4},
		"no position":           {"create table poolproof.x (id int primary key);\ninsert into poolproof.x values (1);\ninsert into poolproof.x\n values (1);", 3},
		"inside a block":        {"create table poolproof.x (id int);\n\ndo $$\nbegin\n perform 1/0;\nend $$;", 3},
		"at the last statement": {"create table poolproof.x (id int);\nselect 1;\nselect 1/(select 0)", 3},
	} {
		t.Run(name, func(t *testing.T) {
			owner := pgtest.Database(t)
			if _, err := Up(t.Context(), pgtest.Owned(t, owner), Options{}); err != nil {
				t.Fatal(err)
			}
			conn, err := connect(t.Context(), pgtest.Pooled(t, pgtest.Owned(t, owner), pgtest.PgBouncer118Statement))
			if err != nil {
				t.Fatal(err)
			}
			defer closeConn(conn)
			_, err = apply(t.Context(), conn.PgConn(), file{version: Version + 1, name: "9999_bad", sql: c.sql, checksum: "x"})
			if want := fmt.Sprintf("9999_bad.sql:%d:", c.line); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			if one[bool](t, open(t, owner), `select to_regclass('poolproof.x') is not null`) {
				t.Error("half of the migration stayed")
			}
		})
	}
}

// What Up installs, through any pooler, carries the service's scopes as a
// parameter; a database where poolproof.ScopeSQL was run before is fine, too.
func TestScopesAreCarriedAsAParameter(t *testing.T) {
	for _, kind := range pgtest.Kinds {
		for _, before := range []string{"", poolproof.ScopeSQL} {
			t.Run(fmt.Sprintf("%v/%d bytes before", kind, len(before)), func(t *testing.T) {
				owner := pgtest.Owned(t, pgtest.Database(t))
				if before != "" {
					exec(t, open(t, owner), before, pgx.QueryExecModeSimpleProtocol)
				}
				name := "app_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
				res, err := Up(t.Context(), pgtest.Pooled(t, owner, kind), Options{Login: name})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := open(t, owner).Exec(t.Context(), poolproof.ScopeSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
					t.Errorf("again: %v", err)
				}
				db, err := poolproof.Open(t.Context(), poolproof.Config{URL: res.LoginURL, Scope: poolproof.ScopeParameter, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if err := Verify(t.Context(), db); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

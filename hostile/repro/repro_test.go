package repro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func finding(c hostile.Code, about, sql string) hostile.Finding {
	severity, title, consequence, fix := hostile.Describe(c)
	return hostile.Finding{Code: c, Severity: severity, Title: title, Subject: about, Count: 1, Consequence: consequence, Fix: fix, First: hostile.Occurrence{SQL: sql}}
}

// odd is a name with everything that must be quoted.
const odd = `it's "odd" \ {{name}} é`

// every is a finding of each kind, and of each way that a script is filled in.
var every = []hostile.Finding{
	finding(hostile.ForeignUnnamed, "", "select * from things where id = $1"),
	finding(hostile.MissingNamed, "stmtcache_…", "select 1"),
	finding(hostile.NameCollision, "S_#", "select 1"),
	finding(hostile.SessionSetting, "app.tenant", "SET app.tenant = 'tenant \"of\" a';"),
	finding(hostile.SessionSetting, "search_path", "select enter('a')\n\"\"\""),
	finding(hostile.SessionSetting, "statement_timeout", "SET statement_timeout TO $1"),
	finding(hostile.SessionSetting, "statement_timeout", "SET statement_timeout = 1"),
	finding(hostile.SessionSetting, "enable_seqscan", ""),
	finding(hostile.SessionSetting, "default_transaction_isolation", ""),
	finding(hostile.SessionRole, "pg_read_all_data", "set role pg_read_all_data"),
	finding(hostile.TempTable, odd, ""),
	finding(hostile.HoldCursor, odd, ""),
	finding(hostile.Listening, odd, ""),
	finding(hostile.SessionLock, "42", "select pg_advisory_lock(42)"),
	finding(hostile.SessionLock, "0, 42", ""),
	finding(hostile.SessionLock, "hashtext($1)", ""),
	finding(hostile.SQLPrepared, "", "execute p"),
	finding(hostile.SQLPrepared, odd, ""),
	finding(hostile.SequenceState, "", "select currval('s')"),
	finding(hostile.StartupParameter, "search_path", ""),
	finding(hostile.StartupParameter, "options", ""),
	finding(hostile.SettingNotSet, "app.tenant", "select current_setting('app.tenant')"),
	finding(hostile.IdleInTransaction, "", "select 1"),
	finding(hostile.FailedPipeline, "", "commit"),
	finding(hostile.LocalOutside, "", "set local app.other = 'y'"),
	finding(hostile.LocalOutside, "", "set local role x"),
	finding(hostile.LoadedLibrary, "", "load 'auto_explain'"),
	finding(hostile.ResetsOthers, "DISCARD ALL", ""),
	finding(hostile.ResetsOthers, "RESET ALL", ""),
	finding(hostile.SyncsInFlight, "", "select $1"),
	finding(hostile.FunctionState, "setseed", "select setseed(0.25)"),
	finding(hostile.StalePID, "", "select pg_cancel_backend($1)"),
	finding(hostile.HeldForGood, "pipeline without its Sync", "select 1"),
	finding(hostile.HeldForGood, "rows of a COPY after its error", "copy t from stdin"),
	finding(hostile.StaleStatement, "late", "select * from late"),
	finding(hostile.NeverGivenBack, "", "begin"),
	finding(hostile.GoesOn, "", "insert into t values (1)"),
	finding(hostile.SentTwice, "", "insert into t values (1)"),
	finding(hostile.LockLost, "job", "delete from job returning n"),
	finding(hostile.LockLost, "lock", "select pg_advisory_xact_lock(1)"),
}

// Each script shows its fault through PgBouncer 1.18 or 1.24, started as the
// README says, and nothing on PostgreSQL itself: so that it can fail.
func TestEveryKindAgainstPgBouncer(t *testing.T) {
	direct := pgtest.Database(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "made", "by write")
	if err := Write(dir, hostile.Report{Findings: every}, Server{u.Hostname(), uint16(port), u.User.Username(), strings.TrimPrefix(u.Path, "/")}); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	covered, used := map[hostile.Code]bool{}, map[string]bool{}
	for _, f := range every {
		covered[f.Code] = true
		name := fileName(f, used)
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(readme, []byte("\npython3 "+name+" ")) {
				t.Error("the README does not say how to run it")
			}
			want, last := 1, "\nnot seen: "
			switch f.Code {
			case hostile.LocalOutside, // PostgreSQL's own rule
				hostile.NeverGivenBack, hostile.GoesOn, hostile.SentTwice, hostile.LockLost: // the script plays the bad day itself
				want, last = 0, "\nseen: "
			case hostile.StartupParameter:
				last = "not seen: "
			}
			if said, status := runScript(t, dir, name, direct); status != want || !strings.Contains("\n"+said, last) {
				t.Errorf("on PostgreSQL itself it exits with %d, want %d:\n%s", status, want, said)
			}
			version := "1.18"
			if f.Code == hostile.StaleStatement { // 1.18 tracks none
				version = "1.24"
			}
			if said, status := runScript(t, dir, name, pgbouncer(t, dir, version)); status != 0 || !strings.Contains("\n"+said, "\nseen: ") {
				t.Errorf("through PgBouncer it exits with %d:\n%s", status, said)
			}
		})
	}
	for _, c := range hostile.Codes() {
		if !covered[c] {
			t.Errorf("no script of %s was run", c)
		}
	}
}

// Whatever setting a program sets for its session, the script finds another
// value for it, and the connection goes on. Left out are the settings of one
// transaction, and those that have one value in this build.
func TestAnotherValueOfEverySetting(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `select name from pg_settings where context in ('user', 'superuser')
		and name not like 'transaction\_%' and name <> 'default_table_access_method' and min_val is not distinct from nullif(min_val, max_val)
		union all select 'transaction_timeout' from pg_settings where name = 'transaction_timeout' order by name`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) < 150 {
		t.Fatalf("%d settings: %v", len(names), err)
	}
	for _, name := range names {
		var before, after string
		if err := conn.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&before); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := conn.Exec(t.Context(), anotherValue(name)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := conn.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&after); err != nil || after == before {
			t.Errorf("%s: %q is still %q: %v", name, before, after, err)
		}
		if _, err := conn.Exec(t.Context(), "reset "+identifier(name)); err != nil {
			t.Errorf("reset %s: %v", name, err)
		}
	}
}

// A script that cannot be played says what to do about it.
func TestScriptsThatCannotBePlayed(t *testing.T) {
	dir := t.TempDir()
	pg, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{Dir: filepath.Join(dir, "pg"), Password: "pa55word"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(pg.Stop(context.Background()), os.RemoveAll(pg.Dir())); err != nil {
			t.Error(err)
		}
	})
	if err := Write(dir, hostile.Report{Findings: every[3:4]}, Server{"127.0.0.1", uint16(pg.Port()), "postgres", "postgres"}); err != nil { //nolint:gosec // a port
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deserted := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DATABASE_URL", "")
	name := fileName(every[3], map[string]bool{})
	for url, want := range map[string]string{
		"":                             "say where PgBouncer listens: python3 " + name,
		"postgres://repro@" + deserted: "start PgBouncer as README.md says",
		fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres", pg.Port()): "the server wants a password",
	} {
		if said, status := runScript(t, dir, name, url); status != 2 || !strings.Contains(said, want) || strings.Contains(said, "Traceback") {
			t.Errorf("%q: it exits with %d, and does not say %q: %s", url, status, want, said)
		}
	}
}

func runScript(t *testing.T, dir, name, url string) (said string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "python3", name, url)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// pgbouncer starts PgBouncer of a version with the configuration that was written, on a
// port of its own, until the test ends.
func pgbouncer(t *testing.T, dir, version string) string {
	t.Helper()
	ini, err := os.ReadFile(filepath.Join(dir, "pgbouncer.ini"))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		_, port, _ := strings.Cut(addr, ":")
		own := bytes.Replace(ini, []byte("listen_port = 6433"), []byte("listen_port = "+port), 1)
		file := filepath.Join(t.TempDir(), "pgbouncer.ini")
		if err := os.WriteFile(file, own, 0o600); err != nil {
			t.Fatal(err)
		}
		binary, err := devdb.FindProgram(t.Context(), devdb.PgBouncerProgram, version)
		if err != nil {
			t.Fatal(err)
		}
		args := binary.Args
		if os.Geteuid() == 0 {
			args = append(args, "-u", "postgres")
		}
		cmd := exec.CommandContext(context.Background(), binary.Path, append(args, file)...)
		cmd.Dir = "/"
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // it is killed
			close(ended)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended by itself
			<-ended
		})
		if listening(t, addr, ended) {
			return fmt.Sprintf("postgres://repro@%s/repro", addr)
		}
		<-ended
		if !strings.Contains(log.String(), "Address already in use") {
			t.Fatalf("PgBouncer does not start:\n%s", &log)
		}
	}
	t.Fatal("no port is free")
	return ""
}

func listening(t *testing.T, addr string, ended <-chan struct{}) bool {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			return conn.Close() == nil
		}
		select {
		case <-ended:
			return false
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("PgBouncer does not listen")
		}
	}
}

// A finding that the baseline knows gets no script, and no finding no folder's
// worth of files.
func TestKnownFindingsGetNoScript(t *testing.T) {
	dir := t.TempDir()
	f := every[3]
	f.Known = true
	if err := Write(dir, hostile.Report{Findings: []hostile.Finding{f}}, Server{}); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%v %v", files, err)
	}
}

// The pooler's configuration takes any name, and holds no more than it must.
func TestServerIsQuoted(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, hostile.Report{Findings: every[:1]}, Server{"/var/run/my sockets", 5433, "o'hara", "app"}); err != nil {
		t.Fatal(err)
	}
	ini, err := os.ReadFile(filepath.Join(dir, "pgbouncer.ini"))
	if want := "repro = host='/var/run/my sockets' port=5433 dbname=app user='o''hara'\n"; err != nil || !strings.Contains(string(ini), want) {
		t.Errorf("%v, want %q in\n%s", err, want, ini)
	}
}

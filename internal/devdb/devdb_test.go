package devdb_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
)

// childDir makes this test binary run a server in that folder and wait to be
// killed: see TestServersDieWithTheirParent.
const childDir = "DEVDB_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		runChild(dir)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, cfg devdb.PostgresConfig) *devdb.Postgres {
	t.Helper()
	p, err := devdb.StartPostgres(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(p.Halt(ctx), os.RemoveAll(p.Dir())); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return p
}

// folder is a temporary folder that root's servers can enter, unlike t.TempDir's.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "poolproof-devdb-") //nolint:usetesting // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the temporary folder: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func exec1(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var got string
	if err := conn.QueryRow(t.Context(), sql, pgx.QueryExecModeExec).Scan(&got); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// within waits until ok holds.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func TestDataSurvivesStopAndStart(t *testing.T) {
	dir := filepath.Join(folder(t), "pg")
	p := start(t, devdb.PostgresConfig{Dir: dir})
	exec1(t, p.AdminURL(), "CREATE TABLE kept AS SELECT 'here' AS what")
	port := p.Port()
	if _, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{Dir: dir}); !errors.Is(err, devdb.ErrInUse) {
		t.Fatalf("a second server in the same folder: %v, want ErrInUse", err)
	}
	if got := exec1(t, p.AdminURL(), "SELECT what FROM kept"); got != "here" {
		t.Fatalf("the refused second start disturbed the first: %q", got)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !devdb.PortFree(port) {
		t.Fatalf("port %d is still taken after Stop", port)
	}
	again := start(t, devdb.PostgresConfig{Dir: dir, Port: port})
	if again.Port() != port {
		t.Errorf("port %d, want %d", again.Port(), port)
	}
	if got := exec1(t, again.AdminURL(), "SELECT what FROM kept"); got != "here" {
		t.Errorf("the row is %q", got)
	}
}

// Servers with a template have what one initdb made, and nothing of each other.
func TestTemplate(t *testing.T) {
	kept := filepath.Join(folder(t), "kept")
	dirs := []string{folder(t), folder(t)} // two that begin at once, where none is kept yet
	var both sync.WaitGroup
	var servers [2]*devdb.Postgres
	var errs [2]error
	for i, dir := range dirs {
		both.Go(func() {
			servers[i], errs[i] = devdb.StartPostgres(t.Context(), devdb.PostgresConfig{Dir: dir, Template: kept})
		})
	}
	both.Wait()
	for _, p := range servers {
		if p == nil {
			t.Fatal(errs)
		}
		exec1(t, p.AdminURL(), "create table written (by_one int)")
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(kept)
	if err != nil || len(entries) != 1 {
		t.Fatalf("kept: %v, %v", entries, err)
	}
	identifiers := map[string]bool{}
	for range 2 {
		p := start(t, devdb.PostgresConfig{Dir: folder(t), Template: kept})
		if got := exec1(t, p.AdminURL(), "select coalesce(to_regclass('written')::text, '')"); got != "" {
			t.Errorf("a server begins with the table %s of another", got)
		}
		identifiers[exec1(t, p.AdminURL(), "select system_identifier::text from pg_control_system()")] = true
	}
	own := start(t, devdb.PostgresConfig{Dir: folder(t)})
	identifiers[exec1(t, own.AdminURL(), "select system_identifier::text from pg_control_system()")] = true
	if len(identifiers) != 2 {
		t.Errorf("system identifiers %v: want the template's, and its own where no template is asked for", identifiers)
	}
}

func TestOnlyLoopbackAndNoSocket(t *testing.T) {
	p := start(t, devdb.PostgresConfig{Dir: filepath.Join(folder(t), "pg")})
	if got := exec1(t, p.AdminURL(), "SELECT current_setting('listen_addresses') || '|' || current_setting('unix_socket_directories')"); got != "127.0.0.1|" {
		t.Errorf("listens on %q", got)
	}
}

func TestPasswords(t *testing.T) {
	dir := folder(t)
	p := start(t, devdb.PostgresConfig{Dir: filepath.Join(dir, "pg"), Password: "s3 cr/et"})
	exec1(t, p.AdminURL(), "CREATE ROLE app LOGIN PASSWORD 'app-pw'")
	refused := func(what, url string) {
		t.Helper()
		if conn, err := pgx.Connect(t.Context(), url); err == nil {
			_ = conn.Close(t.Context())
			t.Errorf("%s: let in", what)
		}
	}
	refused("no password", p.URL("app", "postgres"))
	refused("wrong password", strings.Replace(p.URL("app", "postgres"), "app@", "app:wrong@", 1))
	if _, err := os.Stat(filepath.Join(p.Dir(), "initdb-password")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file with initdb's password is left behind: %v", err)
	}

	binary, err := devdb.FindPgBouncer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := devdb.StartPgBouncer(t.Context(), devdb.PgBouncerConfig{
		Binary: binary, Dir: filepath.Join(dir, "bouncer"), Upstream: p, Users: map[string]string{"app": "app-pw"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if got := exec1(t, b.URL("app", "app-pw", "postgres"), "SELECT current_user::text"); got != "app" {
		t.Errorf("through PgBouncer current_user is %q", got)
	}
	refused("wrong password through PgBouncer", b.URL("app", "wrong", "postgres"))
	refused("superuser through PgBouncer", b.URL(devdb.Superuser, "s3 cr/et", "postgres"))
	refused("superuser without a password through PgBouncer", b.URL(devdb.Superuser, "", "postgres"))
	exec1(t, p.AdminURL(), "CREATE ROLE late LOGIN PASSWORD 'late-pw'")
	if err := b.AddUsers(t.Context(), map[string]string{"late": "late-pw"}); err != nil {
		t.Fatal(err)
	}
	for user, password := range map[string]string{"app": "app-pw", "late": "late-pw"} {
		if got := exec1(t, b.URL(user, password, "postgres"), "SELECT current_user::text"); got != user {
			t.Errorf("after AddUsers current_user is %q, want %q", got, user)
		}
	}
	config, err := os.Stat(filepath.Join(b.Dir(), "users.txt"))
	if err != nil || config.Mode().Perm() != 0o600 {
		t.Errorf("the file with passwords has mode %v, %v", config, err)
	}
}

// A folder that only root can enter cannot be entered by the account that root's
// servers run under.
func TestFolderThatTheServerCannotEnter(t *testing.T) {
	closed := filepath.Join(folder(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "pg")
	p := start(t, devdb.PostgresConfig{Dir: dir})
	exec1(t, p.AdminURL(), "SELECT 'ok'")
	if os.Geteuid() != 0 {
		if p.Dir() != dir {
			t.Errorf("an ordinary user's data is in %s, want %s", p.Dir(), dir)
		}
		return
	}
	if strings.HasPrefix(p.Dir(), closed) {
		t.Fatalf("the data is in %s", p.Dir())
	}
	note, err := os.ReadFile(filepath.Join(dir, "WHERE-THE-DATA-IS.txt"))
	if err != nil || !strings.Contains(string(note), p.Dir()) {
		t.Errorf("the note says %q, %v; want it to name %s", note, err, p.Dir())
	}
	exec1(t, p.AdminURL(), "CREATE TABLE kept AS SELECT 'here' AS what")
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	p = start(t, devdb.PostgresConfig{Dir: dir})
	if got := exec1(t, p.AdminURL(), "SELECT what FROM kept"); got != "here" {
		t.Errorf("after a restart the row is %q", got)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Whoever removes the folder means its data, wherever that is.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p = start(t, devdb.PostgresConfig{Dir: dir, Password: "new"})
	if got := exec1(t, p.AdminURL(), "SELECT coalesce(to_regclass('kept')::text, 'gone')"); got != "gone" {
		t.Errorf("the data of the removed folder is still there: %q", got)
	}
	st, err := os.Stat(closed)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the closed folder was opened: %v, %v", st.Mode(), err)
	}
}

func TestFailureShowsTheServersOwnWords(t *testing.T) {
	_, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{
		Dir: filepath.Join(folder(t), "pg"), Settings: map[string]string{"shared_buffers": "nonsense"},
	})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
		t.Errorf("got %v, want the server's message", err)
	}
}

func TestAnotherPasswordIsNamed(t *testing.T) {
	dir := filepath.Join(folder(t), "pg")
	if err := start(t, devdb.PostgresConfig{Dir: dir, Password: "first"}).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{Dir: dir, Password: "second"})
	if err == nil || !strings.Contains(err.Error(), "another password") || strings.Contains(err.Error(), "second") {
		t.Errorf("got %v, want it to say so, without the password", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("said so only after %v", took)
	}
}

func TestServersDieWithTheirParent(t *testing.T) {
	dir := filepath.Join(folder(t), "pg")
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q, %v", line, err)
	}
	var pid, port, bouncer int
	if _, err := fmt.Sscan(line, &pid, &port, &bouncer); err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	if devdb.PortFree(port) || devdb.PortFree(bouncer) {
		t.Fatal("the child's servers do not run")
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // says only that it was killed
	within(t, 15*time.Second, "PostgreSQL and PgBouncer end with the process that started them", func() bool {
		return devdb.PortFree(port) && devdb.PortFree(bouncer) && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	})
}

func runChild(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	ctx := context.Background()
	p, err := devdb.StartPostgres(ctx, devdb.PostgresConfig{Dir: dir})
	if err != nil {
		fail(err)
	}
	binary, err := devdb.FindPgBouncer(ctx)
	if err != nil {
		fail(err)
	}
	b, err := devdb.StartPgBouncer(ctx, devdb.PgBouncerConfig{Binary: binary, Dir: dir + "-bouncer", Upstream: p})
	if err != nil {
		fail(err)
	}
	pidFile, err := os.ReadFile(filepath.Join(p.Dir(), "pgdata", "postmaster.pid"))
	if err != nil {
		fail(err)
	}
	pid, _, _ := strings.Cut(string(pidFile), "\n")
	if _, err := fmt.Fprintln(os.Stdout, pid, p.Port(), b.Port()); err != nil {
		fail(err)
	}
	select {} // until killed
}

// A server whose parent died without taking it along (elsewhere than on Linux)
// still runs, but nobody holds the folder: the next start stops it first.
func TestLeftoverServerIsStopped(t *testing.T) {
	dir := filepath.Join(folder(t), "pg")
	first := start(t, devdb.PostgresConfig{Dir: dir})
	exec1(t, first.AdminURL(), "CREATE TABLE kept AS SELECT 'here' AS what")
	if err := os.Remove(filepath.Join(first.Dir(), "lock")); err != nil { // as if its holder were gone
		t.Fatal(err)
	}
	done := first.Done()
	second := start(t, devdb.PostgresConfig{Dir: dir})
	select {
	case <-done:
	default:
		t.Error("the first server still runs")
	}
	if got := exec1(t, second.AdminURL(), "SELECT what FROM kept"); got != "here" {
		t.Errorf("the row is %q", got)
	}
}

// A pid file can name a process that is something else by now.
func TestStalePidFileOfAnotherProgram(t *testing.T) {
	dir := filepath.Join(folder(t), "pg")
	first := start(t, devdb.PostgresConfig{Dir: dir})
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), "sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	stale := fmt.Sprintf("%d\n%s\n0\n5432\n\n\n\nready\n", other.Process.Pid, filepath.Join(first.Dir(), "pgdata"))
	if err := os.WriteFile(filepath.Join(first.Dir(), "pgdata", "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, devdb.PostgresConfig{Dir: dir})
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other program was ended: %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // says only that it was killed
}

package pgtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/devdb"
)

// setUp is what installs whatever a test misses.
const setUp = "make setup"

// fixtures are this test process's servers.
type fixtures struct {
	mu        sync.Mutex
	dir       string
	server    *devdb.Postgres
	poolers   map[Kind]*pooler
	templates map[string]string // databases by the name that Copy was asked for
	databases int
	private   int
	ends      []func() error // see AtEnd
}

var shared fixtures

// Main runs a package's tests, then each of the checks that look at what all of
// them did together, and stops every server they used. It is the whole body of
// TestMain; it ends the process, with status 1 if a check fails or a server
// could not be stopped. Where only some of the tests were asked for, or one
// failed, there are no checks. What was given to [AtEnd] runs before the servers
// stop.
func Main(m *testing.M, checks ...func() error) {
	status := m.Run()
	if status == 0 && allTests() {
		for _, check := range checks {
			if err := check(); err != nil {
				fmt.Fprintln(os.Stderr, "FAIL:", err)
				status = 1
			}
		}
	}
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: stop what the tests used:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

// AtEnd has [Main] call end when all tests have run: it stops what they shared.
func AtEnd(end func() error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.ends = append(shared.ends, end)
}

// allTests reports whether every test of the package has run.
func allTests() bool {
	for _, narrowing := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(narrowing); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// Server returns this test process's PostgreSQL, which it starts the first time,
// and again if a test has killed it. Its superuser is devdb.Superuser; every
// user may log in without a password, so while tests run any account of this
// machine can be its superuser, who may run programs as the account that the
// server runs under. Commits survive Kill (but not a crash of
// the machine: fsync is off).
func Server(t testing.TB) *devdb.Postgres {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	return shared.startServer(t)
}

func (f *fixtures) startServer(t testing.TB) *devdb.Postgres {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // a first start may download
	defer cancel()
	if f.server != nil {
		if err := f.server.Start(ctx); err != nil {
			t.Fatalf("start PostgreSQL again: %v", err)
		}
		return f.server
	}
	dir := f.folder(t)
	server, err := devdb.StartPostgres(ctx, devdb.PostgresConfig{
		Dir:      filepath.Join(dir, "postgres"),
		Template: template(t),
		Settings: map[string]string{
			"max_connections":            "300",
			"max_wal_size":               "512MB", // it may be in memory
			"log_min_duration_statement": "-1",
			// A connection is a fork, which copies what maps the shared memory; a worker of
			// autovacuum comes to each of many databases that live for a second.
			"shared_buffers": "16MB",
			"autovacuum":     "off",
		},
	})
	if err != nil {
		t.Fatalf("start PostgreSQL (%q installs it): %v", setUp, err)
	}
	f.server = server
	return server
}

// template is where the data folder is kept that all servers begin with.
func template(t testing.TB) string {
	t.Helper()
	cache, err := devdb.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "data")
}

// folder is this process's own temporary folder, named by its id, so that a
// later run can tell that it was left behind.
func (f *fixtures) folder(t testing.TB) string {
	t.Helper()
	if f.dir != "" {
		return f.dir
	}
	parent := roomy(memory, os.TempDir())
	for _, tmp := range []string{os.TempDir(), parent} {
		if err := removeLeftovers(tmp); err != nil {
			t.Fatalf("remove what an earlier run left behind: %v", err)
		}
	}
	dir, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-", folderPrefix, os.Getpid())) //nolint:usetesting // it lives as long as the process
	if err != nil {
		t.Fatalf("make a temporary folder: %v", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the servers' account must pass through
		t.Fatalf("make a temporary folder: %v", err)
	}
	f.dir = dir
	return dir
}

// memory is where Linux keeps files in memory, and room is how many bytes must be
// free there, for the servers of the test processes that run beside each other.
// To make and drop a database is to write and remove hundreds of files: on a disk
// that takes longer than many a test.
const (
	memory = "/dev/shm"
	room   = 4 << 30
)

// roomy returns dir if it is there and has room, else the other one. Who sets
// TMPDIR has chosen a folder, so that it is the other one then.
func roomy(dir, other string) string {
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(dir, &fs) != nil || uint64(fs.Bavail)*uint64(fs.Bsize) < room { //nolint:unconvert // a size is not negative; its type differs between systems
		return other
	}
	return dir
}

const folderPrefix = "poolproof-pgtest-"

// removeLeftovers removes the folders of test processes that have died. Their
// servers have died with them.
func removeLeftovers(tmp string) error {
	dirs, err := filepath.Glob(filepath.Join(tmp, folderPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		name := strings.TrimPrefix(filepath.Base(dir), folderPrefix)
		number, _, _ := strings.Cut(name, "-")
		pid, err := strconv.Atoi(number)
		if err != nil || pid <= 0 {
			continue // not ours
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

func (f *fixtures) stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var errs []error
	for _, end := range f.ends {
		errs = append(errs, end())
	}
	for _, p := range f.poolers {
		errs = append(errs, p.stop())
	}
	if f.server != nil {
		errs = append(errs, f.server.Kill(), f.server.Stop(ctx), os.RemoveAll(f.server.Dir()))
	}
	if f.dir != "" {
		errs = append(errs, os.RemoveAll(f.dir))
	}
	return errors.Join(errs...)
}

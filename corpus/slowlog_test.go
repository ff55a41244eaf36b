package corpus

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// slowLog is where a server writes its log: a disk that may stand still. A
// backend that cannot write its line waits, and its statement_timeout runs.
type slowLog struct {
	server *devdb.Postgres
	filler *pgx.Conn  // writes the lines that nobody waits for
	still  sync.Mutex // held: nothing is written
}

// app is the user that the schemas of -cases know, and of a server with a slow log,
// which logs and, after 0.5 s, stops its statements.
const app = "app"

// withSlowLog starts a server of the test's own with a slow log and the programs'
// schema, and returns the URL of the database for its superuser.
func withSlowLog(t *testing.T) (s *slowLog, direct string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "poolproof-log-") //nolint:usetesting // t.TempDir is closed to the account that root's servers run under
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o755, path: 0o622} { //nolint:gosec // the server's account writes it
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := os.OpenFile(path, os.O_RDWR, 0) // both, so that opening waits for nobody
	if err != nil {
		t.Fatal(err)
	}
	s = &slowLog{}
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			s.still.Lock()
			s.still.Unlock() //nolint:staticcheck // it waits while the disk stands still
			if _, err := lines.Read(buffer); err != nil {
				return // closed
			}
		}
	})
	t.Cleanup(func() { // when the server has ended
		_ = lines.Close()
		reading.Wait()
	})
	s.server = pgtest.PrivateServer(t, "host all all 127.0.0.1/32 trust\n", map[string]string{ //nolint:dupword // the file's columns
		"logging_collector": "on", "log_directory": dir, "log_filename": "log", "log_rotation_age": "0",
	})
	execAt(t, s.server.AdminURL(), "create role corpus_reader; create role "+app+" login; alter role "+app+" set statement_timeout = '500ms'; alter role "+app+" set log_statement = 'all'")
	execAt(t, s.server.AdminURL(), "create database corpus")
	direct = s.server.URL(devdb.Superuser, "corpus")
	execAt(t, direct, "alter default privileges grant all on tables to "+app+"; alter default privileges grant all on sequences to "+app+";"+schema)
	if s.filler, err = pgx.Connect(t.Context(), direct+"&"+beside); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.filler.Close(context.WithoutCancel(t.Context())) })
	return s, direct
}

// stop lets the disk stand still, and returns when nothing of what is on its way
// to it has room; resume lets it go on.
func (s *slowLog) stop(ctx context.Context) (resume func()) {
	s.still.Lock()
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		// More than the pipes and the collector hold: it waits in the middle.
		_, _ = s.filler.Exec(context.WithoutCancel(ctx), "do $$begin for n in 1..64 loop raise log '%', repeat('x', 8000); end loop; end$$", pgx.QueryExecModeSimpleProtocol)
	}()
	return func() {
		s.still.Unlock()
		<-filled
	}
}

// as is a URL for another user.
func as(t *testing.T, user, raw string) string {
	t.Helper()
	u := parsed(t, raw)
	u.User = url.User(user)
	return u.String()
}

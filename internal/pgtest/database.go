package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/devdb"
)

// Database makes an empty database for one test and returns its direct URL, as
// the superuser, who owns it. It is dropped at the test's end, whoever is still
// connected. Roles belong to the server: tests that make some give them names of
// their own or make them idempotently.
func Database(t testing.TB) string {
	t.Helper()
	return create(t, "")
}

// owner is the role that owns the databases of Owned.
const owner = "poolproof_owner"

// Owned hands a database of Database or Copy to a role that may do what
// docs/production.md asks of a schema's owner and nothing else, and returns its
// direct URL as that role: it may log in and make roles, and row-level security
// that is forced binds it. All databases of a test process have the same owner,
// because the roles that it makes belong to the server.
func Owned(t testing.TB, database string) string {
	t.Helper()
	err := admin(t, `do $$ begin
		if not exists (select from pg_roles where rolname = '`+owner+`') then
			create role `+owner+` login createrole nosuperuser nocreatedb noreplication nobypassrls;
		end if;
	end $$`)
	u := parse(t, database)
	if err == nil {
		err = admin(t, "ALTER DATABASE "+pgx.Identifier{strings.TrimPrefix(u.Path, "/")}.Sanitize()+" OWNER TO "+owner)
	}
	if err != nil {
		t.Fatalf("give the database an owner: %v", err)
	}
	u.User = url.User(owner)
	return u.String()
}

func create(t testing.TB, options string) string {
	t.Helper()
	shared.mu.Lock()
	server := shared.startServer(t)
	shared.databases++
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), shared.databases)
	shared.mu.Unlock()

	if err := admin(t, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" STRATEGY file_copy"+options); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		if err := admin(t, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return server.URL(devdb.Superuser, name)
}

// Copy is Database with something in it: the first time that a name is asked
// for, fill fills a database, which stays as long as this test process, and
// every database of that name is a copy of it. That takes a tenth of the time of
// migrating one. fill leaves no connection open.
func Copy(t testing.TB, name string, fill func(url string)) string {
	t.Helper()
	template := filled(t, name, fill)
	return create(t, " TEMPLATE "+pgx.Identifier{template}.Sanitize())
}

// filling is held while a template is filled: tests that run at once fill it once.
var filling sync.Mutex

func filled(t testing.TB, name string, fill func(url string)) (template string) {
	t.Helper()
	filling.Lock()
	defer filling.Unlock()
	shared.mu.Lock()
	server := shared.startServer(t)
	template = shared.templates[name]
	shared.mu.Unlock()
	if template == "" {
		template = fmt.Sprintf("template_%d_%s", os.Getpid(), name)
		if err := admin(t, "CREATE DATABASE "+pgx.Identifier{template}.Sanitize()); err != nil {
			t.Fatalf("create a database: %v", err)
		}
		fill(server.URL(devdb.Superuser, template))
		shared.mu.Lock()
		if shared.templates == nil {
			shared.templates = map[string]string{}
		}
		shared.templates[name] = template
		shared.mu.Unlock()
	}
	return template
}

// admins are the superuser's connections to the database postgres that nobody
// uses at the moment. To make one for each statement took a third of the time of
// an empty database.
var admins = make(chan *pgx.Conn, 4)

// admin runs a statement as superuser, on the database postgres.
func admin(t testing.TB, sql string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := adminConn(ctx, Server(t).AdminURL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.Exec(ctx, sql); err != nil {
		_ = conn.Close(ctx) // what went wrong is known
		return fmt.Errorf("%s: %w", sql, err)
	}
	select {
	case admins <- conn:
		return nil
	default:
		return conn.Close(ctx)
	}
}

// adminConn is one of admins that still lives, or a new one: a test may have
// killed the server since.
func adminConn(ctx context.Context, url string) (*pgx.Conn, error) {
	for {
		select {
		case conn := <-admins:
			if conn.Ping(ctx) == nil {
				return conn, nil
			}
			_ = conn.Close(ctx)
		default:
			return pgx.Connect(ctx, url)
		}
	}
}

// ServerLog is what this test process's PostgreSQL has logged since it was last
// started: every error of every test, with what was sent.
func ServerLog(t testing.TB) string {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(Server(t).Dir(), "postgres.log"))
	if err != nil {
		t.Fatalf("read the server's log: %v", err)
	}
	return string(log)
}

package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// Through pgpool-II in raw mode several statements before one Sync are no
// transaction. Every command that takes a database's URL does what it says
// there, or refuses and does nothing; the owner obeys row-level security.
func TestCommandsThroughRawPgpool(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.Pgpool43, pgtest.Pgpool46} {
		t.Run(kind.String(), func(t *testing.T) {
			superuser := pgtest.Database(t)
			owner := "owner_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
			name := pgx.Identifier{owner}.Sanitize()
			sql(t, superuser, "create role "+name+" login createrole")
			dropLogin(t, superuser, owner)
			sql(t, superuser, "do $$ begin execute format('alter database %I owner to "+name+"', current_database()); end $$")
			u, err := url.Parse(pgtest.Pooled(t, superuser, kind))
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.User(owner)
			t.Setenv("DIRECT_URL", u.String())
			succeeds := func(want string, args ...string) {
				t.Helper()
				if r := command(t, args...); r.code != 0 || !strings.Contains(r.stdout, want) {
					t.Errorf("%q: %d %s %s", args, r.code, r.stdout, r.stderr)
				}
			}
			rows := func(want, of string) {
				t.Helper()
				if got := scalar(t, superuser, "select count(*)::text from "+of); got != want {
					t.Errorf("%s rows of %s, want %s", got, of, want)
				}
			}
			succeeds("not yet", "migrate", "status")
			login := "app_" + strings.ReplaceAll(uuid.NewString(), "-", "")
			succeeds("DATABASE_URL=postgres", "migrate", "up", "--login", login)
			dropLogin(t, superuser, login)
			succeeds("up to date", "migrate", "up")
			succeeds("VERSION", "migrate", "status")
			for range 2 { // the second time changes nothing
				succeeds(testUser, "bootstrap", "--user", testUser, "--email", "a@b.example")
			}
			rows("1", "poolproof.platform")
			rows("1", "poolproof.tenants")
			rows("1", "poolproof.profiles")
			command(t, "bootstrap", "--user", uuid.NewString(), "--email", "x@b.example").wantFailure(t, "GLOBAL_ADMIN")
			succeeds("-", "tenant", "create", "Last Apple", "--admin", testUser)
			command(t, "tenant", "create", "Last Apple", "--admin", testUser).wantFailure(t, "last-apple")
			succeeds("Last Apple", "tenant", "list")
			succeeds("(the platform)", "tenant", "list")
			rows("2", "poolproof.tenants")
			// An import reads a consistent whole, or nothing: it refuses, and says what to do.
			legacy := legacyDatabase(t)
			command(t, "import-legacy", "--from", legacy, "--yes").wantError(t, exitUsage, "splits transactions", "the server's own address")
			command(t, "import-legacy", "--from", pgtest.Pooled(t, legacy, kind), "--direct-url", superuser, "--yes").wantError(t, exitUsage, "splits transactions", "the server's own address")
			rows("2", "poolproof.tenants")

			d := newDatabase(t)
			served := serve(t, pgtest.Pooled(t, d.url, kind))
			served.wantReady(t)
			if status, _, body := served.ask(t.Context(), "POST", rolesPath, `{"name":"Made through pgpool"}`); status != 201 {
				t.Errorf("a new role: %d %s", status, body)
			}
			if status, _, body := served.ask(t.Context(), "GET", rolesPath, ""); status != 200 || !strings.Contains(body, "Made through pgpool") {
				t.Errorf("roles: %d %s", status, body)
			}
			if got := scalar(t, d.owner, "select count(*)::text from poolproof.roles where name = 'Made through pgpool'"); got != "1" {
				t.Errorf("%s roles were made", got)
			}
		})
	}
}

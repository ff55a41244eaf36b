// Package migrated makes databases for tests that hold poolproof's schema. A test
// process migrates once for each kind of them; the databases are copies, which
// takes a tenth of the time. Tests of migrating itself do not use it.
package migrated

import (
	"net/url"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

// Login is the name of the runtime login. It belongs to the server, so every
// database of a test process has the same.
const Login = "poolproof_service"

// Super is the SUPER_ADMIN of [migrations.DemoTenant] in every database of [Demo].
var Super = uuid.New()

// made is what the runtime login's URL was when a template was migrated.
var made struct {
	sync.Mutex
	login map[string]*url.URL
}

// Database makes a database with the schema for one test, as [pgtest.Database]
// does. It returns two direct URLs: the superuser's, whom no policy binds, and
// the runtime login's. The schema belongs to the role of [pgtest.Owned].
func Database(t testing.TB) (super, login string) {
	t.Helper()
	return database(t, "schema", nil)
}

// Demo is Database with the demo data in it.
func Demo(t testing.TB) (super, login string) {
	t.Helper()
	return database(t, "demo", func(owner string) {
		if err := migrations.Demo(t.Context(), owner, Super); err != nil {
			t.Fatalf("demo data: %v", err)
		}
	})
}

func database(t testing.TB, template string, more func(owner string)) (super, login string) {
	t.Helper()
	super = pgtest.Copy(t, template, func(database string) {
		owner := pgtest.Owned(t, database)
		up, err := migrations.Up(t.Context(), owner, migrations.Options{Login: Login})
		if err != nil {
			t.Fatalf("migrating: %v", err)
		}
		if more != nil {
			more(owner)
		}
		at, err := url.Parse(up.LoginURL)
		if err != nil {
			t.Fatalf("the runtime login's URL: %v", err)
		}
		made.Lock()
		defer made.Unlock()
		if made.login == nil {
			made.login = map[string]*url.URL{}
		}
		made.login[template] = at
	})
	pgtest.Owned(t, super)
	here, err := url.Parse(super)
	if err != nil {
		t.Fatalf("the database's URL: %v", err)
	}
	made.Lock()
	defer made.Unlock()
	at := *made.login[template]
	at.Path = here.Path
	return super, at.String()
}

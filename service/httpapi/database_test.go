package httpapi

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/migrations"
)

// A database takes another's place under requests: what is under way ends on the one that it began with, what comes meanwhile is answered by
// the new one at once, and only then is the old one unused.
func TestADatabaseTakesAnothersPlace(t *testing.T) {
	s := newService(t)
	auth := []string{"Authorization", "Bearer " + signed(t, super, ""), "X-Tenant-ID", testTenant}
	conn := s.connect(t)
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is lost
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // it was, or the test has failed
	if _, err := tx.Exec(t.Context(), "select from poolproof.tenants where id = $1 for update", migrations.DemoTenant); err != nil {
		t.Fatal(err)
	}
	made := make(chan answer, 1)
	go func() {
		made <- send(t, s.url, "POST", "/api/v3/rbac/roles", strings.NewReader(`{"name":"made on the old one"}`), append(auth, "Content-Type", "application/json")...)
	}()
	before := s.api.stores.Load()
	for before.db.Stat().AcquiredConns() == 0 { // the POST has not begun
		runtime.Gosched()
	}

	db, err := poolproof.Open(t.Context(), poolproof.Config{URL: s.login})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	wait := s.api.SetDatabase(db)
	unused := make(chan struct{})
	go func() { wait(); close(unused) }()
	for range 20 { // none of them waits for the request that is under way, or for those who wait for it
		if a := send(t, s.url, "GET", "/api/v3/rbac/roles", nil, auth...); a.StatusCode != http.StatusOK {
			t.Errorf("meanwhile: %d %s", a.StatusCode, a.body)
		}
	}
	select {
	case <-unused:
		t.Error("the old database is said to be unused, and a request waits there")
	case <-made:
		t.Error("the request did not wait for the lock")
	default:
	}
	if db.Stat().AcquireCount() < 20 {
		t.Error("the new database was not asked")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := <-made; a.StatusCode != http.StatusCreated {
		t.Errorf("the request that was under way: %d %s", a.StatusCode, a.body)
	}
	<-unused
	if n := before.db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections of the old one are out", n)
	}
}

package poolproof_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// The library is what it preaches: on a pooler that breaks whatever the
// protocol lets it break, 16 tenants' sessions work, and nothing is found.
func TestConformanceOnTheHostilePooler(t *testing.T) {
	f := newFixture(t, 16)
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe} {
		for _, form := range forms {
			t.Run(string(m)+"/"+string(form), func(t *testing.T) {
				p, url := hostile.StartWith(t, hostile.Config{Upstream: f.url})
				db := open(t, url, mode(m), scoped(form))
				if r := db.Report(); !r.Present || r.NamedStatements || !r.ImplicitScope {
					t.Errorf("the probe: %s", r)
				}
				var workers sync.WaitGroup
				for i := range 16 {
					workers.Go(func() {
						w := worker{t: t, db: db, tenant: tenant(i), transactions: true}
						for range pgtest.Pick(1, 4) {
							if err := w.round(t.Context()); err != nil {
								t.Errorf("tenant %d: %v", i, err)
								return
							}
						}
					})
				}
				workers.Wait()
				for _, found := range p.Report().Findings {
					t.Errorf("%s %s %s: %s", found.Code, found.Title, found.Subject, found.First.SQL)
				}
			})
		}
	}
}

// Beside a client that leaves another tenant's id behind, that client is what
// is found, and the library's tenants see none of it.
func TestHostilePoolerTellsWhoLeaks(t *testing.T) {
	f := newFixture(t, 16)
	f.exec(t, "insert into documents (tenant_id, body) select '"+victim+"', 'of tenant "+victim+"' from generate_series(1, 100)")
	p, url := hostile.StartWith(t, hostile.Config{Upstream: f.url})
	conform(t, f, url, pgtest.PgBouncer118Transaction, 2, mode(poolproof.ModeExec))
	leaks := 0
	for _, found := range p.Report().Findings {
		switch {
		case found.Code == hostile.SessionSetting && found.Subject == poolproof.DefaultTenantSetting:
			leaks = found.Count
		case found.Code == hostile.SettingNotSet && strings.HasPrefix(found.First.SQL, "select coalesce(nullif(current_setting("):
			// the bystander, who looks for what is left
		default:
			t.Errorf("%s %s: %s", found.Code, found.Subject, found.First.SQL)
		}
	}
	if leaks == 0 {
		t.Error("the leak was not found")
	}
}

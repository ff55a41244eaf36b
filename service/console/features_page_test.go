package console_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// feature returns a feature's value that the demo tenant has set: on, off or unset.
func (s *service) feature(t *testing.T, name string) string {
	t.Helper()
	return one[string](t, s, `select coalesce((select case when t.enabled then 'on' else 'off' end
		from poolproof.tenant_features t join poolproof.features f on f.id = t.feature_id where t.tenant_id = $1 and f.name = $2), 'unset')`, s.tenant, name)
}

// The page that toggles a tenant's features, with lamps and log as the page of
// roles has them.
func TestATenantsFeaturesAreToggled(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.visit(s.url + "/test-rbac-tenants.html")
	p.connect(s.token, s.tenant)
	p.shows("#tenant-name", "Last Apple")
	p.shows("#count", "4 of 8 features on")
	for lamp, want := range map[string]string{"api": "ok", "token": "accepted", "database": "ok", "pooler": "transaction"} {
		p.shows(`[data-lamp="`+lamp+`"][data-state="ok"]`, want)
	}
	p.click(`[data-feature="localminer"]`)
	p.shows("#count", "5 of 8 features on")
	p.shows("#log-rows", "/api/v4/features/tenant")
	if got := s.feature(t, "localminer"); got != "on" {
		t.Errorf("localminer is %s in the database", got)
	}
	p.click(`[data-feature="contentmap"]`)
	p.shows("#count", "4 of 8 features on")
	if got := s.feature(t, "contentmap"); got != "off" {
		t.Errorf("contentmap is %s in the database", got)
	}
	p.fill("#filter", "mail")
	p.until(`[...document.querySelectorAll('#feature-rows li')].filter((li) => li.checkVisibility()).length === 1`)
	p.reload()
	p.shows("#count", "4 of 8 features on")

	// Somebody who may not: the switch goes back and says why.
	p.click("#forget")
	p.until(`document.querySelector('#connect-form').checkVisibility()`)
	if all := eval[string](p, `document.querySelector('main').innerText`); strings.Contains(all, "localminer") {
		t.Error("the tenant's features are still on the page")
	}
	p.connect(tokenOf(t, uuid.MustParse(ben), time.Hour), s.tenant)
	p.shows("#read-only", "configure_features")
	p.expect(403)
	p.click(`[data-feature="socialradar"]`)
	p.shows(`#feature-rows .problem [data-fact="code"]`, "forbidden")
	if shown, asked := p.text(`#feature-rows [data-fact="request-id"]`), p.requestIDOf(403); shown == "" || shown != asked {
		t.Errorf("the page shows request id %q, the answer had %q", shown, asked)
	}
	if eval[bool](p, `document.querySelector('[data-feature="socialradar"]').checked`) || s.feature(t, "socialradar") != "unset" {
		t.Error("a refused switch stays switched")
	}
}

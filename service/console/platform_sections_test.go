package console_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/migrations"
)

// platform opens a section as the platform's administrator.
func (p *page) platform(s *service, section string) {
	p.t.Helper()
	p.console(s, section, tokenOf(p.t, migrations.DemoPlatformAdmin, time.Hour), migrations.DemoPlatform.String())
}

// A gate of a sidebar item is changed, and the preview follows what a front end
// would show.
func TestASidebarItemsGatesAreChanged(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.platform(s, "sidebar")
	const dashboard = `#sidebar-preview [data-path="/dashboard"]`
	p.shows(dashboard, "Dashboard")
	id := one[string](t, s, `select id::text from poolproof.sidebar_items where url_path = '/dashboard'`)
	feature := one[string](t, s, `select id::text from poolproof.features where name = 'localminer'`)
	gates := func() string {
		return one[string](t, s, `select title || '/' || coalesce(feature_id::text, '') || '/' || coalesce(permission, '') || '/' || display_order
			from poolproof.sidebar_items where id = $1`, id)
	}
	row := fmt.Sprintf(`#sidebar-list tr[data-item-id="%s"] `, id)

	p.click(row + `[data-action="edit"]`)
	p.choose("#item-feature-id", feature)
	p.click("#item-submit")
	p.until(`!document.querySelector('#item-dialog').open && !document.querySelector(` + quote(dashboard) + `)`)
	p.shows(row+".col-gates", "localminer off")
	p.shows(row+".col-shown", "hidden")
	if got := gates(); got != "Dashboard/"+feature+"//150" {
		t.Errorf("the database holds %q", got)
	}
	// The feature on: the gate holds, and the preview shows the item again.
	p.section("features")
	p.click(`[data-feature="localminer"]`)
	p.until(`document.querySelector('[data-feature="localminer"]').ariaBusy === null`)
	p.section("sidebar")
	p.shows(dashboard, "Dashboard")

	// Title, order and the other gate; the first gate is taken away.
	p.click(row + `[data-action="edit"]`)
	p.fill("#item-title", "Start")
	p.fill("#item-display-order", "5")
	p.choose("#item-feature-id", "")
	p.choose("#item-required-permission", "view_dashboard")
	p.click("#item-submit")
	p.shows(dashboard, "Start")
	if got := gates(); got != "Start//view_dashboard/5" {
		t.Errorf("the database holds %q", got)
	}
	if first := eval[string](p, `document.querySelector('#sidebar-preview li').dataset.path`); first != "/dashboard" {
		t.Errorf("the first item of the preview is %s", first)
	}
	// Refused: the field says why, and nothing changes.
	p.expect(400)
	p.click(row + `[data-action="edit"]`)
	p.fill("#item-path", "no path")
	p.press(kb.Enter)
	p.shows("#item-path-error", "be a path on this site")
	if got := one[string](t, s, `select url_path from poolproof.sidebar_items where id = $1`, id); got != "/dashboard" {
		t.Errorf("the path in the database is %q", got)
	}
}

// A tenant is made with its first administrator, renamed, and deleted only by
// force; the platform itself is not.
func TestATenantIsMadeAndDeletedByForce(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.platform(s, "tenants")
	if got := p.offered(); got != "Roles Members Features Sidebar Tenants Audit Doctor" {
		t.Errorf("the platform's administrator is offered %q", got)
	}
	p.shows("#tenants-count", "3 tenants")
	admin := uuid.NewString()

	p.expect(400, 403, 409)
	p.click("#tenants-new")
	p.fill("#tenant-new-name", "Acme Works")
	p.press(kb.Enter)
	p.shows("#tenant-new-admin-user-id-error", "not a UUID")
	if p.focused() != "tenant-new-admin-user-id" {
		t.Errorf("the focus is on %q, want the field at fault", p.focused())
	}
	p.fill("#tenant-new-admin-user-id", admin)
	p.press(kb.Enter)
	p.until(`!document.querySelector('#tenant-new-dialog').open`)
	p.shows("#tenants-count", "4 tenants")
	id := one[string](t, s, `select id::text from poolproof.tenants where slug = 'acme-works' and name = 'Acme Works'`)
	if n := one[int](t, s, `select count(*)::int from poolproof.user_roles u join poolproof.roles r on r.tenant_id = u.tenant_id and r.id = u.role_id
		where u.tenant_id = $1 and u.user_id = $2 and r.name = 'SUPER_ADMIN'`, id, admin); n != 1 {
		t.Error("its administrator is no SUPER_ADMIN in the database")
	}
	row := fmt.Sprintf(`#tenants-list tr[data-tenant-id="%s"] `, id)

	p.click(row + `[data-action="edit"]`)
	p.fill("#tenant-edit-name", "Acme")
	p.fill("#tenant-edit-slug", "last-apple")
	p.press(kb.Enter)
	p.shows(`#tenant-edit-problem [data-fact="code"]`, "name_taken")
	p.fill("#tenant-edit-slug", "acme")
	p.press(kb.Enter)
	p.until(`!document.querySelector('#tenant-edit-dialog').open`)
	p.shows(row+".col-tenant-name", "acme")
	if got := one[string](t, s, `select name || '/' || slug from poolproof.tenants where id = $1`, id); got != "Acme/acme" {
		t.Errorf("the database holds %q", got)
	}

	count := func() int {
		return one[int](t, s, `select (select count(*) from poolproof.tenants where id = $1)::int + (select count(*) from poolproof.profiles where tenant_id = $1)::int`, id)
	}
	p.click(row + `[data-action="delete"]`)
	p.click("#delete-confirm")
	p.shows(`#delete-problem [data-fact="code"]`, "in_use")
	p.shows("#delete-problem", "profiles (1)")
	if p.focused() != "delete-cancel" || count() != 2 {
		t.Fatalf("the focus is on %q, and %d rows of 2 are left", p.focused(), count())
	}
	p.click("#delete-force")
	p.until(`!document.querySelector(` + quote(row) + `)`)
	if count() != 0 {
		t.Errorf("%d rows of the tenant are still in the database", count())
	}
	p.shows("#tenants-count", "3 tenants")

	p.click(fmt.Sprintf(`#tenants-list tr[data-tenant-id="%s"] [data-action="delete"]`, migrations.DemoPlatform))
	p.click("#delete-confirm")
	p.shows(`#delete-problem [data-fact="code"]`, "forbidden")
	if n := one[int](t, s, `select count(*)::int from poolproof.tenants`); n != 3 {
		t.Errorf("%d tenants in the database, want 3", n)
	}
}

// The catalogue of features is the platform's; a tenant's value stands above
// its default.
func TestAFeatureIsAddedToTheCatalogue(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.platform(s, "features")
	p.click("#features-new")
	p.fill("#feature-name", "priceprobe")
	p.choose("#feature-default-enabled", "true")
	p.click("#feature-submit")
	p.shows("#features-count", "1 of 9 features on")
	if got := one[string](t, s, `select name || '/' || default_enabled from poolproof.features where name = 'priceprobe'`); got != "priceprobe/true" {
		t.Errorf("the database holds %q", got)
	}
	p.click(`[data-feature="priceprobe"]`)
	p.shows("#features-count", "0 of 9 features on")
	p.shows("#feature-rows li:has([data-feature=priceprobe]) .switch-facts", "default on")
	if got := one[string](t, s, `select string_agg(t.enabled::text, ' ') from poolproof.tenant_features t join poolproof.features f on f.id = t.feature_id where f.name = 'priceprobe'`); got != "false" {
		t.Errorf("the database holds %q", got)
	}
	p.expect(403, 409, 400)
	p.click(`#feature-rows button[aria-label="Edit contentmap"]`)
	p.click("#feature-extra")
	p.click("#delete-confirm")
	p.until(`document.querySelector('#delete-problem [data-fact="request-id"]')`)
	if n := one[int](t, s, `select count(*)::int from poolproof.features`); n != 9 {
		t.Errorf("%d features in the database, want 9", n)
	}
}

// The operator of the platform reads what the doctor found, what changed and what to do; nobody else is shown any of it.
func TestTheDoctorsReport(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.platform(s, "doctor")
	p.shows("#doctor-state", "Not looked at yet")
	p.shows("#doctor-verdict", "nobody has looked yet")
	s.examined(t)
	p.click("#doctor-again")
	p.shows("#doctor-state", "Faults")
	p.shows("#doctor-verdict", "tenants are not isolated")
	p.shows("#section-doctor", "pgbouncer 1.19.1 or earlier in transaction mode")
	p.shows("#doctor-changes", "session → transaction")
	p.shows("#doctor-changes", "PD004 poolproof.audit_log")
	p.shows(`#doctor-findings [data-code="PD004"]`, "row-level security is off")
	p.shows(`#doctor-findings [data-code="PD004"]`, "every tenant reads and writes the whole table")
	p.shows("#doctor-findings", "alter table poolproof.audit_log enable row level security;")

	// A tenant's SUPER_ADMIN is offered nothing of it, and an address does not help.
	p.click("#sign-out")
	p.console(s, "roles", s.token, s.tenant)
	if got := p.offered(); strings.Contains(got, "Doctor") {
		t.Errorf("SUPER_ADMIN of a tenant is offered %q", got)
	}
	p.visit(s.url + "/#doctor")
	p.shows("#section-doctor .notice", "manage_tenants")
	if got := eval[string](p, `document.documentElement.outerHTML`); strings.Contains(got, "pgbouncer") || strings.Contains(got, "poolproof.audit_log") {
		t.Error("the page of a tenant's SUPER_ADMIN holds the report")
	}
}

package console_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/poolproof/poolproof/internal/chromium"
	"github.com/poolproof/poolproof/service/migrations"
)

// everyRule asks for WCAG 2.2 A and AA and for good practice; contrast alone is
// what differs between light and dark.
const (
	everyRule    = `{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }`
	contrastOnly = `{ runOnly: { type: 'rule', values: ['color-contrast'] } }`
)

// accessible fails with what axe finds in the tab.
func (p *page) accessible(what, rules string) {
	p.t.Helper()
	if !eval[bool](p, `'axe' in window`) {
		eval[bool](p, chromium.Axe(p.t)+"; true")
	}
	// What is fading in or out has the colours of neither state.
	p.until(`document.getAnimations().every((a) => a.playState !== 'running' || a.effect.getComputedTiming().iterations === Infinity)`)
	for _, found := range p.violations(rules) {
		p.t.Errorf("%s: %s", what, found)
	}
}

// violations returns what axe finds: in the open dialog, if there is one, for
// then the rest of the page cannot be reached.
func (p *page) violations(rules string) []string {
	p.t.Helper()
	return eval[[]string](p, `axe.run(document.querySelector('dialog[open]') ?? document, `+rules+`).then((r) =>
		r.violations.flatMap((v) => v.nodes.map((n) => v.id + ': ' + n.target.join(' ') + ' ' + n.failureSummary.replace(/\s+/g, ' '))))`)
}

// everywhere calls look on every section and every dialog of the console. In
// narrow windows roles are cards.
func (p *page) everywhere(s *service, narrow bool, look func(what string)) {
	p.t.Helper()
	dialog := func(what, button, id string) {
		p.t.Helper()
		p.click(button)
		p.until(fmt.Sprintf(`document.querySelector('#%s').open`, id))
		look(what)
		p.press(kb.Escape)
		p.until(fmt.Sprintf(`!document.querySelector('#%s').open`, id))
	}
	p.section("roles")
	look("roles")
	dialog("a new role", "#roles-new", "role-dialog")
	if narrow {
		lead := fmt.Sprintf(`#role-cards [data-role-id="%d"] `, one[int](p.t, s, `select max(id) from poolproof.roles where tenant_id = $1`, migrations.DemoPlatform))
		p.click(lead + `[data-action="permissions"]`)
		p.shows("#permissions-count", " of ")
		look("a role's permissions")
		p.press(kb.Escape)
	} else {
		p.click(`#roles-matrix [data-cell="USER manage_tenants"]`)
		p.until(`document.querySelector('#roles-matrix [aria-busy]') === null`)
	}
	p.section("members")
	look("members")
	dialog("a new member", "#members-new", "member-dialog")
	dialog("a member", `#members-list [data-action="edit"]`, "profile-dialog")
	p.click(`#members-list [data-action="roles"]`)
	p.until(`document.querySelector('#member-roles-list li')`)
	look("a member's roles")
	p.press(kb.Escape)
	p.section("features")
	look("features")
	dialog("a new feature", "#features-new", "feature-dialog")
	p.section("sidebar")
	look("the sidebar")
	dialog("a sidebar item", `#sidebar-list [data-action="edit"]`, "item-dialog")
	p.section("tenants")
	look("tenants")
	dialog("a new tenant", "#tenants-new", "tenant-new-dialog")
	dialog("a tenant's name", `#tenants-list [data-action="edit"]`, "tenant-edit-dialog")
	p.click(fmt.Sprintf(`#tenants-list tr[data-tenant-id="%s"] [data-action="delete"]`, migrations.DemoOtherTenant))
	p.click("#delete-confirm")
	p.shows("#delete-problem", "in_use")
	look("a deletion that was refused")
	p.press(kb.Escape)
	p.section("audit")
	look("the audit log")
	p.fill("#audit-actor", "nobody")
	p.click("#audit-apply")
	p.shows("#audit-problem", "invalid")
	look("a problem")
	p.click("#audit-reset")
	p.ready("audit")
	p.section("doctor")
	p.shows("#doctor-findings", "alter table poolproof.audit_log enable row level security;")
	look("the doctor's report")
}

// axe finds nothing on any page, section or dialog, in light and in dark.
func TestAxeFindsNothing(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.expect(400, 409)
	p.visit(s.url + "/")
	p.until(`document.querySelector('#signin').checkVisibility()`)
	p.accessible("the sign-in", everyRule)
	// It would see a fault, of light and of dark.
	eval[bool](p, `(() => {
		const fault = document.createElement('input');
		document.querySelector('main').append(fault);
		document.querySelector('.lede').style.color = 'silver';
		return true;
	})()`)
	if found := strings.Join(p.violations(everyRule), " "); !strings.Contains(found, "label: ") || !strings.Contains(found, "color-contrast: ") {
		t.Fatalf("axe does not see a field without a label and silver on white: %s", found)
	}
	p.reload()
	p.platform(s, "roles")
	s.examined(t)
	// A role that inherits: every kind of cell is in the matrix.
	s.exec(t, `insert into poolproof.roles (tenant_id, id, name) values ($1, 90, 'Heir')`, migrations.DemoPlatform)
	s.exec(t, `insert into poolproof.role_parents (tenant_id, role_id, parent_id) values ($1, 90, 1)`, migrations.DemoPlatform)
	both := func(what string) {
		p.accessible(what+" in light", everyRule)
		p.scheme("dark")
		p.accessible(what+" in dark", contrastOnly)
		p.scheme("light")
	}
	p.scheme("light")
	p.everywhere(s, false, both)
	for _, name := range []string{"/test-rbac-role.html", "/test-rbac-tenants.html"} {
		p.visit(s.url + name)
		p.shows("#who", "@")
		both(name)
	}
	p.visit(s.url + "/#roles")
	p.ready("roles")
	p.size(360, 740)
	p.ready("roles")
	p.accessible("roles on a phone", everyRule)
}

// On a phone nothing has to be scrolled sideways.
func TestTheConsoleFitsAPhone(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.expect(400, 409)
	s.examined(t)
	// The longest names that the service takes.
	s.exec(t, `insert into poolproof.roles (tenant_id, id, name, description) values ($1, 90, repeat('Longwinded', 10), repeat('without_any_space', 20))`, migrations.DemoPlatform)
	s.exec(t, `update poolproof.profiles set name = repeat('Maximilian', 20), email = repeat('maximilian', 20) || '@example.org' where tenant_id = $1`, migrations.DemoPlatform)
	s.exec(t, `update poolproof.tenants set name = repeat('Enterprise', 20) where id = $1`, migrations.DemoOtherTenant)
	p.size(360, 740)
	p.visit(s.url + "/")
	p.until(`document.querySelector('#signin').checkVisibility()`)
	p.fitsWidth("the sign-in")
	p.touch = true
	p.platform(s, "roles")
	look := func(what string) {
		p.fingers(what)
		p.size(360, 740)
		p.fitsWidth(what)
	}
	p.everywhere(s, true, look)
	p.click("#who")
	p.until(`document.querySelector('#me').matches(':popover-open')`)
	look("who I am")
	p.press(kb.Escape)
	p.click("#log summary")
	look("the request log")
	p.visit(s.url + "/#nonsense")
	p.shows("#section-not-found", "nonsense")
	look("an address of nothing")
	p.touch = false
	p.size(360, 740)
	p.visit(s.url + "/test-rbac-tenants.html")
	p.shows("#count", "features on")
	p.fitsWidth("the features page")
	for _, width := range []int64{320, 700, 800, 1000, 1100} {
		p.size(width, 800)
		for _, name := range []string{"roles", "members", "sidebar", "tenants", "audit", "doctor"} {
			p.visit(s.url + "/#" + name)
			p.ready(name)
			p.fitsWidth(fmt.Sprintf("%s at %d px", name, width))
		}
	}
}

// Light and dark differ. Where POOLPROOF_SCREENSHOTS names a folder, the
// guide's pictures are written there.
func TestTheConsoleInLightAndDark(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	s.ask(t, "PUT", "/api/v3/rbac/roles/7", `{"description":"Looks at everything, changes nothing"}`)
	s.ask(t, "POST", "/api/v3/rbac/users/"+ben+"/roles", `{"role_id":7,"expires_at":"`+time.Now().AddDate(0, 3, 0).UTC().Format(time.RFC3339)+`"}`)
	s.ask(t, "PUT", "/api/v3/profiles/"+ada, `{"email":"ada.nyberg@last-apple.example"}`)
	s.ask(t, "POST", "/api/v4/features/tenant", `{"feature_name":"localminer","enabled":true}`)
	p.size(1280, 860)
	p.console(s, "roles", s.token, s.tenant)
	p.shows(`[data-lamp="pooler"]`, "transaction")
	pictured := []string{"members"}
	if os.Getenv("POOLPROOF_SCREENSHOTS") != "" {
		pictured = []string{"roles", "members", "features", "sidebar", "audit"}
	}
	background := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		for _, name := range pictured {
			p.section(name)
			p.picture(fmt.Sprintf("console-%s-%s.png", name, scheme))
		}
		background[scheme] = eval[string](p, `getComputedStyle(document.documentElement).backgroundColor`)
	}
	if background["light"] == background["dark"] {
		t.Errorf("light and dark are both %s", background["light"])
	}
	p.click("#sign-out")
	p.scheme("light")
	p.platform(s, "tenants")
	p.picture("console-tenants-light.png")
	if os.Getenv("POOLPROOF_SCREENSHOTS") != "" {
		s.examined(t)
		p.section("doctor")
		p.picture("console-doctor-light.png")
	}
	p.size(360, 740)
	p.section("roles")
	p.picture("console-phone.png")
	if strings.Contains(eval[string](p, `document.documentElement.outerHTML`), "Content editor") {
		t.Error("the platform's console holds another tenant's roles")
	}
}

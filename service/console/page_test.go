package console_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/poolproof/poolproof/service/migrations"
)

// The whole life of a role, done in the page by hand and looked up in the
// database after every step.
func TestARoleIsCreatedEditedGivenPermissionsAndDeleted(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.open(s)
	before := one[int](t, s, `select count(*)::int from poolproof.roles`)

	// Create.
	p.click("#new-role")
	p.fill("#role-name", "Page reviewer")
	p.fill("#role-description", "Made in a browser")
	p.click("#role-submit")
	p.until(`!document.querySelector('#role-dialog').open`)
	id := s.roleID(t, "Page reviewer")
	p.shows(row(id, ".role-name"), "Page reviewer")
	p.shows(row(id, ".col-desc"), "Made in a browser")
	if got := one[string](t, s, `select description from poolproof.roles where tenant_id = $1 and id = $2`, s.tenant, id); got != "Made in a browser" {
		t.Errorf("the database holds the description %q", got)
	}
	if n := one[int](t, s, `select count(*)::int from poolproof.roles`); n != before+1 {
		t.Errorf("%d roles in all tenants, want %d: one more", n, before+1)
	}

	// The same name again: refused, with code and request id, and nothing written.
	p.expect(409)
	p.click("#new-role")
	p.fill("#role-name", "Page reviewer")
	p.press(kb.Enter)
	p.shows(`#role-problem [data-fact="code"]`, "name_taken")
	asked := p.requestIDOf(409)
	if shown := p.text(`#role-problem [data-fact="request-id"]`); shown == "" || shown != asked {
		t.Errorf("the page shows request id %q, the answer had %q", shown, asked)
	}
	if p.focused() != "role-name" || !eval[bool](p, `document.querySelector('#role-name').ariaInvalid === 'true'`) {
		t.Error("the name field is not marked as the one at fault")
	}
	p.shows("#log-rows li.failed .log-id", asked)
	p.press(kb.Escape)
	p.until(`!document.querySelector('#role-dialog').open`)
	if n := s.roles(t, "Page reviewer"); n != 1 {
		t.Errorf("%d roles of that name, want 1", n)
	}

	// A name of blanks: the field says what the service said of it.
	p.expect(400)
	p.click("#new-role")
	p.fill("#role-name", "   ")
	p.press(kb.Enter)
	p.shows(`#role-problem [data-fact="code"]`, "invalid")
	p.until(`document.querySelector('#role-name-error').textContent !== ''`)
	p.click("#role-dialog [data-close]")

	// Edit.
	p.click(row(id, `[data-action="edit"]`))
	p.fill("#role-name", "Senior reviewer")
	p.fill("#role-description", "Changed in a browser")
	p.click("#role-submit")
	p.until(`!document.querySelector('#role-dialog').open`)
	p.shows(row(id, ".role-name"), "Senior reviewer")
	if got := one[string](t, s, `select name || '/' || description from poolproof.roles where tenant_id = $1 and id = $2`, s.tenant, id); got != "Senior reviewer/Changed in a browser" {
		t.Errorf("the database holds %q", got)
	}
	if n := s.roles(t, "Page reviewer"); n != 0 {
		t.Errorf("%d roles still have the old name", n)
	}

	// Give two permissions and take one back.
	p.click(row(id, `[data-action="permissions"]`))
	p.shows("#permissions-count", "0 of ")
	for _, name := range []string{"view_dashboard", "manage_users"} {
		p.click(box(name))
		p.until(fmt.Sprintf(`document.querySelector(%s).checked`, quote(box(name))))
	}
	p.shows("#permissions-count", "2 of ")
	if got := s.permissions(t, id); got != "manage_users view_dashboard" {
		t.Errorf("the role holds %q in the database", got)
	}
	p.click(box("manage_users"))
	p.shows("#permissions-count", "1 of ")
	if got := s.permissions(t, id); got != "view_dashboard" {
		t.Errorf("the role holds %q in the database", got)
	}

	// One that cannot be given here stays unticked and says why.
	p.expect(400, 403)
	p.fill("#permissions-filter", "manage_tenants")
	p.click(box("manage_tenants"))
	p.until(`document.querySelector('.permission .problem [data-fact="request-id"]')`)
	if eval[bool](p, fmt.Sprintf(`document.querySelector(%s).checked`, quote(box("manage_tenants")))) {
		t.Error("a refused permission is shown as given")
	}
	if got := s.permissions(t, id); got != "view_dashboard" {
		t.Errorf("the role holds %q in the database", got)
	}
	p.press(kb.Escape)
	p.until(`!document.querySelector('#permissions-dialog').open`)

	// Delete: asked first, and Cancel means no.
	p.click(row(id, `[data-action="delete"]`))
	p.click("#delete-cancel")
	p.until(`!document.querySelector('#delete-dialog').open`)
	if n := s.roles(t, "Senior reviewer"); n != 1 {
		t.Fatalf("%d roles after Cancel, want 1", n)
	}
	p.click(row(id, `[data-action="delete"]`))
	p.click("#delete-confirm")
	p.until(fmt.Sprintf(`!document.querySelector(%s)`, quote(row(id, ""))))
	if n := s.roles(t, "Senior reviewer"); n != 0 {
		t.Errorf("%d roles after the deletion, want none", n)
	}
	if n := one[int](t, s, `select count(*)::int from poolproof.roles`); n != before {
		t.Errorf("%d roles in all tenants, want %d as before", n, before)
	}
	if p.focused() != "new-role" {
		t.Errorf("after the deletion the focus is on %q", p.focused())
	}
}

func box(permission string) string {
	return fmt.Sprintf(`#permissions-list [data-permission="%s"]`, permission)
}

// A role that people hold is not deleted by the first click, nor by pressing
// Enter twice.
func TestARoleWithMembersIsDeletedOnlyByForce(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.open(s)
	id := s.roleID(t, "Campaign lead")
	members := func() int {
		return one[int](t, s, `select count(*)::int from poolproof.user_roles where tenant_id = $1 and role_id = $2`, s.tenant, id)
	}
	if members() == 0 {
		t.Fatal("nobody holds the role in the demo data")
	}
	p.expect(409)
	p.click(row(id, `[data-action="delete"]`))
	p.click("#delete-confirm")
	p.shows(`#delete-problem [data-fact="code"]`, "role_has_members")
	p.shows("#delete-problem", fmt.Sprint(members()))
	if p.focused() != "delete-cancel" {
		t.Errorf("the focus is on %q, want Cancel", p.focused())
	}
	p.press(kb.Enter)
	p.until(`!document.querySelector('#delete-dialog').open`)
	if s.roles(t, "Campaign lead") != 1 || members() == 0 {
		t.Fatal("the role or its members are gone without force")
	}

	p.click(row(id, `[data-action="delete"]`))
	p.click("#delete-confirm")
	p.click("#delete-force")
	p.until(fmt.Sprintf(`!document.querySelector(%s)`, quote(row(id, ""))))
	if s.roles(t, "Campaign lead") != 0 || members() != 0 {
		t.Error("the role or an assignment is still in the database")
	}
}

func TestSystemRolesAreNeitherRenamedNorDeleted(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.open(s)
	id := s.roleID(t, "ADMIN")
	p.click(row(id, `[data-action="delete"]`))
	p.shows("#toast", "system role")
	if eval[bool](p, `document.querySelector('#delete-dialog').open`) {
		t.Error("the page offers to delete a system role")
	}
	p.shows("#system-note", "cannot be deleted")

	p.click(row(id, `[data-action="edit"]`))
	p.shows("#role-name-help", "keeps its name")
	if !eval[bool](p, `document.querySelector('#role-name').readOnly`) {
		t.Error("the name of a system role can be typed over")
	}
	p.fill("#role-description", "Described anew")
	p.click("#role-submit")
	p.until(`!document.querySelector('#role-dialog').open`)
	if got := one[string](t, s, `select name || '/' || description from poolproof.roles where tenant_id = $1 and id = $2`, s.tenant, id); got != "ADMIN/Described anew" {
		t.Errorf("the database holds %q", got)
	}
}

// What was stored as text is shown as text.
func TestMarkupInARoleStaysText(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	const hostile = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`
	if _, err := s.owner.Exec(t.Context(), `update poolproof.roles set name = $3, description = $3 where tenant_id = $1 and id = $2`,
		s.tenant, s.roleID(t, "Auditor"), hostile); err != nil {
		t.Fatal(err)
	}
	p.open(s)
	id := s.roleID(t, hostile)
	p.shows(row(id, ".role-name"), hostile)
	p.click(row(id, `[data-action="permissions"]`))
	p.shows("#permissions-title", hostile)
	p.press(kb.Escape)
	p.click(row(id, `[data-action="delete"]`))
	p.shows("#delete-title", hostile)
	if n := eval[int](p, `document.querySelectorAll('main img, main script, dialog img, dialog script').length`); n != 0 {
		t.Errorf("%d elements were made from a role's name", n)
	}
	if title := eval[string](p, `document.title`); strings.Contains(title, "taken") {
		t.Error("a role's name ran as a script")
	}
}

// A refused token or tenant leads to its field; a good one is never in an
// address and is gone when it is forgotten.
func TestConnecting(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.expect(401, 403)
	p.visit(s.url + "/test-rbac-role.html")
	p.connect("not.a.token", s.tenant)
	p.shows(`#connect-problem [data-fact="code"]`, "unauthenticated")
	p.shows(`[data-lamp="token"]`, "refused")
	if p.focused() != "token" {
		t.Errorf("after 401 the focus is on %q, want the token field", p.focused())
	}

	p.connect(s.token, migrations.DemoOtherTenant.String())
	p.shows(`#connect-problem [data-fact="code"]`, "not_a_member")
	if p.focused() != "tenant" {
		t.Errorf("after 403 the focus is on %q, want the tenant field", p.focused())
	}
	if offered := eval[string](p, `[...document.querySelectorAll('#tenants option')].map((o) => o.value).join()`); offered != s.tenant {
		t.Errorf("the tenants offered are %q, want the caller's own only", offered)
	}
	if all := eval[string](p, `document.documentElement.outerHTML`); strings.Contains(all, "Field researcher") || strings.Contains(all, "Voice") {
		t.Error("the page holds another tenant's data")
	}
	if eval[bool](p, `document.querySelector('#roles').checkVisibility()`) {
		t.Error("a table is shown without a tenant")
	}

	p.connect("Bearer "+s.token, s.tenant)
	p.shows("#tenant-name", "Last Apple")
	for lamp, want := range map[string]string{"api": "ok", "token": "accepted", "database": "ok", "pooler": "transaction"} {
		p.shows(fmt.Sprintf(`[data-lamp="%s"][data-state="ok"]`, lamp), want)
	}
	if rows, want := eval[int](p, `document.querySelectorAll('#rows tr[data-role-id]').length`),
		one[int](t, s, `select count(*)::int from poolproof.roles where tenant_id = $1`, s.tenant); rows != want {
		t.Errorf("%d rows shown, %d roles in the tenant", rows, want)
	}

	// The tab keeps it over a reload.
	p.reload()
	p.shows("#tenant-name", "Last Apple")
	if where := eval[string](p, `location.href`); where != s.url+"/test-rbac-role.html" {
		t.Errorf("the address became %q", where)
	}
	if kept := eval[string](p, `JSON.stringify(localStorage) + document.cookie`); kept != "{}" {
		t.Errorf("kept beyond the tab: %s", kept)
	}

	p.click("#forget")
	p.until(`document.querySelector('#connect-form').checkVisibility() && sessionStorage.length === 0`)
	if all := eval[string](p, `document.documentElement.outerHTML + document.querySelector('#token').value`); strings.Contains(all, s.token) || strings.Contains(all, "Content editor") {
		t.Error("the page still holds the token or the tenant's roles")
	}
	p.reload()
	p.until(`document.querySelector('#connect-form').checkVisibility()`)
}

// What poolproof dev writes can be pasted as it is.
func TestAPastedEnvironmentFileFillsBothFields(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.visit(s.url + "/test-rbac-role.html")
	file := fmt.Sprintf("POOLPROOF_URL=%s\nexport POOLPROOF_TOKEN='%s'\nPOOLPROOF_TENANT=%s\nDATABASE_URL=postgres://x\n", s.url, s.token, s.tenant)
	eval[bool](p, fmt.Sprintf(`(() => {
		const clipboardData = new DataTransfer();
		clipboardData.setData('text/plain', %s);
		const paste = new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true });
		return document.querySelector('#token').dispatchEvent(paste);
	})()`, quote(file)))
	if got := eval[string](p, `document.querySelector('#token').value + ' ' + document.querySelector('#tenant').value`); got != s.token+" "+s.tenant {
		t.Errorf("the fields hold %q", got)
	}
	if p.focused() != "connect-submit" {
		t.Errorf("the focus is on %q, want Connect", p.focused())
	}
	p.press(kb.Enter)
	p.shows("#tenant-name", "Last Apple")
}

// While the database is away the page says so, keeps what it showed, and finds
// out by itself when it is back.
func TestTheLampsFollowTheDatabase(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.open(s)
	p.expect(503)
	s.api.SetDatabase(nil)
	p.click("#refresh")
	p.shows(`#roles-problem [data-fact="code"]`, "unavailable")
	p.click("#check")
	p.shows(`[data-lamp="database"][data-state="bad"]`, "unavailable")
	p.shows(`[data-lamp="api"][data-state="ok"]`, "ok")
	if eval[int](p, `document.querySelectorAll('#rows tr[data-role-id]').length`) == 0 {
		t.Error("the rows that were shown are gone")
	}
	s.api.SetDatabase(s.db)
	p.shows(`[data-lamp="database"][data-state="ok"]`, "ok")
	p.click("#roles-problem button")
	p.until(`document.querySelector('#roles-problem').childElementCount === 0`)
}

// Everything within reach of the keyboard alone.
func TestTheKeyboardIsEnough(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.open(s)
	p.reload()
	p.shows("#tenant-name", "Last Apple")
	p.press(kb.Tab)
	if text := eval[string](p, `document.activeElement.textContent`); text != "Skip to the roles" {
		t.Errorf("the first Tab reaches %q", text)
	}
	p.tabTo("new-role")
	p.press(kb.Enter)
	p.until(`document.activeElement.id === 'role-name'`)
	p.press("Typed only" + kb.Enter)
	p.until(`!document.querySelector('#role-dialog').open`)
	id := s.roleID(t, "Typed only")
	p.shows(row(id, ".role-name"), "Typed only")
	if p.focused() != "new-role" {
		t.Errorf("after the dialog the focus is on %q, want where it came from", p.focused())
	}
	p.focus(row(id, `[data-action="permissions"]`))
	p.press(kb.Enter)
	p.shows("#permissions-count", "0 of ")
	p.focus(box("view_dashboard"))
	p.press(" ")
	p.shows("#permissions-count", "1 of ")
	if got := s.permissions(t, id); got != "view_dashboard" {
		t.Errorf("the role holds %q in the database", got)
	}
	p.press(kb.Escape)
	p.until(fmt.Sprintf(`document.activeElement === document.querySelector(%s)`, quote(row(id, `[data-action="permissions"]`))))
}

// tabTo presses Tab until an element has the focus.
func (p *page) tabTo(id string) {
	p.t.Helper()
	for range 60 {
		if p.focused() == id {
			return
		}
		p.press(kb.Tab)
	}
	p.t.Fatalf("60 Tabs do not reach #%s", id)
}

// On a narrow phone nothing has to be scrolled sideways; light and dark differ.
// With POOLPROOF_SCREENSHOTS naming a folder, the pictures for the README are
// written there.
func TestItFitsAPhoneAndBothColourSchemes(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.open(s)
	p.size(360, 740)
	p.fitsWidth("the list")
	if eval[bool](p, `document.querySelector('#rows tr').getBoundingClientRect().width > 360`) {
		t.Error("a row is wider than the screen")
	}
	id := s.roleID(t, "Content editor")
	p.click(row(id, `[data-action="permissions"]`))
	p.shows("#permissions-count", " of ")
	p.fitsWidth("the permissions")
	p.press(kb.Escape)
	p.click("#new-role")
	p.fitsWidth("the dialog")
	p.press(kb.Escape)
	p.click("#change")
	p.fitsWidth("the connection")
	p.click("#connect-cancel")

	for _, width := range []int64{320, 700, 900, 1041} {
		p.size(width, 800)
		p.fitsWidth(fmt.Sprintf("the list at %d px", width))
		if narrow := eval[int](p, `Math.min(...[...document.querySelectorAll('#rows td.col-desc')].map((e) => e.clientWidth))`); narrow < 150 {
			t.Errorf("at %d px a description has %d px", width, narrow)
		}
	}

	p.size(1280, 860)
	background := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		p.reload()
		p.shows("#tenant-name", "Last Apple")
		p.shows(`[data-lamp="pooler"]`, "transaction")
		background[scheme] = eval[string](p, `getComputedStyle(document.documentElement).backgroundColor`)
		p.picture("roles-" + scheme + ".png")
	}
	if background["light"] == background["dark"] {
		t.Errorf("light and dark are both %s", background["light"])
	}

	p.size(360, 740)
	p.visit(s.url + "/")
	p.shows(`[data-lamp="pooler"]`, "transaction")
	p.fitsWidth("the overview")
	for _, path := range eval[[]string](p, `[...document.querySelectorAll('a[href^="/"]')].map((a) => a.getAttribute('href'))`) {
		if status := eval[int](p, fmt.Sprintf(`fetch(%s).then((r) => r.status)`, quote(path))); status != 200 {
			t.Errorf("the overview links to %s, which answers %d", path, status)
		}
	}
}

func (p *page) fitsWidth(what string) {
	p.t.Helper()
	if over := eval[int](p, `Math.max(document.documentElement.scrollWidth, ...[...document.querySelectorAll('dialog[open], dialog[open] *')].map((e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX === 'auto' ? innerWidth + 1 : 0)) - innerWidth`); over > 0 {
		p.t.Errorf("%s is %d px too wide", what, over)
	}
}

// picture saves what the tab shows, if the caller asked for pictures.
func (p *page) picture(name string) {
	p.t.Helper()
	folder := os.Getenv("POOLPROOF_SCREENSHOTS")
	if folder == "" {
		return
	}
	eval[bool](p, `(scrollTo(0, 0), document.querySelector('#toast').classList.remove('shown'), true)`)
	p.until(`document.getAnimations().length === 0`)
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatalf("taking a picture: %v", err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), png, 0o644); err != nil {
		p.t.Fatalf("saving a picture: %v", err)
	}
	if len(png) > 160_000 {
		p.t.Errorf("%s has %d bytes, want at most 160,000", name, len(png))
	}
}

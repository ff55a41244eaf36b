package console_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// gridCell selects the checkbox of a role and a permission.
func gridCell(role, permission string) string {
	return fmt.Sprintf(`[data-cell="%s %s"]`, role, permission)
}

// settled waits until the service has answered a change of a cell.
func (p *page) settled(cell string, checked bool) {
	p.t.Helper()
	p.until(fmt.Sprintf(`(() => { const c = document.querySelector(%s); return c.ariaBusy === null && c.checked === %t; })()`, quote(cell), checked))
}

// inherits returns what a cell says of inheritance, in its name and as a mark.
func (p *page) inherits(cell string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf(`(() => {
		const c = document.querySelector(%s);
		const mark = c.parentElement.querySelector('.inherited-mark').checkVisibility();
		return c.getAttribute('aria-label').split(', ').slice(1).join() + (mark ? ' marked' : '');
	})()`, quote(cell)))
}

// A role made in the matrix, with a parent: what it inherits is seen as such,
// what it is given is in the database, and what is refused goes back.
func TestARoleIsMadeAndGivenPermissionsInTheMatrix(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.console(s, "roles", s.token, s.tenant)
	editor := s.roleID(t, "Content editor")

	p.click("#roles-new")
	p.fill("#role-name", "Matrix reviewer")
	p.click(fmt.Sprintf(`#role-parent-ids input[value="%d"]`, editor))
	p.click("#role-submit")
	p.until(`!document.querySelector('#role-dialog').open`)
	reviewer := s.roleID(t, "Matrix reviewer")
	if n := one[int](t, s, `select count(*)::int from poolproof.role_parents where tenant_id = $1 and role_id = $2 and parent_id = $3`, s.tenant, reviewer, editor); n != 1 {
		t.Fatal("the parent is not in the database")
	}
	inherited := gridCell("Matrix reviewer", "start_contentmap")
	p.until(`document.querySelector(` + quote(inherited) + `)`)
	if got := p.inherits(inherited); got != "inherited from Content editor marked" {
		t.Errorf("an inherited permission says %q", got)
	}
	if eval[bool](p, fmt.Sprintf(`document.querySelector(%s).checked`, quote(inherited))) {
		t.Error("an inherited permission is shown as given")
	}
	p.until(`document.activeElement.id === 'roles-new'`)

	// Given: one row, of this role.
	own := gridCell("Matrix reviewer", "manage_users")
	p.click(own)
	p.settled(own, true)
	if got := s.permissions(t, reviewer); got != "manage_users" {
		t.Errorf("the role holds %q in the database", got)
	}
	// Given to the parent: the heirs have it at once, two of them.
	p.click(gridCell("Content editor", "view_emailhunter"))
	p.settled(gridCell("Content editor", "view_emailhunter"), true)
	for _, heir := range []string{"Matrix reviewer", "Campaign lead"} {
		if got := p.inherits(gridCell(heir, "view_emailhunter")); got != "inherited from Content editor marked" {
			t.Errorf("%s: %q", heir, got)
		}
	}
	if got := s.permissions(t, reviewer); got != "manage_users" {
		t.Errorf("the heir itself holds %q in the database", got)
	}
	p.click(own)
	p.settled(own, false)
	if got := s.permissions(t, reviewer); got != "" {
		t.Errorf("the role holds %q in the database", got)
	}
	if n := eval[int](p, `document.querySelectorAll('#roles-matrix [data-cell^="SUPER_ADMIN "]').length`); n != 1 {
		t.Errorf("SUPER_ADMIN has %d boxes, want one: all others it holds", n)
	}

	// Refused: back as it was, with title, code and request id.
	p.expect(403)
	refused := gridCell("Matrix reviewer", "manage_tenants")
	p.click(refused)
	p.shows(`#roles-problem [data-fact="code"]`, "forbidden")
	p.settled(refused, false)
	p.shows("#roles-problem .problem-title", "Not permitted")
	if shown, asked := p.text(`#roles-problem [data-fact="request-id"]`), p.requestIDOf(403); shown == "" || shown != asked {
		t.Errorf("the page shows request id %q, the answer had %q", shown, asked)
	}
	if got := s.permissions(t, reviewer); got != "" {
		t.Errorf("the role holds %q in the database", got)
	}

	// Renamed, while somebody else changes it.
	p.click(fmt.Sprintf(`#roles-matrix .role-head[data-role-id="%d"]`, reviewer))
	p.until(`document.querySelector('#role-dialog').open`)
	p.fill("#role-name", "Senior reviewer")
	p.until(fmt.Sprintf(`document.querySelector('#role-parent-ids input[value="%d"]').checked`, editor))
	p.answered(fmt.Sprintf("/api/v3/rbac/roles/%d", reviewer))
	s.ask(t, "PUT", fmt.Sprintf("/api/v3/rbac/roles/%d", reviewer), `{"description":"Somebody else’s words"}`)
	p.expect(412)
	p.click("#role-submit")
	p.shows(`#role-problem [data-fact="code"]`, "version_mismatch")
	if s.roles(t, "Senior reviewer") != 0 {
		t.Fatal("a stale edit is in the database")
	}
	p.click(`#role-problem [data-action="reload"]`)
	p.until(`document.querySelector('#role-description').value === 'Somebody else’s words'`)
	p.fill("#role-name", "Senior reviewer")
	p.click("#role-submit")
	p.until(`!document.querySelector('#role-dialog').open`)
	if got := one[string](t, s, `select name || '/' || description from poolproof.roles where tenant_id = $1 and id = $2`, s.tenant, reviewer); got != "Senior reviewer/Somebody else’s words" {
		t.Errorf("the database holds %q", got)
	}

	// Deleted by force, for people hold what inherits from it.
	p.expect(409)
	p.shows("#roles-matrix", "Senior reviewer") // read again
	p.click(fmt.Sprintf(`#roles-matrix .role-head[data-role-id="%d"]`, editor))
	p.click("#role-extra")
	p.click("#delete-confirm")
	p.shows(`#delete-problem [data-fact="code"]`, "role_has_members")
	if s.roles(t, "Content editor") != 1 {
		t.Fatal("the role is gone without force")
	}
	p.click("#delete-force")
	p.until(fmt.Sprintf(`!document.querySelector('.role-head[data-role-id="%d"]')`, editor))
	if s.roles(t, "Content editor") != 0 {
		t.Error("the role is still in the database")
	}
	if got := p.inherits(gridCell("Senior reviewer", "start_contentmap")); got != "" {
		t.Errorf("what was inherited from a deleted role is still shown: %q", got)
	}
}

// With the keyboard alone: to the matrix, through it, and a permission given.
func TestTheMatrixByKeyboard(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.console(s, "roles", s.token, s.tenant)
	p.tabTo("roles-new")
	p.press(kb.Tab)
	if got := eval[string](p, `document.activeElement.dataset.roleId`); got != "1" {
		t.Fatalf("Tab after New role reaches %q, want the matrix's first role", eval[string](p, `document.activeElement.outerHTML`))
	}
	// Down twice and right once: ADMIN's second permission; its box is ticked in the demo data.
	p.press(kb.ArrowDown + kb.ArrowDown + kb.ArrowRight)
	cell := eval[string](p, `document.activeElement.dataset.cell`)
	if cell != "ADMIN view_actionqueue" {
		t.Fatalf("the arrows reach %q", cell)
	}
	admin := s.roleID(t, "ADMIN")
	before := s.permissions(t, admin)
	p.press(kb.Home)
	p.press(kb.ArrowUp)
	if cell = eval[string](p, `document.activeElement.dataset.cell`); cell != "USER start_actionqueue" {
		t.Fatalf("the arrows reach %q", cell)
	}
	p.press(" ")
	p.settled(gridCell("USER", "start_actionqueue"), true)
	if n := one[int](t, s, `select count(*)::int from poolproof.role_permissions r join poolproof.permissions p on p.id = r.permission_id
		where r.tenant_id = $1 and r.role_id = 1 and p.name = 'start_actionqueue'`, s.tenant); n != 1 {
		t.Error("the permission is not in the database")
	}
	if after := s.permissions(t, admin); after != before {
		t.Errorf("ADMIN holds %q, before %q", after, before)
	}
	if got := eval[string](p, `document.activeElement.dataset.cell`); got != "USER start_actionqueue" {
		t.Errorf("after the change the focus is on %q", got)
	}
	// One stop of the Tab key: it leads out of the matrix.
	p.press(kb.Tab)
	if eval[bool](p, `document.querySelector('#roles-matrix').contains(document.activeElement)`) {
		t.Error("Tab stays in the matrix")
	}
	p.run(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	p.press(kb.ArrowUp + kb.Enter)
	p.until(`document.querySelector('#role-dialog').open`)
	p.press(kb.Escape)
	p.until(`!document.querySelector('#role-dialog').open && document.activeElement.dataset.roleId === '1'`)
}

// Thirty roles and forty permissions, and more roles than are drawn at once.
func TestTheMatrixHoldsManyRoles(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	s.exec(t, `insert into poolproof.roles (tenant_id, id, name) select $1, n, 'Team ' || n from generate_series(100, 149) n`, s.tenant)
	s.exec(t, `insert into poolproof.permissions (id, name, scope, resource_type, action) select gen_random_uuid(), 'read_thing_' || n, 'tenant', 'thing ' || n / 4, 'read' from generate_series(1, 20) n`)
	s.exec(t, `insert into poolproof.role_parents (tenant_id, role_id, parent_id) select $1, n, n + 1 from generate_series(100, 109) n`, s.tenant)
	p.console(s, "roles", s.token, s.tenant)
	p.shows("#roles-count", "40 of 57 roles")
	p.until(`document.querySelectorAll('#roles-matrix tbody tr').length === 43`)
	if heads := eval[int](p, `document.querySelectorAll('#roles-matrix .role-head').length`); heads != 40 {
		t.Errorf("%d columns, want 40", heads)
	}
	p.fitsWidth("a matrix of forty roles")
	// Scrolled to its far corner, names of roles and permissions stay in view.
	eval[bool](p, `(() => { const m = document.querySelector('.matrix-scroll'); m.scrollTo(m.scrollWidth, m.scrollHeight); return true; })()`)
	if !eval[bool](p, `(() => {
		const box = document.querySelector('.matrix-scroll').getBoundingClientRect();
		const inside = (el) => { const r = el.getBoundingClientRect(); return r.top >= box.top - 1 && r.left >= box.left - 1 && r.bottom <= box.bottom + 1 && r.right <= box.right + 1; };
		const heads = document.querySelectorAll('#roles-matrix .role-head');
		const rows = document.querySelectorAll('#roles-matrix th[scope=row]');
		return inside(heads[heads.length - 1]) && inside(rows[rows.length - 1]);
	})()`) {
		t.Error("the names are scrolled away")
	}
	p.click("#roles-more")
	p.shows("#roles-count", "57 roles")
	p.fill("#roles-role-filter", "team 100")
	p.shows("#roles-count", "1 of 57 roles")
	p.fill("#roles-filter", "thing_7")
	p.until(`document.querySelectorAll('#roles-matrix tbody tr').length === 1`)
	// Through ten generations: the grant of the last is inherited by the first.
	s.exec(t, `insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
		select $1, 110, id, scope from poolproof.permissions where name = 'read_thing_7'`, s.tenant)
	p.section("features")
	p.section("roles")
	p.until(`document.querySelector(` + quote(gridCell("Team 100", "read_thing_7")) + `).ariaLabel.includes('inherited from Team 110')`)
}

// On a phone there is a list of roles, each with its sheet of permissions.
func TestRolesOnAPhone(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.size(360, 740)
	p.console(s, "roles", s.token, s.tenant)
	lead := s.roleID(t, "Campaign lead")
	card := fmt.Sprintf(`#role-cards [data-role-id="%d"]`, lead)
	p.shows(card, "2 given, 3 inherited from Content editor")
	if eval[bool](p, `document.querySelector('#roles-matrix').checkVisibility()`) {
		t.Error("the matrix is shown on a phone")
	}
	p.click(card + ` [data-action="permissions"]`)
	p.shows("#permissions-list", "Inherited from Content editor.")
	p.click(box("manage_users"))
	p.shows("#permissions-count", "3 of ")
	if got := s.permissions(t, lead); got != "manage_users start_contactlaunchpad view_contactlaunchpad" {
		t.Errorf("the role holds %q in the database", got)
	}
	p.press(kb.Escape)
	p.shows(card, "3 given, 3 inherited from Content editor")
}

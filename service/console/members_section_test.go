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

// member selects something in a member's row.
func member(id, rest string) string {
	return fmt.Sprintf(`#members-list tr[data-user-id="%s"] %s`, id, rest)
}

// profile returns a member's fields as the database has them.
func (s *service) profile(t *testing.T, user string) string {
	t.Helper()
	return one[string](t, s, `select coalesce((select name || '/' || email || '/' || active from poolproof.profiles where tenant_id = $1 and user_id = $2), '')`, s.tenant, user)
}

// Members of the demo tenant: an ADMIN, and a USER.
const (
	ada = "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e11"
	ben = "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e12"
)

// A member is added, given a role for a time, and loses it again.
func TestAMemberIsAddedAndAssignedARoleForATime(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.console(s, "members", s.token, s.tenant)
	user := uuid.NewString()

	p.click("#members-new")
	p.fill("#member-user-id", user)
	p.fill("#member-name", "Hana Weiss")
	p.fill("#member-email", "hana@last-apple.example")
	p.press(kb.Enter)
	p.until(`!document.querySelector('#member-dialog').open`)
	p.shows(member(user, ".col-member"), "Hana Weiss")
	p.shows(member(user, ".col-roles"), "no role")
	if got := s.profile(t, user); got != "Hana Weiss/hana@last-apple.example/true" {
		t.Errorf("the database holds %q", got)
	}
	// The same person again, and no person at all.
	p.expect(400, 409)
	p.click("#members-new")
	p.fill("#member-user-id", user)
	p.press(kb.Enter)
	p.shows(`#member-problem [data-fact="code"]`, "name_taken")
	p.fill("#member-user-id", "nobody")
	p.press(kb.Enter)
	p.shows("#member-user-id-error", "not a UUID")
	if p.focused() != "member-user-id" {
		t.Errorf("the focus is on %q, want the field at fault", p.focused())
	}
	p.press(kb.Escape)

	// For a time.
	auditor := s.roleID(t, "Auditor")
	p.click(member(user, `[data-action="roles"]`))
	p.shows("#member-roles-list", "No role yet")
	p.choose("#assign-role-id", fmt.Sprint(auditor))
	until := time.Date(2031, 5, 17, 12, 30, 0, 0, time.Local)
	eval[bool](p, fmt.Sprintf(`(document.querySelector('#assign-expires-at').value = %s, true)`, quote(until.Format("2006-01-02T15:04"))))
	p.click("#assign-submit")
	p.shows(fmt.Sprintf(`#member-roles-list [data-role-id="%d"]`, auditor), "2031")
	expires := one[time.Time](t, s, `select expires_at from poolproof.user_roles where tenant_id = $1 and user_id = $2 and role_id = $3`, s.tenant, user, auditor)
	if want := eval[float64](p, fmt.Sprintf(`new Date(%s).getTime()`, quote(until.Format("2006-01-02T15:04")))); float64(expires.UnixMilli()) != want {
		t.Errorf("it ends at %v, want %v", expires.UnixMilli(), want)
	}
	// In the past: refused at the field, and nothing changed.
	eval[bool](p, `(document.querySelector('#assign-expires-at').value = '2020-01-01T00:00', true)`)
	p.click("#assign-submit")
	p.shows(`#assign-problem [data-fact="code"]`, "invalid")
	if got := one[time.Time](t, s, `select expires_at from poolproof.user_roles where tenant_id = $1 and user_id = $2 and role_id = $3`, s.tenant, user, auditor); !got.Equal(expires) {
		t.Errorf("it ends at %v now", got)
	}
	p.press(kb.Escape)
	p.shows(member(user, ".col-roles"), "Auditor until")
	p.until(fmt.Sprintf(`document.activeElement === document.querySelector(%s)`, quote(member(user, `[data-action="roles"]`))))

	// Withdrawn.
	p.press(kb.Enter)
	p.click(fmt.Sprintf(`#member-roles-list [data-role-id="%d"] button`, auditor))
	p.shows("#member-roles-list", "No role yet")
	if n := one[int](t, s, `select count(*)::int from poolproof.user_roles where tenant_id = $1 and user_id = $2`, s.tenant, user); n != 0 {
		t.Error("the role is still in the database")
	}
	p.press(kb.Escape)
	p.shows(member(user, ".col-roles"), "no role")
}

// A member is locked out and let in, found, edited and removed; who would be
// the last manager is not locked out.
func TestMembersAreFoundEditedAndLockedOut(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.console(s, "members", s.token, s.tenant)

	p.click(member(ada, `[role="switch"]`))
	p.until(fmt.Sprintf(`document.querySelector(%s)?.classList.contains('inactive')`, quote(member(ada, ""))))
	if got := s.profile(t, ada); got != "Ada Nyberg/ada@last-apple.example/false" {
		t.Errorf("the database holds %q", got)
	}
	p.click(member(ada, `[role="switch"]`))
	p.until(fmt.Sprintf(`!document.querySelector(%s)?.classList.contains('inactive')`, quote(member(ada, ""))))
	if got := s.profile(t, ada); got != "Ada Nyberg/ada@last-apple.example/true" {
		t.Errorf("the database holds %q", got)
	}
	p.expect(409)
	p.click(member(s.user.String(), `[role="switch"]`))
	p.shows(`#members-problem [data-fact="code"]`, "last_manager")
	if !eval[bool](p, fmt.Sprintf(`document.querySelector(%s).checked`, quote(member(s.user.String(), `[role="switch"]`)))) {
		t.Error("a refused change stays on the page")
	}
	if shown, asked := p.text(`#members-problem [data-fact="request-id"]`), p.requestIDOf(409); shown == "" || shown != asked {
		t.Errorf("the page shows request id %q, the answer had %q", shown, asked)
	}

	p.fill("#members-filter", "campaign")
	p.shows("#members-count", "1 of 6 members")
	p.shows("#members-list", "Chloé Martin")
	p.fill("#members-filter", "")

	// Two people edit one member: the second sees that, and what is there now.
	p.click(member(ben, `[data-action="edit"]`))
	p.until(`document.querySelector('#profile-name').value === 'Ben Okafor'`)
	// That the list knew already; the dialog asks for the member as it is now.
	p.answered("/api/v3/profiles/" + ben)
	p.fill("#profile-email", "ben@new.example")
	s.ask(t, "PUT", "/api/v3/profiles/"+ben, `{"name":"Benjamin Okafor"}`)
	p.expect(412)
	p.click("#profile-submit")
	p.shows("#profile-problem .problem-title", "Changed meanwhile")
	if got := s.profile(t, ben); got != "Benjamin Okafor/ben@last-apple.example/true" {
		t.Fatalf("the database holds %q", got)
	}
	p.click(`#profile-problem [data-action="reload"]`)
	p.until(`document.querySelector('#profile-name').value === 'Benjamin Okafor'`)
	p.fill("#profile-email", "ben@new.example")
	p.click("#profile-submit")
	p.until(`!document.querySelector('#profile-dialog').open`)
	if got := s.profile(t, ben); got != "Benjamin Okafor/ben@new.example/true" {
		t.Errorf("the database holds %q", got)
	}
	p.shows(member(ben, ".col-member"), "Benjamin Okafor")

	p.click(member(ben, `[data-action="edit"]`))
	p.click("#profile-extra")
	p.shows("#delete-title", "Remove Benjamin Okafor?")
	p.click("#delete-confirm")
	p.until(fmt.Sprintf(`!document.querySelector(%s)`, quote(member(ben, ""))))
	if got := s.profile(t, ben); got != "" {
		t.Errorf("the database holds %q", got)
	}

	// Who withdraws their own rights sees at once that they are gone.
	s.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by) select $1, $2, id, $2 from poolproof.roles
		where tenant_id = $1 and name = 'SUPER_ADMIN'`, s.tenant, ada)
	p.click(member(s.user.String(), `[data-action="roles"]`))
	p.click("#member-roles-list button")
	p.shows("#member-roles-list", "No role yet")
	p.press(kb.Escape)
	p.shows("#section-members .notice", "You have no role here")
	if got := p.offered(); got != "Roles Features Sidebar" {
		t.Errorf("a member without a role is offered %q", got)
	}
	if eval[int](p, `document.querySelectorAll('#members-list-rows tr').length`) != 0 {
		t.Error("the members are still on the page")
	}
}

// More members than a page of the API holds: all of them are counted and found.
func TestMembersOfManyPages(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	s.exec(t, `insert into poolproof.profiles (tenant_id, user_id, email, name)
		select $1, gen_random_uuid(), 'person' || n || '@many.example', 'Person ' || n from generate_series(1, 2100) n`, s.tenant)
	p.console(s, "members", s.token, s.tenant)
	p.shows("#members-count", "2106 members")
	if rows := eval[int](p, `document.querySelectorAll('#members-list-rows tr').length`); rows != 200 {
		t.Errorf("%d rows are drawn at once, want 200", rows)
	}
	p.fill("#members-filter", "person2099@")
	p.shows("#members-count", "1 of 2106 members")
	p.shows("#members-list", "Person 2099")
	asked := eval[int](p, `[...document.querySelectorAll('#log-rows .log-path')].filter((e) => e.textContent.startsWith('/api/v3/profiles')).length`)
	if asked != 3 {
		t.Errorf("%d pages were read, want 3", asked)
	}
}

// Where the API wants a user's id, an e-mail does that one of the caller's own
// tenants knows; and everybody can see and copy their own id.
func TestAPersonIsNamedByAnEMail(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	other := migrations.DemoOtherTenant.String()
	grace := one[string](t, s, `select user_id::text from poolproof.profiles where tenant_id = $1 and name = 'Grace Kim'`, other)
	email := one[string](t, s, `select email from poolproof.profiles where tenant_id = $1 and user_id = $2`, other, grace)
	p.console(s, "members", s.token, s.tenant)

	// The caller is not in Grace's tenant: they learn nothing of her.
	p.click("#members-new")
	p.fill("#member-user-id", email)
	p.press(kb.Enter)
	p.shows("#member-user-id-error", "Nobody in")
	p.shows("#member-user-id-error", "under their name")
	if p.focused() != "member-user-id" {
		t.Errorf("the focus is on %q, want the field at fault", p.focused())
	}
	if n := one[int](t, s, `select count(*)::int from poolproof.profiles where tenant_id = $1 and user_id = $2`, s.tenant, grace); n != 0 {
		t.Fatal("a stranger was added")
	}
	p.press(kb.Escape)

	s.exec(t, `insert into poolproof.profiles (tenant_id, user_id, email) values ($1, $2, 'guest@voice.example')`, other, s.user)
	p.reload()
	p.ready("members")
	p.click("#members-new")
	p.fill("#member-user-id", strings.ToUpper(email))
	p.press(kb.Enter)
	p.until(`!document.querySelector('#member-dialog').open`)
	p.shows(member(grace, ".col-member"), strings.ToUpper(email))

	p.section("audit")
	mine := one[string](t, s, `select email from poolproof.profiles where tenant_id = $1 and user_id = $2`, s.tenant, s.user)
	p.fill("#audit-actor", mine)
	p.click("#audit-apply")
	p.until(`!document.querySelector('#section-audit').ariaBusy`)
	p.shows("#audit-rows", "user/"+grace[:8])
	p.fill("#audit-actor", "stranger@example.org")
	p.click("#audit-apply")
	p.shows("#audit-problem", "Nobody in Last Apple")

	p.click("#who")
	p.shows("#me .own-id", s.user.String())
	p.accessible("who I am", everyRule)
	p.press(kb.Escape)
	p.until(`!document.querySelector('#me').matches(':popover-open')`)
}

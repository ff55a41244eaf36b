package console_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/migrations"
)

// console opens the console at a section and signs in.
func (p *page) console(s *service, section, token, tenant string) {
	p.t.Helper()
	p.visit(s.url + "/#" + section)
	p.until(`document.querySelector('#signin').checkVisibility()`)
	p.connect(token, tenant)
	p.ready(section)
}

// ready waits until a section has shown what it read.
func (p *page) ready(section string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`document.querySelector('#section-%s .section-body')?.checkVisibility() && !document.querySelector('#section-%[1]s').ariaBusy`, section))
}

// section follows the link to a section.
func (p *page) section(name string) {
	p.t.Helper()
	p.click(`#sections a[href="#` + name + `"]`)
	p.ready(name)
}

// choose picks an option, as a person does with the keyboard or the mouse.
func (p *page) choose(selector, value string) {
	p.t.Helper()
	if !eval[bool](p, fmt.Sprintf(`(() => {
		const select = document.querySelector(%s);
		select.value = %s;
		select.dispatchEvent(new Event('change', { bubbles: true }));
		return select.value === %[2]s;
	})()`, quote(selector), quote(value))) {
		p.t.Fatalf("%s has no option %q", selector, value)
	}
}

// offered returns the titles of the sections that are offered.
func (p *page) offered() string {
	p.t.Helper()
	return eval[string](p, `[...document.querySelectorAll('#sections a')].map((a) => a.textContent).join(' ')`)
}

// A section has an address, a title and a place in the history; what a person
// may not use is not offered, and says what is missing where an address leads
// to it.
func TestSectionsAreAddressesAndDependOnPermissions(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.console(s, "members", s.token, s.tenant)
	if got := p.offered(); got != "Roles Members Features Sidebar Audit" {
		t.Errorf("a SUPER_ADMIN is offered %q", got)
	}
	if title := eval[string](p, `document.title`); title != "Members · Last Apple · poolproof" {
		t.Errorf("the title is %q", title)
	}
	p.section("features")
	if got := p.focused(); got != "features-title" {
		t.Errorf("after following a link the focus is on %q, want the section's heading", got)
	}
	if title := eval[string](p, `document.title`); title != "Features · Last Apple · poolproof" {
		t.Errorf("the title is %q", title)
	}
	eval[bool](p, `(history.back(), true)`)
	p.until(`document.querySelector('#section-members').checkVisibility() && !document.querySelector('#section-features').checkVisibility()`)
	p.reload()
	p.ready("members")
	if current := p.text(`#sections [aria-current="page"]`); current != "Members" {
		t.Errorf("the current section is %q", current)
	}
	p.focus(".skip")
	p.press(kb.Enter)
	p.until(`document.activeElement.id === 'main'`)
	if !eval[bool](p, `document.querySelector('#section-members').checkVisibility()`) {
		t.Error("the link to the content leaves the section")
	}

	// The platform's section, for somebody who has nothing to do with it.
	p.visit(s.url + "/#tenants")
	p.shows("#section-tenants .notice", "manage_tenants")
	p.shows("#section-tenants .notice", "SUPER_ADMIN")
	if eval[bool](p, `document.querySelector('#tenants-list').checkVisibility()`) {
		t.Error("a list of tenants is shown without the permission")
	}

	// A member without rights looks, and changes nothing.
	p.click("#sign-out")
	p.console(s, "roles", tokenOf(t, uuid.MustParse(ben), time.Hour), s.tenant)
	if got := p.offered(); got != "Roles Features Sidebar" {
		t.Errorf("a USER is offered %q", got)
	}
	p.shows("#section-roles .section-body .notice", "manage_roles")
	if eval[bool](p, `document.querySelector('#roles-new').checkVisibility()`) {
		t.Error("New role is offered to somebody who may not make one")
	}
	before := s.permissions(t, s.roleID(t, "USER"))
	p.click(`[data-cell="USER manage_users"]`)
	p.shows("#toast", "manage_permissions")
	p.visit(s.url + "/#audit")
	p.shows("#section-audit .notice", "manage_users")
	if got := s.permissions(t, s.roleID(t, "USER")); got != before {
		t.Errorf("USER holds %q, before %q", got, before)
	}
	if where := eval[string](p, `location.href + JSON.stringify(localStorage) + document.cookie`); where != s.url+"/#audit{}" {
		t.Errorf("something is kept beyond the tab, or in the address: %s", where)
	}
}

// Of two tenants one is shown, and nothing of the other stays.
func TestSwitchingTheTenant(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	other := migrations.DemoOtherTenant.String()
	s.exec(t, `insert into poolproof.profiles (tenant_id, user_id, email) values ($1, $2, 'guest@voice.example')`, other, s.user)
	s.exec(t, `insert into poolproof.user_roles (tenant_id, user_id, role_id, granted_by)
		select $1, $2, id, $2 from poolproof.roles where tenant_id = $1 and name = 'ADMIN'`, other, s.user)

	// A token that names no tenant: there is no default.
	p.visit(s.url + "/#members")
	p.connect(s.token, "")
	p.shows("#choose", "Choose a tenant")
	if n := eval[int](p, `document.querySelectorAll('#choose-list button').length`); n != 2 {
		t.Fatalf("%d tenants to choose from, want 2", n)
	}
	p.click("#choose-list li:first-child button")
	p.ready("members")
	p.shows("#members-list", "Ada Nyberg")
	p.section("roles")
	p.shows("#roles-matrix", "Content")
	p.section("members")

	p.choose("#tenant-switch", other)
	p.shows("#members-list", "Grace Kim")
	p.shows("#who", "guest@voice.example")
	p.until(`document.title === 'Members · Voice Automated · poolproof'`)
	if all := eval[string](p, `document.querySelector('main').outerHTML`); strings.Contains(all, "Ada") || strings.Contains(all, "Content editor") {
		t.Error("the page still holds the first tenant's members or roles")
	}
	p.section("roles")
	p.shows("#roles-matrix", "Field researcher")
	if got := p.offered(); got != "Roles Members Features Sidebar Audit" {
		t.Errorf("an ADMIN is offered %q", got)
	}
	// An ADMIN of the other tenant: what they change there is changed only there.
	s.ask(t, "PUT", "/api/v3/rbac/roles/1", `{"description":"Of Last Apple"}`)
	p.section("features")
	p.expect(403)
	p.click(`[data-feature="contentmap"]`)
	p.shows("#feature-rows .problem", "configure_features")
	if n := one[int](t, s, `select count(*)::int from poolproof.tenant_features f join poolproof.features c on c.id = f.feature_id
		where f.tenant_id = $1 and c.name = 'contentmap'`, other); n != 0 {
		t.Error("a refused switch is in the database")
	}
	if eval[bool](p, `document.querySelector('[data-feature="contentmap"]').checked`) {
		t.Error("a refused switch stays switched")
	}
	p.reload()
	p.ready("features")
	if now := eval[string](p, `document.querySelector('#tenant-switch').value`); now != other {
		t.Errorf("after a reload the tenant is %s", now)
	}
}

// A token that ends leads back to the form, which says so, and the way on leads
// to where the person was.
func TestAnExpiredTokenLeadsToTheForm(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.expect(401)
	expired := expiredToken(t, s.user)
	p.visit(s.url + "/#features")
	p.connect(expired, s.tenant)
	p.shows(`#connect-problem [data-fact="code"]`, "unauthenticated")
	p.shows("#connect-form", "expired")
	if shown, asked := p.text(`#connect-problem [data-fact="request-id"]`), p.requestIDOf(401); shown == "" || shown != asked {
		t.Errorf("the page shows request id %q, the answer had %q", shown, asked)
	}
	if p.focused() != "token" {
		t.Errorf("the focus is on %q, want the token", p.focused())
	}
	p.connect(s.token, s.tenant)
	p.ready("features")

	// In the middle of work: the next requests carry a token that has expired.
	eval[bool](p, fmt.Sprintf(`(() => {
		const real = window.fetch;
		window.fetch = (path, init) => {
			if (init.headers.Authorization) init.headers.Authorization = 'Bearer ' + %s;
			return real(path, init);
		};
		return true;
	})()`, quote(expired)))
	p.click(`[data-feature="localminer"]`)
	p.shows(`#connect-problem [data-fact="code"]`, "unauthenticated")
	if all := eval[string](p, `document.querySelector('main').innerText`); strings.Contains(all, "localminer") {
		t.Error("the tenant's features are still on the page")
	}
	if n := one[int](t, s, `select count(*)::int from poolproof.tenant_features f join poolproof.features c on c.id = f.feature_id
		where f.tenant_id = $1 and c.name = 'localminer'`, s.tenant); n != 0 {
		t.Error("a refused switch is in the database")
	}
	// The tab has forgotten it, and keeps the tenant.
	p.reload()
	p.until(`document.querySelector('#signin').checkVisibility()`)
	if kept := eval[string](p, `JSON.stringify(sessionStorage)`); kept != fmt.Sprintf(`{"poolproof.tenant":%q}`, s.tenant) {
		t.Errorf("the tab keeps %s", kept)
	}
}

// Why a token is refused is said in words, with what to do, and nothing of it
// stays.
func TestARefusedTokenIsForgottenAndExplained(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.expect(401, 403)
	sign := func(claims jwt.MapClaims, key string) string {
		all := jwt.MapClaims{"iss": issuer, "aud": audience, "sub": s.user.String(), "exp": time.Now().Add(time.Hour).Unix()}
		maps.Copy(all, claims)
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	for _, path := range []string{"/", "/test-rbac-role.html"} {
		p.visit(s.url + path)
		for _, refused := range []struct{ token, title, text string }{
			{expiredToken(t, s.user), "Your sign-in has ended", "expired at"},
			{sign(jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}, secret), "not valid yet", "valid from"},
			{sign(jwt.MapClaims{"iss": "https://else.example"}, secret), "another issuer", "https://else.example"},
			{sign(jwt.MapClaims{"aud": "else"}, secret), "another audience", "made for else"},
			{sign(nil, "another secret, which is 32 bytes long, too"), "not signed by a key", "its secret has changed"},
			{"rubbish", "no token", "three parts"},
		} {
			p.connect(refused.token, s.tenant)
			p.shows("#connect-problem .problem-title", refused.title)
			p.shows("#connect-problem", refused.text)
			p.shows("#connect-problem", "poolproof token --user")
			p.shows(`#connect-problem [data-fact="code"]`, "unauthenticated")
			kept := eval[string](p, `JSON.stringify(sessionStorage) + document.querySelector('#token').value + document.documentElement.outerHTML`)
			if strings.Contains(kept, refused.token) {
				t.Errorf("%s: the token is still in the tab or on the page", refused.title)
			}
		}
		p.accessible("a refused token on "+path, everyRule)
		// A good one for a tenant that is not theirs: that is no fault of the token.
		p.connect(s.token, migrations.DemoOtherTenant.String())
		p.shows(`#connect-problem [data-fact="code"]`, "not_a_member")
		p.shows("#connect-form", "not an active member of this tenant")
		if eval[string](p, `document.querySelector('#token').value`) != s.token {
			t.Error("the token is forgotten although it was good")
		}
	}
}

// An address that names nothing says so, and where there is something.
func TestAnUnknownAddress(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.console(s, "members", s.token, s.tenant)
	for address, shown := range map[string]string{"nonsense": "nonsense", "members/nobody": "members/nobody", "%E2%82": "%E2%82", "%3Cb%3Ex": "<b>x"} {
		p.section("members")
		eval[bool](p, `(location.hash = `+quote(address)+`, true)`)
		p.shows("#section-not-found", shown)
		if eval[bool](p, `document.querySelector('#section-members').checkVisibility()`) {
			t.Errorf("#%s shows the members", address)
		}
		p.until(`document.title === 'Not found · Last Apple · poolproof'`)
		if got := p.focused(); got != "not-found-title" {
			t.Errorf("#%s: the focus is on %q", address, got)
		}
		if current := p.text(`#sections [aria-current="page"]`); current != "" {
			t.Errorf("#%s: %s is the current section", address, current)
		}
	}
	p.click(`#section-not-found a[href="#features"]`)
	p.ready("features")
	p.until(`document.title === 'Features · Last Apple · poolproof' && !document.querySelector('#section-not-found').checkVisibility()`)
	p.visit(s.url + "/#audit/role/7") // What follows is an object's name there.
	p.ready("audit")
	p.visit(s.url + "/#nonsense")
	p.reload()
	p.shows("#section-not-found", "nonsense")
	p.accessible("an unknown address", everyRule)
	p.click("#sign-out")
	p.until(`document.title === 'Sign in · poolproof'`)
}

package console_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/migrations"
)

// console opens the console at a section and signs in as a user.
func (p *page) console(s *service, section string, token, tenant string) {
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

func TestLook(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	_ = uuid.Nil
	p.size(1280, 860)
	p.visit(s.url + "/")
	p.until(`document.querySelector('#signin').checkVisibility()`)
	p.picture("look-signin.png")
	p.console(s, "roles", s.token, s.tenant)
	for _, name := range []string{"roles", "members", "features", "sidebar", "audit"} {
		p.section(name)
		p.picture("look-" + name + ".png")
	}
	_ = migrations.DemoPlatform
}

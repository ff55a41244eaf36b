package console_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// downloads makes the browser save files in a folder, which it returns.
func (p *page) downloads() string {
	p.t.Helper()
	folder := p.t.TempDir()
	params := browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: folder, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID}
	if _, err := chromedp.Call(p.ctx, browser.SetDownloadBehavior, params); err != nil {
		p.t.Fatalf("allowing downloads: %v", err)
	}
	return folder
}

// saved waits for a downloaded CSV file, and returns its lines.
func (p *page) saved(folder, name string) [][]string {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err == nil && len(text) > 0 {
			lines, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
			if err != nil {
				p.t.Fatalf("%s is no CSV: %v", name, err)
			}
			return lines
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s was not saved: %v", name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Changes are read newest first, narrowed, read on, and saved as a file.
func TestTheAuditLogIsFilteredAndSaved(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	s.ask(t, "POST", "/api/v3/rbac/roles", `{"name":"Watched","description":"=first","parent_ids":[1]}`)
	watched := s.roleID(t, "Watched")
	s.ask(t, "PUT", fmt.Sprintf("/api/v3/rbac/roles/%d", watched), `{"name":"Watched more","parent_ids":[1,2]}`)
	for n := range 60 {
		s.ask(t, "POST", "/api/v4/features/tenant", fmt.Sprintf(`{"feature_name":"actionqueue","enabled":%t}`, n%2 == 0))
	}
	folder := p.downloads()
	p.console(s, "audit", s.token, s.tenant)
	entries := func() int { return eval[int](p, `document.querySelectorAll('#audit-rows > li').length`) }
	total := one[int](t, s, `select count(*)::int from poolproof.audit_log where tenant_id = $1`, s.tenant)
	p.shows("#audit-count", "the newest 50 changes")
	p.shows("#audit-rows > li:first-child", "feature/actionqueue")
	p.shows("#audit-rows > li:first-child", "by You")
	p.click("#audit-more")
	p.shows("#audit-count", fmt.Sprintf("%d changes", total))
	if entries() != total {
		t.Errorf("%d changes are listed, %d are in the database", entries(), total)
	}
	ids := eval[[]int](p, `[...document.querySelectorAll('#audit-rows > li')].map((li) => Number(li.dataset.auditId))`)
	for i, id := range ids[1:] {
		if id >= ids[i] {
			t.Fatalf("change %d is listed after %d", id, ids[i])
		}
	}

	// By kind of object, then one of them by its link: what was and what is.
	p.fill("#audit-object", "role/")
	p.click("#audit-apply")
	p.shows("#audit-count", "2 changes")
	p.click(fmt.Sprintf(`#audit-rows > li:first-child a[href="#audit/role/%d"]`, watched))
	p.until(fmt.Sprintf(`document.querySelector('#audit-object').value === 'role/%d'`, watched))
	p.shows("#audit-count", "2 changes")
	if got := eval[string](p, `[...document.querySelectorAll('#audit-rows > li:first-child .diff > div')].map((d) => d.textContent).join('; ')`); got != "nameWatched → Watched more; parent_ids1 → 1, 2" {
		t.Errorf("the change reads %q", got)
	}
	// By actor and day: nobody else did anything, and nothing was done before.
	p.fill("#audit-actor", ada)
	p.click("#audit-apply")
	p.shows("#section-audit", "No change matches.")
	p.fill("#audit-actor", s.user.String())
	eval[bool](p, `(() => { const now = new Date(); const pad = (n) => String(n).padStart(2, '0');
		document.querySelector('#audit-to').value = now.getFullYear() + '-' + pad(now.getMonth() + 1) + '-' + pad(now.getDate()); return true; })()`)
	p.click("#audit-apply")
	p.shows("#audit-count", "2 changes")
	eval[bool](p, `(document.querySelector('#audit-to').value = '2020-01-01', true)`)
	p.click("#audit-apply")
	p.shows("#section-audit", "No change matches.")
	p.expect(400)
	p.fill("#audit-actor", "somebody")
	p.click("#audit-apply")
	p.shows(`#audit-problem [data-fact="code"]`, "invalid")
	p.shows("#audit-problem", "actor")

	// The file holds what the filter leaves.
	p.click("#audit-reset")
	p.fill("#audit-object", "role/")
	p.click("#audit-csv")
	lines := p.saved(folder, "audit.csv")
	if len(lines) != 3 || strings.Join(lines[0], " ") != "id at actor action object before after" || lines[1][3] != "role.update" || lines[2][3] != "role.create" {
		t.Errorf("the file holds %q", lines)
	}
	if where := eval[string](p, `document.documentElement.outerHTML + location.href`); strings.Contains(where, s.token) {
		t.Error("the token is in the page or in its address")
	}

	// Of several pages.
	s.exec(t, `insert into poolproof.audit_log (tenant_id, actor, action, object, after)
		select $1, $2, 'role.update', 'role/77', jsonb_build_object('description', E'line\nbreak "quoted" ' || n) from generate_series(1, 2050) n`, s.tenant, s.user)
	if err := os.Remove(filepath.Join(folder, "audit.csv")); err != nil {
		t.Fatal(err)
	}
	p.fill("#audit-object", "role/77")
	p.click("#audit-csv")
	p.shows("#toast", "Saved 2050 changes")
	lines = p.saved(folder, "audit.csv")
	if len(lines) != 2051 || !strings.Contains(lines[2050][6], `quoted\" 1"`) {
		t.Errorf("the file holds %d lines, want 2051; the last: %q", len(lines), lines[len(lines)-1])
	}
}

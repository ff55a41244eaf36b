package console_test

import (
	"strings"
	"testing"
)

// hitAreas returns the controls that a finger cannot hit in 44 by 44 px. What
// counts is where a touch arrives: on the control or on its label. Links within
// a sentence are as high as its lines (WCAG 2.5.5's exception, too).
const hitAreas = `(() => {
	const least = 44, faults = [];
	const sentence = (el) => el.matches('a') && getComputedStyle(el).display === 'inline' &&
		[...el.parentElement.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim().length > 1);
	const scope = document.querySelector(':popover-open') ?? document.querySelector('dialog[open]') ?? document;
	let seen = 0;
	for (const el of scope.querySelectorAll('a[href], button, input, select, textarea, summary, [role="button"], [role="switch"], [role="checkbox"], [contenteditable]')) {
		if (!el.checkVisibility({ visibilityProperty: true }) || el.matches('.skip, .visually-hidden') || sentence(el)) continue;
		seen++;
		el.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
		const labels = [...(el.labels ?? [])];
		const arrives = (x, y) => {
			const hit = document.elementFromPoint(x, y);
			return hit !== null && [el, ...labels].some((target) => target.contains(hit));
		};
		const size = (target) => { // no more than the least is measured
			const { left, top, width, height } = target.getBoundingClientRect();
			const x = left + width / 2, y = top + height / 2;
			if (!arrives(x, y)) return [0, 0];
			const span = (dx, dy) => {
				let n = 0;
				for (const way of [-1, 1]) for (let i = 0; n < least && arrives(x + way * dx * (i + 0.5), y + way * dy * (i + 0.5)); i++) n++;
				return n;
			};
			return [span(1, 0), span(0, 1)];
		};
		const sizes = [];
		if (![el, ...labels].some((target) => {
			const [width, height] = size(target);
			sizes.push(width + '×' + height);
			return width >= least - 1 && height >= least - 1;
		})) {
			faults.push((el.id ? '#' + el.id : el.outerHTML.slice(0, 120)) + ' ' + (el.textContent || el.ariaLabel || '').trim().slice(0, 30) + ' ' + sizes.join(' '));
		}
	}
	return seen === 0 ? ['nothing to touch was found'] : faults;
})()`

// fingers fails with the controls that are too small for one, in light and dark.
func (p *page) fingers(what string) {
	p.t.Helper()
	p.touch = true
	p.size(390, 844)
	if !eval[bool](p, `matchMedia('(pointer: coarse)').matches`) {
		p.t.Fatal("the tab does not take itself for a phone")
	}
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		// What the tab was told holds from its next frame on.
		eval[bool](p, `new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => drawn(true))))`)
		for _, fault := range eval[[]string](p, hitAreas) {
			p.t.Errorf("%s, %s: %s", what, scheme, fault)
		}
	}
}

// The pages that are no sections. TestTheConsoleFitsAPhone touches those.
func TestEveryControlIsLargeEnoughForAFinger(t *testing.T) {
	s, p := newService(t), openBrowser(t)
	p.touch = true
	p.size(390, 844)
	p.visit(s.url + "/")
	p.until(`document.querySelector('#signin').checkVisibility()`)
	p.fingers("the sign-in")
	// It would see a fault.
	eval[bool](p, `(document.querySelector('#connect-submit').style.minHeight = document.querySelector('#connect-submit').style.height = '30px', true)`)
	if found := strings.Join(eval[[]string](p, hitAreas), " "); !strings.Contains(found, "#connect-submit") {
		t.Fatalf("a button of 30 px passes: %s", found)
	}
	p.open(s)
	p.fingers("the roles page")
	p.click(row(s.roleID(t, "USER"), `[data-action="permissions"]`))
	p.shows("#permissions-count", " of ")
	p.fingers("the permissions of a role")
	p.click("#permissions-dialog [data-close]")
	p.click("#change")
	p.fingers("the connection")
	p.visit(s.url + "/test-rbac-tenants.html")
	p.shows("#count", "features on")
	p.fingers("the features page")
	p.visit(s.url + "/docs")
	p.until(`document.querySelectorAll('.opblock').length > 0`)
	p.click(`#operations-Roles-createRole .opblock-summary-control`)
	p.until(`document.querySelector('#operations-Roles-createRole .try-out__btn')`)
	p.click(`#operations-Roles-createRole .try-out__btn`)
	p.until(`document.querySelector('#operations-Roles-createRole .execute')`)
	p.fingers("the reference")
}

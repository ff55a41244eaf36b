// What the console's sections have in common: a heading, a place for problems,
// data that is read when the section is visited, and nothing left of a tenant
// when another one is chosen.

import { h } from './dom.js';
import { clearProblem, showProblem } from './problem.js';

/**
 * Section is one of the console's sections. A kind of section names its id,
 * title, lede and needs, the permission without which it is of no use, and has
 *   build(body)    makes its elements, once
 *   read(signal)   fetches what it shows
 *   show(data)     shows it
 *   empty()        takes all of it away
 *   arrive(rest)   is told what the address holds after the section's name
 */
export class Section {
  constructor(app, { id, title, lede, needs = '', ...kind }) {
    Object.assign(this, { app, id, title, needs, ...kind });
    this.client = app.client;
    this.reading = null;
    this.heading = h('h1', { id: `${id}-title`, tabindex: '-1', text: title });
    this.slot = h('div', { class: 'slot', id: `${id}-problem` });
    this.body = h('div', { class: 'section-body' });
    this.missing = h('div', { class: 'notice', hidden: true });
    this.note = h('p', { class: 'reading', hidden: true, text: `Reading ${title.toLowerCase()}…` });
    this.el = h('section', { id: `section-${id}`, 'aria-labelledby': `${id}-title`, hidden: true },
      this.heading, h('p', { class: 'lede', text: lede }), this.missing, this.slot, this.note, this.body);
    this.build(this.body);
    this.body.hidden = true;
  }

  /** offered reports whether the caller's permissions make the section useful. */
  offered() {
    return this.needs === '' || this.app.can(this.needs);
  }

  /** visit shows the section's data, or what is missing for it. */
  visit(rest) {
    this.arrive(rest);
    this.missing.hidden = this.offered();
    if (this.offered()) {
      this.load();
      return;
    }
    this.clear();
    const roles = this.app.me.roles.map((role) => role.name).join(', ');
    this.missing.replaceChildren(h('p', {}, 'This needs the permission ', h('code', { text: this.needs }),
      roles ? `. Your roles here, ${roles}, do not hold it.` : '. You have no role here.'),
    h('p', { text: this.whereFrom() }));
    this.missing.hidden = false;
  }

  whereFrom() {
    return 'Somebody who manages members can assign you a role that does.';
  }

  /** load reads and shows; it reports whether the data arrived. What was shown stays while it is on its way. */
  async load() {
    this.reading?.abort();
    const current = this.reading = new AbortController();
    this.el.setAttribute('aria-busy', 'true');
    this.note.hidden = !this.body.hidden;
    clearProblem(this.slot);
    try {
      const data = await this.read(current.signal);
      if (current.signal.aborted) return false;
      this.show(data);
      this.body.hidden = false;
      return true;
    } catch (problem) {
      if (current.signal.aborted) return false;
      const retry = h('button', { type: 'button', class: 'secondary small', text: 'Try again' });
      retry.addEventListener('click', () => this.load());
      this.fail(problem, { actions: [retry] });
      return false;
    } finally {
      if (this.reading === current) {
        this.el.removeAttribute('aria-busy');
        this.note.hidden = true;
      }
    }
  }

  /** fail shows a problem above the section's data. */
  fail(problem, options) {
    if (problem.status === 401) {
      this.app.unauthenticated(problem);
      return;
    }
    showProblem(this.slot, problem, options);
    this.slot.scrollIntoView({ block: 'nearest' });
  }

  /** leave stops what is on its way. */
  leave() {
    this.reading?.abort();
  }

  /** clear takes the tenant's data away. */
  clear() {
    this.leave();
    clearProblem(this.slot);
    this.body.hidden = true;
    this.empty();
  }

  arrive() {}

  /** knows reports whether rest is part of an address of this section. */
  knows(rest) {
    return rest === '';
  }
}

/** searchField makes a search field with its hidden label: {el, input}. */
export function searchField(id, label, placeholder) {
  const input = h('input', { id, type: 'search', placeholder, autocomplete: 'off', spellcheck: 'false' });
  return { input, el: h('div', { class: 'search' }, h('label', { for: id, class: 'visually-hidden', text: label }), input) };
}

/** actionButton makes a button that runs something. */
export function actionButton(text, className, run, attrs = {}) {
  const button = h('button', { type: 'button', class: className, text, ...attrs });
  button.addEventListener('click', () => run(button));
  return button;
}

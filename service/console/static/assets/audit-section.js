// The record of changes, newest first: filtered, read page by page, each change
// as what was and what is, and the whole of it as a file.

import { difference } from './audit-diff.js';
import { announce, busy, byId, h, minute, plural, setText } from './dom.js';
import { downloadCSV } from './download.js';
import { nameOf } from './members-section.js';
import { userId } from './person.js';
import { Section, actionButton } from './section.js';

const AUDIT = '/api/v3/audit';
const PAGE = 50;
const SUGGESTIONS = 500; // Members that the field for the actor offers.

export class AuditSection extends Section {
  constructor(app) {
    super(app, { id: 'audit', title: 'Audit', needs: 'manage_users', lede: 'Who changed what, newest first. Nobody can change this record, the service included.' });
  }

  build(body) {
    const field = (name, label, input) => {
      this[name] = input;
      return h('div', { class: 'field' }, h('label', { for: input.id, text: label }), input);
    };
    this.people = h('datalist', { id: 'audit-people' });
    const form = h('form', { class: 'filters', id: 'audit-form', autocomplete: 'off', novalidate: true },
      field('object', 'Object', h('input', { id: 'audit-object', type: 'text', class: 'mono', placeholder: 'role/7 or role/', list: 'audit-objects', spellcheck: 'false', autocapitalize: 'none' })),
      h('datalist', { id: 'audit-objects' }, ...['role/', 'user/', 'feature/', 'permission/', 'sidebar/', 'tenant/'].map((value) => h('option', { value }))),
      field('actor', 'Actor', h('input', { id: 'audit-actor', type: 'text', class: 'mono', placeholder: 'e-mail or user id', list: 'audit-people', spellcheck: 'false', autocapitalize: 'none' })),
      this.people,
      field('from', 'From', h('input', { id: 'audit-from', type: 'date' })),
      field('to', 'To', h('input', { id: 'audit-to', type: 'date' })),
      h('div', { class: 'row' }, h('button', { type: 'submit', class: 'secondary', id: 'audit-apply', text: 'Filter' }),
        actionButton('Clear', 'quiet', () => this.reset(), { id: 'audit-reset' })));
    this.count = h('span', { class: 'muted count', id: 'audit-count' });
    this.download = actionButton('Download CSV', 'secondary', (button) => this.save(button), { id: 'audit-csv' });
    this.rows = h('ol', { class: 'card audit', id: 'audit-rows' });
    this.none = h('p', { class: 'card empty', hidden: true, text: 'No change matches.' });
    this.more = actionButton('Load more', 'secondary', (button) => this.loadMore(button), { id: 'audit-more', hidden: true });
    body.append(form, h('div', { class: 'toolbar' }, this.count, this.download), this.rows, this.none, this.more);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.load();
    });
    this.empty();
  }

  arrive(object) {
    if (object) this.object.value = object;
  }

  knows() {
    return true; // Any object's name; one that there never was has no changes.
  }

  /** filter is what the service is asked for. Days are the person's own; the last one counts in full. */
  filter() {
    const midnight = (text, days) => {
      if (!text) return '';
      const [year, month, date] = text.split('-').map(Number);
      return new Date(year, month - 1, date + days).toISOString();
    };
    return { object: this.object.value.trim(), actor: this.actor.value.trim(), from: midnight(this.from.value, 0), to: midnight(this.to.value, 1) };
  }

  async read(signal) {
    const query = this.filter();
    query.actor = await userId(this.client, query.actor, { field: 'actor', tenants: this.app.here() });
    const [page, profiles] = await Promise.all([
      this.client.page(AUDIT, { query: { ...query, page_size: PAGE }, signal }),
      this.client.list('/api/v3/profiles', { signal }),
    ]);
    return { page, query, profiles };
  }

  show({ page, query, profiles }) {
    this.query = query;
    this.names = new Map(profiles.map((profile) => [profile.user_id, nameOf(profile)]));
    this.people.replaceChildren(...profiles.slice(0, SUGGESTIONS).map((profile) => h('option', { value: profile.user_id, label: nameOf(profile) })));
    this.rows.replaceChildren();
    this.append(page);
  }

  empty() {
    Object.assign(this, { next: '', query: {}, names: new Map() });
    for (const input of [this.object, this.actor, this.from, this.to]) input.value = '';
    this.people.replaceChildren();
    this.rows.replaceChildren();
    setText(this.count, '');
  }

  reset() {
    this.empty();
    this.load();
    byId('audit-object').focus();
  }

  append({ rows, next }) {
    this.next = next;
    this.rows.append(...rows.map((entry) => this.entry(entry)));
    const shown = this.rows.children.length;
    setText(this.count, next ? `the newest ${shown} changes` : plural(shown, 'change'));
    this.rows.hidden = shown === 0;
    this.none.hidden = shown > 0;
    this.more.hidden = next === '';
  }

  async loadMore(button) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    const done = busy(button, 'Loading…');
    const { rows } = this;
    const before = rows.children.length;
    try {
      this.append(await this.client.page(AUDIT, { query: { ...this.query, page_size: PAGE }, token: this.next, signal: this.reading.signal }));
      rows.children[before]?.querySelector('a')?.focus();
    } catch (problem) {
      if (problem.name !== 'AbortError') this.fail(problem);
    } finally {
      done();
    }
  }

  entry({ id, at, actor, action, object, before, after }) {
    return h('li', { 'data-audit-id': id },
      h('p', { class: 'audit-head' }, h('time', { datetime: at, title: at, text: minute(at) }),
        h('strong', { class: 'mono', text: action }),
        h('a', { class: 'mono', href: `#audit/${encodeURI(object)}`, title: 'Only this object', text: this.objectName(object) }),
        h('span', { class: 'muted' }, 'by ', h('span', { title: actor, text: this.names.get(actor) ?? actor }))),
      difference(before, after));
  }

  /** objectName writes a member's name after the id that says nothing to a person. */
  objectName(object) {
    const name = object.startsWith('user/') ? this.names.get(object.slice('user/'.length)) : undefined;
    return name ? `user/${object.slice(5, 13)}… ${name}` : object;
  }

  async save(button) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    const done = busy(button, 'Reading…');
    try {
      const lines = await downloadCSV(this.client, AUDIT, this.filter(), 'audit.csv');
      announce(`Saved ${plural(lines, 'change')} as audit.csv.`);
    } catch (problem) {
      this.fail(problem);
    } finally {
      done();
    }
  }
}

// The sheet that shows the whole catalogue of permissions, ticked where the
// role holds one, and marked where it inherits one. A tick is one request; the
// box shows what the service confirmed, never what was hoped for.

import { closeButtons, h, setText } from './dom.js';
import { Inheritance, readGrants } from './inheritance.js';
import { clearProblem, showProblem } from './problem.js';

const CATALOGUE = '/api/v3/rbac/permissions';
const OF_ROLE = '/api/v3/rbac-permissions/role';

/** PermissionSheet opens for one role at a time. changed(role) is called when it closes after a change. */
export class PermissionSheet {
  constructor(client, { unauthenticated, changed = () => {} }) {
    Object.assign(this, { client, unauthenticated, changed });
    this.rows = [];
    this.build();
    document.body.append(this.dialog);
    closeButtons(this.dialog);
    this.filter.addEventListener('input', () => this.applyFilter());
    this.dialog.addEventListener('close', () => {
      this.loading?.abort();
      if (this.touched) this.changed(this.role);
      this.touched = false;
    });
  }

  build() {
    this.title = h('h2', { id: 'permissions-title' });
    this.filter = h('input', { id: 'permissions-filter', type: 'search', placeholder: 'Filter permissions', autocomplete: 'off', spellcheck: 'false' });
    this.counted = h('span', { class: 'muted count', id: 'permissions-count' });
    this.slot = h('div', { class: 'slot', id: 'permissions-problem' });
    this.list = h('div', { id: 'permissions-list' });
    this.none = h('p', { class: 'empty-line', id: 'permissions-none', hidden: true });
    this.status = h('p', { class: 'visually-hidden', role: 'status', id: 'permissions-status' });
    this.scroll = h('div', { class: 'sheet-body', id: 'permissions-scroll' }, this.slot, this.list, this.none);
    this.dialog = h('dialog', { id: 'permissions-dialog', class: 'sheet', closedby: 'any', 'aria-labelledby': 'permissions-title' },
      h('div', { class: 'sheet-head' },
        h('div', {}, h('p', { class: 'eyebrow', text: 'Permissions of' }), this.title),
        h('button', { type: 'button', class: 'secondary small', 'data-close': true, autofocus: true, text: 'Close' })),
      h('div', { class: 'sheet-tools' },
        h('label', { for: 'permissions-filter', class: 'visually-hidden', text: 'Filter permissions by name or description' }), this.filter, this.counted),
      this.scroll,
      h('div', { class: 'sheet-foot' }, h('p', { class: 'muted', text: 'A tick is saved at once. You can give only what you hold yourself.' }), this.status));
  }

  /** open shows the sheet and reads the catalogue and what the role holds, roles being all of the tenant's. */
  async open(role, roles) {
    this.role = role;
    this.rows = [];
    this.touched = false;
    this.filter.value = '';
    clearProblem(this.slot);
    setText(this.title, role.name);
    setText(this.counted, '');
    setText(this.status, '');
    this.none.hidden = true;
    this.list.setAttribute('aria-busy', 'true');
    this.list.replaceChildren(...Array.from({ length: 8 }, () => h('div', { class: 'skeleton-line', 'aria-hidden': 'true' }, h('span'))));
    if (!this.dialog.open) this.dialog.showModal();
    this.scroll.scrollTop = 0;

    this.loading?.abort();
    const loading = this.loading = new AbortController();
    const inheritance = this.inheritance = new Inheritance(roles);
    try {
      const [catalogue] = await Promise.all([
        this.client.list(CATALOGUE, { signal: loading.signal }),
        readGrants(this.client, inheritance, [role.id], loading.signal),
      ]);
      if (loading.signal.aborted) return;
      this.show(catalogue);
    } catch (problem) {
      if (loading.signal.aborted) return;
      this.list.replaceChildren();
      if (problem.status === 401) return this.leave(problem);
      const retry = h('button', { type: 'button', class: 'secondary small', text: 'Try again' });
      retry.addEventListener('click', () => this.open(role, roles));
      showProblem(this.slot, problem, { actions: [retry] });
    } finally {
      if (this.loading === loading) this.list.removeAttribute('aria-busy');
    }
  }

  show(catalogue) {
    const groups = Map.groupBy(catalogue, (p) => p.resource_type || 'other');
    this.rows = [];
    this.list.replaceChildren(...[...groups].sort(([a], [b]) => a.localeCompare(b)).map(([group, permissions]) => {
      const rows = permissions.sort((a, b) => a.name.localeCompare(b.name)).map((p) => this.makeRow(p));
      return h('fieldset', {}, h('legend', { text: group.replaceAll('_', ' ') }), ...rows.map((row) => row.el));
    }));
    this.applyFilter();
  }

  makeRow(permission) {
    const id = `permission-${permission.id}`;
    const row = { permission, pending: false };
    const { own, all, from } = this.inheritance.of(this.role.id, permission.id);
    const why = [all ? 'This role holds every permission of the tenant.' : '', from.length ? `Inherited from ${from.join(', ')}.` : ''].filter(Boolean).join(' ');
    row.box = h('input', { type: 'checkbox', id, 'data-permission': permission.name, disabled: all, 'aria-describedby': [permission.description ? `${id}-text` : '', why ? `${id}-why` : ''].join(' ').trim() || null });
    row.box.checked = own;
    row.state = h('span', { class: 'permission-state', 'aria-hidden': 'true' });
    row.slot = h('div', { class: 'slot' });
    row.el = h('div', { class: 'permission' },
      row.box,
      h('div', { class: 'permission-text' },
        h('label', { for: id, class: 'mono', text: permission.name }),
        permission.description ? h('p', { class: 'help', id: `${id}-text`, text: permission.description }) : null,
        why ? h('p', { class: 'help inherited-note', id: `${id}-why`, text: why }) : null),
      row.state, row.slot);
    row.box.addEventListener('change', () => this.change(row));
    this.rows.push(row);
    return row;
  }

  async change(row) {
    const wanted = row.box.checked;
    row.box.checked = !wanted; // What holds until the service has confirmed the change.
    if (row.pending) return;
    row.pending = true;
    row.box.setAttribute('aria-busy', 'true');
    clearProblem(row.slot);
    setText(row.state, 'saving…');
    const role = this.role;
    const { id, name } = row.permission;
    try {
      if (wanted) await this.client.call('POST', `${OF_ROLE}/${role.id}`, { body: { permission_id: id } });
      else await this.client.call('DELETE', `${OF_ROLE}/${role.id}/permission/${id}`);
      row.box.checked = wanted;
      setText(row.state, wanted ? 'given' : 'taken away');
      this.touched = true;
      if (this.role === role) setText(this.status, `${name} ${wanted ? 'given to' : 'taken away from'} ${role.name}.`);
    } catch (problem) {
      setText(row.state, '');
      if (problem.status === 401) return this.leave(problem);
      showProblem(row.slot, problem);
      row.slot.scrollIntoView({ block: 'nearest' });
    } finally {
      row.pending = false;
      row.box.removeAttribute('aria-busy');
      this.count();
    }
  }

  leave(problem) {
    this.dialog.close();
    this.unauthenticated(problem);
  }

  count() {
    const held = this.rows.filter((row) => row.box.checked).length;
    setText(this.counted, this.rows.length ? `${held} of ${this.rows.length} given` : '');
  }

  applyFilter() {
    const wanted = this.filter.value.trim().toLowerCase();
    let shown = 0;
    for (const { el, permission } of this.rows) {
      el.hidden = wanted !== '' && !`${permission.name} ${permission.description ?? ''}`.toLowerCase().includes(wanted);
      if (!el.hidden) shown += 1;
    }
    for (const group of this.list.querySelectorAll('fieldset')) {
      group.hidden = !group.querySelector('.permission:not([hidden])');
    }
    this.none.hidden = shown > 0;
    setText(this.none, this.rows.length ? 'No permission matches. Clear the filter to see all of them.' : 'The catalogue of permissions is empty.');
    this.count();
  }
}

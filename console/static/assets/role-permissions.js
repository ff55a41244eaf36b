// The sheet that shows the whole catalogue of permissions, ticked where the
// role holds one. A tick is one request; the box shows what the service
// confirmed, never what was hoped for.

import { byId, closeButtons, h, setText } from './dom.js';
import { clearProblem, showProblem } from './problem.js';

const CATALOGUE = '/api/v3/rbac/permissions';
const OF_ROLE = '/api/v3/rbac-permissions/role';

/** PermissionSheet opens for one role at a time. */
export class PermissionSheet {
  constructor(client, { unauthenticated }) {
    Object.assign(this, { client, unauthenticated });
    this.dialog = byId('permissions-dialog');
    this.list = byId('permissions-list');
    this.slot = byId('permissions-problem');
    this.filter = byId('permissions-filter');
    this.rows = [];
    closeButtons(this.dialog);
    this.filter.addEventListener('input', () => this.applyFilter());
    this.dialog.addEventListener('close', () => this.loading?.abort());
  }

  /** open shows the sheet and reads catalogue and grants together. */
  async open(role) {
    this.role = role;
    this.rows = [];
    this.filter.value = '';
    clearProblem(this.slot);
    setText(byId('permissions-title'), role.name);
    setText(byId('permissions-count'), '');
    setText(byId('permissions-status'), '');
    byId('permissions-none').hidden = true;
    this.list.setAttribute('aria-busy', 'true');
    this.list.replaceChildren(...Array.from({ length: 8 }, () => h('div', { class: 'skeleton-line', 'aria-hidden': 'true' }, h('span'))));
    if (!this.dialog.open) this.dialog.showModal();
    byId('permissions-scroll').scrollTop = 0;

    this.loading?.abort();
    const loading = this.loading = new AbortController();
    try {
      const [catalogue, held] = await Promise.all([
        this.client.list(CATALOGUE, { signal: loading.signal }),
        this.client.list(`${OF_ROLE}/${role.id}`, { signal: loading.signal }),
      ]);
      if (loading.signal.aborted) return;
      this.show(catalogue, new Set(held.map((p) => p.id)));
    } catch (problem) {
      if (loading.signal.aborted) return;
      this.list.replaceChildren();
      if (problem.status === 401) return this.leave(problem);
      const retry = h('button', { type: 'button', class: 'secondary small', text: 'Try again' });
      retry.addEventListener('click', () => this.open(role));
      showProblem(this.slot, problem, { actions: [retry] });
    } finally {
      if (this.loading === loading) this.list.removeAttribute('aria-busy');
    }
  }

  show(catalogue, held) {
    const groups = Map.groupBy(catalogue, (p) => p.resource_type || 'other');
    this.rows = [];
    this.list.replaceChildren(...[...groups].sort(([a], [b]) => a.localeCompare(b)).map(([group, permissions]) => {
      const rows = permissions.sort((a, b) => a.name.localeCompare(b.name)).map((p) => this.makeRow(p, held.has(p.id)));
      return h('fieldset', {}, h('legend', { text: group.replaceAll('_', ' ') }), ...rows.map((row) => row.el));
    }));
    this.applyFilter();
  }

  makeRow(permission, held) {
    const id = `permission-${permission.id}`;
    const row = { permission, pending: false };
    row.box = h('input', { type: 'checkbox', id, 'data-permission': permission.name, 'aria-describedby': permission.description ? `${id}-text` : null });
    row.box.checked = held;
    row.state = h('span', { class: 'permission-state', 'aria-hidden': 'true' });
    row.slot = h('div', { class: 'slot' });
    row.el = h('div', { class: 'permission' },
      row.box,
      h('div', { class: 'permission-text' },
        h('label', { for: id, class: 'mono', text: permission.name }),
        permission.description ? h('p', { class: 'help', id: `${id}-text`, text: permission.description }) : null),
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
      if (this.role === role) setText(byId('permissions-status'), `${name} ${wanted ? 'given to' : 'taken away from'} ${role.name}.`);
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
    setText(byId('permissions-count'), this.rows.length ? `${held} of ${this.rows.length} given` : '');
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
    const none = byId('permissions-none');
    none.hidden = shown > 0;
    setText(none, this.rows.length ? 'No permission matches. Clear the filter to see all of them.' : 'The catalogue of permissions is empty.');
    this.count();
  }
}

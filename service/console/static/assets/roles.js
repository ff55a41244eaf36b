// The table of roles. It keeps one row element per role id and changes it in
// place, so that the focus stays where a person left it when the list is read
// again.

import { announce, byId, day, h, plural, setText } from './dom.js';
import { cell } from './list-table.js';

const SKELETON_ROWS = 4;

/** RoleTable shows roles; on holds the actions {permissions, edit, remove, create}, each called with a role. */
export class RoleTable {
  constructor(on) {
    this.on = on;
    this.rows = new Map();
    this.roles = [];
    this.tenants = new Map();
    this.body = byId('rows');
    this.filter = byId('filter');
    this.filter.addEventListener('input', () => this.applyFilter());
    byId('empty-action').addEventListener('click', () => {
      if (this.roles.length === 0) this.on.create();
      else this.clearFilter();
    });
  }

  /** loading shows that rows are on their way: over an empty table, placeholders of a row's height. */
  loading() {
    byId('roles-table').setAttribute('aria-busy', 'true');
    if (this.rows.size > 0) return;
    byId('empty').hidden = true;
    this.body.replaceChildren(...Array.from({ length: SKELETON_ROWS }, () =>
      h('tr', { class: 'skeleton', 'aria-hidden': 'true' }, ...Array.from({ length: 6 }, () => h('td', {}, h('span'))))));
  }

  /** clear empties the table, as when the tenant changes: no row of one tenant is ever shown under another. */
  clear() {
    this.rows.clear();
    this.roles = [];
    this.body.replaceChildren();
    this.filter.value = '';
    setText(byId('count'), '');
    byId('empty').hidden = true;
  }

  /** failed ends loading without an answer; rows that were shown stay. */
  failed() {
    byId('roles-table').removeAttribute('aria-busy');
    if (this.rows.size === 0) this.body.replaceChildren();
  }

  /** show replaces what is listed. */
  show(roles) {
    this.roles = roles;
    byId('roles-table').removeAttribute('aria-busy');
    const rows = new Map();
    for (const role of roles) {
      const row = this.rows.get(role.id) ?? this.makeRow(role.id);
      this.fill(row, role);
      rows.set(role.id, row);
    }
    this.rows = rows;
    place(this.body, roles.map((role) => rows.get(role.id).tr));
    this.applyFilter();
  }

  /** nameTenants gives the names of tenants by id, once they are known. */
  nameTenants(tenants) {
    this.tenants = tenants;
    for (const role of this.roles) this.fill(this.rows.get(role.id), role);
  }

  /** mark draws the eye to a row that has just come or changed. */
  mark(id) {
    const tr = this.rows.get(id)?.tr;
    if (!tr) return;
    if (tr.hidden) this.clearFilter();
    tr.classList.remove('fresh');
    void tr.offsetWidth; // Starts the animation anew when the same row is marked twice.
    tr.classList.add('fresh');
    tr.scrollIntoView({ block: 'nearest' });
  }

  makeRow(id) {
    const row = { role: null };
    const button = (name, action) => {
      const b = h('button', { type: 'button', class: name === 'permissions' ? 'secondary small' : 'quiet small', 'data-action': name });
      b.addEventListener('click', () => {
        if (b.getAttribute('aria-disabled') === 'true') announce(`${row.role.name} is a system role: it cannot be deleted.`);
        else action(row.role);
      });
      return b;
    };
    row.name = h('span', { class: 'role-name' });
    row.system = h('span', { class: 'tag', text: 'system' });
    row.description = cell('Description', 'col-desc');
    row.tenant = h('span');
    row.created = h('time');
    row.permissions = button('permissions', this.on.permissions);
    row.edit = button('edit', this.on.edit);
    row.remove = button('delete', this.on.remove);
    row.tr = h('tr', { role: 'row', 'data-role-id': id },
      cell('Id', 'col-id', String(id)),
      cell('Name', 'col-name', row.name, ' ', row.system),
      row.description,
      cell('Tenant', 'col-tenant', row.tenant),
      cell('Created', 'col-created', row.created),
      cell('', 'col-actions', h('div', { class: 'actions' }, row.permissions, row.edit, row.remove)));
    return row;
  }

  fill(row, role) {
    row.role = role;
    setText(row.name, role.name);
    row.system.hidden = !role.system;
    setText(row.description, role.description || '—');
    row.description.classList.toggle('muted', !role.description);
    setText(row.tenant, this.tenants.get(role.tenant_id) ?? shortId(role.tenant_id));
    row.tenant.title = role.tenant_id ?? '';
    row.created.dateTime = role.created_at ?? '';
    setText(row.created, day(role.created_at));
    row.created.title = role.created_at ?? '';
    label(row.permissions, 'Permissions', `Permissions of ${role.name}`);
    label(row.edit, 'Edit', `Edit ${role.name}`);
    label(row.remove, 'Delete', `Delete ${role.name}`);
    if (role.system) {
      row.remove.setAttribute('aria-disabled', 'true');
      row.remove.setAttribute('aria-describedby', 'system-note');
      row.remove.title = 'A system role cannot be deleted.';
    }
  }

  applyFilter() {
    const wanted = this.filter.value.trim().toLowerCase();
    let shown = 0;
    for (const { tr, role } of this.rows.values()) {
      tr.hidden = wanted !== '' && !`${role.id} ${role.name} ${role.description ?? ''}`.toLowerCase().includes(wanted);
      if (!tr.hidden) shown += 1;
    }
    const total = this.rows.size;
    setText(byId('count'), wanted ? `${shown} of ${plural(total, 'role')}` : plural(total, 'role'));
    byId('empty').hidden = shown > 0;
    if (shown > 0) return;
    setText(byId('empty-title'), total === 0 ? 'No roles yet' : 'No role matches');
    setText(byId('empty-text'), total === 0
      ? 'A role gathers permissions under a name. Create one, then open its permissions.'
      : 'Roles are searched by id, name and description.');
    setText(byId('empty-action'), total === 0 ? 'New role' : 'Show all roles');
  }

  clearFilter() {
    this.filter.value = '';
    this.applyFilter();
    this.filter.focus();
  }
}

function label(button, text, accessible) {
  setText(button, text);
  button.setAttribute('aria-label', accessible);
}

/** place makes rows the children of body in that order, and moves only what is not there already. */
function place(body, rows) {
  rows.forEach((tr, i) => {
    if (body.children[i] !== tr) body.insertBefore(tr, body.children[i] ?? null);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
}

function shortId(id) {
  return id ? `${id.slice(0, 8)}…` : '—';
}

// The matrix: permissions grouped by resource down, roles across. One stop of
// the Tab key; inside, the arrow keys move from cell to cell.

import { announce, h } from './dom.js';

const MANY = 9; // From this many roles on, their names stand upright and the columns are narrow.

/** RoleMatrix shows a grid; on holds {edit(role), toggle(role, permission, wanted)}. */
export class RoleMatrix {
  constructor(on) {
    this.on = on;
    this.head = h('thead');
    this.tbody = h('tbody');
    this.table = h('table', { class: 'matrix', role: 'grid', id: 'roles-matrix', 'aria-labelledby': 'roles-title', 'aria-describedby': 'roles-legend' }, this.head, this.tbody);
    this.none = h('p', { class: 'empty', hidden: true, text: 'Nothing matches. Clear the filters to see everything.' });
    this.el = h('div', { class: 'card matrix-scroll' }, this.table, this.none);
    this.at = { row: 0, column: 0 };
    this.clear();
    this.table.addEventListener('keydown', (event) => this.move(event));
    this.table.addEventListener('focusin', (event) => this.stopAt(event.target));
  }

  clear() {
    this.stops = [];
    this.cells = new Map();
    this.head.replaceChildren();
    this.tbody.replaceChildren();
  }

  /** show replaces what is shown, and keeps the focus where it was if that is still there. */
  show(view) {
    const key = this.el.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.view = view;
    this.clear();
    const { roles, permissions } = view;
    this.none.hidden = roles.length > 0 && permissions.length > 0;
    this.table.hidden = !this.none.hidden;
    this.table.classList.toggle('many', roles.length >= MANY);
    const heads = roles.map((role) => this.roleButton(role));
    this.stops.push(heads);
    this.head.append(h('tr', {}, h('th', { scope: 'col', class: 'corner', colspan: '2', text: 'Permission' }),
      ...heads.map((button) => h('th', { scope: 'col' }, button))));
    const groups = Map.groupBy(permissions, (p) => p.resource_type || 'other');
    for (const [group, members] of [...groups].sort(([a], [b]) => a.localeCompare(b))) {
      members.forEach((permission, i) => this.tbody.append(h('tr', { class: i === 0 ? 'first' : null },
        i === 0 ? h('th', { scope: 'rowgroup', rowspan: members.length, class: 'group', text: group.replaceAll('_', ' ') }) : null,
        h('th', { scope: 'row', title: permission.description, text: permission.name }),
        ...this.row(permission))));
    }
    this.at.row = Math.min(this.at.row, this.stops.length - 1);
    this.at.column = Math.min(this.at.column, Math.max(0, roles.length - 1));
    const stop = this.stops[this.at.row]?.[this.at.column];
    if (stop) stop.tabIndex = 0;
    if (key) [...this.table.querySelectorAll('[data-key]')].find((el) => el.dataset.key === key)?.focus();
  }

  roleButton(role) {
    const inherits = this.view.inheritance.ancestors(role.id).map((r) => r.name).join(', ');
    const button = h('button', { type: 'button', class: 'role-head', tabindex: '-1', 'data-key': `role ${role.id}`, 'data-role-id': role.id,
      title: [role.description, inherits ? `Inherits from ${inherits}.` : ''].filter(Boolean).join('\n') || null },
    h('span', {}, ...breakable(role.name)), inherits ? h('span', { class: 'inherited-mark', 'aria-hidden': 'true', text: '↑' }) : null,
    h('span', { class: 'visually-hidden', text: `${inherits ? `, inherits from ${inherits}` : ''}: ${this.view.mayEdit ? 'edit' : 'show'}` }));
    button.addEventListener('click', () => this.on.edit(role));
    return button;
  }

  /** row makes a permission's cells. */
  row(permission) {
    const cells = this.view.roles.map((role) => this.makeCell(role, permission));
    this.stops.push(cells.map((cell) => cell.stop));
    this.cells.set(permission.id, cells);
    return cells.map((cell) => cell.el);
  }

  makeCell(role, permission) {
    const cell = { role, permission, el: h('td', { role: 'gridcell' }) };
    const { all } = this.view.inheritance.of(role.id, permission.id);
    const key = `${role.id} ${permission.id}`;
    if (all) {
      cell.stop = h('span', { class: 'all-mark', tabindex: '-1', 'data-key': key }, 'all', h('span', { class: 'visually-hidden', text: `: ${role.name} holds ${permission.name}` }));
    } else {
      cell.stop = h('input', { type: 'checkbox', tabindex: '-1', 'data-key': key, 'data-cell': `${role.name} ${permission.name}`, 'aria-disabled': this.view.mayGive ? null : 'true' });
      cell.stop.addEventListener('click', (event) => this.toggle(event, cell));
    }
    cell.mark = h('span', { class: 'inherited-mark', 'aria-hidden': 'true', text: '↑' });
    cell.el.append(cell.stop, cell.mark);
    this.fill(cell);
    return cell;
  }

  /** fill shows how the role holds the permission: given, inherited, both or not. */
  fill(cell) {
    const { role, permission, el, stop, mark } = cell;
    const { own, all, from } = this.view.inheritance.of(role.id, permission.id);
    const inherited = from.length ? `inherited from ${from.join(', ')}` : '';
    if (!all) {
      stop.checked = own;
      stop.setAttribute('aria-label', [`${permission.name} for ${role.name}`, inherited].filter(Boolean).join(', '));
    }
    mark.hidden = !inherited;
    el.title = [all ? `${role.name} holds every permission of the tenant` : '', inherited].filter(Boolean).join('; ');
    el.classList.toggle('has', own || Boolean(inherited));
  }

  toggle(event, cell) {
    const { role, permission, stop } = cell;
    if (!this.view.mayGive || stop.getAttribute('aria-busy') === 'true') {
      event.preventDefault();
      if (!this.view.mayGive) announce('To give permissions takes manage_permissions.');
      return;
    }
    this.on.toggle(role, permission, stop.checked);
  }

  /** refresh shows a permission's row anew; of one role's cell it says that its change is pending, settled or refused. */
  refresh(permission, { pending, settled, refused }) {
    for (const cell of this.cells.get(permission.id) ?? []) {
      this.fill(cell);
      if (cell.role.id === (pending ?? settled ?? refused).id) {
        cell.el.classList.toggle('refused', Boolean(refused));
        if (pending) cell.stop.setAttribute('aria-busy', 'true');
        else cell.stop.removeAttribute('aria-busy');
      }
    }
  }

  /** reveal brings a role's column into view and draws the eye to it. */
  reveal(role) {
    const head = this.head.querySelector(`[data-role-id="${role.id}"]`)?.parentElement;
    if (!head || this.el.hidden) return;
    head.classList.add('fresh');
    head.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }

  // ---- The keyboard

  stopAt(el) {
    const row = this.stops.findIndex((stops) => stops.includes(el));
    if (row < 0) return;
    const before = this.stops[this.at.row]?.[this.at.column];
    if (before) before.tabIndex = -1;
    this.at = { row, column: this.stops[row].indexOf(el) };
    el.tabIndex = 0;
  }

  move(event) {
    const { row, column } = this.at;
    const last = this.stops[0].length - 1;
    const to = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [event.ctrlKey ? 0 : row, 0], End: [event.ctrlKey ? this.stops.length - 1 : row, last],
      PageUp: [Math.max(0, row - 8), column], PageDown: [Math.min(this.stops.length - 1, row + 8), column],
    }[event.key];
    const stop = to && this.stops[to[0]]?.[to[1]];
    if (!to) return;
    event.preventDefault();
    stop?.focus();
  }
}

/** breakable lets a name break after underscores, where people would break it. */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part, i) => (i ? [h('wbr'), part] : [part]));
}

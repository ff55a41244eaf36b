// Roles one below the other, for screens that have no room for a matrix.

import { h } from './dom.js';
import { actionButton } from './section.js';

/** RoleCards lists roles; on holds {edit(role), permissions(role)}. */
export class RoleCards {
  constructor(on) {
    this.on = on;
    this.el = h('ul', { class: 'role-cards', id: 'role-cards' });
  }

  clear() {
    this.el.replaceChildren();
  }

  show({ roles, permissions, inheritance, mayEdit }) {
    this.el.replaceChildren(...roles.map((role) => {
      const how = permissions.map((permission) => inheritance.of(role.id, permission.id));
      const own = how.filter(({ own }) => own).length;
      const inherited = how.filter(({ own, from }) => !own && from.length).length;
      const from = inheritance.ancestors(role.id).map((r) => r.name).join(', ');
      return h('li', { class: 'card', 'data-role-id': role.id },
        h('p', {}, h('strong', { text: role.name }), ' ', role.system ? h('span', { class: 'tag', text: 'system' }) : null),
        role.description ? h('p', { class: 'muted', text: role.description }) : null,
        h('p', { class: 'role-facts' }, role.holds_all ? 'holds every permission' : `${own} given`,
          from ? `, ${inherited} inherited from ${from}` : ''),
        h('div', { class: 'row' },
          actionButton('Permissions', 'secondary small', () => this.on.permissions(role), { 'data-action': 'permissions', 'aria-label': `Permissions of ${role.name}` }),
          mayEdit ? actionButton('Edit', 'quiet small', () => this.on.edit(role), { 'data-action': 'edit', 'aria-label': `Edit ${role.name}` }) : null));
    }));
  }
}

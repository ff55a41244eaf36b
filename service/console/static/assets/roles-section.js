// Roles and what each may do: a matrix where there is room for one, else a list
// of roles, each with its sheet of permissions.

import { announce, h, plural, setText } from './dom.js';
import { Inheritance, readGrants } from './inheritance.js';
import { clearProblem } from './problem.js';
import { RoleCards } from './role-cards.js';
import { RoleDialog, askToDeleteRole } from './role-dialogs.js';
import { RoleMatrix } from './role-matrix.js';
import { PermissionSheet } from './role-permissions.js';
import { Section, actionButton, searchField } from './section.js';

const COLUMNS = 40; // Roles that are shown at once; more on demand.

export class RolesSection extends Section {
  constructor(app) {
    super(app, { id: 'roles', title: 'Roles', lede: 'What people may do in this tenant. A tick is saved at once and written to the audit log.' });
  }

  build(body) {
    const { client, app } = this;
    const unauthenticated = app.unauthenticated;
    this.roles = [];
    this.dialog = new RoleDialog(client, {
      unauthenticated, roles: () => this.roles, saved: (role, created) => this.saved(role, created),
      remove: (role) => askToDeleteRole(app.confirm, client, role, () => this.deleted(role)),
    });
    const open = { edit: (role) => this.edit(role), permissions: (role) => this.sheet.open(role, this.roles) };
    this.sheet = new PermissionSheet(client, { unauthenticated, changed: () => this.load() });
    this.matrix = new RoleMatrix({ ...open, toggle: (role, permission, wanted) => this.toggle(role, permission, wanted) });
    this.cards = new RoleCards(open);
    this.filter = searchField('roles-filter', 'Filter permissions by name or description', 'Filter permissions');
    this.roleFilter = searchField('roles-role-filter', 'Filter roles by name', 'Filter roles');
    this.count = h('span', { class: 'muted count', id: 'roles-count' });
    this.create = actionButton('New role', 'primary', () => this.dialog.open(), { id: 'roles-new' });
    this.more = actionButton('', 'secondary', () => this.showMore(), { id: 'roles-more', hidden: true });
    this.readOnly = h('p', { class: 'notice', hidden: true });
    this.legend = h('p', { class: 'legend', id: 'roles-legend' },
      h('span', {}, h('span', { class: 'legend-box given', 'aria-hidden': 'true' }), 'given'),
      h('span', {}, h('span', { class: 'inherited-mark', 'aria-hidden': 'true', text: '↑' }), 'inherited from another role'),
      h('span', {}, h('span', { class: 'all-mark', 'aria-hidden': 'true', text: 'all' }), 'holds every permission'));
    body.append(h('div', { class: 'toolbar' }, this.roleFilter.el, this.filter.el, this.count, this.create),
      this.readOnly, this.legend, this.matrix.el, this.cards.el, this.more);
    this.filter.input.addEventListener('input', () => this.render());
    this.roleFilter.input.addEventListener('input', () => {
      this.limit = COLUMNS;
      this.render();
    });
    this.narrow = matchMedia('(max-width: 760px)');
    this.narrow.addEventListener('change', () => this.render());
    this.empty();
  }

  async read(signal) {
    const [roles, catalogue] = await Promise.all([
      this.client.list('/api/v3/rbac/roles', { signal }),
      this.client.list('/api/v3/rbac/permissions', { signal }),
    ]);
    const inheritance = new Inheritance(roles);
    const wanted = this.matching(roles).slice(0, this.limit).map((role) => role.id);
    await readGrants(this.client, inheritance, wanted, signal);
    return { roles, catalogue, inheritance };
  }

  show({ roles, catalogue, inheritance }) {
    Object.assign(this, { roles, catalogue, inheritance });
    const lacking = ['manage_roles', 'manage_permissions'].filter((permission) => !this.app.can(permission));
    this.create.hidden = !this.app.can('manage_roles');
    this.readOnly.hidden = lacking.length === 0;
    this.readOnly.replaceChildren('You can look at roles. To ', lacking.includes('manage_roles') ? 'change them' : 'give permissions to them', ' takes ',
      ...lacking.flatMap((permission, i) => [i ? ' and ' : '', h('code', { text: permission })]), '.');
    this.render();
  }

  empty() {
    Object.assign(this, { roles: [], catalogue: [], inheritance: new Inheritance([]), limit: COLUMNS });
    this.filter.input.value = '';
    this.roleFilter.input.value = '';
    this.matrix.clear();
    this.cards.clear();
  }

  matching(roles) {
    const wanted = this.roleFilter.input.value.trim().toLowerCase();
    return roles.filter((role) => role.name.toLowerCase().includes(wanted));
  }

  /** render shows the roles and permissions that the filters leave, once it is known what those roles hold. */
  async render() {
    const { inheritance } = this;
    const matching = this.matching(this.roles);
    const roles = matching.slice(0, this.limit);
    const text = this.filter.input.value.trim().toLowerCase();
    const permissions = this.catalogue.filter((p) => `${p.name} ${p.description}`.toLowerCase().includes(text));
    if (roles.some((role) => [role, ...inheritance.ancestors(role.id)].some((r) => !inheritance.own.has(r.id)))) {
      try {
        await readGrants(this.client, inheritance, roles.map((role) => role.id), this.reading?.signal);
      } catch (problem) {
        if (problem.name !== 'AbortError') this.fail(problem);
        return;
      }
      if (inheritance !== this.inheritance) return;
      this.render();
      return;
    }
    const shown = roles.length < this.roles.length ? `${roles.length} of ${plural(this.roles.length, 'role')}` : plural(roles.length, 'role');
    setText(this.count, text ? `${shown}, ${permissions.length} of ${plural(this.catalogue.length, 'permission')}` : shown);
    this.more.hidden = matching.length <= roles.length;
    setText(this.more, `Show ${Math.min(COLUMNS, matching.length - roles.length)} more roles`);
    const view = { roles, permissions, inheritance, mayGive: this.app.can('manage_permissions'), mayEdit: this.app.can('manage_roles') };
    this.matrix.el.hidden = this.narrow.matches;
    this.cards.el.hidden = !this.narrow.matches;
    this.legend.hidden = this.narrow.matches;
    this.filter.el.hidden = this.narrow.matches;
    if (this.narrow.matches) this.cards.show(view);
    else this.matrix.show(view);
  }

  showMore() {
    this.limit += COLUMNS;
    this.render();
  }

  edit(role) {
    if (this.app.can('manage_roles')) this.dialog.open(role);
    else this.sheet.open(role, this.roles);
  }

  /** toggle shows the wanted state, asks for it, and goes back with the reason if the service refuses. */
  async toggle(role, permission, wanted) {
    const { inheritance } = this;
    inheritance.change(role.id, permission.id, wanted);
    this.matrix.refresh(permission, { pending: role });
    clearProblem(this.slot);
    const path = `/api/v3/rbac-permissions/role/${role.id}`;
    try {
      if (wanted) await this.client.call('POST', path, { body: { permission_id: permission.id } });
      else await this.client.call('DELETE', `${path}/permission/${permission.id}`);
      if (inheritance !== this.inheritance) return;
      this.matrix.refresh(permission, { settled: role });
      announce(`${permission.name} ${wanted ? 'given to' : 'taken away from'} ${role.name}.`);
      this.app.rightsChanged();
    } catch (problem) {
      if (inheritance !== this.inheritance) return;
      inheritance.change(role.id, permission.id, !wanted);
      this.matrix.refresh(permission, { refused: role });
      this.fail(problem);
    }
  }

  async saved(role, created) {
    announce(created ? `Role ${role.name} created with id ${role.id}.` : `Role ${role.name} saved.`);
    this.app.rightsChanged();
    await this.load();
    this.matrix.reveal(role);
  }

  async deleted(role) {
    announce(`Role ${role.name} deleted.`);
    this.app.rightsChanged();
    this.create.focus({ preventScroll: true }); // The button that opened the dialog goes with its role.
    await this.load();
  }
}

// The dialogs that create, edit and delete a role.

import { FormDialog } from './form-dialog.js';

const ROLES = '/api/v3/rbac/roles';

/**
 * RoleDialog creates and edits. roles() gives the roles that there are, to
 * choose parents of; saved(role, created) is called after each success, and
 * remove(role), if given, for the dialog's Delete button.
 */
export class RoleDialog {
  constructor(client, { roles, saved, remove, unauthenticated }) {
    Object.assign(this, { client, roles, saved, remove });
    this.form = new FormDialog('role', {
      unauthenticated,
      codes: { name_taken: 'name', cycle: 'parent_ids' },
      fields: [
        { name: 'name', label: 'Name', required: true },
        { name: 'description', label: 'Description', kind: 'area', help: 'Optional. What someone with this role is there for.' },
        { name: 'parent_ids', label: 'Inherits from', kind: 'choices', help: 'The role then holds what these hold, now and later.' },
      ],
    });
  }

  /** open shows the dialog: for a new role without one, else to edit it. */
  open(role = null) {
    const parents = this.roles().filter((r) => r.id !== role?.id);
    this.form.open({
      title: role ? `Edit ${role.name}` : 'New role',
      submit: role ? 'Save changes' : 'Create role',
      busy: role ? 'Saving…' : 'Creating…',
      values: role ?? {},
      readOnly: role?.system ? ['name'] : [],
      help: { name: role?.system ? 'A system role keeps its name, because programs rely on it. Its description can change.' : 'Unique in this tenant.' },
      options: { parent_ids: parents.map((r) => ({ value: r.id, text: r.name, note: r.holds_all ? 'holds all' : '' })) },
      read: role ? () => this.client.read(`${ROLES}/${role.id}`) : null,
      extra: role && !role.system && this.remove ? { text: 'Delete role…', run: () => this.remove(role) } : null,
      save: ({ name, description, parent_ids }, etag) => this.client.call(role ? 'PUT' : 'POST', role ? `${ROLES}/${role.id}` : ROLES,
        { body: role?.system ? { description, parent_ids } : { name, description, parent_ids }, ifMatch: etag }),
      saved: (answer) => this.saved(answer.data, !role),
    });
  }
}

/** askToDeleteRole asks, and once more when people hold the role. */
export function askToDeleteRole(confirm, client, role, deleted) {
  confirm.ask({
    name: role.name,
    text: 'Whatever this role grants ends with it. This cannot be undone, and its id will not be used again.',
    confirm: 'Delete role',
    forceCode: 'role_has_members',
    remove: (force) => client.call('DELETE', `${ROLES}/${role.id}${force ? '?force=true' : ''}`),
    deleted: () => deleted(role),
  });
}

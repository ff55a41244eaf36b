// The roles page: what a person sees (table) and changes (dialogs) of the
// connected tenant's roles.

import { ConfirmDialog } from './confirm-dialog.js';
import { Connection } from './connection.js';
import { announce, byId } from './dom.js';
import { RoleDialog, askToDeleteRole } from './role-dialogs.js';
import { PermissionSheet } from './role-permissions.js';
import { RoleTable } from './roles.js';

const table = new RoleTable({
  permissions: (role) => permissions.open(role, table.roles),
  edit: (role) => roleDialog.open(role),
  remove: (role) => askToDeleteRole(confirm, connection.client, role, deleted),
  create: () => roleDialog.open(),
});

const connection = new Connection({
  content: byId('roles'),
  slot: byId('roles-problem'),
  needs: 'manage_roles',
  loading: () => table.loading(),
  read: (signal) => connection.client.list('/api/v3/rbac/roles', { signal }),
  show: (roles) => table.show(roles),
  failed: () => table.failed(),
  clear: () => table.clear(),
  named: (tenants) => table.nameTenants(tenants),
  arrived: () => byId('new-role').focus({ preventScroll: true }),
});

const unauthenticated = (problem) => connection.refused(problem);
const permissions = new PermissionSheet(connection.client, { unauthenticated });
const roleDialog = new RoleDialog(connection.client, { unauthenticated, saved, roles: () => table.roles });
const confirm = new ConfirmDialog({ unauthenticated });

async function saved(role, created) {
  announce(created ? `Role ${role.name} created with id ${role.id}.` : `Role ${role.name} saved.`);
  if (await connection.load()) table.mark(role.id);
}

async function deleted(role) {
  byId('new-role').focus({ preventScroll: true }); // The button that opened the dialog goes with its row.
  announce(`Role ${role.name} deleted.`);
  await connection.load();
}

byId('new-role').addEventListener('click', () => roleDialog.open());
connection.start();

// The platform's tenants: made with somebody who manages them, renamed, and
// deleted with everything in them only after a second question.

import { day, h } from './dom.js';
import { FormDialog } from './form-dialog.js';
import { ListSection } from './list-section.js';
import { cell, tableRow } from './list-table.js';
import { userId } from './person.js';
import { actionButton } from './section.js';

const TENANTS = '/api/v3/rbac-admin/tenants';

export class TenantsSection extends ListSection {
  constructor(app) {
    super(app, {
      id: 'tenants', title: 'Tenants', needs: 'manage_tenants', lede: 'All tenants of this installation. What is in them stays their members’ own.',
      noun: 'tenant', by: 'name, slug or id', invites: 'New tenant',
      columns: [
        { heading: 'Name', kind: 'tenant-name' }, { heading: 'Id', kind: 'tenant-id' }, { heading: 'Created', kind: 'created' }, { heading: 'Actions', kind: 'actions', hidden: true },
      ],
    });
  }

  dialogs() {
    const unauthenticated = this.app.unauthenticated;
    const codes = { name_taken: 'slug' };
    this.adding = new FormDialog('tenant-new', {
      unauthenticated, codes,
      fields: [
        { name: 'name', label: 'Name', required: true },
        { name: 'slug', label: 'Slug', mono: true, help: 'Optional: made of the name. Small letters, digits and hyphens.' },
        { name: 'admin_user_id', label: 'Administrator’s user id, or e-mail', mono: true, required: true, help: 'The first member, who becomes its SUPER_ADMIN: a UUID, or the e-mail of somebody in one of your tenants. People see their own user id in this console, under their name.' },
        { name: 'admin_email', label: 'Administrator’s e-mail', help: 'Optional.' },
      ],
    });
    this.editing = new FormDialog('tenant-edit', { unauthenticated, codes, fields: [{ name: 'name', label: 'Name', required: true }, { name: 'slug', label: 'Slug', mono: true, required: true }] });
  }

  whereFrom() {
    return 'Only roles of the platform tenant can hold it. If yours there do, switch to that tenant.';
  }

  read(signal) {
    return this.client.list(TENANTS, { signal });
  }

  texts(tenant) {
    return [tenant.name, tenant.slug, tenant.id];
  }

  row(tenant) {
    const button = (text, action, run) => actionButton(text, 'quiet small', run, { 'data-action': action, 'data-key': `${action} ${tenant.id}`, 'aria-label': `${text} ${tenant.name}` });
    return tableRow({ 'data-tenant-id': tenant.id },
      cell('Name', 'col-tenant-name', h('strong', { text: tenant.name }), tenant.id === this.app.me?.tenant_id ? h('span', { class: 'tag', text: 'you are here' }) : null,
        h('span', { class: 'second mono', text: tenant.slug })),
      cell('Id', 'col-tenant-id mono', tenant.id),
      cell('Created', 'col-created', h('time', { datetime: tenant.created_at, title: tenant.created_at, text: day(tenant.created_at) })),
      cell('', 'col-actions', h('div', { class: 'actions' }, button('Rename', 'edit', () => this.edit(tenant)), button('Delete', 'delete', () => this.remove(tenant)))));
  }

  edit(tenant) {
    const path = `${TENANTS}/${tenant.id}`;
    this.editing.open({
      title: `Rename ${tenant.name}`, submit: 'Save changes', values: tenant,
      read: () => this.client.read(path),
      save: (values, etag) => this.client.call('PUT', path, { body: values, ifMatch: etag }),
      saved: (answer) => this.saved(`${answer.data.name} saved.`),
    });
  }

  add() {
    this.adding.open({
      title: 'New tenant', submit: 'Create tenant', busy: 'Creating…', values: {},
      save: async (values) => {
        const admin = await userId(this.client, values.admin_user_id, { field: 'admin_user_id', tenants: this.app.me.tenants });
        const email = values.admin_email || (values.admin_user_id.includes('@') ? values.admin_user_id : '');
        return this.client.call('POST', TENANTS, { body: { ...values, admin_user_id: admin, admin_email: email } });
      },
      saved: (answer) => this.saved(`Tenant ${answer.data.name} created.`),
    });
  }

  remove(tenant) {
    this.app.confirm.ask({
      name: tenant.name, confirm: 'Delete tenant', forceCode: 'in_use',
      text: 'Its roles, members, features and its audit log go with it. This cannot be undone.',
      remove: (force) => this.client.call('DELETE', `${TENANTS}/${tenant.id}${force ? '?force=true' : ''}`),
      deleted: () => this.removed(`Tenant ${tenant.name} deleted.`),
    });
  }
}

// The sidebar as a front end would draw it for the person who is signed in,
// and the catalogue behind it: every item with its gates, and why it is not
// shown where it is not.

import { announce, h, plural, replaceRows, setText } from './dom.js';
import { FormDialog } from './form-dialog.js';
import { cell, listTable, tableRow } from './list-table.js';
import { Section, actionButton } from './section.js';

const ITEMS = '/api/v3/rbac/sidebar-items';

export class SidebarSection extends Section {
  constructor(app) {
    super(app, { id: 'sidebar', title: 'Sidebar', lede: 'What a front end shows you here: an item appears when all its gates hold.' });
  }

  build(body) {
    this.preview = h('nav', { class: 'preview', id: 'sidebar-preview', 'aria-label': 'Preview of the sidebar' });
    this.count = h('span', { class: 'muted count', id: 'sidebar-count' });
    this.create = actionButton('New item', 'primary', () => this.open(), { id: 'sidebar-new' });
    this.list = listTable('sidebar-list', 'sidebar-list-title', [
      { heading: 'Order', kind: 'order' }, { heading: 'Item', kind: 'item' }, { heading: 'Gates', kind: 'gates' }, { heading: 'To you', kind: 'shown' },
      { heading: 'Actions', kind: 'edit', hidden: true },
    ]);
    body.append(h('div', { class: 'sidebar-columns' },
      h('div', {}, h('h2', { text: 'Preview' }), h('div', { class: 'card preview-card' }, this.preview)),
      h('div', {}, h('div', { class: 'toolbar' }, h('h2', { id: 'sidebar-list-title', text: 'Catalogue' }), this.count, this.create), this.list.el)));
    this.dialog = new FormDialog('item', {
      unauthenticated: this.app.unauthenticated, codes: { name_taken: 'path' },
      fields: [
        { name: 'title', label: 'Title', required: true },
        { name: 'path', label: 'Path', mono: true, required: true },
        { name: 'group', label: 'Group', required: true },
        { name: 'icon', label: 'Icon', mono: true, help: 'A Lucide icon name.' },
        { name: 'display_order', label: 'Order', kind: 'number' },
        { name: 'feature_id', label: 'Feature that must be on', kind: 'choice' },
        { name: 'required_permission', label: 'Permission that must be held', kind: 'choice' },
      ],
    });
  }

  async read(signal) {
    const [shown, items, features, permissions, values] = await Promise.all([
      this.client.call('GET', '/api/v4/sidebar', { signal }),
      this.client.list(ITEMS, { signal }),
      this.client.list('/api/v3/rbac/features', { signal }),
      this.client.list('/api/v3/rbac/permissions', { signal }),
      this.client.call('GET', '/api/v4/features/tenant', { signal }),
    ]);
    return { shown, items, features, permissions, values };
  }

  show(data) {
    Object.assign(this, data);
    const editable = this.app.can('manage_tenants');
    this.create.hidden = !editable;
    this.preview.replaceChildren(...previewGroups(this.shown));
    this.featureNames = new Map(this.features.map((feature) => [feature.id, feature.name]));
    const visible = new Set(this.shown.map((item) => item.id));
    setText(this.count, `${visible.size} of ${plural(this.items.length, 'item')} shown to you`);
    replaceRows(this.list.body, this.items.map((item) => this.row(item, visible.has(item.id), editable)));
  }

  empty() {
    this.preview.replaceChildren();
    this.list.body.replaceChildren();
    setText(this.count, '');
  }

  row(item, visible, editable) {
    const feature = this.featureNames.get(item.feature_id);
    const gates = [
      feature ? this.gate('feature', feature, this.values[feature] ? '' : 'off') : null,
      item.required_permission ? this.gate('permission', item.required_permission, this.app.can(item.required_permission) ? '' : 'not held') : null,
    ].filter(Boolean);
    return tableRow({ 'data-item-id': item.id, class: visible ? null : 'inactive' },
      cell('Order', 'col-order', String(item.display_order)),
      cell('Item', 'col-item', h('strong', { text: item.title }), h('span', { class: 'second mono', text: item.path })),
      cell('Gates', 'col-gates', h('div', { class: 'chips' }, ...(gates.length ? gates : [h('span', { class: 'muted', text: 'none' })]))),
      cell('To you', 'col-shown', visible ? 'shown' : 'hidden'),
      cell('', 'col-edit', editable ? actionButton('Edit', 'quiet small', () => this.open(item), { 'data-action': 'edit', 'data-key': `edit ${item.id}`, 'aria-label': `Edit ${item.title}` }) : null));
  }

  /** gate says what must hold and, where it does not, how it fails. */
  gate(kind, name, fails) {
    return h('span', { class: fails ? 'chip failing' : 'chip' }, h('span', { class: 'muted', text: `${kind} ` }), h('span', { class: 'mono', text: name }),
      fails ? h('strong', { text: ` ${fails}` }) : null);
  }

  /**
   * open edits an item, or makes one. The list gives no versions, so that only
   * what the person changed is sent: whatever somebody else changed meanwhile
   * stays.
   */
  open(item = null) {
    const none = { value: '', text: 'none' };
    this.dialog.open({
      title: item ? `Edit ${item.title}` : 'New sidebar item', submit: item ? 'Save changes' : 'Create item',
      values: item ?? { display_order: Math.max(0, ...this.items.map((i) => i.display_order)) + 10 },
      options: {
        feature_id: [none, ...this.features.map((feature) => ({ value: feature.id, text: feature.name }))],
        required_permission: [none, ...this.permissions.map((permission) => ({ value: permission.name, text: permission.name }))],
      },
      save: (values) => this.client.call(item ? 'PUT' : 'POST', item ? `${ITEMS}/${item.id}` : ITEMS,
        { body: item ? Object.fromEntries(Object.entries(values).filter(([name, value]) => value !== item[name])) : values }),
      saved: (answer) => this.saved(`${answer.data.title} saved.`),
      extra: item ? { text: 'Delete item…', run: () => this.remove(item) } : null,
    });
  }

  remove(item) {
    this.app.confirm.ask({
      name: item.title, confirm: 'Delete item', text: 'It leaves the sidebar of every tenant.',
      remove: () => this.client.call('DELETE', `${ITEMS}/${item.id}`),
      deleted: () => {
        this.create.focus({ preventScroll: true });
        this.saved(`${item.title} deleted.`);
      },
    });
  }

  saved(text) {
    announce(text);
    this.load();
  }
}

/** previewGroups draws the items grouped, groups and items in display order. The links lead nowhere: it is a picture. */
function previewGroups(items) {
  if (items.length === 0) return [h('p', { class: 'muted', text: 'Nothing is shown to you.' })];
  return [...Map.groupBy(items, (item) => item.group)].map(([group, members]) => h('div', { class: 'preview-group' },
    h('h3', { text: group }),
    h('ul', {}, ...members.map((item) => h('li', { 'data-path': item.path },
      h('span', { class: 'preview-icon', 'aria-hidden': 'true', title: item.icon, text: item.title.slice(0, 1) }),
      h('span', { text: item.title }))))));
}

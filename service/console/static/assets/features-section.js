// The tenant's features as switches and, for who manages the platform, the
// catalogue that they come from.

import { announce, h } from './dom.js';
import { FeatureSwitches, readFeatures } from './feature-switches.js';
import { FormDialog } from './form-dialog.js';
import { Section, actionButton, searchField } from './section.js';

const FEATURES = '/api/v3/rbac/features';

export class FeaturesSection extends Section {
  constructor(app) {
    super(app, { id: 'features', title: 'Features', lede: 'What this tenant can use. Where it has not decided, the default holds.' });
  }

  build(body) {
    const unauthenticated = this.app.unauthenticated;
    this.filter = searchField('features-filter', 'Filter features by name or description', 'Filter features');
    this.count = h('span', { class: 'muted count', id: 'features-count' });
    this.create = actionButton('New feature', 'primary', () => this.open(), { id: 'features-new' });
    this.readOnly = h('p', { class: 'notice', hidden: true }, 'You can look at the features. To switch them takes ', h('code', { text: 'configure_features' }), '.');
    const card = h('div', { class: 'card' });
    body.append(h('div', { class: 'toolbar' }, this.filter.el, this.count, this.create), this.readOnly, card);
    this.switches = new FeatureSwitches(card, this.client, { filter: this.filter.input, counted: this.count, unauthenticated });
    this.dialog = new FormDialog('feature', {
      unauthenticated, codes: { name_taken: 'name' },
      fields: [
        { name: 'name', label: 'Name', mono: true, required: true },
        { name: 'description', label: 'Description', kind: 'area' },
        { name: 'default_enabled', label: 'Default', kind: 'choice', help: 'For tenants that have not decided.' },
      ],
    });
  }

  read(signal) {
    return readFeatures(this.client, signal);
  }

  show(features) {
    const platform = this.app.can('manage_tenants');
    this.create.hidden = !platform;
    this.readOnly.hidden = this.app.can('configure_features');
    this.switches.edit = platform ? (feature) => this.open(feature) : null;
    this.switches.show(features);
  }

  empty() {
    this.switches.clear();
  }

  open(feature = null) {
    const path = feature ? `${FEATURES}/${feature.id}` : FEATURES;
    this.dialog.open({
      title: feature ? `Edit ${feature.name}` : 'New feature', submit: feature ? 'Save changes' : 'Create feature',
      values: feature ?? { default_enabled: false },
      options: { default_enabled: [{ value: 'false', text: 'off' }, { value: 'true', text: 'on' }] },
      read: feature ? () => this.client.read(path) : null,
      save: ({ default_enabled, ...rest }, etag) => this.client.call(feature ? 'PUT' : 'POST', path,
        { body: { ...rest, default_enabled: default_enabled === 'true' }, ifMatch: etag }),
      saved: (answer) => this.saved(`Feature ${answer.data.name} saved.`),
      extra: feature ? { text: 'Delete feature…', run: () => this.remove(feature) } : null,
    });
  }

  remove(feature) {
    this.app.confirm.ask({
      name: feature.name, confirm: 'Delete feature', text: 'Every tenant loses it. Those that poolproof came with cannot be deleted.',
      remove: () => this.client.call('DELETE', `${FEATURES}/${feature.id}`),
      deleted: () => this.saved(`Feature ${feature.name} deleted.`),
    });
  }

  saved(text) {
    announce(text);
    this.load();
  }
}

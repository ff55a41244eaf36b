// The features of a tenant as switches. A switch shows its new state at once
// and is marked until the service has confirmed it; a refusal turns it back and
// says why below it.

import { announce, h, plural, setText } from './dom.js';
import { clearProblem, showProblem } from './problem.js';

/** readFeatures gives the catalogue, each feature with its value for the tenant: {…, enabled}. */
export async function readFeatures(client, signal) {
  const [catalogue, values] = await Promise.all([
    client.list('/api/v3/rbac/features', { signal }),
    client.call('GET', '/api/v4/features/tenant', { signal }),
  ]);
  return catalogue.map((feature) => ({ ...feature, enabled: values?.[feature.name] ?? feature.default_enabled }));
}

/**
 * FeatureSwitches fills host. filter is a search field, counted the element
 * that says how many are on; edit(feature), if given, adds a button to each.
 */
export class FeatureSwitches {
  constructor(host, client, { filter, counted, unauthenticated, edit = null }) {
    Object.assign(this, { client, filter, counted, unauthenticated, edit });
    this.rows = [];
    this.list = h('ul', { class: 'switches', id: 'feature-rows' });
    this.none = h('p', { class: 'empty', hidden: true, text: 'No feature matches.' });
    host.append(this.list, this.none);
    filter.addEventListener('input', () => this.applyFilter());
  }

  /** show replaces what is listed. */
  show(features) {
    this.rows = features.map((feature) => this.makeRow(feature));
    this.list.replaceChildren(...this.rows.map((row) => row.el));
    this.applyFilter();
  }

  /** clear empties the list. */
  clear() {
    this.filter.value = '';
    this.rows = [];
    this.list.replaceChildren();
    setText(this.counted, '');
    this.none.hidden = true;
  }

  makeRow(feature) {
    const id = `feature-${feature.id}`;
    const row = { feature, pending: false };
    row.box = h('input', { type: 'checkbox', role: 'switch', id, 'data-feature': feature.name, 'aria-describedby': `${id}-text ${id}-facts` });
    row.box.checked = feature.enabled;
    row.state = h('span', {});
    row.slot = h('div', { class: 'slot' });
    row.el = h('li', {}, row.box,
      h('div', {}, h('label', { for: id, class: 'mono', text: feature.name }), h('p', { class: 'help', id: `${id}-text`, text: feature.description })),
      h('div', { class: 'switch-facts', id: `${id}-facts` }, row.state,
        h('span', { text: `default ${feature.default_enabled ? 'on' : 'off'}` }), this.edit ? this.editButton(feature) : null),
      row.slot);
    row.box.addEventListener('change', () => this.change(row));
    this.describe(row);
    return row;
  }

  editButton(feature) {
    const button = h('button', { type: 'button', class: 'quiet small', 'aria-label': `Edit ${feature.name}`, text: 'Edit' });
    button.addEventListener('click', () => this.edit(feature));
    return button;
  }

  async change(row) {
    const { feature } = row;
    const wanted = row.box.checked;
    if (row.pending) {
      row.box.checked = !wanted; // One change after the other.
      return;
    }
    row.pending = true;
    row.box.setAttribute('aria-busy', 'true');
    clearProblem(row.slot);
    setText(row.state, 'saving…');
    try {
      await this.client.call('POST', '/api/v4/features/tenant', { body: { feature_name: feature.name, enabled: wanted } });
      feature.enabled = wanted;
      announce(`${feature.name} is ${wanted ? 'on' : 'off'}.`);
    } catch (problem) {
      row.box.checked = !wanted;
      if (problem.status === 401) this.unauthenticated(problem);
      else showProblem(row.slot, problem);
    } finally {
      row.pending = false;
      row.box.removeAttribute('aria-busy');
      this.describe(row);
      this.count();
    }
  }

  /** describe says the switch's state in words, and marks one that is not the default. */
  describe({ feature, state }) {
    setText(state, feature.enabled ? 'on' : 'off');
    state.classList.toggle('differs', feature.enabled !== feature.default_enabled);
  }

  applyFilter() {
    const wanted = this.filter.value.trim().toLowerCase();
    for (const { el, feature } of this.rows) {
      el.hidden = !`${feature.name} ${feature.description}`.toLowerCase().includes(wanted);
    }
    this.count();
  }

  count() {
    const on = this.rows.filter((row) => row.box.checked).length;
    const shown = this.rows.filter((row) => !row.el.hidden).length;
    setText(this.counted, this.rows.length ? `${on} of ${plural(this.rows.length, 'feature')} on` : '');
    this.none.hidden = shown > 0;
    setText(this.none, this.rows.length ? 'No feature matches.' : 'The catalogue holds no features.');
  }
}

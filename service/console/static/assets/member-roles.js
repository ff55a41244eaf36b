// The sheet that shows a member's roles, withdraws them, and assigns others,
// for good or until a time.

import { announce, busy, closeButtons, h, minute, replaceRows, setText } from './dom.js';
import { makeField } from './fields.js';
import { clearProblem, showProblem } from './problem.js';
import { actionButton } from './section.js';

/** MemberRoles opens for one member at a time. changed() is called when it closes after a change. */
export class MemberRoles {
  constructor(client, { unauthenticated, changed }) {
    Object.assign(this, { client, unauthenticated, changed });
    this.role = makeField('assign', { name: 'role_id', label: 'Role', kind: 'choice' });
    this.until = makeField('assign', { name: 'expires_at', label: 'Until', kind: 'time', help: 'Empty: for good. You can assign only what you hold yourself, as long as you hold it.' });
    this.inputs = { role_id: this.role.input, expires_at: this.until.input };
    this.title = h('h2', { id: 'member-roles-title' });
    this.list = h('ul', { class: 'held-roles', id: 'member-roles-list' });
    this.slot = h('div', { class: 'slot', id: 'assign-problem' });
    this.submit = h('button', { type: 'submit', class: 'primary', id: 'assign-submit', text: 'Assign role' });
    const form = h('form', { class: 'assign', autocomplete: 'off', novalidate: true }, h('h3', { text: 'Assign a role' }), this.role.el, this.until.el,
      h('div', { class: 'row' }, this.submit));
    this.close = h('button', { type: 'button', class: 'secondary small', 'data-close': true, autofocus: true, text: 'Close' });
    this.dialog = h('dialog', { id: 'member-roles-dialog', class: 'sheet', closedby: 'any', 'aria-labelledby': 'member-roles-title' },
      h('div', { class: 'sheet-head' }, h('div', {}, h('p', { class: 'eyebrow', text: 'Roles of' }), this.title), this.close),
      h('div', { class: 'sheet-body' }, this.slot, this.list, form));
    document.body.append(this.dialog);
    closeButtons(this.dialog);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.submit.getAttribute('aria-disabled') !== 'true') this.assign();
    });
    this.dialog.addEventListener('close', () => {
      this.loading?.abort();
      if (this.touched) this.changed();
      this.touched = false;
    });
  }

  /** open shows the sheet and reads the member's roles and those there are. */
  async open(profile, name) {
    Object.assign(this, { name, touched: false });
    this.path = `/api/v3/rbac/users/${profile.user_id}/roles`;
    setText(this.title, name);
    this.list.replaceChildren();
    this.role.setup({ readOnly: false });
    this.until.setup({ readOnly: false });
    clearProblem(this.slot, this.inputs);
    this.dialog.showModal();
    this.loading = new AbortController();
    const { signal } = this.loading;
    try {
      const roles = await this.client.list('/api/v3/rbac/roles', { signal });
      this.role.setup({ readOnly: false, options: roles.map((role) => ({ value: role.id, text: role.name })), value: roles[0]?.id });
      await this.load();
    } catch (problem) {
      if (!signal.aborted) this.refused(problem);
    }
  }

  async load() {
    const { signal } = this.loading;
    const held = await this.client.list(this.path, { signal });
    if (signal.aborted) return;
    replaceRows(this.list, held.length ? held.map((assignment) => this.row(assignment))
      : [h('li', { class: 'muted', text: 'No role yet: they may do nothing here but what every member may.' })]);
  }

  row(assignment) {
    return h('li', { 'data-role-id': assignment.role_id },
      h('div', {}, h('strong', { text: assignment.role_name }),
        h('span', { class: 'second', text: assignment.expires_at ? `until ${minute(assignment.expires_at)}` : 'for good' })),
      actionButton('Withdraw', 'quiet small danger-text', (button) => this.withdraw(assignment, button), { 'aria-label': `Withdraw ${assignment.role_name}` }));
  }

  async assign() {
    const role = this.role.input.selectedOptions[0];
    const body = { role_id: Number(role?.value) };
    if (this.until.get()) body.expires_at = this.until.get();
    await this.run(this.submit, 'Assigning…', () => this.client.call('POST', this.path, { body }), `${role?.text} assigned to ${this.name}.`);
  }

  async withdraw({ role_id, role_name }, button) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    if (await this.run(button, 'Withdrawing…', () => this.client.call('DELETE', `${this.path}/${role_id}`), `${role_name} withdrawn from ${this.name}.`)) {
      this.close.focus(); // The button is gone with its row.
    }
  }

  /** run sends one change and reads the roles again; it reports whether the change was made. */
  async run(button, label, change, done) {
    const { signal } = this.loading;
    clearProblem(this.slot, this.inputs);
    const ready = busy(button, label);
    try {
      await change();
      this.touched = true;
      announce(done);
      await this.load();
      return true;
    } catch (problem) {
      if (problem.name !== 'AbortError' && !signal.aborted) this.refused(problem);
      return false;
    } finally {
      ready();
    }
  }

  refused(problem) {
    if (problem.status === 401) {
      this.dialog.close();
      this.unauthenticated(problem);
      return;
    }
    showProblem(this.slot, problem, { fields: this.inputs });
    this.slot.scrollIntoView({ block: 'nearest' });
  }
}

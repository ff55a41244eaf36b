// The form in which a person shows the service who they are: a token and, if
// the token names none, a tenant. What poolproof dev writes can be pasted whole.

import { announce, busy, h } from './dom.js';
import { clearProblem, markField, showProblem } from './problem.js';
import { cleanTenant, cleanToken, fromEnvFile } from './session.js';

/** ConnectForm fills host. connect(token, tenant) is awaited at each attempt; cancel() goes back to what was shown before. */
export class ConnectForm {
  constructor(host, { connect, cancel }) {
    this.connect = connect;
    this.token = h('input', { id: 'token', type: 'password', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', 'aria-describedby': 'token-help token-error', placeholder: 'eyJhbGciOi…' });
    this.tenant = h('input', { id: 'tenant', type: 'text', class: 'mono', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', list: 'tenants', 'aria-describedby': 'tenant-help tenant-error', placeholder: '550e8400-e29b-41d4-…' });
    this.fields = { token: this.token, tenant: this.tenant };
    this.tenants = h('datalist', { id: 'tenants' });
    this.slot = h('div', { class: 'slot', id: 'connect-problem' });
    this.submit = h('button', { type: 'submit', class: 'primary', id: 'connect-submit', text: 'Connect' });
    this.cancelButton = h('button', { type: 'button', class: 'quiet', id: 'connect-cancel', hidden: true, text: 'Cancel' });
    this.form = h('form', { id: 'connect-form', autocomplete: 'off', novalidate: true },
      h('p', { class: 'connect-help' }, 'Show the service who you are. ', h('code', { text: 'poolproof dev' }), ' writes both values to ',
        h('code', { text: '.poolproof/dev.env' }), '; you can paste that whole file into the first field.'),
      h('div', { class: 'fields' },
        field(this.token, 'Token', 'Kept in this browser tab only, never in an address.'),
        field(this.tenant, 'Tenant id', 'May be empty if the token names its tenant.', this.tenants)),
      this.slot,
      h('div', { class: 'row' }, this.submit, this.cancelButton));
    host.prepend(this.form);
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.submit.getAttribute('aria-disabled') !== 'true') this.attempt();
    });
    this.token.addEventListener('paste', (event) => this.pasted(event));
    this.cancelButton.addEventListener('click', cancel);
  }

  /** show fills the fields and shows the form. */
  show({ token, tenant }, { cancel = false } = {}) {
    this.form.hidden = false;
    this.cancelButton.hidden = !cancel;
    this.token.value = token;
    this.tenant.value = tenant;
  }

  /** hide takes it away, and what was wrong with it. */
  hide() {
    clearProblem(this.slot, this.fields);
    this.form.hidden = true;
  }

  /** suggest offers tenants, a Map from id to name, for the second field. */
  suggest(tenants) {
    this.tenants.replaceChildren(...[...tenants].map(([id, name]) => h('option', { value: id, label: name })));
  }

  /** refused says, at the field at fault if there is one, why the service did not take it. */
  refused(problem) {
    const at = { 401: 'token', 400: 'tenant', 403: 'tenant' }[problem.status];
    showProblem(this.slot, problem, { fields: this.fields, codes: at ? { [problem.code]: at } : {} });
    (this.fields[at] ?? this.submit).focus();
  }

  async attempt() {
    clearProblem(this.slot, this.fields);
    const token = cleanToken(this.token.value);
    const tenant = cleanTenant(this.tenant.value);
    const printable = /^[\x21-\x7e]*$/; // What an HTTP header can carry.
    if (!token) return faulty(this.token, 'Paste a token first.');
    if (!printable.test(token)) return faulty(this.token, 'This token holds characters that no token has: copy it again.');
    if (!printable.test(tenant)) return faulty(this.tenant, 'This tenant id holds characters that no id has: copy it again.');
    const done = busy(this.submit, 'Connecting…');
    await this.connect(token, tenant);
    done();
  }

  pasted(event) {
    const pasted = fromEnvFile(event.clipboardData?.getData('text') ?? '');
    if (!pasted) return;
    event.preventDefault();
    this.token.value = pasted.token;
    this.tenant.value = pasted.tenant;
    announce('Token and tenant taken from the pasted file.');
    this.submit.focus();
  }
}

function field(input, label, help, ...rest) {
  return h('div', { class: 'field' }, h('label', { for: input.id, text: label }), input, ...rest,
    h('p', { class: 'help', id: `${input.id}-help`, text: help }), h('p', { class: 'field-error', id: `${input.id}-error`, hidden: true }));
}

function faulty(input, detail) {
  markField(input, detail);
  input.focus();
}

// The form in which a person shows the service who they are: at a provider, if
// the service has one, or by a token and, if the token names none, a tenant.
// What poolproof dev writes can be pasted whole.

import { announce, busy, h } from './dom.js';
import { clearProblem, markField, showProblem } from './problem.js';
import { cleanTenant, cleanToken, fromEnvFile } from './session.js';

/**
 * ConnectForm fills host. connect(token, tenant, {shared}) is awaited at each
 * attempt; cancel() goes back to what was shown before; signIn is asked whether
 * there is a provider.
 */
export class ConnectForm {
  constructor(host, { connect, cancel, signIn }) {
    Object.assign(this, { connect, signIn });
    this.token = h('input', { id: 'token', type: 'password', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', 'aria-describedby': 'token-help token-error', placeholder: 'eyJhbGciOi…' });
    this.tenant = h('input', { id: 'tenant', type: 'text', class: 'mono', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', list: 'tenants', 'aria-describedby': 'tenant-help tenant-error', placeholder: '550e8400-e29b-41d4-…' });
    this.fields = { token: this.token, tenant: this.tenant };
    this.tenants = h('datalist', { id: 'tenants' });
    this.slot = h('div', { class: 'slot', id: 'connect-problem' });
    this.submit = h('button', { type: 'submit', class: 'primary', id: 'connect-submit', text: 'Connect' });
    this.cancelButton = h('button', { type: 'button', class: 'quiet', id: 'connect-cancel', hidden: true, text: 'Cancel' });
    this.leave = h('button', { type: 'button', class: 'primary', id: 'sign-in' });
    this.ended = h('p', { class: 'help', id: 'still-signed-in', hidden: true });
    this.provider = h('div', { class: 'provider', id: 'provider', hidden: true }, h('div', { class: 'row' }, this.leave), this.ended, h('p', { class: 'or', text: 'or show a token' }));
    this.shared = h('input', { type: 'checkbox', id: 'shared', 'aria-describedby': 'shared-help' });
    this.form = h('form', { id: 'connect-form', autocomplete: 'off', novalidate: true },
      this.slot, this.provider,
      h('p', { class: 'connect-help' }, 'Show the service who you are. ', h('code', { text: 'poolproof dev' }), ' writes both values to ',
        h('code', { text: '.poolproof/dev.env' }), '; you can paste that whole file into the first field.'),
      h('div', { class: 'fields' },
        field(this.token, 'Token', 'Never in an address, a cookie or a log.'),
        field(this.tenant, 'Tenant id', 'May be empty if the token names its tenant.', this.tenants)),
      h('div', { class: 'tick' }, this.shared, h('div', {}, h('label', { for: 'shared', text: 'Keep me signed in in this browser’s other tabs' }),
        h('p', { class: 'help', id: 'shared-help', text: 'Off: in this tab only, until it is closed. On: in every tab, also tomorrow, until you sign out or the token ends. Not on a computer that others use.' }))),
      h('div', { class: 'row' }, this.submit, this.cancelButton));
    host.prepend(this.form);
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.submit.getAttribute('aria-disabled') !== 'true') this.attempt();
    });
    this.token.addEventListener('paste', (event) => this.pasted(event));
    this.cancelButton.addEventListener('click', cancel);
    this.leave.addEventListener('click', () => this.begin());
  }

  /** show fills the fields and shows the form. */
  show({ token, tenant, shared }, { cancel = false } = {}) {
    this.form.hidden = false;
    this.cancelButton.hidden = !cancel;
    this.token.value = token;
    this.tenant.value = tenant;
    this.shared.checked = shared;
    this.offer();
  }

  /** offer shows the way to the provider, if there is one. Without an answer the token's fields do. */
  async offer() {
    const how = await this.signIn.how().catch(() => null);
    if (how && this.leave.getAttribute('aria-disabled') !== 'true') this.leave.textContent = `Sign in at ${how.name}`;
    this.provider.hidden = !how;
    this.submit.className = how ? 'secondary' : 'primary';
    return how;
  }

  /** hide takes it away, and what was wrong with it. */
  hide() {
    clearProblem(this.slot, this.fields);
    this.ended.hidden = true;
    this.form.hidden = true;
  }

  /** suggest offers tenants, a Map from id to name, for the second field. */
  suggest(tenants) {
    this.tenants.replaceChildren(...[...tenants].map(([id, name]) => h('option', { value: id, label: name })));
  }

  /** refused says, at the field at fault if there is one, why the service did not take it. */
  async refused(problem) {
    const at = { 400: 'tenant', 403: 'tenant' }[problem.status];
    showProblem(this.slot, problem, { fields: this.fields, codes: at ? { [problem.code]: at } : {}, more: problem.status === 401 ? whatNow(problem) : [] });
    (this.fields[at] ?? (problem.status === 401 ? this.token : this.submit)).focus();
    if (at) return;
    const how = await this.offer();
    if (how && !this.form.hidden) this.leave.focus();
  }

  /** signedOut says that the provider's own session goes on, and where it can be ended. */
  signedOut(address, name) {
    this.ended.hidden = !address;
    if (address) this.ended.replaceChildren(`You may still be signed in at ${name} itself. `, h('a', { href: address, rel: 'noreferrer', text: 'Sign out there, too' }), '.');
  }

  async begin() {
    if (this.leave.getAttribute('aria-disabled') === 'true') return;
    clearProblem(this.slot, this.fields);
    const done = busy(this.leave, 'Leaving for the provider…');
    try {
      await this.signIn.begin({ shared: this.shared.checked, tenant: cleanTenant(this.tenant.value) });
    } catch (problem) {
      done();
      this.refused(problem);
      return;
    }
    addEventListener('pageshow', done, { once: true }); // Back without an answer.
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
    await this.connect(token, tenant, { shared: this.shared.checked });
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

/** whatNow says where a token comes from. */
function whatNow(problem) {
  return [h('p', {}, 'Sign in again, or paste a new token. ', h('code', { text: 'poolproof token --user ID --tenant ID' }),
    ' signs one where the service has a secret; ', h('code', { text: 'poolproof dev' }), ' keeps one in ', h('code', { text: '.poolproof/dev.env' }), '. ',
    /^https:/.test(problem.type ?? '') ? h('a', { href: problem.type, rel: 'noreferrer', text: 'Why tokens are refused' }) : null)];
}

function field(input, label, help, ...rest) {
  return h('div', { class: 'field' }, h('label', { for: input.id, text: label }), input, ...rest,
    h('p', { class: 'help', id: `${input.id}-help`, text: help }), h('p', { class: 'field-error', id: `${input.id}-error`, hidden: true }));
}

function faulty(input, detail) {
  markField(input, detail);
  input.focus();
}

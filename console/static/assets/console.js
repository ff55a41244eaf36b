// The console: who is asking and for which tenant, which sections that person
// is offered, and which one is shown. The address names the section and holds
// nothing else.

import { Client } from './api.js';
import { AuditSection } from './audit-section.js';
import { ConfirmDialog } from './confirm-dialog.js';
import { ConnectForm } from './connect-form.js';
import { announce, byId, h, setText } from './dom.js';
import { FeaturesSection } from './features-section.js';
import { Lamps } from './lamps.js';
import { MembersSection } from './members-section.js';
import { RequestLog } from './requestlog.js';
import { RolesSection } from './roles-section.js';
import { Session } from './session.js';
import { SidebarSection } from './sidebar-section.js';
import { TenantsSection } from './tenants-section.js';

const session = new Session();
const log = new RequestLog({ rows: byId('log-rows'), empty: byId('log-empty'), count: byId('log-count'), clear: byId('log-clear') });
const client = new Client(() => session, reported);
const lamps = new Lamps(byId('lamps'), client, ['API', 'Token', 'Database', 'Pooler']);
const form = new ConnectForm(byId('connect'), { connect, cancel() {} });
const nav = byId('sections');
const tenantSwitch = byId('tenant-switch');

/** What sections share: the client, the caller's own view of the tenant, the one dialog that asks before a deletion. */
const app = {
  client,
  me: null,
  can: (permission) => app.me?.permissions.includes(permission) ?? false,
  unauthenticated: refused,
  confirm: new ConfirmDialog({ unauthenticated: refused }),
  /** rightsChanged reads the caller's view again after a change of roles, for they may have changed their own. */
  async rightsChanged() {
    const before = app.me;
    const me = await client.call('GET', '/api/v4/me').catch(() => null); // Without an answer the old view stays; the service decides anyway.
    if (!me?.tenant_id || app.me !== before) return;
    app.me = me;
    offer();
    if (current && !current.offered()) current.visit('');
  },
};

const sections = new Map([RolesSection, MembersSection, FeaturesSection, SidebarSection, TenantsSection, AuditSection]
  .map((Kind) => new Kind(app)).map((section) => [section.id, section]));
for (const section of sections.values()) byId('main').append(section.el);
let current = null; // The section that is shown.

function reported(request) {
  log.add(request);
  if (request.probe || request.aborted) return;
  if (request.status === 0 || request.status === 503) lamps.checkSoon();
}

// ---- Who is asking

async function connect(token, tenant) {
  session.set(token, tenant);
  await enter();
}

/** enter reads the caller's view and shows what it permits, or says at the form why the service refused. */
async function enter({ moveFocus = true } = {}) {
  let me;
  try {
    me = await readMe();
  } catch (problem) {
    if (problem.name === 'AbortError') return;
    if (problem.code === 'not_a_member') {
      const all = await client.call('GET', '/api/v4/me', { anyTenant: true }).catch(() => null);
      form.suggest(new Map((all?.tenants ?? []).map((t) => [t.id, t.name])));
    }
    refused(problem);
    return;
  }
  lamps.set('Token', 'ok', 'accepted');
  form.hide();
  byId('signin').hidden = true;
  if (!me.tenant_id) {
    choose(me.tenants);
    return;
  }
  byId('choose').hidden = true;
  offer();
  route({ moveFocus });
}

let asking = null; // The AbortController of the question who the caller is: only the last one's answer counts.

async function readMe() {
  asking?.abort();
  const mine = asking = new AbortController();
  const me = await client.call('GET', '/api/v4/me', { signal: mine.signal });
  if (me.tenant_id) app.me = me;
  return me;
}

/** offer fills the head of the page and lists those sections that the caller's permissions make useful. */
function offer() {
  const { me } = app;
  tenantSwitch.replaceChildren(...me.tenants.map((t) => h('option', { value: t.id, text: t.name })));
  tenantSwitch.value = me.tenant_id;
  setText(byId('who'), me.user?.email ?? me.user?.name ?? me.user?.id ?? '');
  byId('who').title = me.roles.map((role) => role.name).join(', ');
  byId('account').hidden = false;
  nav.replaceChildren(h('ul', {}, ...[...sections.values()].filter((section) => section.offered()).map((section) =>
    h('li', {}, h('a', { href: `#${section.id}`, 'aria-current': section === current ? 'page' : null, text: section.title })))));
  nav.hidden = false;
}

/** choose lets a person with several tenants say which: there is no default. */
function choose(tenants) {
  if (tenants.length === 1) return connect(session.token, tenants[0].id);
  leave();
  byId('choose').hidden = false;
  byId('choose-list').replaceChildren(...tenants.map(({ id, name }) => {
    const button = h('button', { type: 'button', class: 'secondary', text: name });
    button.addEventListener('click', () => connect(session.token, id));
    return h('li', {}, button);
  }));
  if (tenants.length === 0) byId('choose-list').append(h('li', { class: 'notice', text: 'You are not a member of any tenant. Somebody who manages members can add you.' }));
  byId('choose-title').focus();
}

/** leave takes everything of the tenant off the page. */
function leave() {
  app.me = null;
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  for (const section of sections.values()) {
    section.clear();
    section.el.hidden = true;
  }
  current = null;
  byId('account').hidden = true;
  byId('choose').hidden = true;
  nav.hidden = true;
  nav.replaceChildren();
  document.title = 'poolproof';
}

function refused(problem) {
  leave();
  const [state, text] = { 401: ['bad', 'refused'], 400: ['ok', 'accepted'], 403: ['ok', 'accepted'] }[problem.status] ?? ['unknown', 'unknown'];
  lamps.set('Token', state, text);
  signIn();
  form.refused(problem);
}

function signIn() {
  byId('signin').hidden = false;
  document.title = 'Sign in · poolproof';
  form.show(session);
}

tenantSwitch.addEventListener('change', async () => {
  const id = tenantSwitch.value;
  const name = tenantSwitch.selectedOptions[0].text;
  for (const section of sections.values()) section.clear();
  await connect(session.token, id);
  if (app.me?.tenant_id === id) announce(`You are in ${name} now.`);
});

byId('sign-out').addEventListener('click', () => {
  asking?.abort();
  session.forget();
  leave();
  form.suggest(new Map());
  lamps.set('Token', 'unknown', 'none');
  signIn();
  form.token.focus();
  announce('Signed out: the token is forgotten.');
});

// ---- Which section is shown

/** route shows the section that the address names, or the first one. What follows its name is the section's own. */
function route({ moveFocus = true } = {}) {
  if (!app.me) return;
  const [id, ...rest] = new URL(document.URL).hash.slice(1).split('/');
  if (!sections.has(id) && current) return; // A link inside the page, such as the one to the content.
  const section = sections.get(id) ?? sections.values().next().value;
  if (section !== current) {
    current?.leave();
    if (current) current.el.hidden = true;
    current = section;
    section.el.hidden = false;
    for (const link of nav.querySelectorAll('a')) {
      if (link.hash === `#${section.id}`) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    scrollTo(0, 0);
  }
  document.title = `${section.title} · ${tenantSwitch.selectedOptions[0]?.text ?? ''} · poolproof`;
  section.visit(rest.join('/'));
  if (moveFocus) section.heading.focus({ preventScroll: true });
}

addEventListener('hashchange', () => route());
byId('check').addEventListener('click', () => lamps.check());

// ---- Start

lamps.set('Token', 'unknown', 'none');
lamps.check();
if (session.token) {
  enter({ moveFocus: false });
} else {
  signIn();
  form.token.focus({ preventScroll: true });
}

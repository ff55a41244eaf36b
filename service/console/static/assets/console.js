// The console: who is asking and for which tenant, which sections that person
// is offered, and which one is shown. The address names the section and holds
// nothing else.

import { Client } from './api.js';
import { AuditSection } from './audit-section.js';
import { ConfirmDialog } from './confirm-dialog.js';
import { ConnectForm } from './connect-form.js';
import { DoctorSection } from './doctor-section.js';
import { announce, byId, h, setText } from './dom.js';
import { FeaturesSection } from './features-section.js';
import { Lamps } from './lamps.js';
import { MembersSection } from './members-section.js';
import { NotFound } from './not-found.js';
import { ownId } from './person.js';
import { explained } from './refusal.js';
import { RequestLog } from './requestlog.js';
import { RolesSection } from './roles-section.js';
import { Session, claimsOf } from './session.js';
import { SidebarSection } from './sidebar-section.js';
import { SignIn } from './sign-in.js';
import { TenantsSection } from './tenants-section.js';
import { Waiting } from './waiting.js';

const session = new Session();
const log = new RequestLog({ rows: byId('log-rows'), empty: byId('log-empty'), count: byId('log-count'), clear: byId('log-clear') });
const waiting = new Waiting(byId('waiting'));
const client = new Client(() => session, reported, (what) => waiting.begin(what));
const signIn = new SignIn(session, client);
client.fresh = () => signIn.fresh();
const lamps = new Lamps(byId('lamps'), client, ['API', 'Token', 'Database', 'Pooler']);
const form = new ConnectForm(byId('connect'), { connect, cancel() {}, signIn });
const nav = byId('sections');
const tenantSwitch = byId('tenant-switch');

/** What sections share: the client, the caller's own view of the tenant, the one dialog that asks before a deletion. */
const app = {
  client,
  me: null,
  can: (permission) => app.me?.permissions.includes(permission) ?? false,
  /** here is the tenant that is shown, as a list of {id, name}. */
  here: () => app.me.tenants.filter((tenant) => tenant.id === app.me.tenant_id),
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

const sections = new Map([RolesSection, MembersSection, FeaturesSection, SidebarSection, TenantsSection, AuditSection, DoctorSection]
  .map((Kind) => new Kind(app)).map((section) => [section.id, section]));
const notFound = new NotFound(() => [...sections.values()].filter((section) => section.offered()));
for (const section of [...sections.values(), notFound]) byId('main').append(section.el);
let current = null; // The section that is shown.

function reported(request) {
  log.add(request);
  if (request.probe || request.aborted) return;
  if (request.status === 0 || request.status === 503) lamps.checkSoon();
}

// ---- Who is asking

async function connect(token, tenant, how) {
  session.set(token, tenant, how);
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
  byId('starting').hidden = true;
  if (!me.tenant_id) {
    choose(me);
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
  byId('me').replaceChildren(h('dl', {},
    h('div', {}, h('dt', { text: 'Roles here' }), h('dd', { text: me.roles.map((role) => role.name).join(', ') || 'none' })),
    h('div', {}, h('dt', { text: 'Your user id' }), h('dd', {}, ownId(me.user.id)))),
  h('p', { class: 'help', text: 'Whoever adds you to another tenant needs this id.' }));
  byId('account').hidden = false;
  nav.replaceChildren(h('ul', {}, ...[...sections.values()].filter((section) => section.offered()).map((section) =>
    h('li', {}, h('a', { href: `#${section.id}`, 'aria-current': section === current ? 'page' : null, text: section.title })))));
  nav.hidden = false;
}

/** choose lets a person with several tenants say which: there is no default. */
function choose({ tenants, user }) {
  if (tenants.length === 1) return connect(session.token, tenants[0].id);
  leave();
  byId('choose').hidden = false;
  byId('choose-list').replaceChildren(...tenants.map(({ id, name }) => {
    const button = h('button', { type: 'button', class: 'secondary', text: name });
    button.addEventListener('click', () => connect(session.token, id));
    return h('li', {}, button);
  }));
  setText(byId('choose-title'), tenants.length ? 'Choose a tenant' : 'You are signed in, and in no tenant yet');
  setText(byId('choose-lede'), tenants.length ? 'Your token names none, and there is no default.' : 'Send your user id to somebody who manages the members of a tenant: they can add you with it. Then load this page again.');
  if (tenants.length === 0) {
    byId('choose-list').append(h('li', {}, ownId(user.id)));
    byId('choose-list').append(h('li', {}, leaveButton()));
  }
  byId('choose-title').focus();
}

/** leave takes everything of the tenant off the page. */
function leave() {
  app.me = null;
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  for (const section of [...sections.values(), notFound]) {
    section.clear();
    section.el.hidden = true;
  }
  current = null;
  byId('account').hidden = true;
  byId('starting').hidden = true;
  byId('choose').hidden = true;
  nav.hidden = true;
  nav.replaceChildren();
  document.title = 'poolproof';
}

function refused(problem) {
  if (problem.stale) return; // Another token has taken the place of the one that was refused.
  if (problem.status === 401) {
    problem = explained(problem, session.token);
    session.forget({ keepTenant: true });
  }
  leave();
  const [state, text] = { 401: ['bad', 'refused'], 400: ['ok', 'accepted'], 403: ['ok', 'accepted'] }[problem.status] ?? ['unknown', 'unknown'];
  lamps.set('Token', state, text);
  showSignIn();
  form.refused(problem);
}

function showSignIn() {
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

byId('sign-out').addEventListener('click', () => signOut('Signed out: the token is forgotten.'));

async function signOut(said) {
  asking?.abort();
  session.forget();
  leave();
  form.suggest(new Map());
  lamps.set('Token', 'unknown', 'none');
  showSignIn();
  form.token.focus();
  announce(said);
  const how = await form.offer();
  if (!how) return;
  form.leave.focus();
  form.signedOut(await signIn.endAt(), how.name);
}

function leaveButton() {
  const button = h('button', { type: 'button', class: 'secondary', text: 'Sign out' });
  button.addEventListener('click', () => signOut('Signed out: the token is forgotten.'));
  return button;
}

/** Another tab that shares the sign-in has signed in or out, or has renewed the token. */
session.changed = (before) => {
  if (!session.token) signOut('Signed out in another tab.');
  else if (claimsOf(before).sub !== claimsOf(session.token).sub) enter({ moveFocus: false });
};

// ---- Which section is shown

/** route shows the section that the address names, or the first one. What follows its name is the section's own. */
function route({ moveFocus = true } = {}) {
  if (!app.me) return;
  const address = new URL(document.URL).hash.slice(1);
  if (address === 'main' && current) return; // The link to the content.
  const [id, ...rest] = (address === 'main' ? '' : address).split('/');
  const named = id === '' ? sections.values().next().value : sections.get(id);
  const section = named?.knows(rest.join('/')) ? named : notFound;
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
  section.visit(section === notFound ? decoded(address) : rest.join('/'));
  if (moveFocus) section.heading.focus({ preventScroll: true });
}

/** decoded makes an address readable; one that is no encoding of anything stays as it is. */
function decoded(address) {
  try {
    return decodeURIComponent(address);
  } catch {
    return address;
  }
}

addEventListener('hashchange', () => route());
byId('check').addEventListener('click', () => lamps.check());

// ---- Start

lamps.set('Token', 'unknown', 'none');
lamps.check();
start();

async function start() {
  let failure = null;
  try {
    const page = await signIn.finish();
    if (page && page !== '/') return location.replace(page);
  } catch (problem) {
    failure = problem;
  }
  if (session.token) {
    setText(byId('starting-text'), 'Asking the service who you are…');
    await enter({ moveFocus: false });
    if (failure) announce(`${failure.title}. ${failure.detail}`); // The sign-in that was there is still good.
    return;
  }
  leave();
  showSignIn();
  if (failure) form.refused(failure);
  else form.token.focus({ preventScroll: true });
}

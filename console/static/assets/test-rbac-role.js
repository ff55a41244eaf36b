// The roles page: who is asking (connection), what they see (table), what they
// change (dialogs), and what was asked of the service (lamps, log).

import { Client } from './api.js';
import { announce, busy, byId, h, setText } from './dom.js';
import { Lamps } from './lamps.js';
import { clearProblem, markField, showProblem } from './problem.js';
import { RequestLog } from './requestlog.js';
import { DeleteDialog, RoleDialog } from './role-dialogs.js';
import { PermissionSheet } from './role-permissions.js';
import { RoleTable } from './roles.js';
import { Session, cleanTenant, cleanToken, fromEnvFile } from './session.js';

const session = new Session();
const log = new RequestLog({ rows: byId('log-rows'), empty: byId('log-empty'), count: byId('log-count'), clear: byId('log-clear') });
const client = new Client(() => session, reported);
const lamps = new Lamps(byId('lamps'), client, ['API', 'Token', 'Database', 'Pooler']);

const after = { unauthenticated: refused };
const permissions = new PermissionSheet(client, after);
const roleDialog = new RoleDialog(client, { ...after, saved });
const deleteDialog = new DeleteDialog(client, { ...after, deleted });
const table = new RoleTable({
  permissions: (role) => permissions.open(role),
  edit: (role) => roleDialog.open(role),
  remove: (role) => deleteDialog.open(role),
  create: () => roleDialog.open(),
});

const token = byId('token');
const tenant = byId('tenant');
const connectFields = { token, tenant };
let reading = null; // The AbortController of the reads under way: one connection's answers never reach another's page.

function reported(request) {
  log.add(request);
  if (request.probe || request.aborted) return;
  if (request.status === 0 || request.status === 503) lamps.checkSoon();
}

// ---- Connection

byId('connect-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (byId('connect-submit').getAttribute('aria-disabled') === 'true') return;
  connect(cleanToken(token.value), cleanTenant(tenant.value));
});

token.addEventListener('paste', (event) => {
  const pasted = fromEnvFile(event.clipboardData?.getData('text') ?? '');
  if (!pasted) return;
  event.preventDefault();
  token.value = pasted.token;
  tenant.value = pasted.tenant;
  announce('Token and tenant taken from the pasted file.');
  byId('connect-submit').focus();
});

byId('change').addEventListener('click', () => {
  editConnection();
  byId('connect-cancel').hidden = false;
  token.focus();
});

byId('connect-cancel').addEventListener('click', () => {
  showConnected();
  byId('change').focus();
});

byId('forget').addEventListener('click', () => {
  reading?.abort();
  session.forget();
  token.value = '';
  tenant.value = '';
  byId('tenants').replaceChildren();
  table.clear();
  clearNames();
  byId('roles').hidden = true;
  lamps.set('Token', 'unknown', 'none');
  editConnection();
  token.focus();
  announce('Token forgotten.');
});

async function connect(newToken, newTenant) {
  clearProblem(byId('connect-problem'), connectFields);
  const printable = /^[\x21-\x7e]*$/; // What an HTTP header can carry.
  if (!newToken) return faulty(token, 'Paste a token first.');
  if (!printable.test(newToken)) return faulty(token, 'This token holds characters that no token has: copy it again.');
  if (!printable.test(newTenant)) return faulty(tenant, 'This tenant id holds characters that no id has: copy it again.');

  session.set(newToken, newTenant);
  table.clear();
  clearNames();
  const done = busy(byId('connect-submit'), 'Connecting…');
  const connected = await load();
  done();
  if (connected) byId('new-role').focus({ preventScroll: true });
}

function faulty(field, detail) {
  markField(field, detail);
  field.focus();
}

function editConnection() {
  byId('connect-form').hidden = false;
  byId('connected').hidden = true;
  byId('connect-cancel').hidden = true;
  token.value = session.token;
  tenant.value = session.tenant;
}

/** clearNames takes the last connection's names away, so that none stands beside another tenant's id. */
function clearNames() {
  for (const id of ['tenant-name', 'tenant-id', 'who']) setText(byId(id), '');
  byId('read-only').hidden = true;
  table.nameTenants(new Map());
}

function showConnected() {
  clearProblem(byId('connect-problem'), connectFields);
  byId('connect-form').hidden = true;
  byId('connected').hidden = false;
  byId('roles').hidden = false;
}

/** refused opens the connection and says, at the field at fault, why the service did not take it. */
function refused(problem) {
  const unauthenticated = problem.status === 401;
  lamps.set('Token', unauthenticated ? 'bad' : 'ok', unauthenticated ? 'refused' : 'accepted');
  table.clear();
  byId('roles').hidden = true;
  editConnection();
  const field = unauthenticated ? 'token' : 'tenant';
  showProblem(byId('connect-problem'), problem, { fields: connectFields, codes: { [problem.code]: field } });
  connectFields[field].focus();
}

// ---- Reading

/** load reads roles and the caller's own view; it gives whether the list arrived. */
async function load() {
  reading?.abort();
  const current = reading = new AbortController();
  clearProblem(byId('roles-problem'));
  table.loading();
  const me = readMe(current);
  try {
    const roles = await client.list('/api/v3/rbac/roles', { signal: current.signal });
    if (current.signal.aborted) return false;
    lamps.set('Token', 'ok', 'accepted');
    setText(byId('tenant-id'), session.tenant || (roles[0]?.tenant_id ?? ''));
    showConnected();
    table.show(roles);
    await me;
    return true;
  } catch (problem) {
    if (current.signal.aborted) return false;
    table.failed();
    if (problem.status === 401 || problem.status === 400 || problem.code === 'not_a_member') {
      await me; // Its tenants fill the list of the field that is about to get the focus.
      refused(problem);
      return false;
    }
    showConnected();
    const retry = h('button', { type: 'button', class: 'secondary small', text: 'Try again' });
    retry.addEventListener('click', load);
    showProblem(byId('roles-problem'), problem, { actions: [retry] });
    return false;
  }
}

/**
 * readMe fills in names: the tenant's, the caller's, their roles. In a tenant
 * that is not theirs it asks which ones are, for the field's suggestions.
 * Without an answer the page shows ids; the request log has the reason.
 */
async function readMe(current) {
  let me;
  try {
    me = await client.call('GET', '/api/v4/me', { signal: current.signal });
  } catch (problem) {
    if (problem.code !== 'not_a_member') return;
    me = await client.call('GET', '/api/v4/me', { signal: current.signal, anyTenant: true }).catch(() => null);
  }
  if (current.signal.aborted || !me) return;
  const tenants = new Map((me.tenants ?? []).map((t) => [t.id, t.name]));
  byId('tenants').replaceChildren(...[...tenants].map(([id, name]) => h('option', { value: id, label: name })));
  const here = me.tenant_id ?? session.tenant;
  const roles = (me.roles ?? []).map((role) => role.name);
  setText(byId('tenant-name'), tenants.get(here) ?? '');
  setText(byId('tenant-id'), here ?? '');
  setText(byId('who'), [me.user?.email ?? me.user?.name ?? me.user?.id, roles.join(', ')].filter(Boolean).join(' · '));
  byId('read-only').hidden = !Array.isArray(me.permissions) || me.permissions.includes('manage_roles');
  table.nameTenants(tenants);
}

// ---- Changing

async function saved(role, created) {
  announce(created ? `Role ${role.name} created with id ${role.id}.` : `Role ${role.name} saved.`);
  if (await load()) table.mark(role.id);
}

async function deleted(role) {
  byId('new-role').focus({ preventScroll: true }); // The button that opened the dialog goes with its row.
  announce(`Role ${role.name} deleted.`);
  await load();
}

byId('new-role').addEventListener('click', () => roleDialog.open());
byId('refresh').addEventListener('click', async (event) => {
  const button = event.currentTarget;
  if (button.getAttribute('aria-disabled') === 'true') return;
  const done = busy(button, 'Reading…');
  if (await load()) announce('Roles are up to date.');
  done();
});
byId('check').addEventListener('click', () => lamps.check());

// ---- Start

lamps.set('Token', 'unknown', 'none');
lamps.check();
if (session.token) {
  setText(byId('tenant-id'), session.tenant);
  showConnected();
  load();
} else {
  token.focus({ preventScroll: true });
}

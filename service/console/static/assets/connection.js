// What the two test pages have in common: the card that says who is asking and
// for which tenant, the lamps, the request log, and reading the page's own data
// as one connection after the other.

import { Client } from './api.js';
import { ConnectForm } from './connect-form.js';
import { announce, busy, byId, h, setText } from './dom.js';
import { Lamps } from './lamps.js';
import { clearProblem, showProblem } from './problem.js';
import { explained } from './refusal.js';
import { RequestLog } from './requestlog.js';
import { Session, claimsOf } from './session.js';
import { SignIn } from './sign-in.js';
import { Waiting } from './waiting.js';

/**
 * Connection is a page's way to the service. The page gives
 *   content, slot   the element that is shown when connected, and where its problems go
 *   needs           the permission without which #read-only is shown
 *   loading()       data is on its way
 *   read(signal)    fetches the page's data
 *   show(data)      shows it; tenants() then gives the names of tenants by id
 *   failed()        it did not come; what was shown may stay
 *   clear()         nothing of this connection may be seen any more
 *   named(tenants)  the names of tenants by id have come, or are gone
 */
export class Connection {
  constructor(page) {
    this.page = page;
    this.session = new Session();
    this.log = new RequestLog({ rows: byId('log-rows'), empty: byId('log-empty'), count: byId('log-count'), clear: byId('log-clear') });
    const waiting = new Waiting(byId('waiting'));
    this.client = new Client(() => this.session, (request) => this.reported(request), (what) => waiting.begin(what));
    this.signIn = new SignIn(this.session, this.client);
    this.client.fresh = () => this.signIn.fresh();
    this.session.changed = (before) => this.changedElsewhere(before);
    this.lamps = new Lamps(byId('lamps'), this.client, ['API', 'Token', 'Database', 'Pooler']);
    this.reading = null; // The AbortController of the reads under way: one connection's answers never reach another's page.
    this.connected = byId('connected');
    this.form = new ConnectForm(byId('connect'), {
      signIn: this.signIn,
      connect: (token, tenant, how) => this.connect(token, tenant, how),
      cancel: () => {
        this.showConnected();
        byId('change').focus();
      },
    });
    byId('change').addEventListener('click', () => {
      this.edit({ cancel: true });
      this.form.token.focus();
    });
    byId('forget').addEventListener('click', () => this.forget());
    byId('check').addEventListener('click', () => this.lamps.check());
    byId('refresh').addEventListener('click', (event) => this.refresh(event.currentTarget));
  }

  /** start connects with what the tab has kept. Call it once, when the page is ready. */
  start() {
    byId('starting').hidden = true;
    this.lamps.set('Token', 'unknown', 'none');
    this.lamps.check();
    if (this.session.token) {
      setText(byId('tenant-id'), this.session.tenant);
      this.showConnected();
      this.load();
    } else {
      this.edit();
      this.form.token.focus({ preventScroll: true });
    }
  }

  reported(request) {
    this.log.add(request);
    if (request.probe || request.aborted) return;
    if (request.status === 0 || request.status === 503) this.lamps.checkSoon();
  }

  async connect(token, tenant, how) {
    this.session.set(token, tenant, how);
    this.clear();
    if (await this.load()) this.page.arrived();
  }

  forget(said = 'Token forgotten.') {
    this.reading?.abort();
    this.session.forget();
    this.form.suggest(new Map());
    this.clear();
    this.page.content.hidden = true;
    this.lamps.set('Token', 'unknown', 'none');
    this.edit();
    this.form.token.focus();
    announce(said);
  }

  /** changedElsewhere follows another tab that has signed in or out, or has renewed the token. */
  changedElsewhere(before) {
    if (!this.session.token) this.forget('Signed out in another tab.');
    else if (claimsOf(before).sub !== claimsOf(this.session.token).sub) {
      this.clear();
      this.load();
    }
  }

  edit(options) {
    this.connected.hidden = true;
    this.form.show(this.session, options);
  }

  /** clear takes the last connection's data and names away, so that none stands beside another tenant's id. */
  clear() {
    for (const id of ['tenant-name', 'tenant-id', 'who']) setText(byId(id), '');
    byId('read-only').hidden = true;
    this.page.clear();
    this.page.named(new Map());
  }

  showConnected() {
    this.form.hide();
    this.connected.hidden = false;
    this.page.content.hidden = false;
  }

  /** refused opens the form and says there why the service did not take what it holds. */
  refused(problem) {
    const unauthenticated = problem.status === 401;
    if (unauthenticated) {
      if (problem.stale) return; // Another token has taken its place.
      problem = explained(problem, this.session.token);
      this.session.forget({ keepTenant: true });
    }
    this.lamps.set('Token', unauthenticated ? 'bad' : 'ok', unauthenticated ? 'refused' : 'accepted');
    this.page.clear();
    this.page.content.hidden = true;
    this.edit();
    this.form.refused(problem);
  }

  async refresh(button) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    const done = busy(button, 'Reading…');
    if (await this.load()) announce('Up to date.');
    done();
  }

  /** load reads the page's data and the caller's own view; it reports whether the data arrived. */
  async load() {
    this.reading?.abort();
    const current = this.reading = new AbortController();
    clearProblem(this.page.slot);
    this.page.loading();
    const me = this.readMe(current);
    try {
      const data = await this.page.read(current.signal);
      if (current.signal.aborted) return false;
      this.lamps.set('Token', 'ok', 'accepted');
      if (this.session.tenant) setText(byId('tenant-id'), this.session.tenant);
      this.showConnected();
      this.page.show(data);
      await me;
      return true;
    } catch (problem) {
      if (current.signal.aborted) return false;
      this.page.failed();
      if (problem.status === 401 || problem.status === 400 || problem.code === 'not_a_member') {
        await me; // Its tenants fill the list of the field that is about to get the focus.
        this.refused(problem);
        return false;
      }
      this.showConnected();
      const retry = h('button', { type: 'button', class: 'secondary small', text: 'Try again' });
      retry.addEventListener('click', () => this.load());
      showProblem(this.page.slot, problem, { actions: [retry] });
      return false;
    }
  }

  /**
   * readMe fills in names: the tenant's, the caller's, their roles. In a tenant
   * that is not theirs it asks which ones are, for the field's suggestions.
   * Without an answer the page shows ids; the request log has the reason.
   */
  async readMe(current) {
    let me;
    try {
      me = await this.client.call('GET', '/api/v4/me', { signal: current.signal });
    } catch (problem) {
      if (problem.code !== 'not_a_member') return;
      me = await this.client.call('GET', '/api/v4/me', { signal: current.signal, anyTenant: true }).catch(() => null);
    }
    if (current.signal.aborted || !me) return;
    const tenants = new Map((me.tenants ?? []).map((t) => [t.id, t.name]));
    this.form.suggest(tenants);
    const here = me.tenant_id ?? this.session.tenant;
    const roles = (me.roles ?? []).map((role) => role.name);
    setText(byId('tenant-name'), tenants.get(here) ?? '');
    setText(byId('tenant-id'), here ?? '');
    setText(byId('who'), [me.user?.email ?? me.user?.name ?? me.user?.id, roles.join(', ')].filter(Boolean).join(' · '));
    byId('read-only').hidden = !Array.isArray(me.permissions) || me.permissions.includes(this.page.needs);
    this.page.named(tenants);
  }
}

// The status lamps. A lamp says its state in words; its colour only repeats it.
//
//   API       GET /healthz                the process answers
//   Token     the last call with a token  accepted or refused
//   Database  GET /readyz                 reachable, and the schema is the right one
//   Pooler    GET /readyz                 which pooling mode was found

import { h, setText } from './dom.js';

const RECHECK_MS = 5000;

/** Lamps shows one lamp per name of names in list, and keeps them right by asking client. */
export class Lamps {
  constructor(list, client, names) {
    this.client = client;
    this.lamps = new Map();
    this.timer = 0;
    for (const name of names) {
      const value = h('span', { class: 'lamp-value', text: 'unknown' });
      const item = h('li', { 'data-lamp': name.toLowerCase(), 'data-state': 'unknown' },
        h('span', { class: 'dot', 'aria-hidden': 'true' }), h('span', { class: 'lamp-name', text: name }), ' ', value);
      this.lamps.set(name, { item, value });
      list.append(item);
    }
  }

  /** set changes one lamp: state is ok, warn, bad or unknown. */
  set(name, state, text) {
    const lamp = this.lamps.get(name);
    if (!lamp) return;
    lamp.item.dataset.state = state;
    setText(lamp.value, text);
  }

  /** check asks the service how it is. While something is wrong it asks again every few seconds, if the page is in view. */
  async check() {
    clearTimeout(this.timer);
    const [alive, ready] = await Promise.all([this.probe('/healthz'), this.probe('/readyz')]);
    if (alive.ok) this.set('API', 'ok', 'ok');
    else this.set('API', 'bad', alive.status ? `answers ${alive.status}` : 'no answer');
    this.showReady(ready);
    if (!alive.ok || !ready.ok) this.checkSoon();
  }

  /** checkSoon plans the next check, once. */
  checkSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (document.visibilityState === 'visible') this.check();
      else document.addEventListener('visibilitychange', () => this.check(), { once: true });
    }, RECHECK_MS);
  }

  async probe(path) {
    try {
      return { ok: true, status: 200, body: await this.client.call('GET', path, { probe: true }) };
    } catch (problem) {
      return { ok: false, status: problem.status, body: problem.body };
    }
  }

  showReady({ body }) {
    if (!body?.database) {
      this.set('Database', 'unknown', 'unknown');
      this.set('Pooler', 'unknown', 'unknown');
      return;
    }
    if (body.database !== 'ok') this.set('Database', 'bad', body.database);
    else if (body.schema && body.schema !== 'ok') this.set('Database', 'bad', `schema ${body.schema}`);
    else this.set('Database', 'ok', 'ok');

    const pooler = body.pooler;
    if (body.database !== 'ok' || typeof pooler?.present !== 'boolean') this.set('Pooler', 'unknown', 'unknown');
    else if (!pooler.present) this.set('Pooler', 'ok', 'none');
    else this.set('Pooler', 'ok', pooler.mode && pooler.mode !== 'unknown' ? pooler.mode : 'present');
  }
}

// The request log: what the page asked, what came back, how long it took. It
// holds no token, no tenant and no body, so it can be copied into a report.

import { h, plural, setText } from './dom.js';

const KEPT = 200;

/** RequestLog lists requests in rows, newest first. */
export class RequestLog {
  constructor({ rows, empty, count, clear }) {
    Object.assign(this, { rows, empty, count });
    this.total = 0;
    this.probes = new Map(); // The probes since the last other request, by what they asked and got.
    clear.addEventListener('click', () => this.clear());
  }

  /** add lists one request. A probe that answers as it did just before only raises that row's count. */
  add({ method, path, status, ms, requestId, probe, aborted }) {
    this.total += 1;
    const key = `${method} ${path} ${status}`;
    if (probe && this.probes.has(key)) {
      const row = this.probes.get(key);
      row.times += 1;
      setText(row.again, `×${row.times}`);
      setText(row.duration, duration(ms));
      setText(row.id, requestId);
    } else {
      this.insert(key, { method, path, status, ms, requestId, probe, aborted });
    }
    this.empty.hidden = true;
    setText(this.count, plural(this.total, 'request'));
  }

  insert(key, { method, path, status, ms, requestId, probe, aborted }) {
    const failed = !aborted && (status === 0 || status >= 400);
    const now = new Date();
    const again = h('span', { class: 'again' });
    const took = h('span', { class: 'log-ms', text: duration(ms) });
    const id = h('code', { class: 'log-id', text: requestId });
    const row = h('li', { class: failed ? 'failed' : null },
      h('time', { datetime: now.toISOString(), text: now.toLocaleTimeString([], { hour12: false }) }),
      h('span', { class: 'log-method', text: method }),
      h('span', { class: 'log-path' }, path, again),
      h('span', { class: 'log-status', text: aborted ? 'left' : status === 0 ? 'no answer' : String(status) }),
      took, id);
    this.rows.prepend(row);
    while (this.rows.children.length > KEPT) this.rows.lastElementChild.remove();
    // Other requests in between start new rows: the order in the log stays true.
    if (probe) this.probes.set(key, { times: 1, again, duration: took, id });
    else this.probes.clear();
  }

  /** clear empties the log. */
  clear() {
    this.rows.replaceChildren();
    this.probes.clear();
    this.total = 0;
    this.empty.hidden = false;
    setText(this.count, '');
  }
}

function duration(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

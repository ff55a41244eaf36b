// What the page waits for, if that takes long: nobody looks at a page that does
// nothing and says nothing.

import { h, setText } from './dom.js';

const SLOW_MS = 4000;

/** Waiting says in el which requests have had no answer for seconds. begin gives the function that ends one. */
export class Waiting {
  constructor(el) {
    this.el = el;
    this.open = new Set();
    this.text = h('p', {});
    el.append(this.text);
  }

  begin(what) {
    const asked = { what, since: Date.now() };
    this.open.add(asked);
    const timer = setTimeout(() => this.show(), SLOW_MS);
    return () => {
      clearTimeout(timer);
      this.open.delete(asked);
      this.show();
    };
  }

  show() {
    clearTimeout(this.again);
    const slow = [...this.open].filter((asked) => Date.now() - asked.since >= SLOW_MS - 50);
    this.el.hidden = slow.length === 0;
    if (slow.length === 0) return;
    const seconds = Math.round((Date.now() - slow[0].since) / 1000);
    setText(this.text, `Still waiting for the service: ${slow[0].what}, ${seconds < 10 ? 'for some seconds' : `for ${seconds - (seconds % 10)} seconds`}${slow.length > 1 ? `, and ${slow.length - 1} more` : ''}.`);
    this.again = setTimeout(() => this.show(), SLOW_MS);
  }
}

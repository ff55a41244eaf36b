// What is shown for an address that names no section.

import { h } from './dom.js';

/** NotFound stands where a section would. sections() gives those that are offered. */
export class NotFound {
  constructor(sections) {
    this.sections = sections;
    this.id = 'not-found';
    this.title = 'Not found';
    this.heading = h('h1', { id: 'not-found-title', tabindex: '-1', text: 'Nothing is at this address' });
    this.lede = h('p', { class: 'lede' });
    this.links = h('ul', { class: 'choose' });
    this.el = h('section', { id: 'section-not-found', 'aria-labelledby': 'not-found-title', hidden: true }, this.heading, this.lede, this.links);
  }

  offered() {
    return true;
  }

  /** visit says what was looked for, and where there is something. */
  visit(address) {
    this.lede.textContent = `The console has no page “${address.length > 60 ? `${address.slice(0, 60)}…` : address}”. These are there for you:`;
    this.links.replaceChildren(...this.sections().map((section) => h('li', {}, h('a', { class: 'place', href: `#${section.id}`, text: section.title }))));
  }

  leave() {}

  clear() {
    this.links.replaceChildren();
  }
}

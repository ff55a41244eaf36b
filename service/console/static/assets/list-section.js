// A section that is one list of the same things, such as members or tenants:
// with a filter, a count, and a button for a new one.

import { announce, h, plural, replaceRows, setText } from './dom.js';
import { RowLimit, listTable } from './list-table.js';
import { Section, actionButton, searchField } from './section.js';

/**
 * ListSection is a Section whose data is an array. A kind of it names, beside what
 * a Section names, its noun, what it is filtered by, the text of the button for a
 * new one (invites) and its columns. Beside read it has
 *   dialogs()      makes its dialogs, once
 *   texts(item)    returns the texts that the filter looks at
 *   row(item)      makes an item's row
 *   add()          asks for a new item
 */
export class ListSection extends Section {
  build(body) {
    this.dialogs();
    this.filter = searchField(`${this.id}-filter`, `Filter ${this.id} by ${this.by}`, `Filter ${this.id}`);
    this.count = h('span', { class: 'muted count', id: `${this.id}-count` });
    this.create = actionButton(this.invites, 'primary', () => this.add(), { id: `${this.id}-new` });
    this.list = listTable(`${this.id}-list`, `${this.id}-title`, this.columns);
    this.none = h('p', { class: 'empty', hidden: true, text: `No ${this.noun} matches.` });
    this.list.el.append(this.none);
    this.part = new RowLimit(`${this.id}-more`, this.id, () => this.render());
    body.append(h('div', { class: 'toolbar' }, this.filter.el, this.count, this.create), this.list.el, this.part.el);
    this.filter.input.addEventListener('input', () => {
      this.part.reset();
      this.render();
    });
    this.empty();
  }

  show(items) {
    this.items = items;
    this.render();
  }

  empty() {
    this.items = [];
    this.part.reset();
    this.filter.input.value = '';
    this.list.body.replaceChildren();
    setText(this.count, '');
  }

  render() {
    const wanted = this.filter.input.value.trim().toLowerCase();
    const matching = this.items.filter((item) => this.texts(item).some((text) => text?.toLowerCase().includes(wanted)));
    replaceRows(this.list.body, this.part.of(matching).map((item) => this.row(item)));
    const all = plural(this.items.length, this.noun);
    setText(this.count, wanted ? `${matching.length} of ${all}` : all);
    this.none.hidden = matching.length > 0;
  }

  /** removed goes on after a deletion: the focus moves to what is still there. */
  removed(text) {
    this.create.focus({ preventScroll: true });
    this.saved(text);
  }

  saved(text) {
    announce(text);
    this.changed();
  }

  /** changed reads all again; the caller's own rights, or the name of their tenant, may be others now. */
  changed() {
    this.app.rightsChanged();
    this.load();
  }
}

// A list of objects: a table, which becomes cards where it would not fit. The
// roles are written out, because a table that is laid out as cards loses them.

import { h, setText } from './dom.js';

const ROWS = 200; // That a long list draws at once; more on demand.

/** listTable makes a table with columns {heading, kind, hidden}: {el, body}, el being its card. */
export function listTable(id, labelledBy, columns) {
  const body = h('tbody', { role: 'rowgroup', id: `${id}-rows` });
  const heads = columns.map(({ heading, kind, hidden }) => h('th', { role: 'columnheader', scope: 'col', class: `col-${kind}` },
    hidden ? h('span', { class: 'visually-hidden', text: heading }) : heading));
  const table = h('table', { role: 'table', class: 'list', id, 'aria-labelledby': labelledBy },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, ...heads)), body);
  return { el: h('div', { class: 'card table-card' }, table), table, body };
}

/** RowLimit draws a long list of nouns a part at a time; el is the button for more, which calls render. */
export class RowLimit {
  constructor(id, nouns, render) {
    this.nouns = nouns;
    this.el = h('button', { type: 'button', class: 'secondary', id, hidden: true });
    this.el.addEventListener('click', () => {
      this.limit += ROWS;
      render();
    });
    this.reset();
  }

  /** reset goes back to the first part. */
  reset() {
    this.limit = ROWS;
  }

  /** of returns those of rows that are to be drawn. */
  of(rows) {
    this.el.hidden = rows.length <= this.limit;
    setText(this.el, `Show ${Math.min(ROWS, rows.length - this.limit)} more ${this.nouns}`);
    return rows.slice(0, this.limit);
  }
}

/** cell makes one cell. */
export function cell(heading, className, ...children) {
  return h('td', { role: 'cell', class: className, 'data-label': heading || null }, ...children);
}

/** tableRow makes a row of cells. */
export function tableRow(attrs, ...cells) {
  return h('tr', { role: 'row', ...attrs }, ...cells);
}

// A list of objects: a table, which becomes cards where it would not fit. The
// roles are written out, because a table that is laid out as cards loses them.

import { h } from './dom.js';

/** listTable makes a table with columns {heading, kind, hidden}: {el, body}, el being its card. */
export function listTable(id, labelledBy, columns) {
  const body = h('tbody', { role: 'rowgroup', id: `${id}-rows` });
  const heads = columns.map(({ heading, kind, hidden }) => h('th', { role: 'columnheader', scope: 'col', class: `col-${kind}` },
    hidden ? h('span', { class: 'visually-hidden', text: heading }) : heading));
  const table = h('table', { role: 'table', class: 'list', id, 'aria-labelledby': labelledBy },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, ...heads)), body);
  return { el: h('div', { class: 'card table-card' }, table), table, body };
}

/** cell makes one cell. */
export function cell(heading, className, ...children) {
  return h('td', { role: 'cell', class: className, 'data-label': heading || null }, ...children);
}

/** tableRow makes a row of cells. */
export function tableRow(attrs, ...cells) {
  return h('tr', { role: 'row', ...attrs }, ...cells);
}

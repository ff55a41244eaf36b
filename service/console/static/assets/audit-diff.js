// A change as a person reads it: each field that differs, what was and what is.

import { h } from './dom.js';

/** difference lists the fields of two JSON values of which either may be null. Fields that stayed are left out. */
export function difference(before, after) {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])].sort();
  const changed = names.filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]));
  if (changed.length === 0) return null;
  return h('dl', { class: 'diff' }, ...changed.map((name) => h('div', {}, h('dt', { text: name }),
    h('dd', {}, side('del', before, name), before && after && name in before && name in after ? h('span', { class: 'arrow', text: ' → ' }) : null, side('ins', after, name)))));
}

function side(tag, state, name) {
  if (!state || !(name in state)) return null;
  return h(tag, { text: written(state[name]) });
}

function written(value) {
  if (value === '') return '(empty)';
  if (value === null) return 'none';
  if (Array.isArray(value)) return value.length ? value.map(written).join(', ') : 'none';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

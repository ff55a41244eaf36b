// The fields of a form dialog. A field is described by its name in the API, its
// label, and its kind: text, area, number, time, choice (one of options) or
// choices (any of options). A value is a string, a number or null, an ISO time
// or null, a string or null, and an array.

import { h, setText } from './dom.js';

/** makeField gives {el, input, setup, get, set, readOnly}; ids begin with prefix. */
export function makeField(prefix, { name, label, kind = 'text', help = '', required = false, mono = false }) {
  const id = `${prefix}-${name.replaceAll('_', '-')}`;
  const kindOf = kinds[kind];
  const input = kindOf.make(id, { required, mono, label });
  input.setAttribute('aria-describedby', `${id}-help ${id}-error`);
  const helpLine = h('p', { class: 'help', id: `${id}-help` });
  const error = h('p', { class: 'field-error', id: `${id}-error`, hidden: true });
  const el = kind === 'choices'
    ? h('div', { class: 'field' }, input, helpLine, error)
    : h('div', { class: 'field' }, h('label', { for: id, text: label }), input, helpLine, error);
  const field = {
    el, input, readOnly: false,
    get: () => kindOf.get(input),
    set: (value) => kindOf.set(input, value),
    setup({ options = [], readOnly, help: other, value }) {
      kindOf.fill?.(input, options, id);
      field.readOnly = readOnly;
      if ('readOnly' in input) input.readOnly = readOnly;
      setText(helpLine, other ?? help);
      helpLine.hidden = helpLine.textContent === '';
      kindOf.set(input, value);
    },
  };
  return field;
}

const plain = (type) => ({
  make: (id, { required, mono }) => h('input', { id, type, class: mono ? 'mono' : null, 'aria-required': required || null, autocomplete: 'off', autocapitalize: mono ? 'none' : null, spellcheck: mono ? 'false' : null }),
  get: (input) => input.value.trim(),
  set(input, value) { input.value = value ?? ''; },
});

const kinds = {
  text: plain('text'),
  number: {
    ...plain('text'),
    make: (id) => h('input', { id, type: 'text', inputmode: 'numeric', autocomplete: 'off' }),
    get(input) {
      const text = input.value.trim();
      return text === '' ? null : /^[+-]?\d+$/.test(text) ? Number(text) : text; // The service says what is wrong with other text.
    },
    set(input, value) { input.value = value ?? ''; },
  },
  area: { ...plain('text'), make: (id, { required }) => h('textarea', { id, rows: 3, 'aria-required': required || null }) },
  time: {
    make: (id) => h('input', { id, type: 'datetime-local' }),
    get: (input) => (input.value ? new Date(input.value).toISOString() : null),
    set(input, value) { input.value = value ? localMinute(new Date(value)) : ''; },
  },
  choice: {
    make: (id) => h('select', { id }),
    fill(input, options) {
      input.replaceChildren(...options.map(({ value, text }) => h('option', { value: value ?? '', text })));
    },
    get: (input) => input.value || null,
    set(input, value) {
      const wanted = value ?? '';
      if (![...input.options].some((o) => o.value === String(wanted))) input.append(h('option', { value: wanted, text: wanted })); // Newer than the list.
      input.value = wanted;
    },
  },
  choices: {
    make: (id, { label }) => h('fieldset', { id, class: 'choices', tabindex: '-1' }, h('legend', { text: label })),
    fill(input, options, id) {
      const rows = options.map(({ value, text, note }, i) => h('label', { for: `${id}-${i}` },
        h('input', { type: 'checkbox', id: `${id}-${i}`, value }), h('span', { text }), note ? h('span', { class: 'muted', text: note }) : null));
      input.replaceChildren(input.firstElementChild, h('div', { class: 'choices-list' }, ...rows));
    },
    get: (input) => [...input.querySelectorAll('input:checked')].map((box) => Number(box.value)),
    set(input, value) {
      for (const box of input.querySelectorAll('input')) box.checked = (value ?? []).includes(Number(box.value));
    },
  },
};

/** localMinute writes a time as datetime-local fields want it. */
export function localMinute(date) {
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

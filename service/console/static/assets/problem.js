// How the page says that something failed: next to what failed, in the
// service's own words, with the code to look up and the request id to quote.

import { h } from './dom.js';

/**
 * showProblem fills a slot with a problem. fields maps a field's name in the
 * request to its input; an error that names one of them is shown at it, and
 * the first such input gets the focus. actions are buttons below the text, more
 * is what else there is to say.
 */
export function showProblem(slot, problem, { fields = {}, codes = {}, actions = [], more = [] } = {}) {
  clearProblem(slot, fields);
  const wrong = problem.fieldErrors ?? new Map();
  const byCode = codes[problem.code];
  if (byCode && !wrong.has(byCode)) wrong.set(byCode, problem.detail || problem.title);

  let first = null;
  const elsewhere = [];
  for (const [name, detail] of wrong) {
    if (!(name in fields)) {
      elsewhere.push(name ? `${name}: ${detail}` : detail);
      continue;
    }
    markField(fields[name], detail);
    first ??= fields[name];
  }

  // The field already says it; the box then only adds title, code and id.
  const said = [...wrong.values()].includes(problem.detail) && first;
  slot.replaceChildren(h('div', { class: 'problem', role: 'alert' },
    h('p', { class: 'problem-title', text: problem.title }),
    problem.detail && !said ? h('p', { text: problem.detail }) : null,
    elsewhere.length ? h('ul', {}, ...elsewhere.map((text) => h('li', { text }))) : null,
    ...more,
    reference(problem),
    actions.length ? h('div', { class: 'row' }, ...actions) : null,
  ));
  first?.focus();
}

/** reference is the line of facts below a problem: code, status, request id. */
function reference(problem) {
  const facts = [];
  if (problem.code) facts.push(h('span', {}, 'code ', h('code', { 'data-fact': 'code', text: problem.code })));
  if (problem.status) facts.push(h('span', { text: `HTTP ${problem.status}` }));
  if (problem.requestId) facts.push(h('span', {}, 'request ', h('code', { 'data-fact': 'request-id', text: problem.requestId })));
  if (problem.retryAfter) facts.push(h('span', { text: `try again in ${problem.retryAfter} s` }));
  return facts.length ? h('p', { class: 'facts' }, ...facts) : null;
}

/** clearProblem empties the slot and unmarks the fields. */
export function clearProblem(slot, fields = {}) {
  slot.replaceChildren();
  for (const input of Object.values(fields)) markField(input, '');
}

/** markField shows an input's error at it; '' takes it away. */
export function markField(input, detail) {
  const line = document.getElementById(`${input.id}-error`);
  if (detail) input.setAttribute('aria-invalid', 'true');
  else input.removeAttribute('aria-invalid');
  line.textContent = detail;
  line.hidden = !detail;
}

// Small helpers for the page's elements. Data reaches the document as text
// nodes and attributes only; nothing here, or in any other module, parses HTML.

/** byId gives the element with an id that the page's own HTML must hold. */
export function byId(id) {
  const el = document.getElementById(id);
  if (!el) throw new Error(`the page has no element #${id}`);
  return el;
}

/**
 * h makes an element. Keys of attrs are attribute names; false, null and
 * undefined leave the attribute out, and "text" is the element's text.
 * Children are nodes or strings.
 */
export function h(tag, attrs = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === 'text') el.textContent = value;
    else el.setAttribute(name, value === true ? '' : String(value));
  }
  el.append(...children.filter((c) => c !== null && c !== undefined));
  return el;
}

/**
 * replaceRows replaces an element's children. The focus stays on the element
 * with the same data-key, if there is one among the new children.
 */
export function replaceRows(parent, children) {
  const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...children);
  if (key) [...parent.querySelectorAll('[data-key]')].find((el) => el.dataset.key === key)?.focus({ preventScroll: true });
}

/** setText changes an element's text only when it differs, so that screen readers stay quiet. */
export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

let toastTimer = 0;

/** announce tells a result in the corner of the page and to screen readers; it goes away by itself. */
export function announce(text) {
  const toast = byId('toast');
  clearTimeout(toastTimer);
  toast.textContent = text;
  toast.classList.add('shown');
  toastTimer = setTimeout(() => {
    toast.classList.remove('shown');
    toast.textContent = '';
  }, 6000);
}

/** closeButtons makes every [data-close] button of a dialog close it. */
export function closeButtons(dialog) {
  for (const button of dialog.querySelectorAll('[data-close]')) {
    button.addEventListener('click', () => dialog.close());
  }
}

/**
 * busy marks a button while its request runs, and gives the function that
 * unmarks it. The button keeps the focus; the caller ignores clicks meanwhile.
 */
export function busy(button, label) {
  const before = button.textContent;
  button.setAttribute('aria-disabled', 'true');
  button.textContent = label;
  return () => {
    button.removeAttribute('aria-disabled');
    button.textContent = before;
  };
}

/** day writes a timestamp's day, minute its day and time, as people here do; a dash where there is none. */
export const day = (timestamp) => written(timestamp, { day: 'numeric', month: 'short', year: 'numeric' });
export const minute = (timestamp) => written(timestamp, { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

function written(timestamp, form) {
  const date = new Date(timestamp ?? '');
  return Number.isNaN(date.getTime()) ? '—' : date.toLocaleString([], form);
}

/** plural gives "1 role", "2 roles". */
export function plural(n, noun) {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

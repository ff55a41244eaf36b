// A file from the API. A link could not carry the token, so that the pages are
// fetched and put together here, and saved as a file of the browser's own.

import { Problem, withQuery } from './api.js';
import { h } from './dom.js';

const PAGES = 200; // Of at most 1,000 lines each: more is a job for a program.

/** downloadCSV saves all pages of a list as one file, and gives how many rows it holds. */
export async function downloadCSV(client, path, query, name) {
  const parts = [];
  let rows = 0;
  let address = withQuery(path, query);
  for (let page = 0; address; page += 1) {
    if (page === PAGES) {
      throw new Problem({ status: 200, title: 'Too much for a download', detail: `There are more than ${PAGES} pages: narrow the filter, or ask the API from a program.` });
    }
    const { text, headers } = await client.send('GET', address, { accept: 'text/csv' });
    const lines = page === 0 ? text : text.slice(text.indexOf('\n') + 1); // Each page repeats the header.
    parts.push(lines);
    rows += countRows(text);
    address = nextAddress(headers.get('Link'));
  }
  saveFile(new Blob(parts, { type: 'text/csv' }), name);
  return rows;
}

/** nextAddress reads the address of the next page out of a Link header; '' where there is none, or it leads elsewhere. */
function nextAddress(link) {
  const target = /<([^>]*)>\s*;[^,]*rel="?next"?/.exec(link ?? '')?.[1] ?? '';
  return target.startsWith('/') && !target.startsWith('//') ? target : '';
}

/** countRows counts the lines of a CSV text that end outside quotes, but the first. */
function countRows(text) {
  let quoted = false;
  let rows = -1;
  for (const c of text) {
    if (c === '"') quoted = !quoted;
    else if (c === '\n' && !quoted) rows += 1;
  }
  return rows;
}

function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = h('a', { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

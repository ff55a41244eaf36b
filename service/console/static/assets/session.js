// Who is asking, and for which tenant. The token lives in sessionStorage, which
// ends with the tab, or, if the person said so, in localStorage, which all tabs
// of this browser share and which outlives them. It is never in an address, a
// cookie or a log line. The tenant is each tab's own.

const TOKEN = 'poolproof.token';
const TENANT = 'poolproof.tenant';
const RENEWAL = 'poolproof.renewal';

/**
 * Session holds {token, tenant, shared, renewal}: shared says whether other
 * tabs have the token too; renewal is what a provider gave to get the next
 * token with, '' where there is none. Where the browser refuses storage it lasts
 * until the page is left. changed(before) is called when another tab has signed
 * in or out; before is the token until then.
 */
export class Session {
  constructor() {
    this.changed = () => {};
    this.adopt();
    addEventListener('storage', (event) => {
      if (event.storageArea !== storageOf('localStorage') || (event.key !== TOKEN && event.key !== null)) return;
      if (this.token && !this.shared) return; // This tab has a token of its own.
      const before = this.token;
      this.adopt();
      if (this.token !== before) this.changed(before);
    });
  }

  /** adopt reads what the tab, else the browser, has kept. */
  adopt() {
    const own = read('sessionStorage', TOKEN);
    this.shared = own === '' && read('localStorage', TOKEN) !== '';
    this.token = own || read('localStorage', TOKEN);
    this.renewal = read(this.place, RENEWAL);
    this.tenant = read('sessionStorage', TENANT) || (this.shared ? read('localStorage', TENANT) : '');
  }

  get place() {
    return this.shared ? 'localStorage' : 'sessionStorage';
  }

  /** set replaces token and tenant, and keeps them for this tab, or for all of them. */
  set(token, tenant, { shared = this.shared, renewal = token === this.token ? this.renewal : '' } = {}) {
    for (const [key, place] of [[TOKEN, this.place], [RENEWAL, this.place]]) if (shared !== this.shared) write(place, key, '');
    Object.assign(this, { token, tenant, shared, renewal });
    write('sessionStorage', TENANT, tenant);
    if (shared) write('localStorage', TENANT, tenant);
    write(this.place, RENEWAL, renewal);
    write(this.place, TOKEN, token); // Last: it is what other tabs listen for.
  }

  /** forget drops the token and what renews it, here and wherever they are kept; keepTenant leaves the tenant. */
  forget({ keepTenant = false } = {}) {
    const { shared } = this;
    this.set('', keepTenant ? this.tenant : '');
    if (shared) write('localStorage', TENANT, '');
    this.shared = false;
  }
}

/** claimsOf gives what a token says, unverified: for words to its owner only. {} if it is no JWT. */
export function claimsOf(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return claims !== null && typeof claims === 'object' ? claims : {};
  } catch {
    return {}; // An opaque token, or no token at all.
  }
}

/**
 * cleanToken makes a header-safe token of what people paste: with "Bearer " in
 * front, in quotes, or broken over lines.
 */
export function cleanToken(text) {
  return text.replace(/^\s*(export\s+)?POOLPROOF_TOKEN=/, '').replace(/^\s*bearer\s+/i, '').replace(/["'\s]/g, '');
}

/** cleanTenant does the same for a tenant id. */
export function cleanTenant(text) {
  return text.replace(/^\s*(export\s+)?POOLPROOF_TENANT=/, '').replace(/["'\s]/g, '');
}

/** fromEnvFile reads {token, tenant} out of a pasted dev.env, null if the text is something else. */
export function fromEnvFile(text) {
  const value = (name) => new RegExp(`^\\s*(?:export\\s+)?${name}=["']?([^"'\\s]+)`, 'm').exec(text)?.[1] ?? '';
  const token = value('POOLPROOF_TOKEN');
  const tenant = value('POOLPROOF_TENANT');
  return token && tenant ? { token, tenant } : null;
}

function storageOf(place) {
  try {
    return globalThis[place];
  } catch {
    return null; // Storage is refused.
  }
}

function read(place, key) {
  try {
    return storageOf(place)?.getItem(key) ?? '';
  } catch {
    return ''; // Storage is refused: the person signs in once more.
  }
}

function write(place, key, value) {
  try {
    if (value) storageOf(place)?.setItem(key, value);
    else storageOf(place)?.removeItem(key);
  } catch {
    // Storage is refused: the values last as long as this page.
  }
}

// Token and tenant of this tab. They live in sessionStorage, which ends with
// the tab, and never in an address, a cookie or a log line.

const TOKEN = 'poolproof.token';
const TENANT = 'poolproof.tenant';

/** Session holds {token, tenant}; where the browser refuses storage it lasts until the page is left. */
export class Session {
  constructor() {
    this.token = read(TOKEN);
    this.tenant = read(TENANT);
  }

  /** set replaces both and keeps them for this tab. */
  set(token, tenant) {
    this.token = token;
    this.tenant = tenant;
    write(TOKEN, token);
    write(TENANT, tenant);
  }

  /** forget drops both, here and in the tab's storage. */
  forget() {
    this.set('', '');
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

function read(key) {
  try {
    return sessionStorage.getItem(key) ?? '';
  } catch {
    return ''; // Storage is refused: the person pastes the token once more.
  }
}

function write(key, value) {
  try {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  } catch {
    // Storage is refused: the values last as long as this page.
  }
}

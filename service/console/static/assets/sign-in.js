// Signing in at an OpenID provider: authorization code with PKCE, as a client
// that has no secret. The protocol is oauth4webapi's; this module keeps what has
// to be remembered between leaving and coming back, in this tab only, and says
// in words what went wrong.
//
//   begin   leaves for the provider, with a new state, nonce and PKCE verifier
//   finish  takes the code out of the address at once, checks all three, and
//           gets the tokens from the provider
//   renew   gets the next token with the provider's refresh token, if it gave one

import { Problem } from './api.js';
import { claimsOf } from './session.js';

const PENDING = 'poolproof.sign-in';
const RENEW_BEFORE_S = 45;

/** SignIn signs a session in. client asks this service how. */
export class SignIn {
  constructor(session, client) {
    Object.assign(this, { session, client, asked: null, renewing: null });
  }

  /** how gives what the service says of the provider, null if there is none, as {name, provider, …}. It throws a Problem. */
  async how() {
    this.asked ??= this.client.call('GET', '/sign-in.json', { probe: true });
    try {
      const { openid } = await this.asked;
      if (openid && !openid.provider) this.asked = null; // Asked again next time.
      return openid;
    } catch (problem) {
      this.asked = null;
      throw problem;
    }
  }

  /** begin leaves this page for the provider. shared says what the person wants of the other tabs, tenant for which one they ask. */
  async begin({ shared, tenant }) {
    if (!isSecureContext) throw failed('This address is not secure enough to sign in from', 'Browsers make the keys that this needs on https pages only, and on this machine itself. Open the console by https, or paste a token.');
    const how = await this.ready();
    const oauth = await library();
    const pending = {
      state: oauth.generateRandomState(), nonce: oauth.generateRandomNonce(), verifier: oauth.generateRandomCodeVerifier(),
      shared, tenant, page: new URL(document.URL).pathname, section: new URL(document.URL).hash,
    };
    try {
      sessionStorage.setItem(PENDING, JSON.stringify(pending));
    } catch {
      throw failed('This browser keeps nothing for this page', 'Signing in at a provider needs the storage of this tab: allow it for this address, or paste a token.');
    }
    const to = new URL(how.provider.authorization_endpoint);
    for (const [name, value] of Object.entries({
      response_type: 'code', client_id: how.client_id, redirect_uri: redirect(), scope: how.scope, state: pending.state, nonce: pending.nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(pending.verifier), code_challenge_method: 'S256',
      ...(how.token === 'access_token' ? { audience: how.audience } : {}), // Some providers want to be told for whom; the others ignore it.
    })) to.searchParams.set(name, value);
    location.assign(to);
  }

  /**
   * finish signs in with what the provider sent back in the address. It gives
   * null if this is no such visit, else the page to go on to. It throws a Problem.
   */
  async finish() {
    const here = new URL(document.URL);
    if (!here.searchParams.has('state') || !(here.searchParams.has('code') || here.searchParams.has('error'))) return null;
    const pending = taken();
    history.replaceState(null, '', here.pathname + (pending?.section ?? ''));
    if (!pending) throw failed('This sign-in was not begun in this tab', 'Begin it here, so that nobody can sign you in as somebody else.');
    const how = await this.ready();
    const { provider } = how;
    const oauth = await library();
    const us = { client_id: how.client_id };
    const options = insecure(oauth, provider);
    let result;
    try {
      const answer = oauth.validateAuthResponse(provider, us, here, pending.state);
      const response = await oauth.authorizationCodeGrantRequest(provider, us, oauth.None(), answer, redirect(), pending.verifier, options);
      result = await oauth.processAuthorizationCodeResponse(provider, us, response, { expectedNonce: pending.nonce, requireIdToken: true });
    } catch (error) {
      throw inWords(error, how.name);
    }
    this.session.set(result[how.token], pending.tenant || this.session.tenant, { shared: pending.shared, renewal: result.refresh_token ?? '' });
    return pending.page;
  }

  /** fresh renews the session's token if it is about to end and can be renewed. It never throws: a token that ended is the service's to refuse. */
  async fresh() {
    const { exp } = claimsOf(this.session.token);
    if (!this.session.renewal || !exp || exp - Date.now() / 1000 > RENEW_BEFORE_S) return;
    this.renewing ??= alone(() => this.renew(exp)).finally(() => { this.renewing = null; });
    await this.renewing;
  }

  async renew(exp) {
    const { session } = this;
    if (session.shared) session.adopt(); // Another tab may have renewed it while this one waited.
    if (!session.renewal || claimsOf(session.token).exp !== exp) return;
    const { token } = session;
    try {
      const how = await this.ready();
      const oauth = await library();
      const us = { client_id: how.client_id };
      const response = await oauth.refreshTokenGrantRequest(how.provider, us, oauth.None(), session.renewal, insecure(oauth, how.provider));
      const result = await oauth.processRefreshTokenResponse(how.provider, us, response);
      if (session.token !== token) return; // Signed out meanwhile.
      if (result[how.token]) session.set(result[how.token], session.tenant, { renewal: result.refresh_token ?? session.renewal });
      else session.set(token, session.tenant, { renewal: '' });
    } catch (error) {
      // The provider's no is final; without an answer the next request tries again.
      if (error.error && session.token === token) session.set(token, session.tenant, { renewal: '' });
    }
  }

  /** endAt gives the address where the person can end the provider's own session, '' if it has none. */
  async endAt() {
    const how = await this.how().catch(() => null);
    if (!how?.provider?.end_session_endpoint) return '';
    const to = new URL(how.provider.end_session_endpoint);
    to.searchParams.set('client_id', how.client_id);
    return to.href;
  }

  async ready() {
    const how = await this.how();
    if (!how) throw failed('There is no provider to sign in at', 'This service was started without one. Paste a token instead.');
    if (!how.provider) throw failed(`${how.name} does not answer`, 'The service cannot read the provider’s metadata just now. Try again in a moment, or paste a token.');
    return how;
  }
}

/** library loads oauth4webapi, which only those need who sign in this way. */
const library = () => import('./third_party/oauth4webapi/index.js').catch(() => {
  throw failed('The script for signing in did not come', 'The service is slow or out of reach. Load the page again.');
});

/** redirect is where the provider sends people back to: the console. */
const redirect = () => `${location.origin}/`;

/** insecure allows plain http for a provider that the service has found on this machine. */
const insecure = (oauth, provider) => ({ [oauth.allowInsecureRequests]: provider.token_endpoint.startsWith('http:') });

/** alone runs one renewal at a time in all tabs, where the browser has locks. */
const alone = (run) => (navigator.locks ? navigator.locks.request('poolproof.renewal', run) : run());

/** taken gives what begin has kept, once. */
function taken() {
  try {
    const pending = JSON.parse(sessionStorage.getItem(PENDING));
    sessionStorage.removeItem(PENDING);
    return pending;
  } catch {
    return null;
  }
}

const failed = (title, detail, code = '') => new Problem({ status: 0, title, detail, code });

/** said are the codes of RFC 6749 and OpenID Connect that a person can do something about. */
const said = {
  access_denied: 'You, or somebody who decides for you, said no there. Sign in again if that was a mistake.',
  login_required: 'It wants you to sign in there first.',
  interaction_required: 'It wants to ask you something first. Sign in again.',
  consent_required: 'It wants your consent first. Sign in again.',
  account_selection_required: 'It wants you to choose an account first. Sign in again.',
  unauthorized_client: 'It does not let this console sign people in: the client id is not set up there for the authorization code with PKCE.',
  invalid_client: 'It wants a secret of this console, which has none: set the client up as public (a single-page application).',
  invalid_scope: 'It does not know what this console asks for: see POOLPROOF_OIDC_SCOPES.',
  invalid_grant: 'It does not take its code any more: it was too old, or used already. Sign in again.',
  server_error: 'It failed. Try again in a moment.',
  temporarily_unavailable: 'It is busy or under repair. Try again in a moment.',
};

/** inWords says what the protocol's library found wrong. What the provider says is shown only after state was checked. */
function inWords(error, name) {
  if (error.error) {
    const reason = said[error.error] ?? 'It did not say more than the code below.';
    const theirs = error.error_description ? ` It says: “${error.error_description.slice(0, 300)}”` : '';
    return failed(`${name} did not sign you in`, reason + theirs, error.error);
  }
  if (/"state"|"iss"/.test(error.message)) {
    return failed('This sign-in was refused', 'What came back does not belong to the sign-in that was begun here, so nothing of it was used. Begin again.', 'state_mismatch');
  }
  if (/nonce/.test(error.message) || /nonce/.test(error.cause?.claim ?? '')) {
    return failed('This sign-in was refused', `The token of ${name} was made for another sign-in, so it was not used. Begin again.`, 'nonce_mismatch');
  }
  if (error instanceof TypeError) {
    return failed(`${name} does not answer this page`, `It may be down, or it does not let pages of ${location.origin} ask it for tokens (CORS).`, 'no_answer');
  }
  return failed(`${name} answered something that is not right`, `${error.message}.`, String(error.code ?? '').toLowerCase());
}

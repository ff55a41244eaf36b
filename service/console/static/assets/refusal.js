// Why the service refused a token, in words for the person who has it. What the
// token says of itself is read in the page, and shown to nobody else.

import { minute } from './dom.js';
import { claimsOf } from './session.js';

/** explained gives the problem of a 401 with a title and a detail that say what was wrong and what to do. */
export function explained(problem, token) {
  if (problem.status !== 401 || !token) return problem;
  const claims = claimsOf(token);
  const [title, why] = reason(problem.detail ?? '', claims, Date.now() / 1000);
  return Object.assign(problem, { title, detail: `${why} It was forgotten; nothing was changed.` });
}

function reason(detail, { exp, nbf, iss, aud }, now) {
  const at = (seconds) => minute(seconds * 1000);
  if (/expired/.test(detail)) return ['Your sign-in has ended', typeof exp === 'number' ? `The token expired at ${at(exp)}.` : detail];
  if (/not valid yet/.test(detail)) {
    return ['Your token is not valid yet', typeof nbf === 'number' ? `It is valid from ${at(nbf)}${nbf > now ? '' : ': the clocks differ'}.` : detail];
  }
  if (/issuer/.test(detail)) return ['Your token is of another issuer', `It was made by ${quoted(iss)}, which is not the one that this service takes tokens from (POOLPROOF_JWT_ISSUER).`];
  if (/audience/.test(detail)) return ['Your token is for another audience', `It was made for ${quoted(aud)}, not for this service (POOLPROOF_JWT_AUDIENCE).`];
  if (/key|signed/.test(detail)) return ['Your token is not signed by a key of this service', 'No key that this service knows has signed it: it is of another installation, its secret has changed, or it was not copied whole.'];
  if (exp === undefined && iss === undefined) return ['This is no token that the service can read', 'A token has three parts, divided by dots, and is pasted whole.'];
  return ['Your token was refused', detail];
}

function quoted(value) {
  const text = [value ?? 'nobody'].flat().join(', ');
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

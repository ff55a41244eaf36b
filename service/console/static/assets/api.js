// The service's HTTP API, as any other client sees it: same origin, a bearer
// token, a tenant header, JSON in and out, RFC 9457 problems.

/**
 * Problem is a request that did not succeed. status is 0 when no answer came.
 * errors holds {pointer, detail} for each faulty field; body is the answer as
 * it was, if it was JSON; stale says that another token has taken the place of
 * the one that was refused.
 */
export class Problem extends Error {
  constructor({ status, title, detail = '', code = '', type = '', errors = [], requestId = '', retryAfter = '', body = null }) {
    super(title);
    Object.assign(this, { status, title, detail, code, type, errors, requestId, retryAfter, body });
  }

  /** fieldErrors is a Map from a field's name to what is wrong with it. */
  get fieldErrors() {
    return new Map(this.errors.map((e) => [String(e.pointer ?? '').replace(/^#?\//, ''), e.detail]));
  }
}

/**
 * Client sends requests as one person in one tenant. credentials() is asked at
 * each request for {token, tenant}; report({method, path, status, ms,
 * requestId, probe}) is told of each request that ended. fresh(), if it is set,
 * is awaited before: it renews a token that is about to end. begun(what) gives
 * the function that is told when the answer is there.
 */
export class Client {
  constructor(credentials, report, begun = () => () => {}) {
    Object.assign(this, { credentials, report, begun, fresh: null });
  }

  /** call sends one request and gives the JSON of its answer, null where there is none; see send. */
  async call(method, path, options) {
    return (await this.send(method, path, options)).json ?? null;
  }

  /** read gives one object and its ETag, for a change that must not overwrite another's: {data, etag}. */
  async read(path, options) {
    const { json, headers } = await this.send('GET', path, options);
    return { data: json?.data ?? json, etag: headers.get('ETag') ?? '' };
  }

  /**
   * send sends one request and gives {json, text, headers} of its answer. It
   * throws a Problem for every answer but 2xx and when there is no answer, and
   * passes on an AbortError. ifMatch is the ETag of the state that is to be
   * changed. A probe carries no credentials; anyTenant leaves the tenant out,
   * inTenant names another one.
   * accept asks for something else than JSON, which is then not required.
   */
  async send(method, path, { body, signal, ifMatch = '', accept = '', probe = false, anyTenant = false, inTenant = '' } = {}) {
    const headers = { Accept: `${accept || 'application/json'}, application/problem+json` };
    let token = '';
    if (!probe) {
      await this.fresh?.();
      const asking = this.credentials();
      token = asking.token;
      if (token) headers.Authorization = `Bearer ${token}`;
      const tenant = inTenant || (anyTenant ? '' : asking.tenant);
      if (tenant) headers['X-Tenant-ID'] = tenant;
    }
    if (ifMatch) headers['If-Match'] = ifMatch;
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    const started = performance.now();
    const told = { method, path, probe, status: 0, ms: 0, requestId: '' };
    const ended = probe ? () => {} : this.begun(`${method} ${path.split('?')[0]}`);
    try {
      const response = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
      });
      told.status = response.status;
      told.requestId = response.headers.get('X-Request-ID') ?? '';
      const text = await response.text();
      const json = parseJSON(response, text);
      if (!response.ok) {
        throw Object.assign(problemFrom(response, json, told.requestId), { stale: !probe && token !== this.credentials().token });
      }
      if (json === undefined && !probe && !accept) {
        throw new Problem({ status: response.status, title: 'The answer is not JSON', detail: `${method} ${path} answered something this page cannot read.`, requestId: told.requestId });
      }
      return { json, text, headers: response.headers };
    } catch (error) {
      if (error.name === 'AbortError') {
        told.aborted = true;
        throw error;
      }
      if (error instanceof Problem) throw error;
      throw new Problem({ status: told.status, title: 'No answer from the service', detail: `${method} ${path} was not answered: is the service running? (${error.message})`, requestId: told.requestId });
    } finally {
      ended();
      told.ms = performance.now() - started;
      this.report(told);
    }
  }

  /** page gives one page of a v3 list: {rows, next}, next being the token of the page after it or ''. */
  async page(path, { query = {}, token = '', signal, inTenant = '' } = {}) {
    const answer = await this.call('GET', withQuery(path, { ...query, page_token: token }), { signal, inTenant });
    if (!Array.isArray(answer?.data)) {
      throw new Problem({ status: 200, title: 'The answer is not a list', detail: `GET ${path} answered without rows.` });
    }
    return { rows: answer.data, next: answer.next_page_token ?? '' };
  }

  /** list gives all rows of a v3 list, page after page. */
  async list(path, { query, signal, inTenant } = {}) {
    const all = [];
    let token = '';
    for (;;) {
      const { rows, next } = await this.page(path, { query, token, signal, inTenant });
      all.push(...rows);
      if (next === '') return all;
      if (next === token) {
        throw new Problem({ status: 200, title: 'The list does not end', detail: `GET ${path} named the same next page twice.` });
      }
      token = next;
    }
  }
}

/** withQuery adds those parameters to a path that are not empty. */
export function withQuery(path, params) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== '')).toString();
  return query ? `${path}?${query}` : path;
}

/** parseJSON gives an answer's JSON, undefined if it holds none. */
function parseJSON(response, text) {
  if (!/json/.test(response.headers.get('Content-Type') ?? '')) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // The caller says so: undefined is an error there.
  }
}

function problemFrom(response, json, requestId) {
  const p = json !== null && typeof json === 'object' ? json : {};
  return new Problem({
    status: response.status,
    title: p.title || response.statusText || `The service answered ${response.status}`,
    detail: p.detail,
    code: p.code,
    type: p.type,
    errors: Array.isArray(p.errors) ? p.errors : [],
    requestId,
    retryAfter: response.headers.get('Retry-After') ?? '',
    body: json ?? null,
  });
}

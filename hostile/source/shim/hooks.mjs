// For versions of Node without registerHooks: see poolproof.cjs.
export async function load(url, context, next) {
  const loaded = await next(url, context)
  if (url.endsWith('/postgres/src/query.js') && loaded.source) {
    loaded.source = String(Buffer.from(loaded.source)).replace(
      'this.statement = null\n',
      "this.statement = null;globalThis[Symbol.for('poolproof.query')]?.(this)\n",
    )
  }
  return loaded
}

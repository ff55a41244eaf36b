'use strict'
// Reports where SQL is sent from: see doc.go of poolproof's hostile/source.
// Node loads this file before the program, by NODE_OPTIONS.

const calls = process.env.POOLPROOF_CALLS
if (calls) {
  try {
    install()
  } catch {
    // The program must not notice.
  }
}

function install() {
  const fs = require('fs')
  const Module = require('module')
  const path = require('path')
  const { fileURLToPath, pathToFileURL } = require('url')

  const seen = new Set()
  let out

  // caller is the first frame that is neither Node's nor a package's, if there is
  // one, and the packages on the way to it.
  function caller() {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 60
    const stack = new Error().stack
    Error.stackTraceLimit = limit
    if (typeof stack !== 'string') return null
    const via = []
    for (const line of stack.split('\n')) {
      const m = /(?:\(|at (?:async )?)((?:file:\/\/)?\/[^()]*?):(\d+):\d+\)?$/.exec(line)
      if (!m || m[1].endsWith(__filename)) continue
      const at = m[1].lastIndexOf('/node_modules/')
      if (at >= 0) {
        const [name, inScope] = m[1].slice(at + '/node_modules/'.length).split('/')
        const full = name.startsWith('@') ? name + '/' + inScope : name
        if (!via.includes(full)) via.push(full)
        continue
      }
      return { file: m[1].startsWith('file:') ? fileURLToPath(m[1]) : m[1], line: Number(m[2]), via }
    }
    return via.length > 0 ? { via } : null
  }

  function note(driver, sql, where) { // driver: the package's name
    try {
      if (typeof sql !== 'string' || !where) return
      sql = sql.slice(0, 4000)
      const line = JSON.stringify({ sql, file: where.file, line: where.line, via: [driver, ...where.via] }) + '\n'
      if (seen.has(line) || seen.size > 20000) return
      seen.add(line)
      if (out === undefined) out = fs.openSync(calls, fs.constants.O_WRONLY | fs.constants.O_APPEND)
      fs.writeSync(out, line)
    } catch {
      // The program must not notice.
    }
  }

  function textOf(query) {
    return query && typeof query === 'object' ? query.text : query
  }

  function wrapQuery(proto) {
    const real = proto.query
    if (typeof real !== 'function' || real.poolproof) return
    const query = function query(...args) {
      note('pg', textOf(args[0]), caller())
      return real.apply(this, args)
    }
    Object.defineProperty(query, 'length', { value: real.length, configurable: true })
    query.poolproof = true
    proto.query = query
  }

  // postgres.js makes a text long after the caller has gone, and by itself: its
  // Query tells of itself when it is made, and its text when that is set.
  globalThis[Symbol.for('poolproof.query')] = (query) => {
    const where = caller()
    if (!where) return
    let value = null
    Object.defineProperty(query, 'statement', {
      configurable: true,
      enumerable: true,
      get: () => value,
      set: (v) => {
        value = v
        if (v) note('postgres', v.string, where)
      },
    })
  }
  const telling = (text) =>
    text.replace('this.statement = null\n', "this.statement = null;globalThis[Symbol.for('poolproof.query')]?.(this)\n")

  const load = Module._extensions['.js']
  Module._extensions['.js'] = function (module, filename) {
    const name = filename.split(path.sep).join('/')
    if (name.endsWith('/postgres/cjs/src/query.js')) {
      const compile = module._compile
      module._compile = function (text, ...rest) {
        return compile.call(this, telling(text), ...rest)
      }
    }
    load(module, filename)
    try {
      if (/\/pg\/lib\/(native\/)?client\.js$/.test(name) || name.endsWith('/pg-pool/index.js')) wrapQuery(module.exports.prototype)
    } catch {
      // The program must not notice.
    }
  }

  // An ES module can be changed by hooks only; they are made only where there is
  // a postgres.js that could be imported.
  let dir = process.cwd()
  while (!fs.existsSync(path.join(dir, 'node_modules/postgres/src/query.js'))) {
    if (dir === path.dirname(dir)) return
    dir = path.dirname(dir)
  }
  if (Module.registerHooks) {
    Module.registerHooks({
      load(url, context, next) {
        const loaded = next(url, context)
        if (url.endsWith('/postgres/src/query.js') && loaded.source) loaded.source = telling(String(Buffer.from(loaded.source)))
        return loaded
      },
    })
  } else if (Module.register) {
    Module.register(pathToFileURL(path.join(__dirname, 'hooks.mjs')))
  }
}

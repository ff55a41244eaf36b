// What the Node programs share: the checks, and how an outcome is said. A line is one operation.
'use strict'
const fs = require('fs')
const path = require('path')

const [work, form] = process.argv.slice(2)
const number = name => Number(process.env[name])
const first = number('FIRST')
const clients = number('CLIENTS')
const operations = number('OPERATIONS')

class Wrong extends Error {}

const say = (outcome, text = '') => fs.writeSync(1, `${outcome} ${String(text).split(/\s+/).join(' ').slice(0, 300)}`.trimEnd() + '\n')

function expect (what, got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Wrong(`${what} is ${JSON.stringify(got)}, not ${JSON.stringify(want)}`)
}

// version finds the package's own, beside the file that Node loads of it.
function version (name) {
  for (let dir = path.dirname(require.resolve(name)); ; dir = path.dirname(dir)) {
    const file = path.join(dir, 'package.json')
    if (fs.existsSync(file) && JSON.parse(fs.readFileSync(file)).name === name) return say('version', JSON.parse(fs.readFileSync(file)).version)
  }
}

// plan is the tenant, the id of one of its items, and the name and the value of what is written.
const plan = (client, n) => ({ tenant: `tenant ${client}`, id: client + 16 * (n % 10), op: `${client}.${n}`, value: `value ${client}.${n}` })

// turns: every other client asks in the other order, as an application's requests do.
const turns = (client, a, b) => client % 2 ? [b, a] : [a, b]

// run has every client do all its operations, one after the other. open makes a
// connection, which close closes; operation has the work's functions.
async function run (open, close, functions) {
  const one = async client => {
    let c
    for (let n = 0; n < operations; n++) {
      try {
        c = c ?? await open()
        await functions[work](c, client, n)
        say('right')
      } catch (e) {
        say(e instanceof Wrong ? 'wrong' : 'error', e.message)
        if (!(e instanceof Wrong) && c && c.broken) {
          close(c)
          c = undefined
        }
      }
    }
    if (c) close(c)
  }
  await Promise.all(Array.from({ length: clients }, (_, i) => one(first + i)))
}

module.exports = { recipe: form === 'recipe', expect, version, plan, turns, run }

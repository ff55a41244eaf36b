// node-postgres: each client has a connection of its own. With the third argument "named" the queries of its default form have names.
'use strict'
const { Client } = require('pg')
const { recipe, expect, version, plan, turns, run } = require('./client.cjs')

async function open () {
  const c = new Client({ connectionString: process.env.DATABASE_URL })
  c.on('error', () => { c.broken = true })
  c.on('end', () => { c.broken = true })
  await c.connect()
  return c
}

const named = process.argv[4] === 'named' && !recipe

const ask = async (c, name, text, ...values) => {
  const { rows } = await c.query(named ? { name, text, values, rowMode: 'array' } : { text, values, rowMode: 'array' })
  return rows[0] && (rows[0].length === 1 ? rows[0][0] : rows[0])
}

async function statements (c, client, n) {
  const { tenant, id, op, value } = plan(client, n)
  const name = async () => expect(`the name of item ${id}`, await ask(c, 'by-id', 'select name from items where id = $1', id), `item ${id}`)
  const owner = async () => expect(`the tenant of item ${id}`, await ask(c, 'owner', 'select tenant from items where id = $1', id), tenant)
  for (const question of turns(client, name, owner)) await question()
  await ask(c, 'write', 'insert into written (tenant, op, value) values ($1, $2, $3)', tenant, op, value)
  expect('what was written', await ask(c, 'read-back', 'select value from written where tenant = $1 and op = $2', tenant, op), value)
}

async function settings (c, client, n) {
  const { tenant } = plan(client, n)
  if (!recipe) {
    await c.query(`SET app.tenant TO '${tenant}'`)
    return scoped(c, client, n)
  }
  await c.query('begin')
  try {
    await c.query("select set_config('app.tenant', $1, true)", [tenant])
    await scoped(c, client, n)
    await c.query('commit')
  } catch (e) {
    await c.query('rollback')
    throw e
  }
}

async function scoped (c, client, n) {
  const { tenant, op, value } = plan(client, n)
  expect('what it sees of documents', await ask(c, 'documents', 'select count(*)::int, min(tenant), max(tenant) from documents'), [10, tenant, tenant])
  await ask(c, 'note', 'insert into notes (op, value) values ($1, $2)', op, value)
  expect('what was written', await ask(c, 'noted', 'select tenant, value from notes where op = $1', op), [tenant, value])
  expect('the setting', await ask(c, 'setting', "select current_setting('app.tenant', true)"), tenant)
}

version('pg')
run(open, c => c.end(), { statements, settings })

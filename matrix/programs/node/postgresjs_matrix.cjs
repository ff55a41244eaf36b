// postgres.js: each client has a connection of its own.
'use strict'
const postgres = require('postgres')
const { recipe, expect, version, plan, turns, run } = require('./client.cjs')

const open = async () => postgres(process.env.DATABASE_URL, { max: 1, ...(recipe ? { prepare: false } : {}) })

const one = async query => {
  const row = (await query.values())[0]
  return row && (row.length === 1 ? row[0] : [...row])
}

async function statements (sql, client, n) {
  const { tenant, id, op, value } = plan(client, n)
  const name = async () => expect(`the name of item ${id}`, await one(sql`select name from items where id = ${id}`), `item ${id}`)
  const owner = async () => expect(`the tenant of item ${id}`, await one(sql`select tenant from items where id = ${id}`), tenant)
  for (const ask of turns(client, name, owner)) await ask()
  await sql`insert into written (tenant, op, value) values (${tenant}, ${op}, ${value})`
  expect('what was written', await one(sql`select value from written where tenant = ${tenant} and op = ${op}`), value)
}

async function settings (sql, client, n) {
  const { tenant } = plan(client, n)
  if (!recipe) {
    await sql.unsafe(`SET app.tenant TO '${tenant}'`)
    return scoped(sql, client, n)
  }
  await sql.begin(async tx => {
    await tx`select set_config('app.tenant', ${tenant}, true)`
    await scoped(tx, client, n)
  })
}

async function scoped (sql, client, n) {
  const { tenant, op, value } = plan(client, n)
  expect('what it sees of documents', await one(sql`select count(*)::int, min(tenant), max(tenant) from documents`), [10, tenant, tenant])
  await sql`insert into notes (op, value) values (${op}, ${value})`
  expect('what was written', await one(sql`select tenant, value from notes where op = ${op}`), [tenant, value])
  expect('the setting', await one(sql`select current_setting('app.tenant', true)`), tenant)
}

version('postgres')
run(open, sql => sql.end({ timeout: 1 }), { statements, settings })

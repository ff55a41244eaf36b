// Drizzle on node-postgres: a query that is prepared under a name, as its guide to performance says; and a tenant.
const { Pool } = require('pg')
const { drizzle } = require('drizzle-orm/node-postgres')
const { integer, pgTable, text } = require('drizzle-orm/pg-core')
const { eq, sql } = require('drizzle-orm')

const item = pgTable('item', { id: integer().primaryKey(), name: text() })

async function main (form) {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 2 })
  const db = drizzle(pool)
  const query = id => db.select({ name: item.name }).from(item).where(eq(item.id, id))
  const prepared = query(sql.placeholder('n')).prepare('item_by_id')
  let faults = 0
  const ask = async n => {
    const rows = form === 'prepare' ? prepared.execute({ n }) : query(n)
    const answer = await rows.then(r => r[0].name, e => (e.cause ?? e).message)
    if (answer !== `item ${n}`) {
      console.log(`wrong: item ${n} is ${answer}`)
      faults++
    }
  }
  const tenant = async (on, local) => {
    await on.execute(sql`select set_config('app.tenant', 'tenant 1', ${local})`)
    const { rows: [{ n }] } = await on.execute(sql`select count(*)::int as n from item where tenant = current_setting('app.tenant', true)`)
    if (n !== 250) {
      console.log(`wrong: the tenant has ${n} items`)
      faults++
    }
  }
  if (form === 'set') await tenant(db, false)
  if (form === 'correct') await db.transaction(tx => tenant(tx, true))
  for (let n = 1; n <= 6; n++) await Promise.all([ask(n), ask(n + 100)])
  await pool.end()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 })

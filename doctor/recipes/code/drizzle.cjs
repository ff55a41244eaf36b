// Drizzle on node-postgres: what a function does works for one tenant, in one transaction.
const { Pool } = require('pg')
const { drizzle } = require('drizzle-orm/node-postgres')
const { sql } = require('drizzle-orm')

// The database of the application. Its queries have no names, as long as nobody calls .prepare(name).
function createDb (url) {
  return drizzle(new Pool({ connectionString: url, max: 8 }))
}

// await inTenant(db, tenant, tx => tx.select().from(item))
function inTenant (db, tenant, work) {
  return db.transaction(async tx => {
    await tx.execute(sql`select set_config('app.tenant', ${tenant}, true)`)
    return work(tx)
  })
}

module.exports = { createDb, inTenant }

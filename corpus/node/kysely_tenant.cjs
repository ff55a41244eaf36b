// Kysely: the tenant of a request on a connection, or in a transaction.
const { Kysely, PostgresDialect, sql } = require('kysely')
const { Pool } = require('pg')

async function main (form) {
  const db = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: process.env.DATABASE_URL, max: 1 }) }) })
  const local = form === 'correct'
  let faults = 0
  for (const tenant of ['tenant 0', 'tenant 1', 'tenant 0', 'tenant 1']) {
    const rows = await (local ? db.transaction() : db.connection()).execute(async on => {
      await sql`select set_config('app.tenant', ${tenant}, ${local})`.execute(on)
      return on.selectFrom('item').select('tenant').distinct().where(sql`tenant = current_setting('app.tenant', true)`).execute()
    })
    const seen = rows.map(r => r.tenant).join()
    if (seen !== tenant) {
      console.log(`wrong: ${tenant} sees "${seen}"`)
      faults++
    }
  }
  await db.destroy()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 })

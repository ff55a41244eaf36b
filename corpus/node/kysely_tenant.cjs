// Kysely: the tenant of a request on a connection, or in a transaction; its schema, and an isolation level.
const { Kysely, PostgresDialect, sql } = require('kysely')
const { Pool } = require('pg')

async function main (form) {
  const db = new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: process.env.DATABASE_URL, max: 1 }) }) })
  const local = form !== 'faulty'
  let faults = 0
  const names = async on => (await on.selectFrom('item').select('name').execute()).map(r => r.name).join()
  if (form === 'schema' || form === 'correct') {
    if (form === 'schema') await sql`set search_path to tenant_b`.execute(db)
    const seen = await names(form === 'schema' ? db : db.withSchema('tenant_b'))
    if (seen !== 'item 1 of tenant b') {
      console.log(`wrong: items of another schema: ${seen.length}`)
      faults++
    }
  }
  if (form === 'isolation') await sql`set session characteristics as transaction isolation level serializable`.execute(db)
  if (form === 'correct') {
    const level = await db.transaction().setIsolationLevel('serializable').execute(async trx => (await sql`show transaction_isolation`.execute(trx)).rows[0].transaction_isolation)
    if (level !== 'serializable') {
      console.log(`wrong: ${level}`)
      faults++
    }
  }
  if (form === 'schema' || form === 'isolation') {
    await db.destroy()
    return faults
  }
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

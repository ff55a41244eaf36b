// TypeORM: the tenant of a request, set before its queries or in their transaction; an isolation level, and a time limit.
const { DataSource } = require('typeorm')

async function items (on, tenant, local) {
  await on.query("select set_config('app.tenant', $1, $2)", [tenant, local])
  return on.query("select distinct tenant from item where tenant = current_setting('app.tenant', true)")
}

async function main (form) {
  const db = new DataSource({
    type: 'postgres',
    url: process.env.DATABASE_URL,
    extra: { max: 1, ...(form === 'timeout' ? { statement_timeout: 5000 } : { query_timeout: 20_000 }) }
  })
  await db.initialize()
  let faults = 0
  if (form === 'isolation') await db.query('set session characteristics as transaction isolation level serializable')
  if (form === 'correct') {
    const [{ level }] = await db.transaction('SERIALIZABLE', m => m.query("select current_setting('transaction_isolation') as level"))
    if (level !== 'serializable') {
      console.log(`wrong: ${level}`)
      faults++
    }
  }
  for (const tenant of ['tenant 0', 'tenant 1', 'tenant 0', 'tenant 1']) {
    const seen = (form === 'faulty' ? await items(db, tenant, false) : await db.transaction(m => items(m, tenant, true))).map(r => r.tenant).join()
    if (seen !== tenant) {
      console.log(`wrong: ${tenant} sees "${seen}"`)
      faults++
    }
  }
  await db.destroy()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 }, e => { console.log('wrong:', e.message); process.exit(1) })

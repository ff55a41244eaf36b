// Sequelize: the tenant of a request, set before its queries, or in their transaction; and a time limit.
const { Sequelize, QueryTypes } = require('sequelize')

async function items (db, form, tenant) {
  const run = async transaction => {
    const local = Boolean(transaction)
    await db.query("select set_config('app.tenant', :tenant, :local)", { replacements: { tenant, local }, transaction })
    return db.query("select distinct tenant from item where tenant = current_setting('app.tenant', true)", { type: QueryTypes.SELECT, transaction })
  }
  return form !== 'faulty' ? db.transaction(run) : run()
}

async function main (form) {
  const db = new Sequelize(process.env.DATABASE_URL.replace('?sslmode=disable', ''), { logging: false, pool: { max: 1 }, ...(form === 'timeout' ? { dialectOptions: { statement_timeout: 5000 } } : {}) })
  let faults = 0
  for (const tenant of ['tenant 0', 'tenant 1', 'tenant 0', 'tenant 1']) {
    const seen = (await items(db, form, tenant)).map(r => r.tenant).join()
    if (seen !== tenant) {
      console.log(`wrong: ${tenant} sees "${seen}"`)
      faults++
    }
  }
  await db.close()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 }, e => { console.log('wrong:', e.message); process.exit(1) })

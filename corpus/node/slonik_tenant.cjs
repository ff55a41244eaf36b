// Slonik with its defaults, and without its time limits; a tenant in its transaction.
const { createPool, sql } = require('slonik')

async function main (form) {
  const limits = form !== 'default' ? { statementTimeout: 'DISABLE_TIMEOUT', idleInTransactionSessionTimeout: 'DISABLE_TIMEOUT', resetConnection: async () => {} } : {}
  const pool = await createPool(process.env.DATABASE_URL, { maximumPoolSize: 1, connectionRetryLimit: 0, ...limits })
  let faults = 0
  for (const tenant of ['tenant 0', 'tenant 1', 'tenant 0', 'tenant 1']) {
    const seen = await (form === 'set' ? pool.connect : pool.transaction)(async tx => {
      await tx.query(sql.unsafe`select set_config('app.tenant', ${tenant}, ${form !== 'set'})`)
      return tx.oneFirst(sql.unsafe`select string_agg(distinct tenant, ',') from item where tenant = current_setting('app.tenant', true)`)
    })
    if (seen !== tenant) {
      console.log(`wrong: ${tenant} sees "${seen}"`)
      faults++
    }
  }
  await pool.end()
  return faults
}

const failed = e => { console.log('wrong:', e.message, e.cause ? e.cause.message : ''); process.exit(1) }
main(process.argv[2]).then(faults => process.exit(faults ? 1 : 0), failed)

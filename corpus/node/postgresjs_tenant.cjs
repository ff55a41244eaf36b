// postgres.js: the tenant of a request, set before its queries or in their transaction; news, and a time limit.
const postgres = require('postgres')

async function main (form) {
  const options = { max: 1, prepare: false, connect_timeout: 5 }
  const sql = postgres(process.env.DATABASE_URL, { ...options, ...(form === 'timeout' ? { connection: { statement_timeout: 5000 } } : {}) })
  let faults = 0
  const items = async (on, tenant, local) => {
    await on`select set_config('app.tenant', ${tenant}, ${local})`
    return on`select distinct tenant from item where tenant = current_setting('app.tenant', true)`
  }
  for (const tenant of ['tenant 0', 'tenant 1', 'tenant 0', 'tenant 1']) {
    const seen = (await (form === 'set' ? items(sql, tenant, false) : sql.begin(tx => items(tx, tenant, true)))).map(r => r.tenant).join()
    if (seen !== tenant) {
      console.log(`wrong: ${tenant} sees "${seen}"`)
      faults++
    }
  }
  if (form === 'listen') await sql.listen('news', () => {})
  if (form === 'correct') {
    const direct = postgres(process.env.DIRECT_URL, options)
    const heard = await new Promise(resolve => direct.listen('news', resolve).then(() => sql.notify('news', 'heard')))
    if (heard !== 'heard') {
      console.log(`wrong: heard ${heard}`)
      faults++
    }
    await direct.end({ timeout: 1 })
  }
  await sql.end({ timeout: 1 })
  return faults
}

main(process.argv[2]).then(faults => process.exit(faults ? 1 : 0), e => { console.log('wrong:', e.message); process.exit(1) })

// The tenant of a request, set on the connection that the pool hands out; and a time limit.
const { Pool } = require('pg')

const tenants = ['tenant 0', 'tenant 1']

async function request (pool, form, tenant) {
  const client = await pool.connect()
  try {
    if (form !== 'faulty') await client.query('begin')
    await client.query("select set_config('app.tenant', $1, $2)", [tenant, form !== 'faulty'])
    const { rows } = await client.query("select distinct tenant from item where tenant = current_setting('app.tenant', true)")
    if (form !== 'faulty') await client.query('commit')
    return rows.map(r => r.tenant).join()
  } finally {
    client.release()
  }
}

async function main (form) {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 2, ...(form === 'timeout' ? { statement_timeout: 5000 } : { query_timeout: 20_000 }) })
  let faults = 0
  for (let i = 0; i < 4; i++) {
    const seen = await Promise.all(tenants.map(t => request(pool, form, t)))
    tenants.forEach((tenant, i) => {
      if (seen[i] !== tenant) {
        console.log(`wrong: ${tenant} sees "${seen[i]}"`)
        faults++
      }
    })
  }
  await pool.end()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 }, e => { console.log('wrong:', e.message); process.exit(1) })

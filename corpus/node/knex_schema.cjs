// A schema for each tenant: by Knex's searchPath, or named in the query.
const knex = require('knex')

async function main (form) {
  const db = knex({
    client: 'pg',
    connection: process.env.DATABASE_URL,
    pool: { min: 0, max: 1 },
    ...(form === 'searchPath' ? { searchPath: ['tenant_b'] } : {})
  })
  let faults = 0
  for (let n = 0; n < 3; n++) {
    const rows = await (form === 'searchPath' ? db('item') : db.withSchema('tenant_b').from('item')).select('name')
    if (rows.length !== 1) {
      console.log(`wrong: ${rows.length} items, of another schema`)
      faults++
    }
  }
  await db.destroy()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 })

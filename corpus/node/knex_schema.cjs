// A schema for each tenant: by Knex's searchPath, or named in the query; and a tenant when the pool connects.
const knex = require('knex')

async function main (form) {
  const db = knex({
    client: 'pg',
    connection: process.env.DATABASE_URL,
    pool: { min: 0, max: 1, ...(form === 'afterCreate' ? { afterCreate: (c, done) => c.query("select set_config('app.tenant', 'tenant 1', false)", e => done(e, c)) } : {}) },
    ...(form === 'searchPath' ? { searchPath: ['tenant_b'] } : {})
  })
  let faults = 0
  const tenant = async on => {
    const { rows: [{ n }] } = await on.raw("select count(*)::int as n from item where tenant = current_setting('app.tenant', true)")
    if (n !== 250) {
      console.log(`wrong: the tenant has ${n} items`)
      faults++
    }
  }
  if (form === 'afterCreate') await tenant(db)
  if (form === 'correct') {
    await db.transaction(async trx => {
      await trx.raw('select set_config(?, ?, true)', ['app.tenant', 'tenant 1'])
      await tenant(trx)
    })
  }
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

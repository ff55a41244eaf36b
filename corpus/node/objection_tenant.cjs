// Objection on Knex: the tenant of a request, set before its queries or in their transaction; and its schema.
const knex = require('knex')
const { Model } = require('objection')

class Item extends Model {
  static get tableName () { return 'item' }
}

async function items (trx, tenant, local) {
  await Item.query(trx).select(Item.raw("set_config('app.tenant', ?, ?)", [tenant, local])).first()
  return Item.query(trx).distinct('tenant').whereRaw("tenant = current_setting('app.tenant', true)")
}

async function main (form) {
  const db = knex({ client: 'pg', connection: process.env.DATABASE_URL, pool: { min: 0, max: 1 }, ...(form === 'searchPath' ? { searchPath: ['tenant_b'] } : {}) })
  Model.knex(db)
  let faults = 0
  if (form === 'searchPath' || form === 'correct') {
    const query = Item.query().select('name')
    const rows = await (form === 'correct' ? query.withSchema('tenant_b') : query)
    if (rows.length !== 1) {
      console.log(`wrong: ${rows.length} items, of another schema`)
      faults++
    }
  }
  if (form === 'searchPath') {
    await db.destroy()
    return faults
  }
  for (const tenant of ['tenant 0', 'tenant 1', 'tenant 0', 'tenant 1']) {
    const rows = await (form === 'correct' ? Item.transaction(trx => items(trx, tenant, true)) : items(undefined, tenant, false))
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

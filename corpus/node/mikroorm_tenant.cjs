// MikroORM: the tenant of a request, set before its queries or in their transaction; its schema, and a time limit.
const { EntitySchema, MikroORM } = require('@mikro-orm/postgresql')

const Item = new EntitySchema({ name: 'Item', tableName: 'item', properties: { id: { type: 'number', primary: true }, tenant: { type: 'string' }, name: { type: 'string' } } })

async function items (em, tenant, local) {
  await em.execute("select set_config('app.tenant', ?, ?)", [tenant, local])
  return em.execute("select distinct tenant from item where tenant = current_setting('app.tenant', true)")
}

async function main (form) {
  const orm = await MikroORM.init({ clientUrl: process.env.DATABASE_URL.replace('?sslmode=disable', ''), entities: [Item], pool: { min: 0, max: 1 }, ...(form === 'timeout' ? { driverOptions: { connection: { statement_timeout: 5000 } } } : {}) })
  let faults = 0
  if (form === 'schema' || form === 'correct') {
    const em = orm.em.fork(form === 'correct' ? { schema: 'tenant_b' } : {})
    if (form === 'schema') await em.execute('set search_path to tenant_b')
    const [item] = await em.find('Item', {})
    if (item.name !== 'item 1 of tenant b') {
      console.log(`wrong: ${item.name}, of another schema`)
      faults++
    }
  }
  if (form === 'schema' || form === 'timeout') {
    await orm.close()
    return faults
  }
  for (const tenant of ['tenant 0', 'tenant 1', 'tenant 0', 'tenant 1']) {
    const em = orm.em.fork()
    const rows = await (form === 'correct' ? em.transactional(em => items(em, tenant, true)) : items(em, tenant, false))
    const seen = rows.map(r => r.tenant).join()
    if (seen !== tenant) {
      console.log(`wrong: ${tenant} sees "${seen}"`)
      faults++
    }
  }
  await orm.close()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 }, e => { console.log('wrong:', e.message); process.exit(1) })

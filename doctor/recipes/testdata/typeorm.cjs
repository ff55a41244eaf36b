// typeorm.cjs FORM OPERATIONS
const { EntitySchema } = require('typeorm')
const { createDataSource, inTenant } = require('./recipe.cjs')
const { ask } = require('./ask.cjs')

const Item = new EntitySchema({ name: 'Item', tableName: 'item', columns: { id: { type: Number, primary: true }, name: { type: String } } })
const Note = new EntitySchema({ name: 'Note', tableName: 'note', columns: { told: { type: 'uuid', primary: true } } })
const [form, operations] = process.argv.slice(2)
const dataSource = createDataSource(process.env.DATABASE_URL, { entities: [Item, Note] })
const work = async (manager, told, id, noted) => {
  const found = await manager.findOneBy(Item, { id })
  if (noted) await manager.insert(Note, { told })
  return found?.name
}
const one = async (tenant, id, noted) => {
  if (form !== 'session') return inTenant(dataSource, tenant, manager => work(manager, tenant, id, noted))
  await dataSource.query("select set_config('app.tenant', $1, false)", [tenant]) // what the recipe replaces
  return work(dataSource.manager, tenant, id, noted)
}
dataSource.initialize()
  .then(() => ask(Number(operations), one, form === 'recipe' && (() => dataSource.manager.count(Item))))
  .then(() => dataSource.destroy())

// drizzle.cjs FORM OPERATIONS
const { integer, pgTable, text, uuid } = require('drizzle-orm/pg-core')
const { eq, sql } = require('drizzle-orm')
const { createDb, inTenant } = require('./recipe.cjs')
const { ask } = require('./ask.cjs')

const item = pgTable('item', { id: integer(), name: text() })
const note = pgTable('note', { told: uuid() })
const [form, operations] = process.argv.slice(2)
const db = createDb(process.env.DATABASE_URL)
const work = async (on, told, id, noted) => {
  const query = on.select({ name: item.name }).from(item).where(eq(item.id, form === 'defaults' ? sql.placeholder('id') : id))
  const rows = form === 'defaults' ? await query.prepare('item_by_id').execute({ id }) : await query
  if (noted) await on.insert(note).values({ told })
  return rows[0]?.name
}
const one = async (tenant, id, noted) => {
  if (form !== 'session') return inTenant(db, tenant, tx => work(tx, tenant, id, noted))
  await db.execute(sql`select set_config('app.tenant', ${tenant}, false)`) // what the recipe replaces
  return work(db, tenant, id, noted)
}
ask(Number(operations), one, form === 'recipe' && (async () => (await db.select().from(item)).length)).then(() => db.$client.end())

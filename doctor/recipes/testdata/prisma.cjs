// prisma.cjs FORM OPERATIONS
const { createPrisma, forTenant, inTenant } = require('./recipe.cjs')
const { ask } = require('./ask.cjs')

const [form, operations] = process.argv.slice(2)
const prisma = createPrisma(process.env.DATABASE_URL)
const note = (on, tenant) => on.$executeRaw`insert into note (told) values (${tenant}::uuid)`
const one = async (tenant, id, noted) => {
  if (form === 'session') {
    await prisma.$executeRaw`select set_config('app.tenant', ${tenant}, false)` // what the recipe replaces
    const found = await prisma.item.findUnique({ where: { id } })
    if (noted) await note(prisma, tenant)
    return found?.name
  }
  if (noted) {
    return inTenant(prisma, tenant, async tx => {
      await note(tx, tenant)
      return (await tx.item.findUnique({ where: { id } }))?.name
    })
  }
  const scoped = forTenant(prisma, tenant)
  if (id % 2) return (await scoped.item.findUnique({ where: { id } }))?.name
  return (await scoped.$queryRaw`select name from item where id = ${id}`)[0]?.name
}
ask(Number(operations), one, form === 'recipe' && (() => prisma.item.count())).then(() => prisma.$disconnect())
